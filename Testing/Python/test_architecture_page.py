"""The page on the house says what is: its floors are those of the imports, its files are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "CovidLungQuantLib"
PAGE = ROOT / "Docs" / "architecture.md"
# The package itself offers its four functions and its version to everyone.
PACKAGE = "__init__"


def floors() -> list[list[str]]:
    """Rooms of each floor, the ground first, as the page's table lists them."""
    table = PAGE.read_text(encoding="utf-8").split("## The floors")[1].split("\nOutside")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|")]
    return [re.findall(r"`(\w+)`", row) for row in rows if "`" in row]


@cache
def rooms() -> dict[str, list[Path]]:
    """Files of each room: a folder of the library, or a file beside the folders."""
    found: dict[str, list[Path]] = {}
    for file in LIBRARY.rglob("*.py"):
        parts = file.relative_to(LIBRARY).parts
        found.setdefault(parts[0] if len(parts) > 1 else file.stem, []).append(file)
    found.pop(PACKAGE)
    return found


def imported_modules(file: Path) -> Iterator[str]:
    """Full names of all that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@cache
def rooms_imported_by(file: Path) -> set[str]:
    parts = (name.split(".") for name in imported_modules(file))
    return {part[1] for part in parts if part[0] == LIBRARY.name and len(part) > 1} & rooms().keys()


def test_the_table_names_every_room_once():
    assert sorted(room for floor in floors() for room in floor) == sorted(rooms())


@pytest.mark.parametrize("room", sorted(rooms()))
def test_a_room_imports_from_the_floors_before_it_only(room):
    height = {name: number for number, floor in enumerate(floors()) for name in floor}
    for file in rooms()[room]:
        for other in rooms_imported_by(file) - {room}:
            assert height[other] <= height[room], f"{file.relative_to(ROOT)} imports {other}"


def test_the_page_names_files_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`((?:\w+/)*\w+\.(?:py|css|md))`", text)
    assert named
    folders = (LIBRARY, ROOT, ROOT / "CovidLungQuant", ROOT / "CovidLungQuant/CovidLungQuantPanel")
    for name in named:
        assert any((folder / name).is_file() for folder in folders), name
