"""Hair styles, grown once each on the average head: strands follow a combing field over it, then fall under gravity.

Everything random comes from a generator seeded by the style; neighbours for clumps and curls are chosen here, once. So the same
strand is in the same place on every head, and a network that learns from many heads can draw it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from .anatomy import average_head, landmark, normals_of
from .assets import BODY, topology
from .attributes import FRINGED_HAIR, HAIR_STYLES
from .meshes import smoothstep, unit
from .needs import optional
from .regions import above_hairline, masks
from .strands import Roots, scatter

LENGTH_LIMIT = 1.2
"""Hair is grown this much longer than the style's length and cut to the person's."""
_DOWN = np.array([0.0, -1.0, 0.0])


@dataclass(frozen=True)
class Style:
    """How one style grows. Lengths in world units (metres times the head's scale)."""

    strands: int
    length: float
    spread: float
    """Relative variation of the length."""
    rings: int
    """Points per strand."""
    width: float
    lift: float
    """How much the root stands up."""
    gravity: float
    comb: float
    thickness: tuple[float, float]
    """Clearance over the head of the lowest and the highest layer."""
    noise: float
    clump: float
    curl: float = 0.0
    turns: float = 0.0
    outward: float = 0.0
    cut_y: float | None = None
    """Height at which the hair is cut straight."""
    gloss: float = 1.0


STYLES: dict[str, Style] = {
    "buzz cut": Style(5600, 0.0060, 0.2, 3, 0.0026, 0.55, 0, 0.7, (0.0005, 0.004), 0.3, 0, gloss=0.45),
    "short crop": Style(2900, 0.034, 0.3, 6, 0.0042, 0.60, 0.05, 0.62, (0.002, 0.018), 0.20, 0.40),
    "side part": Style(2600, 0.075, 0.25, 9, 0.0052, 0.55, 0.10, 0.75, (0.002, 0.022), 0.12, 0.45),
    "slicked back": Style(2500, 0.11, 0.12, 10, 0.0052, 0.35, 0.10, 0.95, (0.002, 0.014), 0.06, 0.35),
    "bob": Style(2300, 0.30, 0.04, 13, 0.0070, 0.35, 0.55, 0.55, (0.004, 0.026), 0.06, 0.35, cut_y=-0.035),
    "long straight": Style(2300, 0.37, 0.07, 16, 0.0070, 0.3, 0.6, 0.5, (0.003, 0.024), 0.05, 0.4),
    "long wavy": Style(2200, 0.37, 0.09, 21, 0.0072, 0.4, 0.5, 0.45, (0.005, 0.034), 0.08, 0.6, curl=0.008, turns=5),
    "curly": Style(2300, 0.145, 0.22, 20, 0.0080, 0.8, 0.42, 0.30, (0.006, 0.034), 0.22, 0.55, 0.0075, 3.6, 0.08),
    "afro": Style(3800, 0.026, 0.10, 8, 0.0080, 1.0, 0, 0, (0.003, 0.030), 0.35, 0.1, 0.0040, 3.0, 1.0, gloss=0.45),
    "bun": Style(2200, 0.30, 0.0, 15, 0.0054, 0.15, 0, 1.0, (0.0015, 0.009), 0.04, 0.3),
    "ponytail": Style(2200, 0.30, 0.0, 15, 0.0054, 0.15, 0, 1.0, (0.0015, 0.010), 0.04, 0.3),
}
LOOSE_SHARE = 0.014
"""Share of thin strands that stand off the rest."""
_GATHERED = ("bun", "ponytail")
_CURTAINS = ("bob", "long straight", "long wavy", "curly")
"""Styles that hang beside the face and must leave it free."""
_SHOULDER_FLOOR_Y = -0.178
_WHORL = (0.12, 8.35, 0.05)
"""Where short hair turns away from the crown, on the rest mesh, dm."""


@dataclass(frozen=True)
class Grown:
    """One style on the average head."""

    points: np.ndarray
    """[N, K, 3] evenly spaced along each strand."""
    normals: np.ndarray
    """[N, K, 3] outward normals of the hair's volume."""
    width: np.ndarray
    """[N] metres"""
    root: np.ndarray
    """[N, 3] the roots on the rest mesh, dm; of strands that have none, the crown."""
    fringe: np.ndarray
    """[N] 1 for the strands of a fringe, 0 for the others."""
    free: np.ndarray
    """[N] 0..1 how much each strand hangs in the air by itself."""
    stretch: np.ndarray
    """[N] 1 where the person's hair length shortens the strand, 0 where it does not."""


class Skull:
    """Signed distance to the smoothed average head, neck and clothed shoulders, from a table of 9 mm cells."""

    LOW, CELL_M, CELLS = np.array([-0.26, -0.23, -0.22]), 0.009, np.array([58, 60, 52])
    CLOTH_M = 0.009

    def __init__(self) -> None:
        topo, body = topology(), topology().triangles_of(BODY)
        smooth = topo.smooth(average_head(), 6)
        normal = normals_of(smooth, body)
        clothed = smoothstep(6.05, 5.75, topo.rest[:, 1])[:, None] * self.CLOTH_M
        keep = (topo.piece == BODY) & (masks()["mouth"] < 0.3) & (np.linalg.norm(normal, axis=1) > 0.5)
        points, normals = (smooth + clothed * normal)[keep], normal[keep]
        axes = [self.LOW[k] + self.CELL_M * np.arange(self.CELLS[k]) for k in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        _, i = optional("scipy.spatial").cKDTree(points).query(grid, k=1)
        offset = grid - points[i]
        distance, sign = np.linalg.norm(offset, axis=1), np.sign((offset * normals[i]).sum(1))
        table = np.concatenate([(distance * sign)[:, None], normals[i] + 0.5 * unit(offset * sign[:, None])], 1)
        self.table = table.reshape(*self.CELLS, 4)

    def query(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(signed distance [N] metres, outward normal [N, 3]) at points [N, 3], trilinear."""
        u = np.clip((p - self.LOW) / self.CELL_M, 0, self.CELLS - 1.001)
        i = u.astype(int)
        f = u - i
        out = np.zeros((len(p), 4))
        for corner in range(8):
            o = np.array([corner & 1, corner >> 1 & 1, corner >> 2])
            c = i + o
            out += np.where(o, f, 1 - f).prod(1)[:, None] * self.table[c[:, 0], c[:, 1], c[:, 2]]
        return out[:, 0], unit(out[:, 1:])


@cache
def _skull() -> Skull:
    return Skull()


@dataclass(frozen=True)
class _Strands:
    """What is fixed about every strand before it grows; all [N] or [N, 3]."""

    start: np.ndarray
    rest: np.ndarray
    rim: np.ndarray
    """0 at the hairline .. 1 well inside."""
    fade: np.ndarray
    """0 at the short sides .. 1 on top."""
    layer: np.ndarray
    wander: np.ndarray
    loose: np.ndarray
    part_x: np.ndarray


def _sow(name: str, style: Style, rng: np.random.Generator) -> _Strands:
    topo, head = topology(), average_head()
    height = above_hairline(topo.rest)
    fringe = 0.03 * np.sin(topo.rest[:, 0] * 23 + 1.0) * np.sin(topo.rest[:, 0] * 9)
    weight = smoothstep(-0.02, 0.10, height + fringe) * (1 - smoothstep(0.3, 0.7, masks()["ears"]))
    if name in _GATHERED:  # no loose sideburns
        weight = weight * np.where(topo.rest[:, 2] > 0.35, smoothstep(7.40, 7.55, topo.rest[:, 1]), 1.0)
    part = {"side part": 0.28, "bob": 0.22, "long straight": 0.08, "long wavy": 0.2}.get(name)
    if part is not None:  # more along the parting, where hair turns away and would leave the scalp bare
        weight = weight * (1 + 2.0 * np.exp(-(((topo.rest[:, 0] - part) / 0.10) ** 2)) * smoothstep(7.9, 8.1, topo.rest[:, 1]))
    if name == "short crop":  # the same around the whorl
        weight = weight * (1 + 2.0 * np.exp(-(((topo.rest - _WHORL) ** 2).sum(1) / 0.12**2)))
    roots: Roots = scatter(weight, style.strands, rng)
    rest, count = roots.at(topo.rest), style.strands
    faded = name in ("short crop", "side part")
    return _Strands(
        start=roots.at(head),
        rest=rest,
        rim=smoothstep(0.0, 0.35, roots.at(height[:, None])[:, 0]),
        fade=smoothstep(7.25, 8.0, rest[:, 1]) if faded else np.ones(count),
        layer=rng.random(count) ** 0.8,
        wander=unit(rng.normal(size=(count, 3))),
        loose=(rng.random(count) < (LOOSE_SHARE if name not in ("buzz cut", "afro") else 0)).astype(float),
        part_x=(part or 0.0) + 0.055 * rng.normal(size=count),
    )


def _combing(name: str, s: _Strands, q: np.ndarray, normal: np.ndarray, knot: np.ndarray, whorl: np.ndarray) -> np.ndarray:
    """[N, 3] the direction in which hair at points q [N, 3] is combed, along the surface."""
    rest, count = s.rest, len(q)
    flat: np.ndarray | float = 1.0
    if name in _GATHERED:  # straight at the knot once near it
        c = knot - q
        flat = 1 - np.exp(-np.linalg.norm(c, axis=1, keepdims=True) / 0.03)
        c = unit(c)
    elif name == "slicked back":
        back = smoothstep(0.035, -0.05, q[:, 2])
        c = np.stack([0.10 * np.sign(rest[:, 0]) * (1 - back), -0.30 - 0.9 * back, -1.0 + 0.8 * back], 1)
    elif name == "side part":
        toward = np.where(rest[:, 0] > s.part_x, 1.0, -1.0)
        top = smoothstep(7.7, 8.05, rest[:, 1])
        front = 0.30 * top * (rest[:, 2] > 0.3) - 0.55 * (1 - top)
        c = np.stack([toward * (0.9 * top + 0.05), -0.35 - 0.3 * (1 - top), front], 1)
    elif name in ("bob", "long straight", "long wavy"):
        toward = np.where(rest[:, 0] > s.part_x, 1.0, -1.0)
        front, back = smoothstep(0.2, 0.9, rest[:, 2]), smoothstep(0.55, 0.05, rest[:, 2])
        side = toward * (1.0 - back) + (0.12 * s.wander[:, 0] - 5.0 * q[:, 0]) * back
        c = np.stack([side, -0.8 * np.ones(count), -0.35 * front - 0.5 * back], 1)
    else:
        c = unit(q - whorl) + 0.35 * _DOWN + np.array([0.0, 0.0, 0.35]) * smoothstep(7.9, 8.1, rest[:, 1])[:, None]
    return unit(c - flat * (c * normal).sum(1, keepdims=True) * normal)


def _lengths(name: str, style: Style, s: _Strands, rng: np.random.Generator) -> np.ndarray:
    count = len(s.start)
    lengths = style.length * LENGTH_LIMIT * (1 + style.spread * rng.normal(0, 0.6, count).clip(-1.2, 1.2))
    if name == "slicked back":
        lengths *= 0.16 + 0.72 * smoothstep(7.1, 8.25, s.rest[:, 1])
    if name in ("short crop", "side part"):
        lengths *= 0.38 + 0.62 * s.fade
    if name == "short crop":
        lengths *= 0.8 + 0.35 * smoothstep(0.2, 1.0, s.rest[:, 2])
    return lengths * (1 + 0.15 * s.loose)


def _leave_face_free(name: str, s: _Strands, q: np.ndarray, ids: np.ndarray, brow_y: float, cheek_x: float) -> None:
    """In front of the ears strands go round the face like a curtain. Changes q."""
    low = smoothstep(brow_y + 0.045, brow_y - 0.02, q[:, 1] - 0.02 * (name == "curly"))
    wide = (cheek_x + 0.004 + 0.010 * ids) * low * smoothstep(0.030, 0.055, q[:, 2])
    side = np.where(s.rest[:, 0] > s.part_x, 1.0, -1.0)
    q[:, 0] = np.where(side * q[:, 0] < wide, q[:, 0] + 0.5 * (side * wide - q[:, 0]), q[:, 0])
    q[:, 2] -= 0.25 * low * smoothstep(0.055, 0.09, q[:, 2]) * (q[:, 2] - 0.055)


def _trace(name: str, style: Style, s: _Strands, knot: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(points, normals) [N, K, 3] of strands that grow step by step from their roots."""
    skull, head, count = _skull(), average_head(), len(s.start)
    gathered, hangs = name in _GATHERED, name in ("long straight", "long wavy")
    stop_y = style.cut_y - 0.03 if style.cut_y is not None else _SHOULDER_FLOOR_Y if hangs else -1.0
    whorl = landmark(_WHORL, head)
    brow_y, cheek_x = landmark((0.0, 7.62, 1.4), head)[1], abs(landmark((0.62, 7.1, 0.85), head)[0])
    p, (_, n) = s.start.copy(), skull.query(s.start)
    clearance = style.thickness[0] + (style.thickness[1] - style.thickness[0]) * s.layer * (0.35 + 0.65 * s.rim)
    clearance = clearance * (0.30 + 0.70 * s.fade) * (1 + 0.15 * s.loose) + 0.002 * s.loose * s.rim
    lengths = _lengths(name, style, s, rng)
    noise = style.noise * (1 + s.loose)
    lift = (style.lift * (0.5 + 0.5 * s.rim))[:, None] * n
    d = unit(lift + style.comb * _combing(name, s, p, n, knot, whorl) + noise[:, None] * rng.normal(size=(count, 3)) + 1e-6)
    inner = 3 if style.length > 0.15 else 2
    steps = (style.rings - 1) * inner
    step, alive, ids = lengths / steps, np.ones(count, bool), rng.random(count)
    points, normals = [p.copy()], [n.copy()]
    for k in range(steps):
        sd, n = skull.query(p)
        c = _combing(name, s, p, n, knot, whorl)
        if gathered:
            d = unit(d + 0.55 * c + noise[:, None] * 0.18 * s.wander)
        else:
            stick = style.comb * (1 - 0.85 * smoothstep(0.0, 0.03, sd - clearance))
            pull = style.gravity * 0.45 * _DOWN + style.outward * 0.35 * n + noise[:, None] * 0.18 * s.wander
            d = unit(d + (0.30 * stick)[:, None] * c + pull)
        if hangs:  # on the shoulders hair goes to the front or to the back, not outwards
            on = smoothstep(-0.02, -0.08, p[:, 1])[:, None]
            ways = [-0.35 * np.sign(p[:, 0]) * (np.abs(p[:, 0]) > 0.05), np.full(count, -0.3)]
            d = unit(d + on * np.stack([*ways, np.where(s.rest[:, 2] > 0.75, 0.5, -0.2)], 1))
        if gathered:
            alive &= np.linalg.norm(knot - p, axis=1) > np.maximum(step * 1.2, 0.020)
        q = p + d * step[:, None]
        sd, n = skull.query(q)
        along = (k + 1) / steps * (1.0 if style.length > 0.1 else 1.5)
        want = clearance * float(smoothstep(0.0, 0.02 / max(style.length, 0.02) + 0.05, along))
        q = q + np.maximum(want - sd, 0)[:, None] * n
        slid = unit(d - np.minimum((d * n).sum(1, keepdims=True), 0) * n)
        d = np.where((sd < want)[:, None], slid, d)
        if name in _CURTAINS:
            _leave_face_free(name, s, q, ids, brow_y, cheek_x)
        if gathered:
            q = np.where(alive[:, None], q, knot + 0.004 * s.wander)
        else:
            alive &= q[:, 1] >= stop_y
            q = np.where(alive[:, None], q, p)
        q[:, 2] = np.maximum(q[:, 2], -0.205 - 0.01 * ids)
        p = q
        if (k + 1) % inner == 0:
            points.append(p.copy())
            normals.append(n.copy())
    return np.stack(points, 1), np.stack(normals, 1)


def _even(points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equal spacing along each strand; strands that stopped early repeat their last point."""
    count, rings = points.shape[:2]
    length = np.linalg.norm(np.diff(points, axis=1), axis=2)
    s = np.concatenate([np.zeros((count, 1)), np.cumsum(length, 1)], 1)
    out_p, out_n = np.empty_like(points), np.empty_like(normals)
    for i in range(count):
        at = np.linspace(0, s[i, -1], rings)
        for axis in range(3):
            out_p[i, :, axis] = np.interp(at, s[i], points[i, :, axis])
            out_n[i, :, axis] = np.interp(at, s[i], normals[i, :, axis])
    return out_p, unit(out_n)


def _clump(points: np.ndarray, rest: np.ndarray, loose: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Draw the tips of strands that are neighbours on the scalp together."""
    guides = rng.choice(len(points), max(len(points) // 9, 1), replace=False)
    _, nearest = optional("scipy.spatial").cKDTree(rest[guides]).query(rest)
    target = points[guides][nearest]
    t = np.linspace(0, 1, points.shape[1])[None, :, None] ** 1.3
    near = np.exp(-np.linalg.norm(points - target, axis=2, keepdims=True) / 0.02) * (1 - loose)[:, None, None]
    return points + amount * t * near * (target - points)


def _curl(points: np.ndarray, rest: np.ndarray, style: Style, crimped: bool, rng: np.random.Generator) -> np.ndarray:
    """Wind strands into helices; neighbours on the scalp share their phase, unless ``crimped``."""
    count, rings = points.shape[:2]
    tangent = unit(np.gradient(points, axis=1))
    aside = np.where(np.abs(tangent[..., 1:2]) < 0.9, np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    a = unit(np.cross(tangent, aside))
    b = np.cross(tangent, a)
    t = np.linspace(0, 1, rings)[None]
    guides = rng.random((max(count // 10, 1), 2))
    if crimped:
        pick = rng.integers(len(guides), size=count)
    else:
        pick = optional("scipy.spatial").cKDTree(rest[::10]).query(rest)[1] % len(guides)
    phase = 2 * np.pi * guides[pick, :1] + rng.normal(0, 0.5, (count, 1))
    angle = 2 * np.pi * style.turns * LENGTH_LIMIT * (0.8 + 0.4 * guides[pick, 1:]) * t + phase
    r = style.curl * smoothstep(0.02, 0.35, t)
    return points + (r * np.cos(angle))[..., None] * a + (r * np.sin(angle))[..., None] * b


def _pressed(points: np.ndarray, height: float) -> np.ndarray:
    """Loops that stand further off the top of the head than ``height`` are pressed down to about it."""
    sd, n = _skull().query(points.reshape(-1, 3))
    over = (np.maximum(sd - height, 0) * smoothstep(0.10, 0.15, points.reshape(-1, 3)[:, 1]))[:, None]
    return points - (0.85 * over * n).reshape(points.shape)


def _ball(centre: np.ndarray, radius: float, rings: int, rng: np.random.Generator, count: int = 420):
    """(points, normals) of strands wound around a bun."""
    u = rng.random(count)[:, None] * 2 * np.pi
    angle = u + np.linspace(0, 1, rings)[None] * rng.uniform(1.4, 2.6, (count, 1))
    latitude = rng.normal(0, 0.55, (count, 1)).clip(-1.3, 1.3) + 0.35 * np.sin(angle + u)
    axis, x = unit(np.array([0.0, 0.45, -1.0])), np.array([1.0, 0, 0])
    y = np.cross(axis, x)
    flat = (np.cos(latitude) * np.cos(angle))[..., None] * x + (np.cos(latitude) * np.sin(angle))[..., None] * y
    direction = flat + np.sin(latitude)[..., None] * axis * 0.8
    return centre + radius * direction * (0.9 + 0.12 * rng.random((count, 1, 1))), unit(direction)


def _tail(knot: np.ndarray, rings: int, rng: np.random.Generator, count: int = 650):
    """(points, normals) of a bundle of strands from the knot that arcs back and falls."""
    p = knot + 0.010 * unit(rng.normal(size=(count, 3)))
    d = unit(np.array([0.0, 0.35, -1.0]) + 0.28 * rng.normal(size=(count, 3)))
    offset = unit(rng.normal(size=(count, 3)))
    step = 0.22 * LENGTH_LIMIT * (1 + 0.12 * rng.normal(size=count)) / (rings - 1)
    points = [p]
    for k in range(rings - 1):
        d = unit(d + np.array([0.02, -0.42, 0.0]) + 0.03 * offset)
        p = p + d * step[:, None]
        sd, n = _skull().query(p)
        p = p + np.maximum(0.008 + 0.004 * (k > 3) - sd, 0)[:, None] * n
        points.append(p)
    stacked = np.stack(points, 1)
    outward = stacked - stacked.mean(0, keepdims=True)  # smooth along the strand, or it would turn about itself
    return stacked, unit(outward.mean(1, keepdims=True) + 0.5 * outward + [0, 0.001, -0.005])


def _fringe(rings: int, rng: np.random.Generator, count: int = 620) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(points, normals, roots on the rest mesh) of strands combed from the crown over the forehead, cut above the eyes."""
    topo, head, skull = topology(), average_head(), _skull()
    x, y, z = topo.rest.T
    weight = (
        smoothstep(8.02, 8.10, y) * smoothstep(0.50, 0.44, np.abs(x)) * smoothstep(0.55, 0.75, z) * smoothstep(1.35, 1.2, z)
    )
    roots = scatter(weight, count, rng)
    rest, p = roots.at(topo.rest), roots.at(head)
    layer = 0.004 + 0.012 * rng.random(count)
    cut = landmark((0.0, 7.50, 1.4), head)[1] + 0.003 * rng.normal(size=count) - 0.10 * np.maximum(np.abs(p[:, 0]) - 0.03, 0)
    steps = (rings - 1) * 3
    _, n = skull.query(p)
    d = unit(0.6 * n + [0, 0, 0.6] + 0.05 * rng.normal(size=(count, 3)))
    alive, points, normals = np.ones(count, bool), [p.copy()], [n.copy()]
    for k in range(steps):
        ahead = unit(np.stack([1.5 * p[:, 0], np.full(count, -0.55), np.full(count, 0.45 * (1 - k / steps))], 1))
        d = unit(d + 0.45 * (ahead - np.maximum((ahead * n).sum(1, keepdims=True), 0) * n) + 0.10 * _DOWN)
        q = p + d * (0.13 / steps)
        sd, n = skull.query(q)
        q = q + np.maximum(layer * float(smoothstep(0, 0.2, (k + 1) / steps)) - sd, 0)[:, None] * n
        alive &= q[:, 1] > cut
        p = np.where(alive[:, None], q, p)
        if (k + 1) % 3 == 0:
            points.append(p.copy())
            normals.append(n.copy())
    return *_even(np.stack(points, 1), np.stack(normals, 1)), rest


@cache
def grow(name: str) -> Grown:
    """The style ``name`` on the average head, parted on the person's left; grown once per process."""
    style, rng = STYLES[name], np.random.default_rng([HAIR_STYLES.index(name), 3])
    s = _sow(name, style, rng)
    head = average_head()
    high = (0.0, 8.0, -0.30) if name == "bun" else (0.0, 7.80, -0.38)
    knot = landmark(high, head) + np.array([0, 0.004, -0.009])
    points, normals = _trace(name, style, s, knot, rng)
    if style.clump:
        points = _clump(points, s.rest, s.loose, style.clump, rng)
    if style.length > 0.2 and name not in _GATHERED:
        points, normals = _even(points, normals)
    if style.curl:
        points = _curl(points, s.rest, style, name == "afro", rng)
    if name == "curly":
        points = _pressed(points, 0.044)
    width = style.width * np.where(s.loose > 0, 0.6, 1.0)
    stretch = np.full(len(points), float(name not in _GATHERED))
    root = s.rest
    if name in _GATHERED:
        extra = _ball(knot + [0, 0.004, -0.016], 0.033, style.rings, rng) if name == "bun" else _tail(knot, style.rings, rng)
        more = len(extra[0])
        points, normals = np.concatenate([points, extra[0]]), np.concatenate([normals, extra[1]])
        width = np.concatenate([width, np.full(more, style.width)])
        root = np.concatenate([root, np.tile([[0.0, 8.4, 0.3]], (more, 1))])
        stretch = np.concatenate([stretch, np.full(more, float(name == "ponytail"))])
    fringe = np.zeros(len(points))
    free = np.concatenate([s.loose, np.full(len(points) - len(s.loose), 0.5 * (name == "ponytail"))])
    if name in FRINGED_HAIR:
        more_points, more_normals, more_roots = _fringe(style.rings, rng)
        points, normals = np.concatenate([points, more_points]), np.concatenate([normals, more_normals])
        root, width = np.concatenate([root, more_roots]), np.concatenate([width, np.full(len(more_roots), 0.0052)])
        stretch = np.concatenate([stretch, np.zeros(len(more_roots))])
        fringe, free = (np.concatenate([a, np.full(len(more_roots), b)]) for a, b in ((fringe, 1.0), (free, 0.0)))
    return Grown(points, normals, width, root, fringe, free, stretch)
