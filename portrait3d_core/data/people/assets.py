"""The packed anatomy (CC0): read once, checked against its checksum, and refined to the mesh that all heads share.

Origin: MakeHuman / MPFB2 and the Face Units pack by Mika Suominen, both CC0 1.0 (NOTICE); packed by ``pack_assets``.
"""

from __future__ import annotations

import hashlib
import io
from functools import cache
from pathlib import Path

import numpy as np

from ...errors import ModelFormatError
from .needs import optional
from .subdivision import catmull_clark

PACKED = Path(__file__).parent / "assets.npz"
SHA256 = "d394f66bb1d06397118fca8fe4ee496598662235dea23a804aa0b69ee20a146f"
RACES, GENDERS, AGES = ("african", "asian", "caucasian"), ("male", "female"), ("young", "old")
MUSCLES, WEIGHTS = ("minmuscle", "averagemuscle", "maxmuscle"), ("minweight", "averageweight", "maxweight")
PIECES = ("body", "l-eye", "r-eye", "upper-teeth", "lower-teeth", "tongue", "lashes")
"""The separate surfaces of the mesh, by number."""
BODY, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE, LASHES = range(len(PIECES))


def read_packed(path: Path = PACKED) -> dict[str, np.ndarray]:
    """The arrays of the packed file.

    Raises ModelFormatError where it is missing or is not the file that this version was made with.
    """
    if not path.is_file():
        raise ModelFormatError(f"{path} is missing", expected="the file that ships with the package")
    raw = path.read_bytes()
    if (found := hashlib.sha256(raw).hexdigest()) != SHA256:
        raise ModelFormatError(
            f"{path} has the checksum {found[:12]}…", expected=f"{SHA256[:12]}…", fix="install the package again"
        )
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


class Topology:
    """What all heads share: the mesh after one subdivision, its pieces, and the displacement targets of the coarse mesh.

    Positions are those of the files: decimetres, y up, face towards +z.
    """

    def __init__(self) -> None:
        data = read_packed()
        sparse = optional("scipy.sparse")
        self.base = data["vertices"].astype(np.float64)
        self.faces, self.piece_of_face = data["faces"], data["piece"]
        starts, columns, values = data["starts"], data["cols"], data["vals"].astype(np.float64) / 1000
        self.targets = {
            str(name): (columns[first:last], values[first:last])
            for name, first, last in zip(data["names"], starts[:-1], starts[1:])
        }
        self.bone_weights = data["bone_weights"].astype(np.float64)
        """[V, 2] how much every vertex of the coarse mesh follows the neck alone, and neck and head."""
        self.joints = data["joints"].astype(np.float64)
        """[2, 3] where neck and head begin, in the base mesh."""
        joint_moves = data["joint_vals"].astype(np.float64) / 1000
        self.joint_targets = dict(zip(map(str, data["names"]), joint_moves))
        """What every displacement target adds to them, [2, 3] each."""
        self.matrix, self.quads = catmull_clark(self.faces, len(self.base))
        self.vertex_count = self.matrix.shape[0]
        piece_of_quad = np.repeat(self.piece_of_face, 4)
        self.triangles = self.quads[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
        self.piece_of_triangle = np.repeat(piece_of_quad, 2)
        self.piece = np.zeros(self.vertex_count, np.int8)
        for number in range(len(PIECES)):
            self.piece[self.quads[piece_of_quad == number]] = number
        self.masks = {k[5:]: self.matrix @ data[k].astype(np.float64) for k in data if k.startswith("mask_")}
        self.rest = self.matrix @ self.base
        """[M, 3] the smooth base mesh, the domain in which masks, roots and patterns are defined."""
        body = self.quads[piece_of_quad == BODY]
        edges = np.concatenate([body[:, [k, (k + 1) % 4]] for k in range(4)])
        linked = sparse.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (self.vertex_count,) * 2).tocsr()
        linked = ((linked + linked.T) > 0).astype(float)
        self.neighbours = sparse.diags(1 / np.maximum(np.asarray(linked.sum(1)).ravel(), 1)) @ linked
        self.eye_vertices = [np.unique(self.faces[self.piece_of_face == p]) for p in (LEFT_EYE, RIGHT_EYE)]

    def triangles_of(self, piece: int) -> np.ndarray:
        """[T, 3] the triangles of one piece."""
        return self.triangles[self.piece_of_triangle == piece]

    def smooth(self, values: np.ndarray, rounds: int, amount: float = 0.6) -> np.ndarray:
        """Body values [M] or [M, C] moved towards the mean of their neighbours; other pieces stay."""
        body = (self.piece == BODY)[:, None] if values.ndim > 1 else self.piece == BODY
        for _ in range(rounds):
            values = np.where(body, (1 - amount) * values + amount * (self.neighbours @ values), values)
        return values


@cache
def topology() -> Topology:
    """The shared mesh, read once."""
    return Topology()
