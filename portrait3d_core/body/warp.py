"""The warp between a posed and the canonical body: points move with the triangle they are nearest to.

A point keeps its coordinates in the frame of its triangle, so every triangle stands for one rigid motion. Points far
from the body stay where they are. Source: docs/method.md, section "Body pose".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import normalize

from .nearest import TriangleTree, build_tree, nearest_triangle
from .smpl import LICENCE, POSE_DIM, BodyModel, keep_dtype, posed_vertices

REACH_M = 0.25
"""Points at least so far from the body are not moved."""


@dataclass(frozen=True)
class Warp:
    """Carries points from around one mesh to around another with the same F triangles.

    tree: the triangles the points come from.
    rotation [F + 1, 3, 3], shift [F + 1, 3]: the motion of every triangle; the last one is no motion.
    """

    tree: TriangleTree
    rotation: Tensor
    shift: Tensor

    @staticmethod
    def between(source: Tensor, target: Tensor) -> Warp:
        """From triangles ``source`` to ``target``, both [F, 3, 3] (triangle, corner, coordinate), differentiable to them.

        Which triangle is nearest to a point carries no gradient.
        """
        rotation = triangle_axes(target) @ triangle_axes(source).mT
        shift = target[:, 0] - (rotation @ source[:, 0, :, None])[..., 0]
        still = torch.eye(3).to(rotation)[None]
        return Warp(build_tree(source.detach()), torch.cat([rotation, still]), torch.cat([shift, torch.zeros_like(shift[:1])]))

    def __call__(self, points: Tensor) -> Tensor:
        """Points [..., 3] in metres, moved."""
        flat = rearrange(points, "... xyz -> (...) xyz").to(self.shift)
        rotation, shift = self._motions(flat)
        return (_turned(rotation, flat) + shift).reshape(points.shape).to(points)

    def carry(self, points: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Points [M, 3] in metres, moved, and ``directions`` [M, 3] at them, turned likewise."""
        rotation, shift = self._motions(points)
        return _turned(rotation, points) + shift, _turned(rotation, directions)

    def _motions(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation [M, 3, 3] and shift [M, 3] of the triangles nearest to points [M, 3]."""
        triangle = nearest_triangle(self.tree, flat.detach(), REACH_M).triangle
        motion = triangle.remainder(len(self.shift))  # -1, where no triangle is near, becomes the last motion
        return self.rotation.index_select(0, motion), self.shift.index_select(0, motion)


def _turned(rotation: Tensor, vectors: Tensor) -> Tensor:
    """rotation [M, 3, 3] applied to vectors [M, 3]; several times faster than a batched matrix product."""
    return (rotation * vectors[:, None]).sum(dim=-1)


def triangle_axes(corners: Tensor) -> Tensor:
    """[F, 3, 3] orthonormal frames of triangles [F, 3, 3], as columns: first edge, normal, and their cross product."""
    first, second, third = corners.unbind(dim=1)
    edge = normalize(second - first, dim=-1)
    normal = normalize(torch.linalg.cross(second - first, third - first, dim=-1), dim=-1)
    return torch.stack([edge, normal, torch.linalg.cross(edge, normal, dim=-1)], dim=-1)


@dataclass(frozen=True)
class Body:
    """The body of N portraits: the model and its pose [N, 6] in radians, or None for the canonical pose.

    licence: the terms of the model's arrays, which files that keep them repeat.
    """

    model: BodyModel
    pose: Tensor | None = None
    licence: str = LICENCE

    def map(self, change: Callable[[Tensor], Tensor]) -> Body:
        """The same body with ``change`` applied to every tensor; types are kept, so only the device can change."""
        return replace(self, model=self.model.map(change), pose=None if self.pose is None else keep_dtype(change, self.pose))

    def state(self) -> dict[str, Tensor]:
        """Named arrays for a file; ``pose`` is missing in the canonical pose, and ``correctives`` that are all 0."""
        arrays = {**vars(self.model), **({} if self.pose is None else {"pose": self.pose})}
        if not self.model.correctives.any():
            del arrays["correctives"]
        return arrays

    @staticmethod
    def from_state(state: Mapping[str, Tensor], licence: str = LICENCE) -> Body:
        """Inverse of :meth:`state`. Raises TypeError, ValueError or ModelFormatError when the arrays do not fit together."""
        arrays = dict(state)
        pose = arrays.pop("pose", None)
        if "vertices" in arrays:
            arrays.setdefault("correctives", torch.zeros(()).expand(2 * 9, *arrays["vertices"].shape))  # takes no memory
        if pose is not None and (pose.ndim != 2 or pose.shape[1] != POSE_DIM):
            raise ValueError(f"a pose of shape {list(pose.shape)}, not [N, {POSE_DIM}]")
        return Body(BodyModel(**arrays), pose, licence)

    def posed(self, pose: Tensor | None) -> Body:
        """The same body in another pose [N, 6] or None."""
        return replace(self, pose=pose)

    def to_canonical(self, identity: int) -> Warp | None:
        """From where the posed portrait shows a point to where the canonical one has it; None without a pose."""
        corners = self._corners(identity)
        return None if corners is None else Warp.between(*corners)

    def from_canonical(self, identity: int) -> Warp | None:
        """The way back: where the posed portrait shows a point of the canonical one; None without a pose."""
        corners = self._corners(identity)
        return None if corners is None else Warp.between(*reversed(corners))

    def _corners(self, identity: int) -> tuple[Tensor, Tensor] | None:
        """[F, 3, 3] corners of the posed and of the canonical mesh."""
        if self.pose is None:
            return None
        posed = posed_vertices(self.model, self.pose[identity])
        return self.model.corners(posed), self.model.corners(self.model.vertices)
