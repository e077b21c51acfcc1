"""The panel asks for no more width than Slicer gives it, whatever it shows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from conftest import PROJECT_ROOT
from PySide6 import QtWidgets
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QComboBox

from Testing.slicer_stand_in.application import PANEL_WIDTH_PX
from Testing.slicer_stand_in.ctk_widgets import ctkPathLineEdit
from Testing.slicer_stand_in.panel_states import asked_width_px, panel_states

# A dock takes the width its content asks for; the views of a 1366 px screen need the rest.
WIDEST_PX = 420


def test_the_panel_stays_narrow_in_every_state(panel: Any, chest: Any, tmp_path: Path) -> None:
    asked = {name: asked_width_px() for name in panel_states(panel, chest, tmp_path)}
    assert len(asked) > 12
    assert max(asked.values()) <= WIDEST_PX, asked


def test_so_it_does_on_a_screen_at_150_percent(
    coarse_phantom: Path, model_path: str, tmp_path: Path
) -> None:
    """In a process of its own: Qt scales all or nothing."""
    states = tmp_path / "states"
    told = subprocess.run(
        [
            *(sys.executable, "-m", "Testing.slicer_stand_in.screenshot", coarse_phantom),
            *("--model", model_path, "--states", states, "--scaling", "150"),
        ],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    # As "segmented: 382 px", and what is cut off.
    told_of = dict(line.split(": ", 1) for line in told.splitlines())
    pictures = sorted(states.iterdir())
    assert len(told_of) == len(pictures) > 12
    assert {QImage(str(file)).width() for file in pictures} == {1.5 * PANEL_WIDTH_PX}
    asked = {name: int(text.removesuffix(" px")) for name, text in told_of.items()}
    assert max(asked.values()) <= WIDEST_PX, asked


def test_long_words_may_break_and_nothing_else_is_changed(module: ModuleType) -> None:
    from CovidLungQuantPanel.widgets import MAY_BREAK, breakable

    short = "Written to /tmp/reports; model 17aad771d955"
    assert breakable(short) == short
    path = "/home/someone/a_folder/Thorax-1.0"
    shown = breakable(f"Written to {path} today")
    assert shown.replace(MAY_BREAK, "") == f"Written to {path} today"
    pieces = shown.removeprefix("Written to ").removesuffix(" today").split(MAY_BREAK)
    assert pieces == ["/", "home/", "someone/", "a_", "folder/", "Thorax-", "1.", "0"]
    assert [len(piece) for piece in breakable("x" * 60).split(MAY_BREAK)] == [24, 24, 12]


def test_no_list_asks_for_the_width_of_its_longest_entry(panel: Any) -> None:
    """Slicer's lists of nodes and paths do, unless told otherwise; names and paths are long."""
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    narrow = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    lists = QtWidgets.QWidget.findChildren(representation, QComboBox)
    paths = QtWidgets.QWidget.findChildren(representation, ctkPathLineEdit)
    assert len(lists) > 8 and len(paths) == 5
    inside = [path.standInComboBox for path in paths]
    wide = [box for box in lists if box not in inside and box.sizeAdjustPolicy != narrow]
    wide += [path for path in paths if path.sizeAdjustPolicy != narrow]
    assert [
        (QtWidgets.QWidget.objectName(widget), widget.sizeAdjustPolicy) for widget in wide
    ] == []
