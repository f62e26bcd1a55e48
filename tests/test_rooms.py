"""The order of the core's rooms: a room imports only from rooms above it (docs/architecture.md)."""

import ast
from pathlib import Path

CORE = Path(__file__).resolve().parents[1] / "portrait3d_core"
ORDER = """
errors
runtime
cameras body audio faces
portrait
rendering generator diffusion
checkpoints
guidance optimisation
stages
presets data bundle
pipeline training evaluation
cli
""".split("\n")[1:-1]
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms.split()}
ALLOWED: set[tuple[str, str]] = set()
"""(file, room) of imports that are still to go."""


def imported_rooms(path):
    """Rooms that a file of the core imports from, ``TYPE_CHECKING`` blocks and imports inside functions included."""
    package = ("portrait3d_core", *path.relative_to(CORE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            origin = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            yield from [origin[1]] if origin[1:] != ("",) else [alias.name for alias in node.names]


def test_imports_run_from_later_rooms_to_earlier_ones():
    breaches = set()
    for path in CORE.rglob("*.py"):
        own = path.relative_to(CORE).parts[0].removesuffix(".py")
        for room in imported_rooms(path):
            if own in RANK and room in RANK and own != room and RANK[room] >= RANK[own]:
                breaches.add((path.relative_to(CORE).as_posix(), room))
    assert breaches == ALLOWED


def imported_files(path):
    """Files of the core that a file imports from, inside functions and ``TYPE_CHECKING`` blocks too."""
    package = CORE.joinpath(*path.relative_to(CORE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        origin = package.joinpath(*[".."] * (node.level - 1), *(node.module or "").split(".")).resolve()
        for found in (origin.with_suffix(".py"), *(origin / f"{alias.name}.py" for alias in node.names)):
            if found.exists():
                yield found


def test_no_file_imports_itself_in_a_circle():
    left = {path: set(imported_files(path)) for path in CORE.rglob("*.py")}
    while free := {path for path, needed in left.items() if not needed & left.keys()}:
        left = {path: needed for path, needed in left.items() if path not in free}
    assert sorted(path.relative_to(CORE).as_posix() for path in left) == []


def test_the_root_holds_the_front_door_and_nothing_else():
    assert {path.stem for path in CORE.glob("*.py")} == {"__init__", "errors", "pipeline", "cli"}
