"""The generator against the original's numbers, stage by stage."""

import json
from dataclasses import replace

import pytest
import torch
from golden import DATA, FULL, SOURCES, Golden, golden_a, golden_generator, needs_full

from portrait3d_core.checkpoints.generator_file import generator_from_state
from portrait3d_core.checkpoints.published.generator_layout import infer_config
from portrait3d_core.generator.config import OFFICIAL_512, OFFICIAL_512_SINGLE
from portrait3d_core.generator.generator import Generator
from portrait3d_core.portrait.superresolution import SuperResolutionConfig, super_resolve
from portrait3d_core.rendering.field import sample_field
from portrait3d_core.rendering.render import RenderSettings, render, render_super


@pytest.fixture(params=SOURCES)
def source(request):
    with torch.no_grad():
        yield request.param


def test_mapping_and_truncation(source):
    golden, generator = golden_a(source), golden_generator(source)
    z, cameras, pose = golden["input/z"], golden.cameras("input/c_cond"), golden["input/pose_cond"]
    golden.check("mapping/ws", generator.mapping(z, cameras, pose))
    golden.check("mapping/ws_no_pose", generator.mapping(z, cameras))
    golden.check("mapping/ws_psi", generator.mapping(z, cameras, pose, truncation=0.7))
    golden.check("mapping/ws_psi_cutoff", generator.mapping(z, cameras, pose, truncation=0.7, cutoff=3))


def test_pose_branch(source):
    golden = golden_a(source)
    golden.check("pose_branch/out", golden_generator(source).pose(golden["input/z"], golden.cameras("pose_branch/c")))


@pytest.mark.parametrize(("view", "latents"), [("cam0", "mapping/ws_psi"), ("cam2", "input/ws_plus")])
@pytest.mark.parametrize("resolution", [8, 16, 32, 64])
def test_pyramid_levels(source, view, latents, resolution):
    golden = golden_a(source)
    expected = golden[f"{view}/planes/{resolution}"]
    portrait = golden_generator(source).synthesise(golden[latents][:1])
    golden.check(f"{view}/planes/{resolution}", portrait.trigrid.levels[resolution][0], expected)


def test_levels_without_noise(source):
    golden = golden_a(source)
    expected = golden["noise_none/planes_top"]
    portrait = golden_generator(source).synthesise(golden["mapping/ws_psi"][:1], noise="none")
    golden.check("noise_none/planes_top", portrait.trigrid.levels[64][0], expected)


@pytest.mark.parametrize(("view", "latents"), [("cam0", "mapping/ws_psi"), ("cam2", "input/ws_plus")])
def test_background(source, view, latents):
    golden = golden_a(source)
    expected = golden[f"{view}/background_feature_native"]
    portrait = golden_generator(source).synthesise(golden[latents][:1])
    golden.check(f"{view}/background_feature_native", portrait.background, expected)


@pytest.mark.parametrize(("view", "latents"), [("cam0", "mapping/ws_psi"), ("cam2", "input/ws_plus")])
def test_super_resolution(source, view, latents):
    golden = golden_a(source)
    upsampler = golden_generator(source).synthesise(golden[latents][:1]).superresolution
    found = super_resolve(upsampler, golden[f"{view}/out/image_raw"], golden[f"{view}/composited_feature_image"])
    golden.check(f"{view}/out/image", found)


@pytest.mark.parametrize(("name", "config"), [("pyramid", OFFICIAL_512), ("3dportraitgan", OFFICIAL_512_SINGLE)])
def test_official_512_layouts(name, config):
    expected = json.loads((DATA / f"keys_generator_{name}_512.json").read_text())
    with torch.device("meta"):
        found = Generator(config).state_dict()
    layout = {key: list(tensor.shape) for key, tensor in found.items()}
    assert layout == {key: shape for key, (shape, _) in expected.items() if not key.startswith("renderer.")}
    assert infer_config({key: torch.empty(shape, device="meta") for key, (shape, _) in expected.items()}) == config


@needs_full
def test_second_fixture_without_body_pose():
    """``posed``: another shrunken generator; middle jitter and even quantiles are our deterministic rendering.

    Its upsampler is that of the smaller models, whose first block keeps the size.
    """
    golden = Golden(FULL, "posed_io")
    generator = generator_from_state(Golden(FULL, "posed_G_ema").tensors)
    assert generator.config.superresolution == SuperResolutionConfig(64, (128, 64), first_up=False)
    cameras = golden.cameras("c")
    with torch.no_grad():
        golden.check("ws", generator.mapping(golden["z"], cameras, golden["p"]))
        golden.check("pose_params", generator.pose(golden["z"], cameras))
        for noise in ("const", "none"):
            levels = generator.synthesise(golden["ws"], noise=noise).trigrid.levels
            for resolution, level in levels.items():
                golden.check(f"planes_{noise}_{resolution}", level)
        portrait = generator.synthesise(golden["ws"])
        golden.check("bcg_const", portrait.background)
        golden.check("sigma", sample_field(portrait, golden["pts"])[0])
        portrait = replace(portrait, scene=replace(portrait.scene, ray_start=2.385))
        picture = render_super(portrait, cameras, RenderSettings(resolution=16))
        golden.check("syn_image", picture.rgb)
        for name, resolution in (("syn", 16), ("rp", 24)):
            rendering = render(portrait, cameras, RenderSettings(resolution=resolution))
            golden.check(f"{name}_image_raw", rendering.rgb)
            golden.check(f"{name}_image_mask", rendering.mask)
            # the original's depth of empty rays is the largest depth of its call
            farthest = golden[f"{name}_image_depth"].max()
            golden.check(f"{name}_image_depth", rendering.depth.clamp(max=farthest))
