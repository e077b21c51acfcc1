"""Marks and preview in the scene: where the click was, what would change, and no trace after."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import slicer

from CovidLungQuantLib.ct import CTVolume
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.lesions.local_fix import LocalFix
from CovidLungQuantLib.mrml.fix_marks import (
    BECOMES_LESION,
    BECOMES_LUNG,
    begin_stroke,
    clear_marks,
    extend_stroke,
    mark_nodes,
    marked_voxels,
    preview_of,
    show_preview,
    start_marking,
)
from CovidLungQuantLib.mrml.nodes import results_of
from CovidLungQuantLib.mrml.segments import segment_mask
from CovidLungQuantLib.mrml.volumes import ct_to_node
from CovidLungQuantLib.phantom import chest_phantom


@pytest.fixture
def volume(scene: Any) -> Any:
    """A volume node with oblique axes and a shift above it."""
    ct: CTVolume = chest_phantom((20, 24, 28), (8.0, 9.0, 10.0)).ct
    node = ct_to_node(scene, ct)
    angle = np.radians(20)
    turned = np.diag([-1.0, -1.0, 1.0])
    turned[:2, :2] = -np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    node.SetIJKToRASDirections(*turned.ravel())
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = (5.0, -7.0, 11.0)
    slicer.util.updateTransformMatrixFromArray(transform, matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return node


def world_of(volume: Any, place: tuple[int, int, int]) -> list[float]:
    """Where a voxel (z, y, x) lies, worked out by VTK."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    ras = matrix.MultiplyPoint([*place[::-1], 1.0])
    shift = vtk.vtkMatrix4x4()
    volume.GetParentTransformNode().GetMatrixTransformToWorld(shift)
    return list(shift.MultiplyPoint(ras)[:3])


def test_marks_are_the_voxels_that_were_clicked(scene: Any, volume: Any) -> None:
    start_marking(scene, True).AddControlPointWorld(world_of(volume, (3, 7, 11)))
    other = start_marking(scene, False)
    other.AddControlPointWorld(world_of(volume, (10, 20, 5)))
    other.AddControlPointWorld(world_of(volume, (19, 23, 27)))
    # Outside the volume.
    other.AddControlPointWorld(world_of(volume, (25, 0, 0)))
    lesion, no_lesion = marked_voxels(scene, volume)
    assert np.argwhere(lesion).tolist() == [[3, 7, 11]]
    assert np.argwhere(no_lesion).tolist() == [[10, 20, 5], [19, 23, 27]]


def test_a_stroke_marks_the_voxels_between_its_places_too(scene: Any, volume: Any) -> None:
    stroke = begin_stroke(scene, False, world_of(volume, (5, 6, 7)))
    extend_stroke(stroke, world_of(volume, (5, 6, 12)))
    extend_stroke(stroke, world_of(volume, (5, 9, 12)))
    # Where the scan has ended.
    extend_stroke(stroke, world_of(volume, (5, 9, 40)))
    other_stroke = begin_stroke(scene, True, world_of(volume, (0, 0, 0)))
    extend_stroke(other_stroke, world_of(volume, (2, 0, 0)))
    lesion, no_lesion = marked_voxels(scene, volume)
    expected = np.zeros_like(no_lesion)
    expected[5, 6, 7:13] = expected[5, 6:10, 12] = expected[5, 9, 12:] = True
    np.testing.assert_array_equal(no_lesion, expected)
    assert np.argwhere(lesion).tolist() == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert set(mark_nodes(scene)) == {stroke, other_stroke}
    assert not stroke.GetSaveWithScene()
    clear_marks(scene)
    assert mark_nodes(scene) == ()


def test_the_next_click_places_a_mark_and_one_only(scene: Any, volume: Any) -> None:
    node = start_marking(scene, False)
    selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert selection.GetActivePlaceNodeID() == node.GetID()
    assert selection.GetActivePlaceNodeClassName() == node.GetClassName()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert interaction.GetPlaceModePersistence() == 0
    assert start_marking(scene, False) is node
    clear_marks(scene)
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert selection.GetActivePlaceNodeID() is None


def test_the_preview_is_outlined_and_no_result(scene: Any, volume: Any) -> None:
    labels = np.full((20, 24, 28), NORMAL_LUNG.value, np.uint8)
    labels[5:8, 5:8, 5:8] = GGO.value
    new = labels.copy()
    new[5, 5, 5:8], new[10, 10, 10:12] = NORMAL_LUNG.value, GGO.value
    box = (slice(4, 12), slice(4, 12), slice(4, 14))
    fix = LocalFix(new, (new != labels)[box], box)
    for _ in range(2):
        node = show_preview(scene, volume, fix)
    assert preview_of(scene) is node
    added = segment_mask(node, BECOMES_LESION.segment_id, volume, [])
    taken = segment_mask(node, BECOMES_LUNG.segment_id, volume, [])
    np.testing.assert_array_equal(added, (new != labels) & (new == GGO.value))
    np.testing.assert_array_equal(taken, (new != labels) & (new == NORMAL_LUNG.value))
    display = node.GetDisplayNode()
    for segment_id in (BECOMES_LESION.segment_id, BECOMES_LUNG.segment_id):
        assert not display.GetSegmentVisibility2DFill(segment_id)
        assert display.GetSegmentVisibility2DOutline(segment_id)
    assert results_of(scene, volume) == (None, None)
    assert not node.GetSaveWithScene()


def test_nothing_is_left_behind(scene: Any, volume: Any) -> None:
    hierarchy = scene.GetSubjectHierarchyNode()
    classes = ("vtkMRMLMarkupsNode", "vtkMRMLSegmentationNode", "vtkMRMLDisplayNode")
    before = [scene.GetNumberOfNodesByClass(name) for name in classes]
    items = hierarchy.GetNumberOfItems()
    labels = np.ones((20, 24, 28), np.uint8)
    clear_marks(scene)
    start_marking(scene, True)
    start_marking(scene, False)
    box = (slice(0, 2),) * 3
    show_preview(scene, volume, LocalFix(labels, np.ones((2, 2, 2), bool), box))
    assert len(mark_nodes(scene)) == 2
    clear_marks(scene)
    assert mark_nodes(scene) == () and preview_of(scene) is None
    assert [scene.GetNumberOfNodesByClass(name) for name in classes] == before
    assert hierarchy.GetNumberOfItems() == items
