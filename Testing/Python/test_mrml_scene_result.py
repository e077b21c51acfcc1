"""A result in the scene: its nodes, what belongs to it, and what is read is what is there now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from small_chest import a_ct, a_label_map, a_quantification
from small_result import small_quantification

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY
from CovidLungQuantLib.mrml.scene_result import (
    SceneResult,
    as_it_lies,
    newest_result,
    numbers_fit,
    provenance_of,
    read_table,
    with_model_of,
    with_record,
    write_numbers,
    write_result,
)
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node
from CovidLungQuantLib.mrml.table import measurements_to_node, record_from_node, set_stale
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node, voxels
from CovidLungQuantLib.pipeline import measure


def test_numbers_fit_their_own_label_map_and_no_other() -> None:
    run = a_quantification()
    voxel_ml = run.ct.geometry.voxel_volume_ml
    assert numbers_fit(run.measurements, run.labels, voxel_ml)
    labels = a_label_map()
    labels[3, 5, 4] = HIGH_OPACITY.value
    assert not numbers_fit(run.measurements, labels, voxel_ml)
    assert not numbers_fit(run.measurements, run.labels, 2 * voxel_ml)


def test_the_table_says_what_made_the_arrays_of_now(scene: Any) -> None:
    run = a_quantification()
    volume_node = ct_to_node(scene, run.ct)
    record = record_from_node(measurements_to_node(scene, run, volume_node))
    measured = measure(run.ct, run.labels)
    written = with_record(measured, record)
    assert written.measurements == run.measurements
    assert written.warnings == run.warnings
    assert written.provenance == run.provenance
    assert written.labels is measured.labels


def test_what_made_a_segmentation_is_known_from_its_node(scene: Any) -> None:
    run = a_quantification()
    volume_node = ct_to_node(scene, a_ct())
    segmentation_node = segmentation_to_node(scene, run, volume_node)
    assert provenance_of(segmentation_node) == run.provenance
    assert provenance_of(scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) is None


def test_a_correction_is_not_automatic_any_more() -> None:
    provenance = a_quantification().provenance
    assert provenance.is_automatic and provenance.changed_voxels == 0
    corrected = replace(provenance, options={**provenance.options, "changed_voxels": 7})
    assert corrected.changed_voxels == 7 and not corrected.is_automatic
    assert not replace(provenance, model_name=None).is_automatic


# The nodes of a result


@pytest.fixture
def written(scene: Any) -> SceneResult:
    """A small chest's result with lobes, as a run writes it."""
    run = a_quantification()
    return write_result(SceneResult(scene, ct_to_node(scene, run.ct)), run)


def test_what_is_written_is_found_and_read_again(scene: Any, written: SceneResult) -> None:
    run = a_quantification()
    assert newest_result(scene, written.volume) == written
    assert written.is_segmented and written.is_measured
    np.testing.assert_array_equal(written.labels(), run.labels)
    np.testing.assert_array_equal(written.machine_labels(), run.labels)
    assert written.record().measurements == run.measurements
    assert written.provenance() == run.provenance
    if run.lobes is not None:
        np.testing.assert_array_equal(written.read_lobes()[0], run.lobes)
        assert written.lobe_chart is not None
    assert written.airways_and_vessels is None and written.enhanced is None
    assert written.read_airways_and_vessels() == (None, ())
    assert {"normal lung", "GGO", "high opacity"} <= set(written.structures())


def test_without_a_volume_there_is_nothing(scene: Any) -> None:
    nothing = newest_result(scene, None)
    assert nothing == SceneResult(scene)
    assert not nothing.is_segmented and not nothing.is_measured
    assert nothing.lobes is None and nothing.machine_labels() is None
    assert nothing.structures() == {} and nothing.provenance() is None


def test_two_results_of_a_volume_are_kept_apart(scene: Any, written: SceneResult) -> None:
    other = write_result(SceneResult(scene, written.volume), a_quantification())
    assert other != written
    assert None not in (other.segmentation, written.segmentation)
    assert other.segmentation is not written.segmentation
    assert newest_result(scene, written.volume) == other
    taken = (other.segmentation, other.table)
    assert newest_result(scene, written.volume, taken) == written


def test_the_users_lobes_win_until_they_are_gone(scene: Any, written: SceneResult) -> None:
    mine = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "My lobes")
    result = replace(written, given_lobes=mine)
    assert result.lobes is mine and result != written
    scene.RemoveNode(mine)
    assert result.lobes is written.lobes
    assert result.present() == written


def test_nodes_that_are_gone_are_no_part_of_it(scene: Any, written: SceneResult) -> None:
    scene.RemoveNode(written.table)
    assert written.present() == replace(written, table=None)
    assert not written.present().is_measured
    again = write_numbers(written.present(), a_quantification())
    assert again.table is not written.table
    assert newest_result(scene, written.volume) == again


def test_a_result_that_is_written_again_keeps_its_nodes(written: SceneResult) -> None:
    assert write_result(written, a_quantification()) == written


def test_a_table_is_read_or_says_why_not(scene: Any, written: SceneResult) -> None:
    record, notices = read_table(written.table)
    assert record == written.record()
    assert list(notices) == list(dict.fromkeys(notices))
    assert read_table(None) == (None, ())
    assert read_table(scene.AddNewNodeByClass("vtkMRMLTableNode")) == (None, ())
    written.table.GetTable().GetColumn(1).SetValue(0, 1e6)
    record, (reason,) = read_table(written.table)
    assert record is None and written.table.GetName() in reason


def test_what_is_measured_again_names_the_network_of_its_own_result(
    scene: Any, written: SceneResult
) -> None:
    labels = a_label_map()
    labels[3, 5, 4] = HIGH_OPACITY.value
    measured = measure(a_ct(), labels)
    credited = with_model_of(written, measured)
    assert credited.provenance.model_name == a_quantification().provenance.model_name
    assert credited.provenance.changed_voxels == 1
    assert with_model_of(replace(written, table=None), measured) is measured
    other = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    assert with_model_of(replace(written, segmentation=other), measured) is measured


def test_what_the_lung_network_decided_is_still_said_after_a_correction(scene: Any) -> None:
    run = a_quantification()
    told = ScanWarning("airless_lung_counted", "40 mL of the left lung hold no air.")
    run = replace(run, warnings=(*run.warnings, told, ScanWarning("noisy", "The scan is noisy.")))
    written = write_result(SceneResult(scene, ct_to_node(scene, run.ct)), run)

    again = with_model_of(written, measure(a_ct(), a_label_map()))
    assert told in again.warnings
    labels = a_label_map()
    labels[3, 5, 4] = HIGH_OPACITY.value
    for _ in range(2):
        corrected = with_model_of(written, measure(a_ct(), labels))
        messages = [warning.message for warning in corrected.warnings]
        assert messages[0] == f"Before it was corrected: {told.message}"
        assert "The scan is noisy." not in messages
        written = write_numbers(written, corrected)


# Taken up again as it lies


def test_what_lies_in_a_saved_scene_is_what_was_measured(scene: Any, tmp_path: Any) -> None:
    run = small_quantification()
    write_result(SceneResult(scene, ct_to_node(scene, run.ct)), run)
    path = str(tmp_path / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(0)
    assert scene.ReadFromMRB(path)
    volume = scene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    lying = as_it_lies(newest_result(scene, volume), ct_from_node(volume))
    assert lying is not None
    assert lying.measurements == run.measurements
    assert lying.warnings == run.warnings and lying.provenance == run.provenance
    for name in ("labels", "lungs", "lobes", "segments"):
        np.testing.assert_array_equal(getattr(lying, name), getattr(run, name))


def test_what_does_not_fit_its_table_is_to_be_measured(scene: Any) -> None:
    run = small_quantification()
    volume = ct_to_node(scene, run.ct)
    result = write_result(SceneResult(scene, volume), run)
    assert as_it_lies(result, run.ct) is not None
    assert as_it_lies(replace(result, table=None), run.ct) is None
    set_stale(result.table, True)
    assert as_it_lies(result, run.ct) is None
    set_stale(result.table, False)
    # One voxel of the scan, one of the segments.
    inside = tuple(np.argwhere(run.labels == HIGH_OPACITY.value)[0])
    hu = run.ct.hu.copy()
    hu[inside] += 1
    assert as_it_lies(result, replace(run.ct, hu=hu)) is None
    image = result.segmentation.GetSegmentation().GetSegment(HIGH_OPACITY.segment_id)
    voxels(image.GetRepresentation("Binary labelmap"))[inside] = GGO.value
    assert as_it_lies(result, run.ct) is None
