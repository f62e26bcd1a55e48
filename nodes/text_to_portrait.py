"""Node: a sentence to heads of the generator, at once."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..portrait3d_core.cameras.cameras import frontal_camera
from ..portrait3d_core.checkpoints.prior_file import load_prior
from ..portrait3d_core.diffusion.latent_prior import LatentPrior, PriorSettings
from ..portrait3d_core.rendering.settings import RenderSettings
from ..portrait3d_core.runtime.progress import StepInfo
from ..portrait3d_core.stages.orbit import OrbitSettings, orbit
from ..portrait3d_core.stages.text_heads import text_heads
from .host.folders import file_fingerprint, prior_choices, prior_path
from .host.memory import ManagedGenerator, to_wire
from .host.progress import report_progress, show_text
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket
from .host.widgets import number_input, seed_input

MAX_COUNT = 16
STAGE = "text to portrait"


class Portrait3DTextToPortrait(io.ComfyNode):
    """Draws heads that a sentence describes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DTextToPortrait",
            display_name="Text To Portrait (3D Avatar)",
            category=CATEGORY,
            search_aliases=["text to 3D head", "prompt to avatar", "character creator", "head from text", "PI3D"],
            description=(
                "Makes several different heads from a sentence in seconds, without drawing a picture first. What the sentence "
                "does not say is left to chance; words that are not known are named below the node."
            ),
            inputs=[
                GeneratorSocket.Input("generator", tooltip="From Load 3DPortraitGAN."),
                io.String.Input(
                    "text",
                    default="a young woman with long red hair, green eyes and a blue hoodie",
                    multiline=True,
                    tooltip="Age, skin, hair, eyes, beard, glasses, earrings, clothes, hat, expression.",
                ),
                io.Int.Input("count", default=4, min=1, max=MAX_COUNT, tooltip="How many different heads."),
                seed_input(),
                number_input("cfg", PriorSettings, "guidance", step=0.1),
                number_input("steps", PriorSettings, "steps"),
                io.Combo.Input(
                    "prior",
                    options=prior_choices(),
                    optional=True,
                    tooltip="What knows the generator's heads by words: the built-in one, or a file of models/portrait3d.",
                ),
            ],
            outputs=[
                PortraitSocket.Output(
                    display_name="portraits", tooltip="The heads; what follows runs once for each.", is_output_list=True
                ),
                io.Image.Output(display_name="images", tooltip="Every head from the front."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, prior: str = "", **_: object) -> tuple:
        return file_fingerprint(prior_path(prior)) if prior else ()

    @classmethod
    def execute(
        cls, generator: ManagedGenerator, text: str, count: int, seed: int, cfg: float, steps: int, prior: str = ""
    ) -> io.NodeOutput:
        network, settings = generator.on_device(), PriorSettings(steps, cfg)
        taught = load_prior(prior_path(prior or prior_choices()[0]), network)
        show_text(cls.hidden.unique_id, what_was_read(taught, text))
        heads = text_heads(network, taught, text, count, seed, settings)
        camera, report = frontal_camera(network.config.scene.focal), report_progress()
        looks = OrbitSettings(RenderSettings(resolution=network.config.neural_resolution))
        pictures = []
        for index, head in enumerate(heads):
            pictures.append(orbit(head, camera, looks).rgb)
            report(StepInfo(STAGE, index + 1, count, preview=pictures[-1][0]))
        return io.NodeOutput([to_wire(head) for head in heads], torch.cat(pictures))


def what_was_read(prior: LatentPrior, text: str) -> str:
    """One line: what was understood, read otherwise, or left out."""
    read = prior.read(text)
    notes = [f"Read as: {read.text}"] if read.words else ["Any head"]
    if read.unknown:
        notes.append(f"not known: {', '.join(read.unknown)}")
    return "; ".join(notes)
