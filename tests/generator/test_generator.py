"""Properties of the generator with small random weights, beyond the contract of its families."""

import json
from dataclasses import replace

import pytest
import torch
from builders import SMALL, SMALL_SINGLE, small_generator, small_portrait

from portrait3d_core.cameras.cameras import orbit_cameras
from portrait3d_core.cameras.paths import turntable
from portrait3d_core.errors import SettingsError
from portrait3d_core.generator.config import OFFICIAL_512, OFFICIAL_512_SINGLE, GeneratorConfig
from portrait3d_core.generator.generator import Generator
from portrait3d_core.portrait.superresolution import SuperResolution, SuperResolutionConfig, super_resolve
from portrait3d_core.rendering.render import RenderSettings, render_super
from portrait3d_core.stages.orbit import orbit


def codes(count):
    return torch.randn(count, SMALL.z_dim)


def test_sizes_of_the_two_families():
    assert OFFICIAL_512.num_ws == OFFICIAL_512_SINGLE.num_ws == 14
    assert SMALL.levels == [8, 16] and SMALL_SINGLE.levels == [8]
    assert OFFICIAL_512.levels[-1] == 512 and OFFICIAL_512_SINGLE.levels == [256]


def test_pictures_show_what_lies_within_the_portraits_own_rays():
    """The older generator's rays start nearer and end farther than the pyramid's."""
    near = replace(SMALL_SINGLE.scene, ray_start=2.65, ray_end=2.75)
    portrait = small_portrait(config=SMALL_SINGLE)
    views = [orbit(replace(portrait, scene=scene), turntable(1)).mask.mean() for scene in (portrait.scene, near)]
    assert views[0] > views[1]


def test_same_latent_same_portrait_unless_noise_is_random():
    generator = small_generator()
    for module in generator.modules():
        if hasattr(module, "noise_strength"):
            module.noise_strength.data.fill_(0.3)
    w_plus = generator.mapping(codes(1))

    def top(noise, seed=0):
        return generator.synthesise(w_plus, noise=noise, generator=torch.Generator().manual_seed(seed)).trigrid.levels[16]

    assert torch.equal(top("const"), top("const"))
    assert torch.equal(top("random", 1), top("random", 1))
    assert not torch.equal(top("random", 1), top("random", 2))
    assert not torch.equal(top("none"), top("const"))


def test_background_may_have_its_own_latent():
    generator = small_generator()
    w_plus, other = generator.mapping(codes(2)).split(1)
    mixed = generator.synthesise(w_plus, background_w=other)
    assert torch.equal(mixed.background, generator.synthesise(other).background)
    assert torch.equal(mixed.trigrid.levels[16], generator.synthesise(w_plus).trigrid.levels[16])


@pytest.mark.parametrize("config", [SMALL, SMALL_SINGLE])
def test_every_used_parameter_gets_a_gradient(config):
    generator = Generator(config)
    portrait = generator.synthesise(generator.mapping(codes(2)))
    settings = RenderSettings(resolution=6, coarse_samples=8, fine_samples=8)
    rendering = render_super(portrait, orbit_cameras([0.0, 40.0]), settings)
    (rendering.rgb.square().sum() + rendering.mask.sum()).backward()
    silent = {name for name, value in generator.named_parameters() if value.grad is None}
    # super-resolution never adds noise; the pose branch and the camera statistics are not part of a picture
    assert silent == {name for name in silent if name.startswith(("pose_branch.", "superresolution."))}
    assert all("noise_strength" in name for name in silent if name.startswith("superresolution."))


def test_average_latent_follows_its_batches():
    generator = small_generator()
    generator.backbone.mapping.track_average(torch.ones(4, 16), momentum=0.9)
    torch.testing.assert_close(generator.w_avg, torch.full((16,), 0.1))


@pytest.mark.parametrize(("first_up", "side"), [(True, 32), (False, 16)])
def test_super_resolution_is_a_plain_value(first_up, side):
    generator = small_generator(config=replace(SMALL, superresolution=SuperResolutionConfig(8, (6, 4), first_up)))
    upsampler = generator.synthesise(generator.mapping(codes(1))).superresolution
    restored = SuperResolution.from_state(upsampler.state(), json.loads(json.dumps(upsampler.meta())))
    rgb, features = torch.randn(2, 3, 5, 5), torch.randn(2, 6, 5, 5)
    batch = super_resolve(upsampler, rgb, features)
    assert batch.shape == (2, 3, side, side) and upsampler.output_resolution == side
    assert torch.equal(super_resolve(restored, rgb, features), batch)
    torch.testing.assert_close(super_resolve(upsampler, rgb[1:], features[1:]), batch[1:], rtol=1e-4, atol=1e-4)


def test_configuration_survives_json():
    for config in (OFFICIAL_512, OFFICIAL_512_SINGLE, SMALL, GeneratorConfig(superresolution=None, plane_resolution=64)):
        assert GeneratorConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_configurations_of_older_files_are_read():
    """Files of version 0.1.0 know nothing of the older generator and of other upsamplers."""
    values = json.loads(json.dumps(SMALL.to_json()))
    for name in ("pyramid", "backbone_channel_base", "backbone_channel_max"):
        del values[name]
    del values["superresolution"]["first_up"]
    assert GeneratorConfig.from_json(values) == SMALL


def test_resolutions_must_be_powers_of_two():
    with pytest.raises(SettingsError, match="plane_resolution is 48"):
        GeneratorConfig(plane_resolution=48)
