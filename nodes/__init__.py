"""The ComfyUI nodes, one module per verb. Start reading here: the table below names them all.

A node checks its inputs, calls one function of ``portrait3d_core`` and wraps the result; it does no maths.
"""

from __future__ import annotations

import logging
from importlib import import_module

NODES = {
    "load_generator": "Portrait3DLoadGenerator",
    "random_portrait": "Portrait3DRandomPortrait",
    "invert_image": "Portrait3DInvertImage",
    "distill": "Portrait3DDistill",
    "refine_views": "Portrait3DRefineViews",
    "fit_views": "Portrait3DFitViews",
    "render_orbit": "Portrait3DRenderOrbit",
    "export_mesh": "Portrait3DExportMesh",
    "save_portrait": "Portrait3DSavePortrait",
    "load_portrait": "Portrait3DLoadPortrait",
    "load_built_in_diffusion": "Portrait3DLoadBuiltInDiffusion",
    "interpolate": "Portrait3DInterpolatePortraits",
    "mix_styles": "Portrait3DMixStyles",
    "save_latent": "Portrait3DSaveLatent",
    "load_latent": "Portrait3DLoadLatent",
    "view_prompts": "Portrait3DViewPrompts",
    "pose_portrait": "Portrait3DPosePortrait",
    "render_views": "Portrait3DRenderViews",
    "seeds": "Portrait3DSeeds",
    "text_to_portrait": "Portrait3DTextToPortrait",
    "render_options": "Portrait3DRenderOptions",
    "view_control": "Portrait3DViewControl",
    "mesh_options": "Portrait3DMeshOptions",
}
"""Module of this package: node class in it. The class name is also the node id that saved workflows hold."""


def load_nodes() -> list[type]:
    """Every node class that can be imported and described; one that cannot is reported once and left out."""
    found = []
    for module, name in NODES.items():
        try:
            node = getattr(import_module(f".{module}", __package__), name)
            node.define_schema()  # ComfyUI gives up the rest of a pack at the first node that cannot describe itself
            found.append(node)
        except Exception as error:  # one broken module must not take the other nodes with it
            logging.warning("ComfyUI-Portrait3D: node %s is not available: %s: %s", name, type(error).__name__, error)
    return found
