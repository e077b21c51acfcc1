"""An image file: its header, then its voxels, each vetted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.byte_order import looks_byte_swapped
from CovidLungQuantLib.vetting.memory import empty_array, too_little_memory
from CovidLungQuantLib.vetting.meta_image import meta_image_header
from CovidLungQuantLib.vetting.nifti import itk_geometry, nifti_header, skewed
from CovidLungQuantLib.vetting.nrrd import nrrd_header
from CovidLungQuantLib.vetting.payload import check_payload, read_payload
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import check_regular_file
from CovidLungQuantLib.vetting.stored_image import ImageHeader

NRRD_SUFFIXES = (".nrrd", ".nhdr")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
META_IMAGE_SUFFIXES = (".mha", ".mhd")
IMAGE_SUFFIXES = (*NRRD_SUFFIXES, *NIFTI_SUFFIXES, *META_IMAGE_SUFFIXES)

DIRECTION_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image as it is stored.

    Attributes:
        header: what the file says about it.
        voxels: (…, z, y, x) or, with several values a voxel, (…, z, y, x, components), in this
            machine's byte order; rescaled where the header says so.
    """

    header: ImageHeader
    voxels: np.ndarray


def vet_image(path: Path | str) -> ImageHeader:
    """Check all of an image file but its voxels.

    Args:
        path: of an NRRD, NIfTI or MetaImage file, told by its suffix.

    Raises:
        BadInputError: it is no regular file, damaged, contradicts itself or is of a kind that is
            not read here; a file of voxels lies out of its folder; its bytes are too few or too
            many.
    """
    path = Path(path)
    check_regular_file(path)
    lower_name = path.name.lower()
    if lower_name.endswith(NRRD_SUFFIXES):
        header = nrrd_header(path)
    elif lower_name.endswith(NIFTI_SUFFIXES):
        header = nifti_header(path)
    elif lower_name.endswith(META_IMAGE_SUFFIXES):
        header = meta_image_header(path)
    else:
        raise damaged(
            path.name, "its name does not end as that of an NRRD, NIfTI or MetaImage file"
        )
    _check_numbers(header)
    check_payload(header.payload, header.file_name)
    return header


def read_stored_image(path: Path | str) -> StoredImage:
    """Read an image file, header and voxels.

    Raises:
        BadInputError: as of `vet_image`; its voxels are damaged, a checksum is wrong, or its byte
            order is not what its header says.
        OutOfResourcesError: the memory does not hold it.
    """
    path = Path(path)
    header = vet_image(path)
    try:
        voxels = _voxels(header)
        is_swapped = looks_byte_swapped(voxels)
    except MemoryError as error:
        raise too_little_memory(header.file_name, header.payload.byte_count) from error
    if is_swapped:
        raise damaged(header.file_name, "the bytes of its voxels stand in the other order")
    if header.format_name == "NIfTI":
        header = _with_itk_geometry(path, header)
    return StoredImage(header, voxels)


def _check_numbers(header: ImageHeader) -> None:
    """Check that spacing, origin and directions are numbers, and directions at right angles."""
    values = [*header.spacing_mm, *header.origin_mm, *header.direction.ravel()]
    if not np.isfinite(values).all():
        raise BadInputError(
            f'The header of "{shown(header.file_name)}" gives a position or voxel size that is not'
            " a number; export the scan again."
        )
    if min(header.spacing_mm) < 0:
        raise damaged(header.file_name, "its header gives a voxel size below zero")
    axes = header.direction
    if not np.allclose(axes.T @ axes, np.eye(len(axes)), rtol=0, atol=DIRECTION_TOLERANCE):
        raise skewed(header.file_name)


def _voxels(header: ImageHeader) -> np.ndarray:
    stored = read_payload(header.payload, header.file_name).view(header.dtype)
    if not header.dtype.isnative:
        stored = stored.byteswap(inplace=True)
    stored = stored.view(header.dtype.newbyteorder("="))
    voxels = stored.reshape(header.stored_shape)
    if header.components_axis is not None:
        axis_from_slow = voxels.ndim - 1 - header.components_axis
        voxels = np.ascontiguousarray(np.moveaxis(voxels, axis_from_slow, -1))
    if header.rescale is None:
        return voxels
    return _rescaled(voxels, header.rescale, header.file_name)


def _rescaled(voxels: np.ndarray, rescale: tuple[float, float], file_name: str) -> np.ndarray:
    """Apply slope and intercept in double precision, plane by plane; float32 but for float64."""
    slope, intercept = rescale
    dtype = np.dtype(np.float64 if voxels.dtype == np.float64 else np.float32)
    result = empty_array(voxels.shape, dtype, file_name)
    for plane, source in zip(result, voxels, strict=True):
        plane[...] = source.astype(np.float64) * slope + intercept
    return result


def _with_itk_geometry(path: Path, header: ImageHeader) -> ImageHeader:
    spacing_mm, origin_mm, direction = itk_geometry(path)
    if len(spacing_mm) != len(header.sizes):
        raise damaged(header.file_name, "its header contradicts itself about its axes")
    header = replace(header, spacing_mm=spacing_mm, origin_mm=origin_mm, direction=direction)
    _check_numbers(header)
    return header
