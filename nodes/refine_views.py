"""Node: sharpen a portrait by editing views of it."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..portrait3d_core.portrait import Portrait
from ..portrait3d_core.stages.refine import refine
from .comfy_critic import ComfyCritic, Conditioning, connected, run_with_critic, target_prompt
from .memory import on_device, to_wire
from .progress import report_progress
from .sockets import CATEGORY, PortraitSocket
from .widgets import FROM_PROFILE, overridden, profile_input, refine_settings, seed_input, side_inputs, steps_input


class Portrait3DRefineViews(io.ComfyNode):
    """Render, edit with the diffusion model, fit again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Portrait3DRefineViews",
            display_name="Refine Views",
            category=CATEGORY,
            description=(
                "Sharpens a portrait: renders 21 views around it, lets the diffusion model redraw them lightly, and "
                "fits the portrait to the redrawn views. To redraw them with your own nodes, use Render Orbit with the "
                "refinement path and Fit Views instead."
            ),
            inputs=[
                PortraitSocket.Input("portrait", tooltip="Usually from SDS Distill; it is not changed itself."),
                io.Model.Input("model", tooltip="Diffusion model that redraws the views."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Conditioning.Input("positive", tooltip="Describes the wanted head."),
                io.Conditioning.Input("negative", tooltip="Describes what to avoid."),
                profile_input(),
                io.Float.Input(
                    "strength",
                    default=FROM_PROFILE,
                    min=FROM_PROFILE,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of a view is redrawn, 0 to 1, like KSampler's denoise. -1 takes the profile's.",
                ),
                steps_input("edit_steps", "Redrawing of each view"),
                steps_input("passes", "How often the fit visits every view"),
                seed_input(),
                *side_inputs(),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The sharpened portrait.")],
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
        side: Conditioning | None = None,
        back: Conditioning | None = None,
        **widgets,
    ) -> io.NodeOutput:
        settings = overridden(refine_settings(profile), **widgets)
        texts = connected(positive=positive, negative=negative, side=side, back=back)
        prompt = target_prompt(texts)

        def stage(critic: ComfyCritic) -> Portrait:
            start, show = on_device(portrait), report_progress()
            return refine(start, critic, prompt, settings, seed=seed, on_step=show)

        return io.NodeOutput(to_wire(run_with_critic(model, vae, texts, stage, views=1, seed=seed)))
