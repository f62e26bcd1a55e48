"""The body model of the people: the average head, neck and shoulders with MakeHuman's joints and skinning weights (CC0).

``python -m portrait3d_core.data.people.body_model OUT`` writes the file that lies beside the generator of people in the
bundle. The mesh is the coarse one at the places of the refined; no pose correctives.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ...body.smpl import BodyModel
from ...body.warp import Body
from ...checkpoints.body_file import save_body
from .anatomy import average_head, average_joints
from .assets import BODY, topology

LICENCE = (
    "Mesh, joints and skinning weights of a body model derived from MakeHuman / MPFB2 data, CC0 1.0 Universal: "
    "free for any use. Packed by portrait3d_core.data.people."
)


def average_body() -> Body:
    """Neck and head of the average person in the frame of the world of people, in the canonical pose."""
    topo = topology()
    faces = topo.faces[topo.piece_of_face == BODY]
    used, renumbered = np.unique(faces, return_inverse=True)
    quads = renumbered.reshape(faces.shape)
    model = BodyModel(
        vertices=torch.tensor(average_head()[used]).float(),
        faces=torch.tensor(quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)).long(),
        joints=torch.tensor(average_joints()).float(),
        weights=torch.tensor(topo.bone_weights[used]).float(),
        correctives=torch.zeros(()).expand(18, len(used), 3),
    )
    return Body(model, licence=LICENCE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the file to write, such as generator.body.safetensors beside a generator")
    out = parser.parse_args().out
    body = average_body()
    save_body(body, out)
    print(f"{out}: {len(body.model.vertices)} vertices, {len(body.model.faces)} triangles, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
