import pytest
import torch
from safetensors.torch import save_file

from portrait3d_core.errors import ModelFormatError
from portrait3d_core.optimisation.perceptual import MultiScaleLoss, load_vgg_loss

CHANNELS = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
SLICES = (1, 1, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5)


def vgg_weights(lpips_names: bool) -> dict[str, torch.Tensor]:
    """Random VGG16 weights in torchvision's or in lpips's naming (the latter with linear weights)."""
    generator = torch.Generator().manual_seed(0)
    tensors, inputs = {}, 3
    for index, outputs, part in zip(INDICES, CHANNELS, SLICES, strict=True):
        prefix = f"net.slice{part}.{index}" if lpips_names else f"features.{index}"
        tensors[f"{prefix}.weight"] = torch.randn(outputs, inputs, 3, 3, generator=generator) * (2 / (9 * inputs)) ** 0.5
        tensors[f"{prefix}.bias"] = torch.zeros(outputs)
        inputs = outputs
    if lpips_names:
        for i, channels in enumerate((64, 128, 256, 512, 512)):
            tensors[f"lin{i}.model.1.weight"] = torch.full((1, channels, 1, 1), 1 / channels)
    return tensors


def photos(seed: int = 0, side: int = 48) -> torch.Tensor:
    smooth = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(smooth, size=(side, side), mode="bicubic").clamp(0, 1) * 2 - 1


def degrade(image: torch.Tensor, amount: float) -> torch.Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    return image + amount * noise


@pytest.fixture(scope="module")
def vgg_loss(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(vgg_weights(lpips_names=False), path)
    return load_vgg_loss(path)


@pytest.mark.parametrize("name", ["multi-scale", "vgg"])
def test_a_distance_is_zero_for_equals_and_grows_with_the_damage(name, vgg_loss):
    distance = vgg_loss if name == "vgg" else MultiScaleLoss()
    image = photos()
    values = [float(distance(degrade(image, amount), image)) for amount in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("name", ["multi-scale", "vgg"])
def test_a_distance_leads_back_to_the_target(name, vgg_loss):
    distance = vgg_loss if name == "vgg" else MultiScaleLoss()
    target = photos(side=32)
    image = degrade(target, 0.2).requires_grad_()
    before = distance(image, target)
    (gradient,) = torch.autograd.grad(before, image)
    assert torch.isfinite(gradient).all()
    after = distance(image - 0.02 * gradient / gradient.abs().mean(), target)
    assert float(after.detach()) < float(before.detach())


def test_multi_scale_gradient_is_correct():
    generator = torch.Generator().manual_seed(0)
    image, target = (torch.rand(1, 3, 9, 9, generator=generator, dtype=torch.float64) for _ in range(2))
    torch.autograd.gradcheck(lambda x: MultiScaleLoss()(x, target), image.requires_grad_())


def test_colour_counts_even_at_equal_luma():
    grey = torch.zeros(1, 3, 32, 32)
    tinted = torch.tensor([0.4, -0.204, 0.0])[:, None, None].expand(1, 3, 32, 32)  # nearly the same luma
    assert float(MultiScaleLoss()(tinted, grey)) > 0.1


def test_both_namings_give_the_same_distance(tmp_path, vgg_loss):
    save_file(vgg_weights(lpips_names=True), tmp_path / "lpips.safetensors")
    a, b = photos(0, 32), photos(1, 32)
    assert float(load_vgg_loss(tmp_path / "lpips.safetensors")(a, b)) == pytest.approx(float(vgg_loss(a, b)), rel=1e-5)


@pytest.mark.parametrize("damage", ["missing", "shape", "nan"])
def test_damaged_vgg_files_are_refused(tmp_path, damage):
    tensors = vgg_weights(lpips_names=False)
    if damage == "missing":
        del tensors["features.28.bias"]
    else:
        tensors["features.28.bias"] = torch.zeros(3) if damage == "shape" else torch.full((512,), float("nan"))
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(ModelFormatError, match="features.28.bias"):
        load_vgg_loss(tmp_path / "bad.safetensors")
