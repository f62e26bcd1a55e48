"""A node for the soak's own ComfyUI: has glibc give all freed memory back to the system, so that what is left is in use."""

import ctypes
import gc


class GiveBackMemory:
    """Freed memory otherwise stays with the process until all above it in the heap is free as well."""

    RETURN_TYPES = ()
    FUNCTION = "run"
    OUTPUT_NODE = True
    CATEGORY = "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"number": ("INT", {"default": 0, "max": 10**6})}}

    def run(self, number):
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        return {"ui": {}}


NODE_CLASS_MAPPINGS = {"GiveBackMemory": GiveBackMemory}
