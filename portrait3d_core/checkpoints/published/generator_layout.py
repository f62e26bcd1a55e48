"""What the keys and shapes of a state dict of the published layout say about its generator.

Two variants exist: 3DPortraitGAN-Pyramid and the older 3DPortraitGAN (docs/method.md, section "The older generator"),
both with pictures of 512, 256 or 128 pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from ...errors import ModelFormatError
from ...generator.config import OFFICIAL_512, OFFICIAL_512_SINGLE, GeneratorConfig
from ...portrait.superresolution import SuperResolutionConfig

EXPECTED = "a 3DPortraitGAN generator, with keys such as 'backbone.mapping.fc0.weight'"
BODY_PREFIX = "renderer."
"""Keys of the body model's arrays."""
DISCRIMINATOR_PREFIX = "discriminator."
"""Keys of the discriminator in our files; its pose head belongs to the body model."""
HEAD_CODES_PREFIX = "head_codes."
"""Keys in our files of what turns descriptions of heads into random codes; nothing that renders reads them."""
UPSAMPLER_FILTER = "superresolution.resample_filter"
"""A constant that only upsamplers other than that of the 512-pixel models keep."""


def generator_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a published state dict that belong to our generator: no body model, codes and unused constants."""
    others = (BODY_PREFIX, DISCRIMINATOR_PREFIX, HEAD_CODES_PREFIX, UPSAMPLER_FILTER)
    return {key: value for key, value in state.items() if not key.startswith(others)}


def body_arrays(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of a published state dict that are the body model's."""
    return {key: value for key, value in state.items() if key.startswith(BODY_PREFIX)}


def discriminator_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries of one of our files that are the discriminator's, under their published keys."""
    found = (key for key in state if key.startswith(DISCRIMINATOR_PREFIX))
    return {key.removeprefix(DISCRIMINATOR_PREFIX): state[key] for key in found}


def infer_config(state: Mapping[str, Tensor]) -> GeneratorConfig:
    """The configuration that a state dict of the published layout was made with. Only shapes are looked at.

    Render settings are not part of a state dict; they get the values published for the variant.

    Raises ModelFormatError when the keys or shapes are of another network.
    """
    published = OFFICIAL_512 if _is_pyramid(state) else OFFICIAL_512_SINGLE
    try:
        w_dim, mapping_inputs = state["backbone.mapping.fc0.weight"].shape
        pose_dim = state["pose_branch.net.2.weight"].shape[0]
        decoder_hidden, features = state["decoder.net.0.weight"].shape
        planes, plane_base, plane_max = _skip_network(state, "backbone.synthesis")
        background, background_base, background_max = _skip_network(state, "bcg_synthesis")
        config = replace(
            published,
            z_dim=mapping_inputs - w_dim,
            w_dim=w_dim,
            label_dim=state["backbone.mapping.embed.weight"].shape[1] - pose_dim,
            pose_dim=pose_dim,
            mapping_layers=sum(bool(re.fullmatch(r"backbone\.mapping\.fc\d+\.weight", key)) for key in state),
            plane_resolution=planes,
            features=features,
            depth=state["backbone.synthesis.b4.torgb.weight"].shape[0] // (3 * features),
            decode_channels=state["torgb.weight"].shape[1],
            decoder_hidden=decoder_hidden,
            background_resolution=background,
            background_channel_base=background_base,
            background_channel_max=background_max,
            superresolution=_infer_superresolution(state),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise ModelFormatError(
            f"The weights lack or misshape {error}", expected=EXPECTED, fix="download the file again or use another one"
        ) from error
    if config.pyramid:
        return config
    return replace(config, backbone_channel_base=plane_base, backbone_channel_max=plane_max)


def check_layout(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ModelFormatError unless both hold the same keys with the same shapes."""
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    misshapen = sorted(key for key in set(expected) & set(found) if expected[key].shape != found[key].shape)
    for what, keys in (("lacks", missing), ("has unknown", unknown), ("misshapes", misshapen)):
        if keys:
            raise ModelFormatError(
                f"The file {what} {len(keys)} tensors, for example {keys[0]!r}",
                expected=EXPECTED,
                fix="use the complete, unmodified weight file",
            )


def _is_pyramid(state: Mapping[str, Tensor]) -> bool:
    """Which of the two variants it is: only the pyramid has 3D-aware blocks and constants with a leading 1."""
    const = state.get("backbone.synthesis.b4.const")
    if const is None or (const.ndim != 3 and not any(".b3d4." in key for key in state)):
        raise ModelFormatError(
            "The weights have neither 3D-aware pyramid blocks ('backbone.synthesis.b3d4...') nor the older backbone",
            expected=EXPECTED,
            fix="use a complete 3DPortraitGAN or 3DPortraitGAN-Pyramid file",
        )
    return const.ndim != 3


def _skip_network(state: Mapping[str, Tensor], prefix: str) -> tuple[int, int, int]:
    """(last resolution, channel base, channel maximum) of the 2D blocks under ``prefix``."""
    pattern = re.compile(re.escape(prefix) + r"\.b(\d+)\.conv1\.weight")
    channels = {int(match[1]): tensor.shape[0] for key, tensor in state.items() if (match := pattern.fullmatch(key))}
    last = max(channels)
    return last, channels[last] * last, max(channels.values())


def _infer_superresolution(state: Mapping[str, Tensor]) -> SuperResolutionConfig | None:
    if not any(key.startswith("superresolution.") for key in state):
        return None
    first, second = (state[f"superresolution.block{index}.conv1.weight"].shape[0] for index in (0, 1))
    size, output = (state[f"superresolution.block{index}.conv0.noise_const"].shape[0] for index in (0, 1))
    first_up = UPSAMPLER_FILTER not in state or output >= 512
    return SuperResolutionConfig(size // 2 if first_up else size, (first, second), first_up)
