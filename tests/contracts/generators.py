"""What every family of generators promises (portrait3d_core/generator/generator.py), as checks that all of them pass."""

import json
from copy import deepcopy
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from portrait3d_core.cameras.cameras import frontal_camera, orbit_cameras
from portrait3d_core.checkpoints.generator_file import save_generator
from portrait3d_core.checkpoints.generator_loading import load_generator
from portrait3d_core.generator.config import GeneratorConfig
from portrait3d_core.generator.generator import Generator
from portrait3d_core.generator.pose import MIRRORED_POSE_ENTRIES, mirror
from portrait3d_core.portrait.portrait import Portrait
from portrait3d_core.rendering.render import RenderSettings, render_super

RENDERING = RenderSettings(resolution=8, coarse_samples=8, fine_samples=6)
HALF_WEIGHTS, HALF_PORTRAITS = 5e-4, 2e-3
"""Relative errors after storing in half precision: of one weight (half a step, 2 ** -11), and of what several layers make."""
BFLOAT16_PORTRAITS = 8e-2
"""Relative error after computing in bfloat16."""


def codes(generator: Generator, count: int) -> torch.Tensor:
    return torch.randn(count, generator.config.z_dim).to(generator.w_avg)


def latents(generator: Generator, count: int) -> torch.Tensor:
    return generator.mapping(codes(generator, count))


def parts(portrait: Portrait) -> dict[str, torch.Tensor]:
    """Everything of a portrait that its latents decide, by name."""
    upsampler = portrait.superresolution
    return {
        **{f"level {size}": level for size, level in portrait.trigrid.levels.items()},
        **({} if portrait.background is None else {"background": portrait.background}),
        **({} if upsampler is None else {f"upsampler {name}": tensor for name, tensor in upsampler.state().items()}),
        "colours": portrait.to_rgb.weight,
    }


def picture(portrait: Portrait) -> torch.Tensor:
    return render_super(portrait, orbit_cameras([25.0] * len(portrait)), RENDERING).rgb


def shown(portrait: Portrait) -> dict[str, torch.Tensor]:
    """All parts and the picture."""
    return {**parts(portrait), "picture": picture(portrait)}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], tolerance: float = 0.0) -> None:
    """Root mean square errors are within ``tolerance`` of the root mean square of each tensor."""
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        error, size = float((found[name].float() - right).norm()), float(right.norm())
        assert error <= tolerance * size, f"{name} differs by {error:.2e} of {size:.2g}"


def assert_same_portraits(found: Portrait, expected: Portrait, tolerance: float = 0.0) -> None:
    assert_same(shown(found), shown(expected), tolerance)


def mapping_gives_every_layer_the_same_latent(generator: Generator, folder: Path) -> None:
    w_plus = latents(generator, 3)
    assert w_plus.shape == (3, generator.config.num_ws, generator.config.w_dim) and w_plus.isfinite().all()
    assert torch.equal(w_plus, w_plus[:, :1].expand_as(w_plus))
    assert not torch.allclose(w_plus[0], w_plus[1])


def portraits_have_the_sizes_of_the_configuration(generator: Generator, folder: Path) -> None:
    config, w_plus = generator.config, latents(generator, 2)
    portrait = generator.synthesise(w_plus)
    channels, side = config.features * config.depth, config.background_resolution
    shapes = {size: tuple(level.shape) for size, level in portrait.trigrid.levels.items()}
    assert shapes == {size: (2, 3, channels, size, size) for size in config.levels}
    assert portrait.background is not None and portrait.background.shape == (2, config.decode_channels, side, side)
    assert portrait.to_rgb.weight.shape == (2, 3, config.decode_channels)
    assert (portrait.superresolution is None) == (config.superresolution is None)
    assert len(portrait) == 2 and torch.equal(portrait.w_plus, w_plus)
    assert portrait.scene == config.scene
    assert (portrait.trigrid.box_size, portrait.trigrid.depth) == (config.box_size, config.depth)
    assert portrait.provenance.generator == generator.name


def the_same_code_gives_the_same_portrait(generator: Generator, folder: Path) -> None:
    z = codes(generator, 1)
    kept = z.clone()
    first, second = (generator.synthesise(generator.mapping(z)) for _ in range(2))
    assert torch.equal(z, kept)
    assert_same_portraits(first, second)


def a_batch_equals_single_identities(generator: Generator, folder: Path) -> None:
    w_plus = latents(generator, 3)
    batch = shown(generator.synthesise(w_plus))
    for index in range(3):
        alone = shown(generator.synthesise(w_plus[index : index + 1]))
        of_it = {name: part if part.shape == alone[name].shape else part[index : index + 1] for name, part in batch.items()}
        assert_same(of_it, alone, tolerance=1e-4)


def one_latent_may_be_spread_over_the_layers(generator: Generator, folder: Path) -> None:
    w = latents(generator, 2)[:, :1]
    spread = w.expand(-1, generator.config.num_ws, -1)
    assert_same_portraits(generator.synthesise(spread), generator.synthesise(spread.contiguous()), tolerance=1e-6)


def truncation_leads_to_the_average(generator: Generator, folder: Path) -> None:
    z, cutoff = codes(generator, 2), generator.config.num_ws // 2
    free = generator.mapping(z)
    average = generator.w_avg.expand_as(free)
    torch.testing.assert_close(generator.mapping(z, truncation=1.0), free, rtol=0, atol=0)
    torch.testing.assert_close(generator.mapping(z, truncation=0.0), average)
    torch.testing.assert_close(generator.mapping(z, truncation=0.5), (free + average) / 2)
    some = generator.mapping(z, truncation=0.5, cutoff=cutoff)
    torch.testing.assert_close(some[:, :cutoff], ((free + average) / 2)[:, :cutoff])
    assert torch.equal(some[:, cutoff:], free[:, cutoff:])


def pictures_are_finite_and_differentiable_to_every_latent(generator: Generator, folder: Path) -> None:
    w_plus = latents(generator, 1).detach().requires_grad_()
    rgb = picture(generator.synthesise(w_plus))
    assert rgb.isfinite().all() and rgb.std() > 0
    (slope,) = torch.autograd.grad(rgb.square().sum(), w_plus)
    assert slope.isfinite().all() and slope.abs().amax(dim=2).min() > 0


def gradients_are_those_of_a_finite_difference(generator: Generator, folder: Path) -> None:
    exact = deepcopy(generator).double()
    w_plus = latents(exact, 1).detach().requires_grad_()
    direction = torch.randn_like(w_plus)
    weights: list[torch.Tensor] = []

    def cost(w_plus: torch.Tensor) -> torch.Tensor:
        made = list(parts(exact.synthesise(w_plus)).values())
        weights.extend(torch.randn_like(part) for part in made[len(weights) :])
        return sum(((weight * part).mean() for weight, part in zip(weights, made, strict=True)), torch.zeros(()).double())

    (slope,) = torch.autograd.grad(cost(w_plus), w_plus)
    step = 1e-6
    with torch.no_grad():
        rise = (cost(w_plus + step * direction) - cost(w_plus - step * direction)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(rise), rel=1e-4)


def files_keep_it(generator: Generator, folder: Path) -> None:
    w_plus = latents(generator, 1)
    expected = generator.synthesise(w_plus)
    for name, half, of_weights, of_portraits in (("whole", False, 0.0, 0.0), ("half", True, HALF_WEIGHTS, HALF_PORTRAITS)):
        save_generator(generator, folder / f"{name}.safetensors", half=half)
        loaded = load_generator(folder / f"{name}.safetensors")
        assert loaded.config == generator.config and loaded.name == name
        for key, tensor in generator.state_dict().items():
            assert loaded.state_dict()[key].dtype == torch.float32
            torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=of_weights, atol=of_weights * 1e-3)
        assert_same_portraits(loaded.synthesise(w_plus), expected, of_portraits)


def a_state_dict_makes_the_same_generator(generator: Generator, folder: Path) -> None:
    config = GeneratorConfig.from_json(json.loads(json.dumps(generator.config.to_json())))
    assert config == generator.config and {item.name for item in fields(config)} == set(config.to_json())
    other = Generator(config).eval().requires_grad_(False)
    other.load_state_dict(generator.state_dict())
    z = codes(generator, 1)
    assert torch.equal(other.mapping(z), generator.mapping(z))
    assert_same_portraits(other.synthesise(other.mapping(z)), generator.synthesise(generator.mapping(z)))


def it_moves_between_types(generator: Generator, folder: Path) -> None:
    z = codes(generator, 1)
    expected = generator.synthesise(generator.mapping(z))
    moved = deepcopy(generator).to(torch.bfloat16)
    portrait = moved.synthesise(moved.mapping(z.bfloat16()))
    assert {part.dtype for part in parts(portrait).values()} == {torch.bfloat16}
    assert_same(parts(portrait), parts(expected), BFLOAT16_PORTRAITS)
    back = deepcopy(generator).double().float()
    assert_same_portraits(back.synthesise(back.mapping(z)), expected)


def it_is_told_the_camera_and_the_pose(generator: Generator, folder: Path) -> None:
    config, z = generator.config, codes(generator, 2)
    assert generator.backbone.mapping.embed.weight.shape[1] == config.label_dim + config.pose_dim
    free = generator.mapping(z)
    assert torch.equal(generator.mapping(z, frontal_camera()), free)
    assert torch.equal(generator.mapping(z, pose=torch.zeros(2, config.pose_dim)), free)
    torch.testing.assert_close(generator.mapping(z, orbit_cameras([0.0, 0.0])), free, rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError):
        generator.mapping(z, pose=torch.zeros(2, config.pose_dim + 1))
    # a generator may be trained without either, but is then deaf to both
    mapping = generator.backbone.mapping
    listens = bool(mapping.embed.weight.any() and mapping.fc0.weight[:, config.z_dim :].any()) and config.label_scale != 0
    assert torch.allclose(generator.mapping(z, orbit_cameras([60.0])), free) != listens
    assert torch.allclose(generator.mapping(z, pose=torch.full((2, config.pose_dim), 0.5)), free) != listens


def its_poses_are_mirrored_with_the_camera(generator: Generator, folder: Path) -> None:
    z = codes(generator, 1)
    left, right = (generator.pose(z, orbit_cameras([yaw])) for yaw in (-35.0, 35.0))
    assert left.shape == (1, generator.config.pose_dim)
    torch.testing.assert_close(left, mirror(right, MIRRORED_POSE_ENTRIES), rtol=0, atol=1e-5)


PROMISES = (
    mapping_gives_every_layer_the_same_latent,
    portraits_have_the_sizes_of_the_configuration,
    the_same_code_gives_the_same_portrait,
    a_batch_equals_single_identities,
    one_latent_may_be_spread_over_the_layers,
    truncation_leads_to_the_average,
    pictures_are_finite_and_differentiable_to_every_latent,
    gradients_are_those_of_a_finite_difference,
    files_keep_it,
    a_state_dict_makes_the_same_generator,
    it_moves_between_types,
    it_is_told_the_camera_and_the_pose,
    its_poses_are_mirrored_with_the_camera,
)
every_promise = pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
"""Makes a test of each; it takes ``promise`` and calls it with a generator and an empty folder."""
