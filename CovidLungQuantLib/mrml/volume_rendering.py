"""The CT of the lungs rendered in 3D with colours for lungs, GGO and high opacity.

`show_volume_rendering(logic, scene, volume_node, labels, shown)` and `is_volume_rendered`; the
logic is Slicer's own, `slicer.modules.volumerendering.logic()`.

The chest wall is as dense as consolidation and would hide the lungs, so what is rendered is a copy
of the CT that is air outside the lungs, cut to their box; a hidden volume node, saved with the
scene as the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, is_lung
from CovidLungQuantLib.mrml.nodes import (
    RENDERED_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    place_beside,
    remember_volume,
)
from CovidLungQuantLib.mrml.volumes import (
    RAS_TO_LPS,
    copy_geometry,
    fill_image,
    geometry_of,
    show_in_lung_window,
    voxels,
)

VOLUME_CLASS = "vtkMRMLScalarVolumeNode"
AIR_HU = -1024
# HU → opacity per millimetre or so: lung is a haze, lesions and vessels stand out of it.
OPACITY_POINTS = (
    (AIR_HU, 0.0),
    (-940.0, 0.0),
    (-880.0, 0.003),
    (-740.0, 0.01),
    (-600.0, 0.06),
    (-350.0, 0.2),
    (0.0, 0.45),
    (3071.0, 0.6),
)
LUNG_COLOR = (0.90, 0.88, 0.86)
COLOR_POINTS = (
    (AIR_HU, LUNG_COLOR),
    (-740.0, LUNG_COLOR),
    (-600.0, GGO.color),
    (-400.0, GGO.color),
    (-250.0, HIGH_OPACITY.color),
    (3071.0, HIGH_OPACITY.color),
)


def show_volume_rendering(
    logic: Any, scene: Any, volume_node: Any, labels: np.ndarray, shown: bool
) -> None:
    """Render the lungs of a CT in 3D, or hide them.

    Args:
        logic: a vtkSlicerVolumeRenderingLogic.
        scene: the MRML scene.
        volume_node: the CT.
        labels: the result as a label map (z, y, x) on the volume's grid.
        shown: an earlier rendering is shown with what the user has changed of its colours, and
            with the lungs as they are now.
    """
    node = rendered_of(scene, volume_node)
    if not shown:
        if node is not None:
            display = logic.GetFirstVolumeRenderingDisplayNode(node)
            if display is not None:
                display.SetVisibility(False)
        return
    with no_new_nodes_on_error(scene):
        node = _write_lungs(scene, volume_node, labels, node)
        display = logic.GetFirstVolumeRenderingDisplayNode(node)
        if display is None:
            display = logic.CreateDefaultVolumeRenderingNodes(node)
            _set_transfer_functions(display.GetVolumePropertyNode())
        display.SetVisibility(True)


def is_volume_rendered(logic: Any, scene: Any, volume_node: Any) -> bool:
    """Whether the lungs of a CT are rendered in 3D."""
    node = rendered_of(scene, volume_node)
    display = None if node is None else logic.GetFirstVolumeRenderingDisplayNode(node)
    return display is not None and bool(display.GetVisibility())


def rendered_of(scene: Any, volume_node: Any) -> Any | None:
    """Return the hidden volume that is rendered for a CT; None if there is none."""
    return newest_referring(scene, VOLUME_CLASS, volume_node, RENDERED_REFERENCE_ROLE)


def _write_lungs(scene: Any, volume_node: Any, labels: np.ndarray, node: Any | None) -> Any:
    """Write the CT within the lungs, air around, cut to the lungs' box with a voxel to spare."""
    import vtk

    if node is None:
        node = scene.AddNewNodeByClass(VOLUME_CLASS, f"{volume_node.GetName()} lungs in 3D")
        place_beside(scene, node, volume_node)
        node.SetHideFromEditors(True)
        remember_volume(node, volume_node, RENDERED_REFERENCE_ROLE)
    lungs = is_lung(labels)
    box = bounding_box(lungs, (1, 1, 1))
    hu = np.where(lungs[box], voxels(volume_node.GetImageData())[box], AIR_HU).astype(np.int16)
    image = vtk.vtkImageData()
    fill_image(image, hu)
    first_index = np.array([*(part.start for part in reversed(box)), 1.0])
    origin_ras = (RAS_TO_LPS @ geometry_of(volume_node).ijk_to_lps @ first_index)[:3]
    copy_geometry(volume_node, node)
    node.SetOrigin(origin_ras.tolist())
    node.SetAndObserveImageData(image)
    node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    show_in_lung_window(node)
    return node


def _set_transfer_functions(property_node: Any) -> None:
    import vtk

    opacity = vtk.vtkPiecewiseFunction()
    for hu, value in OPACITY_POINTS:
        opacity.AddPoint(hu, value)
    color = vtk.vtkColorTransferFunction()
    for hu, rgb in COLOR_POINTS:
        color.AddRGBPoint(hu, *rgb)
    volume_property = property_node.GetVolumeProperty()
    volume_property.SetScalarOpacity(opacity)
    volume_property.SetColor(color)
    volume_property.SetInterpolationTypeToLinear()
    volume_property.ShadeOn()
    volume_property.SetAmbient(0.3)
    volume_property.SetDiffuse(0.7)
    volume_property.SetSpecular(0.1)
