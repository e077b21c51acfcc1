"""Reading lungs and lobes from files of other tools or people."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.anatomy.lobe_labels import SegmentName, lobe_of_segment, recognise_lobes
from CovidLungQuantLib.ct import Geometry, orient_like, restore_orientation
from CovidLungQuantLib.ct.images import geometry_of_image, image_on
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.errors import BadInputError
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
    path = Path(path)
    image = _read_image(path)
    labels, segments = _label_map(image, path.name)
    own = geometry_of_image(image)
    orientation = orientation_of(own)
    upright = recognise_lobes(
        orient_like(labels, orientation),
        oriented_geometry(own, orientation).spacing_mm,
        segments,
        path.name,
    )
    lobes = restore_orientation(upright, orientation)
    found = image_on(lobes, own)
    on_scan = sitk.GetArrayFromImage(
        sitk.Resample(
            found,
            image_on(np.zeros(geometry.shape, np.uint8), geometry),
            sitk.Transform(),
            sitk.sitkNearestNeighbor,
        )
    )
    in_scan_ml = np.count_nonzero(on_scan) * geometry.voxel_volume_ml
    if in_scan_ml < SMALLEST_SHARE_IN_SCAN * np.count_nonzero(lobes) * own.voxel_volume_ml:
        raise BadInputError(
            f"The lobes in {path.name} lie outside the scan for the most part; give the lobes of "
            "this scan."
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
    path = Path(path)
    image = _read_image(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInputError(
            f"{path.name} holds several values a voxel; give a label map: left lung "
            f"{LEFT_LUNG_VALUE}, right lung {RIGHT_LUNG_VALUE}."
        )
    labels = _whole_numbers(sitk.GetArrayFromImage(image), path.name)
    geometry = geometry_of_image(image)
    values = set(np.unique(labels).tolist()) - {0}
    if not values:
        raise BadInputError(f"{path.name} is empty; give a label map of the lungs.")
    if not values <= {LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE}:
        raise BadInputError(
            f"{path.name} holds values other than 0, {LEFT_LUNG_VALUE} (left lung) and "
            f"{RIGHT_LUNG_VALUE} (right lung); give a label map of the lungs alone."
        )
    lungs = labels.astype(np.uint8)
    if len(values) == 2 and not _left_lies_left(lungs, geometry):
        raise BadInputError(
            f"In {path.name} the lung labelled left ({LEFT_LUNG_VALUE}) lies to the right of the "
            "other; exchange the values or check the orientation."
        )
    return lungs, geometry


def _read_image(path: Path) -> sitk.Image:
    if not path.is_file():
        raise BadInputError(f"There is no file {path.name}; check the path.")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise BadInputError(
            f"{path.name} cannot be read; give a .seg.nrrd, .nrrd, .nii.gz or .mha label map."
        ) from None
    if image.GetDimension() != 3:
        raise BadInputError(
            f"{path.name} has {image.GetDimension()} dimensions; give a 3D label map."
        )
    return image


def _whole_numbers(array: np.ndarray, file_name: str) -> np.ndarray:
    """The array as int32; writers of NIfTI like to store labels as floating point."""
    if array.dtype.kind != "f":
        return array.astype(np.int32)
    whole = np.rint(array)
    if not np.array_equal(whole, array) or np.abs(whole).max(initial=0) > np.iinfo(np.int32).max:
        raise BadInputError(
            f"{file_name} holds values that are not whole numbers; give a label map."
        )
    return whole.astype(np.int32)


def _label_map(image: sitk.Image, file_name: str) -> tuple[np.ndarray, dict[int, SegmentName]]:
    """One label map of an image, and what its header says about each value."""
    layers = _whole_numbers(sitk.GetArrayFromImage(image), file_name)
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = layers[..., np.newaxis]
    segments = []
    while image.HasMetaDataKey(f"Segment{len(segments)}_ID"):
        segments.append(_segment(image, len(segments)))
    if not segments:
        if layers.shape[-1] != 1:
            raise BadInputError(
                f"{file_name} holds several values a voxel and names no segments; give a label map."
            )
        return layers[..., 0], {}
    # Layers may repeat a value, so each lobe gets a value of its own; other segments are left out.
    labels = np.zeros(layers.shape[:3], np.int32)
    names = {}
    double = 0
    for number, (name, layer, value) in enumerate(segments, start=1):
        if lobe_of_segment(name) is None or not 0 <= layer < layers.shape[-1]:
            continue
        mask = layers[..., layer] == value
        double += np.count_nonzero(labels[mask])
        labels[mask] = number
        names[number] = name
    if not names and layers.shape[-1] == 1:
        return layers[..., 0], {}
    if double > LARGEST_DOUBLE_SHARE * np.count_nonzero(labels):
        raise BadInputError(
            f"The lobes in {file_name} overlap in {double} voxels; correct them so that each voxel "
            "lies in one lobe."
        )
    return labels, names


def _segment(image: sitk.Image, index: int) -> tuple[SegmentName, int, int]:
    """Name, layer and value of a segment in the header of a Slicer segmentation."""

    def field(key: str, default: str) -> str:
        full_key = f"Segment{index}_{key}"
        return image.GetMetaData(full_key) if image.HasMetaDataKey(full_key) else default

    entry = ""
    for tag in field("Tags", "").split("|"):
        key, _, value = tag.partition(":")
        if key.endswith("TerminologyEntry"):
            entry = value
    name = field("Name", field("ID", ""))
    return SegmentName(name, entry), int(field("Layer", "0")), int(field("LabelValue", "1"))


def _left_lies_left(lungs: np.ndarray, geometry: Geometry) -> bool:
    upright = orient_like(lungs, orientation_of(geometry))
    columns = np.arange(upright.shape[2])
    left, right = (
        np.average(columns, weights=(upright == value).sum(axis=(0, 1)))
        for value in (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE)
    )
    return bool(left > right)
