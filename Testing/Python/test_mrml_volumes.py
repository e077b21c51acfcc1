"""A volume node as a CT, and back, in Slicer's real scene."""

from __future__ import annotations

import numpy as np
import pytest

vtk = pytest.importorskip("vtk", reason="slicer-core is not installed")

from CovidLungQuantLib.errors import BadInputError  # noqa: E402
from CovidLungQuantLib.mrml.volumes import ct_from_node, ct_to_node  # noqa: E402
from Testing.Python.small_chest import OBLIQUE, a_ct  # noqa: E402

FLIPPED = np.diag([-1.0, 1.0, -1.0])
PERMUTED = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def put_under(scene, node, matrix):
    """Put `node` under a linear transform."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    vtk_matrix = vtk.vtkMatrix4x4()
    vtk_matrix.DeepCopy(np.asarray(matrix, dtype=float).ravel().tolist())
    transform.SetMatrixTransformToParent(vtk_matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def turned_about_z(degrees):
    angle = np.radians(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return matrix


@pytest.mark.parametrize("direction", [np.eye(3), FLIPPED, PERMUTED, OBLIQUE])
def test_a_ct_comes_back_exactly(scene, direction):
    ct = a_ct(direction)
    back = ct_from_node(ct_to_node(scene, ct))
    np.testing.assert_array_equal(back.hu, ct.hu)
    assert back.hu.dtype == np.int16
    assert back.name == ct.name
    assert back.geometry.shape == ct.geometry.shape
    assert back.geometry.spacing_mm == ct.geometry.spacing_mm
    assert back.geometry.origin_mm == ct.geometry.origin_mm
    np.testing.assert_array_equal(back.geometry.direction, direction)


def test_the_node_lies_in_ras_where_the_ct_lies_in_lps(scene):
    ct = a_ct()
    node = ct_to_node(scene, ct)
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    x, y, z, _ = matrix.MultiplyPoint((3, 5, 7, 1))
    np.testing.assert_allclose(
        [-x, -y, z, 1], ct.geometry.ijk_to_lps @ [3, 5, 7, 1], rtol=0, atol=1e-9
    )


def test_the_copy_does_not_follow_the_node(scene):
    node = ct_to_node(scene, a_ct())
    ct = ct_from_node(node)
    before = ct.hu.copy()
    node.GetImageData().GetPointData().GetScalars().Fill(0)
    np.testing.assert_array_equal(ct.hu, before)


def test_a_new_volume_is_shown_in_a_lung_window(scene):
    display = ct_to_node(scene, a_ct()).GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (1500, -400)
    assert not display.GetAutoWindowLevel()
    assert display.GetColorNodeID() == "vtkMRMLColorTableNodeGrey"


def test_a_rigid_transform_changes_nothing(scene):
    ct = a_ct()
    node = ct_to_node(scene, ct)
    matrix = turned_about_z(20)
    matrix[:3, 3] = [100, -50, 25]
    put_under(scene, node, matrix)
    back = ct_from_node(node)
    assert back.geometry.spacing_mm == ct.geometry.spacing_mm
    assert back.geometry.origin_mm == ct.geometry.origin_mm
    assert "transform_left_out" not in {warning.code for warning in back.warnings}


def test_a_large_turn_is_said(scene):
    node = ct_to_node(scene, a_ct())
    put_under(scene, node, turned_about_z(180))
    assert "transform_left_out" in {warning.code for warning in ct_from_node(node).warnings}


@pytest.mark.parametrize(
    "matrix",
    [
        np.diag([1.1, 1, 1, 1]),
        np.diag([-1, 1, 1, 1]),
        np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ],
    ids=["scaled", "mirrored", "sheared"],
)
def test_a_volume_under_a_transform_that_changes_volumes_is_refused(scene, matrix):
    node = ct_to_node(scene, a_ct())
    put_under(scene, node, matrix)
    with pytest.raises(BadInputError, match="harden"):
        ct_from_node(node)


def test_a_scaled_volume_is_measured_in_its_new_size_once_hardened(scene):
    ct = a_ct(np.eye(3))
    node = ct_to_node(scene, ct)
    put_under(scene, node, np.diag([2, 1, 1, 1]))
    node.HardenTransform()
    back = ct_from_node(node)
    assert back.geometry.voxel_volume_ml == pytest.approx(2 * ct.geometry.voxel_volume_ml)


def test_a_volume_under_a_bending_transform_is_refused(scene):
    node = ct_to_node(scene, a_ct())
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(transform.GetID())
    with pytest.raises(BadInputError, match="bends"):
        ct_from_node(node)


def test_what_is_no_ct_is_refused(scene):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    label_map = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    colour = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "colour")
    for node, components in ((label_map, 1), (colour, 3)):
        image = vtk.vtkImageData()
        image.SetDimensions(4, 4, 4)
        image.AllocateScalars(vtk.VTK_SHORT, components)
        node.SetAndObserveImageData(image)
    for node, words in (
        (None, "No volume"),
        (empty, "no voxels"),
        (label_map, "label map"),
        (colour, "colour"),
    ):
        with pytest.raises(BadInputError, match=words):
            ct_from_node(node)
