"""Stand-in for ``comfy.patcher_extension``."""


class WrappersMP:
    PREPARE_SAMPLING = "prepare_sampling"
