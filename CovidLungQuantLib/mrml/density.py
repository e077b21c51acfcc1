"""The lesions coloured by their density, cold to warm (Pan et al. 2021), over the slice views.

`show_density(scene, volume_node, segmentation_node, labels, shown)`, `is_density_shown`; after a
correction `renew_density`. The colours and steps are those of the report's pictures.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from CovidLungQuantLib.display.density import (
    DENSITY_OPACITY,
    DENSITY_RANGE_HU,
    DENSITY_STEPS,
    density_colors,
    density_picture,
)
from CovidLungQuantLib.labels import is_lesion
from CovidLungQuantLib.mrml.display import composite_nodes, is_filled, set_fill
from CovidLungQuantLib.mrml.nodes import (
    DENSITY_REFERENCE_ROLE,
    newest_referring,
    no_new_nodes_on_error,
    place_beside,
    remember_volume,
)
from CovidLungQuantLib.mrml.volumes import copy_geometry, fill_image, voxels

LABEL_MAP_CLASS = "vtkMRMLLabelMapVolumeNode"
COLOR_CLASS = "vtkMRMLColorTableNode"
COLOR_NAME = "Lesion density (HU)"
# How the segments were drawn before the colours took the place of their fill.
WAS_FILLED_ATTRIBUTE = "CovidLungQuant.wasFilled"


def show_density(
    scene: Any, volume_node: Any, segmentation_node: Any, labels: np.ndarray, shown: bool
) -> None:
    """Colour the lesions in all slice views by their density, or take the colours away.

    The segments' fill gives way to the colours and comes back with their end; outlines stay.

    Args:
        scene: the MRML scene.
        volume_node: the CT.
        segmentation_node: the result, whose fill would hide the colours.
        labels: the result as a label map (z, y, x) on the volume's grid.
        shown: True shows the colours, as the lesions are now.
    """
    node = density_of(scene, volume_node)
    if not shown:
        _put_into_slices(scene, None, node)
        if node is not None and node.GetAttribute(WAS_FILLED_ATTRIBUTE) == "1":
            set_fill(segmentation_node, True)
        return
    was_shown = is_density_shown(scene, volume_node)
    node = _write_density(scene, volume_node, labels, node)
    if not was_shown:
        node.SetAttribute(WAS_FILLED_ATTRIBUTE, "1" if is_filled(segmentation_node) else "0")
    set_fill(segmentation_node, False)
    _put_into_slices(scene, node, None)


def is_density_shown(scene: Any, volume_node: Any) -> bool:
    """Whether a slice view shows the lesions of a volume in the colours of their density."""
    node = density_of(scene, volume_node)
    return node is not None and any(
        composite.GetLabelVolumeID() == node.GetID() for composite in composite_nodes(scene)
    )


def renew_density(scene: Any, volume_node: Any, labels: np.ndarray) -> None:
    """Colour the lesions as they are now, if they are coloured; labels as in `show_density`."""
    if is_density_shown(scene, volume_node):
        _write_density(scene, volume_node, labels, density_of(scene, volume_node))


def density_of(scene: Any, volume_node: Any) -> Any | None:
    """Return the label map node of the density of a volume's lesions; None if there is none."""
    return newest_referring(scene, LABEL_MAP_CLASS, volume_node, DENSITY_REFERENCE_ROLE)


def _write_density(scene: Any, volume_node: Any, labels: np.ndarray, node: Any | None) -> Any:
    import vtk

    with no_new_nodes_on_error(scene):
        if node is None:
            node = scene.AddNewNodeByClass(
                LABEL_MAP_CLASS, f"{volume_node.GetName()} lesion density"
            )
            place_beside(scene, node, volume_node)
            remember_volume(node, volume_node, DENSITY_REFERENCE_ROLE)
        steps = np.zeros(labels.shape, np.uint8)
        lesion = is_lesion(labels)
        # Of the lesions' voxels alone: this runs after every stroke while the colours are shown.
        hu = voxels(volume_node.GetImageData())[lesion]
        steps[lesion] = density_picture(hu, np.ones(hu.shape, bool))
        image = vtk.vtkImageData()
        fill_image(image, steps)
        copy_geometry(volume_node, node)
        node.SetAndObserveImageData(image)
        node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAndObserveColorNodeID(_color_node(scene).GetID())
    return node


def _color_node(scene: Any) -> Any:
    """The colours with the HU they stand for, as the data probe names them; made once."""
    color_node = scene.GetFirstNode(COLOR_NAME, COLOR_CLASS)
    if color_node is not None:
        return color_node
    color_node = scene.AddNewNodeByClass(COLOR_CLASS, COLOR_NAME)
    color_node.SetTypeToUser()
    color_node.SetNumberOfColors(DENSITY_STEPS + 1)
    color_node.SetColor(0, "no lesion", 0.0, 0.0, 0.0, 0.0)
    lowest, highest = DENSITY_RANGE_HU
    step = (highest - lowest) / DENSITY_STEPS
    for index, (red, green, blue, _opacity) in enumerate(density_colors()):
        name = f"{lowest + index * step:.0f} to {lowest + (index + 1) * step:.0f} HU"
        color_node.SetColor(index + 1, name, red, green, blue, 1.0)
    color_node.SetHideFromEditors(True)
    return color_node


def _put_into_slices(scene: Any, node: Any | None, instead_of: Any | None) -> None:
    """Make `node` the label layer everywhere, or none where it is `instead_of`."""
    for composite in composite_nodes(scene):
        if node is not None:
            composite.SetLabelVolumeID(node.GetID())
            composite.SetLabelOpacity(DENSITY_OPACITY)
        elif instead_of is not None and composite.GetLabelVolumeID() == instead_of.GetID():
            composite.SetLabelVolumeID(None)
            composite.SetLabelOpacity(1.0)
