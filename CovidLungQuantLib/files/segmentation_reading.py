"""Reading label maps of the lesions: Slicer segmentations and plain label maps, ours or others'."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import Geometry, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.grids import place_labels
from CovidLungQuantLib.files.images import (
    SEGMENTATION_OF_SCAN,
    LabelFile,
    read_label_file,
    whole_numbers,
)
from CovidLungQuantLib.files.segments import ignored_segment, joined_labels, missing_segment
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    GGO,
    LABELS,
    LESION_LABELS,
    NORMAL_LUNG,
    UNCLASSIFIED_LESION_VALUE,
    UNKNOWN_LUNG_VALUE,
)
from CovidLungQuantLib.terminology import label_of_segment


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label map on the grid of its own file.

    Attributes:
        labels: uint8 (z, y, x); values as in `labels.py`.
        geometry: of the file.
        is_segmentation: a .seg.nrrd, which may be cropped to what it holds.
        warnings: what was missing, ignored or overlapping.
    """

    labels: np.ndarray
    geometry: Geometry
    is_segmentation: bool
    warnings: tuple[ScanWarning, ...]


def read_segmentation(
    path: Path | str, geometry: Geometry
) -> tuple[np.ndarray, tuple[ScanWarning, ...]]:
    """Read a segmentation of a scan as a label map on the scan's grid.

    In a .seg.nrrd a segment stands for a label if it has the label's id, else its terminology type,
    else its name; its value in the file does not matter. Several segments of one label are joined,
    and where segments overlap the higher label value wins. A plain label map must hold 0…3.
    A grid that is cropped, flipped or permuted against the scan's but shares its voxels is placed
    where it belongs; nothing is resampled.

    Returns:
        labels: uint8 (z, y, x); values as in `labels.py`.
        warnings: what was missing, ignored or overlapping.

    Raises:
        BadInputError: the file cannot be read, does not lie on the scan's voxels, or holds
            something that cannot be measured.
    """
    label_map = _read(path, lungs_needed=True, is_reference=False)
    placed = place_labels(label_map.labels, label_map.geometry, geometry, Path(path).name)
    return placed, label_map.warnings


def read_label_map(path: Path | str) -> LabelMap:
    """Read a segmentation on its own grid, to compare it with another of the same scan.

    As `read_segmentation`, but without a scan: normal lung may be missing, and a plain label map
    may hold what only references do: lesion of unknown class (`UNCLASSIFIED_LESION_VALUE`) and
    voxels of which lung or not is unknown (`UNKNOWN_LUNG_VALUE`).

    Raises:
        BadInputError: the file cannot be read or holds other values.
    """
    return _read(path, lungs_needed=False, is_reference=True)


def _read(path: Path | str, lungs_needed: bool, is_reference: bool) -> LabelMap:
    file = read_label_file(path, SEGMENTATION_OF_SCAN)
    warnings: list[ScanWarning] = []
    is_segmentation = bool(file.segments)
    if is_segmentation:
        labels = _labels_of_segments(file, lungs_needed, warnings)
    else:
        labels = _plain_labels(file, is_reference)
    return LabelMap(labels, file.geometry, is_segmentation, tuple(warnings))


def _plain_labels(file: LabelFile, is_reference: bool) -> np.ndarray:
    if file.layers.shape[-1] != 1:
        raise BadInputError(
            f"{file.file_name} holds {file.layers.shape[-1]} values a voxel; give a label map with "
            "one."
        )
    labels = whole_numbers(file.layers[..., 0], file.file_name)
    checked = labels
    if is_reference:
        checked = labels.copy()
        checked[labels == UNCLASSIFIED_LESION_VALUE] = GGO.value
        checked[labels == UNKNOWN_LUNG_VALUE] = BACKGROUND_VALUE
    check_labels(checked, labels.shape)
    return labels.astype(np.uint8)


def _labels_of_segments(
    file: LabelFile, lungs_needed: bool, warnings: list[ScanWarning]
) -> np.ndarray:
    shape = file.layers.shape[:3]
    masks = {label.value: np.zeros(shape, dtype=bool) for label in LABELS}
    found: set[int] = set()
    nameless = file.layers != BACKGROUND_VALUE
    for segment in file.segments:
        mask = file.layers[..., segment.layer] == segment.value
        nameless[..., segment.layer] &= ~mask
        label = label_of_segment(segment.segment_id, segment.terminology, segment.name)
        if label is not None:
            found.add(label.value)
            masks[label.value] |= mask
        elif mask.any():
            warnings.append(ignored_segment(segment.name))
    if nameless.any():
        warnings.append(
            ScanWarning(
                "voxels_without_segment",
                f"{file.file_name} holds {int(nameless.sum())} voxels that are of none of its "
                "segments and were left out; look whether its segments are whole.",
            )
        )
    if lungs_needed and NORMAL_LUNG.value not in found:
        raise BadInputError(
            f'{file.file_name} has no segment "{NORMAL_LUNG.name}", without which extents cannot '
            "be computed; name the segment of the lung without lesions so."
        )
    for label in LESION_LABELS:
        if label.value not in found:
            warnings.append(missing_segment(file.file_name, label))
    return joined_labels(sorted(masks.items()), shape, warnings)
