"""Sizes of a generator. The defaults are the published 512-pixel pyramid model.

The older 3DPortraitGAN is the same generator with another backbone and other sizes (docs/method.md, section
"The older generator").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import SettingsError
from ..portrait.portrait import Scene
from ..portrait.superresolution import MAX_UPSAMPLER_INPUT_PX, SuperResolutionConfig
from ..runtime.checks import check_finite_fields
from .blocks import block_resolutions, latent_count

MAX_SIZE = 1 << 16
MAX_LAYERS = 64


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything needed to construct a :class:`~.generator.Generator`.

    z_dim, w_dim:            lengths of the random code and of a latent.
    label_dim, pose_dim:     entries of the camera label and of the body pose, concatenated for the mapping network.
    label_scale:             factor on the whole label (the published models use 1).
    mapping_layers:          fully connected layers after the label embedding.
    plane_resolution:        last 2D block; a pyramid's finest level is twice that.
    features, depth:         C features and D slices per tri-grid plane.
    decode_channels:         F colour features per point.
    decoder_hidden:          width of the decoder's hidden layer.
    decoder_lr_multiplier:   equalised-learning-rate multiplier of the decoder's layers.
    background_resolution, background_channel_base, background_channel_max: sizes of the background network.
    superresolution:         None for a generator that shows its raw render.
    neural_resolution:       render size the generator was trained with, pixels.
    box_size:                side of the tri-grid box in metres.
    scene:                   crop, ray limits and default camera of its portraits.
    pyramid:                 whether the backbone makes a pyramid; otherwise one tri-grid of ``plane_resolution``.
    backbone_channel_base, backbone_channel_max: sizes of a backbone without pyramid.
    """

    z_dim: int = 512
    w_dim: int = 512
    label_dim: int = 25
    pose_dim: int = 6
    label_scale: float = 1.0
    mapping_layers: int = 2
    plane_resolution: int = 256
    features: int = 12
    depth: int = 3
    decode_channels: int = 32
    decoder_hidden: int = 32
    decoder_lr_multiplier: float = 1.0
    background_resolution: int = 128
    background_channel_base: int = 32768
    background_channel_max: int = 512
    superresolution: SuperResolutionConfig | None = SuperResolutionConfig()
    neural_resolution: int = 128
    box_size: float = 0.7
    scene: Scene = Scene()
    pyramid: bool = True
    backbone_channel_base: int = 32768
    backbone_channel_max: int = 512

    def __post_init__(self) -> None:
        check_finite_fields(self)
        check_finite_fields(self.scene)
        upsampler = self.superresolution
        sizes = [value for value in vars(self).values() if isinstance(value, int)]
        if not 0 <= min(sizes) <= max(sizes) <= MAX_SIZE or self.mapping_layers > MAX_LAYERS:
            raise SettingsError(f"{self}", expected=f"sizes of 0 to {MAX_SIZE} and at most {MAX_LAYERS} mapping layers")
        if upsampler is not None and not 0 < min(upsampler.channels) <= max(upsampler.channels) <= MAX_SIZE:
            raise SettingsError(f"{upsampler}", expected=f"1 to {MAX_SIZE} channels")
        if upsampler is not None and not 0 < upsampler.input_resolution <= MAX_UPSAMPLER_INPUT_PX:
            raise SettingsError(f"{upsampler}", expected=f"an input of at most {MAX_UPSAMPLER_INPUT_PX} pixels")
        for name in ("plane_resolution", "background_resolution"):
            size = getattr(self, name)
            if size < 4 or size & (size - 1):
                raise SettingsError(f"{name} is {size}", expected="a power of two, at least 4", fix="choose 64")

    @property
    def num_ws(self) -> int:
        """Latents per identity."""
        return latent_count(self.plane_resolution)

    @property
    def levels(self) -> list[int]:
        """Resolutions of the tri-grid levels, ascending."""
        return [2 * size for size in block_resolutions(self.plane_resolution)] if self.pyramid else [self.plane_resolution]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; inverse of :meth:`from_json`."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> GeneratorConfig:
        """Inverse of :meth:`to_json`. Raises TypeError on unknown names and wrong types, SettingsError on absurd sizes."""
        fields = dict(values)
        scene = dict(fields.pop("scene", {}))
        scene["pivot"] = tuple(scene.get("pivot", Scene().pivot))
        upsampler = fields.pop("superresolution", None)
        if upsampler is not None:
            upsampler = SuperResolutionConfig(**{**upsampler, "channels": tuple(upsampler["channels"])})
        config = GeneratorConfig(**fields, superresolution=upsampler, scene=Scene(**scene))
        for name, usual in vars(GeneratorConfig()).items():
            kinds = (int, float) if isinstance(usual, float) else type(usual)
            if name != "superresolution" and not isinstance(getattr(config, name), kinds):
                raise TypeError(f"{name} is {getattr(config, name)!r}")
        return config


OFFICIAL_512 = GeneratorConfig()
"""The published 3DPortraitGAN-pyramid at 512 pixels."""
OFFICIAL_512_SINGLE = GeneratorConfig(
    features=32,
    decoder_hidden=64,
    background_channel_base=16384,
    box_size=1.0,
    scene=Scene(crop=0.4, ray_start=2.25, ray_end=3.3),
    pyramid=False,
)
"""The published 3DPortraitGAN (one tri-grid) at 512 pixels."""
