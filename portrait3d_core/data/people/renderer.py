"""Rasteriser on OpenGL without a window (EGL; Mesa's software driver will do): pictures of a mesh, and the light on it.

Cameras follow ``portrait3d_core.cameras``; pixel centres lie at (i + 0.5) / n. With LP_NUM_THREADS=0 in the environment Mesa
draws in the calling thread, which is fastest where several processes share the processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import MissingDependencyError
from ..world import BACKGROUND
from . import shaders
from .meshes import Mesh, Part
from .needs import optional

KEY_DIRECTION = np.array([0.38, 0.62, 0.69]) / np.linalg.norm([0.38, 0.62, 0.69])
NEAR_M, FAR_M = 1.2, 5.0
FINE_FROM_PX = 640
"""Pores, lip lines and weave are drawn from this many samples across; below they are finer than a sample."""
SHADOW_MAP_PX, SHADOW_BIAS_M = 256, 0.004
_SCENE_HALF_M, _SCENE_CENTRE = 0.27, np.array([0.0, 0.04, 0.0])
_INPUTS = (("in_pos", 3), ("in_nor", 3), ("in_alb", 3), ("in_light", 3), ("in_rest", 3), ("in_aux", 4), ("in_part", 1))


@dataclass(frozen=True)
class Samples:
    """One sample per pixel of one view."""

    colour: np.ndarray
    """[n, n, 3] uint8 sRGB, 0 where nothing is hit."""
    normal: np.ndarray
    """[n, n, 3] float32, world axes."""
    depth: np.ndarray
    """[n, n] float32 metres along the ray, 0 where nothing is hit."""
    part: np.ndarray
    """[n, n] uint8 ``Part``."""


class Renderer:
    """One OpenGL context. ``load`` a head, then ``draw`` it; ``shadows`` and ``irradiance`` bake its light before that."""

    def __init__(self) -> None:
        """Raises MissingDependencyError where moderngl or a driver for drawing without a window is missing."""
        self._gl = optional("moderngl")
        try:
            self._context = self._gl.create_context(standalone=True, backend="egl")
        except Exception as error:  # glcontext raises bare Exceptions
            raise MissingDependencyError(
                f"No OpenGL without a window ({error})",
                expected="an EGL driver; Mesa's software driver is enough",
                fix="on Debian or Ubuntu run: apt-get install libegl1 libgl1-mesa-dri libegl-mesa0",
            ) from error
        self._programs: dict[Any, Any] = {}
        self._targets: dict[int, Any] = {}
        self._light_programs: dict[int, Any] = {}
        self._atlases: dict[int, Any] = {}
        self._depth_program = self._context.program(vertex_shader=shaders.DEPTH_VERTEX, fragment_shader=shaders.DEPTH_FRAGMENT)
        self._loaded: list[Any] = []

    def load(self, mesh: Mesh, uniforms: dict[str, Any], material: int = 0) -> None:
        """Make ``mesh`` the head that is drawn. ``uniforms``: values of the shaders; ``material``: index of MATERIALS."""
        for item in self._loaded:
            item.release()
        group = np.array(shaders.GROUP_OF_PART)[mesh.part[mesh.triangles[:, 0]].astype(int)]
        triangles = mesh.triangles[np.argsort(group, kind="stable")]
        self._ranges = [(g, int((group < g).sum()), int((group == g).sum())) for g in range(5) if (group == g).any()]
        arrays = [mesh.position, mesh.normal, mesh.albedo, mesh.light, mesh.rest, mesh.aux, mesh.part[:, None]]
        vertices = self._context.buffer(np.concatenate(arrays, 1).astype("f4").tobytes())
        indices = self._context.buffer(triangles.astype("i4").tobytes())
        self._scene = (vertices, indices, {**uniforms, "key_dir": tuple(KEY_DIRECTION)})
        skin = mesh.part == Part.SKIN
        self._options = {
            "freckles": bool((mesh.aux[skin, 0] > 0).any()),
            "wrinkles": uniforms["wrinkles"] > 0,
            "pattern": uniforms["pattern"] > 0,
            "material": material,
        }
        self._arrays: dict[Any, Any] = {}
        self._loaded = [vertices, indices]

    def _program(self, group: int, fine: bool) -> tuple[Any, Any]:
        options = dict(self._options, fine=fine)
        for name, only in (("freckles", 0), ("wrinkles", 0), ("pattern", 3)):
            options[name] = options[name] and group == only
        key = (group, *options.values())
        if key not in self._programs:
            source = shaders.fragment(group, **options)
            self._programs[key] = self._context.program(vertex_shader=shaders.VERTEX, fragment_shader=source)
        program = self._programs[key]
        if key not in self._arrays:
            vertices, indices, uniforms = self._scene
            kept = [(f"{size}f", name) if name in program else (f"{4 * size}x", "") for name, size in _INPUTS]
            layout = " ".join(form for form, _ in kept)
            content = [(vertices, layout, *(name for _, name in kept if name))]
            self._arrays[key] = self._context.vertex_array(program, content, indices)
            self._loaded.append(self._arrays[key])
            for name, value in uniforms.items():
                if name in program:
                    program[name].value = value
        return program, self._arrays[key]

    def draw(self, cam2world: np.ndarray, intrinsics: np.ndarray, n: int) -> Samples:
        """The loaded head from one camera: cam2world [4, 4] and normalised intrinsics [3, 3], at n x n samples."""
        context, target = self._context, self._target(n)
        target.use()
        target.clear(0, 0, 0, 0)
        depth_scale, depth_shift = (FAR_M + NEAR_M) / (FAR_M - NEAR_M), -2 * FAR_M * NEAR_M / (FAR_M - NEAR_M)
        projection = np.zeros((4, 4))
        projection[:2, :3] = 2 * intrinsics[:2]
        projection[:2, 2] -= 1
        projection[2, 2:] = depth_scale, depth_shift
        projection[3, 2] = 1
        mvp = projection @ np.linalg.inv(cam2world)
        context.front_face = "cw"  # the picture's rows run downwards
        for group, first, count in self._ranges:
            program, array = self._program(group, n >= FINE_FROM_PX)
            program["mvp"].write(mvp.T.astype("f4").tobytes())
            if "eye_pos" in program:
                program["eye_pos"].value = tuple(cam2world[:3, 3])
            closed = group <= 1  # skin and eyes are closed, their backs are never seen
            context.enable_only(self._gl.DEPTH_TEST | (self._gl.CULL_FACE if closed else 0))
            array.render(vertices=3 * count, first=3 * first)
        colour = np.frombuffer(target.read(components=4, attachment=0), np.uint8).reshape(n, n, 4)
        geometry = np.frombuffer(target.read(components=4, attachment=1, dtype="f4"), np.float32).reshape(n, n, 4)
        part = np.frombuffer(target.color_attachments[2].read(), np.uint8).reshape(n, n)
        return Samples(colour[..., :3], geometry[..., :3], geometry[..., 3], part)

    def _target(self, n: int) -> Any:
        if n not in self._targets:
            context = self._context
            layers = [
                context.texture((n, n), 4),
                context.texture((n, n), 4, dtype="f4"),
                context.texture((n, n), 1, dtype="u1"),
            ]
            self._targets[n] = context.framebuffer(layers, context.depth_renderbuffer((n, n)))
        return self._targets[n]

    def shadows(self, position: np.ndarray, triangles: np.ndarray, directions: np.ndarray) -> None:
        """Draw one depth map per direction [D, 3] of what stands in the light; ``irradiance`` looks into them.

        position: [V, 3]; triangles: [T, 3] of the occluders.
        """
        context, count, n = self._context, len(directions), SHADOW_MAP_PX
        columns = math.ceil(math.sqrt(count))
        if columns not in self._atlases:
            self._atlases[columns] = context.framebuffer([], context.depth_texture((n * columns,) * 2))
        target = self._atlases[columns]
        target.depth_attachment.compare_func = ""
        vertices = context.buffer(np.asarray(position, "f4").tobytes())
        indices = context.buffer(np.asarray(triangles, "i4").tobytes())
        array = context.vertex_array(self._depth_program, [(vertices, "3f", "in_pos")], indices)
        target.use()
        target.clear(depth=1.0)
        context.enable_only(self._gl.DEPTH_TEST)
        self._light_matrices = np.empty((count, 4, 4))
        for k, direction in enumerate(directions):
            up = np.array([0.0, 1.0, 0.0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
            x = np.cross(up, direction)
            x /= np.linalg.norm(x)
            view = np.stack([x, np.cross(direction, x), -direction]) / _SCENE_HALF_M
            matrix = np.eye(4)
            matrix[:3, :3], matrix[:3, 3] = view, -view @ _SCENE_CENTRE
            self._light_matrices[k] = matrix
            self._depth_program["mvp"].write(matrix.T.astype("f4").tobytes())
            target.viewport = (k % columns * n, k // columns * n, n, n)
            array.render()
        target.viewport = (0, 0, n * columns, n * columns)
        self._atlas, self._directions = target, directions
        for item in (array, vertices, indices):
            item.release()

    def irradiance(
        self, points: np.ndarray, normals: np.ndarray, wrap: np.ndarray, through: np.ndarray, radiance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """([V, 3] light, [V] 1 where some direction sees the point) at points [V, 3] under the maps of the last ``shadows``.

        Sums radiance [D, 3] x wrapped cosine x visibility, the latter filtered over 2 x 2 texels. wrap: [V, 3] softens the
        terminator per colour; through: [V] share of light that passes an occluder.
        """
        context, count = self._context, len(self._directions)
        columns = math.ceil(math.sqrt(count))
        if count not in self._light_programs:
            source = shaders.LIGHT.replace("COUNT", str(count)).replace("COLUMNS", str(columns))
            self._light_programs[count] = context.program(
                vertex_shader=source.replace("SIDE", str(SHADOW_MAP_PX)), varyings=["out_light", "out_seen"]
            )
        program = self._light_programs[count]
        program["mats"].write(np.ascontiguousarray(self._light_matrices.transpose(0, 2, 1)).astype("f4").tobytes())
        program["dirs"].write(np.asarray(self._directions, "f4").tobytes())
        program["radiance"].write(np.asarray(radiance, "f4").tobytes())
        program["bias"].value = SHADOW_BIAS_M / _SCENE_HALF_M * 0.5
        table = np.concatenate([points, normals, wrap, through[:, None]], 1).astype("f4")
        given, out = context.buffer(table.tobytes()), context.buffer(reserve=len(points) * 16)
        self._atlas.depth_attachment.use(0)
        array = context.vertex_array(program, [(given, "3f 3f 3f 1f", "in_pos", "in_nor", "in_wrap", "in_through")])
        array.transform(out, self._gl.POINTS, vertices=len(points))
        result = np.frombuffer(out.read(), np.float32).reshape(-1, 4)
        for item in (array, given, out):
            item.release()
        return result[:, :3].astype(np.float64), result[:, 3].copy()


def averaged(samples: Samples, supersample: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(colour [m, m, 3] 0..1 on BACKGROUND, mask [m, m], depth, normal, part) of samples, m = n / supersample.

    Depth and normal are means of the hits, 0 where nothing is hit; part is that of one sample.
    """
    s, m = supersample, samples.part.shape[0] // supersample

    def pool(a: np.ndarray) -> np.ndarray:
        return a.reshape(m, s, m, s, -1).astype(np.float32).mean((1, 3))

    hit = (samples.part > 0).astype(np.float32)[..., None]
    mask = pool(hit)
    colour = pool(samples.colour * hit) / 255 + (1 - mask) * np.asarray(BACKGROUND, np.float32)
    normal = pool(samples.normal * hit)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    depth = pool(samples.depth[..., None] * hit)[..., 0] / np.maximum(mask[..., 0], 1e-6)
    return colour, mask[..., 0], depth, normal, samples.part[s // 2 :: s, s // 2 :: s]
