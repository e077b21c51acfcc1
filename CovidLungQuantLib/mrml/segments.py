"""Segments of segmentation nodes: making them, replacing them, and reading one as a mask.

Slicer's scene, and nodes in it, are arguments; nothing here touches the application.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.grids import overlapping_slices, voxel_shift
from CovidLungQuantLib.files.segments import algorithm_tags
from CovidLungQuantLib.labels import Label
from CovidLungQuantLib.mrml.nodes import (
    hierarchy_item,
    no_new_nodes_on_error,
    place_beside,
    remember_volume,
)
from CovidLungQuantLib.mrml.volumes import (
    RAS_TO_LPS,
    fill_image,
    geometry_of,
    node_to_world,
    numpy_matrix,
    voxels,
)
from CovidLungQuantLib.terminology import terminology_entry

# Slicer's names of a segment's representations, written so in every scene file.
BINARY_LABELMAP = "Binary labelmap"
CLOSED_SURFACE = "Closed surface"


def make_segments(
    labels: np.ndarray,
    classes: Sequence[Label],
    algorithm_name: str | None,
    volume_node: Any,
) -> dict[str, Any]:
    """Return segment id → vtkSegment; all share one image, each under its label's value.

    Args:
        labels: values of `classes`, (z, y, x), on the grid of the volume.
        classes: what the values stand for.
        algorithm_name: what found them; None if a person drew or corrected them.
        volume_node: the scalar volume node they belong to.
    """
    import slicer

    image = slicer.vtkOrientedImageData()
    fill_image(image, labels.astype(np.uint8, copy=False))
    _set_geometry(image, volume_node)
    terminology_tag = slicer.vtkSegment.GetTerminologyEntryTagName()
    segments = {}
    for label in classes:
        segment = slicer.vtkSegment()
        segment.SetName(label.name)
        segment.SetColor(*label.color)
        segment.SetLabelValue(label.value)
        segment.AddRepresentation(BINARY_LABELMAP, image)
        segment.SetTag(terminology_tag, terminology_entry(label))
        for tag, value in algorithm_tags(algorithm_name).items():
            segment.SetTag(tag, value)
        segments[label.segment_id] = segment
    return segments


def _set_geometry(image: Any, volume_node: Any) -> None:
    """Give an oriented image exactly the spacing, origin and directions of a volume node."""
    directions_ras = np.zeros((3, 3))
    volume_node.GetIJKToRASDirections(directions_ras)
    image.SetSpacing(volume_node.GetSpacing())
    image.SetOrigin(volume_node.GetOrigin())
    image.SetDirections(directions_ras.tolist())


def replace_segments(
    segmentation_node: Any, volume_node: Any, old_ids: Iterable[str], segments: dict[str, Any]
) -> None:
    """Put segments in the place of others, on the volume's geometry and under its transform."""
    # Slicer logs an error for each segment that changes in a node without an item.
    hierarchy_item(segmentation_node.GetScene(), segmentation_node)
    segmentation = segmentation_node.GetSegmentation()
    shows_surfaces = segmentation.ContainsRepresentation(CLOSED_SURFACE)
    for segment_id in old_ids:
        segmentation.RemoveSegment(segment_id)
    # Segments that stay may be surfaces only.
    if segmentation.GetNumberOfSegments():
        segmentation_node.CreateBinaryLabelmapRepresentation()
    segmentation_node.SetReferenceImageGeometryParameterFromVolumeNode(volume_node)
    segmentation_node.SetAndObserveTransformNodeID(volume_node.GetTransformNodeID())
    segmentation_node.SetSourceRepresentationToBinaryLabelmap()
    for segment_id, segment in segments.items():
        segmentation.AddSegment(segment, segment_id)
    if shows_surfaces:
        segmentation_node.CreateClosedSurfaceRepresentation()


def hidden_segments_to_node(
    scene: Any,
    segments: dict[str, Any],
    classes: Sequence[Label],
    volume_node: Any,
    name: str,
    role: str,
    node: Any | None,
    old_ids: Iterable[str] | None = None,
) -> Any:
    """Write segments that do not show at first as a segmentation node and return it.

    Args:
        scene: the MRML scene.
        segments: from `make_segments`.
        classes: what they stand for.
        volume_node: the scalar volume node they belong to; the node refers to it.
        name: of a new node.
        role: of the reference.
        node: updated in place, and shown or hidden as it is; None adds a hidden node.
        old_ids: segments to take out; None means those of the same ids.
    """
    with no_new_nodes_on_error(scene):
        is_new = node is None
        if node is None:
            node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
            place_beside(scene, node, volume_node)
        modify_state = node.StartModify()
        try:
            if old_ids is None:
                segmentation = node.GetSegmentation()
                old_ids = [key for key in segments if segmentation.GetSegment(key) is not None]
            replace_segments(node, volume_node, old_ids, segments)
            remember_volume(node, volume_node, role)
            set_display(node, classes)
            if is_new:
                node.SetDisplayVisibility(False)
        finally:
            node.EndModify(modify_state)
    return node


def set_display(segmentation_node: Any, classes: Sequence[Label]) -> None:
    """Show segments in the opacity of their label."""
    segmentation_node.CreateDefaultDisplayNodes()
    display = segmentation_node.GetDisplayNode()
    for label in classes:
        display.SetSegmentOpacity2DFill(label.segment_id, label.opacity)
        display.SetSegmentOpacity2DOutline(label.segment_id, label.opacity)
        display.SetSegmentOpacity3D(label.segment_id, label.opacity)


def segment_image(segmentation_node: Any, segment_id: str) -> Any | None:
    """Return one segment as an oriented image of 0 and 1; None if it is empty."""
    import slicer

    segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
    image = slicer.vtkOrientedImageData()
    if not segmentation_node.GetBinaryLabelmapRepresentation(segment_id, image):
        raise BadInputError(
            f'The segment "{segment.GetName()}" has no binary label map; create one in the'
            " Segmentations module, then try again."
        )
    return None if image.IsEmpty() or not voxels(image).any() else image


def segment_mask(
    segmentation_node: Any, segment_id: str, volume_node: Any, warnings: list[ScanWarning]
) -> np.ndarray:
    """Return one segment as a boolean mask (z, y, x) on the volume's grid.

    Adds to `warnings` if it had to be resampled or lies partly outside.
    """
    shape = geometry_of(volume_node).shape
    image = segment_image(segmentation_node, segment_id)
    if image is None:
        return np.zeros(shape, dtype=bool)
    segment_voxels = voxels(image) != 0
    to_volume = index_to_volume_index(image, segmentation_node, volume_node)
    shift_xyz = voxel_shift(to_volume, image.GetDimensions())
    if shift_xyz is None:
        mask = _resampled(segment_voxels, to_volume, shape)
        warnings.append(
            ScanWarning(
                "segmentation_resampled",
                f'The segmentation "{segmentation_node.GetName()}" lies on another voxel grid than'
                f' the volume "{volume_node.GetName()}" and was resampled (nearest voxel).',
            )
        )
        return mask
    mask = np.zeros(shape, dtype=bool)
    inside_volume, inside_segment = overlapping_slices(shift_xyz[::-1], segment_voxels.shape, shape)
    mask[inside_volume] = segment_voxels[inside_segment]
    outside_voxels = int(np.count_nonzero(segment_voxels)) - int(np.count_nonzero(mask))
    if outside_voxels:
        segment_name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
        warnings.append(
            ScanWarning(
                "segment_outside_volume",
                f'{outside_voxels} voxels of the segment "{segment_name}" lie outside the volume'
                " and are not measured.",
            )
        )
    return mask


def index_to_volume_index(image: Any, segmentation_node: Any, volume_node: Any) -> np.ndarray:
    """Return the 4×4 matrix from array index (x, y, z) of a segment's image to the volume's."""
    import vtk

    image_to_ras = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(image_to_ras)
    extent_start = np.eye(4)
    extent_start[:3, 3] = image.GetExtent()[::2]
    image_to_world = node_to_world(segmentation_node) @ numpy_matrix(image_to_ras) @ extent_start
    volume_to_world = node_to_world(volume_node) @ RAS_TO_LPS @ geometry_of(volume_node).ijk_to_lps
    return np.linalg.solve(volume_to_world, image_to_world)


def _resampled(mask: np.ndarray, to_volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return `mask` on the volume's grid, nearest voxel, empty outside (z, y, x)."""
    from scipy.ndimage import affine_transform

    reversed_axes = np.linalg.inv(to_volume)[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    return (
        affine_transform(
            mask.astype(np.uint8), reversed_axes, output_shape=shape, order=0, mode="constant"
        )
        != 0
    )


def terminology_of(segment: Any) -> str:
    """Return a segment's terminology entry, empty if it has none."""
    return tag_of(segment, segment.GetTerminologyEntryTagName())


def tag_of(segment: Any, tag_name: str) -> str:
    """Return a segment's tag, empty if it has none."""
    import vtk

    value = vtk.reference("")
    return str(value) if segment.GetTag(tag_name, value) else ""
