"""The page for script authors: every block of code on it runs, and what it lists is all there."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

import slicer

from CovidLungQuantLib.cli.program import command_line
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import LABELS, LOBES
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.phantom import chest_phantom

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "Docs" / "scripting.md"
SHIPPED_MODEL = '"convlstm-attention-4"'


def blocks(language: str) -> list[str]:
    text = PAGE.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_every_block_runs_from_top_to_bottom(
    stand_in: Any,
    module: Any,
    model_path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slicer.mrmlScene = stand_in.scene
    slicer.mrmlScene.Clear(0)
    case = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    for name in ("scan.nrrd", "later.nrrd"):
        write_image(tmp_path / name, case.ct.hu, case.ct.geometry)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    try:
        for number, block in enumerate(blocks("python"), start=1):
            # A small network in place of the shipped one: the page is tested, not the model.
            code = block.replace(SHIPPED_MODEL, repr(model_path))
            exec(compile(code, f"{PAGE.name}, block {number}", "exec"), namespace)
    finally:
        stand_in.close_panel("CovidLungQuant")
        slicer.mrmlScene.Clear(0)
    assert namespace["case"] == "case_0001"
    assert (tmp_path / "training set" / "case_0001").is_dir()
    assert (tmp_path / "scene.mrb").is_file()
    assert (tmp_path / "report of the scan" / "report.html").is_file()
    assert (tmp_path / "results of the scan" / "report.html").is_file()
    assert namespace["quantification"].measurements.regions[0] == namespace["both"]


def test_the_commands_on_the_page_are_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("scan.nrrd").touch()
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith("covidlungquant ")]
    assert len(commands) == 4
    for command in commands:
        assert command_line().parse_args(command[1:])


def test_the_page_names_columns_segments_and_methods_that_exist(
    module: Any,
) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [column for column in column_keys() if f"`{column}`" not in text] == []
    for label in LABELS:
        assert f"| `{label.segment_id}` | {label.value} |" in text
    for lobe in LOBES:
        assert f"`{lobe.segment_id}` ({lobe.value})" in text
    rows = re.findall(r"^\| `(\w+)\(([^)]*)\)` \|", text, re.MULTILINE)
    assert len(rows) == 16
    for name, arguments in rows:
        parameters = inspect.signature(getattr(module.CovidLungQuantLogic, name)).parameters
        named = [part.split("=")[0].strip() for part in arguments.split(",")]
        assert [part for part in named if part not in ("", "...")] == list(parameters)[
            1 : 1 + len([part for part in named if part not in ("", "...")])
        ], name
