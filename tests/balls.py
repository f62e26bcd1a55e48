"""Exact views of coloured balls, in the format of heads on disk."""

import numpy as np

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.data.head_files import DEPTH_STEPS, NEAREST_M, PICTURE_PX, TEST_PITCH, TEST_YAWS
from portrait3d_core.rendering.rays import camera_rays

RADIUS_M = 0.1


def write_ball(path, code, views=3):
    """A ball around the world's origin whose colour is the code's first three numbers."""
    yaw = np.concatenate([np.arange(views) * 360 / views + 10, TEST_YAWS])
    pitch = np.concatenate([np.linspace(-10, 20, views), np.full(len(TEST_YAWS), TEST_PITCH)])
    origins, directions = camera_rays(orbit_cameras(yaw.tolist(), pitch.tolist()), PICTURE_PX)
    middle = -(origins * directions).sum(-1)
    miss = (origins + middle[..., None] * directions).square().sum(-1)
    hit = miss < RADIUS_M**2
    distance = middle - (RADIUS_M**2 - miss).clamp_min(0).sqrt()
    shape = (len(yaw), PICTURE_PX, PICTURE_PX)
    depth = ((distance - NEAREST_M) * DEPTH_STEPS).clamp(0, 65535).reshape(shape).numpy().astype(np.uint16)
    colour = (np.clip(np.asarray(code[:3]) * 0.3 + 0.5, 0, 1) * 255).astype(np.uint8)
    rgb = np.broadcast_to(colour, (*shape, 3))
    part = hit.reshape(shape).numpy().astype(np.uint8)
    np.savez(path, code=np.asarray(code, np.float32), rgb=rgb, part=part, depth=depth, yaw=yaw, pitch=pitch)
