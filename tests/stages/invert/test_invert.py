from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from builders import SMALL, small_generator, teach_noise

from portrait3d_core.cameras.cameras import frontal_camera, orbit_cameras
from portrait3d_core.errors import Cancelled, ImageError, NumericalError, SettingsError
from portrait3d_core.generator.noise_patterns import autocorrelation, noise_layers, whiten
from portrait3d_core.optimisation.perceptual import MultiScaleLoss
from portrait3d_core.rendering.render import RenderSettings, render
from portrait3d_core.runtime.job import Job
from portrait3d_core.runtime.resume import RunKeeper
from portrait3d_core.runtime.run_state import RunStore
from portrait3d_core.stages.align.align import AlignSettings, frame_face
from portrait3d_core.stages.invert import trigrid_tuning
from portrait3d_core.stages.invert.invert import Photo, invert
from portrait3d_core.stages.invert.latent_search import DEPARTURE, FALL, RISE, fading, lent_noise, turned
from portrait3d_core.stages.invert.latent_statistics import latent_statistics, reference_face, reference_mask
from portrait3d_core.stages.invert.settings import InvertSettings, TuningSettings

RENDER = RenderSettings(resolution=16, coarse_samples=8, fine_samples=6, march="fine")
SETTINGS = InvertSettings(
    steps=25,
    learning_rate=0.15,
    w_samples=20,
    align=AlignSettings(method="none", resolution=32),
    render=RENDER,
    preview_every=10,
)


@pytest.fixture(scope="module")
def generator():
    return small_generator(1, replace(SMALL, superresolution=None))


@pytest.fixture(scope="module")
def photo(generator):
    """A picture of one of the generator's own portraits, [32, 32, 3]."""
    z = torch.randn(1, SMALL.z_dim, generator=torch.Generator().manual_seed(7))
    portrait = generator.synthesise(generator.mapping(z))
    return render(portrait, frontal_camera(), replace(RENDER, resolution=32)).image()[0]


def test_a_picture_of_a_portrait_is_found_again(generator, photo):
    result = invert([Photo(photo)], generator, SETTINGS)
    assert result.losses[-1] < 0.6 * result.losses[0]
    assert result.portrait.w_plus is not None
    assert not result.portrait.w_plus.requires_grad
    assert result.portrait.provenance.history[-1].stage == "invert"
    assert result.aligned.shape == (1, 32, 32, 3)


def test_the_same_seed_gives_the_same_portrait(generator, photo):
    settings = replace(SETTINGS, steps=4, tuning=TuningSettings(steps=2))
    first, again, other = (invert([Photo(photo)], generator, settings, job=Job(seed)) for seed in (0, 0, 1))
    assert first.losses == again.losses
    for resolution, level in first.portrait.trigrid.levels.items():
        assert torch.equal(level, again.portrait.trigrid.levels[resolution])
    assert first.losses != other.losses


def test_the_best_of_several_starts_is_no_worse_than_the_average(generator, photo):
    average = invert([Photo(photo)], generator, replace(SETTINGS, steps=1, latent_noise=0.0))
    chosen = invert([Photo(photo)], generator, replace(SETTINGS, steps=1, latent_noise=0.0, starts=10))
    assert chosen.losses[0] <= average.losses[0]


def test_tuning_comes_closer_than_the_latent_alone(generator, photo):
    recoloured = photo.flip(-1)
    settings = replace(SETTINGS, steps=10, tuning=TuningSettings(steps=15))
    result = invert([Photo(recoloured)], generator, settings)
    assert len(result.losses) == 25
    assert result.losses[-1] < result.losses[9]


def test_optimised_noise_is_returned_to_its_owner(generator, photo):
    before = {name: buffer.clone() for name, buffer in generator.named_buffers()}
    invert([Photo(photo)], generator, replace(SETTINGS, steps=3, optimise_noise=True))
    after = dict(generator.named_buffers())
    assert before.keys() == after.keys()
    for name, buffer in before.items():
        assert torch.equal(buffer, after[name])
        assert not after[name].requires_grad


@pytest.fixture
def taught():
    """A generator whose stored noise patterns are part of its portraits."""
    return teach_noise(small_generator(1, replace(SMALL, superresolution=None)))


NOISE_SEARCH = replace(SETTINGS, steps=8, optimise_noise=True, latent_noise=0.0)


def test_noise_that_is_part_of_the_portraits_starts_where_it_is_stored(taught, photo):
    """With steps of (next to) nothing the portrait found is the one the search started from."""
    found = invert([Photo(photo)], taught, replace(NOISE_SEARCH, learning_rate=1e-30)).portrait
    start = taught.synthesise(latent_statistics(taught, SETTINGS.w_samples).average.expand(1, taught.config.num_ws, -1))
    for resolution, level in start.trigrid.levels.items():
        assert torch.equal(found.trigrid.levels[resolution], level)


def test_optimising_it_comes_closer_than_the_latent_alone(taught, photo):
    slow = replace(NOISE_SEARCH, steps=20, learning_rate=0.005)
    still, free = (invert([Photo(photo)], taught, replace(slow, optimise_noise=noise)) for noise in (False, True))
    assert free.losses[0] == pytest.approx(still.losses[0], rel=1e-6)
    assert free.losses[-1] < still.losses[-1] < still.losses[0]


def test_it_stays_near_the_stored_patterns_and_is_returned(taught):
    layers = noise_layers(taught.backbone.synthesis)
    stored = [layer.noise_const for layer in layers]
    with lent_noise(taught, True, torch.Generator()) as noise:
        assert not noise.white and float(noise.irregularity().detach()) == 0
        with torch.no_grad():
            near, far = noise.patterns[0].add_(0.1).clone(), noise.patterns[1].add_(7.0)
        noise.project()
        assert torch.equal(noise.patterns[0], near)
        assert float((far - stored[1]).square().mean().sqrt().detach()) == pytest.approx(DEPARTURE, rel=1e-5)
        assert noise.patterns[2].requires_grad and torch.equal(noise.patterns[2], stored[2])
    assert all(layer.noise_const is own for layer, own in zip(layers, stored, strict=True))


def test_white_noise_is_replaced_and_kept_white(generator):
    """The published way, number for number: fresh noise, regularised itself, whitened after every step."""
    layers = noise_layers(generator.backbone.synthesis)
    random = torch.Generator().manual_seed(4)
    expected = [torch.randn(layer.noise_const.shape, generator=random) for layer in layers]
    with lent_noise(generator, True, torch.Generator().manual_seed(4)) as noise:
        assert noise.white and all(torch.equal(*pair) for pair in zip(noise.patterns, expected, strict=True))
        assert torch.equal(noise.irregularity(), autocorrelation(expected))
        noise.project()
        whiten(expected)
        assert all(torch.equal(*pair) for pair in zip(noise.patterns, expected, strict=True))


def test_noise_is_lent_only_when_asked_for(generator, taught):
    for network in (generator, taught):
        with lent_noise(network, False, torch.Generator()) as noise:
            assert noise.patterns == []
            noise.project()


def test_the_mask_frees_the_surroundings(generator, photo):
    """What lies outside the mask has no influence on the result."""
    mask = torch.zeros(32, 32)
    mask[8:24, 8:24] = 1
    spoilt = torch.where(mask[..., None] > 0, photo, torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)))
    settings = replace(SETTINGS, steps=3, align=AlignSettings(method="none", resolution=16))
    clean_losses, spoilt_losses = (invert([Photo(image, mask)], generator, settings).losses for image in (photo, spoilt))
    assert clean_losses == pytest.approx(spoilt_losses, rel=0.1)


def test_turning_the_camera_is_bounded(generator, photo):
    result = invert([Photo(photo)], generator, replace(SETTINGS, steps=5, turn_deg=3.0))
    assert abs(float(result.camera.yaw_deg)) <= 3.0


def test_turned_cameras_follow_the_orbit():
    moved = turned(orbit_cameras([20.0], 5.0), torch.tensor([10.0, -5.0]))
    assert torch.allclose(moved.cam2world, orbit_cameras([30.0], 0.0).cam2world, atol=1e-5)


@pytest.fixture(scope="module")
def around(generator):
    """Pictures of the same portrait from three sides, and their cameras."""
    z = torch.randn(1, SMALL.z_dim, generator=torch.Generator().manual_seed(7))
    cameras = orbit_cameras([0.0, 60.0, -60.0])
    views = render(generator.synthesise(generator.mapping(z)), cameras, replace(RENDER, resolution=32))
    return [Photo(image, camera=cameras[index]) for index, image in enumerate(views.image())]


@pytest.fixture(scope="module")
def near(generator):
    """A photo of the same portrait from 1.9 m, with its mask."""
    z = torch.randn(1, SMALL.z_dim, generator=torch.Generator().manual_seed(7))
    camera = orbit_cameras([0.0], radius=1.9)
    view = render(generator.synthesise(generator.mapping(z)), camera, replace(RENDER, resolution=32))
    return Photo(view.image()[0], view.mask[0, 0].clamp(0, 1), camera)


def test_the_average_head_is_seen_from_nearby(generator, near):
    average = latent_statistics(generator, 20).average
    close = reference_mask(generator, average, camera=near.camera)
    assert float(close.mean()) == pytest.approx(float(reference_mask(generator, average).mean()), rel=0.3)


def test_a_photo_from_nearby_shapes_the_head(generator, near, monkeypatch):
    """With nothing but the silhouette to go by, its distance falls."""
    settings = replace(SETTINGS, steps=8, tuning=TuningSettings(steps=4, learning_rate=0.01))
    monkeypatch.setattr(trigrid_tuning, "OTHERS_WEIGHT", 0.0)
    found = invert([near], generator, settings, perceptual=lambda rendered, target: 0 * rendered.sum())
    assert near.mask.mean() > 0.05
    assert min(found.losses[:8]) < 0.2 * found.losses[0] and min(found.losses[9:]) < 0.9 * found.losses[8]


def test_a_photo_that_is_given_twice_counts_as_one(generator, photo):
    settings = replace(SETTINGS, steps=4, tuning=TuningSettings(steps=2))
    single = invert([Photo(photo)], generator, settings)
    twice = invert([Photo(photo), Photo(photo)], generator, settings)
    assert twice.losses == pytest.approx(single.losses, rel=1e-4)


def test_several_photos_of_one_person_are_found_together(generator, around):
    found = invert(around, generator, replace(SETTINGS, steps=10))
    assert found.losses[-1] < 0.8 * found.losses[0]
    assert len(found.alignments) == len(found.camera) == 3 and found.aligned.shape == (3, 32, 32, 3)
    assert torch.allclose(found.camera.yaw_deg, torch.tensor([0.0, 60.0, -60.0]), atol=1e-3)
    assert len(found.portrait) == 1


def test_photos_from_the_side_tell_what_the_front_does_not(generator, around):
    """The sides come closer to their photos than with the front alone."""
    settings = replace(SETTINGS, steps=5, tuning=TuningSettings(steps=8))
    results = [invert(photos, generator, settings).portrait for photos in (around[:1], around)]

    def distance(portrait):
        looks = [render(portrait, photo.camera, replace(RENDER, resolution=32)).image()[0] for photo in around[1:]]
        return float(torch.stack([(look - photo.image).abs().mean() for look, photo in zip(looks, around[1:])]).mean())

    assert distance(results[1]) < distance(results[0])


def test_cameras_turn_one_by_one(generator, around):
    found = invert(around, generator, replace(SETTINGS, steps=4, turn_deg=3.0))
    moved = found.camera.yaw_deg - torch.tensor([0.0, 60.0, -60.0])
    assert bool((moved.abs() <= 3.0).all()) and len(set(moved.tolist())) == 3


def test_previews_show_all_photos_side_by_side(generator, around):
    heard = []
    invert(around[:2], generator, replace(SETTINGS, steps=1), job=Job(on_step=heard.append))
    assert heard[0].preview.shape == (16, 32, 3)


def test_photos_all_around_leave_nothing_to_hold(generator, photo):
    cameras = orbit_cameras([60.0 * index for index in range(6)])
    photos = [Photo(photo, camera=cameras[index]) for index in range(6)]
    found = invert(photos, generator, replace(SETTINGS, steps=1, tuning=TuningSettings(steps=2)))
    assert len(found.losses) == 3


def test_the_frame_of_a_side_photo_is_what_its_camera_sees(generator):
    """The face moves out of the middle on the side it looks to; from the front it stays where the silhouette has it."""
    average = latent_statistics(generator, 20).average
    front = reference_face(generator, average, frontal_camera())
    expected = frame_face(reference_mask(generator, average))
    assert (front.centre_x, front.centre_y) == pytest.approx((expected.centre_x, expected.centre_y), abs=0.02)
    left, right = (reference_face(generator, average, orbit_cameras([yaw])) for yaw in (-40.0, 40.0))
    assert right.centre_x < front.centre_x < left.centre_x and right.width == front.width
    side = reference_mask(generator, average, camera=orbit_cameras([90.0]))
    assert side.shape == (96, 96) and not torch.equal(side, reference_mask(generator, average))


def test_the_photo_that_cannot_be_framed_is_named(generator, photo):
    settings = replace(SETTINGS, align=AlignSettings("manual", resolution=32))
    with pytest.raises(ImageError, match="Image 2: The photo is 8 x 8"):
        invert([Photo(photo), Photo(photo[:8, :8])], generator, settings)
    with pytest.raises(ImageError, match="no photo"):
        invert([], generator, settings)


def test_inference_mode_is_no_obstacle(generator, photo):
    with torch.inference_mode():
        image = photo.clone()
        result = invert([Photo(image)], generator, replace(SETTINGS, steps=2))
    assert not result.portrait.to_rgb.weight.is_inference()


def test_progress_and_cancelling(generator, photo):
    heard = []

    def listen(info):
        heard.append(info)
        if info.step == 11:
            raise Cancelled

    with pytest.raises(Cancelled):
        invert([Photo(photo)], generator, SETTINGS, job=Job(on_step=listen))
    assert [info.step for info in heard] == list(range(1, 12))
    assert all(info.total == 25 and info.loss is not None for info in heard)
    assert [info.step for info in heard if info.preview is not None] == [1, 10]
    assert heard[9].preview.shape == (16, 16, 3)


def test_non_finite_losses_end_in_an_error(generator, photo):
    with pytest.raises(NumericalError, match="in a row"):
        invert([Photo(photo)], generator, SETTINGS, perceptual=lambda a, b: (a * float("nan")).sum())


def test_a_stopped_search_goes_on_only_with_the_same_distance(tmp_path, generator, photo):
    settings = replace(SETTINGS, steps=4)

    def steps(perceptual, stop_at=None):
        done = []

        def listen(info):
            done.append(info.step)
            if info.step == stop_at:
                raise Cancelled

        with suppress(Cancelled):
            job = Job(on_step=listen, keep=RunKeeper(RunStore(tmp_path)))
            invert([Photo(photo)], generator, settings, perceptual=perceptual, job=job)
        return done

    assert steps(MultiScaleLoss(levels=2), stop_at=2) == [1, 2]
    assert steps(None) == [1, 2, 3, 4]
    assert steps(MultiScaleLoss(levels=2)) == [3, 4]


def test_a_photo_without_a_person_is_refused(generator):
    settings = replace(SETTINGS, align=AlignSettings(resolution=32))
    with pytest.raises(ImageError):
        invert([Photo(torch.rand(64, 64, 3))], generator, settings)


def test_schedules_follow_the_specification():
    assert (RISE, FALL) == (0.05, 0.25)  # tests/optimisation/test_learning_rate.py tells what they do
    assert fading(1, 10) == 1.0
    assert fading(4, 8) == pytest.approx(0.25)
    assert fading(9, 10) == 0.0


def test_latent_statistics(generator):
    statistics = latent_statistics(generator, 30)
    assert torch.allclose(statistics.samples.mean(0), statistics.average, atol=1e-5)
    assert float(statistics.deviation) > 0


@pytest.mark.parametrize("change", [{"steps": 0}, {"starts": 1000}, {"learning_rate": 0.0}, {"turn_deg": 90.0}])
def test_settings_are_validated(change):
    with pytest.raises(SettingsError):
        InvertSettings(**change)
