"""Node: a 3D head generator from disk."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.checkpoints.generator_loading import read_generator_file
from .host.folders import file_fingerprint, generator_choices, generator_path, user_folder
from .host.memory import ManagedGenerator, autograd
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket


class Portrait3DLoadGenerator(io.ComfyNode):
    """Reads generator weights and hands them to ComfyUI's memory manager."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DLoadGenerator",
            display_name="Load 3DPortraitGAN",
            category=CATEGORY,
            search_aliases=["3D head model", "3DPortraitGAN", "EG3D", "GAN loader", "model_512.pkl"],
            description=(
                "Loads a 3D head generator. Published 3DPortraitGAN and 3DPortraitGAN-Pyramid files (.pkl) work as they "
                "are: the first use converts them, without running any code in them. The built-in heads need no files."
            ),
            inputs=[
                io.Combo.Input(
                    "generator",
                    options=generator_choices(),
                    tooltip="A .safetensors or .pkl file of models/portrait3d, or the people that come with the pack.",
                ),
                io.Boolean.Input(
                    "body_model",
                    default=False,
                    optional=True,
                    tooltip="Keep the SMPL arrays of a .pkl, which posing the neck needs. They have their own licence.",
                ),
            ],
            outputs=[GeneratorSocket.Output(display_name="generator", tooltip="The 3D head generator.")],
        )

    @classmethod
    def fingerprint_inputs(cls, generator: str, body_model: bool = False) -> tuple:
        return file_fingerprint(generator_path(generator))

    @classmethod
    def execute(cls, generator: str, body_model: bool = False) -> io.NodeOutput:
        with autograd():
            network, discriminator = read_generator_file(generator_path(generator), user_folder(), keep_body=body_model)
        return io.NodeOutput(ManagedGenerator.of(network, generator, discriminator))
