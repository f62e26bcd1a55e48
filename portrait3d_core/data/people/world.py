"""The world of human heads behind the contract of ``portrait3d_core.data.world``."""

from __future__ import annotations

import numpy as np

from ...cameras.cameras import Cameras
from ..world import Views
from .attributes import MATERIALS
from .captions import caption
from .head import Builder
from .meshes import Part
from .person import Person, Split, code_names, person_from_json
from .renderer import Renderer, Samples, averaged
from .sampling import sample_person


class People:
    """Human heads, drawn with one OpenGL context. The last head that was built is kept.

    Raises MissingDependencyError when it is made where moderngl, scipy or a driver is missing.
    """

    parts = tuple(part.name.lower() for part in Part)

    def __init__(self) -> None:
        self._renderer = Renderer()
        self._builder = Builder(self._renderer)
        self._loaded: Person | None = None

    @property
    def code_names(self) -> tuple[str, ...]:
        """What each number of a code stands for."""
        return code_names()

    def sample(self, seed: int, split: Split = "generator") -> Person:
        """See ``sampling.sample_person``."""
        return sample_person(seed, split)

    def read(self, text: str) -> Person:
        """Inverse of ``Person.to_json``."""
        return person_from_json(text)

    def caption(self, head: Person, view: str | None = None) -> str:
        """The canonical caption."""
        return caption(head, view)

    def views(self, head: Person, cameras: Cameras, resolution: int, supersample: int = 1) -> Views:
        """Exact pictures of a person; see ``Views`` for shapes and ranges."""
        shots = [averaged(s, supersample) for s in self.samples(head, cameras, resolution * supersample)]
        colour, mask, depth, normal, part = (np.stack(x) for x in zip(*shots))
        return Views(colour, mask, depth, normal, part)

    def samples(self, head: Person, cameras: Cameras, n: int) -> list[Samples]:
        """One sample per pixel of n x n pixels from every camera: what ``views`` averages."""
        if head != self._loaded:
            built = self._builder.build(head)
            self._renderer.load(built.mesh, built.uniforms, MATERIALS.index(head.material))
            self._loaded = head
        cam2world, intrinsics = cameras.cam2world.double().numpy(), cameras.intrinsics.double().numpy()
        return [self._renderer.draw(m, k, n) for m, k in zip(cam2world, intrinsics)]
