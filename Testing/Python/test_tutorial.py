"""The tutorial says what the panel says: every name in bold is in a .ui file or in the code."""

from __future__ import annotations

import ast
import functools
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest

from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.measures.score_bins import SEVERE_CT_SEVERITY_SCORE

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "CovidLungQuant"
TUTORIAL = ROOT / "Docs" / "tutorial.md"
PICTURES_FOLDER = ROOT / "Docs" / "pictures"
PANEL_WIDTH_PX = 390
LARGEST_PICTURE_BYTES = 60_000
LARGEST_SUM_BYTES = 500_000

TEXT = TUTORIAL.read_text(encoding="utf-8")
BOLD = sorted({name.replace("\n", " ") for name in re.findall(r"\*\*(.+?)\*\*", TEXT, re.DOTALL)})
PICTURES = re.findall(r'<img src="(pictures/[^"]+)"', TEXT)
LINKS = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", TEXT)


def plain(text: str) -> str:
    """Without the mark of the keyboard and without the colon of a form's label."""
    return text.replace("&", "").rstrip(":")


@functools.cache
def strings_of_the_panel() -> set[str]:
    found = {DISCLAIMER}
    for file in (MODULE_FOLDER / "Resources" / "UI").glob("*.ui"):
        found |= {element.text or "" for element in ElementTree.parse(file).iter("string")}
    for file in MODULE_FOLDER.rglob("*.py"):
        found |= {
            call.args[0].value
            for call in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(call, ast.Call)
            and getattr(call.func, "id", "") == "_"
            and isinstance(call.args[0], ast.Constant)
        }
    return {plain(text) for text in found}


@pytest.mark.parametrize("name", BOLD)
def test_every_name_in_bold_is_one_of_the_panel(name: str) -> None:
    assert name in strings_of_the_panel()


def test_the_loop_is_told_from_loading_to_fine_tuning() -> None:
    steps = ("Segment", "Largest", "Correct in Segment Editor", "Save report", "Compare")
    steps += ("Add to training set", "Fine-tune", "Use the new model")
    places = [TEXT.index(f"**{name}**", TEXT.index("## 3.")) for name in steps[:1]]
    places += [TEXT.index(f"**{name}**", TEXT.index("## 4.")) for name in steps[1:]]
    assert places == sorted(places)
    assert f"Above {SEVERE_CT_SEVERITY_SCORE:g} " in TEXT


@pytest.mark.parametrize("link", sorted(set(LINKS)))
def test_links_lead_to_files_of_the_repository(link: str) -> None:
    assert (TUTORIAL.parent / link).exists()


def test_pictures_are_those_of_the_script_small_and_as_wide_as_the_panel() -> None:
    files = [TUTORIAL.parent / name for name in PICTURES]
    assert sorted(files) == sorted(PICTURES_FOLDER.glob("*"))
    assert max(file.stat().st_size for file in files) < LARGEST_PICTURE_BYTES
    assert sum(file.stat().st_size for file in files) < LARGEST_SUM_BYTES
    assert {png_width(file) for file in files} == {PANEL_WIDTH_PX}


def png_width(file: Path) -> int:
    return struct.unpack(">I", file.read_bytes()[16:20])[0]
