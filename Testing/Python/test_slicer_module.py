"""The Slicer module and its panel, run unchanged in the stand-in with the real MRML scene.

Buttons are pressed with the mouse; what happens in the middle of a run is put into Qt's queue and
so comes between two looks at the worker, as in Slicer. The network is small and random, except
where a test says otherwise.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtCore import QTimer
from PySide6.QtTest import QTest
from sentences import is_one_sentence
from slicer_panel import (
    MODULE_FILE,
    MODULE_NAME,
    draw_lobes,
    draw_segments,
    errors,
    label_map,
    press,
    use_small_model,
)

from CovidLungQuantLib.errors import Cancelled, CovidLungQuantError
from CovidLungQuantLib.labels import DISCLAIMER, LOBES
from CovidLungQuantLib.lesions.kinds import KIND_CHOICES
from CovidLungQuantLib.models.registry import available_models
from CovidLungQuantLib.mrml.lobes import lobes_from_node, lobes_of
from CovidLungQuantLib.mrml.lungs_so_far import LUNGS_SO_FAR, lungs_so_far
from CovidLungQuantLib.mrml.nodes import (
    CHART_REFERENCE_ROLE,
    LOBES_REFERENCE_ROLE,
    MACHINE_REFERENCE_ROLE,
)
from CovidLungQuantLib.mrml.segments import segment_mask
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from CovidLungQuantLib.pipeline import measure, quantify
from CovidLungQuantLib.quantification import Options
from Testing.slicer_stand_in import application
from Testing.slicer_stand_in.pythonqt import UnknownSlicerName

ROOT = Path(__file__).resolve().parents[2]


def during_the_run(action: Callable[[], None]) -> None:
    QTimer.singleShot(0, action)


def nodes_of(class_name: str) -> list[Any]:
    """Nodes of a class but lobes, their chart with its table, and the kept machine's labels."""
    return [
        node
        for node in slicer.util.getNodesByClass(class_name)
        if not any(
            node.GetNodeReferenceID(role)
            for role in (LOBES_REFERENCE_ROLE, CHART_REFERENCE_ROLE, MACHINE_REFERENCE_ROLE)
        )
    ]


def scene_state() -> dict[str, tuple[str, int]]:
    """Every node but the module's parameters with its name and time of change.

    Of the subject hierarchy the number of items counts: what a run shows for a while has one.

    Views that are still being laid out, as after a start or a run, are waited for.
    """
    state, before = _scene_now(), None
    while state != before:
        QTest.qWait(250)
        state, before = _scene_now(), state
    return state


def _scene_now() -> dict[str, tuple[str, int]]:
    count = slicer.mrmlScene.GetNumberOfNodes()
    nodes = [slicer.mrmlScene.GetNthNode(index) for index in range(count)]
    return {
        node.GetID(): (
            node.GetName(),
            node.GetNumberOfItems() if node.IsA("vtkMRMLSubjectHierarchyNode") else node.GetMTime(),
        )
        for node in nodes
        if not node.IsA("vtkMRMLScriptedModuleNode")
    }


def expected_labels(volume_node: Any, model: str | None) -> np.ndarray:
    return quantify(ct_from_node(volume_node), Options(device="cpu", model=model)).labels


def cell(widget: Any, row: int, column: int) -> str:
    return widget.ui.resultsTable.item(row, column).text()


# Before a run


def test_without_a_volume_the_button_is_off_and_says_why(panel: Any) -> None:
    assert not panel.ui.segmentButton.enabled
    assert panel.ui.segmentButton.toolTip == "Select a CT volume first."
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == []


def test_the_first_volume_is_selected_when_it_is_loaded(panel: Any, chest: Any) -> None:
    assert panel.ui.inputVolumeSelector.currentNode() is chest
    assert panel.ui.segmentButton.enabled
    assert not panel.ui.measureButton.enabled
    assert not panel.ui.cancelButton.enabled


def test_the_panel_shows_the_disclaimer(panel: Any) -> None:
    assert panel.ui.disclaimerLabel.text == DISCLAIMER


def test_the_choices_are_kept_in_the_parameter_node(panel: Any, chest: Any) -> None:
    panel.ui.deviceComboBox.setCurrentIndex(panel.ui.deviceComboBox.findData("auto"))
    panel.ui.modelComboBox.setCurrentIndex(panel.ui.modelComboBox.findData(""))
    node = panel.logic.chosenParameterSet()
    assert node.GetParameter("device") == "auto"
    assert node.GetParameter("model") == ""
    assert node.GetNodeReference("inputVolume") is chest
    assert panel.ui.deviceComboBox.currentText == "Automatic"


def test_every_way_to_tell_opacities_apart_is_offered_and_kept(panel: Any) -> None:
    box = panel.ui.kindsComboBox
    assert [box.itemData(index) for index in range(box.count)] == list(KIND_CHOICES)
    assert box.currentData == Options().kinds == panel._parameterNode.kinds
    box.setCurrentIndex(box.findData("artery"))
    node = panel.logic.chosenParameterSet()
    assert node.GetParameter("kinds") == "artery"


def test_a_choice_from_a_saved_scene_is_shown_even_if_unknown(panel: Any) -> None:
    panel._parameterNode.device = "mps"
    assert panel.ui.deviceComboBox.currentData == "mps"


# A run


def test_segment_writes_what_the_library_computes(
    panel: Any, chest: Any, model_path: str, stand_in: application.StandIn
) -> None:
    press(panel.ui.segmentButton)

    assert errors(stand_in) == []
    (segmentation_node,) = nodes_of("vtkMRMLSegmentationNode")
    (table_node,) = nodes_of("vtkMRMLTableNode")
    expected = quantify(ct_from_node(chest), Options(device="cpu", model=model_path))
    np.testing.assert_array_equal(label_map(segmentation_node, chest), expected.labels)
    assert expected.labels.any()
    assert record_from_node(table_node).measurements.regions == expected.measurements.regions
    assert panel.ui.segmentationSelector.currentNode() is segmentation_node
    assert panel.ui.tableSelector.currentNode() is table_node
    assert panel.ui.segmentButton.enabled
    assert panel.ui.measureButton.enabled
    assert not panel.ui.progressBar.visible


def test_a_run_follows_the_chosen_way_to_tell_opacities_apart(
    panel: Any, chest: Any, model_path: str
) -> None:
    box = panel.ui.kindsComboBox
    box.setCurrentIndex(box.findData("network"))
    press(panel.ui.segmentButton)

    (segmentation_node,) = nodes_of("vtkMRMLSegmentationNode")
    options = Options(device="cpu", model=model_path, kinds="network")
    expected = quantify(ct_from_node(chest), options)
    np.testing.assert_array_equal(label_map(segmentation_node, chest), expected.labels)
    record = record_from_node(nodes_of("vtkMRMLTableNode")[0])
    assert record.provenance["options"]["kinds"] == "network"
    assert KIND_CHOICES["network"] in record.measurements.notes[-1]


def test_the_results_table_shows_the_numbers(panel: Any, chest: Any, model_path: str) -> None:
    press(panel.ui.segmentButton)
    both, right, left, *_lobes_and_regions = quantify(
        ct_from_node(chest), Options(device="cpu", model=model_path)
    ).measurements.regions
    assert [cell(panel, 0, column) for column in range(3)] == [
        f"{region.volume_ml:.0f}" for region in (both, right, left)
    ]
    assert cell(panel, 7, 0) == f"{both.lesion_percent:.1f}"
    assert cell(panel, 8, 1) == f"{right.mean_hu:.0f}"


def test_the_model_is_named_with_its_hash(panel: Any, chest: Any, model_path: str) -> None:
    press(panel.ui.segmentButton)
    sha256 = Path(model_path).with_suffix(".pt.sha256").read_text(encoding="utf-8").split()[0]
    assert panel.ui.modelInfoLabel.text == f"Model small (SHA-256 {sha256[:12]}…) on cpu"
    assert sha256 in panel.ui.modelInfoLabel.toolTip
    assert panel.ui.modelInfoLabel.visible


def test_warnings_are_shown_only_when_there_are_some(panel: Any, chest: Any) -> None:
    assert not panel.ui.warningsLabel.visible
    press(panel.ui.segmentButton)
    record = record_from_node(panel._parameterNode.outputTable)
    messages = [warning.message for warning in (*record.warnings, *record.measurements.warnings)]
    # The slices of the synthetic chest are 7 mm thick, which is worth a warning.
    assert messages
    assert panel.ui.warningsLabel.visible
    assert panel.ui.warningsLabel.text == "\n".join(dict.fromkeys(messages))


def test_the_result_is_shown_over_the_volume(panel: Any, chest: Any) -> None:
    slice_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    composite_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    press(panel.ui.segmentButton)
    display = panel._parameterNode.outputSegmentation.GetDisplayNode()
    assert display.GetVisibility2DFill()
    assert display.GetVisibility2DOutline()
    assert (chest.GetDisplayNode().GetWindow(), chest.GetDisplayNode().GetLevel()) == (1500, -400)
    assert composite_node.GetBackgroundVolumeID() == chest.GetID()
    assert slice_node is not None


def test_the_views_go_to_the_larger_lesion(panel: Any, chest: Any, model_path: str) -> None:
    slice_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceNode")
    slice_node.SetOrientationToAxial()
    segmentation_node, _ = panel.logic.segment(chest, model=model_path, device="cpu")
    draw_segments(segmentation_node, chest)
    panel.logic.showResult(*((chest, *panel.logic.measure(chest, segmentation_node))))
    # The GGO is drawn on slices 18 to 21, 7 mm apart.
    assert 18 * 7.0 <= slice_node.GetSliceOffset() <= 21 * 7.0


def test_lungs_without_lesions_are_shown_too(panel: Any, chest: Any, model_path: str) -> None:
    segmentation_node, _ = panel.logic.segment(chest, model=model_path, device="cpu")
    draw_segments(segmentation_node, chest, with_lesions=False)
    panel.logic.showResult(*((chest, *panel.logic.measure(chest, segmentation_node))))
    assert segmentation_node.GetDisplayNode().GetVisibility2DFill()


def test_progress_is_reported_while_the_worker_computes_elsewhere(
    panel: Any, chest: Any, model_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import CovidLungQuantLib.pipeline as pipeline

    computed_in, reported_in, fractions = [], [], []
    original = pipeline.quantify

    def recorded(*arguments: Any) -> Any:
        computed_in.append(threading.current_thread())
        return original(*arguments)

    def progress(fraction: float, message: str) -> None:
        reported_in.append(threading.current_thread())
        fractions.append(fraction)

    monkeypatch.setattr(pipeline, "quantify", recorded)
    panel.logic.segment(chest, model=model_path, device="cpu", progress=progress)
    assert set(reported_in) == {threading.main_thread()}
    assert len(computed_in) == 1
    assert computed_in[0] is not threading.main_thread()
    assert fractions == sorted(fractions)
    assert 0.0 < fractions[-1] <= 1.0


def test_the_lungs_are_shown_while_lesions_are_looked_for_in_a_new_scan(
    panel: Any, chest: Any, model_path: str
) -> None:
    shown: list[tuple[int, str]] = []

    def progress(fraction: float, message: str) -> None:
        node = lungs_so_far(slicer.mrmlScene)
        if node is not None:
            mask = segment_mask(node, LUNGS_SO_FAR.segment_id, chest, [])
            shown.append((int(mask.sum()), message))

    segmentation, table = panel.logic.segment(
        chest, model=model_path, device="cpu", progress=progress
    )
    assert len({count for count, _ in shown}) == 1
    found: list[np.ndarray] = []
    options = Options(device="cpu", model=model_path)
    quantify(ct_from_node(chest), options, show_lungs=found.append)
    assert [count for count, _ in shown[:1]] == [int((lungs > 0).sum()) for lungs in found]
    assert lungs_so_far(slicer.mrmlScene) is None

    shown.clear()
    panel.logic.segment(
        chest, segmentation, table, model=model_path, device="cpu", progress=progress
    )
    assert shown == []


def test_lungs_that_are_shown_go_when_the_run_is_cancelled(panel: Any, chest: Any) -> None:
    def cancel_once_shown() -> None:
        if lungs_so_far(slicer.mrmlScene) is None:
            QTimer.singleShot(5, cancel_once_shown)
        else:
            seen.append(panel.ui.cancelButton.enabled)
            press(panel.ui.cancelButton)

    seen: list[bool] = []
    during_the_run(cancel_once_shown)
    press(panel.ui.segmentButton)
    assert seen == [True]
    assert nodes_of("vtkMRMLSegmentationNode") == []
    assert panel.ui.statusLabel.text == "Cancelled; the scene is as it was."


def test_while_a_run_is_on_only_cancel_can_be_pressed(panel: Any, chest: Any) -> None:
    seen = []

    def look() -> None:
        press(panel.ui.segmentButton)
        press(panel.ui.measureButton)
        seen.append(
            (
                panel.ui.segmentButton.enabled,
                panel.ui.cancelButton.enabled,
                panel.ui.progressBar.visible,
                panel.ui.inputsCollapsibleButton.enabled,
            )
        )

    during_the_run(look)
    press(panel.ui.segmentButton)
    assert seen == [(False, True, True, False)]
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1
    assert panel.ui.inputsCollapsibleButton.enabled


def test_a_script_cannot_start_a_second_run_meanwhile(
    panel: Any, chest: Any, model_path: str
) -> None:
    refused = []

    def start_another() -> None:
        try:
            panel.logic.segment(chest, model=model_path, device="cpu")
        except CovidLungQuantError as error:
            refused.append(str(error))

    during_the_run(start_another)
    press(panel.ui.segmentButton)
    assert refused == ["A run is already on; wait for it or cancel it."]
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


# Again, and with other volumes


def test_a_label_map_is_not_offered_as_a_scan(panel: Any) -> None:
    slicer.util.addVolumeFromArray(
        np.ones((4, 5, 6), dtype=np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    assert panel.ui.inputVolumeSelector.currentNode() is None
    assert panel._parameterNode.inputVolume is None


def test_a_saved_scene_brings_its_choices_and_results_back(
    panel: Any, chest: Any, model_path: str, tmp_path: Path
) -> None:
    press(panel.ui.segmentButton)
    shown = [cell(panel, row, column) for row in range(10) for column in range(3)]
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear(0)
    assert cell(panel, 0, 0) == ""
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert panel.ui.inputVolumeSelector.currentNode().GetName() == chest.GetName()
    assert panel.ui.segmentationSelector.currentNode() is nodes_of("vtkMRMLSegmentationNode")[0]
    assert panel.ui.deviceComboBox.currentText == "CPU"
    assert panel.ui.modelComboBox.currentData == model_path
    assert [cell(panel, row, column) for row in range(10) for column in range(3)] == shown


def test_segmenting_twice_updates_the_chosen_nodes(panel: Any, chest: Any, model_path: str) -> None:
    press(panel.ui.segmentButton)
    first = (panel._parameterNode.outputSegmentation, panel._parameterNode.outputTable)
    slicer.util.arrayFromVolume(chest)[8:18, 34:42, 15:23] = -500
    slicer.util.arrayFromVolumeModified(chest)
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == [first[0]]
    assert nodes_of("vtkMRMLTableNode") == [first[1]]
    np.testing.assert_array_equal(label_map(first[0], chest), expected_labels(chest, model_path))


def test_two_scans_keep_their_own_results(
    panel: Any, chest: Any, module: ModuleType, model_path: str
) -> None:
    press(panel.ui.segmentButton)
    first = panel._parameterNode.outputSegmentation
    first_labels = label_map(first, chest)
    first_volume_text = cell(panel, 0, 0)
    other = module.makeSyntheticChest()
    slicer.util.arrayFromVolume(other)[:, :, :31] = -1000
    slicer.util.arrayFromVolume(other)[:, 12:52, 4:31] = 40
    slicer.util.arrayFromVolumeModified(other)

    panel.ui.inputVolumeSelector.setCurrentNode(other)
    assert panel.ui.segmentationSelector.currentNode() is None
    assert cell(panel, 0, 0) == ""
    press(panel.ui.segmentButton)
    second = panel._parameterNode.outputSegmentation
    assert second is not first
    assert len(nodes_of("vtkMRMLTableNode")) == 2
    np.testing.assert_array_equal(label_map(first, chest), first_labels)
    np.testing.assert_array_equal(label_map(second, other), expected_labels(other, model_path))

    panel.ui.inputVolumeSelector.setCurrentNode(chest)
    assert panel.ui.segmentationSelector.currentNode() is first
    assert cell(panel, 0, 0) == first_volume_text


def test_new_nodes_made_in_the_selectors_are_filled(panel: Any, chest: Any) -> None:
    segmentation_node = panel.ui.segmentationSelector.addNode()
    table_node = panel.ui.tableSelector.addNode()
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == [segmentation_node]
    assert nodes_of("vtkMRMLTableNode") == [table_node]
    assert cell(panel, 0, 0) != ""


def test_a_deleted_output_is_made_anew(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    slicer.mrmlScene.RemoveNode(panel._parameterNode.outputSegmentation)
    assert not panel.ui.measureButton.enabled
    press(panel.ui.segmentButton)
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1
    assert len(nodes_of("vtkMRMLTableNode")) == 1


def test_an_output_deleted_during_the_run_is_made_anew(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    old = panel._parameterNode.outputTable
    during_the_run(lambda: slicer.mrmlScene.RemoveNode(old))
    press(panel.ui.segmentButton)
    assert len(nodes_of("vtkMRMLTableNode")) == 1
    assert panel._parameterNode.outputTable is not old


# Lobes


def test_lobes_are_found_where_none_are_chosen(panel: Any, chest: Any) -> None:
    assert panel.ui.lobesSelector.currentNode() is None
    press(panel.ui.segmentButton)
    record = record_from_node(panel._parameterNode.outputTable)
    assert record.provenance["options"]["lobes"] == "automatic"


def test_chosen_lobes_are_segmented_and_measured_with(
    panel: Any, chest: Any, model_path: str, stand_in: application.StandIn
) -> None:
    node, lobes = draw_lobes(chest)
    panel.ui.lobesSelector.setCurrentNode(node)
    assert panel._parameterNode.lobes is node
    press(panel.ui.segmentButton)
    assert errors(stand_in) == []
    record = record_from_node(panel._parameterNode.outputTable)
    expected = quantify(ct_from_node(chest), Options(device="cpu", model=model_path), lobes=lobes)
    assert record.measurements.regions == expected.measurements.regions
    assert record.provenance["options"]["lobes"] == "given"

    lobes[26:][lobes[26:] == LOBES[0].value] = LOBES[2].value
    slicer.util.updateVolumeFromArray(node, lobes)
    press(panel.ui.measureButton)
    again = record_from_node(panel._parameterNode.outputTable).measurements
    assert again == measure(ct_from_node(chest), expected.labels, lobes=lobes).measurements
    assert again.lobes != expected.measurements.lobes


def test_a_node_without_lobes_is_refused_in_one_sentence(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Empty")
    panel.ui.lobesSelector.setCurrentNode(empty)
    press(panel.ui.segmentButton)
    (message,) = errors(stand_in)
    assert "Empty" in message
    assert is_one_sentence(message)
    assert nodes_of("vtkMRMLTableNode") == []


def test_the_panel_shows_lobes_and_scores(panel: Any, chest: Any) -> None:
    assert not panel.ui.lobesTable.visible
    assert not panel.ui.severityLabel.visible
    node, _ = draw_lobes(chest)
    panel.ui.lobesSelector.setCurrentNode(node)
    press(panel.ui.segmentButton)
    measurements = record_from_node(panel._parameterNode.outputTable).measurements
    severity = measurements.severity
    assert panel.ui.lobesTable.visible
    for row, (lobe, scores) in enumerate(zip(measurements.lobes, severity.lobes, strict=True)):
        assert [panel.ui.lobesTable.item(row, column).text() for column in range(5)] == [
            f"{lobe.volume_ml:.0f}",
            f"{lobe.ggo_percent:.1f}",
            f"{lobe.high_opacity_percent:.1f}",
            f"{lobe.lesion_percent:.1f}",
            str(scores.ct_score),
        ]
    assert panel.ui.severityLabel.text.startswith(f"CT score {severity.ct_score}/25 · ")
    assert f"Total severity {severity.total_severity_score}/20" in panel.ui.severityLabel.text


def test_lobes_of_one_volume_are_not_used_for_another(
    panel: Any, chest: Any, module: ModuleType
) -> None:
    node, _ = draw_lobes(chest)
    panel.ui.lobesSelector.setCurrentNode(node)
    panel.ui.inputVolumeSelector.setCurrentNode(module.makeSyntheticChest())
    assert panel._parameterNode.lobes is None
    assert panel.ui.lobesSelector.currentNode() is None


# Measuring again


def test_measure_counts_the_corrected_segmentation(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    press(panel.ui.segmentButton)
    segmentation_node = panel._parameterNode.outputSegmentation
    labels = draw_segments(segmentation_node, chest)
    lobes, _ = lobes_from_node(lobes_of(slicer.mrmlScene, chest), chest)
    press(panel.ui.measureButton)
    assert errors(stand_in) == []
    expected = measure(ct_from_node(chest), labels, lobes=lobes).measurements
    assert record_from_node(panel._parameterNode.outputTable).measurements == expected
    assert cell(panel, 2, 0) == f"{expected.regions[0].ggo_ml:.1f}"
    assert len(nodes_of("vtkMRMLTableNode")) == 1
    assert panel.ui.modelInfoLabel.text.startswith("Model small ")
    assert panel.ui.modelInfoLabel.text.endswith("corrected by hand")
    np.testing.assert_array_equal(label_map(segmentation_node, chest), labels)


@pytest.mark.slow
@pytest.mark.parametrize("agreed", [False, True])
def test_corrections_are_not_overwritten_without_asking(
    panel: Any, chest: Any, stand_in: application.StandIn, model_path: str, agreed: bool
) -> None:
    press(panel.ui.segmentButton)
    assert stand_in.messages == []
    segmentation_node = panel._parameterNode.outputSegmentation
    corrected = draw_segments(segmentation_node, chest)
    stand_in.confirm_answer = agreed
    press(panel.ui.segmentButton)
    ((kind, question),) = stand_in.messages
    assert kind == "confirm"
    assert segmentation_node.GetName() in question
    np.testing.assert_array_equal(
        label_map(segmentation_node, chest),
        expected_labels(chest, model_path) if agreed else corrected,
    )


def test_a_table_edited_by_hand_is_not_shown_as_a_result(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    table_node = panel._parameterNode.outputTable
    column = table_node.GetTable().GetColumn(1)
    column.SetValue(0, column.GetValue(0) * 2)
    table_node.Modified()
    assert cell(panel, 0, 0) == ""
    assert panel.ui.warningsLabel.visible


# Stopping


def test_cancel_leaves_the_scene_as_it_was(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    before = scene_state()
    during_the_run(lambda: press(panel.ui.cancelButton))
    press(panel.ui.segmentButton)
    assert scene_state() == before
    assert panel.ui.statusLabel.text == "Cancelled; the scene is as it was."
    assert errors(stand_in) == []
    assert panel.ui.segmentButton.enabled
    assert not panel.ui.cancelButton.enabled


def test_cancelling_a_second_run_keeps_the_first_result(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    before = scene_state()
    volume_text = cell(panel, 0, 0)
    during_the_run(lambda: press(panel.ui.cancelButton))
    press(panel.ui.segmentButton)
    assert scene_state() == before
    assert cell(panel, 0, 0) == volume_text


def test_a_failure_is_one_sentence_and_leaves_the_scene(
    panel: Any, stand_in: application.StandIn
) -> None:
    slicer.util.addVolumeFromArray(np.full((20, 32, 32), 40, dtype=np.int16), name="No chest")
    before = scene_state()
    press(panel.ui.segmentButton)
    (message,) = errors(stand_in)
    assert is_one_sentence(message)
    assert scene_state() == before
    assert panel.ui.segmentButton.enabled


def test_an_unexpected_failure_is_said_and_leaves_the_scene(
    panel: Any, chest: Any, stand_in: application.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    import CovidLungQuantLib.pipeline as pipeline

    def fail(*arguments: Any, **options: Any) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(pipeline, "measure_lungs", fail)
    before = scene_state()
    press(panel.ui.segmentButton)
    (message,) = errors(stand_in)
    assert "a fault" in message
    assert scene_state() == before


def test_closing_the_scene_during_a_run_stops_it(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    during_the_run(lambda: slicer.mrmlScene.Clear(0))
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == []
    assert nodes_of("vtkMRMLTableNode") == []
    assert errors(stand_in) == []
    assert not panel.ui.segmentButton.enabled
    assert not panel.logic.isRunning


def test_after_closing_the_scene_the_next_scan_can_be_segmented(
    panel: Any, chest: Any, module: ModuleType, model_path: str
) -> None:
    during_the_run(lambda: slicer.mrmlScene.Clear(0))
    press(panel.ui.segmentButton)
    module.makeSyntheticChest()
    use_small_model(panel, model_path)
    press(panel.ui.segmentButton)
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


def test_removing_the_volume_during_a_run_stops_it(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    during_the_run(lambda: slicer.mrmlScene.RemoveNode(chest))
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == []
    assert nodes_of("vtkMRMLTableNode") == []
    assert errors(stand_in) == []
    assert not panel.ui.segmentButton.enabled


def test_changing_the_volume_during_a_run_discards_the_result(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    def change() -> None:
        slicer.util.arrayFromVolume(chest)[20, 30, 20] = -300
        slicer.util.arrayFromVolumeModified(chest)

    during_the_run(change)
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == []
    (message,) = errors(stand_in)
    assert "changed during the run" in message


def test_touching_the_volume_without_changing_it_does_no_harm(panel: Any, chest: Any) -> None:
    during_the_run(lambda: slicer.util.arrayFromVolumeModified(chest))
    press(panel.ui.segmentButton)
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


def test_moving_the_volume_during_a_run_discards_the_result(
    panel: Any, chest: Any, stand_in: application.StandIn
) -> None:
    during_the_run(lambda: chest.SetOrigin(1.0, 2.0, 3.0))
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == []
    assert len(errors(stand_in)) == 1


def test_stopping_says_why(panel: Any, chest: Any) -> None:
    during_the_run(lambda: slicer.mrmlScene.RemoveNode(chest))
    press(panel.ui.segmentButton)
    assert panel.ui.statusLabel.text == "Stopped: the volume is no longer in the scene."


def test_renaming_the_volume_during_a_run_does_no_harm(panel: Any, chest: Any) -> None:
    during_the_run(lambda: chest.SetName("Renamed"))
    press(panel.ui.segmentButton)
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


def test_reloading_the_module_during_a_run_stops_it(
    panel: Any, chest: Any, stand_in: application.StandIn, model_path: str
) -> None:
    during_the_run(panel.onReload)
    press(panel.ui.segmentButton)
    assert nodes_of("vtkMRMLSegmentationNode") == []
    assert errors(stand_in) == []

    reloaded = slicer.modules.CovidLungQuantWidget
    assert reloaded is not panel
    assert reloaded.ui.inputVolumeSelector.currentNode() is chest
    press(reloaded.ui.segmentButton)
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


def test_leaving_the_module_does_not_stop_a_run(panel: Any, chest: Any) -> None:
    during_the_run(panel.parent.exit)
    press(panel.ui.segmentButton)
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1
    panel.parent.enter()
    assert panel.ui.inputVolumeSelector.currentNode() is chest
    assert panel.ui.segmentationSelector.currentNode() is not None


# Scripts


def test_the_script_interface_gives_the_same_label_map(
    panel: Any, chest: Any, model_path: str
) -> None:
    logic = slicer.util.getModuleLogic(MODULE_NAME)
    segmentation_node, table_node = logic.segment(chest, model=model_path, device="cpu")
    np.testing.assert_array_equal(
        label_map(segmentation_node, chest), expected_labels(chest, model_path)
    )
    measured = logic.measure(chest, segmentation_node)
    assert measured[0] is segmentation_node
    assert measured[1] is not table_node
    again, before = (record_from_node(node).measurements for node in (measured[1], table_node))
    assert again.regions == before.regions


def test_options_are_given_as_the_librarys_or_by_their_names(
    panel: Any, chest: Any, model_path: str
) -> None:
    options = Options(device="cpu", model=model_path, kinds="network")
    segmentation_node, table_node = panel.logic.segment(chest, options=options)
    labels = label_map(segmentation_node, chest)
    np.testing.assert_array_equal(labels, quantify(ct_from_node(chest), options).labels)
    chosen = record_from_node(table_node).provenance["options"]
    assert (chosen["kinds"], chosen["mirror"]) == ("network", False)

    by_name = panel.logic.segment(chest, model=model_path, device="cpu", kinds="network")
    np.testing.assert_array_equal(label_map(by_name[0], chest), labels)
    # A name wins over the same field of the options.
    _, both_node = panel.logic.segment(chest, options=options, kinds="thresholds", mirror=True)
    both = record_from_node(both_node).provenance["options"]
    assert (both["kinds"], both["mirror"], both["model"]) == ("thresholds", True, "small.pt")


def test_options_of_another_kind_are_refused(panel: Any, chest: Any, model_path: str) -> None:
    before = scene_state()
    with pytest.raises(CovidLungQuantError, match="options"):
        panel.logic.segment(chest, None, None, model_path)
    assert scene_state() == before


def test_what_is_chosen_in_the_panel_is_one_set_of_options(panel: Any, model_path: str) -> None:
    chosen = panel._parameterNode
    chosen.kinds, chosen.airwaysAndVessels = "artery", "remove"
    chosen.enhance = chosen.mirror = True
    assert panel.logic.chosenOptions(chosen) == Options(
        device="cpu",
        model=model_path,
        kinds="artery",
        airways_and_vessels="remove",
        enhance=True,
        mirror=True,
        keep_probability=True,
    )
    chosen.model = ""
    assert panel.logic.chosenOptions(chosen).model is None


def test_the_panel_follows_a_script_that_measures_again(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    chosen = panel._parameterNode
    draw_segments(chosen.outputSegmentation, chest)
    panel.logic.measure(chest, chosen.outputSegmentation, chosen.outputTable)
    both = record_from_node(chosen.outputTable).measurements.regions[0]
    assert cell(panel, 2, 0) == f"{both.ggo_ml:.1f}"
    assert both.ggo_ml > 0


def test_a_script_may_cancel_from_its_progress_callback(
    panel: Any, chest: Any, model_path: str
) -> None:
    def stop(fraction: float, message: str) -> None:
        raise Cancelled("Enough.")

    before = scene_state()
    with pytest.raises(Cancelled, match="Enough"):
        panel.logic.segment(chest, model=model_path, device="cpu", progress=stop)
    assert scene_state() == before
    assert not panel.logic.isRunning


def test_a_rotated_volume_and_its_segments_stay_together(
    panel: Any, chest: Any, model_path: str
) -> None:
    import vtk

    rotation = vtk.vtkTransform()
    rotation.RotateX(20)
    rotation.Translate(5, 10, 15)
    transform_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform_node.SetMatrixTransformToParent(rotation.GetMatrix())
    chest.SetAndObserveTransformNodeID(transform_node.GetID())
    press(panel.ui.segmentButton)
    segmentation_node = panel._parameterNode.outputSegmentation
    assert segmentation_node.GetTransformNodeID() == transform_node.GetID()
    np.testing.assert_array_equal(
        label_map(segmentation_node, chest), expected_labels(chest, model_path)
    )


@pytest.mark.slow
def test_the_modules_own_test_passes_with_the_shipped_model(
    panel: Any, module: ModuleType, stand_in: application.StandIn, model_path: str
) -> None:
    if not available_models():
        pytest.skip("No model is shipped yet.")
    test = module.CovidLungQuantTest()
    # Training the shipped network takes minutes here.
    test.model = model_path
    test.runTest()
    assert stand_in.messages[-1] == ("delay", "All tests passed.")


# PyTorch


def hide_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Python believe that torch is not installed."""
    monkeypatch.setitem(sys.modules, "torch", None)


def offer_torch_extension(monkeypatch: pytest.MonkeyPatch, install: Callable[..., Any]) -> None:
    """Put Slicer's PyTorch extension in place, with `install` as what it does."""
    extension = ModuleType("PyTorchUtils")
    extension.PyTorchUtilsLogic = lambda: SimpleNamespace(installTorch=install)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)


def test_without_torch_and_its_extension_the_user_is_told_what_to_do(
    panel: Any, chest: Any, stand_in: application.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide_torch(monkeypatch)
    press(panel.ui.segmentButton)
    (message,) = errors(stand_in)
    assert "Install the PyTorch extension" in message
    assert nodes_of("vtkMRMLSegmentationNode") == []


def test_torch_is_not_installed_without_consent(
    panel: Any, chest: Any, stand_in: application.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = []
    hide_torch(monkeypatch)
    offer_torch_extension(monkeypatch, lambda **options: installed.append(options))
    stand_in.confirm_answer = False
    press(panel.ui.segmentButton)
    ((kind, question),) = stand_in.messages
    assert kind == "confirm"
    for told in ("pytorch.org", "GB", "PyTorch extension"):
        assert told in question
    assert installed == []
    assert panel.ui.statusLabel.text == "PyTorch was not installed."


def test_torch_is_installed_after_consent_and_the_run_goes_on(
    panel: Any, chest: Any, stand_in: application.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = sys.modules["torch"]
    options_seen = []

    def install(**options: Any) -> Any:
        options_seen.append(options)
        monkeypatch.setitem(sys.modules, "torch", torch)
        return torch

    hide_torch(monkeypatch)
    offer_torch_extension(monkeypatch, install)
    press(panel.ui.segmentButton)
    assert options_seen == [{"askConfirmation": False, "torchVersionRequirement": ">=2.2"}]
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


def test_a_failed_installation_is_said(
    panel: Any, chest: Any, stand_in: application.StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(**options: Any) -> Any:
        raise RuntimeError("no network")

    hide_torch(monkeypatch)
    offer_torch_extension(monkeypatch, install)
    press(panel.ui.segmentButton)
    (message,) = errors(stand_in)
    assert "could not be installed" in message


# Other packages


@pytest.fixture
def without_jinja(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the panel believe that Jinja2 is not installed; what pip is asked for."""
    from CovidLungQuantPanel import install

    is_installed, asked_for = install._isInstalled, []

    def missing(package: str) -> bool:
        return is_installed(package) and (package != "jinja2" or bool(asked_for))

    monkeypatch.setattr(install, "_isInstalled", missing)
    monkeypatch.setattr(slicer.util, "pip_install", asked_for.append)
    return asked_for


def test_the_panel_asks_for_the_versions_that_the_library_needs(module: ModuleType) -> None:
    from CovidLungQuantPanel.install import REQUIREMENTS, TORCH_VERSION_REQUIREMENT

    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for requirement in (*REQUIREMENTS.values(), f"torch{TORCH_VERSION_REQUIREMENT}"):
        assert f'"{requirement}"' in project


def test_a_missing_package_is_not_installed_without_consent(
    panel: Any, chest: Any, stand_in: application.StandIn, without_jinja: list[str]
) -> None:
    stand_in.confirm_answer = False
    press(panel.ui.segmentButton)
    ((kind, question),) = stand_in.messages
    assert kind == "confirm"
    for told in ("jinja2", "pypi.org", "No data leave"):
        assert told in question
    assert without_jinja == []
    assert nodes_of("vtkMRMLSegmentationNode") == []


def test_a_missing_package_is_installed_after_consent_and_the_run_goes_on(
    panel: Any, chest: Any, stand_in: application.StandIn, without_jinja: list[str]
) -> None:
    press(panel.ui.segmentButton)
    assert [kind for kind, _text in stand_in.messages] == ["confirm"]
    assert without_jinja == ["Jinja2>=3.1"]
    assert len(nodes_of("vtkMRMLSegmentationNode")) == 1


def test_a_package_that_cannot_be_installed_is_said(
    panel: Any,
    chest: Any,
    stand_in: application.StandIn,
    without_jinja: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(requirement: str) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(slicer.util, "pip_install", fail)
    press(panel.ui.segmentButton)
    (message,) = errors(stand_in)
    assert message.startswith("jinja2 could not be installed")
    assert nodes_of("vtkMRMLSegmentationNode") == []


# Loading


def run_in_stand_in(module_file: Path, statements: str) -> str:
    """Load the module file in a fresh process and return what `statements` print."""
    script = (
        "from pathlib import Path; import os, sys\n"
        f"sys.path.append({str(ROOT)!r})\n"
        "from Testing.slicer_stand_in import application\n"
        "stand_in = application.start()\n"
        f"sys.path.remove({str(ROOT)!r})\n"
        "for name in [n for n in sys.modules if n.startswith('CovidLungQuantLib')]:\n"
        "    del sys.modules[name]\n"
        f"module = stand_in.load_module(Path({str(module_file)!r}))\n"
        f"{statements}\n"
        # PySide6 crashes now and then (4 of 60 times) while Python takes Qt's objects down.
        "sys.stdout.flush(); os._exit(0)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, encoding="utf-8", cwd=sys.prefix
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


def test_the_library_is_found_in_a_source_checkout() -> None:
    printed = run_in_stand_in(MODULE_FILE, "import CovidLungQuantLib as c; print(c.__file__)")
    assert Path(printed) == ROOT / "CovidLungQuantLib" / "__init__.py"


def test_the_library_is_found_beside_an_installed_module(tmp_path: Path) -> None:
    installed = tmp_path / "qt-scripted-modules"
    installed.mkdir()
    module_file = installed / MODULE_FILE.name
    module_file.write_bytes(MODULE_FILE.read_bytes())
    (installed / "CovidLungQuantLib").symlink_to(ROOT / "CovidLungQuantLib")
    for name in ("CovidLungQuantPanel", "Resources"):
        (installed / name).symlink_to(MODULE_FILE.parent / name)
    printed = run_in_stand_in(
        module_file,
        "import CovidLungQuantLib as c; print(c.__file__)\n"
        "widget = stand_in.open_panel('CovidLungQuant'); print(widget.ui.segmentButton.text)",
    )
    assert printed.splitlines() == [
        str(installed / "CovidLungQuantLib" / "__init__.py"),
        "Segment",
    ]


def test_loading_the_module_and_opening_the_panel_does_not_load_torch() -> None:
    printed = run_in_stand_in(
        MODULE_FILE,
        "stand_in.open_panel('CovidLungQuant'); print('torch' in sys.modules)",
    )
    assert printed == "False"


# The stand-in itself


def test_the_stand_in_refuses_what_slicer_does_not_have(panel: Any) -> None:
    button, selector = panel.ui.segmentButton, panel.ui.inputVolumeSelector
    with pytest.raises(UnknownSlicerName):
        button.noSuchAttribute  # noqa: B018
    with pytest.raises(UnknownSlicerName):
        button.noSuchAttribute = 1
    with pytest.raises(UnknownSlicerName):
        button.connect("pressedTwice()", lambda: None)
    with pytest.raises(UnknownSlicerName):
        selector.currentIndex  # noqa: B018  (a property of QComboBox, not of qMRMLNodeComboBox)
    with pytest.raises(UnknownSlicerName):
        slicer.app.noSuchAttribute  # noqa: B018
    with pytest.raises(UnknownSlicerName):
        sys.modules["qt"].QNoSuchClass  # noqa: B018
    with pytest.raises(TypeError):
        button.text()


def test_the_stand_in_gives_a_receiver_the_arguments_it_takes(panel: Any) -> None:
    received = []
    panel.ui.measureButton.connect("clicked(bool)", lambda: received.append("none"))
    panel.ui.measureButton.connect("clicked(bool)", lambda checked: received.append(checked))
    panel.ui.measureButton.enabled = True
    panel.logic.isTorchInstalled = lambda: False
    panel.ui.measureButton.click()
    assert received == ["none", False]
