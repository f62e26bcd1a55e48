"""What is inside a weight, tri-grid or portrait file, in words: ``portrait3d inspect FILE``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..errors import ModelFormatError
from ..generator.generator import Generator
from ..runtime.file_kinds import SAFETENSORS, kind_of_names
from ..runtime.files import check_file, read_json_metadata, read_safetensors_header, sha256
from .body_file import FORMAT as BODY_FORMAT
from .generator_file import config_in, generator_from_state
from .portrait_file import METADATA_KEY
from .published.convert import GENERATORS, read_snapshot
from .published.generator_layout import body_arrays
from .published.torch_files import NETWORKS, read_pickle_file
from .published.trigrid_file import read_decoder_file, read_trigrid_file

NOTES = ("source_name", "source_sha256", "licence")
"""Entries of a generator file's metadata worth showing."""
Facts = dict[str, str]
"""{"levels": "8, 16, 32"}: what is known about a file, in reading order."""


def describe(path: str | Path) -> Facts:
    """What ``path`` holds and its SHA-256: any published file, or a generator or portrait of this project.

    Raises ModelFormatError when the file is missing, damaged or of another kind.
    """
    path = Path(path)
    check_file(path, ModelFormatError)
    readers = {".safetensors": _describe_safetensors, ".json": _describe_json}
    facts = readers.get(path.suffix.lower(), _describe_pickle)(path)
    return facts | {"size": f"{path.stat().st_size:,} bytes", "sha256": sha256(path)}


def _describe_safetensors(path: Path) -> Facts:
    tensors, metadata = read_safetensors_header(path)
    if METADATA_KEY in metadata:
        return _describe_portrait(path, tensors, metadata)
    if metadata.get("format") == BODY_FORMAT:
        return _describe_body(tensors, metadata)
    kind = kind_of_names(tensors, metadata)
    if kind.name not in ("generator", SAFETENSORS.name):
        return {"kind": kind.words, "tensors": f"{len(tensors):,}"}
    generator = generator_from_state(tensors, config_in(metadata))
    notes = {name.replace("_", " "): metadata[name] for name in NOTES if name in metadata}
    return {"kind": "generator"} | _describe_generator(generator, body_arrays(tensors)) | notes


def _describe_portrait(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Facts:
    header = read_json_metadata(metadata, METADATA_KEY, path.name, ModelFormatError)
    levels = sorted(int(name.removeprefix("trigrid.")) for name in tensors if name.startswith("trigrid."))
    provenance = header.get("provenance", {})
    parts = [
        name for name in ("background", "superresolution", "w_plus", "edit") if any(key.startswith(name) for key in tensors)
    ]
    return {
        "kind": f"portrait, format version {header.get('format_version')}",
        "levels": _listed(levels),
        "parts": _listed(["trigrid", "decoder", "to_rgb", *parts]),
        "generator": str(provenance.get("generator", "")),
        "history": _listed([record.get("stage", "") for record in provenance.get("history", ())]),
    }


def _describe_body(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Facts:
    vertices, faces = (len(tensors[name]) if name in tensors and tensors[name].ndim else 0 for name in ("vertices", "faces"))
    return {
        "kind": "body model",
        "mesh": f"{vertices:,} vertices, {faces:,} triangles",
        "licence": metadata.get("licence", ""),
    }


def _describe_generator(generator: Generator, body: Mapping[str, Tensor]) -> Facts:
    config, upsampler = generator.config, generator.config.superresolution
    return {
        "variant": "3DPortraitGAN-Pyramid" if config.pyramid else "3DPortraitGAN (one tri-grid)",
        "picture": f"{upsampler.output_resolution} px" if upsampler else "as rendered",
        "parameters": f"{sum(parameter.numel() for parameter in generator.parameters()):,}",
        "levels": _listed(config.levels),
        "tri-grid": f"{config.features} features x {config.depth} slices, box {config.box_size:g} m",
        "latents": f"{config.num_ws} x {config.w_dim}",
        "poses": f"{config.pose_dim} numbers; body model {'included' if body else 'not included'}",
    }


def _describe_pickle(path: Path) -> Facts:
    content = read_pickle_file(path)
    names = [name for name, value in content.items() if value is not None] if isinstance(content, dict) else []
    if set(GENERATORS) & set(names):
        snapshot = read_snapshot(path)
        facts = {"kind": "published snapshot", "networks": _listed([name for name in NETWORKS if name in names])}
        return facts | _describe_generator(snapshot.generator, snapshot.body)
    if "state_dict" in names:
        config = read_decoder_file(path).config
        return {"kind": "decoder and toRGB", "tri-grid": f"{config.features} features, box {config.box_size:g} m"}
    file = read_trigrid_file(path)
    return {
        "kind": "tri-grid" if file.levels else "latent",
        "levels": _listed(list(file.levels)) or "none",
        "latents": f"{file.w_plus.shape[1]} x {file.w_plus.shape[2]}",
        "decoder": "included" if file.decoder else "not included",
    }


def _describe_json(path: Path) -> Facts:
    """Pose and camera files, and the settings of the pose prediction (``model_512.json``): their entries as they are."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path.name} is no JSON ({error})", fix="choose another file") from error
    if not isinstance(content, dict):
        raise ModelFormatError(f"{path.name} holds a {type(content).__name__}", expected="an object", fix="choose another file")
    return {"kind": "settings"} | {str(name): json.dumps(value)[:100] for name, value in content.items()}


def _listed(items: list) -> str:
    return ", ".join(map(str, items))
