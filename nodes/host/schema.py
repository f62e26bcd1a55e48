"""A node's description for ComfyUI cores of different age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from comfy_api.latest import io


def schema(*, search_aliases: Sequence[str], **described: Any) -> io.Schema:
    """``io.Schema`` of ``described``, with other words under which the search finds the node where the core knows them.

    Cores up to 0.3.64 raise TypeError on ``search_aliases``; newer ones show the node for any of them.
    """
    if "search_aliases" in {field.name for field in fields(io.Schema)}:
        described["search_aliases"] = list(search_aliases)
    return io.Schema(**described)
