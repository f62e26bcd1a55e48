"""Node: several seeds, so that what follows runs once for each."""

from __future__ import annotations

from comfy_api.latest import io

from ..portrait3d_core.runtime.settings import MAX_SEED, check_seed
from .host.schema import schema
from .host.sockets import CATEGORY
from .host.widgets import seed_input

MAX_COUNT = 64


class Portrait3DSeeds(io.ComfyNode):
    """Counts seeds up."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DSeeds",
            display_name="Several Seeds",
            category=CATEGORY,
            search_aliases=["seed list", "batch of seeds", "variations", "seed grid"],
            description=(
                "Gives several seeds in a row. Connect it to the seed of another node: that node and all that follow run once "
                "for every seed, and previews show all results."
            ),
            inputs=[
                seed_input(),
                io.Int.Input("count", default=4, min=1, max=MAX_COUNT, tooltip="How many seeds: seed, seed + 1, and so on."),
            ],
            outputs=[io.Int.Output(display_name="seeds", tooltip="The seeds, one run each.", is_output_list=True)],
        )

    @classmethod
    def execute(cls, seed: int, count: int) -> io.NodeOutput:
        check_seed(seed)
        return io.NodeOutput([(seed + index) % (MAX_SEED + 1) for index in range(count)])
