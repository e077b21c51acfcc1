"""The floors of the house: who may import whom, read from every import there is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY, RESEARCH, MODULE = "CovidLungQuantLib", "research", "CovidLungQuant"

# From the ground up. A room imports rooms of the floors below and, on its own floor, those before.
FLOORS = (
    ("progress", "errors", "labels", "terminology", "label_maps", "versions"),
    ("ct", "models", "files"),
    ("anatomy", "lesions"),
    ("measures",),
    ("quantification", "pipeline_extras", "pipeline"),
    ("display", "pages"),
    ("cohort", "mrml", "outputs", "training", "phantom"),
    ("viewer", "cli"),
)
ORDER = [room for floor in FLOORS for room in floor]
# The package itself: everybody may ask it for the version, and it opens doors to rooms above.
FRONT_DOOR = "__init__"

# Imports that run back up, as (file, room); each is to go, and none is to be added.
KNOWN_EXCEPTIONS: set[tuple[str, str]] = set()


def imported_modules(file: Path) -> Iterator[str]:
    """Full names of what a file imports anywhere in it, also for types only."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            yield str(node.module)
            # `from package import module` names a module, too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(module: str) -> str | None:
    """The room of the library that a module belongs to; None where it is not of the library."""
    package, _, rest = module.partition(".")
    if package != LIBRARY:
        return None
    name = rest.partition(".")[0]
    is_room = (ROOT / LIBRARY / name).is_dir() or (ROOT / LIBRARY / f"{name}.py").is_file()
    return name if name and is_room else FRONT_DOOR


def top_level_names(file: Path) -> set[str]:
    return {module.partition(".")[0] for module in imported_modules(file)}


def test_every_room_has_its_floor():
    there = {file.relative_to(ROOT / LIBRARY).parts[0] for file in files_of(LIBRARY)}
    assert {name.removesuffix(".py") for name in there} - {FRONT_DOOR} <= set(ORDER)


def test_no_import_runs_back_up():
    running_up = set()
    for file in files_of(LIBRARY):
        inside = file.relative_to(ROOT / LIBRARY)
        own = inside.parts[0].removesuffix(".py")
        if own == FRONT_DOOR:
            continue
        for room in {room_of(module) for module in imported_modules(file)} - {None, FRONT_DOOR}:
            if ORDER.index(room) > ORDER.index(own):
                running_up.add((inside.as_posix(), room))
    assert running_up == KNOWN_EXCEPTIONS


def test_the_library_knows_nothing_of_who_uses_it():
    strangers = {RESEARCH, MODULE, "CovidLungQuantPanel", "Testing", "qt", "ctk"}
    for file in files_of(LIBRARY):
        assert not top_level_names(file) & strangers, file


def test_only_mrml_touches_slicer():
    for file in files_of(LIBRARY):
        if file.relative_to(ROOT / LIBRARY).parts[0] != "mrml":
            assert not top_level_names(file) & {"slicer", "vtk", "mrml"}, file


def test_neither_research_nor_the_module_uses_the_other():
    for file in files_of(RESEARCH):
        assert not top_level_names(file) & {MODULE, "CovidLungQuantPanel", "slicer", "qt"}, file
    for file in files_of(MODULE):
        assert RESEARCH not in top_level_names(file), file
        assert not any(module.startswith(f"{LIBRARY}.cli") for module in imported_modules(file))
