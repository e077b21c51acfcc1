"""NIfTI-1 headers (.nii, .nii.gz): https://nifti.nimh.nih.gov/nifti-1

Where a file lies is said three times over (pixdim, qform, sform). Readers choose among them by
rules of their own: ITK takes the sizes from pixdim, the directions from one of the forms. So they
must agree here.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.limits import check_sizes
from CovidLungQuantLib.vetting.nifti_axes import check_forms
from CovidLungQuantLib.vetting.payload import unpacked_start
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import open_regular_file
from CovidLungQuantLib.vetting.stored_image import (
    GZIP,
    RAW,
    ImageHeader,
    Payload,
    byte_count_of,
)

HEADER_BYTES = 348
NIFTI_2_HEADER_BYTES = 540
# Header, and four bytes that tell whether extensions follow.
SMALLEST_OFFSET = 352
MOST_EXTENSION_BYTES = 1 << 22
IN_ONE_FILE, IN_TWO_FILES = b"n+1\0", b"ni1\0"
DIMENSIONS_AT, TYPE_AT, OFFSET_AT = 40, 70, 108
SCALE_AT, UNITS_AT, FORMS_AT, MAGIC_AT, INTENT_AT = 112, 123, 252, 344, 68
VECTOR_INTENT = 1007

TYPES = {
    2: "uint8",
    4: "int16",
    8: "int32",
    16: "float32",
    64: "float64",
    256: "int8",
    512: "uint16",
    768: "uint32",
    1024: "int64",
    1280: "uint64",
}
COLOUR_TYPES = {128: 3, 2304: 4}
SPACE_UNITS = {0: "unknown", 1: "metres", 2: "mm", 3: "micrometres"}


@dataclass(frozen=True)
class _Fields:
    """The fields of a header."""

    name: str
    order: Literal["<", ">"]
    content: bytes

    def read(self, form: str, at: int) -> tuple:
        """Numbers in the byte order of the file."""
        return struct.unpack_from(self.order + form, self.content, at)


def nifti_header(path: Path) -> ImageHeader:
    """Parse the header of a NIfTI-1 file.

    The geometry is left as unknown: `with_itk_geometry` fills it in once the whole file has passed.

    Raises:
        BadInputError: it is damaged, contradicts itself, or asks for what is not read here.
    """
    is_packed = path.name.lower().endswith(".gz")
    fields = _fields(path, is_packed)
    name = path.name
    sizes, components = _sizes(fields)
    dtype = _dtype(fields)
    check_sizes(name, sizes, components, dtype.itemsize)
    offset = _voxel_offset(path, fields, is_packed)
    if fields.content[UNITS_AT] & 7 not in (0, 2):
        units = SPACE_UNITS.get(fields.content[UNITS_AT] & 7, "an unknown unit")
        raise BadInputError(
            f'"{shown(name)}" is not measured in millimetres ({units}); save it with sizes in mm.'
        )
    check_forms(name, fields.order, fields.content, sizes)
    byte_count = byte_count_of(sizes, components, dtype)
    return ImageHeader(
        file_name=name,
        format_name="NIfTI",
        sizes=sizes,
        components=components,
        components_axis=len(sizes) if components > 1 else None,
        dtype=dtype,
        spacing_mm=(1.0,) * len(sizes),
        origin_mm=(0.0,) * len(sizes),
        direction=np.eye(len(sizes)),
        states_spacing=True,
        states_directions=any(fields.read("2h", FORMS_AT)),
        payload=(
            Payload(path, 0, GZIP, byte_count, skip=offset)
            if is_packed
            else Payload(path, offset, RAW, byte_count)
        ),
        rescale=_rescale(fields),
    )


def itk_geometry(path: Path) -> tuple[tuple[float, ...], tuple[float, ...], np.ndarray]:
    """Spacing, origin and direction (LPS) as ITK reads them from the header of a file that passed.

    Raises:
        BadInputError: ITK takes the axes for skewed, or does not read the header.
    """
    # Loading it takes long, and most commands read no NIfTI.
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    was_shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error).lower():
            raise skewed(path.name) from error
        raise damaged(path.name, "its header makes no sense") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(was_shown)
    count = len(reader.GetSize())
    direction = np.array(reader.GetDirection()).reshape(count, count)
    return tuple(reader.GetSpacing()), tuple(reader.GetOrigin()), direction


def skewed(file_name: str) -> BadInputError:
    """Return the refusal of axes that are not at right angles."""
    return BadInputError(
        f'The axes of "{shown(file_name)}" are not at right angles; resample the scan to a'
        " straight grid first."
    )


def _fields(path: Path, is_packed: bool) -> _Fields:
    content = _start_of(path, SMALLEST_OFFSET, is_packed)
    if len(content) < SMALLEST_OFFSET:
        raise damaged(path.name, "it ends within its header")
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    order = next(
        (order for order in orders if content[:4] == struct.pack(f"{order}i", HEADER_BYTES)), None
    )
    if order is None:
        if any(content[:4] == struct.pack(f"{o}i", NIFTI_2_HEADER_BYTES) for o in "<>"):
            raise BadInputError(
                f'"{shown(path.name)}" is in NIfTI-2, which is not read here; save it as NIfTI-1.'
            )
        raise damaged(path.name, "it does not begin as a NIfTI file does")
    magic = content[MAGIC_AT : MAGIC_AT + 4]
    if magic == IN_TWO_FILES:
        raise BadInputError(
            f'"{shown(path.name)}" is one half of a pair of files (.hdr and .img), which are not'
            " read here; save it as one .nii or .nii.gz file."
        )
    if magic != IN_ONE_FILE:
        raise damaged(path.name, "its header does not say that it is NIfTI-1")
    return _Fields(path.name, order, content)


def _start_of(path: Path, count: int, is_packed: bool) -> bytes:
    if is_packed:
        return unpacked_start(path, count)
    with open_regular_file(path) as file:
        return file.read(count)


def _sizes(fields: _Fields) -> tuple[tuple[int, ...], int]:
    """Sizes without the ones beyond the third axis, and components of a vector image."""
    dimension_count, *sizes = fields.read("8h", DIMENSIONS_AT)
    if not 1 <= dimension_count <= 7:
        raise damaged(fields.name, f"its header gives it {dimension_count} dimensions")
    used = list(sizes[:dimension_count])
    (intent,) = fields.read("h", INTENT_AT)
    if intent == VECTOR_INTENT and dimension_count == 5 and used[3] == 1:
        return tuple(used[:3]), used[4]
    while len(used) > 3 and used[-1] == 1:
        used.pop()
    return tuple(used), 1


def _dtype(fields: _Fields) -> np.dtype:
    type_code, bits = fields.read("2h", TYPE_AT)
    if type_code in COLOUR_TYPES:
        raise BadInputError(
            f'"{shown(fields.name)}" holds {COLOUR_TYPES[type_code]} values per voxel (a colour'
            " image); give an image with one value."
        )
    if type_code not in TYPES:
        raise damaged(fields.name, f"its header gives an unknown type {type_code}")
    dtype = np.dtype(TYPES[type_code])
    if bits != dtype.itemsize * 8:
        raise damaged(fields.name, f"its header says {bits} bits for values of type {dtype.name}")
    return dtype.newbyteorder(fields.order)


def _voxel_offset(path: Path, fields: _Fields, is_packed: bool) -> int:
    """Where the voxels begin; extensions before them must fill the room between exactly."""
    (offset,) = fields.read("f", OFFSET_AT)
    if not (math.isfinite(offset) and offset == int(offset) and offset >= SMALLEST_OFFSET):
        raise damaged(path.name, f"its header puts the voxels at byte {offset:g}")
    if offset > SMALLEST_OFFSET + MOST_EXTENSION_BYTES:
        raise damaged(path.name, f"its header puts the voxels at byte {offset:.0f}")
    has_extensions = fields.content[HEADER_BYTES] != 0
    if has_extensions:
        start = _start_of(path, int(offset), is_packed)
        at = SMALLEST_OFFSET
        while at < int(offset):
            size = (
                struct.unpack_from(fields.order + "i", start, at)[0] if at + 8 <= len(start) else 0
            )
            if size < 16 or size % 16 or at + size > int(offset):
                # Padding after the last extension is all right.
                if not any(start[at : int(offset)]):
                    break
                raise damaged(path.name, "the extensions of its header have no end")
            at += size
    return int(offset)


def _rescale(fields: _Fields) -> tuple[float, float] | None:
    """Slope and intercept; slope 0 and NaN stand for none, as the format says."""
    slope, intercept = fields.read("2f", SCALE_AT)
    if slope == 0 and intercept == 0:
        return None
    if math.isnan(slope) and (math.isnan(intercept) or intercept == 0):
        return None
    if slope == 0 or not (math.isfinite(slope) and math.isfinite(intercept)):
        raise damaged(
            fields.name, f"its header wants values rescaled by {slope:g} and {intercept:g}"
        )
    return None if (slope, intercept) == (1.0, 0.0) else (slope, intercept)
