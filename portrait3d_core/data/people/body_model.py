"""The body model of the people: the average head, neck and shoulders with MakeHuman's joints and skinning weights (CC0).

``python -m portrait3d_core.data.people.body_model OUT`` writes the file that lies beside the generator of people in the
bundle. The mesh is the coarse one at the places of the refined, and coarser still where it does not bend; no pose correctives.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...body.smpl import BodyModel
from ...body.warp import Body
from ...checkpoints.body_file import save_body
from .anatomy import average_head, average_joints
from .assets import BODY, topology
from .needs import optional

LICENCE = (
    "Mesh, joints and skinning weights of a body model derived from MakeHuman / MPFB2 data, CC0 1.0 Universal: "
    "free for any use. Packed by portrait3d_core.data.people."
)


STIFF_CELL_M = 0.02
"""Vertices of one such cell become one where the body does not bend: what triangle moves a point there does not matter, and
finding the nearest one takes a third of the time."""


def average_body() -> Body:
    """Neck and head of the average person in the frame of the world of people, in the canonical pose."""
    topo = topology()
    quads = topo.faces[topo.piece_of_face == BODY]
    vertices, weights = average_head()[: len(topo.base)], topo.bone_weights
    cluster, faces = clustered(vertices, quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3), weights)
    model = BodyModel(
        vertices=torch.tensor(cluster @ vertices).float(),
        faces=torch.tensor(faces).long(),
        joints=torch.tensor(average_joints()).float(),
        weights=torch.tensor(cluster @ weights).float(),
        correctives=torch.zeros(()).expand(18, cluster.shape[0], 3),
    )
    return Body(model, licence=LICENCE)


def clustered(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> tuple[Any, np.ndarray]:
    """Fewer vertices where neighbours move as one piece, with the head or with the torso.

    vertices [V, 3], faces [F, 3], weights [V, 2].  Returns (sparse matrix [C, V] that takes the values of vertices to the
    means of their clusters, faces of clusters [G, 3] without those that have lost their area or are there twice).
    """
    head, torso = weights[:, 1] > 0.9999, weights.sum(1) == 0
    cells = np.concatenate([np.round(vertices / STIFF_CELL_M), head[:, None], torso[:, None]], 1)
    alone = ~(head | torso)
    cells[alone, 0] = np.arange(alone.sum()) + 1e6
    used = np.unique(faces)
    cluster = np.full(len(vertices), -1)
    cluster[used] = np.unique(cells[used], axis=0, return_inverse=True)[1].ravel()
    faces = cluster[faces]
    faces = faces[(faces != np.roll(faces, 1, 1)).all(1)]
    faces = faces[np.unique(np.sort(faces, 1), axis=0, return_index=True)[1]]
    sizes, rows = np.bincount(cluster[used]), cluster[used]
    return optional("scipy.sparse").csr_matrix((1 / sizes[rows], (rows, used)), (len(sizes), len(vertices))), faces


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the file to write, such as generator.body.safetensors beside a generator")
    out = parser.parse_args().out
    body = average_body()
    save_body(body, out)
    print(f"{out}: {len(body.model.vertices)} vertices, {len(body.model.faces)} triangles, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
