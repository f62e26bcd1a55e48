"""The generator of people: exact pictures of heads on disk, points near their surfaces, no adversary.

What made it learn on a processor, beside the points (:mod:`.surface_pixels`):
- the stored noise of every layer is trained. A modulated stack has no other way of putting detail anywhere in particular,
  and without it the first thousands of steps show no face;
- Muon for the 3 x 3 kernels (:mod:`~portrait3d_core.optimisation.muon`);
- many small steps, from coarse to fine levels.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoints.generator_loading import load_generator
from ..data.head_codes import HeadCodes, read_head_codes
from ..data.head_files import head_paths, read_views
from ..errors import ModelFormatError, SettingsError
from ..generator.config import GeneratorConfig
from ..generator.generator import STORED_NOISE, Generator
from ..generator.layers import SynthesisLayer
from ..optimisation.muon import Muon
from ..portrait.portrait import Portrait, ToRGB
from ..portrait.trigrid import TriGrid
from ..runtime.files import read_safetensors
from .growth import grow, move_latents, new_generator
from .loop import Lesson, Moment, Schedule, Stage, Training
from .palette import LEAST_PIXELS, PARTS, forget_colours, hold_free_features, paint, paint_colours, told_numbers
from .state import averaged_weights
from .surface_pixels import SurfacePixels, SurfaceSettings, draw_points, joined, surface_losses, surface_pixels

PEOPLE_CONFIG = GeneratorConfig(
    z_dim=256,
    w_dim=128,
    mapping_layers=3,
    plane_resolution=64,
    features=12,
    depth=2,
    box_size=0.6,
    decode_channels=32,
    decoder_hidden=64,
    background_resolution=4,
    background_channel_base=64,
    background_channel_max=16,
    superresolution=None,
)
"""The generator of people: tri-grid levels 8..128, 1.3 million parameters."""
CPU_STAGES = (Stage(3, 6, 0.012, 8), Stage(7, 4, 0.012, 16), Stage(20, 3, 0.010, 32), Stage(70, 2, 0.004, 64))
CUDA_STAGES = (Stage(3, 64, 0.018, 8), Stage(7, 48, 0.018, 16), Stage(20, 40, 0.015, 32), Stage(70, 32, 0.006, 64))
"""Larger steps where a step of many heads takes no longer than one of few. Not tried out yet."""
PIXEL_SHARES = {4: 0.3, 8: 0.3, 16: 0.4, 32: 0.6}
"""Pixels per head at coarse sizes, relative to the finest."""
W_STEP = 64
"""Latents are made longer, in these steps, for codes that would not fit into them: what a code says must not be mixed up."""
IDENTITY_GAIN = 0.3
NOISE_STRENGTH = 0.5
NOISE_FACTOR = 10.0
"""How much faster the noise maps move than the weights."""
START_SIGMA = -0.7
"""Density before training, in units of its scale: everything is nearly empty."""
START_COLOUR = 0.1
"""Of all colour features of a generator with paints."""
CHECKPOINT = "training.safetensors"
EXPRESSION = "expression/"
"""What the names of those numbers of a code begin with that are zero for neutral faces."""
EXPRESSIVE, EXPRESSIVE_SHARE = 0.3, 2.0
"""From which such number on a face counts as expressive, and how much oftener expressive heads are drawn than others."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PeopleTraining:
    """Settings of the training.

    config:   sizes of the finished generator.
    schedule: minutes or steps; the stages' sizes are last 2D blocks, as ``plane_resolution``.
    held_out: the first so many heads of the folder are never trained on.
    init:     a generator file or checkpoint to start from; its kernels and noise maps are kept.
    """

    schedule: Schedule
    config: GeneratorConfig = PEOPLE_CONFIG
    surface: SurfaceSettings = field(default_factory=SurfaceSettings)
    held_out: int = 64
    init: Path | None = None
    device: str = "cpu"
    code_names: tuple[str, ...] = ()
    """What the numbers of the heads' codes stand for; empty for heads whose colours are learnt like everything else."""


class PeopleNetwork(nn.Module):
    """The generator and the codes it is taught with."""

    def __init__(self, generator: Generator, codes: HeadCodes) -> None:
        super().__init__()
        self.generator = generator
        self.codes = codes

    @property
    def painted(self) -> bool:
        """Whether colours come from a palette, so that codes have numbers of which latents say nothing."""
        return not bool(self.codes.projection.any(dim=1).all())

    def portrait(self, w: Tensor) -> Portrait:
        """Portraits, without background, of latents w [N, w_dim]; differentiable to the weights."""
        generator, config = self.generator, self.generator.config
        levels = generator.backbone.levels(w[:, None].expand(-1, config.num_ws, -1), STORED_NOISE)
        to_rgb = ToRGB(generator.torgb.folded(w)[..., 0, 0], generator.torgb.bias)
        trigrid = TriGrid(levels, config.box_size, config.depth)
        return Portrait(trigrid, generator.decoder.folded(), to_rgb, scene=config.scene)


class HeadLibrary:
    """The heads of a folder that are trained on, as pixels in memory; heads that come later can join."""

    def __init__(self, folder: Path, settings: PeopleTraining) -> None:
        self.folder, self.settings = folder, settings
        self.device = torch.device(settings.device)
        self.known: set[Path] = set()
        self.codes = torch.empty(0)
        self.shares = torch.empty(0)
        self.pixels: SurfacePixels | None = None
        self.join()
        if self.pixels is None:
            raise SettingsError(
                f"{folder} has no heads to train on beside the {settings.held_out} held out",
                expected="a folder of heads as .npz files",
                fix="make more heads, or hold fewer out",
            )

    def join(self) -> None:
        """Take in the heads that are not known yet. A file that cannot be read is left out, with a warning."""
        _, paths = head_paths(self.folder, self.settings.held_out)
        codes, parts = [], []
        for path in paths:
            if path in self.known:
                continue
            self.known.add(path)
            try:
                views = read_views(path, test=False)
            except ModelFormatError as error:
                _log.warning("A head is left out: %s", error)
                continue
            codes.append(views.code)
            parts.append(surface_pixels(views, self.settings.surface, seed=len(self.known) - 1))
        if not parts:
            return
        fresh, told = joined(parts).to(self.device), torch.stack(codes).to(self.device)
        self.pixels = fresh if self.pixels is None else joined([self.pixels, fresh])
        self.codes = torch.cat([self.codes, told]) if len(self.codes) else told
        units = [index for index, name in enumerate(self.settings.code_names) if name.startswith(EXPRESSION)]
        expressive = (self.codes[:, units] > EXPRESSIVE).any(dim=1)
        self.shares = 1 + (EXPRESSIVE_SHARE - 1) * expressive.float()


def people_training(library: HeadLibrary, work: Path, settings: PeopleTraining) -> Training:
    """The training of the heads of ``library``, at the beginning or where the checkpoint in ``work`` left it."""
    network, schedule = _start(library, settings)
    network = network.to(settings.device)
    surface = settings.surface

    def errors(network: nn.Module, moment: Moment) -> Mapping[str, Tensor]:
        assert isinstance(network, PeopleNetwork) and library.pixels is not None
        random = torch.Generator(library.device).manual_seed(moment.random.initial_seed())
        batch = min(moment.stage.batch, len(library.codes))
        heads = torch.multinomial(library.shares, batch, generator=random)
        count = int(surface.pixels * PIXEL_SHARES.get(moment.stage.size, 1.0))
        drawn = draw_points(library.pixels, heads, count, surface, network.generator.config.scene, random)
        return surface_losses(network.portrait(network.codes(library.codes[heads])), drawn, surface)

    lesson = Lesson(errors, _optimisers, _grown, library.join, _described)
    return Training(network, lesson, schedule, work / CHECKPOINT)


def _start(library: HeadLibrary, settings: PeopleTraining) -> tuple[PeopleNetwork, Schedule]:
    """The network before the first step, and the schedule without the stages for which it is too large already."""
    schedule, config, length = settings.schedule, settings.config, library.codes.shape[1]
    torch.manual_seed(schedule.seed)
    if settings.init is not None:
        generator, codes = read_people(settings.init)
        if codes is not None:  # weights learn badly where latents are far from zero
            move_latents(generator, -codes.offset)
            codes = codes.moved(-codes.offset)
        if codes is None or len(codes.mean) != length:
            codes = HeadCodes.of(library.codes.cpu(), generator.config.w_dim)
            _forget_identities(generator)
        generator = _with_decoder(generator, config)
        stages = tuple(stage for stage in schedule.stages if stage.size >= generator.config.plane_resolution)
        schedule = replace(schedule, stages=stages or schedule.stages[-1:])
    else:
        config = replace(config, w_dim=max(config.w_dim, -(-length // W_STEP) * W_STEP))
        codes = HeadCodes.of(library.codes.cpu(), config.w_dim)
        first = replace(config, plane_resolution=schedule.stages[0].size)
        generator = new_generator(first, settings.surface.sigma_scale, length, IDENTITY_GAIN)
        with torch.no_grad():
            generator.decoder.net[2].bias[0] = START_SIGMA * settings.surface.sigma_scale
            generator.torgb.affine.weight *= 0.05
    if settings.code_names:
        codes = _painted(generator, codes, library, settings.code_names)
    return PeopleNetwork(_with_trained_noise(generator).requires_grad_(True), codes), schedule


def _with_decoder(generator: Generator, config: GeneratorConfig) -> Generator:
    """The same generator with the decoder sizes of ``config``; colours are to be learnt anew where they differ."""
    old, wanted = generator.config, (config.decoder_hidden, config.decode_channels)
    if (old.decoder_hidden, old.decode_channels) == wanted:
        return generator
    larger = Generator(replace(old, decoder_hidden=wanted[0], decode_channels=wanted[1]))
    known, fresh = generator.state_dict(), larger.state_dict()
    fresh.update({name: weight for name, weight in known.items() if fresh[name].shape == weight.shape})
    kept = old.decoder_hidden
    first, last = "decoder.net.0", "decoder.net.2"
    fresh[f"{first}.weight"] *= known[f"{first}.weight"].std() / fresh[f"{first}.weight"].std()
    fresh[f"{first}.weight"][:kept], fresh[f"{first}.bias"][:kept] = known[f"{first}.weight"], known[f"{first}.bias"]
    fresh[f"{first}.bias"][kept:] = torch.randn(wanted[0] - kept)
    fresh[f"{last}.weight"][0, kept:] = 0
    fresh[f"{last}.weight"][0, :kept] = known[f"{last}.weight"][0] * (wanted[0] / kept) ** 0.5
    fresh[f"{last}.bias"][0] = known[f"{last}.bias"][0]
    larger.load_state_dict(fresh)
    return larger


def _painted(generator: Generator, codes: HeadCodes, library: HeadLibrary, names: Sequence[str]) -> HeadCodes:
    """Give the generator its palette, if its file had none; returns the codes without the names of colours."""
    told = told_numbers(names)
    if not (codes.projection.any(dim=1) & ~told).any():
        return codes
    codes = codes.only(told)
    assert library.pixels is not None
    told_by_colours = torch.tensor([name.endswith(("/r", "/g", "/b")) for name in names])
    forget_colours(generator, codes, told_by_colours)
    paint(generator, codes, *paint_colours(library.codes.cpu(), names, _mean_colours(library.pixels)))
    with torch.no_grad():
        generator.decoder.net[2].weight[1:] *= START_COLOUR
        generator.decoder.net[2].bias[1:] = START_COLOUR
    return codes


def _mean_colours(pixels: SurfacePixels) -> Tensor:
    """[N, PARTS, 3] sRGB 0..1; NaN where a head shows too little of a part."""
    means = torch.full((len(pixels), PARTS, 3), torch.nan)
    for head in range(len(pixels)):
        for part in range(PARTS):
            of_part = pixels.colour[head][pixels.part[head] == part]
            if len(of_part) >= LEAST_PIXELS:
                means[head, part] = of_part.float().mean(dim=0).cpu() / 255
    return means


def _forget_identities(generator: Generator) -> None:
    """Gentle random modulations in place of the learnt ones, for codes that mean something else."""
    with torch.no_grad():
        for name, weight in generator.backbone.synthesis.named_parameters():
            if name.endswith("affine.weight"):
                weight.normal_().mul_(IDENTITY_GAIN)
        generator.torgb.affine.weight.normal_().mul_(0.05 * IDENTITY_GAIN)


def _with_trained_noise(generator: Generator) -> Generator:
    """The same generator, whose layers' stored noise is a parameter and has an effect."""
    for layer in generator.backbone.synthesis.modules():
        if isinstance(layer, SynthesisLayer):
            stored = layer.noise_const
            if not isinstance(stored, nn.Parameter):
                del layer.noise_const
                layer.noise_const = nn.Parameter(stored.clone())
            with torch.no_grad():
                if not layer.noise_strength.any():
                    layer.noise_strength.fill_(NOISE_STRENGTH)
    return generator


def _grown(network: nn.Module, size: int) -> nn.Module:
    """The same network with finer levels, if ``size`` is larger."""
    assert isinstance(network, PeopleNetwork)
    if size <= network.generator.config.plane_resolution:
        return network
    device = network.codes.mean.device
    larger = grow(network.generator.cpu(), size, IDENTITY_GAIN)
    return PeopleNetwork(_with_trained_noise(larger), network.codes).to(device)


def _described(network: nn.Module) -> Mapping[str, str]:
    assert isinstance(network, PeopleNetwork)
    return {"config": json.dumps(network.generator.config.to_json())}


def _optimisers(network: nn.Module) -> Sequence[torch.optim.Optimizer]:
    """Muon for the 3 x 3 kernels, Adam for the rest; mapping network, background and pose are not taught here."""
    assert isinstance(network, PeopleNetwork)
    generator = network.generator
    if network.painted:
        hold_free_features(generator)
    maps = [w for name, w in generator.backbone.synthesis.named_parameters() if name.endswith("noise_const")]
    kernels = [w for w in generator.backbone.synthesis.parameters() if w.dim() == 4 and w.shape[-1] == 3]
    apart = {id(w) for w in (*maps, *kernels)}
    taught = (*generator.backbone.synthesis.parameters(), *generator.decoder.parameters(), *generator.torgb.parameters())
    rest = [w for w in taught if id(w) not in apart]
    groups = [{"params": rest, "factor": 1.0}, {"params": maps, "factor": NOISE_FACTOR}]
    return torch.optim.Adam(groups, betas=(0.9, 0.99), foreach=True), Muon(kernels)


def read_people(path: Path) -> tuple[Generator, HeadCodes | None]:
    """The (averaged) generator and its codes from a generator file or a checkpoint; no codes if it has none.

    Raises ModelFormatError.
    """
    tensors, metadata = read_safetensors(path)
    if not any(name.startswith("average/") for name in tensors):
        return load_generator(path), read_head_codes(path)
    weights = averaged_weights(path)
    try:
        config = GeneratorConfig.from_json(json.loads(metadata["config"]))
        inner = {name.removeprefix("generator."): w for name, w in weights.items() if name.startswith("generator.")}
        generator = Generator(config)
        generator.load_state_dict(inner)
        codes = {name.removeprefix("codes."): w for name, w in weights.items() if name.startswith("codes.")}
        return generator.eval().requires_grad_(False), HeadCodes.from_state(codes)
    except (KeyError, ValueError, TypeError, RuntimeError) as cause:
        raise ModelFormatError(f"{path} is no checkpoint of people ({type(cause).__name__})") from cause
