"""The body model: a mesh of head and shoulders that follows neck and head, by linear blend skinning.

A pose is six numbers: the rotation vectors (axis times angle, radians) of the neck and of the head, each relative to the
joint before it. World axes: x to the person's left, y up, z to where the face looks. The arrays of the published models
come out of their checkpoints (``renderer.*``); they are the SMPL model's and carry its licence. Those of the people are
made from their anatomy (:mod:`portrait3d_core.data.people.body_model`). Source: docs/method.md, section "Body pose".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from einops import rearrange
from torch import Tensor

from ..errors import ModelFormatError

LICENCE = (
    "Contains arrays of the SMPL body model (Max Planck Institute for Intelligent Systems), which has its own "
    "non-commercial licence: https://smpl.is.tue.mpg.de."
)
POSE_DIM = 6
_NECK, _HEAD = 12, 15
"""Their numbers among the 24 joints. Only the head hangs on the neck, and nothing on the head."""
_PREFIX = "renderer."
_MODEL = "renderer.aligned_SMPL.model."
_CORRECTIVES = "(joint entry) (vertex xyz) -> joint entry vertex xyz"


@dataclass(frozen=True)
class BodyModel:
    """What neck and head move, in metres; in the published files with the neck joint of the canonical pose as origin.

    vertices: [V, 3] in the canonical pose.  faces: [F, 3] int64, only those inside the generator's box.
    joints: [2, 3] the centres of the neck's and the head's rotation.
    weights: [V, 2] how much of each vertex follows the neck alone, and neck and head; the rest stays.
    correctives: [18, V, 3] offsets per entry of the neck's and the head's rotation matrix minus the identity; may be 0.
    """

    vertices: Tensor
    faces: Tensor
    joints: Tensor
    weights: Tensor
    correctives: Tensor

    def __post_init__(self) -> None:
        """Raises ModelFormatError unless the arrays fit together."""
        count = len(self.vertices)
        shapes = [list(getattr(self, item.name).shape) for item in fields(self)]
        if shapes != [[count, 3], [len(self.faces), 3], [2, 3], [count, 2], [18, count, 3]] or not len(self.faces):
            raise ModelFormatError(
                f"The body model's arrays have the shapes {shapes}",
                expected="[V, 3], [F, 3], [2, 3], [V, 2], [18, V, 3]",
                fix="download or convert the file again",
            )
        if self.faces.dtype != torch.int64 or not 0 <= int(self.faces.min()) <= int(self.faces.max()) < count:
            raise ModelFormatError(f"The faces of the body model are not numbers of its {count} vertices")

    def map(self, change: Callable[[Tensor], Tensor]) -> BodyModel:
        """The same model with ``change`` applied to every array; types are kept, so only the device can change."""
        return BodyModel(*(keep_dtype(change, getattr(self, item.name)) for item in fields(self)))

    def corners(self, vertices: Tensor) -> Tensor:
        """[F, 3, 3] corners of the faces for ``vertices`` [V, 3]."""
        return vertices[self.faces]


def keep_dtype(change: Callable[[Tensor], Tensor], tensor: Tensor) -> Tensor:
    """``change(tensor)``, but in the tensor's own type: meshes need their precision, and indices are no floats."""
    changed = change(tensor)
    return changed if changed.dtype == tensor.dtype else tensor.to(changed.device)


def read_body_model(state: Mapping[str, Tensor]) -> BodyModel | None:
    """The body model in an official generator's state dict, or None when its ``renderer.*`` entries were left out.

    Raises ModelFormatError when some of the entries are missing or do not fit together.
    """
    if not any(key.startswith(_PREFIX) for key in state):
        return None
    try:
        template = state[_MODEL + "v_template"].float()
        origin = state["renderer.align_points"][0, 0].float()
        joints = state[_MODEL + "J_regressor"].float() @ template
        correctives = rearrange(state[_MODEL + "posedirs"].float(), _CORRECTIVES, entry=9, xyz=3)
        moving = [_NECK, _HEAD]
        return BodyModel(
            vertices=template - origin,
            faces=state["renderer.aligned_SMPL.faces"].long()[state["renderer.face_mask"].bool()],
            joints=joints[moving] - origin,
            weights=state[_MODEL + "lbs_weights"].float()[:, moving],
            correctives=torch.cat([correctives[joint - 1] for joint in moving]),  # the root has none
        )
    except (KeyError, IndexError, RuntimeError) as error:
        raise ModelFormatError(
            f"The generator's body model lacks or misshapes {error}",
            expected="the 'renderer.*' entries of a published 3DPortraitGAN",
            fix="convert the published file again, or convert it without its body model",
        ) from error


def posed_vertices(model: BodyModel, pose: Tensor) -> Tensor:
    """[V, 3] vertices for ``pose`` [6], differentiable to the pose; zeros give the canonical ones."""
    rotations = rotation_matrices(rearrange(pose.to(model.vertices), "(joint xyz) -> joint xyz", joint=2))
    change = (rotations - torch.eye(3).to(rotations)).flatten()
    shape = model.vertices + torch.einsum("k,kvc->vc", change, model.correctives)
    neck, head = (lambda x, i=i: (x - model.joints[i]) @ rotations[i].mT + model.joints[i] for i in (0, 1))
    follow_neck, follow_head = model.weights[:, :1], model.weights[:, 1:]
    return shape + follow_neck * (neck(shape) - shape) + follow_head * (neck(head(shape)) - shape)


def rotation_matrices(vectors: Tensor) -> Tensor:
    """[N, 3, 3] rotations about ``vectors`` [N, 3] by their length in radians (Rodrigues).

    Each length is taken of the vector plus 1e-8, as the published weights' training did; it keeps zero differentiable.
    """
    angle = (vectors + 1e-8).norm(dim=-1, keepdim=True)
    x, y, z = (vectors / angle).unbind(-1)
    zero = torch.zeros_like(x)
    cross = rearrange([zero, -z, y, z, zero, -x, -y, x, zero], "(row column) n -> n row column", row=3)
    sine, cosine = angle.sin()[..., None], angle.cos()[..., None]
    return torch.eye(3).to(cross) + sine * cross + (1 - cosine) * (cross @ cross)
