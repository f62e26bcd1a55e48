"""Stand-in for ComfyUI's V3 node API, v0.3.64. Unknown arguments raise TypeError, as they do there."""

from . import io


class ComfyExtension:
    async def on_load(self):
        pass


class _VideoComponents:
    def __init__(self, images, frame_rate, audio=None):
        self.images, self.frame_rate, self.audio = images, frame_rate, audio


class Types:
    VideoComponents = _VideoComponents


class InputImpl:
    class VideoFromComponents:
        def __init__(self, components):
            self.components = components


__all__ = ["ComfyExtension", "InputImpl", "Types", "io"]
