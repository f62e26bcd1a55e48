"""Measure what reading damaged and hostile saved files does: ``python -m tests.fuzz.saved_files --count 10000``.

Portraits, latents, run states and generators: one sound file of each is damaged in its header, its metadata and its numbers.
What a reader accepts is also used: rendered, synthesised. See measuring.py for what is asked.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.checkpoints.generator_file import save_generator
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.checkpoints.latent_file import load_latent, save_latent
from portrait3d_core.checkpoints.portrait_file import load_portrait, save_portrait
from portrait3d_core.errors import Portrait3DError
from portrait3d_core.generator.generator import Generator
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.portrait.region import Region
from portrait3d_core.portrait.residual import zeros
from portrait3d_core.rendering.render import RenderSettings, render_super
from portrait3d_core.runtime.run_state import RunStore, SavedRun

from ..builders import SMALL, small_generator
from .hostile import Case, flipped
from .measuring import Result, measure

QUICK = RenderSettings(resolution=8, coarse_samples=4, fine_samples=4)
NUMBERS = (0, 1, -1, 3, 2**31, 2**63, 10**30, 1e308, -0.5, float("nan"), float("inf"))
OTHERS = (None, True, "", "x", "<script>alert(1)</script>", "../../etc/passwd", "\0", "9" * 5000, [], [[]], {}, {"a": []})
SHAPES = ([], [0], [-1], [1], [2**62], [2**32, 2**32], [0, 2**62], [1] * 70, "x", None, [1.5])
DTYPES = ("F32", "F16", "BF16", "F64", "I64", "I8", "U8", "BOOL", "F8_E4M3", "C64", "x", 3, None)


@cache
def network() -> Generator:
    """What the latents belong to."""
    return small_generator(0, replace(SMALL, plane_resolution=4))


def head() -> Portrait:
    """What is saved as a portrait: a head with an edit."""
    code = torch.randn(1, network().config.z_dim, generator=torch.Generator().manual_seed(0))
    start = network().synthesise(network().mapping(code))
    region = Region(torch.full((2, 2, 2), 0.5), start.trigrid.box_size)
    return replace(start, trigrid=zeros(start.trigrid).within(start.trigrid, region))


def look(portrait: Portrait) -> None:
    """Use every tensor of a portrait."""
    if len(portrait) == 1:
        render_super(portrait, frontal_camera(portrait.scene.focal), QUICK)


def read_portrait(path: Path) -> None:
    look(load_portrait(path))


def read_latent(path: Path) -> None:
    network().synthesise(load_latent(path, network()))


def read_generator(path: Path) -> None:
    generator = load_generator(path)
    code = torch.zeros(1, generator.config.z_dim)
    look(generator.synthesise(generator.mapping(code)))


def read_run(path: Path) -> None:
    """A damaged state counts as none; that is the refusal of this reader."""
    if RunStore(path.parent).read(path.stem) is None:
        raise Portrait3DError("no state")


READERS: dict[str, Callable[[Path], None]] = {
    "portrait": read_portrait,
    "latent": read_latent,
    "run": read_run,
    "generator": read_generator,
}
"""Kind of file: reads and uses one."""


def sound_files(folder: Path) -> dict[str, bytes]:
    """One of each kind."""
    files = {kind: folder / f"sound_{kind}.safetensors" for kind in READERS}
    save_portrait(head(), files["portrait"])
    save_latent(head().w_plus, network(), files["latent"])
    save_generator(network(), files["generator"])
    RunStore(folder).write("file", SavedRun(3, {"a": torch.arange(5.0), "b": torch.ones(())}))
    (folder / "file.safetensors").rename(files["run"])
    return {kind: file.read_bytes() for kind, file in files.items()}


def taken_apart(content: bytes) -> tuple[dict, bytes]:
    """Header and numbers of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header: object, numbers: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def changed_value(value: object, source: random.Random) -> object:
    """``value`` with something in it replaced, at any depth."""
    if isinstance(value, dict) and value and source.random() < 0.9:
        key = source.choice(list(value))
        if source.random() < 0.15:
            return {name: item for name, item in value.items() if name != key}
        return {**value, key: changed_value(value[key], source)}
    if isinstance(value, list) and value and source.random() < 0.8:
        index = source.randrange(len(value))
        return [*value[:index], changed_value(value[index], source), *value[index + 1 :]]
    return source.choice(NUMBERS if source.random() < 0.6 else OTHERS)


def changed_tensor(header: dict, source: random.Random) -> dict:
    """A tensor of another shape, type or place, renamed, or missing."""
    name = source.choice([name for name in header if name != "__metadata__"])
    entry, kind = dict(header[name]), source.randrange(6)
    others = {key: value for key, value in header.items() if key != name}
    if kind == 0:
        return others
    if kind == 1:
        return {**others, source.choice(("trigrid.0", "trigrid.-8", "trigrid.1e9", "x", "", "decoder.x")): entry}
    if kind == 2:
        return {**others, name: {**entry, "dtype": source.choice(DTYPES)}}
    if kind == 3:
        return {**others, name: {**entry, "shape": source.choice(SHAPES)}}
    if kind == 4:
        other = source.choice(list(others)) if others else name
        return {**others, name: header[other]}
    offsets = [source.choice((0, 1, -1, 2**63, entry["data_offsets"][0], entry["data_offsets"][1])) for _ in range(2)]
    return {**others, name: {**entry, "data_offsets": offsets}}


def reshaped(header: dict, source: random.Random) -> dict:
    """A tensor whose shape is wrong but has the right number of elements, so that the format is sound."""
    name = source.choice([name for name in header if name != "__metadata__"])
    entry = dict(header[name])
    count = 1
    for size in entry["shape"]:
        count *= size
    entry["shape"] = source.choice(([count], [1, count], [count, 1], [1, 1, count, 1, 1], entry["shape"][::-1]))
    return {**header, name: entry}


def changed_metadata(header: dict, source: random.Random) -> dict:
    """Something else in the JSON texts under the metadata's keys, or in the metadata itself."""
    metadata = dict(header.get("__metadata__", {}))
    key = source.choice([key for key in metadata if metadata[key].startswith("{")] or list(metadata))
    if source.random() < 0.1:
        return {**header, "__metadata__": changed_value(metadata, source)}
    try:
        metadata[key] = json.dumps(changed_value(json.loads(metadata[key]), source))
    except ValueError:
        metadata[key] = source.choice(("", "{", "[" * 100_000, "NaN", "9" * 10_000))
    return {**header, "__metadata__": metadata}


def special_numbers(numbers: bytes, source: random.Random) -> bytes:
    """NaN, infinity or something large among the numbers."""
    position = 4 * source.randrange(max(1, len(numbers) // 4))
    return numbers[:position] + struct.pack("<f", source.choice((float("nan"), float("inf"), 3e38))) + numbers[position + 4 :]


def bombs(sound: bytes) -> Iterator[Callable[[], bytes]]:
    """Makers of small files that ask for much."""
    header, numbers = taken_apart(sound)
    metadata = header["__metadata__"]
    texts = ("[" * 2_000_000, '{"a":' * 90 + "1" + "}" * 90, "[" + "[]," * 600_000 + "[]]", "[" + "[]," * 2_000_000 + "[]]")
    for key, text in itertools.product(metadata, texts):
        yield partial(put_together, {**header, "__metadata__": {**metadata, key: text}}, numbers)
    for length in (0, 1, len(sound), 2**31, 2**40, 2**63, 2**64 - 1):
        yield partial(bytes.__add__, struct.pack("<Q", length), sound[8:])
    empty = '"t%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    yield lambda: put_together(("{" + ",".join(empty % index for index in range(60_000)) + "}").encode(), b"")
    for text in (
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
        b'{"a":1}' + b" " * 1_000_000,
    ):
        yield partial(put_together, text, numbers)


def damaged(sound: bytes, source: random.Random) -> tuple[str, bytes]:
    """(what was done, the file)."""
    header, numbers = taken_apart(sound)
    kind = source.choice(("tensor", "reshaped", "metadata", "metadata", "header", "numbers", "cut", "flip"))
    if kind == "cut":
        return kind, sound[: source.randrange(len(sound))]
    if kind == "flip":
        return kind, flipped(sound, source)
    if kind == "numbers":
        return kind, put_together(header, special_numbers(numbers, source))
    change = {"tensor": changed_tensor, "reshaped": reshaped, "metadata": changed_metadata, "header": changed_value}[kind]
    return kind, put_together(change(header, source), numbers)


def hostile_files(kind: str, sound: bytes, count: int, seed: int = 0) -> Iterator[Case]:
    """``count`` files of one kind, some of them bombs."""
    source = random.Random(f"{seed} {kind}")
    makers = list(bombs(sound))
    room = min(len(makers), count // 10)
    yield from (("bomb", make()) for make in source.sample(makers, room))
    for _ in range(count - room):
        yield damaged(sound, source)


def measure_kinds(count: int, seed: int = 0) -> dict[str, Result]:
    """What ``count`` files did, by kind: half of them portraits."""
    shares = {"portrait": count // 2, "generator": count // 50, "latent": count // 4}
    shares["run"] = count - sum(shares.values())
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, sound in sound_files(folder).items():
            cases = hostile_files(kind, sound, shares[kind], seed)
            results[kind] = measure(cases, folder / "file.safetensors", folder / "canary", READERS[kind])
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=2000, help="number of files (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results = measure_kinds(options.count, options.seed)
    for kind, result in results.items():
        print(f"{kind}\n{result.report()}\n")
    sys.exit(not all(result.clean for result in results.values()))


if __name__ == "__main__":
    main()
