"""Run by ComfyUI's Python: every kind of tiny model in the guidance nodes. Prints what was seen as JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import inside_comfy  # noqa: F401

# isort: split
import comfy.sd
import tiny_models as tiny
import torch
from pack.nodes import distill, refine_views
from pack.nodes.host.built_in_models import load_model, load_vae
from pack.nodes.host.control import ViewControl
from pack.nodes.host.diffusion_model import ComfyDiffusionModel, ConditioningPrompt, run_with_diffusion_model
from pack.portrait3d_core.bundle.files import diffusion_path, generator_path
from pack.portrait3d_core.checkpoints.generator_loading import load_generator
from pack.portrait3d_core.guidance.residual import Guide, Moment, SeenViews, image_gradient
from pack.portrait3d_core.presets.built_in import REFINE as BUILT_IN_REFINE
from pack.portrait3d_core.stages.latents import random_portrait
from torch import Tensor

T, SCALE, VIEWS = 0.4, 7.5, 2
BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2


def parts_of(kind: tiny.Kind) -> SimpleNamespace:
    """MODEL, VAE, CONTROL_NET and two texts."""
    model = tiny.build_model(kind)
    texts = {"positive": tiny.build_conditioning(kind, 1), "negative": tiny.build_conditioning(kind, 2)}
    return SimpleNamespace(model=model, vae=tiny.build_vae(kind), net=tiny.build_control(kind, model), texts=texts)


def in_session(parts: SimpleNamespace, stage: Callable[[ComfyDiffusionModel], Any], **changes) -> Any:
    """Run ``stage`` as a node would."""
    used = {"model": parts.model, "vae": parts.vae, "conditionings": parts.texts, "views": VIEWS, "seed": 0, **changes}
    with torch.inference_mode():
        return run_with_diffusion_model(stage=stage, **used)


def difference(first: Tensor, second: Tensor) -> float:
    """Relative to the second."""
    return float((first - second).norm() / second.norm())


# ---------------------------------------------------------------------------------------------------------------
# The gradient, by the formula of the family's paper


def raw_output(kind: tiny.Kind, parts: SimpleNamespace, noisy: Tensor, text: list) -> Tensor:
    """What the network itself says about ``noisy``, without ComfyUI's conventions."""
    network, ((context, options),) = parts.model.model.diffusion_model, text
    count, pooled = len(noisy), options["pooled_output"]
    more = {}
    if kind.config is tiny.supported.SDXL:
        sizes = torch.tensor([tiny.SIDE_PX, tiny.SIDE_PX, 0, 0, tiny.SIDE_PX, tiny.SIDE_PX])
        waves = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128) / 128) * sizes[:, None]
        more["y"] = torch.cat([pooled, torch.cat([waves.cos(), waves.sin()], dim=1).reshape(1, -1)], dim=1)
    elif kind.model_type is tiny.ModelType.FLOW:
        more["y"] = pooled
    if kind.control is tiny.FLUX_CONTROL:
        time, more["guidance"] = T, torch.tensor([3.5])
    else:
        time = 1000 * T
    more = {name: value.expand(count, *value.shape[1:]) for name, value in more.items()}
    times = torch.full((count,), time)
    return network(noisy, times, context=context.expand(count, -1, -1), **more)


def expected_gradient(kind: tiny.Kind, parts: SimpleNamespace, images: Tensor, noise: Tensor) -> Tensor:
    """Score distillation, w(t) (guided - noise) through the encoder; for flow w(t) (guided - (noise - latents))."""
    with torch.inference_mode(False):
        encoder = copy.deepcopy(parts.vae.first_stage_model)
        shift, factor = kind.scale
        leaf = images.clone().requires_grad_()
        latents = (encoder.encode(leaf) - shift) * factor
    flow = kind.model_type is tiny.ModelType.FLOW
    alpha = 1 - T if flow else float((1 - BETAS).cumprod(0)[round(1000 * T)].sqrt())
    sigma = T if flow else (1 - alpha**2) ** 0.5
    still = latents.detach()
    noisy = alpha * still + sigma * noise
    with torch.inference_mode():
        positive, negative = (raw_output(kind, parts, noisy, parts.texts[name]) for name in ("positive", "negative"))
        guided = negative + SCALE * (positive - negative)
        if kind.model_type is tiny.ModelType.V_PREDICTION:
            guided = alpha * guided + sigma * noisy
        residual = alpha * sigma**2 * (guided - (noise - still)) if flow else sigma**2 * (guided - noise)
    (gradient,) = torch.autograd.grad((latents * residual.clone()).sum() / len(images), leaf)
    return gradient


def gradient_error(kind: tiny.Kind, parts: SimpleNamespace) -> float:
    """How far the session's gradient on the images is from the formula."""
    images = torch.rand(VIEWS, 3, tiny.SIDE_PX, tiny.SIDE_PX, generator=torch.Generator().manual_seed(1)) * 2 - 1
    channels, side = parts.vae.latent_channels, tiny.SIDE_PX // 8
    noise = torch.randn(VIEWS, channels, side, side, generator=torch.Generator().manual_seed(2))

    def stage(diffusion: ComfyDiffusionModel) -> Tensor:
        moment = Moment(T, SCALE, torch.Generator().manual_seed(2))
        return image_gradient(Guide(diffusion, ConditioningPrompt()), SeenViews(images, torch.zeros(VIEWS)), moment).gradient

    return difference(in_session(parts, stage), expected_gradient(kind, parts, images, noise))


# ---------------------------------------------------------------------------------------------------------------
# What the user adds


def prediction(parts: SimpleNamespace, hints: Tensor | None = None, **changes) -> Tensor:
    """The guided prediction of two views of the same latents."""
    side = tiny.SIDE_PX // 8
    noisy = torch.randn(1, parts.vae.latent_channels, side, side, generator=torch.Generator().manual_seed(3))

    def stage(diffusion: ComfyDiffusionModel) -> Tensor:
        prompt = ConditioningPrompt() if hints is None else diffusion.with_hints(ConditioningPrompt(), hints)
        return diffusion.predict(noisy.expand(VIEWS, -1, -1, -1), T, prompt, torch.zeros(VIEWS), SCALE).guided

    return in_session(parts, stage, **changes)


def lora(model: Any) -> dict[str, Tensor]:
    """A LoRA of rank 1 for one attention layer."""
    draw = torch.Generator().manual_seed(4)
    shapes = {name: weight.shape for name, weight in model.model.named_parameters() if weight.ndim == 2}
    name = next(name for name in shapes if name.endswith(("attn2.to_k.weight", "attn.qkv.weight"))).removesuffix(".weight")
    rows, columns = shapes[f"{name}.weight"]
    up, down = torch.randn(rows, 1, generator=draw), torch.randn(1, columns, generator=draw)
    return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}


def brightened(model: Any) -> Any:
    """The model with another pack's hook on its predictions."""
    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(lambda seen: seen["denoised"] + 1)
    return patched


def state(control: Any) -> dict[str, Any]:
    return dict(vars(control))


def added(parts: SimpleNamespace) -> dict[str, Any]:
    """By how much LoRA, patch and ControlNets change the prediction, and whether anything of the user's was changed."""
    plain = prediction(parts)
    hints = torch.rand(VIEWS, 3, tiny.SIDE_PX, tiny.SIDE_PX, generator=torch.Generator().manual_seed(5))
    view_control = lambda end: ViewControl(parts.net, "depth", 1.0, 0.0, end)  # noqa: E731
    controlled = prediction(parts, hints, control=view_control(1.0))
    own = parts.net.copy().set_cond_hint(hints[:1], 0.5, (0.0, 1.0), vae=parts.vae)
    texts = {name: [[text, {**options, "control": own}] for text, options in value] for name, value in parts.texts.items()}
    before = state(parts.net), state(own)
    both = prediction(parts, hints, conditionings=texts, control=view_control(1.0))
    with_own = prediction(parts, conditionings=texts)
    changed, _ = comfy.sd.load_lora_for_models(parts.model, None, lora(parts.model), 1.0, 0.0)
    return {
        "control": difference(controlled, plain),
        "control_between_views": difference(controlled[0], controlled[1]),
        "control_out_of_range": difference(prediction(parts, hints, control=view_control(0.3)), plain),
        "own_control": difference(with_own, plain),
        "both_controls": min(difference(both, with_own), difference(both, controlled)),
        "lora": difference(prediction(parts, model=changed), plain),
        "patch": difference(prediction(parts, model=brightened(parts.model)), plain + 1),
        "plain_again": difference(prediction(parts), plain),
        "controls_unchanged": before == (state(parts.net), state(own)),
    }


# ---------------------------------------------------------------------------------------------------------------
# The nodes


class Distill(distill.Portrait3DDistill):
    hidden = SimpleNamespace(unique_id=None)  # as ComfyUI sets it before a run; no text is shown then


class RefineViews(refine_views.Portrait3DRefineViews):
    hidden = Distill.hidden


def nodes(parts: SimpleNamespace, portrait: Any) -> dict[str, Any]:
    """SDS Distill and Refine Views with a ControlNet: did they change the portrait, and which hints did the network get?"""
    inputs = {"portrait": portrait, "model": parts.model, "vae": parts.vae, **parts.texts, "profile": "built-in", "seed": 0}
    inputs |= {"control": ViewControl(parts.net, "normal", 0.6, 0.0, 1.0), "resume": False}
    shown: list[Tensor] = []
    note = lambda network, _, named: shown.append(named["hint"].clone())  # noqa: E731
    watch = parts.net.control_model.register_forward_pre_hook(note, with_kwargs=True)
    with torch.inference_mode():
        distilled = Distill.execute(**inputs, steps=2, cfg=2.0, loss="sds", preview_every=1)[0]
        watch.remove()
        refined = RefineViews.execute(**inputs, strength=0.4, edit_steps=2, passes=1)[0]
    return {
        "distilled": moved(portrait, distilled),
        "refined": moved(portrait, refined),
        "hints_shown": len(shown),
        "hints_between_views": difference(shown[0][0], shown[0][1]),
        "hints_between_steps": difference(shown[0][:1], shown[1][:1]),
    }


def moved(before: Any, after: Any) -> bool:
    """The portrait's tri-grid changed, and is finite."""
    levels = after.trigrid.levels
    finite = all(bool(torch.isfinite(level).all()) for level in levels.values())
    return finite and any(not torch.equal(level, before.trigrid.levels[size]) for size, level in levels.items())


def refusal(parts: SimpleNamespace, **session: Any) -> str:
    """What a session says to an unsupported model."""
    try:
        in_session(parts, lambda diffusion: None, **session)
    except Exception as error:
        return str(error)
    return ""


def refusals() -> dict[str, str]:
    """By the name of what is not supported."""
    vae = tiny.build_vae(tiny.KINDS["sd1"])
    found = {
        name: refusal(SimpleNamespace(model=tiny.build_model(kind), vae=vae, texts={}))
        for name, kind in tiny.UNSUPPORTED.items()
    }
    folder, known = diffusion_path(), parts_of(tiny.KINDS["sd1"])
    parts = SimpleNamespace(model=load_model(folder), vae=load_vae(folder), texts=known.texts)
    return {**found, "built_in_control": refusal(parts, control=ViewControl(known.net, "depth", 1.0, 0.0, 1.0))}


def main() -> None:
    quick = replace(BUILT_IN_REFINE, resolution=32, crop=16, view_samples=8, fit_samples=8)
    refine_views.refine_settings = lambda name, *sizes: quick
    with torch.inference_mode():
        portrait = random_portrait(load_generator(generator_path()), 3, 0.7)
    seen: dict[str, Any] = {"refused": refusals()}
    for name, kind in tiny.KINDS.items():
        parts = parts_of(kind)
        seen[name] = {"gradient": gradient_error(kind, parts), **added(parts), **nodes(parts, portrait)}
    print(json.dumps(seen))


main()
