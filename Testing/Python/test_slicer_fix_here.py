"""Clicks and strokes: lesion here, not lesion here; previewed, applied, undone, discarded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from slicer_panel import errors, label_map, press, section, write_segments
from test_slicer_lesions import a_run
from test_slicer_width import WIDEST_PX

from CovidLungQuantLib.labels import GGO, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.mrml.fix_marks import (
    BECOMES_LESION,
    BECOMES_LUNG,
    STROKE_CLASS,
    mark_nodes,
    marked_voxels,
    preview_of,
    start_marking,
)
from CovidLungQuantLib.mrml.scene_result import SceneResult, write_result
from CovidLungQuantLib.mrml.segmentation import ALGORITHM_TYPE_TAG, SEMIAUTOMATIC
from CovidLungQuantLib.mrml.segments import segment_mask, tag_of
from CovidLungQuantLib.mrml.table import is_stale, record_from_node
from CovidLungQuantLib.mrml.volumes import ct_to_node, geometry_of
from CovidLungQuantLib.pipeline import measure
from Testing.slicer_stand_in.panel_states import asked_width_px

IN_THE_SMALL_LESION = (22, 53, 53)


@pytest.fixture
def fixing(panel: Any) -> Any:
    """A result in the panel, as the button leaves it, with a lesion of high opacity."""
    run = a_run()
    scene = slicer.mrmlScene
    volume = ct_to_node(scene, run.ct)
    result = write_result(SceneResult(scene, volume), run)
    chosen = panel.logic.getParameterNode()
    chosen.inputVolume = volume
    chosen.outputSegmentation = result.segmentation
    chosen.outputTable = result.table
    part = section(panel, "FixHereSection")
    return SimpleNamespace(
        run=run,
        panel=panel,
        part=part,
        ui=part.ui,
        volume=volume,
        segmentation=result.segmentation,
        table=result.table,
    )


def click(fixing: Any, button: Any, place: tuple[int, int, int]) -> None:
    """Press a button and click a voxel (z, y, x), as a slice view's click places a mark."""
    press(button)
    selection = slicer.mrmlScene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    node = slicer.mrmlScene.GetNodeByID(selection.GetActivePlaceNodeID())
    left, posterior, superior, _ = geometry_of(fixing.volume).ijk_to_lps @ [*place[::-1], 1]
    node.AddControlPointWorld(-left, -posterior, superior)


def world_of(fixing: Any, place: tuple[int, int, int]) -> tuple[float, float, float]:
    left, posterior, superior, _ = geometry_of(fixing.volume).ijk_to_lps @ [*place[::-1], 1]
    return -left, -posterior, superior


def axial_view(fixing: Any, place: tuple[int, int, int]) -> Any:
    """The axial view, which shows the slice of a voxel in its middle."""
    press(section(fixing.panel, "LookingSection").ui.readingLayoutButton)
    # The views get their sizes with Qt's next events.
    QTest.qWait(300)
    view = slicer.app.layoutManager().sliceWidget("Red")
    view.mrmlSliceNode().JumpSliceByCentering(*world_of(fixing, place))
    return view


def draw(fixing: Any, button: Any, *places: tuple[int, int, int]) -> None:
    """Press a button and draw from voxel to voxel (z, y, x) of one axial slice."""
    view = axial_view(fixing, places[0])
    press(button)
    view.standInDraw([view.standInPosition(world_of(fixing, place)) for place in places])


def volumes(regions: Any) -> list[tuple[float, ...]]:
    """The volumes of both lungs, the left and the right; lobes were not looked for at first."""
    return [(row.volume_ml, row.normal_ml, row.ggo_ml, row.high_opacity_ml) for row in regions[:3]]


def labels_of(fixing: Any) -> np.ndarray:
    return label_map(fixing.segmentation, fixing.volume)


def test_a_click_is_previewed_and_changes_nothing_until_applied(fixing: Any, stand_in: Any) -> None:
    before = labels_of(fixing)
    record = record_from_node(fixing.table)
    assert not fixing.ui.applyFixButton.visible
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    preview = preview_of(slicer.mrmlScene)
    taken = segment_mask(preview, BECOMES_LUNG.segment_id, fixing.volume, [])
    assert taken[IN_THE_SMALL_LESION]
    assert not segment_mask(preview, BECOMES_LESION.segment_id, fixing.volume, []).any()
    np.testing.assert_array_equal(labels_of(fixing), before)
    assert record_from_node(fixing.table) == record and not is_stale(fixing.table)
    volume_ml = taken.sum() * geometry_of(fixing.volume).voxel_volume_ml
    assert f"take {volume_ml:.1f} mL away" in fixing.ui.fixLabel.text

    press(fixing.ui.applyFixButton)
    assert errors(stand_in) == []
    expected = np.where(taken, NORMAL_LUNG.value, before)
    np.testing.assert_array_equal(labels_of(fixing), expected)
    assert preview_of(slicer.mrmlScene) is None and mark_nodes(slicer.mrmlScene) == ()
    assert not fixing.ui.applyFixButton.visible


def test_the_numbers_follow_and_say_corrected_by_hand(fixing: Any) -> None:
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    press(fixing.ui.applyFixButton)
    measured = measure(fixing.run.ct, labels_of(fixing)).measurements.regions
    record = record_from_node(fixing.table)
    assert volumes(record.measurements.regions) == volumes(measured)
    assert not is_stale(fixing.table)
    changed = int((labels_of(fixing) != fixing.run.labels).sum())
    assert record.provenance["options"]["changed_voxels"] == changed > 0
    assert fixing.panel.ui.modelInfoLabel.text.endswith("corrected by hand")
    segment = fixing.segmentation.GetSegmentation().GetSegment(GGO.segment_id)
    assert tag_of(segment, ALGORITHM_TYPE_TAG) == SEMIAUTOMATIC


def test_undo_takes_an_applied_fix_back(fixing: Any) -> None:
    before, numbers = labels_of(fixing), record_from_node(fixing.table).measurements.regions
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    press(fixing.ui.applyFixButton)
    after = labels_of(fixing)
    lesions = section(fixing.panel, "LesionsSection").ui
    assert (after != before).any() and lesions.undoButton.enabled
    press(lesions.undoButton)
    np.testing.assert_array_equal(labels_of(fixing), before)
    assert volumes(record_from_node(fixing.table).measurements.regions) == volumes(numbers)
    press(lesions.redoButton)
    np.testing.assert_array_equal(labels_of(fixing), after)


def test_ctrl_z_takes_it_back_where_the_list_of_lesions_is_folded_away(fixing: Any) -> None:
    lesions = section(fixing.panel, "LesionsSection")
    lesions._widget.collapsed = True
    before = labels_of(fixing)
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    press(fixing.ui.applyFixButton)
    assert (labels_of(fixing) != before).any() and lesions.ui.undoButton.enabled
    lesions.ui.undoButton.click()
    np.testing.assert_array_equal(labels_of(fixing), before)


def test_marks_add_up_and_both_kinds_are_obeyed(fixing: Any) -> None:
    lung = np.argwhere(labels_of(fixing) == NORMAL_LUNG.value)
    place = tuple(int(index) for index in lung[len(lung) // 2])
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    click(fixing, fixing.ui.lesionHereButton, place)
    press(fixing.ui.applyFixButton)
    after = labels_of(fixing)
    assert after[IN_THE_SMALL_LESION] == NORMAL_LUNG.value and is_lesion(after[place])


def test_discard_and_leaving_the_module_leave_no_trace(fixing: Any) -> None:
    before = labels_of(fixing)
    for leave in (lambda: press(fixing.ui.discardFixButton), fixing.panel.exit):
        click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
        assert preview_of(slicer.mrmlScene) is not None
        leave()
        assert preview_of(slicer.mrmlScene) is None and mark_nodes(slicer.mrmlScene) == ()
        fixing.panel.enter()
        np.testing.assert_array_equal(labels_of(fixing), before)
        assert not fixing.ui.discardFixButton.visible and fixing.ui.fixLabel.text == ""


def test_a_click_beside_the_lungs_says_what_to_do(fixing: Any) -> None:
    click(fixing, fixing.ui.lesionHereButton, (0, 0, 0))
    assert "within the lungs" in fixing.ui.fixLabel.text
    assert not fixing.ui.applyFixButton.enabled and fixing.ui.discardFixButton.enabled


def test_enter_and_escape_press_the_buttons_while_something_is_previewed(fixing: Any) -> None:
    shortcuts = fixing.part._shortcuts
    assert not any(shortcut.isEnabled() for shortcut in shortcuts)
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    assert all(shortcut.isEnabled() for shortcut in shortcuts)
    QTest.keyClick(fixing.part._widget, Qt.Key.Key_Escape)
    assert preview_of(slicer.mrmlScene) is None
    assert not any(shortcut.isEnabled() for shortcut in shortcuts)
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    QTest.keyClick(fixing.part._widget, Qt.Key.Key_Return)
    assert labels_of(fixing)[IN_THE_SMALL_LESION] == NORMAL_LUNG.value


def test_what_was_outlined_is_not_applied_to_other_segments(fixing: Any, stand_in: Any) -> None:
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    other = labels_of(fixing)
    other[20:24, 48:58, 48:58] = NORMAL_LUNG.value
    write_segments(fixing.segmentation, fixing.volume, other)
    press(fixing.ui.applyFixButton)
    (problem,) = errors(stand_in)
    assert "mark the place again" in problem
    np.testing.assert_array_equal(labels_of(fixing), other)
    assert preview_of(slicer.mrmlScene) is None


def test_marks_go_with_the_result_they_were_made_on(fixing: Any) -> None:
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    fixing.panel.logic.getParameterNode().outputTable = None
    assert preview_of(slicer.mrmlScene) is None and mark_nodes(slicer.mrmlScene) == ()
    assert not fixing.ui.notLesionHereButton.enabled


def test_locked_lesions_stay(fixing: Any) -> None:
    review = fixing.panel.logic.lesionReview(fixing.volume, fixing.segmentation, fixing.table)
    small = min(review.lesions, key=lambda lesion: lesion.island.volume_ml)
    review.lock(small.island.index)
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    assert "may change" in fixing.ui.fixLabel.text
    assert not fixing.ui.applyFixButton.enabled


def test_the_panel_stays_narrow_while_something_is_previewed(fixing: Any) -> None:
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    assert asked_width_px() <= WIDEST_PX


def test_closing_the_scene_forgets_all(fixing: Any) -> None:
    click(fixing, fixing.ui.notLesionHereButton, IN_THE_SMALL_LESION)
    slicer.mrmlScene.Clear(0)
    assert not fixing.ui.lesionHereButton.enabled and not fixing.ui.discardFixButton.visible
    # A mark that is placed afterwards is nobody's.
    start_marking(slicer.mrmlScene, True).AddControlPointWorld(0, 0, 0)
    assert preview_of(slicer.mrmlScene) is None


ALONG_THE_SMALL_LESION = [(22, 51, x) for x in range(51, 56)]


def test_a_stroke_marks_all_that_it_passes_over(fixing: Any) -> None:
    before = labels_of(fixing)
    places = ALONG_THE_SMALL_LESION
    draw(fixing, fixing.ui.notLesionHereButton, places[0], places[2], places[-1])
    lesion, other = marked_voxels(slicer.mrmlScene, fixing.volume)
    assert not lesion.any()
    assert [tuple(place) for place in np.argwhere(other)] == places
    np.testing.assert_array_equal(labels_of(fixing), before)
    preview = preview_of(slicer.mrmlScene)
    taken = segment_mask(preview, BECOMES_LUNG.segment_id, fixing.volume, [])
    assert taken[other].all()

    press(fixing.ui.applyFixButton)
    expected = np.where(taken, NORMAL_LUNG.value, before)
    np.testing.assert_array_equal(labels_of(fixing), expected)
    assert slicer.mrmlScene.GetNumberOfNodesByClass(STROKE_CLASS) == 0
    press(section(fixing.panel, "LesionsSection").ui.undoButton)
    np.testing.assert_array_equal(labels_of(fixing), before)


def test_strokes_and_clicks_of_both_kinds_add_up(fixing: Any) -> None:
    lung = np.argwhere(labels_of(fixing) == NORMAL_LUNG.value)
    place = tuple(int(index) for index in lung[len(lung) // 2])
    draw(fixing, fixing.ui.notLesionHereButton, *ALONG_THE_SMALL_LESION)
    # Without moving: a click.
    draw(fixing, fixing.ui.lesionHereButton, place)
    lesion, other = marked_voxels(slicer.mrmlScene, fixing.volume)
    assert np.argwhere(lesion).tolist() == [list(place)]
    assert np.count_nonzero(other) == len(ALONG_THE_SMALL_LESION)
    press(fixing.ui.applyFixButton)
    after = labels_of(fixing)
    assert is_lesion(after[place]) and (after[other] == NORMAL_LUNG.value).all()


def test_a_discarded_stroke_leaves_no_trace(fixing: Any) -> None:
    before = labels_of(fixing)
    draw(fixing, fixing.ui.lesionHereButton, *ALONG_THE_SMALL_LESION)
    assert slicer.mrmlScene.GetNumberOfNodesByClass(STROKE_CLASS) == 1
    press(fixing.ui.discardFixButton)
    assert slicer.mrmlScene.GetNumberOfNodesByClass(STROKE_CLASS) == 0
    assert mark_nodes(slicer.mrmlScene) == ()
    np.testing.assert_array_equal(labels_of(fixing), before)


def test_the_views_have_the_mouse_but_for_the_stroke(fixing: Any) -> None:
    view = axial_view(fixing, IN_THE_SMALL_LESION)
    interactor = view.sliceView().interactor()
    seen: list[str] = []
    for event in ("LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent"):
        interactor.AddObserver(event, lambda _caller, name: seen.append(name))
    positions = [view.standInPosition(world_of(fixing, p)) for p in ALONG_THE_SMALL_LESION]
    press(fixing.ui.notLesionHereButton)
    interactor.InvokeEvent("MouseMoveEvent")
    interactor.SetShiftKey(1)
    interactor.InvokeEvent("LeftButtonPressEvent")
    interactor.SetShiftKey(0)
    assert seen == ["MouseMoveEvent", "LeftButtonPressEvent"]
    view.standInDraw(positions)
    # But for the last: the stroke was over, and had let go of the mouse, before it was handed on.
    assert seen[2:] in ([], ["LeftButtonReleaseEvent"])
    assert preview_of(slicer.mrmlScene) is not None
    seen.clear()
    view.standInDraw(positions)
    assert len(seen) == len(positions) + 1
    assert slicer.mrmlScene.GetNumberOfNodesByClass(STROKE_CLASS) == 1


def test_leaving_the_module_gives_the_mouse_back(fixing: Any) -> None:
    view = axial_view(fixing, IN_THE_SMALL_LESION)
    positions = [view.standInPosition(world_of(fixing, p)) for p in ALONG_THE_SMALL_LESION]
    press(fixing.ui.notLesionHereButton)
    fixing.panel.exit()
    view.standInDraw(positions)
    assert slicer.mrmlScene.GetNumberOfNodesByClass(STROKE_CLASS) == 0
    assert preview_of(slicer.mrmlScene) is None
