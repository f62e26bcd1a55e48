import pytest
import torch
import torch.nn.functional as F

from portrait3d_core.cameras.cameras import frontal_camera
from portrait3d_core.errors import ImageError, SettingsError
from portrait3d_core.stages.align.align import Alignment, AlignSettings, align
from portrait3d_core.stages.align.landmarks import measure_face
from portrait3d_core.stages.align.silhouette import Crop, crop_pixels, fit_silhouette, measure_head


def bust(side: int) -> torch.Tensor:
    """A head-and-shoulders silhouette [side, side]."""
    axis = (torch.arange(side) + 0.5) / side
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    head = ((x - 0.5) / 0.22) ** 2 + ((y - 0.43) / 0.27) ** 2 < 1
    neck = ((x - 0.5).abs() < 0.11) & (y > 0.6) & (y < 0.85)
    shoulders = ((x - 0.5) / 0.45) ** 2 + ((y - 1.0) / 0.22) ** 2 < 1
    return (head | neck | shoulders).float()


def place(silhouette: torch.Tensor, crop: Crop, height: int, width: int) -> torch.Tensor:
    """A photo-sized mask [height, width] in which ``silhouette`` fills the square ``crop``."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    u, v = (x - crop.centre_x) / crop.size, (y - crop.centre_y) / crop.size
    grid = torch.stack([2 * u, 2 * v], dim=-1)[None]
    inside = (u.abs() < 0.5) & (v > -0.5)
    return F.grid_sample(silhouette[None, None], grid, padding_mode="border", align_corners=False)[0, 0] * inside


def overlap(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.minimum(a, b).sum() / torch.maximum(a, b).sum())


@pytest.mark.parametrize("seed", range(6))
def test_silhouettes_of_any_scale_and_place_are_laid_over_the_reference(seed):
    size, x, y = (torch.rand(3, generator=torch.Generator().manual_seed(seed))).tolist()
    truth = Crop(150 + 200 * x, 260 + 120 * y, 150 + 250 * size)
    mask = place(bust(512), truth, 600, 500)
    result = align(torch.rand(600, 500, 3), mask, bust(96), AlignSettings(resolution=96))
    assert result.method == "silhouette"
    assert result.mask is not None
    assert overlap(result.mask, bust(96)) > 0.95
    assert result.crop.size == pytest.approx(truth.size, rel=0.03)
    assert result.crop.centre_x == pytest.approx(truth.centre_x, abs=0.02 * truth.size)
    assert result.crop.centre_y == pytest.approx(truth.centre_y, abs=0.02 * truth.size)


def test_fit_does_not_depend_on_the_resolution_of_the_reference():
    mask = place(bust(512), Crop(200, 250, 300), 500, 400)
    small, large = (fit_silhouette(mask, bust(side)).crop for side in (64, 256))
    assert small.size == pytest.approx(large.size, rel=0.03)


def test_without_a_reference_the_measured_head_decides():
    result = align(torch.rand(500, 400, 3), place(bust(512), Crop(200, 250, 300), 500, 400))
    assert result.crop.size == pytest.approx(300, rel=0.15)
    assert result.crop.centre_x == pytest.approx(200, abs=5)


def test_measured_head_of_the_bust():
    head = measure_head(bust(200))
    assert head is not None
    assert head.centre_x == pytest.approx(100, abs=1)
    assert head.top == pytest.approx(0.16 * 200, abs=2)
    assert head.width == pytest.approx(0.44 * 200, rel=0.05)
    assert 0.64 * 200 < head.neck < 0.8 * 200


def test_alpha_serves_as_the_mask():
    alpha = place(bust(512), Crop(200, 250, 300), 500, 400)
    photo = torch.cat([torch.rand(500, 400, 3), alpha[..., None]], dim=-1)
    result = align(photo, None, bust(96))
    assert result.method == "silhouette"
    assert result.image.shape == (512, 512, 3)
    assert float((result.image[:8] - 0.5).abs().max()) < 0.02  # transparent pixels became grey


@pytest.mark.parametrize("seed", range(3))
def test_people_before_their_plain_wall_are_framed_by_their_outline(world, seed):
    truths = [world.views(world.sample(4 * seed + k), frontal_camera(), 64) for k in range(4)]
    reference = torch.stack([torch.from_numpy(truth.mask[0]) for truth in truths]).mean(0)
    rgb = torch.from_numpy(truths[0].colour).movedim(-1, 1)
    picture = F.interpolate(rgb, size=200, mode="bilinear")[0]
    photo = F.pad(picture, (80, 120, 100, 0), mode="replicate").permute(1, 2, 0)
    result = align(photo, None, reference)
    assert result.method == "silhouette"
    assert result.crop.size == pytest.approx(200, rel=0.15)
    assert result.crop.centre_x == pytest.approx(180, abs=10)
    assert result.crop.centre_y == pytest.approx(200, abs=20)


def test_plain_backdrop_needs_no_mask():
    mask = place(bust(512), Crop(200, 250, 300), 500, 400)[..., None]
    photo = mask * torch.tensor([0.1, 0.2, 0.5]) + (1 - mask) * torch.tensor([0.7, 0.72, 0.7])
    result = align(photo, None, bust(96))
    assert result.method == "silhouette"
    assert result.crop.size == pytest.approx(300, rel=0.05)


def test_pre_aligned_photos_are_only_resized():
    photo = torch.rand(64, 64, 3)
    result = align(photo, settings=AlignSettings(method="none", resolution=64))
    assert torch.allclose(result.image, photo, atol=1e-5)
    assert (result.method, result.confidence) == ("none", 1.0)


def test_manual_crop_is_exact_and_repeats_edges():
    photo = torch.zeros(100, 200, 3)
    photo[25:75, 50:150] = 1.0
    settings = AlignSettings(method="manual", centre=(0.25, 0.5), size=1.0, resolution=100)
    left = align(photo, settings=settings)
    assert left.crop == Crop(50.0, 50.0, 100.0)
    assert float(left.image[30:70, 55:].min()) == 1.0
    assert float(left.image[:, :45].max()) == 0.0
    outside = align(torch.ones(64, 64, 3), settings=AlignSettings(method="manual", size=4.0, resolution=64))
    assert float(outside.image.min()) > 0.999


def test_zoom_scales_the_crop_about_its_centre():
    photo = torch.rand(80, 80, 3)
    plain, zoomed = (align(photo, settings=AlignSettings("manual", zoom=zoom)).crop for zoom in (1.0, 2.0))
    assert zoomed == Crop(plain.centre_x, plain.centre_y, plain.size / 2)


def test_downscaling_averages():
    checkers = (torch.arange(256)[:, None] + torch.arange(256)) % 2
    small = crop_pixels(checkers[None].float(), Crop(128, 128, 256), 32)
    assert torch.allclose(small, torch.full_like(small, 0.5), atol=0.02)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (torch.rand(2, 64, 64, 3), "shape"),
        (torch.rand(64, 64, 2), "shape"),
        (torch.rand(1, 500, 3), "500 x 1 pixels"),
        (torch.rand(16, 16, 3), "16 x 16 pixels"),
        (torch.full((64, 64, 3), float("nan")), "NaN"),
        (torch.rand(64, 64, 3) * 255, "values span"),
    ],
)
def test_unusable_photos_are_refused(image, found):
    with pytest.raises(ImageError, match=found):
        align(image)


@pytest.mark.parametrize(
    ("mask", "found"),
    [
        (torch.zeros(64, 64), "empty"),
        (torch.ones(64, 64), "full"),
        (torch.rand(32, 64), "shape"),
        (torch.full((64, 64), float("nan")), "NaN"),
    ],
)
def test_unusable_masks_are_refused(mask, found):
    with pytest.raises(ImageError, match=found):
        align(torch.rand(64, 64, 3), mask)


def test_a_silhouette_unlike_a_person_is_refused_with_a_way_out():
    stripes = (torch.arange(128) % 16 < 8).float().expand(128, 128)
    with pytest.raises(ImageError, match="overlap.*manual"):
        align(torch.rand(128, 128, 3), stripes, bust(96))


@pytest.mark.parametrize("shape", [(64, 96), (64, 96, 1), (1, 64, 96, 3)])
def test_grey_photos_and_batches_of_one_are_accepted(shape):
    result = align(torch.rand(shape), settings=AlignSettings(method="none", resolution=32))
    assert result.image.shape == (32, 32, 3)


@pytest.mark.parametrize("photo", [torch.rand(200, 200, 3), torch.rand(200, 200)])
def test_no_person_no_alignment(photo):
    with pytest.raises(ImageError, match="mask"):
        align(photo, None, bust(96))


@pytest.mark.parametrize("change", [{"method": "magic"}, {"resolution": 8}, {"size": 0.0}])
def test_settings_are_validated(change):
    with pytest.raises(SettingsError):
        AlignSettings(**change)


# A real photograph ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def astronaut() -> torch.Tensor:
    data = pytest.importorskip("skimage.data", reason="scikit-image provides the photograph")
    return torch.from_numpy(data.astronaut()).float() / 255


def assert_frames_the_astronaut(result: Alignment, scale: float = 1.0) -> None:
    crop = result.crop
    assert result.method == "face"
    assert 215 < crop.centre_x / scale < 235
    assert 180 < crop.size / scale < 330
    top, bottom = (crop.centre_y - crop.size / 2) / scale, (crop.centre_y + crop.size / 2) / scale
    assert top < 25  # the hair is inside
    assert 210 < bottom < 300  # so are chin, neck and collar


def test_a_photograph_with_a_busy_background_is_framed(astronaut):
    result = align(astronaut, None, bust(96))
    assert_frames_the_astronaut(result)
    assert result.mask is not None  # the backdrop inside the crop is plain enough
    assert float(result.mask[200:300, 200:300].mean()) > 0.99
    assert float(result.mask[:100, :60].mean()) < 0.01


def test_landmarks_frame_a_photograph_like_the_face_finder(astronaut):
    points = torch.full((68, 2), 225.0)
    points[36:42] = torch.tensor([203.0, 101.0])
    points[42:48] = torch.tensor([246.7, 103.0])
    points[48], points[54] = torch.tensor([204.0, 141.0]), torch.tensor([242.5, 141.7])
    found = align(astronaut.mean(-1), None, bust(96), face=measure_face(points))  # too grey for the finder
    assert_frames_the_astronaut(found)


@pytest.mark.parametrize("exposure", [0.5, 1.2])
def test_exposure_hardly_matters(astronaut, exposure):
    assert_frames_the_astronaut(align((astronaut * exposure).clamp(0, 1), None, bust(96)))


def test_size_hardly_matters(astronaut):
    half = F.avg_pool2d(astronaut.permute(2, 0, 1), 2).permute(1, 2, 0)
    assert_frames_the_astronaut(align(half, None, bust(96)), scale=0.5)


def test_the_same_photograph_without_its_face_is_refused(astronaut):
    with pytest.raises(ImageError, match="no clear face"):
        align(astronaut[220:], None, bust(96))


def test_a_grey_photograph_of_a_face_asks_for_help(astronaut):
    with pytest.raises(ImageError, match="manual"):
        align(astronaut.mean(-1), None, bust(96))
