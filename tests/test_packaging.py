"""What is installed, published and run by others: requirements, archive, workflow files, imports."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ARCHIVE_LIMIT_BYTES = 50_000_000
PATH_LIMIT = 100
"""Characters below the repository's root; Windows allows about 260 including the folders above it."""
SHIPPED = {"__init__.py", "pyproject.toml", "requirements.txt", "README.md", "LICENSE"}
SHIPPED_FOLDERS = {"nodes", "portrait3d_core", "web", "locales", "workflows"}
LEFT_OUT = {"tests", "benchmarks", ".ci", ".github"}


def git_files(*arguments: str) -> set[str]:
    """Tracked files; skips outside of a git checkout."""
    listed = subprocess.run(["git", "ls-files", "-z", *arguments], cwd=ROOT, capture_output=True, encoding="utf-8")
    if listed.returncode or not listed.stdout and not arguments:
        pytest.skip("not a git checkout")
    return set(filter(None, listed.stdout.split("\0")))


def archive_files() -> set[str]:
    """What ``comfy node pack`` puts into the archive: tracked files without those that .comfyignore names."""
    return git_files() - git_files("--cached", "--ignored", "--exclude-from=.comfyignore")


def project() -> dict:
    return pytest.importorskip("tomllib").loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def readme_command(name: str) -> str:
    """The shell command below ``<!-- command: name -->``."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- command: {name} -->\n```sh\n(.*?)\n```", text, re.S)[1]


def test_requirements_equal_the_projects_dependencies():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line.replace('"', "'") for line in lines if line and not line.startswith("#")]
    assert requirements == project()["project"]["dependencies"]


def test_requirements_pin_nothing_and_leave_comfyuis_own_packages_alone():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8").lower()
    assert not re.search(r"==|~=|(?<!python_version )<", text)
    assert not re.search(r"^(torch|numpy|transformers|safetensors|pillow|av|scipy)\b", text, re.M)


def test_the_archive_is_small_and_complete():
    files = archive_files()
    size = sum((ROOT / name).stat().st_size for name in files if (ROOT / name).exists())
    print(f"archive: {len(files)} files, {size / 1e6:.1f} MB before compression")
    assert size <= ARCHIVE_LIMIT_BYTES
    assert files >= SHIPPED
    tops = {name.split("/")[0] for name in files}
    assert tops >= SHIPPED_FOLDERS and not tops & LEFT_OUT
    shipped = {name for name in git_files() if name.split("/")[0] in SHIPPED_FOLDERS}
    assert shipped <= files


def test_file_names_work_on_every_system():
    files = git_files() | git_files("--others", "--exclude-standard")
    assert [name for name in files if len(name) > PATH_LIMIT] == []
    assert [name for name in files if re.search(r'[<>:"\\|?*]|[ .]$|[^ -~]', name)] == []
    assert len({name.lower() for name in files}) == len(files)


def test_there_are_workflow_files():
    assert {path.stem for path in WORKFLOWS} == {"test", "publish"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_permissions_minimal(path):
    yaml = pytest.importorskip("yaml")
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses:\s*(\S+)", text)
    assert used and all(re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", action) for action in used)
    assert "pull_request_target" not in text and "workflow_run" not in text
    flow = yaml.safe_load(text)
    assert flow["permissions"] == {}
    for job in flow["jobs"].values():
        assert job["permissions"] == {"contents": "read"} and job["timeout-minutes"] <= 90
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"] == {"persist-credentials": False} for step in checkouts)
        assert not any("${{ github.event" in step.get("run", "") for step in job["steps"])


def test_publishing_uses_no_cache_and_only_its_own_secret():
    text = (ROOT / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert not re.search(r"\bcache:|actions/cache", text)
    assert re.findall(r"secrets\.(\w+)", text) == ["COMFY_REGISTRY_TOKEN"]


def test_all_supported_systems_and_pythons_run_the_readmes_test_command():
    yaml = pytest.importorskip("yaml")
    job = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    assert [name.split("-")[0] for name in matrix["os"]] == ["ubuntu", "windows", "macos"]
    assert project()["project"]["requires-python"] == ">=3.10,<3.14"
    assert matrix["python"] == ["3.10", "3.11", "3.12", "3.13"]
    posix, windows = [step["run"] for step in job["steps"] if "run" in step]
    assert posix == readme_command("test")
    assert windows.replace("python -m venv", "py -m venv") in (ROOT / "README.md").read_text(encoding="utf-8")


def test_importing_every_node_is_quick_and_loads_no_other_package():
    """Measured on top of torch and stand-ins for ComfyUI; the budget of 0.2 s is for a quiet processor."""
    command = [sys.executable, str(ROOT / "tests" / "import_cost.py"), str(ROOT / "tests" / "nodes" / "fakes")]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stderr[-2000:]
    complete, wall_s, cpu_s, loaded = json.loads(result.stdout.splitlines()[-1])
    print(f"import of all nodes: {wall_s:.3f} s, {cpu_s:.3f} s of processor time")
    assert complete, result.stderr
    assert set(loaded) <= sys.stdlib_module_names
    assert cpu_s < 2.0


def test_git_changes_no_byte_of_the_shipped_weights_on_windows():
    """Their checksums are those of the repository; Git for Windows would write other line ends into what it takes for text."""
    bundle = sorted(name for name in git_files() if name.startswith("portrait3d_core/bundle/"))
    assert any(name.endswith(".json") for name in bundle)
    asked = subprocess.run(["git", "check-attr", "text", "--", *bundle], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert [line for line in asked.stdout.splitlines() if not line.endswith("text: unset")] == []
