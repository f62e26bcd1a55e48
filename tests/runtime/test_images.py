import sys

import pytest
import torch
from torch.nn import functional as F

from portrait3d_core.errors import OutputError
from portrait3d_core.runtime.images import contact_sheet, resize_images, write_png, write_video
from portrait3d_core.runtime.pictures import read_image

PIL = pytest.importorskip("PIL.Image")


def gradient(height: int = 20, width: int = 30, channels: int = 3) -> torch.Tensor:
    return torch.linspace(0, 1, height * width * channels).reshape(height, width, channels)


@pytest.mark.parametrize("channels", [3, 4])
def test_png_round_trip_is_exact_to_8_bits(tmp_path, channels):
    write_png(gradient(channels=channels), tmp_path / "deep" / "a.png")
    assert torch.allclose(read_image(tmp_path / "deep" / "a.png"), gradient(channels=channels), atol=0.5 / 255 + 1e-6)


def test_mp4_holds_every_frame_even_at_odd_sizes(tmp_path):
    av = pytest.importorskip("av")
    frames = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 33, 47, 3)
    path = write_video(frames, tmp_path / "a.mp4", fps=10)
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert [frame.shape for frame in decoded] == [(34, 48, 3)] * 5
    assert [float(frame.mean()) / 255 for frame in decoded] == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.05)


@pytest.mark.parametrize("ending", ["webp", "gif"])
def test_animations_need_only_pillow(tmp_path, ending):
    path = write_video(torch.rand(3, 16, 16, 3), tmp_path / f"a.{ending}")
    assert PIL.open(path).n_frames == 3


def test_without_av_an_mp4_becomes_a_webp(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    path = write_video(torch.rand(2, 16, 16, 3), tmp_path / "a.mp4")
    assert path.suffix == ".webp"
    assert path.is_file()


def test_impossible_outputs_are_refused(tmp_path):
    with pytest.raises(OutputError, match="frames"):
        write_video(torch.rand(0, 8, 8, 3), tmp_path / "a.mp4")
    with pytest.raises(OutputError, match="avi"):
        write_video(torch.rand(1, 8, 8, 3), tmp_path / "a.avi")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="Cannot write"):
        write_png(torch.rand(8, 8, 3), tmp_path / "file" / "a.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file"]


def test_contact_sheets_fill_rows_first():
    images = torch.arange(5).float()[:, None, None, None].expand(5, 4, 6, 3) / 10
    sheet = contact_sheet(images, columns=3)
    assert sheet.shape == (8, 18, 3)
    assert float(sheet[0, 7, 0]) == pytest.approx(0.1)
    assert float(sheet[5, 7, 0]) == pytest.approx(0.4)
    assert float(sheet[5, 13, 0]) == 1.0
    assert contact_sheet(images, labels=list("abcde"), columns=5).shape == (4 + 18, 30, 3)


def test_shrinking_averages_what_growing_interpolates():
    stripes = torch.tensor([0.0, 1.0]).repeat(16).expand(1, 1, 32, 32)
    inner = resize_images(stripes, 8)[..., 1:-1, 1:-1]
    assert torch.allclose(inner, torch.full_like(inner, 0.5), atol=0.05)
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(resize_images(picture, 32), F.interpolate(picture, size=(32, 32), mode="bilinear"))
    assert resize_images(picture, 8) is picture


def test_growing_is_the_same_with_and_without_the_filter_for_shrinking():
    """The published networks ask for the filter both ways; a device that lacks its gradient does not need it for growing."""
    picture = torch.rand(2, 3, 16, 16)
    filtered = F.interpolate(picture, size=(50, 50), mode="bilinear", antialias=True)
    torch.testing.assert_close(resize_images(picture, 50), filtered, rtol=0, atol=1e-6)


def test_an_mp4_has_the_colours_of_its_frames_says_so_and_starts_at_once(tmp_path):
    av = pytest.importorskip("av")
    swatches = torch.tensor([[200, 30, 40], [40, 160, 60], [60, 80, 200], [224, 172, 140]]) / 255
    frames = swatches.repeat_interleave(64, 0).repeat(2, 64, 1, 1)
    path = write_video(frames, tmp_path / "a.mp4")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(path)) as container:
        coder = container.streams.video[0].codec_context
        assert (coder.colorspace, coder.color_primaries, coder.color_trc, coder.color_range) == (1, 1, 1, 1)
        assert coder.pix_fmt == "yuv420p"
        planes = next(container.decode(video=0)).to_ndarray()
    luma, chroma = planes[:64], planes[64:].reshape(2, 32, 128)
    for index, colour in enumerate(swatches):
        y = (float(luma[32, 64 * index + 32]) - 16) / 219
        blue, red = ((chroma[:, 16, 32 * index + 16].astype(float) - 128) / 224).tolist()
        r, b = y + 1.5748 * red, y + 1.8556 * blue  # ITU-R BT.709
        g = (y - 0.2126 * r - 0.0722 * b) / 0.7152
        assert torch.tensor([r, g, b]).sub(colour).abs().max() < 0.03
