"""Portrait3D: a text prompt or one photo to a 3D portrait. Read the stages in ``portrait3d_core.stages``."""

__version__ = "0.1.0"
