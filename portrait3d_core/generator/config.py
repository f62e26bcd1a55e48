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
from ..portrait.superresolution import SuperResolutionConfig
from ..runtime.settings import Settings, setting
from .blocks import block_resolutions, latent_count

MAX_SIZE = 1 << 16
MAX_LAYERS = 64


def _size(default: int, doc: str, *, most: int = MAX_SIZE) -> Any:
    """A field that counts something."""
    return setting(default, doc, least=0, most=most)


@dataclass(frozen=True)
class GeneratorConfig(Settings):
    """Everything needed to construct a :class:`~.generator.Generator`."""

    z_dim: int = _size(512, "length of the random code")
    w_dim: int = _size(512, "length of a latent")
    label_dim: int = _size(25, "entries of the camera label, which the mapping network is told")
    pose_dim: int = _size(6, "entries of the body pose, which follow the camera label")
    label_scale: float = setting(1.0, "factor on the whole label (the published models use 1)")
    mapping_layers: int = _size(2, "fully connected layers after the label embedding", most=MAX_LAYERS)
    mapping_width: int = _size(0, "width of the mapping network between its layers; 0 is that of a latent")
    plane_resolution: int = _size(256, "last 2D block; a pyramid's finest level is twice that")
    features: int = _size(12, "C features per tri-grid plane")
    depth: int = _size(3, "D slices per tri-grid plane")
    decode_channels: int = _size(32, "F colour features per point")
    decoder_hidden: int = _size(32, "width of the decoder's hidden layer")
    decoder_lr_multiplier: float = setting(1.0, "equalised-learning-rate multiplier of the decoder's layers")
    background_resolution: int = _size(128, "pixels per side of the background network's picture")
    background_channel_base: int = _size(32768, "channels times pixels per side of the background network")
    background_channel_max: int = _size(512, "most channels of the background network")
    superresolution: SuperResolutionConfig | None = SuperResolutionConfig()
    """None for a generator that shows its raw render."""
    neural_resolution: int = _size(128, "render size the generator was trained with, pixels")
    box_size: float = setting(0.7, "side of the tri-grid box in metres")
    scene: Scene = Scene()
    """Crop, ray limits and default camera of its portraits."""
    pyramid: bool = setting(True, "whether the backbone makes a pyramid; otherwise one tri-grid of plane_resolution")
    backbone_channel_base: int = _size(32768, "channels times pixels per side of a backbone without pyramid")
    backbone_channel_max: int = _size(512, "most channels of a backbone without pyramid")

    def __post_init__(self) -> None:
        super().__post_init__()
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
