import pytest
import torch
from safetensors.torch import save_file
from vgg import smooth_picture, vgg_weights

from portrait3d_core.checkpoints.vgg_file import Vgg16, read_vgg16
from portrait3d_core.errors import SettingsError
from portrait3d_core.optimisation.perceptual import MultiScaleLoss, VggLoss


def degrade(image: torch.Tensor, amount: float) -> torch.Tensor:
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(1))
    return image + amount * noise


@pytest.fixture(scope="module")
def vgg_loss(tmp_path_factory):
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(vgg_weights(), path)
    return VggLoss(*read_vgg16(path))


@pytest.mark.parametrize("name", ["multi-scale", "vgg"])
def test_a_distance_is_zero_for_equals_and_grows_with_the_damage(name, vgg_loss):
    distance = vgg_loss if name == "vgg" else MultiScaleLoss()
    image = smooth_picture()
    values = [float(distance(degrade(image, amount), image)) for amount in (0.0, 0.05, 0.2)]
    assert values[0] == pytest.approx(0, abs=1e-5)
    assert values[0] < values[1] < values[2]


@pytest.mark.parametrize("name", ["multi-scale", "vgg"])
def test_a_distance_leads_back_to_the_target(name, vgg_loss):
    distance = vgg_loss if name == "vgg" else MultiScaleLoss()
    target = smooth_picture(side=32)
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


def test_places_without_any_activation_do_not_spoil_the_gradient(vgg_loss):
    silent = tuple((weight, bias - 1e3) for weight, bias in vgg_loss.convolutions)
    image = smooth_picture(0, 32).requires_grad_()
    for loss in (VggLoss(*Vgg16(silent, vgg_loss.linear)), vgg_loss):
        (gradient,) = torch.autograd.grad(loss(image, torch.zeros_like(image)), image)
        assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


def test_large_pictures_are_compared_at_256_pixels(vgg_loss):
    image, target = smooth_picture(0, 512), smooth_picture(1, 512)
    small = [torch.nn.functional.avg_pool2d(picture, 2) for picture in (image, target)]
    assert float(vgg_loss(image, target)) == pytest.approx(float(vgg_loss(*small)), rel=1e-5)


def test_pictures_too_small_for_the_network_are_refused(vgg_loss):
    assert float(vgg_loss(smooth_picture(0, 16), smooth_picture(1, 16))) > 0
    with pytest.raises(SettingsError, match="8 x 8 pixels are too small"):
        vgg_loss(smooth_picture(0, 8), smooth_picture(1, 8))


def test_the_loss_moves_to_a_device_as_a_whole(vgg_loss):
    moved = vgg_loss.to(torch.device("meta"))
    devices = {tensor.device.type for pair in (*moved.convolutions, moved.linear) for tensor in pair}
    assert devices == {"meta"} and moved.size == vgg_loss.size
