"""Node: pull a portrait towards a text with a diffusion model."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.stages.distill import DistillSettings, distill
from ..portrait3d_core.stages.estimate import estimate_distill
from .host.control import ViewControl
from .host.diffusion_model import (
    SOURCE_PROMPT,
    ComfyDiffusionModel,
    Conditioning,
    connected,
    run_with_diffusion_model,
    target_prompt,
)
from .host.long_run import long_run, resume_input, session_keeper
from .host.memory import on_device, to_wire
from .host.model_checks import native_resolution
from .host.schema import schema
from .host.sockets import CATEGORY, PortraitSocket
from .host.widgets import (
    FROM_PROFILE,
    choice_from_profile,
    control_input,
    guidance_inputs,
    number_from_profile,
    overridden,
    preview_input,
    profile_input,
    profile_named,
    profile_ui,
    seed_input,
    side_inputs,
)


class Portrait3DDistill(io.ComfyNode):
    """Score distillation with the user's own diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DDistill",
            display_name="SDS Distill",
            category=CATEGORY,
            search_aliases=["text to 3D", "score distillation", "SDS", "DreamFusion", "prompt to 3D head"],
            description=(
                "Changes a portrait until the diffusion model sees the text in it from every side (score distillation). Made "
                "for Stable Diffusion, SDXL, SD3 and Flux models; LoRAs and ControlNets apply as in KSampler."
            ),
            inputs=[
                *guidance_inputs(
                    "The portrait to start from; it is not changed itself.", "Diffusion model that judges the views."
                ),
                profile_input(),
                number_from_profile("steps", distill_of, "steps"),
                number_from_profile(
                    "cfg",
                    distill_of,
                    "guidance_scale",
                    most=200.0,
                    step=0.1,
                    more="How much the text counts; too much burns colours.",
                ),
                choice_from_profile(
                    "loss",
                    distill_of,
                    "loss",
                    more=(
                        "sds: the classic one. nfsd, csd: less grey, at low cfg. multi_step_x0: sharper, slower. "
                        "reference_delta: keeps what the text does not change."
                    ),
                ),
                seed_input(),
                preview_input(DistillSettings),
                io.Conditioning.Input(
                    "source", optional=True, tooltip="Describes the portrait as it is now; helps the loss reference_delta."
                ),
                *side_inputs(),
                control_input(),
                resume_input(),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The changed portrait.")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        model: ModelPatcher,
        vae: Any,
        positive: Conditioning,
        negative: Conditioning,
        profile: str,
        seed: int,
        source: Conditioning | None = None,
        side: Conditioning | None = None,
        back: Conditioning | None = None,
        control: ViewControl | None = None,
        resume: bool = True,
        **widgets,
    ) -> io.NodeOutput:
        sizes = max(portrait.trigrid.levels), (native_px := native_resolution(model.model.model_config))
        settings = distill_settings(distill_of(profile, *sizes), control, **widgets)
        texts = connected(positive=positive, negative=negative, source=source, side=side, back=back)
        prompt = target_prompt(texts)
        source_prompt = None if source is None else SOURCE_PROMPT

        needed = estimate_distill(portrait, settings, native_px)
        keep = session_keeper(resume, model, vae, texts, control)

        def stage(diffusion: ComfyDiffusionModel) -> Portrait:
            with long_run(cls.hidden.unique_id, seed, keep, needed) as job:
                return distill(on_device(portrait), diffusion, prompt, settings, source_prompt=source_prompt, job=job)

        session = {"views": settings.views.per_step, "seed": seed, "control": control, "memory_bytes": needed.memory_bytes}
        changed = run_with_diffusion_model(model, vae, texts, stage, **session)
        return io.NodeOutput(to_wire(changed), ui=profile_ui(profile, *sizes))


def distill_of(profile: str, *sizes: int) -> DistillSettings:
    """The settings of a profile. Raises SettingsError."""
    return profile_named(profile, *sizes).distill


def distill_settings(
    base: DistillSettings, control: ViewControl | None, steps: int, cfg: float, loss: str, preview_every: int
) -> DistillSettings:
    """The profile's settings with the node's widgets applied."""
    scale = FROM_PROFILE if cfg < 0 else (cfg, cfg)
    hint = "none" if control is None else control.hint
    return overridden(base, steps=steps, guidance_scale=scale, loss=loss, preview_every=preview_every, hint=hint)
