"""Reading lungs and lobes from files of other tools or people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import Geometry, orient_like, restore_orientation
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import LabelFile, on_grid_of, read_label_file, whole_numbers
from CovidLungQuantLib.files.lobe_conventions import SegmentName, lobe_of_segment, recognise_lobes
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

# The share of the lobes that must lie inside the scan they are read for.
SMALLEST_SHARE_IN_SCAN = 0.5
# Voxels that lie in two lobes, as a share of all: more is not a matter of borders.
LARGEST_DOUBLE_SHARE = 0.02


def read_lobes(path: Path | str, geometry: Geometry) -> np.ndarray:
    """Read the lobes a user already has, on the grid of a scan.

    The file may be a label map (NRRD, NIfTI, MetaImage) or a Slicer segmentation (.seg.nrrd), on
    any grid; from another grid each voxel takes the nearest value.

    Returns:
        uint8 (z, y, x) on the grid of `geometry`, values of `labels.LOBES`.

    Raises:
        BadInputError: the file cannot be read, its lobes are not recognised or lie outside the
            scan.
    """
    file = read_label_file(path)
    labels, segments = _label_map(file)
    own = file.geometry
    orientation = orientation_of(own)
    upright = recognise_lobes(
        orient_like(labels, orientation),
        oriented_geometry(own, orientation).spacing_mm,
        segments,
        file.file_name,
    )
    lobes = restore_orientation(upright, orientation)
    on_scan = on_grid_of(lobes, own, geometry)
    in_scan_ml = np.count_nonzero(on_scan) * geometry.voxel_volume_ml
    if in_scan_ml < SMALLEST_SHARE_IN_SCAN * np.count_nonzero(lobes) * own.voxel_volume_ml:
        raise BadInputError(
            f"The lobes in {file.file_name} lie outside the scan for the most part; give the lobes "
            "of this scan."
        )
    return on_scan


def read_lungs(path: Path | str) -> tuple[np.ndarray, Geometry]:
    """Read a label map of the lungs: left 1, right 2.

    Returns:
        uint8 (z, y, x) as stored, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`; and its geometry.

    Raises:
        BadInputError: the file cannot be read, is empty, holds other values, or has left and right
            exchanged.
    """
    file = read_label_file(path)
    if file.layers.shape[-1] != 1:
        raise BadInputError(
            f"{file.file_name} holds several values a voxel; give a label map: left lung "
            f"{LEFT_LUNG_VALUE}, right lung {RIGHT_LUNG_VALUE}."
        )
    labels = whole_numbers(file.layers[..., 0], file.file_name)
    geometry = file.geometry
    values = set(np.unique(labels).tolist()) - {0}
    if not values:
        raise BadInputError(f"{file.file_name} is empty; give a label map of the lungs.")
    if not values <= {LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE}:
        raise BadInputError(
            f"{file.file_name} holds values other than 0, {LEFT_LUNG_VALUE} (left lung) and "
            f"{RIGHT_LUNG_VALUE} (right lung); give a label map of the lungs alone."
        )
    lungs = labels.astype(np.uint8)
    if len(values) == 2 and not _left_lies_left(lungs, geometry):
        raise BadInputError(
            f"In {file.file_name} the lung labelled left ({LEFT_LUNG_VALUE}) lies to the right of "
            "the other; exchange the values or check the orientation."
        )
    return lungs, geometry


def _label_map(file: LabelFile) -> tuple[np.ndarray, dict[int, SegmentName]]:
    """One label map of a file, and what its header says about each value."""
    layers = whole_numbers(file.layers, file.file_name)
    if not file.segments:
        if layers.shape[-1] != 1:
            raise BadInputError(
                f"{file.file_name} holds several values a voxel and names no segments; give a "
                "label map."
            )
        return layers[..., 0], {}
    # Layers may repeat a value, so each lobe gets a value of its own; other segments are left out.
    labels = np.zeros(layers.shape[:3], np.int32)
    names = {}
    double = 0
    for number, segment in enumerate(file.segments, start=1):
        name = SegmentName(segment.name, segment.terminology)
        if lobe_of_segment(name) is None or not 0 <= segment.layer < layers.shape[-1]:
            continue
        mask = layers[..., segment.layer] == segment.value
        double += int(np.count_nonzero(labels[mask]))
        labels[mask] = number
        names[number] = name
    if not names and layers.shape[-1] == 1:
        return layers[..., 0], {}
    if double > LARGEST_DOUBLE_SHARE * np.count_nonzero(labels):
        raise BadInputError(
            f"The lobes in {file.file_name} overlap in {double} voxels; correct them so that each "
            "voxel lies in one lobe."
        )
    return labels, names


def _left_lies_left(lungs: np.ndarray, geometry: Geometry) -> bool:
    upright = orient_like(lungs, orientation_of(geometry))
    columns = np.arange(upright.shape[2])
    left, right = (
        np.average(columns, weights=(upright == value).sum(axis=(0, 1)))
        for value in (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE)
    )
    return bool(left > right)
