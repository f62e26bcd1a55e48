"""Texture: the colours of a mesh as a square picture that is wrapped around it.

Every texel takes the colour of its place on the surface: blended from pictures taken around the head, and where none
of them sees it, the colour along the normal. The rest of the picture continues the colours of its neighbours, so that
viewers may interpolate and shrink it.

Differs from the paper: it has no textured meshes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...portrait.portrait import Portrait
from ...rendering.settings import RenderSettings
from ...runtime.job import QUIET, Job
from ..orbit import OrbitSettings, Views, orbit
from .surface_colours import along_normals, in_views, surface_cameras
from .texture_raster import rasterise
from .texture_unwrap import GUTTER_PX, Atlas, unwrap
from .triangles import Mesh

VIEW_COUNT = 14
_VIEW_SAMPLES = 24
_NORMAL_SAMPLES = 5
_TEXELS_PER_CHUNK = 1 << 18


@torch.no_grad()
def textured(portrait: Portrait, mesh: Mesh, size: int, job: Job = QUIET) -> Mesh:
    """The same mesh, cut along its seams, with ``uvs`` and a ``texture`` of ``size`` x ``size`` texels.

    portrait: the one the mesh was extracted from, in the canonical pose like the mesh.
    job: its ``on_step`` is called for each of the ``VIEW_COUNT`` pictures.

    Raises:
        MeshError: the surface falls into more pieces than the texture has room for.
    """
    atlas = unwrap(mesh.vertices, mesh.faces, size)
    cut = replace(
        mesh,
        vertices=mesh.vertices[atlas.vertex],
        faces=atlas.faces,
        colours=mesh.colours[atlas.vertex],
        normals=mesh.normals[atlas.vertex],
        uvs=atlas.uvs,
    )
    views = _views(portrait, size, job)
    bottom = float(mesh.vertices[:, 1].min())
    return replace(cut, texture=_bake(portrait, cut, atlas, views, bottom, size))


def _views(portrait: Portrait, size: int, job: Job) -> Views:
    """Pictures from around, with as many pixels as the tri-grid has cells (the frame is smaller than its box)."""
    resolution = min(max(portrait.trigrid.levels), size // 2)
    rays = RenderSettings(resolution=resolution, coarse_samples=_VIEW_SAMPLES, fine_samples=_VIEW_SAMPLES)
    return orbit(portrait, surface_cameras(portrait.scene), OrbitSettings(rays, background=False), job)


def _bake(portrait: Portrait, mesh: Mesh, atlas: Atlas, views: Views, bottom: float, size: int) -> Tensor:
    """The texture [size, size, 3], sRGB 0..1."""
    fragments = rasterise(atlas.uvs[atlas.faces] * size, size, size)
    texels = torch.zeros(size * size, 3)
    known = torch.zeros(size * size, 1)
    for part in torch.arange(len(fragments.pixel)).split(_TEXELS_PER_CHUNK):
        corners, weights = atlas.faces[fragments.face[part]], fragments.weights[part, :, None]
        points = (mesh.vertices[corners] * weights).sum(1)
        normals = F.normalize((mesh.normals[corners] * weights).sum(1), dim=1)
        inner = along_normals(portrait, points, normals, bottom, _NORMAL_SAMPLES)
        texels[fragments.pixel[part]] = in_views(views, points, normals, inner)
        known[fragments.pixel[part]] = 1
    image, mask = (rearrange(values, "(row column) c -> 1 c row column", row=size) for values in (texels, known))
    for _ in range(GUTTER_PX):  # each chart into its own gutter first, before the neighbours' colours come in
        image, mask = _grown(image, mask)
    return rearrange(filled(image, mask), "1 rgb row column -> row column rgb").contiguous()


def _grown(image: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """``image`` [1, C, H, W] and ``known`` [1, 1, H, W] with one more ring of pixels, the mean of their known neighbours."""
    share = F.avg_pool2d(known, 3, stride=1, padding=1)
    means = F.avg_pool2d(image * known, 3, stride=1, padding=1) / share.clamp_min(1e-9)
    return torch.where(known > 0, image, means), (share > 0).to(known)


def filled(image: Tensor, known: Tensor) -> Tensor:
    """``image`` [1, C, H, W] with every pixel where ``known`` [1, 1, H, W] is 0 replaced by the mean of the known ones of
    the smallest block around it (2 x 2, 4 x 4, ...) that has any."""
    if not bool((known == 0).any()) or not bool(known.any()):
        return image
    share = F.avg_pool2d(known, 2, ceil_mode=True)
    means = F.avg_pool2d(image * known, 2, ceil_mode=True) / share.clamp_min(1e-9)
    coarse = filled(means, (share > 0).to(known))
    enlarged = coarse.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., : image.shape[2], : image.shape[3]]
    return torch.where(known > 0, image, enlarged)
