"""First import of the scripts that ComfyUI's Python runs: ``script.py PACK COMFYUI`` makes both importable (pack: ``pack``)."""

import importlib.util
import sys
from pathlib import Path

PACK, COMFYUI = Path(sys.argv[1]), sys.argv[2]
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, COMFYUI)

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import utils.install_util  # noqa: E402, F401  (before some library brings a module of the same name)

spec = importlib.util.spec_from_file_location("pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
sys.modules["pack"] = importlib.util.module_from_spec(spec)
