"""Reading a CT: a DICOM folder, or one NRRD, NIfTI or MetaImage file."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct.checks import check_ct, check_geometry, not_hounsfield_message
from CovidLungQuantLib.ct.dicom import is_dicom, is_named_dicom, read_dicom
from CovidLungQuantLib.ct.images import geometry_of_image, quiet_itk
from CovidLungQuantLib.ct.volume import CTVolume, ScanWarning
from CovidLungQuantLib.errors import BadInputError

NRRD_SUFFIXES = (".nrrd", ".nhdr")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
META_IMAGE_SUFFIXES = (".mha", ".mhd")
IMAGE_SUFFIXES = (*NRRD_SUFFIXES, *NIFTI_SUFFIXES, *META_IMAGE_SUFFIXES)
# A text header is far shorter; the voxels follow it.
LONGEST_TEXT_HEADER = 1 << 16
# ITK gives these sizes where a header has none.
META_IMAGE_SPACING_KEYS = ("elementspacing", "elementsize")
META_IMAGE_DIRECTION_KEYS = ("transformmatrix", "rotation", "orientation")


# NIfTI-1: size of the header, and where its fields stand.
NIFTI_HEADER_SIZE = 348
NIFTI_DIM_AT, NIFTI_BITPIX_AT, NIFTI_PIXDIM_AT, NIFTI_VOX_OFFSET_AT = 40, 72, 76, 108
NIFTI_FORM_CODES_AT = 252
READ_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class _HeaderFacts:
    """What a file's header says itself, rather than ITK in its place.

    ITK reads a missing voxel size as 1 mm and a missing direction as LPS, and takes the missing end
    of a NIfTI file for zeros.
    """

    states_spacing: bool
    states_directions: bool
    bits_per_voxel: int | None = None


def read_ct(path: str | Path, series: str | int | None = None) -> CTVolume:
    """Read and check a chest CT.

    Args:
        path: DICOM folder (sub-folders and linked ones included; files that are not DICOM are
            passed over), one DICOM file (its whole series in its folder is read), or an NRRD
            (.nrrd, .nhdr), NIfTI (.nii, .nii.gz) or MetaImage (.mha, .mhd) file.
        series: SeriesInstanceUID or SeriesNumber, where a DICOM folder holds several series; None
            takes the axial chest CT with most slices, or the next best where that cannot be read,
            and says so in a warning `series_chosen`.

    Returns:
        int16 Hounsfield units (z, y, x) with exact geometry (LPS mm). DICOM slices are sorted along
        their normal; other files keep the order and directions they are stored in.

    Raises:
        BadInputError: the path is missing, unreadable, empty or damaged; it is no CT, no volume or
            not in Hounsfield units; slices are missing, duplicate, unevenly spaced or tilted; the
            geometry is missing or makes no sense.
    """
    return read_ct_and_files(path, series)[0]


def read_ct_and_files(
    path: str | Path, series: str | int | None = None
) -> tuple[CTVolume, tuple[Path, ...]]:
    """Read and check a chest CT, and tell which DICOM files it came from.

    Args:
        path: as of `read_ct`.
        series: as of `read_ct`.

    Returns:
        ct: as of `read_ct`.
        files: absolute paths of the DICOM files of its slices, in their order; none where the scan
            was not read from DICOM.

    Raises:
        BadInputError: as of `read_ct`.
    """
    path = Path(path).expanduser()
    try:
        if not path.exists():
            raise BadInputError(f'There is no file or folder "{path.name}"; check the path.')
        if path.is_dir() or is_named_dicom(path) or is_dicom(path):
            return read_dicom(path, series)
        if not path.name.lower().endswith(IMAGE_SUFFIXES):
            raise BadInputError(
                f'"{path.name}" is neither DICOM nor an image file this program reads; give a DICOM'
                " folder, or an NRRD, NIfTI or MetaImage file."
            )
        if series is not None:
            raise BadInputError(
                f'"{path.name}" is a single image file, so no series can be chosen from it; leave'
                " the series out."
            )
        return _read_image_file(path), ()
    except OSError as error:
        raise BadInputError(
            f'"{path.name}" cannot be read ({error.strerror or error}); check the file and that you'
            " may open it."
        ) from error


def _read_image_file(path: Path) -> CTVolume:
    name = _name_of(path)
    facts = _header_facts(path)
    image = _read_image(path)
    if image.GetNumberOfComponentsPerPixel() != 1:
        raise BadInputError(
            f'"{path.name}" holds {image.GetNumberOfComponentsPerPixel()} values per voxel (colour'
            " or vectors); give a CT in Hounsfield units."
        )
    if image.GetDimension() == 2 or 1 in image.GetSize()[:3]:
        raise BadInputError(f'"{path.name}" is a single 2D image; a whole CT volume is needed.')
    if image.GetDimension() > 3:
        if image.GetSize()[3] > 1:
            raise BadInputError(
                f'"{path.name}" holds {image.GetSize()[3]} volumes (a time series, perhaps); give'
                " one CT volume."
            )
        image = image[..., 0]
    if not facts.states_spacing:
        raise BadInputError(
            f'The header of "{path.name}" gives no voxel size, so nothing can be measured; export'
            " the scan again."
        )
    if facts.bits_per_voxel == 8:
        raise BadInputError(not_hounsfield_message(name, "it has only 8 bits per voxel"))
    geometry = geometry_of_image(image)
    check_geometry(geometry, name)
    ct = check_ct(sitk.GetArrayFromImage(image), geometry, name)
    if facts.states_directions:
        return ct
    warning = ScanWarning(
        "orientation_unknown",
        "The file does not say which way the patient lies; the usual order was assumed, so left and"
        " right may be swapped.",
    )
    return replace(ct, warnings=(warning, *ct.warnings))


def _name_of(path: Path) -> str:
    name = path.resolve().name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name


def _read_image(path: Path) -> sitk.Image:
    try:
        with quiet_itk():
            return sitk.ReadImage(str(path))
    except RuntimeError as error:
        if "orthonormal" in str(error).lower():
            raise BadInputError(
                f'The axes of "{path.name}" are not at right angles; resample the scan to a'
                " straight grid first."
            ) from error
        raise BadInputError(_damaged_message(path)) from error


def _damaged_message(path: Path) -> str:
    return (
        f'"{path.name}" cannot be read (truncated, damaged or not what its name says); copy or'
        " export the scan again."
    )


def _header_facts(path: Path) -> _HeaderFacts:
    lower_name = path.name.lower()
    if lower_name.endswith(NIFTI_SUFFIXES):
        return _nifti_facts(path)
    fields = _text_header(path)
    if lower_name.endswith(NRRD_SUFFIXES):
        spacings = fields.get("spacings", "") + fields.get("space directions", "")
        return _HeaderFacts(
            states_spacing=spacings != "" and "nan" not in spacings.lower(),
            states_directions="space" in fields or "space dimension" in fields,
        )
    return _HeaderFacts(
        states_spacing=any(key in fields for key in META_IMAGE_SPACING_KEYS),
        states_directions=any(key in fields for key in META_IMAGE_DIRECTION_KEYS),
    )


def _text_header(path: Path) -> dict[str, str]:
    """Return the fields of an NRRD ("key: value") or MetaImage ("key = value") header."""
    fields = {}
    with path.open("rb") as file:
        lines = file.read(LONGEST_TEXT_HEADER).split(b"\n")
    for line in lines:
        # NRRD's header ends with an empty line, MetaImage's with the name of the data file.
        key, _, value = line.decode("latin-1").replace("=", ":", 1).partition(":")
        key = key.strip().lower()
        if not key:
            break
        fields[key] = value.strip()
        if key == "elementdatafile":
            break
    return fields


def _nifti_facts(path: Path) -> _HeaderFacts:
    """Read a NIfTI-1 header, and the whole file once to see that its end is there."""
    is_packed = path.name.lower().endswith(".gz")
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            header = file.read(NIFTI_HEADER_SIZE)
            size = len(header)
            while block := file.read(READ_AT_ONCE):
                size += len(block)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInputError(_damaged_message(path)) from error
    order = next(
        (order for order in "<>" if header[:4] == struct.pack(f"{order}i", NIFTI_HEADER_SIZE)), None
    )
    if order is None or len(header) < NIFTI_HEADER_SIZE:
        raise BadInputError(_damaged_message(path))
    dimension_count, *sizes = struct.unpack_from(f"{order}8h", header, NIFTI_DIM_AT)
    (bits,) = struct.unpack_from(f"{order}h", header, NIFTI_BITPIX_AT)
    spacing = np.array(struct.unpack_from(f"{order}3f", header, NIFTI_PIXDIM_AT + 4))
    (offset,) = struct.unpack_from(f"{order}f", header, NIFTI_VOX_OFFSET_AT)
    voxel_count = math.prod(sizes[:dimension_count])
    if size < offset + voxel_count * bits // 8:
        raise BadInputError(_damaged_message(path))
    form_codes = struct.unpack_from(f"{order}2h", header, NIFTI_FORM_CODES_AT)
    return _HeaderFacts(
        states_spacing=bool(np.isfinite(spacing).all() and (spacing != 0).all()),
        states_directions=any(form_codes),
        bits_per_voxel=bits,
    )
