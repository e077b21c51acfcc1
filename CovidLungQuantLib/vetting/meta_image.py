"""MetaImage headers (.mha, .mhd): https://itk.org/Wiki/ITK/MetaIO/Documentation"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.limits import MOST_DIMENSIONS, check_sizes
from CovidLungQuantLib.vetting.numbers import numbers_of, whole_number_of, whole_numbers_of
from CovidLungQuantLib.vetting.payload import GZIP_START, detached_file
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import check_regular_file, open_regular_file
from CovidLungQuantLib.vetting.stored_image import (
    GZIP,
    RAW,
    ZLIB,
    ImageHeader,
    Payload,
    byte_count_of,
)

LONGEST_HEADER = 1 << 20
LONGEST_LINE = 1 << 14
LINE = re.compile(r"\s*([^=:]*?)\s*[=:]\s*(.*?)\s*")

TYPES = {
    "MET_CHAR": "int8",
    "MET_UCHAR": "uint8",
    "MET_SHORT": "int16",
    "MET_USHORT": "uint16",
    "MET_INT": "int32",
    "MET_UINT": "uint32",
    "MET_LONG_LONG": "int64",
    "MET_ULONG_LONG": "uint64",
    "MET_FLOAT": "float32",
    "MET_DOUBLE": "float64",
}
TRUTHS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
BYTE_ORDER_KEYS = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
SPACING_KEYS = ("ElementSpacing", "ElementSize")
DIRECTION_KEYS = ("TransformMatrix", "Rotation", "Orientation")
ORIGIN_KEYS = ("Offset", "Origin", "Position")
DATA_KEY = "ElementDataFile"
# The voxels follow the header.
LOCAL = "LOCAL"
# Keys that change what the voxels are or where they lie; any other is the writer's own.
KNOWN_KEYS = {
    "ObjectType", "NDims", "BinaryData", *BYTE_ORDER_KEYS, "CompressedData", "CompressedDataSize",
    *DIRECTION_KEYS, *ORIGIN_KEYS, *SPACING_KEYS, "DimSize", "HeaderSize", "ElementType",
    "ElementNumberOfChannels", "DistanceUnits", "ElementToIntensityFunctionSlope",
    "ElementToIntensityFunctionOffset", DATA_KEY,
}  # fmt: skip


@dataclass
class _Text:
    """The lines of a header; `length` bytes, the line of the data file included."""

    name: str
    values: dict[str, str] = field(default_factory=dict)
    length: int = 0

    def first(self, keys: tuple[str, ...]) -> tuple[str, str] | None:
        """The first of some keys that mean the same, with its value."""
        return next(((key, self.values[key]) for key in keys if key in self.values), None)

    def is_true(self, key: str, otherwise: bool) -> bool:
        """Whether a key says True."""
        value = self.values.get(key)
        if value is None:
            return otherwise
        if value.lower() not in TRUTHS:
            raise damaged(
                self.name, f'"{key} = {shown(value)}" in its header is neither yes nor no'
            )
        return TRUTHS[value.lower()]

    def needed(self, key: str) -> str:
        """The value of a key that must be there."""
        if key not in self.values:
            raise damaged(self.name, f'its header does not give "{key}"')
        return self.values[key]


def meta_image_header(path: Path) -> ImageHeader:
    """Parse the header of a MetaImage file.

    Raises:
        BadInputError: it is damaged, contradicts itself, or asks for what is not read here: voxels
            as text, several data files, data out of its folder, unknown types.
    """
    name = path.name
    text = _text_of(path)
    if text.values.get("ObjectType", "Image") != "Image":
        raise damaged(name, "its header does not say that it is an image")
    dimensions = whole_number_of(name, "NDims", text.needed("NDims"))
    if not 1 <= dimensions <= MOST_DIMENSIONS:
        raise damaged(name, f"its header gives it {dimensions} dimensions")
    sizes = tuple(whole_numbers_of(name, "DimSize", text.needed("DimSize"), dimensions))
    channels = text.values.get("ElementNumberOfChannels", "1")
    components = whole_number_of(name, "ElementNumberOfChannels", channels)
    dtype = _dtype(text)
    check_sizes(name, sizes, components, dtype.itemsize)
    _check_units_and_scale(text)
    spacing_mm, states_spacing = _spacing(text, dimensions)
    return ImageHeader(
        file_name=name,
        format_name="MetaImage",
        sizes=sizes,
        components=components,
        components_axis=0 if components > 1 else None,
        dtype=dtype,
        spacing_mm=spacing_mm,
        origin_mm=_origin(text, dimensions),
        direction=_direction(text, dimensions),
        states_spacing=states_spacing,
        states_directions=text.first(DIRECTION_KEYS) is not None,
        payload=_payload(path, text, byte_count_of(sizes, components, dtype)),
        fields={key: value for key, value in text.values.items() if key not in KNOWN_KEYS},
    )


def _text_of(path: Path) -> _Text:
    """Read the lines down to the one that names the file of the voxels."""
    text = _Text(path.name)
    with open_regular_file(path) as file:
        start = file.read(LONGEST_HEADER)
    while DATA_KEY not in text.values:
        end = start.find(b"\n", text.length, text.length + LONGEST_LINE)
        is_last = end < 0 and text.length + LONGEST_LINE > len(start) > text.length
        if end < 0 and not is_last:
            raise damaged(path.name, f'its header does not give "{DATA_KEY}"')
        end = len(start) if is_last else end
        line = start[text.length : end].decode("utf-8", "surrogateescape")
        text.length = min(end + 1, len(start))
        _take_line(text, line)
    if text.values[DATA_KEY] == LOCAL and start[text.length - 1 : text.length] != b"\n":
        raise damaged(path.name, "it ends with its header")
    return text


def _take_line(text: _Text, line: str) -> None:
    if not line.strip():
        return
    found = LINE.fullmatch(line)
    if found is None:
        raise damaged(text.name, f'its header has a line "{shown(line)}" that no MetaImage has')
    key, value = found.groups()
    if key in KNOWN_KEYS and key in text.values:
        raise damaged(text.name, f'its header gives "{key}" twice')
    text.values[key] = value


def _dtype(text: _Text) -> np.dtype:
    type_name = text.needed("ElementType")
    if type_name not in TYPES:
        raise damaged(text.name, f'its header gives an unknown type "{shown(type_name)}"')
    orders = {text.is_true(key, False) for key in BYTE_ORDER_KEYS if key in text.values}
    if len(orders) > 1:
        raise damaged(text.name, "its header gives two byte orders")
    return np.dtype(TYPES[type_name]).newbyteorder(">" if True in orders else "<")


def _check_units_and_scale(text: _Text) -> None:
    units = text.values.get("DistanceUnits", "mm").lower()
    if units not in ("mm", "?", "unknown", ""):
        raise BadInputError(
            f'"{shown(text.name)}" is not measured in millimetres ({shown(units)}); save it with'
            " sizes in mm."
        )
    for key, neutral in (
        ("ElementToIntensityFunctionSlope", 1.0),
        ("ElementToIntensityFunctionOffset", 0.0),
    ):
        if key in text.values and numbers_of(text.name, key, text.values[key], 1) != [neutral]:
            raise BadInputError(
                f'"{shown(text.name)}" wants its values rescaled ("{key}"), which no reader does;'
                " save it with final values."
            )


def _spacing(text: _Text, dimensions: int) -> tuple[tuple[float, ...], bool]:
    found = text.first(SPACING_KEYS)
    if found is None:
        return (1.0,) * dimensions, False
    values = numbers_of(text.name, *found, dimensions)
    known = [math.isfinite(value) and value != 0 for value in values]
    return tuple(value if known[axis] else 1.0 for axis, value in enumerate(values)), all(known)


def _origin(text: _Text, dimensions: int) -> tuple[float, ...]:
    found = text.first(ORIGIN_KEYS)
    return (
        (0.0,) * dimensions if found is None else tuple(numbers_of(text.name, *found, dimensions))
    )


def _direction(text: _Text, dimensions: int) -> np.ndarray:
    found = text.first(DIRECTION_KEYS)
    if found is None:
        return np.eye(dimensions)
    # One axis after the other.
    return np.array(numbers_of(text.name, *found, dimensions**2)).reshape([dimensions] * 2).T


def _payload(path: Path, text: _Text, byte_count: int) -> Payload:
    name, data_file = text.name, text.values[DATA_KEY]
    if not text.is_true("BinaryData", True):
        raise BadInputError(
            f'"{shown(name)}" stores its voxels as text, which is not read here; save it as binary'
            " data."
        )
    if not data_file.isprintable() or not data_file:
        raise damaged(name, "its header does not end with the name of a file of voxels")
    if re.match(r"LIST\b", data_file) or "%" in data_file:
        raise BadInputError(
            f'"{shown(name)}" keeps its voxels in several files, which are not read here; save it'
            " as one .mha file."
        )
    is_local = data_file == LOCAL
    file = path if is_local else detached_file(path, data_file)
    offset = text.length if is_local else 0
    is_packed = text.is_true("CompressedData", False)
    skip = whole_number_of(name, "HeaderSize", text.values.get("HeaderSize", "0"))
    if skip < -1 or (skip and (is_packed or is_local)):
        raise BadInputError(
            f'"{shown(name)}" wants bytes of its data passed over ("HeaderSize"), which is not done'
            " here; save it again without."
        )
    if not is_packed:
        size = check_regular_file(file).st_size
        offset = max(size - byte_count, 0) if skip == -1 else offset + skip
        return Payload(file, offset, RAW, byte_count)
    stored_count = None
    if "CompressedDataSize" in text.values:
        stored_count = whole_number_of(
            name, "CompressedDataSize", text.values["CompressedDataSize"]
        )
    return Payload(
        file, offset, _packing(file, offset), byte_count, stored_count=stored_count or None
    )


def _packing(file: Path, offset: int) -> str:
    with open_regular_file(file) as content:
        content.seek(offset)
        return GZIP if content.read(len(GZIP_START)) == GZIP_START else ZLIB
