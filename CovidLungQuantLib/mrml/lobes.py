"""Lobes as a segmentation node of their own, and back, from this software or another.

Writing: `lobes_to_node(scene, quantification, volume_node, lobes_node=None)`.
Finding: `lobes_of(scene, volume_node)` → the node of an earlier run, or None.
Reading: `lobes_from_node(lobes_node, volume_node)` → (lobes, warnings).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.ct import ScanWarning, orient_like, restore_orientation
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.lobe_conventions import SegmentName, lobe_of_segment, recognise_lobes
from CovidLungQuantLib.labels import LOBES
from CovidLungQuantLib.mrml.nodes import LOBES_REFERENCE_ROLE, newest_referring
from CovidLungQuantLib.mrml.segments import (
    hidden_segments_to_node,
    make_segments,
    segment_mask,
    terminology_of,
)
from CovidLungQuantLib.mrml.volumes import geometry_of, volume_index_of, voxels

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

SEGMENTATION_CLASS = "vtkMRMLSegmentationNode"
LABEL_MAP_CLASS = "vtkMRMLLabelMapVolumeNode"


def lobes_to_node(
    scene: Any, quantification: Quantification, volume_node: Any, lobes_node: Any | None = None
) -> Any | None:
    """Write the lobes of `quantification` as a segmentation node and return it.

    A new node is hidden: it is there to be measured with and can be shown, but would cover the
    lesions. Without lobes nothing is written, and None is returned.

    Args:
        scene: the MRML scene.
        quantification: its `lobes` are on the grid of `volume_node`.
        volume_node: the scalar volume node that was quantified.
        lobes_node: updated in place if given: its lobes are replaced, other segments are kept.
            None adds a node.
    """
    if quantification.lobes is None:
        return None
    provenance = quantification.provenance
    method = provenance.lobe_model_name if provenance is not None else None
    segments = make_segments(quantification.lobes, LOBES, method, volume_node)
    return hidden_segments_to_node(
        scene,
        segments,
        LOBES,
        volume_node,
        f"{volume_node.GetName()} lobes",
        LOBES_REFERENCE_ROLE,
        lobes_node,
        None if lobes_node is None else _lobe_segments(lobes_node),
    )


def lobes_of(scene: Any, volume_node: Any, segmentation_node: Any | None = None) -> Any | None:
    """Return the lobes node made for a volume by an earlier run; None if there is none.

    With `segmentation_node` those of that result, where the volume has several.
    """
    return newest_referring(
        scene, SEGMENTATION_CLASS, volume_node, LOBES_REFERENCE_ROLE, segmentation_node
    )


def lobes_from_node(
    lobes_node: Any, volume_node: Any
) -> tuple[np.ndarray, tuple[ScanWarning, ...]]:
    """Return (lobes, warnings): a segmentation or label map node of lobes on the volume's grid.

    Segments are recognised by terminology, else by name; the values of a label map as those of the
    tools that `files.lobe_conventions` knows. Where lobes overlap, the later one of `labels.LOBES`
    counts.

    Returns:
        lobes: uint8 (z, y, x), values of `labels.LOBES`.
        warnings: of segments that were resampled or lie outside the volume.

    Raises:
        BadInputError: there are no five lobes, they do not lie as lobes do, or a transform bends.
    """
    warnings: list[ScanWarning] = []
    names: dict[int, SegmentName] | None = None
    if lobes_node.IsA(LABEL_MAP_CLASS):
        labels = _label_map_on(lobes_node, volume_node)
    elif lobes_node.IsA(SEGMENTATION_CLASS):
        labels = np.zeros(geometry_of(volume_node).shape, np.int32)
        found = _lobe_segments(lobes_node)
        for lobe in LOBES:
            for segment_id in (name for name, value in found.items() if value == lobe.value):
                mask = segment_mask(lobes_node, segment_id, volume_node, warnings)
                labels[mask] = lobe.value
        names = {lobe.value: SegmentName(lobe.name) for lobe in LOBES}
    else:
        raise BadInputError(
            f'"{lobes_node.GetName()}" is no segmentation and no label map; select one that holds '
            "the five lobes."
        )
    geometry = geometry_of(volume_node)
    orientation = orientation_of(geometry)
    upright = recognise_lobes(
        orient_like(labels, orientation),
        oriented_geometry(geometry, orientation).spacing_mm,
        names,
        f'The node "{lobes_node.GetName()}"',
    )
    return restore_orientation(upright, orientation), tuple(dict.fromkeys(warnings))


def _lobe_segments(lobes_node: Any) -> dict[str, int]:
    """Return segment id → lobe value of the segments that stand for lobes."""
    segmentation = lobes_node.GetSegmentation()
    found = {}
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segment_id)
        lobe = lobe_of_segment(SegmentName(segment.GetName(), terminology_of(segment)))
        if lobe is not None:
            found[segment_id] = lobe.value
    return found


def _label_map_on(label_node: Any, volume_node: Any) -> np.ndarray:
    """A label map node on the volume's grid, nearest voxel, int32 (z, y, x)."""
    from scipy.ndimage import affine_transform

    to_volume = volume_index_of(label_node, volume_node)
    reversed_axes = np.linalg.inv(to_volume)[[2, 1, 0, 3]][:, [2, 1, 0, 3]]
    return affine_transform(
        voxels(label_node.GetImageData()).astype(np.int32),
        reversed_axes,
        output_shape=geometry_of(volume_node).shape,
        order=0,
        mode="constant",
    )
