"""Reading photos and masks: every kind of file at its own scale and in sRGB, or refused by name."""

import io
import struct
import sys
import warnings
from types import SimpleNamespace

import pytest
import torch

from portrait3d_core.errors import ImageError, MissingDependencyError
from portrait3d_core.runtime import pictures
from portrait3d_core.runtime.images import write_png
from portrait3d_core.runtime.pictures import read_image, read_mask

PIL = pytest.importorskip("PIL.Image")


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGB", "RGBA", "LA"])
def test_every_mode_is_read(tmp_path, mode):
    ending = "tif" if mode == "CMYK" else "png"
    PIL.new("RGB", (30, 20), (255, 255, 255)).convert(mode).save(tmp_path / f"a.{ending}")
    image = read_image(tmp_path / f"a.{ending}")
    assert image.shape == (20, 30, 4 if mode.endswith("A") else 3)
    assert float(image.min()) > 0.99


@pytest.mark.parametrize("value", [200, 32768])
def test_16_bit_greys_keep_their_scale_however_dark(tmp_path, value):
    PIL.new("I;16", (40, 40), value).save(tmp_path / "a.png")
    assert float(read_image(tmp_path / "a.png").mean()) == pytest.approx(value / 65535, abs=1e-4)


def test_32_bit_pictures_are_read_by_their_range_or_refused_by_name(tmp_path):
    PIL.new("F", (40, 40), 0.25).save(tmp_path / "fraction.tif")
    assert float(read_image(tmp_path / "fraction.tif").mean()) == pytest.approx(0.25)
    for name, picture in {"bright": PIL.new("F", (40, 40), 3.5), "whole": PIL.new("I", (40, 40), 70000)}.items():
        picture.save(tmp_path / f"{name}.tif")
        with pytest.raises(ImageError, match=rf"{name}\.tif holds .* from .* to .*16 bits"):
            read_image(tmp_path / f"{name}.tif")
    PIL.new("F", (40, 40), float("nan")).save(tmp_path / "nan.tif")
    with pytest.raises(ImageError, match="floating-point"):
        read_image(tmp_path / "nan.tif")


def test_exif_orientation_is_applied(tmp_path):
    picture = PIL.new("RGB", (30, 20))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (30, 20, 3)


def wide_profile():
    """A matrix profile whose red lies far outside of sRGB's (D50 colorants of a wide space, gamma 2.2)."""
    colorants = {"rXYZ": (0.7347, 0.2653, 0.0), "gXYZ": (0.1152, 0.8264, 0.0584), "bXYZ": (0.1143, -0.0917, 0.7665)}

    def fixed(number):
        return struct.pack(">i", round(number * 65536))

    tags = {name: b"XYZ \0\0\0\0" + b"".join(map(fixed, xyz)) for name, xyz in colorants.items()}
    tags["wtpt"] = b"XYZ \0\0\0\0" + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    tags |= dict.fromkeys(("rTRC", "gTRC", "bTRC"), b"curv\0\0\0\0" + struct.pack(">IH", 1, round(2.2 * 256)) + b"\0\0")
    offset, table, data = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name.encode() + struct.pack(">II", offset + len(data), len(content))
        data += content
    head = struct.pack(">I4sI4s4s4s", offset + len(data), b"none", 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + b"".join(map(fixed, (0.9642, 1.0, 0.8249)))
    return head.ljust(128, b"\0") + table + data


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_embedded_profile_is_converted_to_srgb(tmp_path, mode):
    cms = pytest.importorskip("PIL.ImageCms")
    colour = (150, 100, 90)
    picture = PIL.new("RGB", (8, 8), colour)
    picture.convert(mode).save(tmp_path / "a.png", icc_profile=wide_profile())
    profile = cms.ImageCmsProfile(io.BytesIO(wide_profile()))
    expected = cms.profileToProfile(picture, profile, cms.createProfile("sRGB")).getpixel((0, 0))
    assert abs(expected[0] - colour[0]) > 10, "a profile that changes nothing would show nothing"
    read = read_image(tmp_path / "a.png")[0, 0] * 255
    assert read[:3].tolist() == pytest.approx(expected, abs=1)
    assert read.tolist()[3:] == [255][: len(mode) - 3]


@pytest.mark.parametrize("profile", [b"junk", None])
def test_a_profile_that_says_nothing_changes_nothing(tmp_path, profile):
    PIL.new("RGB", (8, 8), (200, 30, 40)).save(tmp_path / "a.png", icc_profile=profile)
    assert (read_image(tmp_path / "a.png")[0, 0] * 255).round().tolist() == [200, 30, 40]


def test_a_grey_picture_with_a_profile_of_colours_is_read(tmp_path):
    PIL.new("L", (8, 8), 77).save(tmp_path / "a.png", icc_profile=wide_profile())
    assert (read_image(tmp_path / "a.png")[0, 0] * 255).round().tolist() == [77, 77, 77]


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_heic_is_named_and_read_where_the_package_for_it_is(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingDependencyError, match="HEIC.*pip install pillow-heif"):
        read_image(tmp_path / name)
    registered = []
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=lambda: registered.append(1)))
    with pytest.raises(ImageError, match="is a HEIC picture; it cannot be read"):
        read_image(tmp_path / name)
    assert registered == [1]


def test_large_pictures_are_told_to_be_smaller_and_large_jpegs_are_made_smaller(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "MAX_PHOTO_PIXELS", 5000)
    monkeypatch.setattr(PIL, "MAX_IMAGE_PIXELS", 10000)
    picture = PIL.new("RGB", (160, 96), (200, 30, 40))
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "a.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="160 x 96 pixels.*make the picture smaller") as caught:
            read_image(tmp_path / "a.png")
        assert "mask" not in str(caught.value)
        assert read_image(tmp_path / "a.jpg").shape == (48, 80, 3)
        monkeypatch.setattr(pictures, "MAX_PHOTO_PIXELS", 100)
        with pytest.raises(ImageError, match="make the picture smaller"):
            read_image(tmp_path / "a.jpg")
    monkeypatch.setattr(PIL, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit, passed twice over
    monkeypatch.setattr(pictures, "MAX_PHOTO_PIXELS", 5000)
    with pytest.raises(ImageError, match="far too many pixels.*make the picture smaller"):
        read_image(tmp_path / "a.png")


def test_unreadable_pictures_are_refused_and_what_they_are_is_said(tmp_path):
    with pytest.raises(ImageError, match="no file"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(ImageError, match="cannot be read as an image"):
        read_image(tmp_path / "text.png")
    (tmp_path / "page.jpg").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(ImageError, match="is a web page"):
        read_image(tmp_path / "page.jpg")
    write_png(torch.rand(64, 64, 3), tmp_path / "a.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "a.png").read_bytes()[:2000])
    with pytest.raises(ImageError, match="is a PNG picture; it cannot be read"):
        read_image(tmp_path / "half.png")


def test_a_mask_is_its_transparency_where_that_says_anything(tmp_path):
    shape = torch.zeros(40, 40)
    shape[10:30, 12:28] = 1
    colours = torch.rand(40, 40, 3)
    write_png(torch.cat([colours, shape[..., None]], dim=-1), tmp_path / "cutout.png")
    write_png(torch.cat([shape[..., None].expand(-1, -1, 3), torch.ones(40, 40, 1)], dim=-1), tmp_path / "opaque.png")
    write_png(shape, tmp_path / "grey.png")
    for name in ("cutout", "opaque", "grey"):
        assert torch.equal(read_mask(tmp_path / f"{name}.png"), shape), name


def test_a_16_bit_mask_keeps_its_scale(tmp_path):
    PIL.new("I;16", (40, 40), 65535).save(tmp_path / "a.png")
    assert torch.equal(read_mask(tmp_path / "a.png"), torch.ones(40, 40))
