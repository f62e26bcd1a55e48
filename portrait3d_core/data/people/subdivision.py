"""One Catmull-Clark step of a quad mesh as a constant sparse matrix, so that smoothing a head costs one product."""

from __future__ import annotations

from typing import Any

import numpy as np

from .needs import optional


def catmull_clark(faces: np.ndarray, count: int) -> tuple[Any, np.ndarray]:
    """The refined mesh of ``faces`` [F, 4] int over ``count`` vertices.

    Returns (matrix, quads): a scipy CSR matrix [M, count] that takes vertex positions (or any vertex values) to those of the
    refined mesh, and its faces [4 F, 4]. Open rims follow the cubic spline of their edge. Source: Catmull and Clark 1978.
    """
    sparse = optional("scipy.sparse")
    number = len(faces)
    edges = np.stack([faces, np.roll(faces, -1, 1)], -1).reshape(-1, 2)
    edges.sort(1)
    unique, inverse, per_edge = np.unique(edges, axis=0, return_inverse=True, return_counts=True)
    inverse = inverse.reshape(number, 4)
    edge_count = len(unique)

    def incidence(values, rows, columns, shape):
        return sparse.csr_matrix((np.full(len(rows), values), (rows, columns)), shape)

    each_face, each_edge = np.repeat(np.arange(number), 4), np.repeat(np.arange(edge_count), 2)
    face_points = incidence(0.25, each_face, faces.ravel(), (number, count))
    ends = incidence(0.5, each_edge, unique.ravel(), (edge_count, count))
    faces_of_edge = incidence(1.0, inverse.ravel(), each_face, (edge_count, number))
    inner = per_edge == 2
    edge_points = sparse.diags(np.where(inner, 0.5, 1.0)) @ ends
    edge_points = edge_points + sparse.diags(np.where(inner, 0.25, 0.0)) @ (faces_of_edge @ face_points)

    valence = np.bincount(unique.ravel(), minlength=count).astype(float)
    on_rim, used = np.zeros(count, bool), np.zeros(count, bool)
    on_rim[unique[~inner].ravel()] = True
    used[faces.ravel()] = True
    faces_at = np.maximum(np.bincount(faces.ravel(), minlength=count), 1)
    to_faces = incidence(1.0, faces.ravel(), each_face, (count, number))
    to_edges = incidence(1.0, unique.ravel(), each_edge, (count, edge_count))
    n = np.maximum(valence, 3)
    inside = sparse.diags(1 / (n * faces_at)) @ to_faces @ face_points
    inside = inside + sparse.diags(2 / (n * np.maximum(valence, 1))) @ to_edges @ ends + sparse.diags((n - 3) / n)
    rim_count = int((~inner).sum())
    to_rim = incidence(1.0, unique[~inner].ravel(), np.repeat(np.arange(rim_count), 2), (count, rim_count))
    along_rim = 0.25 * (to_rim @ ends[~inner]) + 0.5 * sparse.identity(count)
    kept = sparse.diags(on_rim.astype(float)) @ along_rim + sparse.diags((~on_rim & ~used).astype(float))
    old = sparse.diags((used & ~on_rim).astype(float)) @ inside + kept
    matrix = sparse.vstack([old, edge_points, face_points]).tocsr()
    edge_id, face_id = count + inverse, count + edge_count + np.arange(number)
    quads = [np.stack([faces[:, k], edge_id[:, k], face_id, edge_id[:, k - 1]], 1) for k in range(4)]
    return matrix, np.stack(quads, 1).reshape(-1, 4)  # those of one face together: neighbours are drawn one after the other
