"""Pose: turn the neck and the head of a portrait. The head itself stays as it is; renderings and meshes are warped.

Differs from the paper: angles are limited, since the training pictures show people sitting upright.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..body.warp import Body
from ..errors import Portrait3DError
from ..portrait.portrait import Portrait
from ..runtime.settings import Settings, setting

STAGE = "pose"
LIMITS_DEG = (30.0, 40.0, 25.0)
"""Largest nod, turn and tilt of each of the two joints."""

Angles = tuple[float, float, float]
"""(nod, turn, tilt) in degrees: + looks down, + turns the face towards +x (the person's left), + leans the crown to -x."""


@dataclass(frozen=True)
class PoseSettings(Settings):
    """Rotations of the neck, and of the head relative to the neck: each one rotation vector, given in degrees."""

    neck_deg: Angles = setting((0.0, 0.0, 0.0), "nod, turn and tilt of the neck")
    head_deg: Angles = setting((0.0, 0.0, 0.0), "nod, turn and tilt of the head relative to the neck")

    def clamped(self) -> PoseSettings:
        """The same within :data:`LIMITS_DEG`."""
        return PoseSettings(_clamped(self.neck_deg), _clamped(self.head_deg))

    @property
    def still(self) -> bool:
        """Whether this is the canonical pose."""
        return not any((*self.neck_deg, *self.head_deg))


def _clamped(angles: Angles) -> Angles:
    nod, turn, tilt = (max(-limit, min(limit, angle)) for angle, limit in zip(angles, LIMITS_DEG, strict=True))
    return nod, turn, tilt


def pose_portrait(portrait: Portrait, settings: PoseSettings, body: Body | None = None) -> Portrait:
    """One portrait in another pose, clamped to :data:`LIMITS_DEG`; angles of 0 give the canonical pose back.

    body: the body to follow, for portraits that came without one.

    Raises:
        Portrait3DError: neither the portrait nor the caller has a body model.
    """
    body = portrait.body or body
    if body is None:
        raise Portrait3DError(
            "The portrait has no body model, so it cannot be posed",
            expected="a generator with body model arrays, such as a published 3DPortraitGAN file (built-in heads have none)",
            fix="load the published .pkl with 'body_model' switched on (`portrait3d convert --keep-body`) and pose its "
            "portraits, or connect that generator to Pose Portrait",
        )
    settings = settings.clamped()
    degrees = torch.tensor([[*settings.neck_deg, *settings.head_deg]])
    pose = None if settings.still else torch.deg2rad(degrees).to(portrait.device)
    body = body.map(lambda tensor: tensor.to(portrait.device)).posed(pose)
    return replace(portrait, body=body).with_stage(STAGE, settings)
