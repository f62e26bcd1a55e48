"""The typed errors a user can meet. Every message says what was found, what was expected and what to do."""

from __future__ import annotations


class Portrait3DError(Exception):
    """Base of every error this project raises on purpose.

    ``Portrait3DError(found, expected=..., fix=...)`` composes the three parts into one readable message.
    """

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected, fix
        parts = [found.rstrip(".") + "."]
        if expected:
            parts.append(f"Expected: {expected.rstrip('.')}.")
        if fix:
            parts.append(f"What to do: {fix.rstrip('.')}.")
        super().__init__(" ".join(parts))


class ModelFormatError(Portrait3DError):
    """A weight file is truncated, of another format, or does not fit the expected architecture."""


class PortraitFormatError(Portrait3DError):
    """A portrait file is damaged or was written by an incompatible version."""


class ImageError(Portrait3DError):
    """An input image or mask cannot be used (shape, values, empty mask, failed alignment)."""


class GuidanceError(Portrait3DError):
    """The diffusion model, its VAE or its prompts cannot be used together."""


class SettingsError(Portrait3DError, ValueError):
    """A setting is outside its range."""


class OutputError(Portrait3DError):
    """A result cannot be written where it was asked to go."""


class MeshError(Portrait3DError):
    """No usable surface was found at the chosen density level."""


class NumericalError(Portrait3DError):
    """An optimisation produced non-finite numbers several steps in a row."""


class MissingDependencyError(Portrait3DError, ImportError):
    """An optional package is needed for the requested operation."""


class Cancelled(Portrait3DError):
    """Raised by an ``on_step`` callback to stop a stage; stages never catch it."""

    def __init__(self, found: str = "Cancelled by the user") -> None:
        super().__init__(found)
