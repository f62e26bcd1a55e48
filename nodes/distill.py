"""Node: pull a portrait towards a text with a diffusion model."""

from __future__ import annotations

from typing import Any, get_args

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..portrait3d_core.guidance.losses import LossName
from ..portrait3d_core.portrait import Portrait
from ..portrait3d_core.stages.distill import DistillSettings, distill
from .comfy_critic import SOURCE_PROMPT, ComfyCritic, Conditioning, connected, run_with_critic, target_prompt
from .memory import on_device, to_wire
from .progress import report_progress
from .sockets import CATEGORY, PortraitSocket
from .widgets import (
    FROM_PROFILE,
    PROFILE_CHOICE,
    overridden,
    preview_input,
    profile_input,
    profile_named,
    seed_input,
    side_inputs,
    steps_input,
)


class Portrait3DDistill(io.ComfyNode):
    """Score distillation with the user's own diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DDistill",
            display_name="SDS Distill",
            category=CATEGORY,
            description=(
                "Changes a portrait until the diffusion model sees the text in it from every side (score distillation). Made "
                "for Stable Diffusion, SDXL, SD3 and Flux models; LoRAs and ControlNets apply as in KSampler."
            ),
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait to start from; it is not changed itself."),
                io.Model.Input("model", tooltip="Diffusion model that judges the views."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Conditioning.Input("positive", tooltip="Describes the wanted head."),
                io.Conditioning.Input("negative", tooltip="Describes what to avoid; an empty text is fine."),
                profile_input(),
                steps_input("steps", "Length of the optimisation"),
                io.Float.Input(
                    "cfg",
                    default=FROM_PROFILE,
                    min=FROM_PROFILE,
                    max=200.0,
                    step=0.1,
                    tooltip="Guidance scale: how much the text counts. Too much burns colours. -1 takes the profile's.",
                ),
                io.Combo.Input(
                    "loss",
                    options=[PROFILE_CHOICE, *get_args(LossName)],
                    tooltip=(
                        "Form of the distillation loss. sds: the classic one. nfsd, csd: less grey, at low cfg. "
                        "multi_step_x0: sharper, slower. reference_delta: keeps what the text does not change."
                    ),
                ),
                seed_input(),
                preview_input(),
                io.Conditioning.Input(
                    "source", optional=True, tooltip="Describes the portrait as it is now; helps the loss reference_delta."
                ),
                *side_inputs(),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The changed portrait.")],
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
        **widgets,
    ) -> io.NodeOutput:
        settings = distill_settings(profile_named(profile).distill, **widgets)
        texts = connected(positive=positive, negative=negative, source=source, side=side, back=back)
        prompt = target_prompt(texts)
        source_prompt = None if source is None else SOURCE_PROMPT

        def stage(critic: ComfyCritic) -> Portrait:
            start, show = on_device(portrait), report_progress()
            return distill(start, critic, prompt, settings, source_prompt=source_prompt, seed=seed, on_step=show)

        views = settings.views.per_step
        return io.NodeOutput(to_wire(run_with_critic(model, vae, texts, stage, views=views, seed=seed)))


def distill_settings(base: DistillSettings, steps: int, cfg: float, loss: str, preview_every: int) -> DistillSettings:
    """The profile's settings with the node's widgets applied."""
    scale = FROM_PROFILE if cfg < 0 else (cfg, cfg)
    return overridden(base, steps=steps, guidance_scale=scale, loss=loss, preview_every=preview_every)
