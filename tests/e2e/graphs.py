"""Graphs and inputs that the tests in ComfyUI are made of."""

import struct
import zlib

QUICK = {
    "KSampler": {"steps": 2},
    "Portrait3DInvertImage": {"steps": 2, "tuning_steps": 1, "alignment": "none"},
    "Portrait3DDistill": {"steps": 2, "preview_every": 1},
    "Portrait3DRefineViews": {"edit_steps": 1, "passes": 1},
    "Portrait3DFitViews": {"passes": 1},
    "Portrait3DRenderViews": {"count": 3, "rows": 1, "resolution": 64},
    "Portrait3DInterpolatePortraits": {"frames": 3, "resolution": 32},
    "Portrait3DRenderOrbit": {"frames": 3, "resolution": 32},
    "Portrait3DExportMesh": {"resolution": 32},
}
"""Smallest budgets: these tests are about the wiring, not about the pictures."""


class Graph:
    """An API-format graph under construction; ``add`` returns what another node's input refers to."""

    def __init__(self):
        self.nodes = {}

    def add(self, kind, **inputs):
        key = str(len(self.nodes) + 1)
        self.nodes[key] = {"class_type": kind, "inputs": inputs}
        return lambda slot=0: [key, slot]


def portrait_graph():
    """A graph with a random portrait and the built-in diffusion model with two texts."""
    graph = Graph()
    generator = graph.add("Portrait3DLoadGenerator", generator="built-in heads")
    portrait = graph.add("Portrait3DRandomPortrait", generator=generator(), seed=3, truncation=0.7)
    diffusion = graph.add("Portrait3DLoadBuiltInDiffusion")
    texts = [graph.add("CLIPTextEncode", clip=diffusion(1), text=text) for text in ("a young woman with long green hair", "")]
    models = {
        "portrait": portrait(),
        "model": diffusion(0),
        "vae": diffusion(2),
        "positive": texts[0](),
        "negative": texts[1](),
    }
    return graph, models


def save(graph, portrait, prefix="portrait3d/test"):
    graph.add("Portrait3DSavePortrait", portrait=portrait, filename_prefix=prefix, half_precision=False)


def write_png(path, side=96):
    """A picture of a bright disc, the roughest head."""
    rows = b"".join(
        b"\0" + b"".join(b"\xd8\xa0\x80" if (x - 48) ** 2 + (y - 44) ** 2 < 900 else b"\x20\x30\x50" for x in range(side))
        for y in range(side)
    )

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
