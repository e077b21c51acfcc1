"""How a result is shown in Slicer's views; all of it is kept in display and view nodes.

What there is to show: `structures_of`. Showing and reading back: `show_structure`,
`is_structure_shown`, `set_fill`, `set_outline`, `show_in_slices`, `is_in_slices`, `show_surfaces`,
`are_surfaces_shown`, `look_at`, `fit_slices`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from CovidLungQuantLib.labels import (
    AIRWAYS,
    GGO,
    HIGH_OPACITY,
    LESION_LABELS,
    LOBES,
    LUNG_DECISIONS,
    NORMAL_LUNG,
    SUB_VISUAL_LESION,
    VESSELS,
    Label,
)
from CovidLungQuantLib.mrml.extras import airways_and_vessels_of, lung_decisions_of, sub_visual_of
from CovidLungQuantLib.mrml.lobes import lobes_of
from CovidLungQuantLib.mrml.segments import BINARY_LABELMAP, CLOSED_SURFACE
from CovidLungQuantLib.mrml.volumes import RAS_TO_LPS, geometry_of, node_to_world

COMPOSITE_CLASS = "vtkMRMLSliceCompositeNode"
SLICE_CLASS = "vtkMRMLSliceNode"
# A lesion is read with what lies around it; closer up there are only voxels.
LESION_SHARE_OF_VIEW = 1 / 3
SMALLEST_VIEW_MM = 80.0
# Lesions are seen through the lungs around them.
LUNG_OPACITY_3D = 0.12
LESION_OPACITY_3D = 1.0
# Slicer's own default; it rounds the voxels' steps and keeps lesions of a few voxels.
SMOOTHING_FACTOR = 0.5
SMOOTHING_PARAMETER = "Smoothing factor"


@dataclass(frozen=True)
class Structure:
    """Segments of one node that are shown and hidden together.

    Attributes:
        node: segmentation node.
        segment_ids: those of the segments that are there.
    """

    node: Any
    segment_ids: tuple[str, ...]


def structures_of(scene: Any, volume_node: Any, segmentation_node: Any) -> dict[str, Structure]:
    """Return what there is to show of a volume, by name.

    Names: "normal lung", "GGO", "high opacity", "lobes", "airways", "vessels", "sub-visual
    lesions" and "lung network", each only where a segment of it exists.

    Args:
        scene: the MRML scene.
        volume_node: the scalar volume node that was quantified; None finds nothing.
        segmentation_node: the result; None where there is none.
    """
    if volume_node is None:
        return {}
    mine = (scene, volume_node, segmentation_node)
    airways_and_vessels_node = airways_and_vessels_of(*mine)
    candidates: dict[str, tuple[Any, tuple[Label, ...]]] = {
        "normal lung": (segmentation_node, (NORMAL_LUNG,)),
        "GGO": (segmentation_node, (GGO,)),
        "high opacity": (segmentation_node, (HIGH_OPACITY,)),
        "lobes": (lobes_of(*mine), LOBES),
        "airways": (airways_and_vessels_node, (AIRWAYS,)),
        "vessels": (airways_and_vessels_node, (VESSELS,)),
        "sub-visual lesions": (sub_visual_of(*mine), (SUB_VISUAL_LESION,)),
        "lung network": (lung_decisions_of(*mine), LUNG_DECISIONS),
    }
    found = {}
    for name, (node, labels) in candidates.items():
        if node is None:
            continue
        ids = tuple(
            label.segment_id
            for label in labels
            if node.GetSegmentation().GetSegment(label.segment_id) is not None
        )
        if ids:
            found[name] = Structure(node, ids)
    return found


def show_structure(structure: Structure, shown: bool) -> None:
    """Show or hide segments; the others of their node stay as they are seen now."""
    display = _display_of(structure.node)
    if shown and not structure.node.GetDisplayVisibility():
        display.SetAllSegmentsVisibility(False)
        structure.node.SetDisplayVisibility(True)
    for segment_id in structure.segment_ids:
        display.SetSegmentVisibility(segment_id, shown)


def is_structure_shown(structure: Structure) -> bool:
    """Whether all segments of a structure are shown."""
    display = structure.node.GetDisplayNode()
    return (
        display is not None
        and bool(structure.node.GetDisplayVisibility())
        and all(display.GetSegmentVisibility(name) for name in structure.segment_ids)
    )


def set_fill(segmentation_node: Any, shown: bool) -> None:
    """Fill the segments in the slice views, or not."""
    _display_of(segmentation_node).SetVisibility2DFill(shown)


def is_filled(segmentation_node: Any) -> bool:
    """Whether the segments are filled in the slice views."""
    display = segmentation_node.GetDisplayNode()
    return display is not None and bool(display.GetVisibility2DFill())


def set_outline(segmentation_node: Any, shown: bool) -> None:
    """Draw the outlines of the segments in the slice views, or not."""
    _display_of(segmentation_node).SetVisibility2DOutline(shown)


def is_outlined(segmentation_node: Any) -> bool:
    """Whether the outlines of the segments are drawn in the slice views."""
    display = segmentation_node.GetDisplayNode()
    return display is not None and bool(display.GetVisibility2DOutline())


def show_in_slices(scene: Any, volume_node: Any) -> None:
    """Make a volume the background of every slice view; it keeps a window of its own."""
    for composite in composite_nodes(scene):
        composite.SetBackgroundVolumeID(volume_node.GetID())


def is_in_slices(scene: Any, volume_node: Any) -> bool:
    """Whether a volume is the background of a slice view."""
    return any(
        composite.GetBackgroundVolumeID() == volume_node.GetID()
        for composite in composite_nodes(scene)
    )


def composite_nodes(scene: Any) -> Iterator[Any]:
    """Yield the node of each slice view that says which volumes it shows."""
    yield from _nodes(scene, COMPOSITE_CLASS)


def show_surfaces(segmentation_node: Any, shown: bool) -> None:
    """Show the lesions as smooth solid surfaces in translucent lungs in 3D, or nothing of it.

    The surfaces are made where they are missing, which takes seconds on a large scan, and are let
    go when they are hidden: as long as they exist Slicer renews them after every stroke.
    """
    display = _display_of(segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    if not shown:
        display.SetVisibility3D(False)
        segmentation.RemoveRepresentation(CLOSED_SURFACE)
        return
    if not segmentation.ContainsRepresentation(CLOSED_SURFACE):
        segmentation.SetConversionParameter(SMOOTHING_PARAMETER, str(SMOOTHING_FACTOR))
        segmentation_node.CreateClosedSurfaceRepresentation()
    # Slices go on showing the voxels themselves.
    display.SetPreferredDisplayRepresentationName2D(BINARY_LABELMAP)
    display.SetPreferredDisplayRepresentationName3D(CLOSED_SURFACE)
    display.SetSegmentOpacity3D(NORMAL_LUNG.segment_id, LUNG_OPACITY_3D)
    for label in LESION_LABELS:
        display.SetSegmentOpacity3D(label.segment_id, LESION_OPACITY_3D)
    display.SetVisibility3D(True)


def are_surfaces_shown(segmentation_node: Any) -> bool:
    """Whether the segments are shown as surfaces in 3D."""
    display = segmentation_node.GetDisplayNode()
    return (
        display is not None
        and bool(segmentation_node.GetDisplayVisibility())
        and bool(display.GetVisibility3D())
        and segmentation_node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE)
    )


def look_at(
    scene: Any,
    volume_node: Any,
    place: tuple[int, int, int],
    box: tuple[slice, slice, slice] | None = None,
) -> None:
    """Bring a lesion into the middle of every slice view.

    Args:
        scene: the MRML scene.
        volume_node: the volume it lies in.
        place: a voxel (z, y, x) of it; every view shows the slice through this one.
        box: voxels (z, y, x) that just hold it; its middle becomes that of the view, and the view
            zooms so that the box fills `LESION_SHARE_OF_VIEW` of it, with never less than
            `SMALLEST_VIEW_MM` of the body in sight, nor more than the volume needs. None centres
            the views on `place` and leaves their zoom alone.

    Raises:
        BadInputError: the volume is under a transform that bends.
    """
    geometry = geometry_of(volume_node)
    index_to_world = node_to_world(volume_node) @ RAS_TO_LPS @ geometry.ijk_to_lps
    seen = index_to_world @ np.array([*place[::-1], 1.0])
    if box is None:
        for slice_node in _nodes(scene, SLICE_CLASS):
            slice_node.JumpSliceByCentering(*seen[:3])
        return
    lesion = _corners(index_to_world, box)
    whole = _corners(index_to_world, tuple(slice(0, size) for size in geometry.shape))
    for slice_node in _nodes(scene, SLICE_CLASS):
        axes = _axes_of(slice_node)
        middle = (lesion @ axes).min(axis=0) / 2 + (lesion @ axes).max(axis=0) / 2
        middle[2] = seen[:3] @ axes[:, 2]
        slice_node.JumpSliceByCentering(*(axes @ middle))
        _zoom(slice_node, np.ptp(lesion @ axes, axis=0), np.ptp(whole @ axes, axis=0))


def fit_slices(slice_logics: Iterable[Any]) -> None:
    """Fit every slice view to its volume; each goes on showing the slice it shows.

    Args:
        slice_logics: of the views, whose nodes know the views' size.
    """
    for logic in slice_logics:
        slice_node = logic.GetSliceNode()
        offset_mm = slice_node.GetSliceOffset()
        logic.FitSliceToBackground()
        slice_node.SetSliceOffset(offset_mm)


def _zoom(slice_node: Any, lesion_mm: np.ndarray, whole_mm: np.ndarray) -> None:
    """Zoom a slice view to a lesion; sizes are those along the view's axes, in mm."""
    width, height, _ = slice_node.GetDimensions()
    shape = np.array([width, height]) / min(width, height)
    # What the shorter side of the view has to show.
    wanted_mm = (lesion_mm[:2] / shape).max() / LESION_SHARE_OF_VIEW
    largest_mm = (whole_mm[:2] / shape).max()
    side_mm = max(min(wanted_mm, largest_mm), SMALLEST_VIEW_MM)
    slice_node.SetFieldOfView(*(side_mm * shape), slice_node.GetFieldOfView()[2])


def _corners(index_to_world: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Outer corners of voxels (z, y, x) in RAS, mm: an array (8, 3)."""
    edges = [(part.start - 0.5, part.stop - 0.5) for part in box[::-1]]
    return np.array([(index_to_world @ [*corner, 1.0])[:3] for corner in product(*edges)])


def _axes_of(slice_node: Any) -> np.ndarray:
    """Directions of a slice view in RAS as columns: to the right, upwards, out of the screen."""
    matrix = slice_node.GetSliceToRAS()
    return np.array([[matrix.GetElement(row, column) for column in range(3)] for row in range(3)])


def _nodes(scene: Any, class_name: str) -> Iterator[Any]:
    for index in range(scene.GetNumberOfNodesByClass(class_name)):
        yield scene.GetNthNodeByClass(index, class_name)


def _display_of(segmentation_node: Any) -> Any:
    segmentation_node.CreateDefaultDisplayNodes()
    return segmentation_node.GetDisplayNode()
