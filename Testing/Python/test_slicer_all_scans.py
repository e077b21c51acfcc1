"""All loaded CTs are segmented one after the other, each in a parameter set of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer
from PySide6 import QtWidgets
from slicer_panel import draw_lobes, draw_segments, errors, label_map, press, section

from CovidLungQuantLib.errors import Cancelled

NAMES = ("January", "A_scan_that_shows_no_lungs_and_has_a_name_too_long_for_a_line", "March")


@pytest.fixture
def queue(panel: Any) -> Any:
    return section(panel, "AllScansSection")


@pytest.fixture
def scans(panel: Any, module: Any) -> list[Any]:
    """Three loaded CTs; the second shows nothing but air."""
    nodes = []
    for name in NAMES:
        nodes.append(module.makeSyntheticChest())
        nodes[-1].SetName(name)
    slicer.util.arrayFromVolume(nodes[1])[:] = -1000
    slicer.util.arrayFromVolumeModified(nodes[1])
    return nodes


@pytest.fixture(autouse=True)
def lobes_are_given(panel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lobes need not be looked for, which takes longest."""
    segment = panel.logic.segment

    def with_lobes(volume: Any, *nodes: Any, **options: Any) -> Any:
        lobes = slicer.util.getFirstNodeByName(f"{volume.GetName()} given")
        if lobes is None:
            lobes, _labels = draw_lobes(volume)
            lobes.SetName(f"{volume.GetName()} given")
        return segment(volume, *nodes, **{**options, "lobesNode": lobes})

    monkeypatch.setattr(panel.logic, "segment", with_lobes)


def lines(queue: Any) -> list[str]:
    table = queue.ui.queueTable
    return [table.item(row, 1).text() for row in range(table.rowCount)]


def test_without_a_scan_there_is_nothing_to_press(queue: Any) -> None:
    assert not queue.ui.segmentAllButton.enabled
    assert queue.ui.segmentAllButton.toolTip == "Load a CT first."
    assert not queue.ui.queueTable.visible


def test_each_scan_gets_its_result_and_one_failure_stops_no_other(
    panel: Any, queue: Any, scans: list[Any], stand_in: Any
) -> None:
    panel._parameterNode.kinds = "thresholds"
    press(queue.ui.segmentAllButton)
    said = lines(queue)
    assert said[0] == "Done; parameter set “CovidLungQuant”."
    assert said[1].startswith("Failed: ")
    assert said[2] == "Done; parameter set “March”."
    assert errors(stand_in) == []
    first, third = panel.logic.parameterSets()
    assert [part.inputVolume for part in (first, third)] == [scans[0], scans[2]]
    assert third.kinds == "thresholds"
    assert third.model == first.model
    # The same as by Segment.
    in_queue = label_map(third.outputSegmentation, scans[2])
    nodes = panel.logic.segment(scans[2], options=panel.logic.chosenOptions(third))
    assert np.array_equal(in_queue, label_map(nodes[0], scans[2]))
    # Only the scan that is shown has its segments on the screen.
    assert first.outputSegmentation.GetDisplayVisibility()
    assert not third.outputSegmentation.GetDisplayVisibility()
    queue.onLineClicked(queue.ui.queueTable.item(2, 0))
    assert panel.ui.inputVolumeSelector.currentNode() is scans[2]
    assert panel.ui.tableSelector.currentNode() is third.outputTable


def test_cancel_stops_the_queue_and_keeps_what_is_done(
    panel: Any, queue: Any, scans: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = panel.logic.segment
    started = []

    def cancel_in_the_second(volume: Any, *nodes: Any, **options: Any) -> Any:
        started.append(volume)
        if len(started) == 2:
            panel.run.onCancelButton()
            raise Cancelled("Cancelled; the scene is as it was.")
        return segment(volume, *nodes, **options)

    monkeypatch.setattr(panel.logic, "segment", cancel_in_the_second)
    press(queue.ui.segmentAllButton)
    assert lines(queue) == [
        "Done; parameter set “CovidLungQuant”.",
        "Cancelled.",
        "Cancelled.",
    ]
    assert started == scans[:2]
    assert len(panel.logic.parameterSets()) == 1
    assert panel.logic.getParameterNode().outputTable is not None
    assert panel.ui.segmentButton.enabled


def test_cancel_between_two_scans_is_not_lost(
    panel: Any, queue: Any, scans: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_too_late(volume: Any, *nodes: Any, **options: Any) -> Any:
        panel.run.onCancelButton()
        return nodes_of(volume)

    def nodes_of(volume: Any) -> Any:
        scene = slicer.mrmlScene
        return (
            scene.AddNewNodeByClass("vtkMRMLSegmentationNode", volume.GetName()),
            scene.AddNewNodeByClass("vtkMRMLTableNode", volume.GetName()),
        )

    monkeypatch.setattr(panel.logic, "segment", cancel_too_late)
    monkeypatch.setattr(panel.logic, "showResult", lambda *nodes: None)
    press(queue.ui.segmentAllButton)
    assert [text.split(";")[0] for text in lines(queue)] == ["Done", "Cancelled.", "Cancelled."]


def test_a_corrected_scan_is_left_as_it_is(panel: Any, queue: Any, chest: Any) -> None:
    press(queue.ui.segmentAllButton)
    segmentation = panel._parameterNode.outputSegmentation
    drawn = draw_segments(segmentation, chest)
    press(queue.ui.segmentAllButton)
    assert lines(queue)[0].startswith("Left as it is")
    assert np.array_equal(label_map(segmentation, chest), drawn)


def test_closing_the_scene_ends_the_queue(
    panel: Any, queue: Any, scans: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = panel.run.showProgress

    def close(fraction: float, message: str) -> None:
        show(fraction, message)
        if slicer.mrmlScene.IsNodePresent(scans[0]):
            slicer.mrmlScene.Clear(0)

    monkeypatch.setattr(panel.run, "showProgress", close)
    press(queue.ui.segmentAllButton)
    assert lines(queue) == []
    assert len(panel.logic.getAllParameterNodes()) == 1


def test_long_names_and_sentences_do_not_widen_the_panel(queue: Any, scans: list[Any]) -> None:
    queue._list(scans)
    queue._say(1, "Failed: " + "a sentence that goes on and on, " * 6)
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    QtWidgets.QApplication.processEvents()
    assert QtWidgets.QWidget.layout(representation).minimumSize().width() <= 390
