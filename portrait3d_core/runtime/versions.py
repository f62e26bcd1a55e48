"""Versions that influence a result."""

from __future__ import annotations

import platform

import torch

from .. import __version__


def current_versions() -> dict[str, str]:
    """Of this package, torch and Python, by name."""
    return {"portrait3d": __version__, "torch": torch.__version__, "python": platform.python_version()}
