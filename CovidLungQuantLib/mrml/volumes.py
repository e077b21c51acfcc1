"""A volume node as a CT, and back.

A volume is always measured on its own voxel grid, in its own coordinates. A rigid transform above
it changes neither its millilitres nor which lung is left, so it is left out of account; a transform
that scales, shears, mirrors or bends would, so such a volume is refused until it is hardened. A
turn that moves the axes to other anatomic directions is said in a warning.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from CovidLungQuantLib.ct import CTVolume, Geometry, ScanWarning, check_ct
from CovidLungQuantLib.display.windows import LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.mrml.nodes import hierarchy_item, no_new_nodes_on_error
from CovidLungQuantLib.printable import printable

# Slicer's world is RAS, a CTVolume's is LPS: the first two axes change sign.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
RIGID_TOLERANCE = 1e-4
LARGE_TURN_COSINE = np.cos(np.radians(45))


def ct_from_node(volume_node: Any) -> CTVolume:
    """Return a copy of a scalar volume node as a CT, exact in geometry, oblique ones included.

    The copy can be handed to another thread; the node is not touched again.

    Raises:
        BadInputError: the node is missing, empty, a label map or an RGB image, is under a transform
            that is not rigid, or fails one of `check_ct`'s checks.
    """
    if volume_node is None:
        raise BadInputError("No volume is selected; select a chest CT.")
    name = volume_node.GetName()
    image = volume_node.GetImageData()
    if image is None or image.GetNumberOfPoints() == 0:
        raise BadInputError(f'The volume "{name}" holds no voxels; load the CT again.')
    if volume_node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise BadInputError(f'"{name}" is a label map; select the CT itself.')
    if image.GetNumberOfScalarComponents() != 1:
        raise BadInputError(f'"{name}" is a colour image; select a CT in Hounsfield units.')
    transform_warnings = _check_rigid(volume_node)
    ct = check_ct(voxels(image).copy(), geometry_of(volume_node), name)
    return replace(ct, warnings=(*ct.warnings, *transform_warnings))


def ct_to_node(scene: Any, ct: CTVolume) -> Any:
    """Add a CT to the scene as a scalar volume node, shown in a lung window; return the node."""
    import vtk

    with no_new_nodes_on_error(scene):
        volume_node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", printable(ct.name))
        # One by one: spacing and directions taken out of a 4×4 matrix would be rounded.
        volume_node.SetSpacing(ct.geometry.spacing_mm)
        volume_node.SetOrigin((RAS_TO_LPS[:3, :3] @ ct.geometry.origin_mm).tolist())
        volume_node.SetIJKToRASDirections((RAS_TO_LPS[:3, :3] @ ct.geometry.direction).tolist())
        image = vtk.vtkImageData()
        fill_image(image, ct.hu)
        volume_node.SetAndObserveImageData(image)
        show_in_lung_window(volume_node)
        hierarchy_item(scene, volume_node)
    return volume_node


def show_in_lung_window(volume_node: Any) -> None:
    """Set the display to the lung window, in grey."""
    show_in_window(volume_node, LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU)


def show_in_window(volume_node: Any, level_hu: float, width_hu: float) -> None:
    """Set the display to a window, in grey."""
    volume_node.CreateDefaultDisplayNodes()
    display = volume_node.GetDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeGrey")
    display.AutoWindowLevelOff()
    display.SetWindowLevel(width_hu, level_hu)


def copy_geometry(from_node: Any, to_node: Any) -> None:
    """Give a volume node exactly the spacing, origin and directions of another."""
    directions_ras = np.zeros((3, 3))
    from_node.GetIJKToRASDirections(directions_ras)
    to_node.SetSpacing(from_node.GetSpacing())
    to_node.SetOrigin(from_node.GetOrigin())
    to_node.SetIJKToRASDirections(directions_ras.tolist())


def geometry_of(volume_node: Any) -> Geometry:
    """Return a volume node's own geometry (LPS), transforms above it left out."""
    directions_ras = np.zeros((3, 3))
    volume_node.GetIJKToRASDirections(directions_ras)
    x, y, z = volume_node.GetImageData().GetDimensions()
    return Geometry(
        shape=(z, y, x),
        spacing_mm=tuple(volume_node.GetSpacing()),
        origin_mm=tuple((RAS_TO_LPS[:3, :3] @ volume_node.GetOrigin()).tolist()),
        direction=RAS_TO_LPS[:3, :3] @ directions_ras,
    )


def node_to_world(node: Any) -> np.ndarray:
    """Return the 4×4 matrix of all transforms above a node.

    Raises:
        BadInputError: one of them bends.
    """
    import vtk

    transform_node = node.GetParentTransformNode()
    if transform_node is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not transform_node.IsTransformToWorldLinear() or not (
        transform_node.GetMatrixTransformToWorld(matrix)
    ):
        raise BadInputError(
            f'"{node.GetName()}" is under a transform that bends it; harden the transform or take'
            " it off, then try again."
        )
    return numpy_matrix(matrix)


def volume_index_of(other_node: Any, volume_node: Any) -> np.ndarray:
    """Return the 4×4 matrix from array index (x, y, z) of a volume node to another's.

    Raises:
        BadInputError: one of them is under a transform that bends.
    """

    def index_to_world(node: Any) -> np.ndarray:
        return node_to_world(node) @ RAS_TO_LPS @ geometry_of(node).ijk_to_lps

    return np.linalg.solve(index_to_world(volume_node), index_to_world(other_node))


def voxels(image: Any) -> np.ndarray:
    """Return a view of an image's scalars, shape (z, y, x)."""
    from vtk.util.numpy_support import vtk_to_numpy

    x, y, z = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(z, y, x)


def fill_image(image: Any, array: np.ndarray) -> None:
    """Give a VTK image the size and a copy of the values of an array (z, y, x)."""
    from vtk.util.numpy_support import numpy_to_vtk

    z, y, x = array.shape
    image.SetDimensions(x, y, z)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(array).ravel(), deep=True))


def numpy_matrix(matrix: Any) -> np.ndarray:
    """Return a vtkMatrix4x4 as a 4×4 array."""
    return np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])


def _check_rigid(volume_node: Any) -> tuple[ScanWarning, ...]:
    linear = node_to_world(volume_node)[:3, :3]
    is_rotation = np.allclose(linear.T @ linear, np.eye(3), rtol=0, atol=RIGID_TOLERANCE)
    if not is_rotation or np.linalg.det(linear) < 0:
        raise BadInputError(
            f'"{volume_node.GetName()}" is under a transform that scales, shears or mirrors it;'
            " harden the transform or take it off, then try again."
        )
    if np.diag(linear).min() > LARGE_TURN_COSINE:
        return ()
    return (
        ScanWarning(
            "transform_left_out",
            f'"{volume_node.GetName()}" is under a transform that turns it by more than 45°; it is'
            " left out of account, so left and right are those of the volume's own axes.",
        ),
    )
