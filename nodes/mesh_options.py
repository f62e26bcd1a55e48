"""Node: what is rarely changed about exported meshes."""

from __future__ import annotations

from comfy_api.latest import io

from .host.mesh_options import DOWN, UP, MeshOptions
from .host.schema import schema
from .host.sockets import CATEGORY, MeshOptionsSocket
from .host.widgets import FROM_PROFILE


class Portrait3DMeshOptions(io.ComfyNode):
    """Options of Export Mesh."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="Portrait3DMeshOptions",
            display_name="Mesh Options",
            category=CATEGORY,
            search_aliases=["unlit material", "cut at the bottom", "point count", "iso level", "gaussian splat orientation"],
            description="Where Export Mesh cuts the surface, how it is lit, and how many points it writes.",
            inputs=[
                io.Float.Input(
                    "level",
                    default=MeshOptions.level,
                    min=0.0,
                    max=10000.0,
                    step=1.0,
                    tooltip="Density at which the surface lies, in 1/m. 0 finds the one that pictures show.",
                ),
                io.Boolean.Input(
                    "largest_only",
                    default=MeshOptions.largest_only,
                    tooltip="Keep only the largest piece, without floating crumbs.",
                ),
                io.Boolean.Input(
                    "unlit",
                    default=MeshOptions.unlit,
                    tooltip=(
                        "GLB: show the colours as they are, because the portrait's light is in them. Off: let the viewer's "
                        "lamps shade the head."
                    ),
                ),
                io.Int.Input(
                    "points",
                    default=MeshOptions.points,
                    min=1000,
                    max=2_000_000,
                    step=1000,
                    tooltip="Number of points or Gaussians of the formats points.ply and gaussians.ply.",
                ),
                io.Float.Input(
                    "bottom",
                    default=MeshOptions.bottom,
                    min=FROM_PROFILE,
                    max=0.5,
                    step=0.01,
                    tooltip=(
                        "Height of the flat cut at the bottom, in metres; 0 is the neck joint. -1 cuts where pictures from the "
                        "front end, about 0.14 m below it."
                    ),
                ),
                io.Combo.Input(
                    "gaussians_up",
                    options=[DOWN, UP],
                    default=MeshOptions.gaussians_up,
                    tooltip="gaussians.ply: y down stands upright in most splatting viewers; y up is like the other formats.",
                ),
            ],
            outputs=[MeshOptionsSocket.Output(display_name="options", tooltip="For the input of the same name.")],
        )

    @classmethod
    def execute(
        cls, level: float, largest_only: bool, unlit: bool, points: int, bottom: float, gaussians_up: str
    ) -> io.NodeOutput:
        return io.NodeOutput(MeshOptions(level, largest_only, unlit, points, bottom, gaussians_up))
