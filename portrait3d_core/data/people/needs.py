"""The optional packages that making heads needs, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from ...errors import MissingDependencyError


def optional(name: str) -> ModuleType:
    """The module ``name`` of a package in the extra "training".

    Raises MissingDependencyError naming the command that installs it. Trained bundles need none of these packages.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.split(".")[0]
        raise MissingDependencyError(
            f"The package {package} is not installed",
            expected="moderngl and scipy, which draw the heads that networks are trained on",
            fix="run: pip install portrait3d[training]",
        ) from error
