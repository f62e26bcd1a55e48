"""Portrait3D: a sentence or one photo to a 3D portrait.

The front door: what scripts are meant to import stands in ``__all__`` and only grows. Everything is loaded when it is first
asked for, so that importing the package costs nothing. The rooms behind it are described in docs/architecture.md; the whole
road is :mod:`portrait3d_core.pipeline`, and each of its steps one function of :mod:`portrait3d_core.stages`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_ROOMS = {
    "cameras.cameras": ("Cameras", "frontal_camera", "orbit_cameras"),
    "cameras.paths": ("sway", "turntable"),
    "checkpoints.generator_file": ("save_generator",),
    "checkpoints.generator_loading": ("load_generator",),
    "checkpoints.latent_file": ("load_latent", "save_latent"),
    "checkpoints.portrait_file": ("load_portrait", "save_portrait"),
    "diffusion.diffusers_model": ("load_diffusion_model",),
    "diffusion.model": ("DiffusionModel",),
    "errors": ("Cancelled", "Portrait3DError"),
    "generator.generator": ("Generator",),
    "pipeline": ("Networks", "Outcome", "built_in_networks", "photo_to_portrait", "text_to_portrait"),
    "portrait.portrait": ("Portrait",),
    "portrait.region": ("Region",),
    "portrait.residual": ("Residual",),
    "presets": ("PROFILES",),
    "presets.profile": ("Profile",),
    "rendering.render": ("Rendering", "render"),
    "rendering.settings": ("RenderSettings",),
    "runtime.images": ("write_png", "write_video"),
    "runtime.job": ("Job",),
    "runtime.pictures": ("read_image",),
    "runtime.progress": ("StepInfo",),
    "stages.distill": ("DistillSettings", "distill"),
    "stages.invert.invert": ("Inversion", "Photo", "invert"),
    "stages.invert.settings": ("InvertSettings",),
    "stages.latents": ("random_portrait",),
    "stages.mesh.mesh": ("MeshSettings", "extract_mesh", "save_mesh"),
    "stages.orbit": ("OrbitSettings", "Views", "orbit"),
    "stages.pose": ("PoseSettings", "pose_portrait"),
    "stages.refine.refine": ("refine",),
    "stages.refine.settings": ("RefineSettings",),
    "stages.text_heads": ("text_heads",),
}
"""Where the names of the front door are defined."""
_HOME = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = ["__version__", *sorted(_HOME)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
