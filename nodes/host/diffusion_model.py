"""Any ComfyUI MODEL as a diffusion model of the core, with LoRA, ControlNet and model patches as KSampler applies them.

ComfyUI prepares a model (loading, hooks, conditioning) only inside ``CFGGuider.sample``. So a whole stage runs in
there: :func:`run_with_diffusion_model` starts a guider whose sampler, instead of sampling, calls the stage with a
:class:`ComfyDiffusionModel` bound to the prepared model.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import torch
from comfy.model_patcher import ModelPatcher
from comfy.model_sampling import CONST
from comfy.samplers import CFGGuider, Sampler, sampling_function
from torch import Tensor, nn

from ...portrait3d_core.diffusion.model import Prediction
from ...portrait3d_core.diffusion.noise_schedule import flow_signal_noise, table_index
from ...portrait3d_core.diffusion.view_prompts import DEFAULT_VIEW_WORDS, ViewWords, hard_view_weights
from ...portrait3d_core.errors import GuidanceError
from ...portrait3d_core.runtime.images import resize_images
from .control import Conditioning, ViewControl, private_controls
from .memory import autograd, leave_room
from .model_checks import check_takes_control, check_usable, native_resolution

Result = TypeVar("Result")
EXTRA_MODELS_KEY = "portrait3d"


@dataclass(frozen=True)
class ConditioningPrompt:
    """The diffusion model's prompt: names of the session's conditionings to use.

    ``side`` and ``back`` serve the views from there; None means the same as the side before (front, side, back).
    ``hints``: what the session's ControlNet is shown, [B, 3, H, W] in 0..1 for the B views of a prediction, or None.
    """

    positive: str = "positive"
    negative: str = "negative"
    side: str | None = None
    back: str | None = None
    hints: Tensor | None = None

    def of_views(self, yaw_deg: Tensor) -> list[str]:
        """Name of the positive conditioning of each view, yaw_deg [B]."""
        side = self.side or self.positive
        names = (self.positive, side, self.back or side)
        return [names[int(index)] for index in hard_view_weights(yaw_deg).argmax(dim=-1)]


def target_prompt(conditionings: Mapping[str, Conditioning]) -> ConditioningPrompt:
    """The prompt of a session that may also have conditionings named "side" and "back"."""
    return ConditioningPrompt(side=_name_in(conditionings, "side"), back=_name_in(conditionings, "back"))


def connected(**conditionings: Conditioning | None) -> dict[str, Conditioning]:
    """Those of the named inputs that something is connected to."""
    return {name: value for name, value in conditionings.items() if value is not None}


def _name_in(conditionings: Mapping[str, Conditioning], name: str) -> str | None:
    return name if name in conditionings else None


SOURCE_PROMPT = ConditioningPrompt(positive="source")


class PromptGuider(CFGGuider):
    """A guider that can switch between more than two conditionings while it runs."""

    def select(self, positive: str, negative: str, guidance_scale: float) -> None:
        """Choose by name what the next prediction is conditioned on."""
        self.selected = positive, negative
        self.set_cfg(guidance_scale)

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: Mapping[str, Any], seed: int | None = None) -> Tensor:
        """ComfyUI's hook for one guided prediction; like the original, with the selected conditionings."""
        positive, negative = (self.conds[name] for name in self.selected)
        return sampling_function(
            self.inner_model, x, timestep, negative, positive, self.cfg, model_options=model_options, seed=seed
        )


class ComfyDiffusionModel:
    """The :class:`~portrait3d_core.diffusion.model.DiffusionModel` of one running session."""

    def __init__(
        self, guider: PromptGuider, vae: Any, sampler_args: Mapping[str, Any], control: ViewControl | None = None
    ) -> None:
        self._guider, self._model, self._control = guider, guider.inner_model, control
        self._vae, self._encoder = vae, _encoder_for_gradients(vae)
        self._seed = sampler_args["seed"]
        self._model_options = sampler_args["model_options"]
        self._conditional = self._unconditional = torch.empty(0)

    @property
    def name(self) -> str:
        return type(self._model.model_config).__name__

    @property
    def native_resolution(self) -> int:
        return native_resolution(self._model.model_config)

    @property
    def device(self) -> torch.device:
        return self._guider.model_patcher.load_device

    def prompt(self, text: str, negative: str = "", *, view_words: ViewWords | None = DEFAULT_VIEW_WORDS) -> ConditioningPrompt:
        """Not available: in ComfyUI the user's own nodes encode texts, and a session names their results."""
        raise GuidanceError(
            "The ComfyUI diffusion model cannot encode text", fix="connect conditioning, for example from 'CLIP Text Encode'"
        )

    def with_hints(self, prompt: ConditioningPrompt, hints: Tensor) -> ConditioningPrompt:
        """``prompt`` for views of which hints [B, 3, H, W] in 0..1 are shown to the session's ControlNet.

        Raises GuidanceError when the session has none.
        """
        if self._control is None:
            raise GuidanceError("There are hints, but no ControlNet", fix="connect Control Views")
        return replace(prompt, hints=resize_images(hints.to(self.device), self.native_resolution))

    def encode(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in -1..1 -> latents [B, C, h, w] in the model's scale; differentiable."""
        pixels = self._vae.process_input((images + 1) / 2).to(self._vae.device)
        return self._model.process_latent_in(self._encoder.encode(pixels)).to(self.device)

    def decode(self, latents: Tensor) -> Tensor:
        """latents [B, C, h, w] in the model's scale -> images [B, 3, H, W] in -1..1."""
        vae = self._vae
        with torch.inference_mode():
            stored = self._model.process_latent_out(latents).to(vae.device, vae.vae_dtype)
            images = vae.process_output(vae.first_stage_model.decode(stored).float())
        return images.clone().to(self.device) * 2 - 1

    def signal_noise(self, t: float) -> tuple[float, float]:
        """(alpha, sigma) of ``noisy = alpha latents + sigma noise``."""
        if self._is_flow:
            return flow_signal_noise(t)
        ratio = self._noise_to_signal(t)
        alpha = (1 + ratio**2) ** -0.5
        return alpha, ratio * alpha

    def predict(
        self, noisy: Tensor, t: float, prompt: ConditioningPrompt, yaw_deg: Tensor, guidance_scale: float
    ) -> Prediction:
        """Clean latents seen in ``noisy`` [B, C, h, w] at time t, each under the conditioning of its side."""
        # ComfyUI's epsilon and v models are given latents + sigma noise, that is the core's noisy latents / alpha.
        level = t if self._is_flow else self._noise_to_signal(t)
        shown = noisy if self._is_flow else noisy / self.signal_noise(t)[0]
        names = prompt.of_views(yaw_deg)
        found = [torch.empty(noisy.shape, device=noisy.device) for _ in range(3)]
        for name in dict.fromkeys(names):
            views = [index for index, other in enumerate(names) if other == name]
            with torch.inference_mode():
                if self._control is not None and prompt.hints is not None:
                    self._control.show(prompt.hints[views])
                self._guider.select(name, prompt.negative, guidance_scale)
                levels = torch.full((len(views),), level, device=shown.device)
                guided = self._guider(shown[views], levels, model_options=self._options, seed=self._seed)
            for whole, part in zip(found, (self._conditional, self._unconditional, guided), strict=True):
                whole[views] = part.float()
        return Prediction(*found)

    @property
    def _options(self) -> dict[str, Any]:
        """The run's options with this object looking on. Not kept: an object that refers to itself outlives the run."""
        hooks = [self._observe, *self._model_options.get("sampler_post_cfg_function", [])]
        return {**self._model_options, "sampler_post_cfg_function": hooks, "disable_cfg1_optimization": True}

    @property
    def _is_flow(self) -> bool:
        return isinstance(self._model.model_sampling, CONST)

    def _noise_to_signal(self, t: float) -> float:
        """ComfyUI's sigma of the training step at time t."""
        sigmas = self._model.model_sampling.sigmas
        return float(sigmas[table_index(t, len(sigmas))])

    def _observe(self, seen: Mapping[str, Any]) -> Tensor:
        """Keep both halves of the prediction that ComfyUI just combined; changes nothing."""
        self._conditional, self._unconditional = seen["cond_denoised"], seen["uncond_denoised"]
        return seen["denoised"]


class StageSampler(Sampler, Generic[Result]):
    """Runs a stage where ComfyUI would run a sampling loop."""

    def __init__(self, stage: Callable[[ComfyDiffusionModel], Result], vae: Any, control: ViewControl | None) -> None:
        self._stage, self._vae, self._control = stage, vae, control
        self.result: Result

    def sample(
        self, model_wrap: PromptGuider, sigmas: Tensor, extra_args: Mapping[str, Any], callback: Any, noise: Tensor, *_, **__
    ) -> Tensor:
        """ComfyUI's entry point. The returned latents mean nothing; the result is in :attr:`result`."""
        with autograd():
            self.result = self._stage(ComfyDiffusionModel(model_wrap, self._vae, extra_args, self._control))
        return torch.zeros_like(noise)


def run_with_diffusion_model(
    model: ModelPatcher,
    vae: Any,
    conditionings: Mapping[str, Conditioning],
    stage: Callable[[ComfyDiffusionModel], Result],
    *,
    views: int,
    seed: int,
    control: ViewControl | None = None,
    memory_bytes: int = 0,
) -> Result:
    """Call ``stage`` with a diffusion model made of ComfyUI's MODEL and VAE, with autograd on; return what it returns.

    conditionings: by the names that :class:`ConditioningPrompt` refers to; "positive" and "negative" must be there.
    views: images per prediction, for ComfyUI's estimate of the memory to keep free.
    control: acts on every prediction beside the ControlNets that the conditionings have; its hints come with the prompts.
    memory_bytes: what the stage itself needs on the compute device.

    Raises:
        GuidanceError: model and VAE cannot be used together or for images.
    """
    check_usable(model, vae)
    if control is not None:
        check_takes_control(model)
        control = replace(control)  # the wire's own is not written into
    resident = model.clone()
    resident.set_additional_models(EXTRA_MODELS_KEY, [vae.patcher])
    leave_room(resident, memory_bytes)
    guider = PromptGuider(resident)
    texts = private_controls(conditionings)
    guider.inner_set_conds(texts if control is None else control.attach(texts, vae))
    side = native_resolution(model.model.model_config) // vae.spacial_compression_encode()
    blank = torch.zeros(views, vae.latent_channels, side, side)
    sampler = StageSampler(stage, vae, control)
    guider.sample(blank, blank, sampler, torch.ones(2), disable_pbar=True, seed=seed)
    return sampler.result


def _encoder_for_gradients(vae: Any) -> Any:
    """A float32 copy of the VAE's encoder that autograd accepts, on the VAE's device.

    ComfyUI makes and moves weights under inference mode, which forbids gradients through them for ever; a copy made
    outside of it does not. So it is made when everything has been moved. The decoder is left out of the copy.
    """
    network = vae.first_stage_model
    with torch.inference_mode(False):
        return _private_copy(network, getattr(network, "decoder", None)).to(vae.device, torch.float32).requires_grad_(False)


def _private_copy(network: nn.Module, left_out: nn.Module | None) -> nn.Module:
    """A deep copy without the notes of ComfyUI's loader: handles of memory that is not the copy's to use or to free.

    left_out: a part that becomes None in the copy.
    """
    omitted = set() if left_out is None else set(left_out.modules())
    originals = [module for module in network.modules() if module not in omitted]
    copies = {id(module): object.__new__(type(module)) for module in originals}
    known: dict[int, Any] = {id(left_out): None, **copies}
    for module in originals:
        kept = {name: value for name, value in vars(module).items() if not LOADER_NOTES.fullmatch(name)}
        vars(copies[id(module)]).update({name: copy.deepcopy(value, known) for name, value in kept.items()})
    return copies[id(network)]


LOADER_NOTES = re.compile(r"_v|_v_.+|_pins?|_pin_.+|_prefetch|.+_lowvram_function|dynamic_(vbars|pins|patchers)")
"""Attributes by which newer versions of ComfyUI stream the weights of modules to the card while they are used."""
