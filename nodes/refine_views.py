"""Node: sharpen a portrait by editing views of it."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.stages.estimate import estimate_refine
from ..portrait3d_core.stages.refine.refine import refine
from .host.control import ViewControl
from .host.diffusion_model import ComfyDiffusionModel, Conditioning, connected, run_with_diffusion_model, target_prompt
from .host.folders import NO_PERCEPTUAL
from .host.long_run import long_run, resume_input, session_keeper
from .host.memory import on_device, to_wire
from .host.model_checks import native_resolution
from .host.perceptual import chosen_perceptual, perceptual_input
from .host.schema import schema
from .host.sockets import CATEGORY, PortraitSocket
from .host.widgets import (
    control_input,
    guidance_inputs,
    number_from_profile,
    overridden,
    profile_input,
    profile_ui,
    refine_settings,
    seed_input,
    side_inputs,
)


class Portrait3DRefineViews(io.ComfyNode):
    """Render, edit with the diffusion model, fit again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DRefineViews",
            display_name="Refine Views",
            category=CATEGORY,
            search_aliases=["image to image views", "3D refinement", "texture refinement", "sharpen 3D head"],
            description=(
                "Sharpens a portrait: renders 21 views around it, lets the diffusion model redraw them lightly, and "
                "fits the portrait to the redrawn views. To redraw them with your own nodes, use Render Orbit with the "
                "refinement path and Fit Views instead."
            ),
            inputs=[
                *guidance_inputs(
                    "Usually from SDS Distill; it is not changed itself.", "Diffusion model that redraws the views."
                ),
                profile_input(),
                number_from_profile(
                    "strength", refine_settings, "strength", more="How much of a view is redrawn, like KSampler's denoise."
                ),
                number_from_profile("edit_steps", refine_settings, "edit_steps"),
                number_from_profile("passes", refine_settings, "passes"),
                seed_input(),
                *side_inputs(),
                control_input(),
                resume_input(),
                perceptual_input("only pixels and, in most profiles, edges are compared"),
            ],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The sharpened portrait.")],
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
        side: Conditioning | None = None,
        back: Conditioning | None = None,
        control: ViewControl | None = None,
        resume: bool = True,
        perceptual: str = NO_PERCEPTUAL,
        **widgets,
    ) -> io.NodeOutput:
        sizes = max(portrait.trigrid.levels), native_resolution(model.model.model_config)
        hint = "none" if control is None else control.hint
        settings = overridden(refine_settings(profile, *sizes), hint=hint, **widgets)
        texts = connected(positive=positive, negative=negative, side=side, back=back)
        prompt = target_prompt(texts)

        distance = chosen_perceptual(perceptual)
        needed = estimate_refine(portrait, settings, perceptual=distance is not None)
        keep = session_keeper(resume, model, vae, texts, control)

        def stage(diffusion: ComfyDiffusionModel) -> Portrait:
            with long_run(cls.hidden.unique_id, seed, keep, needed) as job:
                return refine(on_device(portrait), diffusion, prompt, settings, perceptual=distance, job=job)

        session = {"views": 1, "seed": seed, "control": control, "memory_bytes": needed.memory_bytes}
        refined = run_with_diffusion_model(model, vae, texts, stage, **session)
        return io.NodeOutput(to_wire(refined), ui=profile_ui(profile, *sizes))
