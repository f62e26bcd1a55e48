"""What each room of the house may know of the others."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "portrait3d_core").rglob("*.py"))
NODES = sorted((ROOT / "nodes").rglob("*.py"))
HEAVY = {"PIL", "av", "trimesh", "mcubes", "skimage", "diffusers", "transformers", "scipy", "safetensors"}
HOST = {"comfy", "comfy_api", "folder_paths", "server", "nodes"}


def imported_names(path: Path, *, top_level_only: bool) -> set[str]:
    """First components of absolutely imported modules; ``if TYPE_CHECKING:`` blocks do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_core_never_imports_its_host(path):
    assert not imported_names(path, top_level_only=False) & HOST


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_core_imports_heavy_packages_only_inside_functions(path):
    assert not imported_names(path, top_level_only=True) & HEAVY


@pytest.mark.parametrize("path", [*CORE, *NODES], ids=lambda p: str(p.relative_to(ROOT)))
def test_nothing_executes_or_unpickles(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not {f.id for f in calls if isinstance(f, ast.Name)} & {"eval", "exec", "compile", "__import__"}
    dotted = {ast.unparse(f) for f in calls if isinstance(f, ast.Attribute)}
    assert not dotted & {"torch.load", "pickle.load", "pickle.loads", "os.system", "subprocess.run", "subprocess.Popen"}


@pytest.mark.parametrize("path", NODES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nodes_reach_the_core_beside_them(path):
    """ComfyUI knows the pack by its folder's path; an installed core of another version must not slip in."""
    assert "portrait3d_core" not in imported_names(path, top_level_only=False)


def test_importing_the_stages_stays_light():
    """Nothing but torch and the standard library is loaded before a stage runs."""
    code = (
        "import sys, torch; before = set(sys.modules)\n"
        "import portrait3d_core.checkpoints.portrait_file, portrait3d_core.generator.generator\n"
        "import portrait3d_core.stages.distill, portrait3d_core.stages.invert.invert\n"
        "import portrait3d_core.stages.refine.refine, portrait3d_core.stages.mesh.mesh\n"
        f"print(sorted({{m.split('.')[0] for m in set(sys.modules) - before}} & {HEAVY!r}))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert result.stdout.strip() == "[]"
