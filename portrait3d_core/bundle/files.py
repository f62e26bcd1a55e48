"""Where the built-in networks lie, and whether they are the files that were shipped.

A bundle is a folder with ``generator.safetensors``, the body model of its heads beside it, ``prior.safetensors`` (text to
heads of the generator), ``diffusion/`` (diffusers layout) and ``SHA256SUMS``, which lists every other file in the format of
the ``sha256sum`` tool. Checking costs some 10 ms per 10 MB.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import ModelFormatError
from ..runtime.files import atomic_write, sha256

BUNDLE = Path(__file__).parent / "people"
"""The bundle that comes with the package."""
GENERATOR, BODY, PRIOR = "generator.safetensors", "generator.body.safetensors", "prior.safetensors"
DIFFUSION, SUMS = "diffusion", "SHA256SUMS"


def generator_path(bundle: Path = BUNDLE) -> Path:
    """The built-in generator's weights, verified together with the body model beside them. Raises ModelFormatError."""
    body = [BODY] if BODY in read_sums(bundle) or (bundle / BODY).exists() else []
    verify_files(bundle, [GENERATOR, *body])
    return bundle / GENERATOR


def prior_path(bundle: Path = BUNDLE) -> Path:
    """The latent prior of the built-in generator, verified. Raises ModelFormatError."""
    verify_files(bundle, [PRIOR])
    return bundle / PRIOR


def diffusion_path(bundle: Path = BUNDLE) -> Path:
    """The folder of the built-in diffusion model, verified. Raises ModelFormatError."""
    listed = [name for name in read_sums(bundle) if name.startswith(f"{DIFFUSION}/")]
    if not listed:
        raise _broken(bundle, f"{SUMS} lists no file of {DIFFUSION}/")
    verify_files(bundle, listed)
    return bundle / DIFFUSION


def verify_files(bundle: Path, names: Iterable[str]) -> None:
    """Compare the given files of ``bundle`` with their listed checksums. Raises ModelFormatError."""
    sums = read_sums(bundle)
    for name in names:
        path = bundle / name
        if name not in sums:
            raise _broken(bundle, f"{SUMS} does not list {name}")
        if not path.is_file():
            raise _broken(bundle, f"{name} is missing")
        if sha256(path) != sums[name]:
            raise _broken(bundle, f"{name} is not the file that was shipped (wrong checksum, {path.stat().st_size} bytes)")


def read_sums(bundle: Path) -> dict[str, str]:
    """{path relative to the bundle: hexadecimal SHA-256} of everything the bundle lists."""
    try:
        lines = (bundle / SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as cause:
        raise _broken(bundle, f"{SUMS} cannot be read ({cause})") from cause
    entries = [line.split(maxsplit=1) for line in lines if line.strip()]
    if any(len(entry) != 2 or len(entry[0]) != 64 for entry in entries):
        raise _broken(bundle, f"{SUMS} has a malformed line")
    return {name: digest for digest, name in entries}


def write_sums(bundle: Path) -> None:
    """List the checksums of all files of ``bundle`` in its SHA256SUMS."""
    files = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != SUMS)
    lines = [f"{sha256(path)}  {path.relative_to(bundle).as_posix()}\n" for path in files]
    with atomic_write(bundle / SUMS) as temporary:
        temporary.write_text("".join(lines), encoding="ascii", newline="\n")


def _broken(bundle: Path, found: str) -> ModelFormatError:
    return ModelFormatError(
        f"The built-in bundle in {bundle} is damaged: {found}",
        expected="the files of the release, unchanged",
        fix="install the package again; docs/people.md says how the networks are remade",
    )
