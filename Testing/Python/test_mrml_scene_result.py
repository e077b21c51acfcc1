"""What is written is what the scene holds now."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")

from small_chest import a_ct, a_label_map, a_quantification

from CovidLungQuantLib.labels import HIGH_OPACITY
from CovidLungQuantLib.mrml.scene_result import numbers_fit, provenance_of, with_record
from CovidLungQuantLib.mrml.segmentation import segmentation_to_node
from CovidLungQuantLib.mrml.table import measurements_to_node, record_from_node
from CovidLungQuantLib.mrml.volumes import ct_to_node
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
