"""Stand-in for ComfyUI's command line."""

from types import SimpleNamespace

args = SimpleNamespace(disable_metadata=False)
