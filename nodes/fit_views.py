"""Node: fit a portrait to edited views of it."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io
from torch import Tensor

from ..portrait3d_core.cameras.cameras import Cameras
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.stages.estimate import estimate_fit
from ..portrait3d_core.stages.refine.fit_views import fit_views
from ..portrait3d_core.stages.refine.settings import RefineSettings
from .host.folders import NO_PERCEPTUAL
from .host.long_run import long_run, resume_input, run_keeper
from .host.memory import autograd, on_device, to_wire
from .host.perceptual import chosen_perceptual, perceptual_input
from .host.schema import schema
from .host.sockets import CATEGORY, CamerasSocket, PortraitSocket
from .host.widgets import (
    number_from_profile,
    overridden,
    preview_input,
    profile_input,
    profile_ui,
    refine_settings,
    seed_input,
)


class Portrait3DFitViews(io.ComfyNode):
    """The second half of Refine Views, for views edited elsewhere in the graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DFitViews",
            display_name="Fit Views",
            category=CATEGORY,
            search_aliases=["multi-view to 3D", "images to 3D", "view reconstruction", "fit 3D to images"],
            description=(
                "Changes a portrait until it looks like the given views. Take views and cameras from Render Views, "
                "edit the views with any image nodes, and connect them here in the same order and size."
            ),
            inputs=[
                PortraitSocket.Input("portrait", tooltip="The portrait the views show; not changed itself."),
                io.Image.Input("images", tooltip="The edited views: square, one per camera, in the same order."),
                CamerasSocket.Input("cameras", tooltip="The cameras output of the node that made the views."),
                profile_input(),
                number_from_profile("passes", refine_settings, "passes"),
                seed_input(),
                preview_input(RefineSettings),
                io.Mask.Input(
                    "masks", optional=True, tooltip="How much each pixel of the views counts: black parts are left as they are."
                ),
                resume_input(),
                perceptual_input("only pixels and, in most profiles, edges are compared"),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[PortraitSocket.Output(display_name="portrait", tooltip="The fitted portrait.")],
        )

    @classmethod
    def execute(
        cls,
        portrait: Portrait,
        images: Tensor,
        cameras: Cameras,
        profile: str,
        passes: int,
        seed: int,
        preview_every: int,
        masks: Tensor | None = None,
        resume: bool = True,
        perceptual: str = NO_PERCEPTUAL,
    ) -> io.NodeOutput:
        finest = max(portrait.trigrid.levels)
        base, side = refine_settings(profile, finest), images.shape[1]
        settings = overridden(base, passes=passes, preview_every=preview_every)
        settings = replace(settings, resolution=side, crop=min(base.crop, side))
        with autograd():
            start, views, cameras = on_device(portrait), images[..., :3].clone(), cameras.to("cpu", copy=True)
            counts = None if masks is None else masks.clone()
            distance = chosen_perceptual(perceptual)
            needed = estimate_fit(portrait, settings, len(views), perceptual=distance is not None)
            with long_run(cls.hidden.unique_id, seed, run_keeper(resume), needed) as job:
                fitted = fit_views(start, views, cameras, settings, masks=counts, perceptual=distance, job=job)
        return io.NodeOutput(to_wire(fitted), ui=profile_ui(profile, finest))
