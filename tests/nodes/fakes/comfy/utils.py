"""Stand-in for ``comfy.utils``: a progress bar that remembers its updates and can press stop."""

updates: list[tuple] = []
stop_after: int | None = None


class InterruptProcessingException(Exception):
    """ComfyUI's is raised from the progress hook in the same way."""


class ProgressBar:
    def __init__(self, total, node_id=None):
        self.total = total

    def update_absolute(self, value, total=None, preview=None):
        updates.append((value, total, preview))
        if stop_after is not None and len(updates) >= stop_after:
            raise InterruptProcessingException
