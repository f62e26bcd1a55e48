"""Node: keep a head as its latent."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.checkpoints.latent_file import save_latent
from ..portrait3d_core.errors import SettingsError
from ..portrait3d_core.portrait.portrait import Portrait
from ..portrait3d_core.stages.latents import edit_share
from .host.folders import EXTENSION, LATENT_SUBFOLDER, new_output_file
from .host.history import FILES, written_files
from .host.memory import ManagedGenerator
from .host.progress import show_text
from .host.schema import schema
from .host.sockets import CATEGORY, GeneratorSocket, PortraitSocket

WORTH_MENTIONING = 0.02
"""Share of edits above which the user is told that the file lacks them; half-precision files alone stay far below."""


class Portrait3DSaveLatent(io.ComfyNode):
    """Writes a latent file into the output folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DSaveLatent",
            display_name="Save Portrait Latent",
            category=CATEGORY,
            search_aliases=["save w vector", "save latent code", "store seed head"],
            description=(
                "Saves the latent of a portrait: a few kilobytes from which the same generator makes the head again. Edits "
                "made after sampling or inversion are not part of it; Save Portrait keeps those."
            ),
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                GeneratorSocket.Input("generator", tooltip="The generator that the portrait was made with."),
                PortraitSocket.Input("portrait", tooltip="The portrait whose latent is saved."),
                io.String.Input(
                    "filename_prefix",
                    default=f"{LATENT_SUBFOLDER}/latent",
                    tooltip=f"Folder and start of the file name. Load Portrait Latent lists output/{LATENT_SUBFOLDER}.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="The file, relative to the output folder.")],
        )

    @classmethod
    def execute(cls, generator: ManagedGenerator, portrait: Portrait, filename_prefix: str) -> io.NodeOutput:
        if portrait.w_plus is None:
            raise SettingsError(
                "The portrait has no latent",
                expected="a portrait that was sampled or inverted with the generator",
                fix="use Save Portrait, or invert a picture of its front with Invert Image to Portrait",
            )
        network = generator.on_device()
        lacking = edit_share(network, portrait)
        file = new_output_file(filename_prefix, EXTENSION)
        save_latent(portrait.w_plus, network, file.path)
        remark = f" (without the edits, {lacking:.0%} of the portrait)" if lacking > WORTH_MENTIONING else ""
        show_text(cls.hidden.unique_id, f"output/{file.relative}{remark}")
        return io.NodeOutput(file.relative, ui=written_files(FILES, file.relative + remark, [file.path]))
