"""Who may import whom, beside the floors that `test_architecture_page.py` reads from the page."""

from __future__ import annotations

from graphlib import TopologicalSorter
from pathlib import Path

from test_architecture_page import LIBRARY, ROOT, imported_modules, rooms, rooms_imported_by

RESEARCH, MODULE = "research", "CovidLungQuant"


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def top_level_names(file: Path) -> set[str]:
    return {module.partition(".")[0] for module in imported_modules(file)}


def test_no_two_rooms_import_each_other():
    graph = {
        room: set().union(*map(rooms_imported_by, files)) - {room}
        for room, files in rooms().items()
    }
    assert set(TopologicalSorter(graph).static_order()) == set(rooms())


def test_the_library_knows_nothing_of_who_uses_it():
    strangers = {RESEARCH, MODULE, "CovidLungQuantPanel", "Testing", "qt", "ctk"}
    for file in files_of(LIBRARY.name):
        assert not top_level_names(file) & strangers, file


def test_only_mrml_touches_slicer():
    for file in files_of(LIBRARY.name):
        if file.relative_to(LIBRARY).parts[0] != "mrml":
            assert not top_level_names(file) & {"slicer", "vtk"}, file


def test_neither_research_nor_the_module_uses_the_other():
    for file in files_of(RESEARCH):
        assert not top_level_names(file) & {MODULE, "CovidLungQuantPanel", "slicer", "qt"}, file
    for file in files_of(MODULE):
        assert RESEARCH not in top_level_names(file), file
        assert not any(name.startswith(f"{LIBRARY.name}.cli") for name in imported_modules(file))


def test_the_command_line_alone_parses_arguments():
    for file in files_of(LIBRARY.name):
        if file.relative_to(LIBRARY).parts[0] != "cli":
            assert "argparse" not in top_level_names(file), file
