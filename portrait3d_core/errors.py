"""The typed errors a user can meet. Every message says what was found, what was expected and what to do."""

from __future__ import annotations


class Portrait3DError(Exception):
    """Base of every error this project raises on purpose.

    ``Portrait3DError(found, expected=..., fix=...)`` composes the three parts into one readable message. What a message does
    not say, its type says in general. docs/troubleshooting.md lists what users meet.
    """

    usual_expected = ""
    usual_fix = ""

    def __init__(self, found: str, *, expected: str = "", fix: str = "") -> None:
        self.found, self.expected, self.fix = found, expected or self.usual_expected, fix or self.usual_fix
        parts = [found.rstrip(".") + "."]
        if self.expected:
            parts.append(f"Expected: {self.expected.rstrip('.')}.")
        if self.fix:
            parts.append(f"What to do: {self.fix.rstrip('.')}.")
        super().__init__(" ".join(parts))


class ModelFormatError(Portrait3DError):
    """A weight file is truncated, of another format, or does not fit the expected architecture."""

    usual_expected = "a complete weight file of a kind that the README lists"
    usual_fix = "download the file again, or choose another one"


class PortraitFormatError(Portrait3DError):
    """A portrait file is damaged or was written by an incompatible version."""

    usual_expected = "a file that this project has saved"
    usual_fix = "choose another file, or save it again"


class ImageError(Portrait3DError):
    """An input image or mask cannot be used (shape, values, empty mask, failed alignment)."""

    usual_expected = "pictures of a person, and masks of the same size"
    usual_fix = "choose another picture"


class GuidanceError(Portrait3DError):
    """The diffusion model, its VAE or its prompts cannot be used together."""

    usual_expected = "a MODEL, VAE and conditionings that belong together"
    usual_fix = "load all three from the same checkpoint"


class SettingsError(Portrait3DError, ValueError):
    """A setting is outside its range."""

    usual_expected = "a value within the setting's range"
    usual_fix = "change that setting"


class OutputError(Portrait3DError):
    """A result cannot be written where it was asked to go."""

    usual_expected = "a folder with write permission and free space"
    usual_fix = "choose another output folder or free some space"


class MeshError(Portrait3DError):
    """No usable surface was found at the chosen density level."""

    usual_expected = "a portrait with a head in it, and a format that the node lists"
    usual_fix = "leave the level to the program, or choose another format"


class NumericalError(Portrait3DError):
    """An optimisation produced non-finite numbers several steps in a row."""

    usual_expected = "finite numbers"
    usual_fix = "use float32, or lower the learning rate or the guidance scale"


class TooLittleMemoryError(Portrait3DError, MemoryError):
    """A step does not fit in memory, even with the fewest rays at once."""

    usual_expected = "more free memory"
    usual_fix = "lower resolution, samples or views, or close other programs"


class MissingDependencyError(Portrait3DError, ImportError):
    """An optional package is needed for the requested operation."""

    usual_expected = "the optional package that this needs"
    usual_fix = "install it into the Python that runs this program"


class Cancelled(Portrait3DError):
    """Raised by an ``on_step`` callback to stop a stage; stages never catch it."""

    def __init__(self, found: str = "Cancelled by the user") -> None:
        super().__init__(found)
