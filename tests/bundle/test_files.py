"""The bundle's checksums: what is shipped verifies, anything else is refused."""

import pytest

from portrait3d_core.bundle.files import (
    BUNDLE,
    SUMS,
    diffusion_path,
    generator_path,
    read_sums,
    verify_files,
    write_sums,
)
from portrait3d_core.errors import ModelFormatError

MAX_BUNDLE_BYTES = 45_000_000


@pytest.fixture
def bundle(tmp_path):
    """A made-up bundle with valid checksums."""
    (tmp_path / "diffusion" / "unet").mkdir(parents=True)
    (tmp_path / "generator.safetensors").write_bytes(b"weights")
    (tmp_path / "diffusion" / "unet" / "config.json").write_text("{}", encoding="ascii")
    write_sums(tmp_path)
    return tmp_path


def test_intact_files_are_found(bundle):
    assert generator_path(bundle).read_bytes() == b"weights"
    assert diffusion_path(bundle) == bundle / "diffusion"
    assert set(read_sums(bundle)) == {"generator.safetensors", "diffusion/unet/config.json"}


def test_a_changed_file_is_refused(bundle):
    (bundle / "generator.safetensors").write_bytes(b"weightz")
    with pytest.raises(ModelFormatError, match="wrong checksum"):
        generator_path(bundle)
    assert diffusion_path(bundle).is_dir()


def test_a_missing_file_is_refused(bundle):
    (bundle / "diffusion" / "unet" / "config.json").unlink()
    with pytest.raises(ModelFormatError, match="missing"):
        diffusion_path(bundle)


def test_an_unlisted_file_is_refused(bundle):
    with pytest.raises(ModelFormatError, match="does not list"):
        verify_files(bundle, ["other.bin"])


@pytest.mark.parametrize("content", ["", "abc  generator.safetensors\n", "no digest here\n"])
def test_a_broken_list_is_refused(bundle, content):
    (bundle / SUMS).write_text(content, encoding="ascii")
    with pytest.raises(ModelFormatError, match="damaged"):
        diffusion_path(bundle)


def test_a_missing_list_is_refused(tmp_path):
    with pytest.raises(ModelFormatError, match="What to do"):
        generator_path(tmp_path)


def test_the_shipped_bundle_is_intact_and_small():
    assert generator_path().is_file()
    assert diffusion_path().is_dir()
    verify_files(BUNDLE, read_sums(BUNDLE))
    assert sum(path.stat().st_size for path in BUNDLE.rglob("*") if path.is_file()) <= MAX_BUNDLE_BYTES
