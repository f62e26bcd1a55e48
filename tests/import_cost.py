"""Run as a program with ComfyUI's folder (or that of the stand-ins): what importing every node of the pack costs.

Prints JSON: whether all nodes came, seconds, seconds of processor time, first names of the modules that were loaded
besides the pack's and ComfyUI's own.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOST = Path(sys.argv[1])
sys.argv = ["main.py", "--cpu"]
sys.path.insert(0, str(HOST))

if (HOST / "comfy" / "options.py").exists():
    import comfy.options

    comfy.options.enable_args_parsing()
    import utils.extra_config  # noqa: F401  (before another package called utils)

import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.utils  # noqa: E402
import einops  # noqa: E402, F401
import folder_paths  # noqa: E402, F401
import numpy  # noqa: E402, F401
import PIL.Image  # noqa: E402, F401
import server  # noqa: E402, F401
import torch  # noqa: E402, F401
from comfy_api.latest import io  # noqa: E402, F401

before, wall, cpu = set(sys.modules), time.perf_counter(), time.process_time()
spec = importlib.util.spec_from_file_location("pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
sys.modules["pack"] = pack = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)

from pack.nodes import NODES, load_nodes  # noqa: E402
from pack.nodes.host.folders import register_model_folder  # noqa: E402

register_model_folder()
complete = len(load_nodes()) == len(NODES)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
loaded = {name.split(".")[0] for name in set(sys.modules) - before} - {"pack", "comfy"}
print(json.dumps([complete, wall, cpu, sorted(loaded)]))
