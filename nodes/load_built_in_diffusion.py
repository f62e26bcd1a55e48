"""Node: the built-in text-to-image model."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.bundle.files import diffusion_path
from .host.schema import schema
from .host.sockets import CATEGORY


class Portrait3DLoadBuiltInDiffusion(io.ComfyNode):
    """Hands out the pack's own diffusion model as ordinary ComfyUI objects."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DLoadBuiltInDiffusion",
            display_name="Load Built-in Diffusion",
            category=CATEGORY,
            search_aliases=["demo model", "tiny diffusion", "no-download checkpoint", "test model"],
            description=(
                "The text-to-image model that comes with the pack: tiny, draws computer-made people of 128 x 128 pixels, fast "
                "without a graphics card. Its outputs work with every ComfyUI node; set an Empty Latent Image to 128 x 128."
            ),
            inputs=[],
            outputs=[
                io.Model.Output(display_name="model", tooltip="Diffusion model (v-prediction)."),
                io.Clip.Output(display_name="clip", tooltip="Text encoder with the vocabulary of the built-in heads."),
                io.Vae.Output(display_name="vae", tooltip="Image encoder and decoder, 8 px per latent."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        from .host.built_in_models import load_clip, load_model, load_vae

        folder = diffusion_path()
        return io.NodeOutput(load_model(folder), load_clip(folder), load_vae(folder))
