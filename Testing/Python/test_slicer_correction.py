"""Correcting in the panel: real strokes through Slicer's own segment-editor logic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import slicer
from PySide6.QtTest import QTest
from slicer_panel import errors, label_map, press, section

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, NORMAL_LUNG
from CovidLungQuantLib.measures.correction import correction_of
from CovidLungQuantLib.mrml.lobes import lobes_from_node, lobes_of
from CovidLungQuantLib.mrml.machine_labels import machine_labels_of
from CovidLungQuantLib.mrml.segmentation import ALGORITHM_TYPE_TAG, AUTOMATIC, SEMIAUTOMATIC
from CovidLungQuantLib.mrml.segments import tag_of
from CovidLungQuantLib.mrml.table import correction_from_node, is_stale, record_from_node
from CovidLungQuantLib.mrml.volumes import ct_from_node
from CovidLungQuantLib.pipeline import measure
from Testing.slicer_stand_in.segment_editor import Editor

WAIT_MS = 700
PATIENCE_MS = 20_000
# Within the right lung of the synthetic chest, and a box of soft tissue between the lungs.
IN_THE_LUNG = (slice(18, 22), slice(29, 34), slice(18, 22))
BETWEEN_THE_LUNGS = (slice(18, 21), slice(30, 33), slice(31, 33))


@pytest.fixture
def corrected(panel: Any, chest: Any) -> Iterator[Any]:
    """The panel after Segment and Correct."""
    press(panel.ui.segmentButton)
    press(panel.ui.correctButton)
    yield panel


def let_slicer_count(table_node: Any) -> None:
    """Let a stroke be counted, which a busy machine does later."""
    QTest.qWait(WAIT_MS)
    for _ in range(PATIENCE_MS // 100):
        if not is_stale(table_node):
            return
        QTest.qWait(100)


def nodes(widget: Any) -> tuple[Any, Any]:
    chosen = widget.logic.getParameterNode()
    return chosen.outputSegmentation, chosen.outputTable


def shown_numbers(table_node: Any) -> Any:
    return record_from_node(table_node).measurements.regions


def counted_anew(volume_node: Any, segmentation_node: Any) -> Any:
    lobes, _ = lobes_from_node(lobes_of(slicer.mrmlScene, volume_node), volume_node)
    labels = label_map(segmentation_node, volume_node)
    return measure(ct_from_node(volume_node), labels, lobes=lobes).measurements.regions


def algorithm_types(segmentation_node: Any) -> set[str]:
    segmentation = segmentation_node.GetSegmentation()
    return {
        tag_of(segmentation.GetSegment(label.segment_id), ALGORITHM_TYPE_TAG) for label in LABELS
    }


def test_correct_opens_segment_editor_within_the_lungs(
    corrected: Any,
    chest: Any,
    stand_in: Any,
) -> None:
    assert errors(stand_in) == []
    assert stand_in.selected_modules[-1] == "SegmentEditor"
    segmentation_node, _ = nodes(corrected)
    editor_node = Editor().node
    assert editor_node.GetSegmentationNode() is segmentation_node
    assert editor_node.GetSourceVolumeNode() is chest
    assert editor_node.GetMaskMode() == segmentation_node.EditAllowedInsideAllSegments
    assert editor_node.GetOverwriteMode() == editor_node.OverwriteAllSegments
    assert editor_node.GetSelectedSegmentID() == GGO.segment_id


def test_painting_takes_from_the_others_and_stays_within_the_lungs(
    corrected: Any,
    chest: Any,
) -> None:
    segmentation_node, _ = nodes(corrected)
    before = label_map(segmentation_node, chest)
    editor = Editor()
    editor.paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    editor.paint(GGO.segment_id, BETWEEN_THE_LUNGS)
    after = label_map(segmentation_node, chest)
    np.testing.assert_array_equal(after > 0, before > 0)
    inside = np.zeros(before.shape, bool)
    inside[IN_THE_LUNG] = True
    assert (after[inside & (before > 0)] == HIGH_OPACITY.value).all()
    np.testing.assert_array_equal(after[~inside & (before == 0)], 0)


def test_a_stroke_marks_the_table_at_once_and_counts_soon_without_the_network(
    corrected: Any,
    chest: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import CovidLungQuantLib.pipeline as pipeline

    monkeypatch.setattr(pipeline, "quantify", None)
    monkeypatch.setattr(pipeline, "measure", None)
    segmentation_node, table_node = nodes(corrected)
    before = shown_numbers(table_node)
    Editor().paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    assert is_stale(table_node)
    assert "Out of date" in table_node.GetDescription()
    assert shown_numbers(table_node) == before
    assert corrected.ui.staleLabel.text == "Numbers out of date; counting again…"

    let_slicer_count(table_node)
    monkeypatch.undo()
    assert not is_stale(table_node)
    assert "Out of date" not in table_node.GetDescription()
    assert shown_numbers(table_node) != before
    assert shown_numbers(table_node) == counted_anew(chest, segmentation_node)
    assert not corrected.ui.staleLabel.visible


def test_strokes_after_measuring_again_count_changed_voxels_alone(
    corrected: Any,
    chest: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import CovidLungQuantLib.pipeline as pipeline

    segmentation_node, table_node = nodes(corrected)
    corrected.logic.measure(chest, segmentation_node, table_node)
    monkeypatch.setattr(pipeline, "measure", None)
    Editor().paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    corrected.logic.recount(chest, segmentation_node, table_node)
    monkeypatch.undo()
    assert shown_numbers(table_node) == counted_anew(chest, segmentation_node)


def test_machine_and_corrected_numbers_stand_side_by_side(
    corrected: Any,
    chest: Any,
) -> None:
    segmentation_node, table_node = nodes(corrected)
    assert not corrected.ui.correctionTable.visible
    machine = label_map(segmentation_node, chest)
    Editor().paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    let_slicer_count(table_node)
    corrected.enter()
    np.testing.assert_array_equal(machine_labels_of(slicer.mrmlScene, chest), machine)
    expected = correction_of(
        machine,
        label_map(segmentation_node, chest),
        ct_from_node(chest).geometry.voxel_volume_ml,
    )
    assert expected.changed_voxels > 0
    assert correction_from_node(table_node) == expected
    high_opacity = next(row for row in expected.structures if row.structure == HIGH_OPACITY.name)
    table = corrected.ui.correctionTable
    assert [table.item(3, column).text() for column in range(3)] == [
        f"{high_opacity.machine_ml:.1f}",
        f"{high_opacity.corrected_ml:.1f}",
        f"{high_opacity.dice:.3f}",
    ]
    assert corrected.ui.correctionLabel.text.startswith(f"{expected.changed_voxels} voxels")
    assert corrected.ui.modelInfoLabel.text.endswith("corrected by hand")


def test_undo_and_redo_keep_table_and_segments_together(
    corrected: Any,
    chest: Any,
) -> None:
    segmentation_node, table_node = nodes(corrected)
    before = shown_numbers(table_node)
    editor = Editor()
    editor.paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    let_slicer_count(table_node)
    painted = shown_numbers(table_node)

    editor.logic.Undo()
    assert is_stale(table_node)
    let_slicer_count(table_node)
    assert shown_numbers(table_node) == before
    assert correction_from_node(table_node).changed_voxels == 0

    editor.logic.Redo()
    let_slicer_count(table_node)
    assert shown_numbers(table_node) == painted == counted_anew(chest, segmentation_node)


def test_a_corrected_result_is_semi_automatic(corrected: Any) -> None:
    segmentation_node, table_node = nodes(corrected)
    assert algorithm_types(segmentation_node) == {AUTOMATIC}
    Editor().paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    let_slicer_count(table_node)
    assert algorithm_types(segmentation_node) == {SEMIAUTOMATIC}


def test_strokes_leave_the_lungs_only_when_asked(panel: Any, chest: Any) -> None:
    press(panel.ui.segmentButton)
    panel.ui.mayLeaveLungsCheckBox.checked = True
    assert panel._parameterNode.mayLeaveLungs
    press(panel.ui.correctButton)
    segmentation_node, table_node = nodes(panel)
    lung_before = np.count_nonzero(label_map(segmentation_node, chest))
    Editor().paint(NORMAL_LUNG.segment_id, BETWEEN_THE_LUNGS)
    assert np.count_nonzero(label_map(segmentation_node, chest)) > lung_before
    let_slicer_count(table_node)
    assert "changed by hand" in " ".join(
        warning.message for warning in record_from_node(table_node).warnings
    )
    voxel_ml = ct_from_node(chest).geometry.voxel_volume_ml
    assert shown_numbers(table_node)[0].volume_ml == pytest.approx(
        np.count_nonzero(label_map(segmentation_node, chest)) * voxel_ml
    )


def test_the_machines_result_survives_saving_and_loading(
    corrected: Any,
    chest: Any,
    tmp_path: Any,
) -> None:
    segmentation_node, table_node = nodes(corrected)
    machine = label_map(segmentation_node, chest)
    Editor().paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    let_slicer_count(table_node)
    correction, numbers = correction_from_node(table_node), shown_numbers(table_node)
    path = tmp_path / "half-way.mrb"
    assert slicer.mrmlScene.WriteToMRB(str(path))
    slicer.mrmlScene.Clear(0)
    assert slicer.mrmlScene.ReadFromMRB(str(path))

    corrected.enter()
    chosen = corrected.logic.getParameterNode()
    np.testing.assert_array_equal(machine_labels_of(slicer.mrmlScene, chosen.inputVolume), machine)
    assert correction_from_node(chosen.outputTable) == correction
    assert shown_numbers(chosen.outputTable) == numbers
    assert corrected.ui.correctionTable.visible

    # The first stroke after loading measures the whole scan, later ones count changed voxels.
    press(corrected.ui.correctButton)
    Editor().paint(NORMAL_LUNG.segment_id, IN_THE_LUNG)
    section(corrected, "CorrectionSection").onRecountTimer()
    assert shown_numbers(chosen.outputTable) == counted_anew(
        chosen.inputVolume, chosen.outputSegmentation
    )
    assert not is_stale(chosen.outputTable)


def test_a_corrected_result_measured_again_still_names_its_model(
    corrected: Any,
    chest: Any,
) -> None:
    segmentation_node, table_node = nodes(corrected)
    machine = record_from_node(table_node).provenance
    before = label_map(segmentation_node, chest)
    Editor().paint(HIGH_OPACITY.segment_id, IN_THE_LUNG)
    changed = int((label_map(segmentation_node, chest) != before).sum())
    corrected.logic.measure(chest, segmentation_node, table_node)
    record = record_from_node(table_node)
    assert changed > 0 and machine["model_name"] is not None
    for field in ("model_name", "model_sha256", "device"):
        assert record.provenance[field] == machine[field]
    assert record.provenance["options"]["changed_voxels"] == changed
    assert record.provenance["options"]["kinds"] == machine["options"]["kinds"]

    other = corrected.logic.measure(chest, segmentation_node, None)[1]
    assert record_from_node(other).provenance["model_name"] is None
