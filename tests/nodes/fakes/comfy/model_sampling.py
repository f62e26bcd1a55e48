"""Stand-in for ``comfy.model_sampling``."""


class CONST:
    """Mark of flow models."""
