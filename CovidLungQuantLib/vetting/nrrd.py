"""NRRD headers (.nrrd, .nhdr): https://teem.sourceforge.net/nrrd/format.html

Spacing, origin and directions are computed as ITK computes them, to the last bit.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.limits import MOST_DIMENSIONS, check_sizes
from CovidLungQuantLib.vetting.numbers import numbers_of, whole_number_of, whole_numbers_of
from CovidLungQuantLib.vetting.payload import detached_file
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import open_regular_file
from CovidLungQuantLib.vetting.stored_image import (
    GZIP,
    RAW,
    ImageHeader,
    Payload,
    byte_count_of,
)

MAGIC = re.compile(rb"NRRD000[1-6]\r?\n")
# A segmentation says some hundred bytes of each segment, and tools add their own fields.
LONGEST_HEADER = 1 << 22
LONGEST_FIELD = 2000

TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": (
        "longlong",
        "long long",
        "long long int",
        "signed long long",
        "signed long long int",
        "int64",
        "int64_t",
    ),
    "uint64": (
        "ulonglong",
        "unsigned long long",
        "unsigned long long int",
        "uint64",
        "uint64_t",
    ),
    "float32": ("float",),
    "float64": ("double",),
}
DTYPE_NAMES = {name: dtype for dtype, names in TYPES.items() for name in names}
PACKINGS = {"raw": RAW, "gzip": GZIP, "gz": GZIP}
KNOWN_ENCODINGS = {"txt", "text", "ascii", "hex", "bzip2", "bz2", "zrl"}
BYTE_ORDERS: dict[str, Literal["<", ">"]] = {"little": "<", "big": ">"}

# By name without blanks, as some writers leave them out.
FIELDS = {
    "axismaxs", "axismins", "blocksize", "byteskip", "centerings", "centers", "content",
    "datafile", "dimension", "encoding", "endian", "kinds", "labels", "lineskip", "max",
    "measurementframe", "min", "number", "oldmax", "oldmin", "sampleunits", "sizes", "space",
    "spacedimension", "spacedirections", "spaceorigin", "spaceunits", "spacings", "thicknesses",
    "type", "units",
}  # fmt: skip
IMAGE_KINDS = {"???", "none", "domain", "space", "time"}
COMPONENT_KINDS = {
    "list", "point", "vector", "covariant-vector", "normal", "stub", "scalar", "complex",
    "2-vector", "3-color", "rgb-color", "hsv-color", "xyz-color", "4-color", "rgba-color",
    "3-vector", "3-gradient", "3-normal", "4-vector", "quaternion", "2d-symmetric-matrix",
    "2d-masked-symmetric-matrix", "2d-matrix", "2d-masked-matrix", "3d-symmetric-matrix",
    "3d-masked-symmetric-matrix", "3d-matrix", "3d-masked-matrix",
}  # fmt: skip

SHORT_SPACES = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
    "rast": "right-anterior-superior-time",
    "last": "left-anterior-superior-time",
    "lpst": "left-posterior-superior-time",
}
# What x and y are multiplied with to become LPS.
TO_LPS = {
    "right-anterior-superior": (-1.0, -1.0),
    "left-anterior-superior": (1.0, -1.0),
    "left-posterior-superior": (1.0, 1.0),
}
OTHER_SPACES = {
    "scanner-xyz": 3,
    "scanner-xyz-time": 4,
    "3d-right-handed": 3,
    "3d-left-handed": 3,
    "3d-right-handed-time": 4,
    "3d-left-handed-time": 4,
    "right-anterior-superior-time": 4,
    "left-anterior-superior-time": 4,
    "left-posterior-superior-time": 4,
}
MILLIMETRES = {"", "mm", "millimeter", "millimeters", "none", "???"}


@dataclass
class _Text:
    """The lines of a header."""

    fields: dict[str, str] = field(default_factory=dict)
    key_values: dict[str, str] = field(default_factory=dict)
    length: int = 0
    is_ended: bool = False


@dataclass
class _Axes:
    """Spacing, origin and direction of the axes of the image, as ITK has them."""

    spacing_mm: list[float]
    origin_mm: list[float]
    direction: np.ndarray
    states_spacing: bool
    states_directions: bool


def nrrd_header(path: Path) -> ImageHeader:
    """Parse the header of an NRRD file.

    Raises:
        BadInputError: it is damaged, contradicts itself, or asks for what is not read here: voxels
            as text, several data files, data out of its folder, unknown types.
    """
    name = path.name
    text = _text_of(path)
    fields = text.fields
    sizes, components, components_axis = _sizes(name, fields)
    dtype = _dtype(name, fields)
    check_sizes(name, sizes, components, dtype.itemsize)
    axes = _axes(name, fields, sizes, components_axis)
    return ImageHeader(
        file_name=name,
        format_name="NRRD",
        sizes=sizes,
        components=components,
        components_axis=components_axis,
        dtype=dtype,
        spacing_mm=tuple(axes.spacing_mm),
        origin_mm=tuple(axes.origin_mm),
        direction=axes.direction,
        states_spacing=axes.states_spacing,
        states_directions=axes.states_directions,
        payload=_payload(path, text, byte_count_of(sizes, components, dtype)),
        fields=text.key_values,
    )


def _text_of(path: Path) -> _Text:
    """Read the lines down to the empty one that ends the header."""
    name = path.name
    with open_regular_file(path) as file:
        start = file.read(LONGEST_HEADER)
    magic = MAGIC.match(start)
    if magic is None:
        raise damaged(name, "it does not begin as an NRRD file does")
    text = _Text(length=magic.end())
    while text.length < len(start):
        end = start.find(b"\n", text.length)
        end = len(start) if end < 0 else end
        line = start[text.length : end].rstrip(b"\r")
        text.length = min(end + 1, len(start))
        if not line:
            text.is_ended = True
            return text
        _take_line(name, line.decode("utf-8", "surrogateescape"), text)
    if len(start) == LONGEST_HEADER:
        raise damaged(name, "its header has no end")
    return text


def _take_line(name: str, line: str, text: _Text) -> None:
    if line.startswith("#"):
        return
    key, separator, value = line.partition(":")
    if value.startswith("="):
        text.key_values[key] = value[1:].replace("\\n", "\n").replace("\\\\", "\\")
        return
    key = key.replace(" ", "").lower()
    if not separator or key not in FIELDS:
        raise damaged(name, f'its header has a line "{shown(line)}" that no NRRD has')
    if key in text.fields:
        raise damaged(name, f'its header gives "{key}" twice')
    value = value.strip()
    if len(value) > LONGEST_FIELD:
        raise damaged(name, f'"{key}" in its header is {len(value)} characters long')
    text.fields[key] = value


def _needed(name: str, fields: dict[str, str], key: str) -> str:
    if key not in fields:
        raise damaged(name, f'its header does not give "{key}"')
    return fields[key]


def _sizes(name: str, fields: dict[str, str]) -> tuple[tuple[int, ...], int, int | None]:
    """Sizes of the axes of the image, components and the axis they lie along."""
    dimension = whole_number_of(name, "dimension", _needed(name, fields, "dimension"))
    if not 1 <= dimension <= MOST_DIMENSIONS:
        raise damaged(name, f"its header gives it {dimension} dimensions")
    sizes = whole_numbers_of(name, "sizes", _needed(name, fields, "sizes"), dimension)
    kinds = fields["kinds"].lower().split() if "kinds" in fields else ["???"] * dimension
    if len(kinds) != dimension or not set(kinds) <= IMAGE_KINDS | COMPONENT_KINDS:
        raise damaged(name, f'"kinds: {shown(fields["kinds"])}" in its header makes no sense')
    component_axes = [axis for axis, kind in enumerate(kinds) if kind in COMPONENT_KINDS]
    if len(component_axes) > 1:
        raise BadInputError(
            f'"{shown(name)}" holds a table of values for each voxel; give an image with one value.'
        )
    if not component_axes:
        return tuple(sizes), 1, None
    axis = component_axes[0]
    components = sizes.pop(axis)
    return tuple(sizes), components, axis


def _dtype(name: str, fields: dict[str, str]) -> np.dtype:
    type_name = " ".join(_needed(name, fields, "type").lower().split())
    if type_name not in DTYPE_NAMES:
        raise damaged(name, f'its header gives an unknown type "{shown(type_name)}"')
    dtype = np.dtype(DTYPE_NAMES[type_name])
    if dtype.itemsize == 1:
        return dtype
    endian = _needed(name, fields, "endian").lower()
    if endian not in BYTE_ORDERS:
        raise damaged(name, f'its header gives an unknown byte order "{shown(endian)}"')
    return dtype.newbyteorder(BYTE_ORDERS[endian])


def _payload(path: Path, text: _Text, byte_count: int) -> Payload:
    name, fields = path.name, text.fields
    encoding = _needed(name, fields, "encoding").lower()
    if encoding in KNOWN_ENCODINGS:
        raise BadInputError(
            f'"{shown(name)}" stores its voxels with the encoding "{encoding}", which is not read'
            " here; save it with the encoding raw or gzip."
        )
    if encoding not in PACKINGS:
        raise damaged(name, f'its header gives an unknown encoding "{shown(encoding)}"')
    packing = PACKINGS[encoding]
    file, offset = path, text.length
    if "datafile" in fields:
        file, offset = _data_file(path, fields["datafile"]), 0
    elif not text.is_ended:
        raise damaged(name, "it ends within its header")
    lines = whole_number_of(name, "line skip", fields.get("lineskip", "0"))
    skip = whole_number_of(name, "byte skip", fields.get("byteskip", "0"))
    if lines < 0 or skip < -1 or (packing != RAW and (lines or skip)):
        raise BadInputError(
            f'"{shown(name)}" wants lines or bytes of its packed data passed over, which is not'
            " done here; save it again without."
        )
    if lines:
        offset = _after_lines(file, offset, lines, name)
    if skip == -1:
        # The voxels are the last bytes of the file.
        offset = max(file.stat().st_size - byte_count, offset)
    return Payload(file, offset + max(skip, 0), packing, byte_count)


def _data_file(path: Path, value: str) -> Path:
    if not value.isprintable() or not value:
        raise damaged(path.name, "its header does not name a file of voxels")
    if re.match(r"LIST\b", value) or "%" in value:
        raise BadInputError(
            f'"{shown(path.name)}" keeps its voxels in several files, which are not read here; save'
            " it as one .nrrd file."
        )
    return detached_file(path, value)


def _after_lines(file: Path, offset: int, lines: int, name: str) -> int:
    with open_regular_file(file) as content:
        content.seek(offset)
        for _ in range(lines):
            line = content.readline(LONGEST_HEADER)
            if not line.endswith(b"\n"):
                raise damaged(name, "it has fewer lines than its header wants passed over")
            offset += len(line)
    return offset


def _axes(
    name: str, fields: dict[str, str], sizes: tuple[int, ...], components_axis: int | None
) -> _Axes:
    count = len(sizes)
    units = re.findall(r'"([^"]*)"', fields.get("spaceunits", "") + fields.get("units", ""))
    if not {unit.strip().lower() for unit in units} <= MILLIMETRES | {"s", "ms", "hu"}:
        raise BadInputError(
            f'"{shown(name)}" is not measured in millimetres ({shown(", ".join(units))}); save it'
            " with sizes in mm."
        )
    space = fields.get("space", "").lower()
    space = SHORT_SPACES.get(space, space)
    if space or "spacedimension" in fields:
        return _axes_in_space(name, fields, space, count, components_axis)
    spacings = [math.nan] * count
    if "spacings" in fields:
        spacings = _without(
            numbers_of(name, "spacings", fields["spacings"]), components_axis, count, name
        )
    origin = _origin_without_space(name, fields, spacings, components_axis)
    known = [math.isfinite(value) and value != 0 for value in spacings]
    spacing_mm = [value if known[axis] else 1.0 for axis, value in enumerate(spacings)]
    return _Axes(spacing_mm, origin, np.eye(count), all(known), False)


def _axes_in_space(
    name: str, fields: dict[str, str], space: str, count: int, components_axis: int | None
) -> _Axes:
    space_dimension = 3 if space in TO_LPS else OTHER_SPACES.get(space)
    if "spacedimension" in fields and not space:
        space_dimension = whole_number_of(name, "space dimension", fields["spacedimension"])
    if space_dimension is None:
        raise damaged(name, f'its header gives an unknown space "{shown(space)}"')
    if space_dimension != count:
        raise damaged(
            name, f"its header gives it {count} axes in a space of {space_dimension} dimensions"
        )
    if "spacings" in fields:
        raise damaged(name, 'its header gives both "space" and "spacings"')
    signs = np.ones(count)
    signs[:2] = TO_LPS.get(space, (1.0, 1.0))[:count]
    vectors: list[list[float] | None] = [None] * count
    if "spacedirections" in fields:
        vectors = _vectors(name, fields["spacedirections"], count, components_axis)
    spacing_mm, direction, known = [1.0] * count, np.eye(count), True
    for axis, vector in enumerate(vectors):
        length = math.nan if vector is None else _length(vector)
        if math.isfinite(length) and length > 0:
            spacing_mm[axis] = length
            direction[:, axis] = np.array(vector) * (1.0 / length) * signs
        else:
            known = False
    origin = np.zeros(count)
    if "spaceorigin" in fields:
        stated = _vectors(name, fields["spaceorigin"], count, None, 1)[0]
        if stated is not None and not math.isnan(stated[0]):
            origin = np.array(stated) * signs
    return _Axes(spacing_mm, origin.tolist(), direction, known, space in TO_LPS)


def _length(vector: list[float]) -> float:
    total = 0.0
    for value in vector:
        total += value * value
    return math.sqrt(total)


def _vectors(
    name: str, text: str, count: int, components_axis: int | None, expected: int | None = None
) -> list[list[float] | None]:
    """Vectors "(x,y,z)", or "none" for the axis of components."""
    words = re.findall(r"\([^()]*\)|[^()\s]+", text)
    vectors: list[list[float] | None] = []
    for word in words:
        if word == "none":
            vectors.append(None)
        elif word.startswith("("):
            vectors.append(numbers_of(name, "space", word[1:-1].replace(",", " "), count))
        else:
            raise damaged(name, f'"{shown(word)}" in its header is no vector')
    if expected is not None and len(vectors) != expected:
        raise damaged(name, "its header gives it several origins")
    return vectors if expected else _without(vectors, components_axis, count, name)


def _without(values: list, components_axis: int | None, count: int, name: str) -> list:
    """Values of all axes but that of the components."""
    if len(values) != count + (components_axis is not None):
        raise damaged(name, f"its header gives values of {len(values)} axes for {count}")
    return [value for axis, value in enumerate(values) if axis != components_axis]


def _origin_without_space(
    name: str, fields: dict[str, str], spacings: list[float], components_axis: int | None
) -> list[float]:
    """The centre of the first voxel where an old header gives the ends of the axes."""
    count = len(spacings)
    if "axismins" not in fields:
        return [0.0] * count
    minima = _without(
        numbers_of(name, "axis mins", fields["axismins"]), components_axis, count, name
    )
    if not np.isfinite([*minima, *spacings]).all():
        return [0.0] * count
    centers = fields.get("centerings", fields.get("centers", "")).lower().split()
    centers = centers or ["cell"] * (count + (components_axis is not None))
    centers = _without(centers, components_axis, count, name)
    return [
        minimum if center == "node" else minimum + spacing / 2
        for minimum, spacing, center in zip(minima, spacings, centers, strict=True)
    ]
