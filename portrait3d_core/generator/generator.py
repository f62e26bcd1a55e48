"""The generator: random code to latent, latent to portrait.

3DPortraitGAN-pyramid and the older 3DPortraitGAN are this class with different configurations.

Submodule names reproduce the published state-dict keys, except ``renderer.*`` (body-model data, not needed for
canonical portraits). Source: docs/method.md, section "Generator".
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..body.warp import Body
from ..cameras.cameras import Cameras, frontal_camera
from ..errors import SettingsError
from ..portrait.decoder import Decoder
from ..portrait.portrait import Portrait, Provenance, ToRGB
from ..portrait.trigrid import TriGrid
from .backbone import Backbone, PyramidSynthesis, SkipSynthesis
from .config import GeneratorConfig
from .layers import FullyConnected, ModulatedToRGB, Noise, NoiseMode
from .mapping import Mapping, truncate
from .noise_patterns import stores_white_noise
from .pose import PoseBranch
from .superresolution import SuperResolutionModule

STORED_NOISE = Noise("const")


class DecoderModule(nn.Module):
    """Trainable weights of :class:`~portrait3d_core.portrait.decoder.Decoder`."""

    def __init__(self, features: int, hidden: int, colours: int, lr_multiplier: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            FullyConnected(features, hidden, lr_multiplier=lr_multiplier),
            nn.Softplus(),
            FullyConnected(hidden, 1 + colours, lr_multiplier=lr_multiplier),
        )

    def folded(self) -> Decoder:
        """The decoder with the learning-rate gains multiplied in."""
        first, _, last = self.net
        return Decoder(*first.folded(), *last.folded())


def _plane_synthesis(config: GeneratorConfig) -> PyramidSynthesis | SkipSynthesis:
    """The backbone network that makes the tri-grid."""
    channels, last = config.features * config.depth, config.plane_resolution
    if config.pyramid:
        return PyramidSynthesis(channels, config.w_dim, last)
    base, widest = config.backbone_channel_base, config.backbone_channel_max
    return SkipSynthesis(3 * channels, config.w_dim, last, base, widest, batched_const=False)


class Generator(nn.Module):
    """3DPortraitGAN, with or without pyramid. See :meth:`mapping` and :meth:`synthesise`.

    ``name`` says which weights these are (the file's name once loaded); it ends up in the portraits' provenance.
    ``body`` is the body model its portraits can be posed with, or None; it is no part of the state dict.
    """

    dataset_label_std: Tensor

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.name = ""
        self.body: Body | None = None
        w_dim, colours = config.w_dim, config.decode_channels
        self.backbone = Backbone(
            Mapping(config.z_dim, config.label_dim + config.pose_dim, w_dim, config.mapping_layers, config.mapping_width),
            _plane_synthesis(config),
        )
        if config.superresolution is not None:
            self.superresolution = SuperResolutionModule(config.superresolution, colours, w_dim)
        self.decoder = DecoderModule(config.features, config.decoder_hidden, colours, config.decoder_lr_multiplier)
        self.torgb = ModulatedToRGB(colours, 3, w_dim)
        self.bcg_synthesis = SkipSynthesis(
            colours,
            w_dim,
            config.background_resolution,
            config.background_channel_base,
            config.background_channel_max,
            batched_const=config.pyramid,
        )
        self.pose_branch = PoseBranch(config.z_dim, config.label_dim, config.pose_dim)
        self.register_buffer("dataset_label_std", torch.zeros(config.label_dim))

    @property
    def w_avg(self) -> Tensor:
        """[w_dim] average latent."""
        return self.backbone.mapping.w_avg

    def mapping(
        self,
        z: Tensor,
        cameras: Cameras | None = None,
        pose: Tensor | None = None,
        truncation: float = 1.0,
        cutoff: int | None = None,
    ) -> Tensor:
        """z [N, z_dim] -> w_plus [N, num_ws, w_dim], the same latent for every layer.

        cameras: N cameras (or one for all) to condition on, None for the frontal camera.
        pose: [N, 6] radians, or None for zeros.
        truncation: 1 leaves the latent alone, 0 gives the average; applied to the first ``cutoff`` latents (None: all).
        """
        label = (frontal_camera() if cameras is None else cameras).label.to(z.device, z.dtype)
        body = torch.zeros(1, self.config.pose_dim).to(z) if pose is None else pose
        label = torch.cat([label.expand(len(z), -1), body.expand(len(z), -1)], dim=1)
        w = self.backbone.mapping(z, label * self.config.label_scale)
        w_plus = w[:, None].expand(-1, self.config.num_ws, -1)
        return truncate(w_plus, self.w_avg, truncation, cutoff)

    def synthesise(
        self,
        w_plus: Tensor,
        *,
        noise: NoiseMode = "const",
        generator: torch.Generator | None = None,
        background_w: Tensor | None = None,
    ) -> Portrait:
        """The portraits (a batch of N) of w_plus [N, num_ws, w_dim]; differentiable to latents and weights.

        noise: "const", "none" or "random" (drawn from ``generator``). Only "const" where the stored patterns are no white
        noise (:mod:`.noise_patterns`).
        background_w: [N, k, w_dim] latents for the background only, or None for w_plus.

        Differs from the paper: the original's default noise is random; here it is the stored pattern, so that the
        same latent gives the same portrait.

        Raises SettingsError for another noise than the stored patterns where these are part of the portraits.
        """
        if noise != "const" and not stores_white_noise(self.backbone.synthesis):
            raise SettingsError(
                f"noise is {noise!r}, but the portraits of this generator are made with the noise patterns it stores",
                expected="'const': without its patterns they fall apart",
                fix="leave noise at 'const'",
            )
        layer_noise = Noise(noise, generator)
        return self.portrait(self.backbone.levels(w_plus, layer_noise), w_plus, layer_noise, background_w)

    def portrait(
        self, levels: dict[int, Tensor], w_plus: Tensor, noise: Noise = STORED_NOISE, background_w: Tensor | None = None
    ) -> Portrait:
        """The portraits with the given tri-grid ``levels`` {R: [N, 3, C*D, R, R]}; everything else comes from w_plus."""
        last = w_plus[:, -1]
        upsampler = self.superresolution.folded(last) if self.config.superresolution is not None else None
        return Portrait(
            trigrid=TriGrid(levels, self.config.box_size, self.config.depth),
            decoder=self.decoder.folded(),
            to_rgb=ToRGB(self.torgb.folded(last)[..., 0, 0], self.torgb.bias),
            background=self.bcg_synthesis(w_plus if background_w is None else background_w, noise),
            superresolution=upsampler,
            w_plus=w_plus,
            scene=self.config.scene,
            body=None if self.body is None else self.body.map(lambda tensor: tensor.to(w_plus.device)),
            provenance=Provenance(generator=self.name),
        )

    def pose(self, z: Tensor, cameras: Cameras) -> Tensor:
        """Body pose [N, 6] (radians) that the generator associates with z [N, z_dim] seen from N cameras."""
        return self.pose_branch(z, cameras.label.to(z))
