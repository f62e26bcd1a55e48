"""The shading language of the heads: every surface colour is independent of the view, so that a radiance field can hold it.

Per-vertex ``rest`` and ``aux`` by group: 0 skin: smooth base mesh in dm; freckles, stubble, lips, gloss. 1 eyes: unit eye
frame, z the gaze. 2 hair: tangent; across -1..1, along 0..1, strand 0..1. 3 cloth: body frame; angle 0..1, distance from the
neck, ribs 0 or 1. 4 the rest: position along a tube.
"""

from __future__ import annotations

GROUP_OF_PART = (4, 0, 0, 1, 4, 4, 4, 2, 2, 2, 4, 3, 3, 3, 4)
"""The shader group of every ``Part``. The software rasteriser runs each branch of a shader, hence one program per group."""

VERTEX = """
#version 330
uniform mat4 mvp;
in vec3 in_pos; in vec3 in_nor; in vec3 in_alb; in vec3 in_light; in vec3 in_rest; in vec4 in_aux; in float in_part;
out vec3 pos; out vec3 nor; out vec3 alb; out vec3 light; out vec3 rest; out vec4 aux; flat out int part;
void main() {
    gl_Position = mvp * vec4(in_pos, 1.0);
    pos = in_pos; nor = in_nor; alb = in_alb; light = in_light; rest = in_rest; aux = in_aux; part = int(in_part + 0.5);
}
"""

_COMMON = """
#version 330
@DEFINES@
uniform vec3 eye_pos; uniform vec3 key_dir;
uniform vec3 iris; uniform vec3 iris_inner; uniform float pupil; uniform float skin_gloss; uniform float wrinkles;
uniform vec3 freckle; uniform vec3 stubble; uniform float hair_gloss; uniform int pattern; uniform vec3 second_cloth;
in vec3 pos; in vec3 nor; in vec3 alb; in vec3 light; in vec3 rest; in vec4 aux; flat in int part;
layout(location = 0) out vec4 out_colour;
layout(location = 1) out vec4 out_geometry;
layout(location = 2) out uint out_part;
float hash(vec3 p) {
    p = fract(p * vec3(0.1031, 0.1030, 0.0973)); p += dot(p, p.yxz + 33.33); return fract((p.x + p.y) * p.z);
}
float noise(vec3 x) {
    vec3 i = floor(x), f = fract(x); f = f * f * (3.0 - 2.0 * f);
    return mix(mix(mix(hash(i), hash(i + vec3(1,0,0)), f.x), mix(hash(i + vec3(0,1,0)), hash(i + vec3(1,1,0)), f.x), f.y),
               mix(mix(hash(i + vec3(0,0,1)), hash(i + vec3(1,0,1)), f.x),
                   mix(hash(i + vec3(0,1,1)), hash(i + vec3(1,1,1)), f.x), f.y), f.z);
}
vec3 srgb(vec3 c) {
    c = clamp(c, 0.0, 1.0);
    return mix(12.92 * c, 1.055 * pow(c, vec3(1.0 / 2.4)) - 0.055, step(0.0031308, c));
}
vec3 tone(vec3 c) { return c / (1.0 + 0.12 * c); }
float luminance(vec3 c) { return dot(c, vec3(0.2126, 0.7152, 0.0722)); }
"""

_WRINKLES = """
float line(float distance, float width) { return exp(-distance * distance / (width * width)); }
float wrinkle_depth(vec3 q) {
    // lines of the forehead, between the brows, beside and under the eyes, from nose to mouth and from mouth to chin; dm
    float x = abs(q.x), front = smoothstep(0.8, 1.1, q.z), sum = 0.0;
    float wave = 0.020 * sin(q.x * 7.0) + 0.012 * sin(q.x * 17.0 + 1.0);
    float brow = smoothstep(0.50, 0.30, x) * front;
    sum += brow * line(q.y - 7.68 - wave, 0.016) + 0.9 * brow * line(q.y - 7.78 - 1.2 * wave, 0.016);
    sum += 0.7 * brow * line(q.y - 7.88 - wave, 0.016);
    float between = smoothstep(7.36, 7.42, q.y) * smoothstep(7.58, 7.50, q.y) * front;
    sum += 0.8 * line(x - 0.060 - 0.1 * (q.y - 7.45), 0.014) * between;
    vec2 corner = vec2(x - 0.50, q.y - 7.27);
    float reach = length(corner), turn = atan(corner.y, corner.x);
    sum += 0.9 * smoothstep(0.04, 0.08, reach) * smoothstep(0.24, 0.12, reach) * smoothstep(1.1, 0.7, abs(turn))
        * (0.5 + 0.5 * cos(turn * 11.0)) * smoothstep(0.5, 0.8, q.z);
    sum += 0.8 * line(q.y - 7.10 + 0.55 * (x - 0.28) * (x - 0.28) - 0.1 * (x - 0.28), 0.018)
        * smoothstep(0.10, 0.18, x) * smoothstep(0.46, 0.38, x) * front;
    float fold = mix(0.345, 0.200, clamp((q.y - 6.58) / 0.34, 0.0, 1.0));
    sum += 1.2 * line(x - fold, 0.022) * smoothstep(6.56, 6.64, q.y) * smoothstep(6.96, 6.88, q.y) * front;
    sum += 0.8 * line(x - 0.30 - 0.15 * (6.6 - q.y), 0.020) * smoothstep(6.36, 6.44, q.y) * smoothstep(6.60, 6.54, q.y) * front;
    return sum;
}
"""

_SUBSTANCE = """
vec3 substance(vec3 a, float relief, vec3 n, vec3 h, vec3 view) {
    // the same head of another material; a: its natural albedo, relief: carved detail, 1 is none
    float shine = max(dot(n, h), 0.0), soft = luminance(light);
    vec3 mirrored = reflect(-view, n);
#if MATERIAL == 1  // bronze, green where little light and few hands come
    float cloud = noise(pos * 30.0) * 0.6 + noise(pos * 90.0) * 0.4;
    float green = smoothstep(0.75, 0.25, soft + 0.35 * (cloud - 0.5)) * 0.75;
    vec3 metal = mix(vec3(0.36, 0.19, 0.075), vec3(0.10, 0.24, 0.18), green) * relief;
    float sky = smoothstep(-0.5, 0.9, mirrored.y) + 0.8 * smoothstep(0.55, 0.85, dot(mirrored, key_dir));
    float gleam = (1.0 - green) * (0.30 * pow(shine, 20.0) + 0.5 * pow(shine, 90.0));
    return light * (metal * (0.45 + 0.95 * sky) + gleam * vec3(0.9, 0.6, 0.3));
#elif MATERIAL == 2  // marble with grey veins
    float vein = abs(noise(pos * 16.0) + 0.5 * noise(pos * 37.0) + 0.25 * noise(pos * 80.0) - 0.9);
    vec3 stone = vec3(0.83, 0.81, 0.78) * (1.0 - 0.30 * smoothstep(0.07, 0.0, vein)) * mix(1.0, relief, 0.6);
    return stone * mix(light, vec3(soft), 0.5) * 0.95 + 0.10 * light * pow(shine, 30.0);
#elif MATERIAL == 3  // fired clay
    float grain = noise(pos * 220.0) - 0.5 + 0.7 * (noise(pos * 60.0) - 0.5);
    return vec3(0.43, 0.185, 0.105) * (1.0 + 0.22 * grain) * mix(1.0, relief, 0.8) * light;
#elif MATERIAL == 4  // a doll: even, strong colours under varnish
    vec3 paint = max(mix(vec3(luminance(a)), a, 1.35), 0.01) * mix(1.0, relief, 0.35) * 1.05;
    return paint * light + light * (0.20 * pow(shine, 14.0) + 0.75 * pow(shine, 120.0));
#elif MATERIAL == 5  // jade, light goes a little through it
    float cloud = 0.6 * noise(pos * 14.0) + 0.4 * noise(pos * 40.0);
    vec3 stone = mix(vec3(0.055, 0.26, 0.13), vec3(0.26, 0.50, 0.31), smoothstep(0.25, 0.8, cloud)) * mix(1.0, relief, 0.6);
    return stone * mix(light, vec3(0.85), 0.35) + light * (0.10 * pow(shine, 12.0) + 0.6 * pow(shine, 90.0));
#else  // charcoal on paper: hatching that lies on the surface
    float dark = 1.0 - pow(clamp(1.15 * sqrt(luminance(a)) * soft * soft, 0.0, 1.0), 0.7);
    float grain = noise(pos * 330.0) - 0.5;
    float one = abs(fract((pos.x + pos.y) * 120.0 + 0.8 * noise(pos * 40.0)) * 2.0 - 1.0);
    float two = abs(fract((pos.y - pos.x + 0.5 * pos.z) * 120.0 + 0.8 * noise(pos * 40.0 + 7.0)) * 2.0 - 1.0);
    float ink = 0.70 * smoothstep(one - 0.4, one + 0.4, dark * 1.2 - 0.10);
    ink += 0.45 * smoothstep(two - 0.35, two + 0.35, dark * 1.4 - 0.70);
    ink = clamp(0.68 * dark + 0.34 * ink + 0.30 * grain * dark, 0.0, 1.0);
    return mix(vec3(0.80, 0.78, 0.73), vec3(0.025), ink);
#endif
}
"""

_BODY = """
void main() {
    vec3 n = normalize(nor);
    // outward from the head's axis, as seen by a camera on the circle: highlights that are the same in every view
    vec3 view = normalize(vec3(pos.x, 0.35 * (pos.y - 0.08), pos.z + 0.015));
    vec3 h = normalize(key_dir + view);
    vec3 a = alb, shine = vec3(0.0), lit = light;
    float relief = 1.0;
#if GROUP == 0
    float mottle = noise(rest * 10.2 + 8.2) - 0.5;
    a *= 1.0 + vec3(0.10, 0.17, 0.19) * mottle;
    float dots = 0.5, rough = 1.0;
#ifdef FINE
    a *= 1.0 + 0.055 * (noise(rest * 75.0 + 1.4) - 0.5) * (1.0 - 0.5 * aux.z);
    dots = noise(rest * vec3(120.0, 90.0, 120.0) + 3.0);
    a *= 1.0 + 0.18 * aux.z * (noise(vec3(rest.x * 60.0, rest.y * 9.0, rest.z * 12.0)) - 0.5);
    rough = 0.8 + 0.4 * noise(rest * 60.0 + 9.0);
#endif
#ifdef FRECKLES
    float spot = smoothstep(0.70, 0.80, noise(rest * 34.0 + 2.3)) * smoothstep(0.35, 0.7, noise(rest * 9.0 + 1.4));
    a = mix(a, freckle, clamp(aux.x * spot, 0.0, 0.75));
#endif
#ifdef WRINKLES
    float deep = wrinkles * wrinkle_depth(rest), rim = wrinkles * wrinkle_depth(rest + vec3(0.0, 0.028, 0.0));
    a *= mix(vec3(1.0), vec3(0.70, 0.58, 0.55), clamp(0.75 * deep, 0.0, 1.0));
    a *= 1.0 + 0.10 * clamp(rim - deep, 0.0, 1.0);
    relief -= 0.4 * clamp(deep, 0.0, 1.0);
#endif
    a = mix(a, stubble, clamp(aux.y * (0.35 + 0.9 * dots), 0.0, 0.92));
    float s = 0.16 * pow(max(dot(n, h), 0.0), 18.0) + 0.10 * pow(max(dot(n, h), 0.0), 60.0);
    shine = skin_gloss * s * (1.0 + 1.4 * aux.z) * rough * aux.w * light * vec3(1.0, 0.98, 0.95);
#elif GROUP == 1
    vec3 e = normalize(rest);
    float r = length(e.xy), angle = atan(e.y, e.x), edge = 0.43, front = step(0.0, e.z);
    vec3 white = vec3(0.78, 0.74, 0.70) - 0.10 * vec3(0.2, 1.0, 1.0) * smoothstep(0.45, 1.0, r);
    white -= vec3(0.0, 0.10, 0.09) * smoothstep(0.60, 0.72, noise(vec3(angle * 5.0, r * 3.0, 1.0))) * smoothstep(0.5, 0.9, r);
    float rays = 0.65 + 0.7 * noise(vec3(cos(angle) * 9.0, sin(angle) * 9.0, r * 4.0));
    vec3 ring = mix(iris_inner, iris, smoothstep(0.16, 0.30, r)) * rays;
    ring *= 1.0 + 0.7 * smoothstep(0.05, -0.35, e.y);
    ring *= mix(1.0, 0.30, smoothstep(edge - 0.09, edge, r));
    ring = mix(vec3(0.006), ring, smoothstep(pupil - 0.02, pupil + 0.02, r));
    a = mix(white, mix(ring, white, smoothstep(edge - 0.015, edge + 0.03, r)), front);
    float glint = smoothstep(0.10, 0.06, length(e.xy - vec2(0.15, 0.20))) * front;
    float bounce = smoothstep(0.22, 0.05, length(e.xy - vec2(-0.16, -0.22))) * front;
    shine = vec3(glint * 0.95 * clamp(light.g * 1.3, 0.0, 1.0) + 0.10 * bounce);
    relief = mix(1.0, 1.0 - 0.55 * smoothstep(0.08, 0.0, abs(r - edge)) - 0.75 * smoothstep(pupil + 0.03, pupil, r), front);
#elif GROUP == 2
    vec3 t = normalize(rest);
    float fine = noise(vec3(aux.x * 3.2 + aux.z * 91.0, aux.y * 2.0, aux.z * 57.0));
    a *= 0.62 + 0.72 * fine;
    relief = 0.55 + 0.75 * fine;
    // two lobes along the strand (Kajiya-Kay), once for the key light and once for the light from behind
    vec3 lamps[2] = vec3[2](key_dir, vec3(-0.44, 0.44, -0.78));
    for (int k = 0; k < 2; k++) {
        float th = dot(t, normalize(lamps[k] + view)), first = sqrt(max(1.0 - th * th, 0.0));
        float moved = th + 0.12 + 0.10 * (fine - 0.5), second = sqrt(max(1.0 - moved * moved, 0.0));
        float s1 = pow(first, 90.0) * 0.10, s2 = pow(second, 22.0) * 0.34;
        vec3 lobes = s1 * (0.35 + 0.65 * fine) + s2 * (0.6 * a + 0.25 * sqrt(alb) * (0.4 + fine));
        shine += (k == 0 ? 1.0 : 0.8) * hair_gloss * smoothstep(-0.25, 0.5, dot(n, lamps[k])) * light * lobes;
    }
#elif GROUP == 3
    float fold = noise(rest * vec3(22.0, 14.0, 22.0)) - 0.5, weave = 0.0;
#ifdef FINE
    weave = noise(rest * 420.0) - 0.5;
#endif
    a *= 1.0 + 0.16 * weave + 0.14 * fold;
    bool ribbed = part == 12 || (part == 13 && aux.z > 0.5);
    if (ribbed) a *= 0.90 + 0.12 * smoothstep(0.3, 0.7, abs(fract(aux.x * 60.0) * 2.0 - 1.0));
#ifdef PATTERN
    if (part == 11) {
        float down = abs(fract(aux.y * 2.6) * 2.0 - 1.0), round_it = abs(fract(aux.x * 22.0) * 2.0 - 1.0);
        float stripe = smoothstep(0.46, 0.54, down), check = smoothstep(0.46, 0.54, round_it);
        vec2 cell = vec2(fract(aux.x * 34.0 + 0.5 * floor(mod(aux.y * 5.0, 2.0))), fract(aux.y * 5.0)) - 0.5;
        float mixed = pattern == 1 ? stripe : pattern == 2 ? 0.5 * (stripe + check) : smoothstep(0.30, 0.24, length(cell));
        a = mix(a, second_cloth * (1.0 + 0.14 * fold), mixed);
        relief = 1.0 - 0.25 * mixed;
    }
#endif
#else
    if (part == 10) shine = vec3(0.5 * pow(max(dot(n, h), 0.0), 40.0));
    if (part == 14) shine = vec3(1.0, 0.85, 0.55) * (0.25 + 0.9 * pow(max(dot(n, h), 0.0), 20.0)) * light;
#endif
#ifdef MATERIAL
    vec3 c = substance(a, relief, n, h, view);
#else
    vec3 c = a * lit + shine;
#endif
    out_colour = vec4(srgb(tone(c)), 1.0);
    out_geometry = vec4(n, length(pos - eye_pos));
    out_part = uint(part);
}
"""

DEPTH_VERTEX = "#version 330\nuniform mat4 mvp; in vec3 in_pos; void main() { gl_Position = mvp * vec4(in_pos, 1.0); }"
DEPTH_FRAGMENT = "#version 330\nvoid main() {}"

LIGHT = """
#version 330
uniform mat4 mats[COUNT]; uniform vec3 dirs[COUNT]; uniform vec3 radiance[COUNT]; uniform sampler2D atlas; uniform float bias;
in vec3 in_pos; in vec3 in_nor; in vec3 in_wrap; in float in_through;
out vec3 out_light; out float out_seen;
void main() {
    vec3 sum = vec3(0.0); out_seen = 0.0;
    for (int k = 0; k < COUNT; k++) {
        vec3 p = (mats[k] * vec4(in_pos, 1.0)).xyz * 0.5 + 0.5;
        vec2 uv = p.xy * SIDE.0 - 0.5; vec2 f = fract(uv);
        ivec2 lo = clamp(ivec2(floor(uv)), ivec2(0), ivec2(SIDE - 2)) + SIDE * ivec2(k % COLUMNS, k / COLUMNS);
        float z = p.z - bias;
        vec4 nearest = vec4(texelFetch(atlas, lo, 0).r, texelFetch(atlas, lo + ivec2(1, 0), 0).r,
                            texelFetch(atlas, lo + ivec2(0, 1), 0).r, texelFetch(atlas, lo + ivec2(1, 1), 0).r);
        vec4 open_to = step(vec4(z), nearest);
        float open_air = mix(mix(open_to.x, open_to.y, f.x), mix(open_to.z, open_to.w, f.x), f.y);
        if (abs(dirs[k].y) < 0.8) out_seen = max(out_seen, open_air);
        float seen = mix(in_through, 1.0, open_air);
        vec3 lambert = max((dot(in_nor, dirs[k]) + in_wrap) / (1.0 + in_wrap), 0.0) / (1.0 + in_wrap);
        sum += lambert * seen * radiance[k];
    }
    out_light = sum;
}
"""


def fragment(group: int, *, fine: bool, freckles: bool, wrinkles: bool, pattern: bool, material: int) -> str:
    """The fragment shader of one group of parts with what it does not need left out; ``fine`` is for large pictures."""
    wanted = {"FINE": fine, "FRECKLES": freckles, "WRINKLES": wrinkles, "PATTERN": pattern}
    defines = [f"#define GROUP {group}"] + [f"#define {name}" for name, on in wanted.items() if on]
    defines += [f"#define MATERIAL {material}"] if material else []
    source = _COMMON.replace("@DEFINES@", "\n".join(defines)) + (_WRINKLES if wrinkles else "")
    return source + (_SUBSTANCE if material else "") + _BODY
