"""The generator's building blocks against slow, literal definitions."""

import pytest
import torch
from torch.nn import functional as F

from portrait3d_core.errors import SettingsError
from portrait3d_core.generator.aware3d import RolledLayer, RolledToRGB
from portrait3d_core.generator.layers import Noise, SynthesisLayer, activate, convolve, fold, smooth, upsample

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


def test_demodulation_gives_unit_norm():
    folded = fold(torch.randn(5, 4, 3, 3), torch.randn(2, 4))
    torch.testing.assert_close(folded.square().sum((2, 3, 4)), torch.ones(2, 5))


def test_activation():
    x = torch.tensor([[[[-1.0, 2.0]]]])
    torch.testing.assert_close(activate(x, torch.zeros(1)), torch.tensor([[[[-0.2, 2.0]]]]) * 2**0.5)
    assert activate(1000 * x, torch.zeros(1), clamp=256).tolist() == [[[[-256.0, 256.0]]]]


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
    expected = activate(convolve(roll_out(x), weight, up=up), layer.bias)
    torch.testing.assert_close(layer(x, w, Noise("none"), up=up), expected, rtol=0, atol=1e-5)


def test_rolled_to_rgb_is_a_convolution_of_the_rolled_planes():
    layer, x, w = RolledToRGB(2, 8), torch.randn(6, 2, 5, 5), torch.randn(2, 8)
    weight = layer.weight * (layer.affine(w) / 2**0.5).reshape(6, 1, 6, 1, 1)
    torch.testing.assert_close(layer(x, w), convolve(roll_out(x), weight), rtol=0, atol=1e-5)
