"""Isosurface: from a lattice of values to a clean triangle surface with normals.

Vertices are in lattice steps here, and faces counter-clockwise seen from where values are lower (outside).
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import MissingDependencyError


def marching_cubes(field: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Vertices [V, 3] float32 in lattice steps and faces [F, 3] int64, counter-clockwise from outside."""
    values = field.numpy().astype(np.float64) - level
    values[np.abs(values) < 1e-9] = 1e-9  # a lattice point exactly on the surface would make degenerate triangles
    try:
        import mcubes

        vertices, faces = mcubes.marching_cubes(values, 0.0)
        faces = faces.astype(np.int64)
    except ImportError:
        vertices, faces = _marching_cubes_skimage(values)
    corners = vertices[faces]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum()
    faces = faces[:, ::-1].copy() if volume < 0 else faces
    return torch.from_numpy(vertices.astype(np.float32)), torch.from_numpy(faces)


def require_marching_cubes() -> None:
    """Raise MissingDependencyError where there is no package for :func:`marching_cubes`."""
    if not any(map(find_spec, ("mcubes", "skimage"))):
        raise _no_marching_cubes()


def _no_marching_cubes() -> MissingDependencyError:
    return MissingDependencyError(
        "Extracting a mesh needs a marching-cubes package",
        fix="run `pip install PyMCubes` (Python 3.13 and newer: `pip install scikit-image`); everything else works without",
    )


def _marching_cubes_skimage(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same surface from scikit-image, for Python versions PyMCubes has no wheels for."""
    try:
        from skimage import measure
    except ImportError as cause:
        raise _no_marching_cubes() from cause
    vertices, faces, _, _ = measure.marching_cubes(values, 0.0, allow_degenerate=False)
    return vertices, faces.astype(np.int64)


def largest_piece(vertices: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """The connected piece with the most faces, its vertices renumbered."""
    face_labels = connected_parts(faces, len(vertices))[faces[:, 0]]
    kept = faces[face_labels == face_labels.bincount().argmax()]
    used, renumbered = torch.unique(kept, return_inverse=True)
    return vertices[used], renumbered.reshape(-1, 3)


def decimate(vertices: Tensor, faces: Tensor, max_faces: int) -> tuple[Tensor, Tensor]:
    """Quadric edge collapse down to about ``max_faces`` triangles."""
    try:
        import fast_simplification
    except ImportError as cause:
        raise MissingDependencyError(
            "Reducing the number of faces needs fast-simplification",
            fix="run `pip install fast-simplification`, or extract at a lower resolution instead",
        ) from cause
    points, triangles = fast_simplification.simplify(
        vertices.numpy(), faces.numpy().astype(np.int32), target_reduction=1 - max_faces / len(faces)
    )
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(triangles.astype(np.int64))


def field_normals(field: Tensor, vertices: Tensor) -> Tensor:
    """Outward unit normals [V, 3]: minus the gradient of the padded field, so that flat cuts get flat normals too.

    vertices: [V, 3] in lattice steps. Central differences over one voxel on each side.
    """
    size = torch.tensor(field.shape, dtype=torch.float32) - 1
    offsets = torch.cat([torch.eye(3), -torch.eye(3)])
    probes = ((vertices[:, None] + offsets) / size * 2 - 1).flip(-1)  # grid_sample takes (z, y, x)
    samples = F.grid_sample(field[None, None], probes[None, None], align_corners=True, padding_mode="border")[0, 0, 0]
    ahead, behind = samples.split(3, dim=1)
    return F.normalize(behind - ahead, dim=1)


def connected_parts(faces: Tensor, vertices: int) -> Tensor:
    """[V] number of the connected part each vertex belongs to. SciPy comes with either marching-cubes package."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = torch.cat([faces[:, :2], faces[:, 1:]]).numpy()
    ones = np.ones(len(edges), dtype=np.int8)
    graph = coo_matrix((ones, (edges[:, 0], edges[:, 1])), shape=(vertices, vertices))
    return torch.from_numpy(connected_components(graph, directed=False)[1].astype(np.int64))
