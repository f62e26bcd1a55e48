"""The generator's building blocks against slow, literal definitions."""

import pytest
import torch
from torch.nn import functional as F

from portrait3d_core.errors import SettingsError
from portrait3d_core.generator.aware3d import RolledLayer, RolledToRGB, rolled_convolve
from portrait3d_core.generator.layers import Noise, SynthesisLayer, fold
from portrait3d_core.portrait.convolutions import activate_, convolve, smooth, upsample

TAPS = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8


def filter_literally(x, up, pad, gain):
    """Zero insertion, zero padding and the [1, 3, 3, 1] filter, one channel at a time."""
    count, channels, height, width = x.shape
    spread = torch.zeros(count, channels, height * up, width * up)
    spread[..., ::up, ::up] = x
    kernel = (torch.outer(TAPS, TAPS) * gain).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(spread, pad), kernel, groups=channels)


def test_upsample_is_zero_insertion_and_filter():
    x = torch.randn(2, 3, 5, 5)
    torch.testing.assert_close(upsample(x), filter_literally(x, 2, (2, 1, 2, 1), 4), rtol=0, atol=1e-6)


def test_smooth_is_the_filter():
    x = torch.randn(2, 3, 9, 9)
    torch.testing.assert_close(smooth(x), filter_literally(x, 1, (1, 1, 1, 1), 4), rtol=0, atol=1e-6)


def test_up_convolution_doubles_the_size_and_uses_true_convolution():
    weight, x = torch.zeros(1, 1, 1, 3, 3), torch.zeros(1, 1, 6, 6)
    x[0, 0, 3, 3] = 1
    weight[0, 0, 0, 0, 0] = 1
    first = convolve(x, weight, up=True)
    weight = weight.flip(-1, -2)
    last = convolve(x, weight, up=True)
    assert first.shape == (1, 1, 12, 12)
    torch.testing.assert_close(first.roll((2, 2), (-1, -2)), last)  # tap (2, 2) lands two pixels further than (0, 0)


@pytest.mark.parametrize("up", [False, True])
def test_convolution_is_per_sample(up):
    x, weight = torch.randn(3, 4, 6, 6), torch.randn(3, 5, 4, 3, 3)
    batch = convolve(x, weight, up=up)
    singles = [convolve(x[i : i + 1], weight[i : i + 1], up=up) for i in range(3)]
    torch.testing.assert_close(batch, torch.cat(singles), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("up", "kernel"), [(False, 1), (False, 3), (True, 3)])
def test_one_weight_serves_a_batch(up, kernel):
    x, weight = torch.randn(3, 4, 6, 6), torch.randn(1, 5, 4, kernel, kernel)
    expected = convolve(x, weight.expand(3, -1, -1, -1, -1), up=up)
    torch.testing.assert_close(convolve(x, weight, up=up), expected, rtol=0, atol=1e-5)


def test_demodulation_gives_unit_norm():
    folded = fold(torch.randn(5, 4, 3, 3), torch.randn(2, 4))
    torch.testing.assert_close(folded.square().sum((2, 3, 4)), torch.ones(2, 5))


def test_activation():
    x = torch.tensor([[[[-1.0, 2.0]]]])
    torch.testing.assert_close(activate_(x, torch.zeros(1)), torch.tensor([[[[-0.2, 2.0]]]]) * 2**0.5)
    x = torch.tensor([[[[-1000.0, 2000.0]]]])
    assert activate_(x, torch.zeros(1), clamp=256).tolist() == [[[[-256.0, 256.0]]]]


def test_noise_modes():
    layer = SynthesisLayer(3, 4, 8, 6)
    layer.noise_strength.data.fill_(0.5)
    x, w = torch.randn(2, 3, 6, 6), torch.randn(2, 8)
    silent, fixed = layer(x, w, Noise("none")), layer(x, w, Noise("const"))
    random = [layer(x, w, Noise("random", torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert torch.equal(random[0], random[1]) and not torch.equal(random[0], random[2])
    assert not torch.equal(silent, fixed) and not torch.equal(fixed, random[0])
    with pytest.raises(SettingsError, match="'loud'"):
        Noise("loud")


def roll_out(planes):
    """The definition: 3C channels by source plane; the averages of the other planes spread along rows or columns."""
    batch = planes.unflatten(0, (-1, 3))
    rolled = torch.empty(len(batch), 3, 3, *batch.shape[2:])
    rows, columns = batch.mean(-2), batch.mean(-1)  # mean_k P[k, i] and mean_k P[j, k]
    profiles = {(0, 1): rows, (0, 2): columns, (1, 0): columns, (1, 2): rows, (2, 0): rows, (2, 1): columns}
    for plane in range(3):
        rolled[:, plane, plane] = batch[:, plane]
    for (plane, source), profile in profiles.items():
        values = profile[:, source]
        rolled[:, plane, source] = values[..., :, None] if profile is rows else values[..., None, :]
    return rolled.flatten(2, 3).flatten(0, 1)


@pytest.mark.parametrize("up", [False, True])
def test_rolled_layer_is_a_convolution_of_the_rolled_planes(up):
    layer, x, w = RolledLayer(2, 8, 10 if up else 5), torch.randn(6, 2, 5, 5), torch.randn(2, 8)
    weight = fold(layer.weight, layer.affine(w).reshape(6, 6))
    expected = activate_(convolve(roll_out(x), weight, up=up), layer.bias)
    torch.testing.assert_close(layer(x, w, Noise("none"), up=up), expected, rtol=0, atol=1e-5)


def test_rolled_to_rgb_is_a_convolution_of_the_rolled_planes():
    layer, x, w = RolledToRGB(2, 8), torch.randn(6, 2, 5, 5), torch.randn(2, 8)
    weight = layer.weight * (layer.affine(w) / 2**0.5).reshape(6, 1, 6, 1, 1)
    torch.testing.assert_close(layer(x, w), convolve(roll_out(x), weight), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("up", "kernel"), [(False, 1), (False, 3), (True, 3)])
def test_rolled_convolution_has_first_and_second_derivatives(up, kernel):
    options = {"dtype": torch.float64, "requires_grad": True}
    planes, weight = torch.randn(3, 2, 4, 4, **options), torch.randn(3, 1, 6, kernel, kernel, **options)

    def convolved(planes, weight):
        return rolled_convolve(planes, weight, up=up)

    assert torch.autograd.gradcheck(convolved, (planes, weight))
    assert torch.autograd.gradgradcheck(convolved, (planes, weight))


@pytest.mark.parametrize("clamp", [float("inf"), 0.5])
def test_layers_have_derivatives_although_they_work_in_place(clamp):
    options = {"dtype": torch.float64, "requires_grad": True}
    x, weight, bias = torch.randn(1, 2, 4, 4, **options), torch.randn(1, 2, 2, 3, 3, **options), torch.randn(2, **options)
    untouched = x.detach().clone()

    def layers(x, weight, bias):
        for up in (False, True):
            x = activate_(convolve(x, weight, up=up), bias, clamp=clamp)
        return x

    assert torch.autograd.gradcheck(layers, (x, weight, bias))
    assert torch.autograd.gradgradcheck(layers, (x, weight, bias))
    assert torch.equal(x, untouched)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_in_half_precision(dtype):
    layer, x, w = RolledLayer(2, 8, 10), torch.randn(3, 2, 5, 5), torch.randn(1, 8)
    expected = layer(x, w, Noise(), up=True).detach()
    found = layer.to(dtype)(x.to(dtype), w.to(dtype), Noise(), up=True)
    assert found.dtype == dtype
    torch.testing.assert_close(found.detach().float(), expected, rtol=0, atol=0.05 * float(expected.abs().max()))
