"""ComfyUI-Portrait3D: text or one photo to a 3D portrait, as ComfyUI nodes.

ComfyUI imports this package and awaits :func:`comfy_entrypoint`; nothing else happens at import, so the package
can also be imported where there is no ComfyUI. The nodes are listed in ``nodes/__init__.py``.
"""

from __future__ import annotations

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint():
    """The extension object ComfyUI asks for: every node of the pack that can be imported."""
    from comfy_api.latest import ComfyExtension

    from .nodes import load_nodes
    from .nodes.host.folders import register_model_folder

    class Portrait3DExtension(ComfyExtension):
        async def get_node_list(self):
            return load_nodes()

    register_model_folder()
    return Portrait3DExtension()
