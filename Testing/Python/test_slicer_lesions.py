"""The section "Lesions": list, decisions by one key each, sliders; undone, saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6 import QtWidgets
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from slicer_panel import errors, label_map, press, section
from small_airways_and_vessels import an_enhanced_quantification

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.lesions.probability import DECISION_CODE, HIGHEST_CODE, LESION_MARGIN
from CovidLungQuantLib.lesions.sensitivity import apply_sensitivity
from CovidLungQuantLib.mrml.display import are_surfaces_shown, show_in_slices
from CovidLungQuantLib.mrml.scene_result import SceneResult, write_result
from CovidLungQuantLib.mrml.segmentation import ALGORITHM_TYPE_TAG, AUTOMATIC, SEMIAUTOMATIC
from CovidLungQuantLib.mrml.segments import CLOSED_SURFACE, tag_of
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_to_node, voxels
from CovidLungQuantLib.pipeline import measure
from CovidLungQuantLib.quantification import Quantification

SETTLED_MS = 700
SMALL = (slice(20, 24), slice(50, 56), slice(50, 56))


def a_run() -> Quantification:
    """Two lesions: 10 × 10 × 10 voxels of 1 mm³ of GGO, and 4 × 6 × 6 of high opacity."""
    run = an_enhanced_quantification()
    labels = run.labels.copy()
    labels[SMALL] = HIGH_OPACITY.value
    probability = np.where(labels > 0, np.uint8(20), np.uint8(0))
    probability[labels == GGO.value] = 200
    # A rim around the small one that a lower margin takes in.
    probability[18:26, 48:58, 48:58] = 50
    probability[SMALL] = 100
    probability[labels == 0] = 0
    measured = measure(run.ct, labels)
    provenance = replace(run.provenance, lesion_margin=LESION_MARGIN)
    return replace(measured, provenance=provenance, lesion_probability=probability)


@pytest.fixture
def reviewed(panel: Any) -> Iterator[SimpleNamespace]:
    """A run as the button leaves it, in the panel."""
    run = a_run()
    scene = slicer.mrmlScene
    volume_node = ct_to_node(scene, run.ct)
    result = write_result(SceneResult(scene, volume_node), run)
    show_in_slices(scene, volume_node)
    chosen = panel.logic.getParameterNode()
    chosen.inputVolume = volume_node
    chosen.outputSegmentation = result.segmentation
    chosen.outputTable = result.table
    part = section(panel, "LesionsSection")
    yield SimpleNamespace(
        part=part,
        ui=part.ui,
        volume=volume_node,
        segmentation=result.segmentation,
        table=result.table,
        run=run,
        panel=panel,
    )


def rows(ui: Any) -> list[list[str]]:
    table = ui.lesionTable
    return [
        [table.item(row, column).text() for column in range(7)] for row in range(table.rowCount)
    ]


def labels_now(reviewed: Any) -> np.ndarray:
    return label_map(reviewed.segmentation, reviewed.volume)


def lesion_ml(reviewed: Any) -> float:
    return record_from_node(reviewed.table).measurements.region("both lungs").lesion_ml


def shown(reviewed: Any) -> int:
    return reviewed.panel.logic.getParameterNode().shownLesion


def algorithm_type(reviewed: Any) -> str:
    return tag_of(reviewed.segmentation.GetSegmentation().GetSegment("GGO"), ALGORITHM_TYPE_TAG)


def key(reviewed: Any, key_: Qt.Key, modifier: Any = Qt.KeyboardModifier.NoModifier) -> None:
    """Press a key in the window that holds the panel, as a reader does."""
    representation = slicer.modules.covidlungquant.widgetRepresentation()
    QtWidgets.QWidget.show(representation)
    QtWidgets.QWidget.activateWindow(representation)
    QtWidgets.QApplication.processEvents()
    QTest.keyClick(representation, key_, modifier)


def slide(slider: Any, code: int) -> None:
    slider.value = HIGHEST_CODE - code
    QTest.qWait(100)


def test_the_list_says_what_is_known_of_each_lesion(reviewed: Any) -> None:
    assert [row[0] for row in rows(reviewed.ui)] == ["1", "2"]
    assert [row[2] for row in rows(reviewed.ui)] == ["1.0", "0.1"]
    assert [row[4:] for row in rows(reviewed.ui)] == [["GGO", "78", ""], ["High", "39", ""]]
    assert reviewed.ui.leftLabel.text == "2 of 2 left to look at"
    assert not reviewed.ui.acceptButton.enabled
    assert not reviewed.ui.undoButton.enabled


def test_without_a_result_there_is_no_lesion(panel: Any) -> None:
    ui = section(panel, "LesionsSection").ui
    assert ui.lesionTable.rowCount == 0
    names = [name for name in vars(ui) if name.endswith("Button")]
    enabled = [
        name for name in names if getattr(ui, name).enabled and name != "lesionsCollapsibleButton"
    ]
    assert enabled == []


def test_lesions_are_visited_by_size_or_the_doubtful_first(reviewed: Any) -> None:
    ui = reviewed.ui
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    press(ui.largestLesionButton)
    assert shown(reviewed) == 1
    assert not ui.previousLesionButton.enabled
    press(ui.nextLesionButton)
    assert shown(reviewed) == 2
    matrix = view.GetSliceToRAS()
    # The voxels (20, 50–55, 50–55) in RAS; the scan begins at (1, 2, 3) mm in LPS.
    assert [matrix.GetElement(row, 3) for row in range(3)] == [-53.5, -54.5, 23.0]
    assert not ui.nextLesionButton.enabled
    press(ui.previousLesionButton)
    assert shown(reviewed) == 1
    ui.doubtfulFirstCheckBox.click()
    assert [row[0] for row in rows(ui)] == ["2", "1"]
    assert ui.lesionTable.currentRow() == 1
    ui.lesionTable.selectRow(0)
    assert shown(reviewed) == 2


def test_one_key_each_and_undo(reviewed: Any, stand_in: Any) -> None:
    before, before_ml = labels_now(reviewed), lesion_ml(reviewed)
    assert algorithm_type(reviewed) == AUTOMATIC
    key(reviewed, Qt.Key.Key_N)
    assert shown(reviewed) == 1
    key(reviewed, Qt.Key.Key_A)
    assert shown(reviewed) == 2
    assert reviewed.ui.leftLabel.text == "1 of 2 left to look at"
    np.testing.assert_array_equal(labels_now(reviewed), before)
    reviewed.ui.reasonComboBox.setCurrentIndex(2)
    key(reviewed, Qt.Key.Key_X)
    after = labels_now(reviewed)
    assert (after[SMALL] == NORMAL_LUNG.value).all()
    assert np.count_nonzero(after != before) == 144
    assert lesion_ml(reviewed) == pytest.approx(before_ml - 0.144)
    assert algorithm_type(reviewed) == SEMIAUTOMATIC
    assert reviewed.ui.leftLabel.text == "0 of 2 left to look at"
    assert [row[6] for row in rows(reviewed.ui)] == ["✓", "✗"]
    provenance = record_from_node(reviewed.table).provenance
    assert [(entry["decision"], entry["reason"]) for entry in provenance["review"]] == [
        ("accepted", None),
        ("rejected", "not lung"),
    ]
    assert provenance["options"]["changed_voxels"] == 144

    key(reviewed, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(labels_now(reviewed), before)
    assert lesion_ml(reviewed) == pytest.approx(before_ml)
    assert shown(reviewed) == 2
    key(reviewed, Qt.Key.Key_K)
    assert (labels_now(reviewed)[SMALL] == GGO.value).all()
    key(reviewed, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    key(reviewed, Qt.Key.Key_L)
    assert [row[6] for row in rows(reviewed.ui)] == ["✓", "="]
    for _ in range(2):
        press(reviewed.ui.undoButton)
    assert not reviewed.ui.undoButton.enabled
    press(reviewed.ui.redoButton)
    assert [row[6] for row in rows(reviewed.ui)] == ["✓", ""]
    assert errors(stand_in) == []


def test_keys_are_another_modules_once_it_is_left(reviewed: Any) -> None:
    key(reviewed, Qt.Key.Key_N)
    reviewed.panel.exit()
    key(reviewed, Qt.Key.Key_X)
    reviewed.panel.enter()
    assert np.array_equal(labels_now(reviewed), reviewed.run.labels)
    key(reviewed, Qt.Key.Key_X)
    assert not np.array_equal(labels_now(reviewed), reviewed.run.labels)


def test_the_scan_grows_and_shrinks_with_its_slider_and_a_double_click_resets(
    reviewed: Any,
) -> None:
    ui, run = reviewed.ui, reviewed.run
    slide(ui.scanSensitivitySlider, 40)
    spacing_mm = run.ct.geometry.spacing_mm
    expected = apply_sensitivity(
        run.labels, run.labels, run.lesion_probability, run.ct.hu, spacing_mm, 40
    )
    assert np.count_nonzero(is_lesion(expected)) > np.count_nonzero(is_lesion(run.labels))
    np.testing.assert_array_equal(labels_now(reviewed), expected)
    voxel_ml = run.ct.geometry.voxel_volume_ml
    assert lesion_ml(reviewed) == pytest.approx(np.count_nonzero(is_lesion(expected)) * voxel_ml)
    assert ui.scanSensitivityLabel.text == "from 16 %"
    assert record_from_node(reviewed.table).provenance["lesion_margin"] == pytest.approx(40 / 215)
    QTest.qWait(SETTLED_MS)
    assert rows(ui)[1][2] != "0.1"
    slide(ui.scanSensitivitySlider, 150)
    assert (labels_now(reviewed)[SMALL] == NORMAL_LUNG.value).all()
    QTest.mouseDClick(ui.scanSensitivitySlider, Qt.MouseButton.LeftButton)
    QTest.qWait(100)
    assert ui.scanSensitivitySlider.value == HIGHEST_CODE - DECISION_CODE
    np.testing.assert_array_equal(labels_now(reviewed), run.labels)
    assert record_from_node(reviewed.table).provenance["lesion_margin"] == 0.4
    QTest.qWait(SETTLED_MS)
    press(ui.undoButton)
    press(ui.undoButton)
    np.testing.assert_array_equal(labels_now(reviewed), run.labels)
    press(ui.redoButton)
    np.testing.assert_array_equal(labels_now(reviewed), expected)


def ggo_surface(reviewed: Any) -> Any:
    """The surface of GGO that is shown in 3D."""
    assert are_surfaces_shown(reviewed.segmentation)
    segment = reviewed.segmentation.GetSegmentation().GetSegment(GGO.segment_id)
    return segment.GetRepresentation(CLOSED_SURFACE)


def highest_ggo_mm(reviewed: Any) -> float:
    """Where GGO ends towards the head; the scan begins at 3 mm and has voxels of 1 mm."""
    return 3.0 + np.argwhere(labels_now(reviewed) == GGO.value)[:, 0].max()


def test_surfaces_are_made_anew_once_the_slider_is_let_go(reviewed: Any) -> None:
    reviewed.panel.logic.showSurfaces(reviewed.segmentation, True)
    slider = reviewed.ui.scanSensitivitySlider
    before = ggo_surface(reviewed)
    made_at, highest_mm = before.GetMTime(), before.GetBounds()[5]
    slider.sliderDown = True
    for code in (60, 40):
        slide(slider, code)
        # Longer than what ends a slide by keys.
        QTest.qWait(SETTLED_MS)
        assert ggo_surface(reviewed) is before and before.GetMTime() == made_at
    assert highest_ggo_mm(reviewed) > highest_mm + 2.0
    slider.sliderDown = False
    after = ggo_surface(reviewed)
    assert after.GetBounds()[5] == pytest.approx(highest_ggo_mm(reviewed), abs=1.0)


def test_surfaces_are_those_of_the_segments_when_the_module_is_left_in_a_slide(
    reviewed: Any,
) -> None:
    reviewed.panel.logic.showSurfaces(reviewed.segmentation, True)
    reviewed.ui.scanSensitivitySlider.sliderDown = True
    slide(reviewed.ui.scanSensitivitySlider, 40)
    reviewed.panel.exit()
    highest_mm = ggo_surface(reviewed).GetBounds()[5]
    assert highest_mm == pytest.approx(highest_ggo_mm(reviewed), abs=1.0)


def test_one_lesion_grows_with_its_slider_and_stays_so(reviewed: Any) -> None:
    ui = reviewed.ui
    key(reviewed, Qt.Key.Key_N)
    key(reviewed, Qt.Key.Key_N)
    assert shown(reviewed) == 2
    slide(ui.lesionSensitivitySlider, 40)
    grown = labels_now(reviewed)
    assert np.count_nonzero(is_lesion(grown)) > 1144
    assert np.array_equal(grown[:18], reviewed.run.labels[:18])
    QTest.qWait(SETTLED_MS)
    slide(ui.scanSensitivitySlider, 220)
    shrunk = labels_now(reviewed)
    # The whole scan's slider takes the other lesion only.
    assert np.array_equal(is_lesion(shrunk[18:26]), is_lesion(grown[18:26]) & (shrunk[18:26] > 1))
    assert (shrunk[SMALL] == HIGH_OPACITY.value).all()
    assert not (shrunk == GGO.value)[reviewed.run.labels == GGO.value].any()
    press(ui.undoButton)
    np.testing.assert_array_equal(labels_now(reviewed), grown)
    press(ui.undoButton)
    np.testing.assert_array_equal(labels_now(reviewed), reviewed.run.labels)


def test_painted_rejected_and_accepted_voxels_stay_whatever_the_slider_says(reviewed: Any) -> None:
    ui = reviewed.ui
    key(reviewed, Qt.Key.Key_N)
    key(reviewed, Qt.Key.Key_N)
    key(reviewed, Qt.Key.Key_X)
    painted = labels_now(reviewed)
    where = np.argwhere(reviewed.run.labels == NORMAL_LUNG.value)[0]
    painted[tuple(where)] = HIGH_OPACITY.value
    image = reviewed.segmentation.GetSegmentation().GetSegment("GGO")
    shared = image.GetRepresentation("Binary labelmap")
    voxels(shared)[tuple(where)] = HIGH_OPACITY.value
    shared.Modified()
    for code in (5, 250):
        slide(ui.scanSensitivitySlider, code)
        now = labels_now(reviewed)
        assert (now[SMALL] == NORMAL_LUNG.value).all()
        assert now[tuple(where)] == HIGH_OPACITY.value
    assert not (now == GGO.value).any()


def test_a_result_without_probability_has_a_list_and_no_sliders(reviewed: Any) -> None:
    write_result(
        SceneResult(slicer.mrmlScene, reviewed.volume, reviewed.segmentation, reviewed.table),
        replace(
            reviewed.run,
            lesion_probability=None,
            # Another run takes another time.
            provenance=replace(reviewed.run.provenance, timings_s={"lesions": 1.5}),
        ),
    )
    reviewed.panel.exit()
    reviewed.panel.enter()
    ui = reviewed.ui
    assert [row[5] for row in rows(ui)] == ["–", "–"]
    assert not ui.scanSensitivitySlider.enabled
    assert ui.noProbabilityLabel.visible
    key(reviewed, Qt.Key.Key_N)
    assert not ui.lesionSensitivitySlider.enabled
    key(reviewed, Qt.Key.Key_X)
    assert not (labels_now(reviewed) == GGO.value).any()


def test_lesions_are_those_of_the_corrected_result(reviewed: Any, stand_in: Any) -> None:
    press(reviewed.ui.largestLesionButton)
    segmentation = reviewed.segmentation.GetSegmentation()
    segmentation.RemoveSegment("GGO")
    press(reviewed.ui.largestLesionButton)
    assert reviewed.ui.leftLabel.text == "1 of 1 left to look at"
    # Without a segment for each label nothing can be written, and that is said.
    press(reviewed.ui.rejectButton)
    assert "segment the volume again" in reviewed.ui.lesionsProblemLabel.text
    assert reviewed.ui.leftLabel.text == "1 of 1 left to look at"
    segmentation.RemoveSegment("HighOpacity")
    press(reviewed.ui.largestLesionButton)
    assert reviewed.ui.leftLabel.text == "There is no lesion of at least 0.1 mL."
    assert errors(stand_in) == []


def test_decisions_and_margin_come_back_with_the_scene(reviewed: Any, tmp_path: Path) -> None:
    ui = reviewed.ui
    key(reviewed, Qt.Key.Key_N)
    key(reviewed, Qt.Key.Key_A)
    key(reviewed, Qt.Key.Key_X)
    slide(ui.scanSensitivitySlider, 60)
    QTest.qWait(SETTLED_MS)
    labels, record = labels_now(reviewed), record_from_node(reviewed.table).provenance
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(0)
    assert ui.lesionTable.rowCount == 0
    assert slicer.mrmlScene.ReadFromMRB(path)
    reviewed.panel.exit()
    reviewed.panel.enter()
    assert sorted(row[6] for row in rows(ui)) == ["✓", "✗"]
    assert ui.scanSensitivitySlider.value == HIGHEST_CODE - 60
    chosen = reviewed.panel.logic.getParameterNode()
    assert record_from_node(chosen.outputTable).provenance == record
    # What was rejected stays rejected.
    slide(ui.scanSensitivitySlider, 30)
    now = label_map(chosen.outputSegmentation, chosen.inputVolume)
    assert (now[SMALL] == NORMAL_LUNG.value).all()
    assert np.array_equal(now == GGO.value, labels == GGO.value) or now.sum() > labels.sum()


def loaded(reviewed: Any, tmp_path: Path) -> Any:
    """The scene saved, closed and loaded again; return the chosen parameter set."""
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(path)
    return reviewed.panel.logic.getParameterNode()


def test_a_loaded_scene_is_taken_up_without_measuring_it(reviewed: Any, tmp_path: Path) -> None:
    provenance = record_from_node(reviewed.table).provenance
    chosen = loaded(reviewed, tmp_path)
    assert reviewed.part._review.isCounted
    key(reviewed, Qt.Key.Key_N)
    key(reviewed, Qt.Key.Key_X)
    after = label_map(chosen.outputSegmentation, chosen.inputVolume)
    assert not (after == GGO.value).any()
    record = record_from_node(chosen.outputTable)
    expected = measure(reviewed.run.ct, after)
    assert record.measurements.regions == expected.measurements.regions
    # Measuring would note its own time and lobes.
    assert record.provenance["timings_s"] == provenance["timings_s"]
    assert record.provenance["options"] == {**provenance["options"], "changed_voxels": 1000}


def test_numbers_that_are_not_those_of_the_segments_are_measured_and_that_is_said(
    reviewed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = tuple(np.argwhere(reviewed.run.labels == NORMAL_LUNG.value)[0])
    shared = reviewed.segmentation.GetSegmentation().GetSegment("GGO")
    voxels(shared.GetRepresentation("Binary labelmap"))[where] = HIGH_OPACITY.value
    chosen = loaded(reviewed, tmp_path)
    assert not reviewed.part._review.isCounted
    said = []
    label = reviewed.ui.lesionsProblemLabel
    monkeypatch.setattr(slicer.app, "processEvents", lambda: said.append(label.text), raising=False)
    key(reviewed, Qt.Key.Key_N)
    key(reviewed, Qt.Key.Key_A)
    assert said and all(text.startswith("Measuring the whole scan once") for text in said)
    assert label.text == ""
    labels = label_map(chosen.outputSegmentation, chosen.inputVolume)
    lungs = record_from_node(chosen.outputTable).measurements.lungs
    # Measuring has found the lobes besides.
    assert lungs == measure(reviewed.run.ct, labels).measurements.lungs
    assert reviewed.part._review.isCounted
