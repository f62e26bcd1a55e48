"""Where things are on the face, as smooth functions of the rest mesh (decimetres)."""

from __future__ import annotations

from functools import cache

import numpy as np

from .assets import topology
from .meshes import smoothstep

_HAIRLINE = np.array(
    [
        (0, 8.04), (20, 8.03), (38, 7.98), (50, 7.86), (60, 7.70), (68, 7.50), (74, 7.33),
        (82, 7.26), (92, 7.38), (106, 7.40), (118, 7.20), (128, 6.98), (145, 6.80), (180, 6.70),
    ]
)  # fmt: skip
"""Azimuth in degrees from the front, height of the hairline."""


def above_hairline(rest: np.ndarray, recede: float = 0.0) -> np.ndarray:
    """Height of points [N, 3] above the hairline in dm, positive on the scalp; ``recede`` lifts the temples."""
    azimuth = np.degrees(np.arctan2(np.abs(rest[:, 0]), rest[:, 2] - 0.42))
    lifted = np.exp(-(((azimuth - 42) / 14) ** 2)) * 0.22 + np.exp(-((azimuth / 25) ** 2)) * 0.10
    return rest[:, 1] - np.interp(azimuth, _HAIRLINE[:, 0], _HAIRLINE[:, 1]) - recede * lifted


def recession(rest: np.ndarray) -> np.ndarray:
    """How much :func:`above_hairline` falls at points [N, 3] when ``recede`` grows by one."""
    return above_hairline(rest, 0.0) - above_hairline(rest, 1.0)


def blob(rest: np.ndarray, x: float, y: float, z: float, radius: float) -> np.ndarray:
    """A Gaussian spot on both sides of the face."""
    d2 = (np.abs(rest[:, 0]) - x) ** 2 + (rest[:, 1] - y) ** 2 + (rest[:, 2] - z) ** 2
    return np.exp(-d2 / (2 * radius**2))


def beard_areas(rest: np.ndarray, lips: np.ndarray, mouth: np.ndarray) -> dict[str, np.ndarray]:
    """Soft masks of where a full beard, a moustache and a goatee grow."""
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    cheek_line = np.interp(x, [0, 0.22, 0.32, 0.5, 0.62, 0.70], [6.84, 6.80, 6.62, 6.70, 6.92, 7.3])
    neck_line = np.interp(z, [0.45, 0.75, 1.0, 1.3], [6.55, 6.28, 6.16, 6.10])
    above = smoothstep(-0.04, 0.06, y - neck_line)
    no_lips = (1 - smoothstep(0.12, 0.4, lips)) * (1 - smoothstep(0.0, 0.3, mouth))
    full = smoothstep(0.03, -0.05, y - cheek_line) * above * smoothstep(0.50, 0.62, z) * no_lips
    sideburn = smoothstep(0.56, 0.62, x) * smoothstep(0.58, 0.66, z) * smoothstep(0.98, 0.86, z)
    sideburn = sideburn * smoothstep(7.42, 7.3, y) * smoothstep(6.75, 6.9, y)
    moustache = smoothstep(0.34, 0.27, x) * smoothstep(6.55, 6.66, y) * smoothstep(6.86, 6.81, y)
    moustache = moustache * smoothstep(1.3, 1.4, z) * no_lips * (1 - 0.6 * smoothstep(0.16, 0.32, x))
    chin = smoothstep(0.30, 0.20, x) * smoothstep(6.56, 6.48, y) * above * smoothstep(0.95, 1.1, z) * no_lips
    ring = smoothstep(0.34, 0.29, x) * smoothstep(0.20, 0.25, x) * smoothstep(6.8, 6.7, y) * smoothstep(6.3, 6.45, y)
    ring = ring * smoothstep(1.1, 1.2, z) * no_lips
    return {"full": np.maximum(full, sideburn), "moustache": moustache, "goatee": np.maximum(np.maximum(chin, ring), moustache)}


@cache
def masks() -> dict[str, np.ndarray]:
    """Soft masks [M] in 0..1 by name, over the vertices of the shared mesh."""
    topo = topology()
    rest = topo.rest
    x, y, z = np.abs(rest[:, 0]), rest[:, 1], rest[:, 2]
    lips = topo.smooth(np.clip(topo.masks["lips"], 0, 1), 1, 0.4) * smoothstep(1.34, 1.40, z)
    mouth = np.clip(topo.masks["inside-mouth"], 0, 1) * (1 - smoothstep(0.25, 0.7, lips)) * smoothstep(1.52, 1.44, z)
    fold = np.exp(-(((x - np.interp(y, [6.55, 6.9], [0.33, 0.20])) / 0.03) ** 2))
    return {
        "lips": lips,
        "mouth": mouth,
        "eyelids": np.clip(topo.masks["eyelids"], 0, 1),
        "ears": topo.smooth(np.clip(topo.masks["ears"], 0, 1), 1),
        "cheeks": blob(rest, 0.42, 6.98, 1.22, 0.17),
        "nose": blob(rest, 0.0, 6.92, 1.62, 0.13),
        "chin": blob(rest, 0.0, 6.38, 1.45, 0.12),
        "under_eye": blob(rest, 0.26, 7.13, 1.36, 0.07),
        "lid_line": blob(rest, 0.30, 7.34, 1.40, 0.055),
        "nasolabial": fold * smoothstep(6.5, 6.6, y) * smoothstep(6.95, 6.85, y) * smoothstep(1.2, 1.3, z),
        "face_front": smoothstep(0.5, 1.0, z) * smoothstep(6.2, 6.4, y),
        **{f"beard_{name}": topo.smooth(area, 3, 0.5) for name, area in beard_areas(rest, lips, mouth).items()},
    }
