"""The discriminator: how real a picture looks, and which body pose it shows.

One trunk of residual blocks sees seven channels: the picture, the rendered picture before super-resolution, enlarged, and
the mask. A pose head and the judgement both read its last features. Submodule names reproduce the published state-dict
keys. Source: docs/method.md, sections "Discriminator" and "Body pose".

Differs from the paper: the original runs its larger blocks in half precision on CUDA and can blur its inputs, which
it does early in training only; here everything is float32 (with the same clamp at 256) and sharp.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping as Entries
from dataclasses import dataclass

import torch
from einops import rearrange, reduce, repeat
from torch import Tensor, nn
from torch.nn import functional as F

from ..cameras.cameras import Cameras
from ..portrait.convolutions import ACTIVATION_GAIN, LEAKY_SLOPE, resample_filter
from ..runtime.images import resize_images
from .layers import FullyConnected, leaky, normalise_second_moment, random_weights
from .pose import MIRRORED_POSE_ENTRIES, mirror, seen_from_positive_x

CLAMP = 256.0
IMAGE_CHANNELS = 7
LABEL_DIM, POSE_DIM = 25, 6
GROUP = 4
"""Pictures among which the epilogue compares standard deviations."""
_MAPPING_LAYERS, _MAPPING_LR = 8, 0.01
_HALVED = math.sqrt(0.5)
"""Gain of the two summands of a residual block."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes. channels: {R: inputs of the block at resolution R} from the picture's size down to 4, halving."""

    channels: Entries[int, int]

    @staticmethod
    def published(resolution: int = 512, channel_base: int = 18432, channel_max: int = 144) -> DiscriminatorConfig:
        """The published sizes: min(base / R, max) channels at resolution R."""
        sizes = [resolution >> step for step in range(int(math.log2(resolution)) - 1)]
        return DiscriminatorConfig({size: min(channel_base // size, channel_max) for size in sizes})

    @staticmethod
    def of(state: Entries[str, Tensor]) -> DiscriminatorConfig:
        """The sizes of a published state dict."""
        found = {}
        for key, tensor in state.items():
            if match := re.fullmatch(r"b(\d+)\.conv0\.weight", key):
                found[int(match[1])] = tensor.shape[1]
        return DiscriminatorConfig({**dict(sorted(found.items(), reverse=True)), 4: state["b4.fc.weight"].shape[0]})


class Conv(nn.Module):
    """Convolution with equalised learning rate, then leaky ReLU; halves the picture first if asked."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(random_weights(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.gain = 1 / math.sqrt(inputs * kernel**2)
        self.register_buffer("resample_filter", resample_filter())

    def forward(self, x: Tensor, *, down: bool = False, gain: float = 1.0) -> Tensor:
        """x [N, inputs, H, W] -> [N, outputs, H, W], or half as large if ``down``."""
        kernel = self.weight.shape[-1]
        if down:  # a [1, 3, 3, 1] low-pass, then every second place
            margin = (kernel + 1) // 2
            taps = self.resample_filter.expand(x.shape[1], 1, 4, 4)
            x = F.conv2d(x, taps, padding=margin, groups=x.shape[1], stride=2 if kernel == 1 else 1)
        stride, padding = (2 if down and kernel > 1 else 1), (0 if down else kernel // 2)
        y = F.conv2d(x, self.weight * self.gain, stride=stride, padding=padding)
        if self.bias is None:
            return y * gain
        y = F.leaky_relu(y + self.bias[:, None, None], LEAKY_SLOPE) * (ACTIVATION_GAIN * gain)
        return y.clamp(-CLAMP * gain, CLAMP * gain)


class ResidualBlock(nn.Module):
    """[N, inputs, R, R] -> [N, outputs, R / 2, R / 2]; the first block starts from the picture itself."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        self.register_buffer("resample_filter", resample_filter())
        if first:
            self.fromrgb = Conv(IMAGE_CHANNELS, inputs, 1)
        self.first = first
        self.conv0 = Conv(inputs, inputs, 3)
        self.conv1 = Conv(inputs, outputs, 3)
        self.skip = Conv(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.fromrgb(x) if self.first else x
        return self.skip(x, down=True, gain=_HALVED) + self.conv1(self.conv0(x), down=True, gain=_HALVED)


class LabelMapping(nn.Module):
    """Label [N, 31] to the direction [N, width] in which the features must point."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed = FullyConnected(LABEL_DIM + POSE_DIM, width)
        for index in range(_MAPPING_LAYERS):
            setattr(self, f"fc{index}", FullyConnected(width, width, lr_multiplier=_MAPPING_LR))

    def forward(self, label: Tensor) -> Tensor:
        """See the class."""
        x = normalise_second_moment(self.embed(label))
        for index in range(_MAPPING_LAYERS):
            x = leaky(getattr(self, f"fc{index}")(x))
        return x


class Epilogue(nn.Module):
    """The last features: deviation within the batch, convolution; then two layers for the judgement."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv(channels + 1, channels, 3)
        self.fc = FullyConnected(16 * channels, channels)
        self.out = FullyConnected(channels, channels)

    def features(self, x: Tensor) -> Tensor:
        """[N, C, 4, 4] -> [N, 16 C]."""
        return self.conv(torch.cat([x, _batch_deviation(x)], dim=1)).flatten(1)

    def forward(self, x: Tensor, direction: Tensor) -> Tensor:
        """x [N, C, 4, 4], direction [N, C] -> [N, 1]."""
        judged = self.out(leaky(self.fc(self.features(x))))
        return (judged * direction).sum(dim=1, keepdim=True) / math.sqrt(direction.shape[1])


class PoseHead(nn.Module):
    """Features and camera label to the six numbers of a pose."""

    def __init__(self, features: int) -> None:
        super().__init__()
        sizes = [features + LABEL_DIM, 2048, 512, 128, 32, POSE_DIM]
        self.net = nn.ModuleList(FullyConnected(*pair) for pair in zip(sizes[:-1], sizes[1:], strict=True))

    def forward(self, features: Tensor, label: Tensor) -> Tensor:
        """features [N, K], label [N, 25] -> [N, 6]."""
        x = torch.cat([features, label], dim=1)
        *hidden, last = self.net
        for layer in hidden:
            x = leaky(layer(x))
        return last(x)


class Discriminator(nn.Module):
    """See :meth:`forward` and :meth:`pose`. Both take a batch of pictures as ``stacked`` makes it, and its N cameras."""

    resample_filter: Tensor

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.register_buffer("resample_filter", resample_filter())
        *sizes, last = config.channels
        self.resolution, self.sizes = sizes[0], sizes
        for index, (size, smaller) in enumerate(zip(sizes, [*sizes[1:], last], strict=True)):
            block = ResidualBlock(config.channels[size], config.channels[smaller], first=index == 0)
            setattr(self, f"b{size}", block)
        width = config.channels[last]
        self.pose_branch = PoseHead(16 * width)
        self.mapping = LabelMapping(width)
        self.b4 = Epilogue(width)

    def stacked(self, image: Tensor, raw: Tensor, mask: Tensor) -> Tensor:
        """[N, 7, R, R] input of image [N, 3, R, R] and raw [N, 3, n, n] in -1..1 and mask [N, 1, n, n] in 0..1."""
        raw, mask = (resize_images(x, self.resolution) for x in (raw, mask))
        return torch.cat([image, raw, mask * 2 - 1], dim=1)

    def photo(self, image: Tensor, mask: Tensor, neural_resolution: int = 128) -> Tensor:
        """[N, 7, R, R] input of photos [N, 3, H, W] in -1..1 and masks [N, 1, H, W] in 0..1."""
        image = resize_images(image, self.resolution)
        return self.stacked(image, resize_images(image, neural_resolution), resize_images(mask, neural_resolution))

    def forward(self, stacked: Tensor, cameras: Cameras) -> Tensor:
        """Logits [N, 1], positive for real. The pose in the label is the discriminator's own, without gradient."""
        pose = self.pose(stacked, cameras).detach()
        direction = self.mapping(torch.cat([cameras.label.to(stacked), pose], dim=1))
        return self.b4(self._trunk(stacked), direction)

    def pose(self, stacked: Tensor, cameras: Cameras) -> Tensor:
        """Body pose [N, 6] in radians. Pictures from cameras at x >= 0 are answered by their mirror image."""
        label = cameras.label.to(stacked)
        mirrored = seen_from_positive_x(label)
        upright = torch.where(mirrored[:, None, None], stacked.flip(-1), stacked)
        pose = self.pose_branch(self.b4.features(self._trunk(upright)), label)
        return torch.where(mirrored, mirror(pose, MIRRORED_POSE_ENTRIES), pose)

    def _trunk(self, x: Tensor) -> Tensor:
        for size in self.sizes:
            x = getattr(self, f"b{size}")(x)
        return x


def discriminator_from_state(state: Entries[str, Tensor]) -> Discriminator:
    """The discriminator with the weights of a published state dict; raises KeyError or RuntimeError if it is another's."""
    with torch.device("meta"):
        network = Discriminator(DiscriminatorConfig.of(state))
    network.load_state_dict({key: tensor.to(torch.float32, copy=True) for key, tensor in state.items()}, assign=True)
    return network.eval().requires_grad_(False)


def _batch_deviation(x: Tensor) -> Tensor:
    """[N, 1, H, W] standard deviation over groups of pictures, averaged over channels and places; N a multiple of the group."""
    group = min(GROUP, len(x))
    groups = rearrange(x, "(group n) c h w -> group n c h w", group=group)
    deviation = reduce((groups.var(dim=0, correction=0) + 1e-8).sqrt(), "n c h w -> n", "mean")
    return repeat(deviation, "n -> (group n) 1 h w", group=group, h=x.shape[2], w=x.shape[3])
