"""Reading a CT: a DICOM folder, or one NRRD, NIfTI or MetaImage file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from CovidLungQuantLib.ct.checks import check_ct, check_geometry, not_hounsfield_message
from CovidLungQuantLib.ct.dicom import is_dicom, is_named_dicom, read_dicom
from CovidLungQuantLib.ct.images import geometry_of_header
from CovidLungQuantLib.ct.unmeasured import unmeasured_as_padding
from CovidLungQuantLib.ct.volume import CTVolume, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting import check_regular_file, read_stored_image
from CovidLungQuantLib.vetting.images import IMAGE_SUFFIXES
from CovidLungQuantLib.vetting.problems import shown
from CovidLungQuantLib.vetting.regular_file import is_folder
from CovidLungQuantLib.vetting.stored_image import ImageHeader


def read_ct(path: str | Path, series: str | int | None = None) -> CTVolume:
    """Read and check a chest CT.

    Args:
        path: DICOM folder (sub-folders included; files that are not DICOM are passed over), one
            DICOM file (its whole series in its folder is read), or an NRRD (.nrrd, .nhdr), NIfTI
            (.nii, .nii.gz) or MetaImage (.mha, .mhd) file.
        series: SeriesInstanceUID or SeriesNumber, where a DICOM folder holds several series; None
            takes the axial chest CT with most slices and says so in a warning `series_chosen`.

    Returns:
        int16 Hounsfield units (z, y, x) with exact geometry (LPS mm). DICOM slices are sorted along
        their normal; other files keep the order and directions they are stored in.

    Raises:
        BadInputError: the path is missing, unreadable, empty or damaged; it is no CT, no volume or
            not in Hounsfield units; slices are missing, duplicate, unevenly spaced or tilted; the
            geometry is missing or makes no sense.
        OutOfResourcesError: the memory does not hold it.
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
        OutOfResourcesError: as of `read_ct`.
    """
    path = Path(path).expanduser()
    try:
        if not is_folder(path):
            check_regular_file(path, "file or folder")
        if is_folder(path) or is_named_dicom(path) or is_dicom(path):
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
    stored = read_stored_image(path)
    header, values = stored.header, stored.voxels
    _check_is_volume(header)
    if len(header.sizes) == 4:
        values = values[0]
    if not header.states_spacing:
        raise BadInputError(
            f'The header of "{shown(path.name)}" gives no voxel size, so nothing can be measured;'
            " export the scan again."
        )
    if header.bits_per_value == 8:
        raise BadInputError(not_hounsfield_message(name, "it has only 8 bits per voxel"))
    geometry = geometry_of_header(header)
    check_geometry(geometry, name)
    ct = check_ct(unmeasured_as_padding(values, geometry, name), geometry, name)
    if header.states_directions:
        return ct
    warning = ScanWarning(
        "orientation_unknown",
        "The file does not say which way the patient lies; the usual order was assumed, so left and"
        " right may be swapped.",
    )
    return replace(ct, warnings=(warning, *ct.warnings))


def _check_is_volume(header: ImageHeader) -> None:
    name = shown(header.file_name)
    if header.components != 1:
        raise BadInputError(
            f'"{name}" holds {header.components} values per voxel (colour or vectors); give a CT in'
            " Hounsfield units."
        )
    sizes = header.sizes
    if len(sizes) < 3 or 1 in sizes[:3]:
        raise BadInputError(f'"{name}" is a single 2D image; a whole CT volume is needed.')
    if len(sizes) > 4 or (len(sizes) == 4 and sizes[3] > 1):
        raise BadInputError(
            f'"{name}" holds {max(sizes[3:])} volumes (a time series, perhaps); give one CT volume.'
        )


def _name_of(path: Path) -> str:
    name = path.resolve().name
    for suffix in sorted(IMAGE_SUFFIXES, key=len, reverse=True):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return name
