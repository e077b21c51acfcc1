"""A label map as a segmentation node, and back, in Slicer's real scene."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")
vtk = pytest.importorskip("vtk")

from CovidLungQuantLib.errors import BadInputError  # noqa: E402
from CovidLungQuantLib.files.segmentation_reading import read_segmentation  # noqa: E402
from CovidLungQuantLib.files.segmentation_writing import write_segmentation  # noqa: E402
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, NORMAL_LUNG  # noqa: E402
from CovidLungQuantLib.mrml.nodes import no_new_nodes_on_error, results_of  # noqa: E402
from CovidLungQuantLib.mrml.segmentation import (  # noqa: E402
    PROVENANCE_ATTRIBUTE,
    note_edits,
    segmentation_from_node,
    segmentation_to_node,
)
from CovidLungQuantLib.mrml.segments import BINARY_LABELMAP, CLOSED_SURFACE  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_to_node, fill_image, voxels  # noqa: E402
from CovidLungQuantLib.terminology import terminology_entry  # noqa: E402
from Testing.Python.small_chest import (  # noqa: E402
    MODEL_NAME,
    OBLIQUE,
    SHAPE,
    a_ct,
    a_label_map,
    a_quantification,
)


@pytest.fixture
def volume_node(scene):
    return ct_to_node(scene, a_ct())


@pytest.fixture
def segmentation_node(scene, volume_node):
    return segmentation_to_node(scene, a_quantification(), volume_node)


def segment_of(segmentation_node, label):
    return segmentation_node.GetSegmentation().GetSegment(label.segment_id)


def tag(segment, name):
    value = vtk.reference("")
    assert segment.GetTag(name, value), name
    return str(value)


def codes(warnings):
    return [warning.code for warning in warnings]


def add_segment(segmentation_node, volume_node, mask, name, segment_id="", entry=None):
    """Draw a segment of its own layer, as the Segment Editor does."""
    image = slicer.vtkOrientedImageData()
    fill_image(image, mask.astype(np.uint8))
    matrix = vtk.vtkMatrix4x4()
    volume_node.GetIJKToRASMatrix(matrix)
    image.SetImageToWorldMatrix(matrix)
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation(BINARY_LABELMAP, image)
    if entry is not None:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
    assert segmentation_node.GetSegmentation().AddSegment(segment, segment_id)


def moved(segmentation_node, scene, matrix):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    vtk_matrix = vtk.vtkMatrix4x4()
    vtk_matrix.DeepCopy(np.asarray(matrix, dtype=float).ravel().tolist())
    transform.SetMatrixTransformToParent(vtk_matrix)
    segmentation_node.SetAndObserveTransformNodeID(transform.GetID())


def item_parent(scene, node):
    hierarchy = scene.GetSubjectHierarchyNode()
    return hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))


@pytest.mark.parametrize("direction", [np.eye(3), np.diag([-1.0, 1.0, -1.0]), OBLIQUE])
def test_labels_come_back_exactly(scene, direction):
    ct = a_ct(direction)
    volume_node = ct_to_node(scene, ct)
    node = segmentation_to_node(scene, a_quantification(ct), volume_node)
    labels, warnings = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert labels.dtype == np.uint8
    assert warnings == ()


def test_the_segments_lie_on_exactly_the_volumes_voxels(volume_node, segmentation_node):
    image = segment_of(segmentation_node, GGO).GetRepresentation(BINARY_LABELMAP)
    directions = [np.zeros((3, 3)), np.zeros((3, 3))]
    image.GetDirections(directions[0])
    volume_node.GetIJKToRASDirections(directions[1])
    np.testing.assert_array_equal(*directions)
    assert image.GetSpacing() == volume_node.GetSpacing()
    assert image.GetOrigin() == volume_node.GetOrigin()


def test_three_segments_share_one_layer_under_their_label_values(segmentation_node):
    segmentation = segmentation_node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3
    assert segmentation.GetNumberOfLayers() == 1
    for index, label in enumerate(LABELS):
        segment = segment_of(segmentation_node, label)
        assert segmentation.GetNthSegmentID(index) == label.segment_id
        assert segment.GetLabelValue() == label.value
        assert segment.GetName() == label.name
        assert segment.GetColor() == label.color


def test_segments_carry_terminology_and_algorithm(segmentation_node):
    for label in LABELS:
        segment = segment_of(segmentation_node, label)
        assert tag(segment, "TerminologyEntry") == terminology_entry(label)
        assert tag(segment, "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
        assert tag(segment, "DICOM.SegmentAlgorithmName") == MODEL_NAME


def test_the_node_says_what_made_it(segmentation_node):
    provenance = json.loads(segmentation_node.GetAttribute(PROVENANCE_ATTRIBUTE))
    assert provenance == asdict(a_quantification().provenance)


def test_a_label_map_that_no_model_made_is_not_called_automatic(scene, volume_node):
    node = segmentation_to_node(scene, a_quantification(model_name=None), volume_node)
    assert tag(segment_of(node, GGO), "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"


def test_normal_lung_is_drawn_faintly(segmentation_node):
    display = segmentation_node.GetDisplayNode()
    for label in LABELS:
        assert display.GetSegmentOpacity2DFill(label.segment_id) == label.opacity


def test_the_reference_geometry_is_the_volumes(volume_node, segmentation_node):
    role = segmentation_node.GetReferenceImageGeometryReferenceRole()
    assert segmentation_node.GetNodeReferenceID(role) == volume_node.GetID()


def test_the_segmentation_lies_in_the_volumes_study(scene, volume_node):
    hierarchy = scene.GetSubjectHierarchyNode()
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P")
    study = hierarchy.CreateStudyItem(patient, "S")
    hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volume_node), study)
    node = segmentation_to_node(scene, a_quantification(), volume_node)
    assert item_parent(scene, node) == study


def test_the_segmentation_follows_the_volumes_transform(scene, volume_node):
    moved(volume_node, scene, [[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    node = segmentation_to_node(scene, a_quantification(), volume_node)
    assert node.GetTransformNodeID() == volume_node.GetTransformNodeID()
    np.testing.assert_array_equal(segmentation_from_node(node, volume_node)[0], a_label_map())


def test_segmenting_twice_updates_the_same_node(scene, volume_node, segmentation_node):
    nodes_before = scene.GetNumberOfNodes()
    labels = a_label_map()
    labels[labels == GGO.value] = HIGH_OPACITY.value
    again = segmentation_to_node(
        scene, a_quantification(labels=labels), volume_node, segmentation_node
    )
    assert again is segmentation_node
    assert scene.GetNumberOfNodes() == nodes_before
    assert again.GetSegmentation().GetNumberOfSegments() == 3
    assert again.GetSegmentation().GetNumberOfLayers() == 1
    np.testing.assert_array_equal(segmentation_from_node(again, volume_node)[0], labels)


def test_updating_keeps_segments_that_are_none_of_ours(scene, volume_node, segmentation_node):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0, 0, :5] = True
    add_segment(segmentation_node, volume_node, mask, "Heart", "Heart")
    segmentation_to_node(scene, a_quantification(), volume_node, segmentation_node)
    image = slicer.vtkOrientedImageData()
    assert segmentation_node.GetBinaryLabelmapRepresentation("Heart", image)
    assert np.count_nonzero(voxels(image)) == 5
    labels, warnings = segmentation_from_node(segmentation_node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert codes(warnings) == ["segment_ignored"]


def test_updating_replaces_copies_of_our_segments(scene, volume_node, segmentation_node):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[0] = True
    add_segment(segmentation_node, volume_node, mask, "more", entry=terminology_entry(GGO))
    segmentation_to_node(scene, a_quantification(), volume_node, segmentation_node)
    assert segmentation_node.GetSegmentation().GetNumberOfSegments() == 3


def test_updating_renews_a_surface_that_is_shown(scene, volume_node, segmentation_node):
    segmentation_node.CreateClosedSurfaceRepresentation()
    labels = a_label_map()
    labels[labels == GGO.value] = NORMAL_LUNG.value
    labels[3, 5, 4] = GGO.value
    segmentation_to_node(scene, a_quantification(labels=labels), volume_node, segmentation_node)
    surface = segment_of(segmentation_node, GGO).GetRepresentation(CLOSED_SURFACE)
    bounds = np.array(surface.GetBounds())
    assert np.all(np.abs(bounds[1::2] - bounds[::2]) < 2 * max(a_ct().geometry.spacing_mm))


def test_updating_a_node_that_holds_only_a_surface(scene, volume_node):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surface")
    sphere = vtk.vtkSphereSource()
    sphere.SetCenter(volume_node.GetOrigin())
    sphere.SetRadius(5)
    sphere.Update()
    segment = slicer.vtkSegment()
    segment.SetName("Heart")
    segment.AddRepresentation(CLOSED_SURFACE, sphere.GetOutput())
    node.SetSourceRepresentationToClosedSurface()
    assert node.GetSegmentation().AddSegment(segment, "Heart")
    segmentation_to_node(scene, a_quantification(), volume_node, node)
    labels, _ = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert node.GetSegmentation().GetSegment("Heart") is not None


def test_two_scans_keep_their_own_results(scene):
    first, second = a_ct(name="first"), a_ct(np.eye(3), name="second")
    volumes = [ct_to_node(scene, ct) for ct in (first, second)]
    labels = a_label_map()
    labels[labels == GGO.value] = NORMAL_LUNG.value
    runs = [a_quantification(first), a_quantification(second, labels)]
    nodes = [
        segmentation_to_node(scene, run, volume) for run, volume in zip(runs, volumes, strict=True)
    ]
    for volume, node, run in zip(volumes, nodes, runs, strict=True):
        assert results_of(scene, volume) == (node, None)
        np.testing.assert_array_equal(segmentation_from_node(node, volume)[0], run.labels)


def test_renamed_segments_and_nodes_are_still_found(volume_node, segmentation_node):
    segmentation_node.SetName("renamed")
    volume_node.SetName("also renamed")
    for index, label in enumerate(LABELS):
        segment_of(segmentation_node, label).SetName(f"Segment {index}")
    labels, warnings = segmentation_from_node(segmentation_node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()


@pytest.mark.parametrize("by", ["terminology", "name"])
def test_segments_with_other_ids_are_found(scene, volume_node, by):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawn by hand")
    for label in LABELS:
        add_segment(
            node,
            volume_node,
            a_label_map() == label.value,
            name=label.name.upper() if by == "name" else "x",
            entry=terminology_entry(label) if by == "terminology" else None,
        )
    labels, warnings = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()


def test_a_segment_retagged_as_another_class_is_said(volume_node, segmentation_node):
    segment = segment_of(segmentation_node, GGO)
    segment.SetTag("TerminologyEntry", terminology_entry(HIGH_OPACITY))
    labels, warnings = segmentation_from_node(segmentation_node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert codes(warnings) == ["segment_retagged"]


def test_an_empty_segment_of_another_name_is_nothing_to_warn_of(volume_node, segmentation_node):
    segmentation_node.GetSegmentation().AddEmptySegment("Segment_1", "Segment_1")
    _, warnings = segmentation_from_node(segmentation_node, volume_node)
    assert warnings == ()


def test_a_deleted_lesion_segment_counts_as_empty_and_is_said(volume_node, segmentation_node):
    segmentation_node.GetSegmentation().RemoveSegment(GGO.segment_id)
    labels, warnings = segmentation_from_node(segmentation_node, volume_node)
    expected = a_label_map()
    expected[expected == GGO.value] = 0
    np.testing.assert_array_equal(labels, expected)
    assert codes(warnings) == ["segment_missing"]


def test_without_normal_lung_nothing_is_measured(volume_node, segmentation_node):
    segmentation_node.GetSegmentation().RemoveSegment(NORMAL_LUNG.segment_id)
    with pytest.raises(BadInputError, match='no segment "Normal lung"'):
        segmentation_from_node(segmentation_node, volume_node)


def test_an_empty_segmentation_is_refused(scene, volume_node):
    nothing = np.zeros(SHAPE, dtype=np.uint8)
    run = replace(a_quantification(), labels=nothing)
    node = segmentation_to_node(scene, run, volume_node)
    with pytest.raises(BadInputError, match="is empty"):
        segmentation_from_node(node, volume_node)
    with pytest.raises(BadInputError, match="No segmentation"):
        segmentation_from_node(None, volume_node)


def test_where_segments_overlap_the_higher_class_wins(volume_node, segmentation_node):
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 4:8, 3:5] = True
    add_segment(segmentation_node, volume_node, mask, "high opacity")
    labels, warnings = segmentation_from_node(segmentation_node, volume_node)
    expected = a_label_map()
    expected[mask] = HIGH_OPACITY.value
    np.testing.assert_array_equal(labels, expected)
    assert codes(warnings) == ["segments_overlap"]
    assert " 8 voxels" in warnings[0].message


def test_a_shifted_segmentation_is_read_where_it_lies(scene):
    ct = a_ct(np.eye(3))
    volume_node = ct_to_node(scene, ct)
    node = segmentation_to_node(scene, a_quantification(ct), volume_node)
    shift = np.eye(4)
    shift[2, 3] = 2 * ct.geometry.spacing_mm[2]
    moved(node, scene, shift)
    labels, warnings = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels[4:], a_label_map()[2:10])
    assert not labels[:4].any()
    assert warnings == ()
    shift[2, 3] = 5 * ct.geometry.spacing_mm[2]
    moved(node, scene, shift)
    labels, warnings = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels[7:], a_label_map()[2:7])
    assert "segment_outside_volume" in codes(warnings)


def test_a_segmentation_on_another_grid_is_resampled_and_said(scene):
    ct = a_ct(np.eye(3))
    volume_node = ct_to_node(scene, ct)
    run = a_quantification(ct)
    node = segmentation_to_node(scene, run, volume_node)
    # Twice as fine in every direction: the voxel centres of the CT stay inside the same labels.
    fine = np.repeat(np.repeat(np.repeat(run.labels, 2, 0), 2, 1), 2, 2)
    image = segment_of(node, GGO).GetRepresentation(BINARY_LABELMAP)
    spacing, origin = np.array(volume_node.GetSpacing()), np.array(volume_node.GetOrigin())
    directions = np.zeros((3, 3))
    volume_node.GetIJKToRASDirections(directions)
    fill_image(image, fine)
    image.SetSpacing(spacing / 2)
    image.SetOrigin(origin - directions @ spacing / 4)
    labels, warnings = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, run.labels)
    assert set(codes(warnings)) == {"segmentation_resampled"}


def test_edits_are_noted(volume_node, segmentation_node):
    labels, _ = segmentation_from_node(segmentation_node, volume_node)
    assert not note_edits(segmentation_node, labels)
    assert tag(segment_of(segmentation_node, GGO), "DICOM.SegmentAlgorithmType") == "AUTOMATIC"
    voxels(segment_of(segmentation_node, GGO).GetRepresentation(BINARY_LABELMAP))[3, 5, 4] = 1
    labels, _ = segmentation_from_node(segmentation_node, volume_node)
    assert note_edits(segmentation_node, labels)
    for label in LABELS:
        segment = segment_of(segmentation_node, label)
        assert tag(segment, "DICOM.SegmentAlgorithmType") == "SEMIAUTOMATIC"


def test_a_label_map_of_another_size_leaves_the_scene_as_it_was(scene, volume_node):
    nodes_before = scene.GetNumberOfNodes()
    run = replace(a_quantification(), labels=np.ones((3, 4, 5), dtype=np.uint8))
    with pytest.raises(BadInputError, match="segment the volume again"):
        segmentation_to_node(scene, run, volume_node)
    assert scene.GetNumberOfNodes() == nodes_before


def test_nodes_of_a_failed_call_are_removed(scene, volume_node):
    ids_before = [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())]
    with pytest.raises(KeyboardInterrupt), no_new_nodes_on_error(scene):
        segmentation_to_node(scene, a_quantification(), volume_node)
        raise KeyboardInterrupt
    assert [scene.GetNthNode(i).GetID() for i in range(scene.GetNumberOfNodes())] == ids_before
    hierarchy = scene.GetSubjectHierarchyNode()
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    assert items.GetNumberOfIds() == 1


def test_a_deleted_segmentation_is_no_longer_a_result(scene, volume_node, segmentation_node):
    scene.RemoveNode(segmentation_node)
    assert results_of(scene, volume_node) == (None, None)


def load(scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "loaded")
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def test_the_file_the_command_line_writes_opens_as_three_named_segments(
    scene, volume_node, tmp_path
):
    path = tmp_path / "segmentation.seg.nrrd"
    write_segmentation(path, a_label_map(), a_ct().geometry, MODEL_NAME)
    node = load(scene, path)
    assert node.GetSegmentation().GetNumberOfSegments() == 3
    assert node.GetSegmentation().GetNumberOfLayers() == 1
    for label in LABELS:
        segment = segment_of(node, label)
        assert segment.GetName() == label.name
        np.testing.assert_allclose(segment.GetColor(), label.color, atol=1e-6)
        assert tag(segment, "TerminologyEntry") == terminology_entry(label)
        assert tag(segment, "DICOM.SegmentAlgorithmName") == MODEL_NAME
    labels, warnings = segmentation_from_node(node, volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()


def test_what_slicer_saves_the_command_line_reads(scene, segmentation_node, volume_node, tmp_path):
    path = tmp_path / "saved.seg.nrrd"
    storage = scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
    storage.SetFileName(str(path))
    assert storage.WriteData(segmentation_node)
    labels, warnings = read_segmentation(path, a_ct().geometry)
    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()
    labels, warnings = segmentation_from_node(load(scene, path), volume_node)
    np.testing.assert_array_equal(labels, a_label_map())
    assert warnings == ()
