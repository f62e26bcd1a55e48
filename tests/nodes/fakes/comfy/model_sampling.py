"""Stand-in for ``comfy.model_sampling``."""


class CONST:
    """Mark of flow models."""


class IMG_TO_IMG:
    """Mark of networks that translate images."""
