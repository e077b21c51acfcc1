"""The kept machine's label map, and reading a segmentation quickly, in Slicer's real scene."""

from __future__ import annotations

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from CovidLungQuantLib.ct import CTVolume, Geometry  # noqa: E402
from CovidLungQuantLib.labels import GGO, LABELS  # noqa: E402
from CovidLungQuantLib.mrml.machine_labels import (  # noqa: E402
    machine_labels_of,
    machine_labels_to_node,
)
from CovidLungQuantLib.mrml.nodes import results_of  # noqa: E402
from CovidLungQuantLib.mrml.segmentation import labels_after_stroke, segmentation_from_node  # noqa: E402
from CovidLungQuantLib.mrml.segments import make_segments, replace_segments  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_to_node, voxels  # noqa: E402

SHAPE = (6, 8, 10)
GEOMETRY = Geometry(SHAPE, (1.0, 1.0, 2.0), (0.0, 0.0, 0.0), np.eye(3))


@pytest.fixture
def volume_node(scene):
    return ct_to_node(scene, CTVolume(np.zeros(SHAPE, np.int16), GEOMETRY, "scan"))


@pytest.fixture
def labels() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 2:7, 2:9] = 1
    labels[2, 3, 3:6] = 2
    labels[3, 4, 4] = 3
    return labels


def segmentation_of(scene, volume_node, labels):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn")
    replace_segments(node, volume_node, [], make_segments(labels, LABELS, "model", volume_node))
    return node


def test_the_machines_labels_come_back(scene, volume_node, labels):
    assert machine_labels_of(scene, volume_node) is None
    node = machine_labels_to_node(scene, labels, volume_node, "model")
    np.testing.assert_array_equal(machine_labels_of(scene, volume_node), labels)
    assert node.GetHideFromEditors()
    assert not node.GetDisplayVisibility()


def test_they_are_not_taken_for_the_result(scene, volume_node, labels):
    machine_labels_to_node(scene, labels, volume_node, "model")
    assert results_of(scene, volume_node) == (None, None)


def test_a_new_run_replaces_them(scene, volume_node, labels):
    node = machine_labels_to_node(scene, labels, volume_node, "model")
    newer = np.where(labels == 3, 2, labels).astype(np.uint8)
    assert machine_labels_to_node(scene, newer, volume_node, "model") is node
    np.testing.assert_array_equal(machine_labels_of(scene, volume_node), newer)


def test_a_segmentation_is_read_at_once_as_it_is_one_by_one(scene, volume_node, labels):
    node = segmentation_of(scene, volume_node, labels)
    np.testing.assert_array_equal(labels_after_stroke(node, volume_node), labels)
    assert node.GetSegmentation().GetNumberOfLayers() == 1


def test_segments_in_layers_of_their_own_are_read_too(scene, volume_node, labels):
    node = segmentation_of(scene, volume_node, labels)
    node.GetSegmentation().SeparateSegmentLabelmap(GGO.segment_id)
    assert node.GetSegmentation().GetNumberOfLayers() == 2
    np.testing.assert_array_equal(labels_after_stroke(node, volume_node), labels)


def test_another_segment_in_the_same_image_is_no_label(scene, volume_node, labels):
    node = segmentation_of(scene, volume_node, labels)
    segmentation = node.GetSegmentation()
    image = segmentation.GetSegment(GGO.segment_id).GetRepresentation("Binary labelmap")
    other = slicer.vtkSegment()
    other.SetName("Rib")
    other.SetLabelValue(9)
    other.AddRepresentation("Binary labelmap", image)
    segmentation.AddSegment(other, "Rib")
    voxels(image)[0, 0, 0] = 9
    expected, _ = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels_after_stroke(node, volume_node), expected)
    assert expected[0, 0, 0] == 0
