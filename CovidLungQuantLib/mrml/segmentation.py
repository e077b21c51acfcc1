"""A quantification's label map as a segmentation node, and back.

Writing: `segmentation_to_node(scene, quantification, volume_node, segmentation_node=None)`.
Reading: `segmentation_from_node(segmentation_node, volume_node)` → (labels, warnings).
The same, quickly, after a stroke: `labels_after_stroke(segmentation_node, volume_node)`.
After a correction by hand: `note_edits(segmentation_node, labels)`.

Slicer's scene, and nodes in it, are arguments; nothing here touches the application.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.grids import overlapping_slices, voxel_shift
from CovidLungQuantLib.files.segments import (
    ALGORITHM_TYPE_TAG,
    AUTOMATIC,
    SEMIAUTOMATIC,
    ignored_segment,
    joined_labels,
    missing_segment,
)
from CovidLungQuantLib.labels import LABELS, LESION_LABELS, NORMAL_LUNG
from CovidLungQuantLib.mrml.nodes import no_new_nodes_on_error, place_beside, remember_volume
from CovidLungQuantLib.mrml.segments import (
    BINARY_LABELMAP,
    CLOSED_SURFACE,
    index_to_volume_index,
    make_segments,
    replace_segments,
    segment_image,
    segment_mask,
    set_display,
    tag_of,
    terminology_of,
)
from CovidLungQuantLib.mrml.volumes import geometry_of, voxels
from CovidLungQuantLib.terminology import label_of_segment, label_of_terminology_entry

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

LABELS_SHA256_ATTRIBUTE = "CovidLungQuant.labelsSHA256"
PROVENANCE_ATTRIBUTE = "CovidLungQuant.provenance"

_LABEL_VALUES = tuple(label.value for label in LABELS)


def segmentation_to_node(
    scene: Any,
    quantification: Quantification,
    volume_node: Any,
    segmentation_node: Any | None = None,
) -> Any:
    """Write the label map of `quantification` as one segmentation node and return the node.

    The three segments share one layer, keep fixed ids, and carry name, colour, opacity, terminology
    and the DICOM algorithm tags. The node has the volume's reference geometry and transform and
    lies beside it in the subject hierarchy. What made it is kept in the attribute
    `PROVENANCE_ATTRIBUTE`, the fields of `pipeline.Provenance` as JSON.

    Args:
        scene: the MRML scene.
        quantification: its `labels` are on the grid of `volume_node`.
        volume_node: the scalar volume node that was quantified.
        segmentation_node: updated in place if given: segments that stand for one of the labels
            (see `segmentation_from_node`) are replaced, all others are kept. None adds a node.

    Raises:
        BadInputError: the label map does not fit the volume. The scene is then as it was.
    """
    shape = geometry_of(volume_node).shape
    if quantification.labels.shape != shape:
        raise BadInputError(
            f"The label map has {quantification.labels.shape} voxels (z, y, x) and the volume"
            f' "{volume_node.GetName()}" {shape}; segment the volume again.'
        )
    provenance = quantification.provenance
    # A label map that no network made here was drawn or corrected by a person.
    model_name = provenance.model_name if provenance is not None else None
    segments = make_segments(quantification.labels, LABELS, model_name, volume_node)
    with no_new_nodes_on_error(scene):
        if segmentation_node is None:
            segmentation_node = scene.AddNewNodeByClass(
                "vtkMRMLSegmentationNode", f"{volume_node.GetName()} segmentation"
            )
            place_beside(scene, segmentation_node, volume_node)
        modify_state = segmentation_node.StartModify()
        try:
            segment_ids = _segment_ids_by_label(segmentation_node)
            old_ids = [name for value in _LABEL_VALUES for name in segment_ids[value]]
            replace_segments(segmentation_node, volume_node, old_ids, segments)
            segmentation_node.SetAttribute(
                LABELS_SHA256_ATTRIBUTE, _labels_sha256(quantification.labels)
            )
            segmentation_node.SetAttribute(PROVENANCE_ATTRIBUTE, _provenance_text(quantification))
            remember_volume(segmentation_node, volume_node)
            set_display(segmentation_node, LABELS)
        finally:
            segmentation_node.EndModify(modify_state)
    return segmentation_node


def segmentation_from_node(
    segmentation_node: Any, volume_node: Any
) -> tuple[np.ndarray, tuple[ScanWarning, ...]]:
    """Return (labels, warnings): a segmentation node as a label map on the volume's grid.

    A segment stands for a label if it has the label's id, else if it has its terminology type, else
    if it has its name; several segments of one label are joined. Where segments overlap, the higher
    label value wins (high opacity over GGO over normal lung). Missing lesion segments count as
    empty. Each of these that is not plain is said in a warning, as are segments that stand for no
    label and voxels that had to be resampled or lie outside the volume.

    Returns:
        labels: uint8 (z, y, x); values as in `labels.py`.
        warnings: to be shown with the measurements.

    Raises:
        BadInputError: there is no normal-lung segment, nothing is segmented, or a transform bends.
    """
    if segmentation_node is None:
        raise BadInputError("No segmentation is selected; press Segment first.")
    name = segmentation_node.GetName()
    segment_ids = _segment_ids_by_label(segmentation_node)
    if not segment_ids[NORMAL_LUNG.value]:
        raise BadInputError(
            f'The segmentation "{name}" has no segment "{NORMAL_LUNG.name}", without which extents'
            " cannot be computed; segment the volume again."
        )
    warnings = _warnings_about_segments(segmentation_node, segment_ids)
    shape = geometry_of(volume_node).shape

    def mask_of(value: int) -> np.ndarray:
        mask = np.zeros(shape, dtype=bool)
        for segment_id in segment_ids[value]:
            mask |= segment_mask(segmentation_node, segment_id, volume_node, warnings)
        return mask

    # One mask at a time: all together would take three times the memory.
    masks = ((value, mask_of(value)) for value in _LABEL_VALUES)
    labels = joined_labels(masks, shape, warnings)
    if not labels.any():
        raise BadInputError(
            f'The segmentation "{name}" is empty within the volume "{volume_node.GetName()}";'
            " segment the volume again or select the segmentation that belongs to it."
        )
    return labels, tuple(dict.fromkeys(warnings))


def labels_after_stroke(segmentation_node: Any, volume_node: Any) -> np.ndarray:
    """Return a segmentation as a label map, as `segmentation_from_node`, but without warnings.

    Segments that share one image on the volume's grid, as they are written and as Segment Editor
    keeps them, are read at once; others one by one.

    Returns:
        labels: uint8 (z, y, x); values as in `labels.py`.

    Raises:
        BadInputError: as `segmentation_from_node`.
    """
    labels = _labels_of_shared_image(segmentation_node, volume_node)
    if labels is None:
        labels, _ = segmentation_from_node(segmentation_node, volume_node)
    return labels


def _labels_of_shared_image(segmentation_node: Any, volume_node: Any) -> np.ndarray | None:
    """The label map if one image on the volume's grid holds a segment for each label, else None."""
    import slicer

    segment_ids = _segment_ids_by_label(segmentation_node)
    if any(len(segment_ids[value]) != 1 for value in _LABEL_VALUES):
        return None
    segmentation = segmentation_node.GetSegmentation()
    segments = [segmentation.GetSegment(segment_ids[value][0]) for value in _LABEL_VALUES]
    images = [segment.GetRepresentation(BINARY_LABELMAP) for segment in segments]
    image = images[0]
    if image is None or image.IsEmpty() or any(other is not image for other in images[1:]):
        return None
    oriented = slicer.vtkOrientedImageData.SafeDownCast(image)
    to_volume = index_to_volume_index(oriented, segmentation_node, volume_node)
    shift_xyz = voxel_shift(to_volume, oriented.GetDimensions())
    image_voxels = voxels(oriented)
    if shift_xyz is None or image_voxels.dtype != np.uint8:
        return None
    meaning = np.zeros(256, np.uint8)
    for segment, value in zip(segments, _LABEL_VALUES, strict=True):
        meaning[segment.GetLabelValue()] = value
    shape = geometry_of(volume_node).shape
    inside_volume, inside_image = overlapping_slices(shift_xyz[::-1], image_voxels.shape, shape)
    labels = np.zeros(shape, np.uint8)
    labels[inside_volume] = meaning[image_voxels[inside_image]]
    return labels if labels.any() else None


def write_labels(
    segmentation_node: Any, volume_node: Any, labels: np.ndarray, with_surfaces: bool = True
) -> None:
    """Give the segments of a result other voxels, as a stroke does; all else of them stays.

    Args:
        segmentation_node: with one segment for each label.
        volume_node: the scalar volume node they belong to.
        labels: uint8 (z, y, x) on its grid; values as in `labels.py`.
        with_surfaces: renew surfaces that are shown, which takes long; False leaves those of before
            until `renew_surfaces`.

    Raises:
        BadInputError: there is not one segment for each label.
    """
    segmentation = segmentation_node.GetSegmentation()
    segment_ids = _segment_ids_by_label(segmentation_node)
    if any(len(segment_ids[value]) != 1 for value in _LABEL_VALUES):
        raise BadInputError(
            f'The segmentation "{segmentation_node.GetName()}" has not one segment for each label;'
            " segment the volume again."
        )
    segments = [segmentation.GetSegment(segment_ids[label.value][0]) for label in LABELS]
    surfaces = [segment.GetRepresentation(CLOSED_SURFACE) for segment in segments]
    made = make_segments(labels, LABELS, None, volume_node)
    # One modification, so that nobody meets segments of two label maps.
    modify_state = segmentation_node.StartModify()
    try:
        for label, segment in zip(LABELS, segments, strict=True):
            image = made[label.segment_id].GetRepresentation(BINARY_LABELMAP)
            segment.SetLabelValue(label.value)
            segment.AddRepresentation(BINARY_LABELMAP, image)
        # Slicer lets go of the surfaces then.
        image.Modified()
        for segment, surface in zip(segments, surfaces, strict=True):
            if surface is not None:
                segment.AddRepresentation(CLOSED_SURFACE, surface)
        if with_surfaces:
            renew_surfaces(segmentation_node)
    finally:
        segmentation_node.EndModify(modify_state)


def renew_surfaces(segmentation_node: Any) -> None:
    """Make the surfaces of the segments anew where there are any."""
    if segmentation_node.GetSegmentation().ContainsRepresentation(CLOSED_SURFACE):
        segmentation_node.RemoveClosedSurfaceRepresentation()
        segmentation_node.CreateClosedSurfaceRepresentation()


def note_edits(segmentation_node: Any, labels: np.ndarray) -> bool:
    """Mark the segments as semi-automatic if `labels`, read from the node, are not as written.

    Returns whether they were edited. DICOM SEG export says so then.
    """
    if segmentation_node.GetAttribute(LABELS_SHA256_ATTRIBUTE) == _labels_sha256(labels):
        return False
    segment_ids = _segment_ids_by_label(segmentation_node)
    for value in _LABEL_VALUES:
        for segment_id in segment_ids[value]:
            segment = segmentation_node.GetSegmentation().GetSegment(segment_id)
            if tag_of(segment, ALGORITHM_TYPE_TAG) == AUTOMATIC:
                segment.SetTag(ALGORITHM_TYPE_TAG, SEMIAUTOMATIC)
    return True


def _segment_ids_by_label(segmentation_node: Any) -> dict[int | None, list[str]]:
    """Return label value → ids of the segments that stand for it; None → those that are none."""
    segmentation = segmentation_node.GetSegmentation()
    found: dict[int | None, list[str]] = {value: [] for value in (*_LABEL_VALUES, None)}
    for index in range(segmentation.GetNumberOfSegments()):
        segment_id = segmentation.GetNthSegmentID(index)
        segment = segmentation.GetSegment(segment_id)
        label = label_of_segment(segment_id, terminology_of(segment), segment.GetName())
        found[label.value if label is not None else None].append(segment_id)
    return found


def _warnings_about_segments(
    segmentation_node: Any, segment_ids: dict[int | None, list[str]]
) -> list[ScanWarning]:
    segmentation = segmentation_node.GetSegmentation()
    warnings = []
    for segment_id in segment_ids[None]:
        if segment_image(segmentation_node, segment_id) is not None:
            warnings.append(ignored_segment(segmentation.GetSegment(segment_id).GetName()))
    for label in LABELS:
        for segment_id in segment_ids[label.value]:
            segment = segmentation.GetSegment(segment_id)
            by_terminology = label_of_terminology_entry(terminology_of(segment))
            if by_terminology not in (None, label):
                warnings.append(
                    ScanWarning(
                        "segment_retagged",
                        f'The segment "{segment.GetName()}" was made as {label.name} and is'
                        " measured as such, though its terminology now says"
                        f" {by_terminology.name}.",
                    )
                )
    for label in LESION_LABELS:
        if not segment_ids[label.value]:
            warnings.append(
                missing_segment(f'The segmentation "{segmentation_node.GetName()}"', label)
            )
    return warnings


def _provenance_text(quantification: Quantification) -> str:
    provenance = quantification.provenance
    return json.dumps(None if provenance is None else asdict(provenance))


def _labels_sha256(labels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(labels, dtype=np.uint8).data).hexdigest()
