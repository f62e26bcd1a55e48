"""The pack's own wire types and the menu category."""

from __future__ import annotations

from comfy_api.latest import io

CATEGORY = "Portrait3D"

PortraitSocket = io.Custom("PORTRAIT3D")
"""Carries a :class:`portrait3d_core.portrait.portrait.Portrait` of one identity, on the CPU, never modified in place."""

GeneratorSocket = io.Custom("PORTRAIT3D_GENERATOR")
"""Carries a :class:`.memory.ManagedGenerator`."""

ViewerCameraSocket = io.Custom("LOAD3D_CAMERA")
"""ComfyUI's: the camera of a 3D viewer as a dictionary, see portrait3d_core/cameras/three_js.py."""

LandmarksSocket = io.Custom("FACE_LANDMARKS")
"""Newer ComfyUI's: face landmarks, see portrait3d_core/stages/align/landmarks.py."""

CamerasSocket = io.Custom("PORTRAIT3D_CAMERAS")
"""Carries :class:`portrait3d_core.cameras.cameras.Cameras`, on the CPU."""

RenderOptionsSocket = io.Custom("PORTRAIT3D_RENDER_OPTIONS")
"""Carries :class:`.looks.RenderOptions`."""

ViewControlSocket = io.Custom("PORTRAIT3D_CONTROL")
"""Carries :class:`.control.ViewControl`, or None for no ControlNet."""

MeshOptionsSocket = io.Custom("PORTRAIT3D_MESH_OPTIONS")
"""Carries :class:`.mesh_options.MeshOptions`."""
