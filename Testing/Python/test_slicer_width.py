"""The panel asks for no more width than Slicer gives it, whatever it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from PySide6 import QtWidgets
from PySide6.QtWidgets import QComboBox
from slicer_panel import draw_segments, press

from Testing.slicer_stand_in.ctk_widgets import ctkPathLineEdit

# A dock takes the width its content asks for; the views of a 1366 px screen need the rest.
WIDEST_PX = 420
LONG_NAME = "Thorax^HR_1.0_B70f_Lung_2020-03-17_series_301_reconstruction_with_a_very_long_name"


def width_px() -> int:
    """What the panel asks for at least."""
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    QtWidgets.QApplication.processEvents()
    return QtWidgets.QWidget.layout(representation).minimumSize().width()


def test_the_panel_stays_narrow(panel: Any, chest: Any, tmp_path: Path) -> None:
    asked = {"entered": width_px()}
    chest.SetName(LONG_NAME)
    asked["a long name"] = width_px()
    press(panel.ui.segmentButton)
    asked["segmented"] = width_px()
    draw_segments(panel._parameterNode.outputSegmentation, chest)
    asked["corrected"] = width_px()
    press(panel.ui.measureButton)
    asked["measured"] = width_px()
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(0)
    asked["closed"] = width_px()
    assert slicer.mrmlScene.ReadFromMRB(path)
    asked["loaded"] = width_px()
    assert max(asked.values()) <= WIDEST_PX, asked


def test_no_list_asks_for_the_width_of_its_longest_entry(panel: Any) -> None:
    """Slicer's lists of nodes and paths do, unless told otherwise; names and paths are long."""
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    narrow = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
    lists = QtWidgets.QWidget.findChildren(representation, QComboBox)
    paths = QtWidgets.QWidget.findChildren(representation, ctkPathLineEdit)
    assert len(lists) > 8 and len(paths) == 4
    inside = [path.standInComboBox for path in paths]
    wide = [box for box in lists if box not in inside and box.sizeAdjustPolicy != narrow]
    wide += [path for path in paths if path.sizeAdjustPolicy != narrow]
    assert [
        (QtWidgets.QWidget.objectName(widget), widget.sizeAdjustPolicy) for widget in wide
    ] == []
