"""The panel's sections "Advanced" and "Looking" in the stand-in, with the real MRML scene."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
import vtk
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QWidget
from slicer_panel import draw_lobes, errors, label_map, press
from small_airways_and_vessels import an_enhanced_quantification

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LOBES
from CovidLungQuantLib.mrml.chart import lobe_chart_of
from CovidLungQuantLib.mrml.display import are_surfaces_shown, show_in_slices
from CovidLungQuantLib.mrml.extras import (
    airways_and_vessels_from_node,
    airways_and_vessels_of,
    enhanced_of,
    extras_to_nodes,
)
from CovidLungQuantLib.mrml.layout import LAYOUT_ID
from CovidLungQuantLib.mrml.nodes import ENHANCED_REFERENCE_ROLE, remember_volume, results_of
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node
from CovidLungQuantLib.mrml.table import is_stale, measurements_to_node, record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node
from CovidLungQuantLib.pipeline import Options, quantify

SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


def section(widget: Any, name: str) -> Any:
    """The section of that class."""
    (found,) = (part for part in widget._sections if type(part).__name__ == name)
    return found


def tick(box: Any) -> None:
    """Click on a box itself: beside its text, where a short one leaves room, nothing happens."""
    place = QPoint(8, QWidget.height(box) // 2)
    QTest.mouseClick(box, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def parameters() -> Any:
    return slicer.modules.CovidLungQuantWidget.logic.chosenParameterSet()


# Advanced


def test_the_advanced_choices_are_kept_in_the_parameter_node(panel: Any) -> None:
    ui = section(panel, "AdvancedSection").ui
    assert ui.airwaysAndVesselsComboBox.currentData == Options().airways_and_vessels
    assert not ui.enhanceCheckBox.checked
    assert not ui.mirrorCheckBox.checked
    ui.airwaysAndVesselsComboBox.setCurrentIndex(ui.airwaysAndVesselsComboBox.findData("remove"))
    tick(ui.enhanceCheckBox)
    tick(ui.mirrorCheckBox)
    kept = [parameters().GetParameter(name) for name in ("airwaysAndVessels", "enhance", "mirror")]
    assert kept == ["remove", "True", "True"]


def test_the_advanced_choices_follow_a_script(panel: Any) -> None:
    ui = section(panel, "AdvancedSection").ui
    panel._parameterNode.airwaysAndVessels = "find"
    panel._parameterNode.enhance = True
    assert ui.airwaysAndVesselsComboBox.currentData == "find"
    assert ui.enhanceCheckBox.checked


def test_a_run_does_what_was_chosen_and_measuring_again_keeps_it(
    panel: Any,
    chest: Any,
    model_path: str,
    stand_in: Any,
) -> None:
    panel._parameterNode.airwaysAndVessels = "remove"
    panel._parameterNode.enhance = True
    panel._parameterNode.mirror = True
    press(panel.ui.segmentButton)

    assert errors(stand_in) == []
    options = Options("cpu", model_path, airways_and_vessels="remove", enhance=True, mirror=True)
    expected = quantify(ct_from_node(chest), options)
    scene = slicer.mrmlScene
    chosen = panel.logic.getParameterNode()
    np.testing.assert_array_equal(label_map(chosen.outputSegmentation, chest), expected.labels)
    airways_and_vessels, _ = airways_and_vessels_from_node(
        airways_and_vessels_of(scene, chest), chest
    )
    np.testing.assert_array_equal(airways_and_vessels, expected.airways_and_vessels)
    # The untrained network leaves too little normal lung for it, which the panel says.
    assert enhanced_of(scene, chest) is None
    assert "the scan cannot be enhanced" in panel.ui.warningsLabel.text
    notes = record_from_node(chosen.outputTable).measurements.notes
    assert any("were taken out of the lesions" in note for note in notes)
    (volumes,) = (note for note in notes if note.startswith("Airways: "))
    assert airways_and_vessels_of(scene, chest).GetDescription() == volumes

    press(panel.ui.measureButton)
    assert errors(stand_in) == []
    assert volumes in record_from_node(chosen.outputTable).measurements.notes


def test_a_second_run_renews_what_it_finds(panel: Any, chest: Any) -> None:
    panel._parameterNode.airwaysAndVessels = "find"
    press(panel.ui.segmentButton)
    before = slicer.mrmlScene.GetNumberOfNodes()
    press(panel.ui.segmentButton)
    assert slicer.mrmlScene.GetNumberOfNodes() == before


# Looking


@pytest.fixture
def slice_views(panel: Any) -> list[Any]:
    """What two slice views show; Slicer's main window makes them."""
    return [
        slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{name}")
        for name in ("Red", "Green")
    ]


@pytest.fixture
def looking(panel: Any, module: ModuleType, slice_views: list[Any]) -> SimpleNamespace:
    """A result with two lesions, vessels and an enhanced volume, as a run leaves it."""
    run = an_enhanced_quantification()
    labels = run.labels.copy()
    labels[20:24, 50:56, 50:56] = HIGH_OPACITY.value
    run = replace(run, labels=labels)
    scene = slicer.mrmlScene
    volume_node = ct_to_node(scene, run.ct)
    segmentation_node = segmentation_to_node(scene, run, volume_node)
    table_node = measurements_to_node(scene, run, volume_node)
    extras_to_nodes(scene, run, volume_node)
    show_in_slices(scene, volume_node)
    chosen = panel.logic.getParameterNode()
    chosen.inputVolume = volume_node
    chosen.outputSegmentation = segmentation_node
    chosen.outputTable = table_node
    part = section(panel, "LookingSection")
    return SimpleNamespace(
        part=part, ui=part.ui, volume=volume_node, segmentation=segmentation_node, run=run
    )


def test_without_a_result_there_is_nothing_to_look_at(panel: Any) -> None:
    ui = section(panel, "LookingSection").ui
    offered = {name: box.visible for name, box in vars(ui).items() if name.endswith("CheckBox")}
    hidden = {name for name, is_visible in offered.items() if not is_visible}
    assert hidden == {
        "lobesCheckBox",
        "airwaysCheckBox",
        "vesselsCheckBox",
        "subVisualCheckBox",
        "lungNetworkCheckBox",
    }
    assert not any(getattr(ui, name).enabled for name in offered)


def test_a_new_run_does_not_pass_off_what_an_earlier_one_found(
    panel: Any, chest: Any, slice_views: list[Any], stand_in: Any
) -> None:
    ui = section(panel, "LookingSection").ui
    panel._parameterNode.lobes, _lobes = draw_lobes(chest)
    panel._parameterNode.airwaysAndVessels = "find"
    press(panel.ui.segmentButton)
    assert errors(stand_in) == []
    assert ui.vesselsCheckBox.visible and "Vessels" in ui.findingsLabel.text
    # The untrained network leaves too little normal lung to enhance.
    enhanced = slicer.util.addVolumeFromArray(ct_from_node(chest).hu, name="Enhanced")
    remember_volume(enhanced, chest, ENHANCED_REFERENCE_ROLE)
    show_in_slices(slicer.mrmlScene, enhanced)
    assert ui.enhancedCheckBox.enabled

    panel._parameterNode.airwaysAndVessels = "none"
    press(panel.ui.segmentButton)
    assert not (ui.vesselsCheckBox.visible or ui.airwaysCheckBox.visible)
    assert not (ui.enhancedCheckBox.enabled or ui.enhancedCheckBox.checked)
    assert not ui.findingsLabel.visible
    assert enhanced.GetName() == "Enhanced (earlier run)"
    assert slice_views[0].GetBackgroundVolumeID() == chest.GetID()
    # Nor is it offered as a scan.
    slicer.mrmlScene.RemoveNode(chest)
    assert panel._parameterNode.inputVolume is None


def test_one_click_shows_or_hides_each_segment(looking: SimpleNamespace) -> None:
    ui, display = looking.ui, looking.segmentation.GetDisplayNode()
    assert ui.ggoCheckBox.checked
    tick(ui.ggoCheckBox)
    assert not display.GetSegmentVisibility("GGO")
    assert display.GetSegmentVisibility("HighOpacity")
    tick(ui.ggoCheckBox)
    assert display.GetSegmentVisibility("GGO")

    airways_and_vessels = airways_and_vessels_of(slicer.mrmlScene, looking.volume)
    assert not ui.vesselsCheckBox.checked
    tick(ui.vesselsCheckBox)
    assert airways_and_vessels.GetDisplayVisibility()
    assert not ui.airwaysCheckBox.checked
    assert not ui.lobesCheckBox.visible


def test_the_boxes_follow_what_is_done_elsewhere(looking: SimpleNamespace) -> None:
    looking.segmentation.GetDisplayNode().SetSegmentVisibility("HighOpacity", False)
    assert not looking.ui.highOpacityCheckBox.checked
    looking.segmentation.GetDisplayNode().SetVisibility2DFill(False)
    assert not looking.ui.fillCheckBox.checked
    looking.segmentation.SetDisplayVisibility(False)
    assert not looking.ui.normalLungCheckBox.checked


def test_fill_and_outline(looking: SimpleNamespace) -> None:
    display = looking.segmentation.GetDisplayNode()
    display.SetVisibility2DOutline(False)
    tick(looking.ui.outlineCheckBox)
    tick(looking.ui.fillCheckBox)
    assert display.GetVisibility2DOutline()
    assert not display.GetVisibility2DFill()


def test_the_enhanced_volume_and_the_ct_again(
    looking: SimpleNamespace, slice_views: list[Any]
) -> None:
    enhanced = enhanced_of(slicer.mrmlScene, looking.volume)
    tick(looking.ui.enhancedCheckBox)
    assert {view.GetBackgroundVolumeID() for view in slice_views} == {enhanced.GetID()}
    tick(looking.ui.enhancedCheckBox)
    assert {view.GetBackgroundVolumeID() for view in slice_views} == {looking.volume.GetID()}
    assert "Vessels: 4.2 mL" in looking.ui.findingsLabel.text
    assert "scan-level bias" in looking.ui.findingsLabel.text


def test_density_surfaces_and_rendering_are_switched(
    looking: SimpleNamespace, slice_views: list[Any]
) -> None:
    ui, resets = looking.ui, slicer.app.layoutManager().standInResets
    tick(ui.densityCheckBox)
    assert all(view.GetLabelVolumeID() for view in slice_views)
    assert ui.densityScaleLabel.visible
    assert not ui.fillCheckBox.checked
    tick(ui.densityCheckBox)
    assert not any(view.GetLabelVolumeID() for view in slice_views)
    assert not ui.densityScaleLabel.visible
    assert ui.fillCheckBox.checked

    tick(ui.surfacesCheckBox)
    assert are_surfaces_shown(looking.segmentation)
    # Surfaces of the same segments: no number is out of date.
    assert not is_stale(results_of(slicer.mrmlScene, looking.volume)[1])
    tick(ui.renderingCheckBox)
    assert ui.renderingCheckBox.checked
    assert slicer.app.layoutManager().standInResets == resets + 2
    tick(ui.surfacesCheckBox)
    assert not are_surfaces_shown(looking.segmentation)
    tick(ui.renderingCheckBox)
    assert not ui.renderingCheckBox.checked


def test_the_layout_and_back(panel: Any, looking: SimpleNamespace) -> None:
    layout_node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    layout_node.SetViewArrangement(layout_node.SlicerLayoutOneUpRedSliceView)
    assert not looking.ui.layoutBeforeButton.enabled
    press(looking.ui.readingLayoutButton)
    assert layout_node.GetViewArrangement() == LAYOUT_ID
    table_view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLTableViewNode")
    assert table_view.GetTableNode() is panel.logic.getParameterNode().outputTable
    press(looking.ui.layoutBeforeButton)
    assert layout_node.GetViewArrangement() == layout_node.SlicerLayoutOneUpRedSliceView


def test_the_result_is_shown_in_the_layout_with_its_chart(
    panel: Any,
    chest: Any,
) -> None:
    layout_node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    layout_node.SetViewArrangement(layout_node.SlicerLayoutConventionalView)
    press(panel.ui.segmentButton)
    assert layout_node.GetViewArrangement() == LAYOUT_ID
    assert panel.logic.getParameterNode().layoutBefore == layout_node.SlicerLayoutConventionalView
    plot_view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotViewNode")
    assert plot_view.GetPlotChartNode() is lobe_chart_of(slicer.mrmlScene, chest)
    assert section(panel, "LookingSection").ui.lobesCheckBox.visible


def let_slicer_lay_out() -> None:
    """Give the views of a new layout their sizes, which Qt does with its next events."""
    for _ in range(4):
        # Timers that are started meanwhile come due in the next round, on a busy machine, too.
        QTest.qWait(250)


def test_a_new_result_is_seen_whole_in_every_layout(panel: Any, chest: Any, stand_in: Any) -> None:
    layout_node = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
    layout_node.SetViewArrangement(layout_node.SlicerLayoutOneUpRedSliceView)
    let_slicer_lay_out()
    press(panel.ui.segmentButton)
    let_slicer_lay_out()
    assert errors(stand_in) == []
    nodes = [slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}") for name in SLICE_VIEWS]
    assert [node.GetOrientation() for node in nodes] == list(SLICE_VIEWS.values())
    bounds = np.zeros(6)
    chest.GetRASBounds(bounds)
    lower, upper = bounds[::2], bounds[1::2]
    for node in nodes:
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        across = np.abs(matrix[:3, :2]).round().astype(bool)
        for axis in range(2):
            (direction,) = np.flatnonzero(across[:, axis])
            middle = (lower + upper)[direction] / 2
            assert matrix[direction, 3] == pytest.approx(middle, abs=chest.GetSpacing()[direction])
            assert node.GetFieldOfView()[axis] >= (upper - lower)[direction] - 1e-3
    offsets_mm = [node.GetSliceOffset() for node in nodes]

    press(section(panel, "LookingSection").ui.layoutBeforeButton)
    let_slicer_lay_out()
    red = nodes[0]
    assert red.GetSliceOffset() == pytest.approx(offsets_mm[0])
    width, height, _ = red.GetDimensions()
    width_mm, height_mm, _ = red.GetFieldOfView()
    assert width > height
    # The height sets the zoom of the one wide view.
    assert height_mm == pytest.approx((upper - lower)[1], rel=0.01)
    assert width_mm == pytest.approx(height_mm * width / height, rel=0.01)


def test_a_visited_lesion_lies_in_the_middle_of_all_views(
    panel: Any, looking: SimpleNamespace
) -> None:
    press(looking.ui.readingLayoutButton)
    let_slicer_lay_out()
    press(section(panel, "LesionsSection").ui.largestLesionButton)
    for name in SLICE_VIEWS:
        node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}")
        # 10 mm of lesion: as near as it is sensible.
        assert min(node.GetFieldOfView()[:2]) == pytest.approx(80)
        matrix = slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())
        labels = label_map(looking.segmentation, looking.volume)
        place = np.round(looking_at(looking.volume, matrix[:3, 3])).astype(int)
        assert labels[tuple(place)] == GGO.value


def looking_at(volume: Any, ras: np.ndarray) -> np.ndarray:
    """Indices (z, y, x) of a place."""
    to_index = vtk.vtkMatrix4x4()
    volume.GetRASToIJKMatrix(to_index)
    return (slicer.util.arrayFromVTKMatrix(to_index) @ [*ras, 1.0])[2::-1]


def axis_labels() -> list[str]:
    """What the x axis of the plot view says beside its title."""
    QTest.qWait(20)
    widget = slicer.app.layoutManager().plotWidget(0)
    labels = widget.plotView().chart().GetAxis(1).GetTickLabels()
    return [labels.GetValue(index) for index in range(labels.GetNumberOfValues())]


def test_the_axis_names_the_lobes_as_long_as_their_chart_is_shown(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    names = [lobe.short_name for lobe in LOBES]
    assert axis_labels() == names
    plot_view = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLPlotViewNode")
    lobes = plot_view.GetPlotChartNodeID()
    # Another module shows its chart in the same view, this one is not open.
    slicer.util.selectModule("Plots")
    curves = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotChartNode", "curves")
    plot_view.SetPlotChartNodeID(curves.GetID())
    assert not set(names) & set(axis_labels())
    plot_view.SetPlotChartNodeID(lobes)
    assert axis_labels() == names


def test_the_axis_names_the_lobes_of_a_scene_that_is_loaded(
    panel: Any, chest: Any, tmp_path: Path
) -> None:
    press(panel.ui.segmentButton)
    path = str(tmp_path / "scene.mrb")
    assert slicer.mrmlScene.WriteToMRB(path)
    slicer.mrmlScene.Clear(0)
    assert not {lobe.short_name for lobe in LOBES} & set(axis_labels())
    assert slicer.mrmlScene.ReadFromMRB(path)
    assert axis_labels() == [lobe.short_name for lobe in LOBES]


def test_the_boxes_say_the_same_in_a_scene_that_was_saved_and_loaded(
    panel: Any,
    looking: SimpleNamespace,
    tmp_path: Path,
    stand_in: Any,
) -> None:
    ui = looking.ui
    for box in (ui.ggoCheckBox, ui.vesselsCheckBox, ui.densityCheckBox, ui.enhancedCheckBox):
        tick(box)
    for box in (ui.surfacesCheckBox, ui.renderingCheckBox):
        tick(box)
    names = [name for name in vars(ui) if name.endswith("CheckBox")]
    before = {name: getattr(ui, name).checked for name in names}
    assert sum(before.values()) == 8
    path = tmp_path / "scene.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear(0)
    assert not ui.densityCheckBox.checked
    assert slicer.mrmlScene.ReadFromMRB(str(path))

    assert errors(stand_in) == []
    assert {name: getattr(ui, name).checked for name in names} == before
