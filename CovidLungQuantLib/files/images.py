"""Image files as arrays (z, y, x) with a geometry, read through the vetted door.

Every label map, whatever it stands for, is read by `read_label_file`. (A CT is read by `ct`.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.ct.images import geometry_of_header, image_on
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import not_written
from CovidLungQuantLib.files.grids import is_same_grid
from CovidLungQuantLib.files.seg_nrrd import SegmentHeader, segment_headers
from CovidLungQuantLib.vetting import (
    StoredImage,
    UnreadableFileError,
    check_regular_file,
    read_stored_image,
)
from CovidLungQuantLib.vetting.problems import shown

LABEL_MAP_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nrrd", ".nii", ".mha", ".mhd")


@dataclass(frozen=True)
class Wording:
    """How messages call what a file should hold."""

    file: str
    as_what: str
    label_map: str


ANY_LABEL_MAP = Wording("file", "", "a 3D label map")
SEGMENTATION_OF_SCAN = Wording(
    "segmentation file", " as a segmentation", "the 3D label map of the scan"
)


@dataclass(frozen=True, eq=False)
class LabelFile:
    """A file of labels as it is stored.

    Attributes:
        file_name: without its folder, for messages.
        layers: (z, y, x, layers) in the type of the file; one layer, but for a Slicer segmentation
            of overlapping segments.
        geometry: of the layers.
        segments: what the header says about each segment; none in a plain label map.
    """

    file_name: str
    layers: np.ndarray
    geometry: Geometry
    segments: tuple[SegmentHeader, ...]


def read_label_file(path: Path | str, wording: Wording = ANY_LABEL_MAP) -> LabelFile:
    """Read a file of labels: NRRD, NIfTI, MetaImage or a Slicer segmentation (.seg.nrrd).

    This is the door for every label map. It says what is stored; what the values mean, and which
    are allowed, is for the caller to say (`segmentation_reading`, `lobes`).

    Args:
        path: of the file.
        wording: how messages call it.

    Raises:
        BadInputError: the file is not there, is no image that can be read, is not 3D, or its header
            makes no sense.
        OutOfResourcesError: the memory does not hold it.
    """
    path = Path(path)
    stored = _stored_image(path, wording)
    layers = stored.voxels
    if stored.header.components == 1:
        layers = layers.reshape(*layers.shape[:3], 1)
    try:
        segments = segment_headers(stored.header.fields)
    except ValueError as error:
        raise BadInputError(
            f"The header of {path.name} gives a segment a layer or value that is no whole number; "
            "save the segmentation again."
        ) from error
    for segment in segments:
        _check_segment(segment, layers.shape[3], path.name)
    return LabelFile(path.name, layers, geometry_of_header(stored.header), segments)


def read_image(path: Path | str) -> tuple[np.ndarray, Geometry]:
    """Read an image file as it is stored, unchecked: a scan of a training set, say.

    Returns:
        array (z, y, x) in the type of the file, and its geometry.

    Raises:
        BadInputError: the file is not there, is no image that can be read, or is not 3D.
        OutOfResourcesError: the memory does not hold it.
    """
    stored = _stored_image(Path(path), ANY_LABEL_MAP)
    return stored.voxels, geometry_of_header(stored.header)


def write_image(path: Path, array: np.ndarray, geometry: Geometry) -> None:
    """Write an array (z, y, x) in the format that the suffix says, whole or not at all.

    It is read back before it takes its name.

    Raises:
        BadInputError: it cannot be written there.
        OutOfResourcesError: the disk is full.
    """
    # Under another name until it is complete; the suffix, which says the format, is kept.
    unfinished = path.with_name(f".unfinished-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image_on(array, geometry), str(unfinished), useCompression=True)
        # ITK's writer of NIfTI says nothing where the disk is full.
        found = sitk.GetArrayFromImage(sitk.ReadImage(str(unfinished)))
        if not np.array_equal(found, array, equal_nan=array.dtype.kind == "f"):
            raise OSError(f"{unfinished} is not read back as it was written")
        unfinished.rename(path)
    except (OSError, RuntimeError) as error:
        raise not_written(unfinished, path.name) from error
    finally:
        unfinished.unlink(missing_ok=True)


def on_grid_of(labels: np.ndarray, own: Geometry, grid: Geometry) -> np.ndarray:
    """Resample labels (z, y, x) from their own grid to another: each voxel takes the nearest."""
    if is_same_grid(own, grid):
        return labels
    target = image_on(np.zeros(grid.shape, np.uint8), grid)
    resampled = sitk.Resample(
        image_on(labels, own), target, sitk.Transform(), sitk.sitkNearestNeighbor
    )
    return sitk.GetArrayFromImage(resampled)


def whole_numbers(array: np.ndarray, file_name: str) -> np.ndarray:
    """Return an array of labels as whole numbers.

    Writers of NIfTI like to store labels as floating point; whole numbers lose nothing.

    Returns:
        int32 for floating point; other types as they are.

    Raises:
        BadInputError: a value is not a whole number, or too large for a label.
    """
    if array.dtype.kind != "f":
        return array
    whole = np.rint(array)
    if not np.array_equal(whole, array) or np.abs(whole).max(initial=0) > np.iinfo(np.int32).max:
        raise BadInputError(
            f"{file_name} holds values that are not whole numbers; give a label map."
        )
    return whole.astype(np.int32)


def _stored_image(path: Path, wording: Wording) -> StoredImage:
    check_regular_file(path, wording.file)
    try:
        stored = read_stored_image(path)
    except UnreadableFileError as error:
        raise BadInputError(
            f"{shown(path.name)} cannot be read{wording.as_what} ({error.reason}); give a "
            ".seg.nrrd, .nrrd, .nii.gz or .mha label map."
        ) from error
    if len(stored.header.sizes) != 3:
        raise BadInputError(
            f"{shown(path.name)} has {len(stored.header.sizes)} dimensions; give "
            f"{wording.label_map}."
        )
    return stored


def _check_segment(segment: SegmentHeader, layer_count: int, file_name: str) -> None:
    """Check that a segment lies in a layer there is, with a value a label can have."""
    if 0 <= segment.layer < layer_count and abs(segment.value) <= np.iinfo(np.int32).max:
        return
    raise BadInputError(
        f"The header of {shown(file_name)} puts the segment {shown(segment.name)} in layer"
        f" {shown(str(segment.layer))} with value {shown(str(segment.value))}, and the file has"
        f" {layer_count} layers; save the segmentation again."
    )
