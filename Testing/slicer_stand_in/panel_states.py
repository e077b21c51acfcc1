"""The panel in every state a reader meets, one after the other: for its width and for pictures."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import QObject

from CovidLungQuantLib.labels import HIGH_OPACITY, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.measures.lesion_islands import lesion_islands
from CovidLungQuantLib.mrml.segmentation import labels_after_stroke, write_labels
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node, geometry_of
from Testing.slicer_stand_in.pythonqt import ctkCollapsibleButton

LONG_NAME = "Thorax^HR_1.0_B70f_Lung_2020-03-17_series_301_reconstruction_with_a_very_long_name"
LONG_FOLDER = "a folder with a long name for reports of the radiology department of the hospital"
LATER_DAY = 14


def panel_states(panel: Any, volume: Any, folder: Path) -> Iterator[str]:
    """Bring the panel from state to state, with all sections open; yield what each is called.

    Args:
        panel: of an application whose scene holds one volume, with a model selected.
        volume: that volume; it gets another name.
        folder: where reports, a training set and a scene are written.
    """
    chosen = panel.logic.getParameterNode()
    find = partial(_representation().findChild, QtWidgets.QWidget)
    open_sections()
    yield "entered"
    volume.SetName(LONG_NAME)
    yield "a long name"
    panel.setRunning(True)
    panel.run.showProgress(0.4, "Finding lesions: slice 148 of 301")
    yield "running"
    panel.setRunning(False)
    find("segmentButton").click()
    yield "segmented"
    _leave_a_lesion(chosen)
    for name in ("largestLesionButton", "acceptButton", "rejectButton", "undoButton"):
        find(name).click()
    yield "lesions decided"
    _mark(find("notLesionHereButton"), chosen)
    yield "a fix outlined"
    find("discardFixButton").click()
    find("surfacesCheckBox").click()
    find("densityCheckBox").click()
    yield "density and surfaces"
    find("surfacesCheckBox").click()
    find("measureButton").click()
    yield "measured"
    find("reportPathLineEdit").currentPath = str(folder / LONG_FOLDER)
    find("saveReportButton").click()
    yield "report saved"
    find("trainingSetPathLineEdit").currentPath = str(folder / "training set")
    find("readerLineEdit").text = "A reader with a long name"
    find("addCaseButton").click()
    yield "case added"
    ct_to_node(slicer.mrmlScene, ct_from_node(volume)).SetName(f"{LONG_NAME} later")
    find("segmentAllButton").click()
    yield "all segmented"
    scans = find("timePointsTable")
    for row, day in ((0, 0), (1, LATER_DAY)):
        scans.item(row, 1).setText(str(day))
    find("compareButton").click()
    yield "compared"
    path = str(folder / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(0)
    yield "closed"
    assert slicer.mrmlScene.ReadFromMRB(path)
    yield "loaded"


def open_sections() -> None:
    """Open all that is folded away at first, as a user does who works there."""
    for section in QObject.findChildren(_representation(), ctkCollapsibleButton):
        section.collapsed = False


def asked_width_px() -> int:
    """What the panel asks for at least, in pixels that do not depend on the scaling."""
    QtWidgets.QApplication.processEvents()
    return QtWidgets.QWidget.layout(_representation()).minimumSize().width()


def cut_off_texts() -> list[str]:
    """Texts of buttons, boxes and labels, and numbers of tables, that have too little room."""
    cut = []
    for widget in QObject.findChildren(_representation(), QtWidgets.QWidget):
        if not QtWidgets.QWidget.isVisibleTo(widget, _representation()):
            continue
        is_button = isinstance(widget, QtWidgets.QAbstractButton)
        is_line = isinstance(widget, QtWidgets.QLabel) and not widget.wordWrap
        if isinstance(widget, QtWidgets.QTableWidget):
            cut += _cut_off_numbers(widget)
        elif (is_button or is_line) and widget.text:
            needed = QtWidgets.QWidget.minimumSizeHint(widget).width()
            if QtWidgets.QWidget.width(widget) < needed:
                cut.append(widget.text)
    return cut


def _cut_off_numbers(table: Any) -> list[str]:
    """Cells without letters that are wider than their column; names may be cut, numbers not."""
    metrics = QtWidgets.QWidget.fontMetrics(table)
    style = QtWidgets.QWidget.style(table)
    # On either side, as Qt draws a cell.
    margin = style.pixelMetric(QtWidgets.QStyle.PixelMetric.PM_FocusFrameHMargin) + 1
    cut = []
    for row in range(table.rowCount):
        for column in range(table.columnCount):
            item = table.item(row, column)
            text = "" if item is None else item.text()
            needed = metrics.horizontalAdvance(text) + 2 * margin
            is_name = any(letter.isalpha() for letter in text)
            if not is_name and needed > QtWidgets.QTableView.columnWidth(table, column):
                cut.append(text)
    return cut


def _representation() -> Any:
    return slicer.modules.covidlungquant.widgetRepresentation()


def _leave_a_lesion(chosen: Any) -> None:
    """Correct the segments, so that there are lesions whatever the model has found."""
    labels = labels_after_stroke(chosen.outputSegmentation, chosen.inputVolume)
    labels[is_lesion(labels)] = NORMAL_LUNG.value
    lung = np.argwhere(labels == NORMAL_LUNG.value)
    for z, y, x in (lung[len(lung) // 3], lung[2 * len(lung) // 3]):
        part = labels[z - 2 : z + 3, y - 3 : y + 4, x - 3 : x + 4]
        part[part == NORMAL_LUNG.value] = HIGH_OPACITY.value
    write_labels(chosen.outputSegmentation, chosen.inputVolume, labels)


def _mark(button: Any, chosen: Any) -> None:
    """Press a button of the correction and click the largest lesion."""
    button.click()
    geometry = geometry_of(chosen.inputVolume)
    labels = labels_after_stroke(chosen.outputSegmentation, chosen.inputVolume)
    z, y, x = lesion_islands(labels, geometry.voxel_volume_ml)[0].place
    left, posterior, superior, _ = geometry.ijk_to_lps @ [x, y, z, 1]
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    marks = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    marks.AddControlPointWorld(-left, -posterior, superior)
