"""The label map as a segmentation file (.seg.nrrd) that Slicer opens with names and colours.

Reading also takes what Slicer itself writes and plain label maps (NRRD, NIfTI, MetaImage).
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct import Geometry, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.segments import (
    algorithm_tags,
    ignored_segment,
    joined_labels,
    missing_segment,
)
from CovidLungQuantLib.labels import (
    AIRWAYS_AND_VESSELS,
    BACKGROUND_VALUE,
    GGO,
    LABELS,
    LESION_LABELS,
    LOBES,
    NORMAL_LUNG,
    SUB_VISUAL_LESION,
    UNCLASSIFIED_LESION_VALUE,
    UNKNOWN_LUNG_VALUE,
    Label,
)
from CovidLungQuantLib.lesions.airways_and_vessels import METHOD_NAME as TUBES_METHOD
from CovidLungQuantLib.lesions.enhancement import METHOD_NAME as ENHANCEMENT_METHOD
from CovidLungQuantLib.measures.volumes import check_labels
from CovidLungQuantLib.terminology import label_of_segment, terminology_entry

# Two grids are the same lattice if no voxel centre is further off than this part of a voxel:
# above the rounding of the 32-bit headers of NIfTI, far below anything that moves a number.
LATTICE_TOLERANCE_VOXELS = 0.05


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


def write_segmentation(
    path: Path | str, labels: np.ndarray, geometry: Geometry, model_name: str | None = None
) -> None:
    """Write a label map as a Slicer segmentation, values 1, 2, 3 in one layer, gzip-compressed.

    The same input gives the same bytes. The header is written here, not by ITK, so that a full disk
    is an error and not a shortened file.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        labels: label map (z, y, x); values as in `labels.py`.
        geometry: of the scan.
        model_name: the model that made it; None if a person drew or corrected it.

    Raises:
        BadInputError: the label map does not fit the scan or holds other values.
        OSError: the file cannot be written.
    """
    check_labels(labels, geometry.shape)
    _write(Path(path), labels, geometry, LABELS, model_name)


def write_lobes(
    path: Path | str, lobes: np.ndarray, geometry: Geometry, method_name: str | None = None
) -> None:
    """Write the lobes as a Slicer segmentation, values 1…5 in one layer, gzip-compressed.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        lobes: uint8 (z, y, x), values of `labels.LOBES`.
        geometry: of the scan.
        method_name: what found them; None if the user gave them.

    Raises:
        OSError: the file cannot be written.
    """
    _write(Path(path), lobes, geometry, LOBES, method_name)


def write_airways_and_vessels(path: Path | str, tubes: np.ndarray, geometry: Geometry) -> None:
    """Write airways (1) and vessels (2) as a Slicer segmentation of one layer, gzip-compressed.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        tubes: uint8 (z, y, x), values of `labels.AIRWAYS_AND_VESSELS`.
        geometry: of the scan.

    Raises:
        OSError: the file cannot be written.
    """
    _write(Path(path), tubes, geometry, AIRWAYS_AND_VESSELS, TUBES_METHOD)


def write_sub_visual(path: Path | str, sub_visual: np.ndarray, geometry: Geometry) -> None:
    """Write the sub-visual lesions as a Slicer segmentation, value 1, gzip-compressed.

    Args:
        path: should end in .seg.nrrd, by which Slicer knows a segmentation.
        sub_visual: bool (z, y, x).
        geometry: of the scan.

    Raises:
        OSError: the file cannot be written.
    """
    _write(Path(path), sub_visual, geometry, (SUB_VISUAL_LESION,), ENHANCEMENT_METHOD)


def _write(
    path: Path,
    labels: np.ndarray,
    geometry: Geometry,
    classes: Sequence[Label],
    algorithm_name: str | None,
) -> None:
    voxels = np.ascontiguousarray(labels, dtype=np.uint8)
    fields = [*_nrrd_fields(geometry), *_segment_fields(geometry, classes, algorithm_name)]
    header = "\n".join(fields)
    with path.open("wb") as file:
        file.write(header.encode("utf-8") + b"\n\n")
        # No name and no time in the gzip header: the bytes depend on the content alone.
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as data:
            for plane in voxels:
                data.write(plane.tobytes())


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
    label_map = _read(Path(path), lungs_needed=True, is_reference=False)
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
    return _read(Path(path), lungs_needed=False, is_reference=True)


def _read(path: Path, lungs_needed: bool, is_reference: bool) -> LabelMap:
    image = _read_image(path)
    layers = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() == 1:
        layers = layers[..., np.newaxis]
    warnings: list[ScanWarning] = []
    is_segmentation = image.HasMetaDataKey("Segment0_ID")
    if is_segmentation:
        labels = _labels_of_segments(image, layers, path.name, lungs_needed, warnings)
    else:
        labels = _plain_labels(layers, path.name, is_reference)
    return LabelMap(labels, _geometry_of(image), is_segmentation, tuple(warnings))


def _nrrd_fields(geometry: Geometry) -> list[str]:
    depth, height, width = geometry.shape
    axes = geometry.ijk_to_lps[:3, :3].T
    return [
        "NRRD0004",
        "type: uint8",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {width} {height} {depth}",
        "space directions: " + " ".join(_vector(axis) for axis in axes),
        "kinds: domain domain domain",
        "encoding: gzip",
        "space origin: " + _vector(geometry.origin_mm),
    ]


def _vector(values: np.ndarray | tuple[float, ...]) -> str:
    return "(" + ",".join(repr(float(value)) for value in values) + ")"


def _segment_fields(
    geometry: Geometry, classes: Sequence[Label], algorithm_name: str | None
) -> list[str]:
    depth, height, width = geometry.shape
    fields = []
    for index, label in enumerate(classes):
        tags = {**algorithm_tags(algorithm_name), "TerminologyEntry": terminology_entry(label)}
        values = {
            "Color": " ".join(f"{component:g}" for component in label.color),
            "ColorAutoGenerated": "0",
            "Extent": f"0 {width - 1} 0 {height - 1} 0 {depth - 1}",
            "ID": label.segment_id,
            "LabelValue": str(label.value),
            "Layer": "0",
            "Name": label.name,
            "NameAutoGenerated": "0",
            "Tags": "".join(f"{key}:{value}|" for key, value in tags.items()),
        }
        fields += [f"Segment{index}_{key}:={value}" for key, value in values.items()]
    return [
        *fields,
        "Segmentation_ContainedRepresentationNames:=Binary labelmap|",
        "Segmentation_MasterRepresentation:=Binary labelmap",
        "Segmentation_ReferenceImageExtentOffset:=0 0 0",
    ]


def _read_image(path: Path) -> sitk.Image:
    if not path.is_file():
        raise BadInputError(f"There is no segmentation file {path.name}; check the path.")
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise BadInputError(
            f"{path.name} cannot be read as a segmentation; give a .seg.nrrd, .nrrd, .nii.gz or "
            ".mha label map."
        ) from None
    if image.GetDimension() != 3:
        raise BadInputError(
            f"{path.name} has {image.GetDimension()} dimensions; give the 3D label map of the scan."
        )
    return image


def _geometry_of(image: sitk.Image) -> Geometry:
    width, height, depth = image.GetSize()
    return Geometry(
        shape=(depth, height, width),
        spacing_mm=image.GetSpacing(),
        origin_mm=image.GetOrigin(),
        direction=np.array(image.GetDirection()).reshape(3, 3),
    )


def _plain_labels(layers: np.ndarray, file_name: str, is_reference: bool) -> np.ndarray:
    if layers.shape[-1] != 1:
        raise BadInputError(
            f"{file_name} holds {layers.shape[-1]} values a voxel; give a label map with one."
        )
    labels = layers[..., 0]
    if labels.dtype.kind == "f":
        # NIfTI writers like to store labels as floating point; whole numbers lose nothing.
        whole = np.rint(labels)
        if not np.array_equal(whole, labels) or np.abs(whole).max() > np.iinfo(np.int16).max:
            raise BadInputError(
                f"{file_name} holds values that are not whole numbers; give a label map."
            )
        labels = whole.astype(np.int16)
    checked = labels
    if is_reference:
        checked = labels.copy()
        checked[labels == UNCLASSIFIED_LESION_VALUE] = GGO.value
        checked[labels == UNKNOWN_LUNG_VALUE] = BACKGROUND_VALUE
    check_labels(checked, labels.shape)
    return labels.astype(np.uint8)


def _labels_of_segments(
    image: sitk.Image,
    layers: np.ndarray,
    file_name: str,
    lungs_needed: bool,
    warnings: list[ScanWarning],
) -> np.ndarray:
    masks = {label.value: np.zeros(layers.shape[:3], dtype=bool) for label in LABELS}
    found: set[int] = set()
    index = 0
    while image.HasMetaDataKey(f"Segment{index}_ID"):
        name = _segment_value(image, index, "Name", image.GetMetaData(f"Segment{index}_ID"))
        layer = int(_segment_value(image, index, "Layer", "0"))
        value = int(_segment_value(image, index, "LabelValue", "1"))
        label = _label_of_segment(image, index, name)
        if label is None:
            if np.any(layers[..., layer] == value):
                warnings.append(ignored_segment(name))
        else:
            found.add(label.value)
            masks[label.value] |= layers[..., layer] == value
        index += 1
    if lungs_needed and NORMAL_LUNG.value not in found:
        raise BadInputError(
            f'{file_name} has no segment "{NORMAL_LUNG.name}", without which extents cannot be '
            "computed; name the segment of the lung without lesions so."
        )
    for label in LESION_LABELS:
        if label.value not in found:
            warnings.append(missing_segment(file_name, label))
    return joined_labels(sorted(masks.items()), layers.shape[:3], warnings)


def _segment_value(image: sitk.Image, index: int, key: str, default: str) -> str:
    full_key = f"Segment{index}_{key}"
    return image.GetMetaData(full_key) if image.HasMetaDataKey(full_key) else default


def _label_of_segment(image: sitk.Image, index: int, name: str) -> Label | None:
    entry = ""
    for tag in _segment_value(image, index, "Tags", "").split("|"):
        key, _, value = tag.partition(":")
        if key.endswith("TerminologyEntry"):
            entry = value
    return label_of_segment(image.GetMetaData(f"Segment{index}_ID"), entry, name)


def place_labels(labels: np.ndarray, grid: Geometry, scan: Geometry, file_name: str) -> np.ndarray:
    """Put `labels` of `grid` onto the voxels of `scan`, which must coincide with them.

    Raises:
        BadInputError: they do not, or something labelled lies outside the scan.
    """
    elsewhere = BadInputError(
        f"{file_name} does not lie on the voxels of the scan (it has another position, spacing or "
        "direction); give the segmentation of this scan, or resample it onto the scan first."
    )
    to_scan = np.linalg.inv(scan.ijk_to_lps) @ grid.ijk_to_lps
    rounded = np.rint(to_scan)
    reach = np.array([*reversed(grid.shape), 1.0])
    if np.any(np.abs(to_scan - rounded)[:3] * reach > LATTICE_TOLERANCE_VOXELS):
        raise elsewhere
    axes = rounded[:3, :3].astype(int)
    if not np.array_equal(np.abs(axes).sum(axis=0) + np.abs(axes).sum(axis=1), [2, 2, 2]):
        raise elsewhere
    # Axis k of the scan (x, y, z) runs along axis `source[k]` of the grid; the same in array order.
    source = np.abs(axes).argmax(axis=1)
    turned = labels.transpose([2 - source[2 - axis] for axis in range(3)])
    flipped = [axis for axis in range(3) if axes[2 - axis].sum() < 0]
    turned = np.flip(turned, flipped)
    first = rounded[:3, 3].astype(int)[::-1]
    for axis in flipped:
        first[axis] -= turned.shape[axis] - 1
    placed = np.full(scan.shape, BACKGROUND_VALUE, dtype=np.uint8)
    inside, part = [], []
    for start, length, scan_length in zip(first, turned.shape, scan.shape, strict=True):
        low = min(max(start, 0), scan_length)
        high = max(low, min(start + length, scan_length))
        inside.append(slice(low, high))
        part.append(slice(low - start, high - start))
    placed[tuple(inside)] = turned[tuple(part)]
    if np.count_nonzero(placed) != np.count_nonzero(turned):
        raise BadInputError(
            f"{file_name} has labelled voxels outside the scan; give the segmentation of this scan."
        )
    return placed
