"""From the bytes of a DICOM slice to Hounsfield units, by the slice's own tags."""

from __future__ import annotations

import itertools
import struct
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from CovidLungQuantLib.ct.checks import (
    HIGHEST_POSSIBLE_HU,
    not_hounsfield_message,
)
from CovidLungQuantLib.ct.dicom.codestreams import NO_ROOM_MESSAGE, PixelKind, decode
from CovidLungQuantLib.ct.dicom.elements import BadElements, open_dataset
from CovidLungQuantLib.ct.dicom.headers import SliceHeader
from CovidLungQuantLib.ct.field_of_view import HIGHEST_AIR_HU, PADDING_BELOW_HU, connected_to_edge
from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError

LOWEST_STORABLE_HU = int(np.iinfo(np.int16).min)
# Less than this are values of tissue at the edge that happen to be the one of padding.
SMALLEST_PADDED_SHARE = 0.01
# What a codestream may be larger than the plain values, and a little more.
LARGEST_CODESTREAM = 4
CODESTREAM_EXTRA = 1 << 20


def read_hounsfield(slices: Sequence[SliceHeader], name: str) -> tuple[np.ndarray, bool]:
    """Read slices of one size, each by its own tags.

    Args:
        slices: of CTs whose headers were checked.
        name: of the scan, for messages.

    Returns:
        hu: int16 HU (z, y, x); what a header declares outside the field of view is −32768.
        is_lossy: whether a codestream says it was compressed with loss.

    Raises:
        BadInputError: the pixel data of a slice are damaged, or no Hounsfield units.
        OutOfResourcesError: there is no room for a temporary file.
        OSError: a file cannot be opened any more.
    """
    columns, rows = slices[0].columns_rows
    hu = np.empty((len(slices), rows, columns), dtype=np.int16)
    losses: list[bool] = []
    with _folder_for_decoding(slices) as folder:
        for path, group in itertools.groupby(slices, key=lambda item: item.path):
            try:
                with open_dataset(path) as file:
                    for item in group:
                        cells, is_lossy = _cells(item, pixel_bytes(item, file), folder)
                        hu[len(losses)] = _slice_hu(item, cells, name)
                        losses.append(is_lossy)
            except BadElements as error:
                raise BadInputError(
                    f'{path.name} in "{name}" cannot be read ({error.reason}); copy or export the'
                    " scan again."
                ) from error
    return hu, any(losses)


@contextmanager
def _folder_for_decoding(slices: Sequence[SliceHeader]) -> Iterator[Path]:
    """A folder that lives while slices are decoded; any name where none are compressed."""
    if all(item.pixels.fragments is None for item in slices):
        yield Path()
        return
    try:
        folder = tempfile.TemporaryDirectory(prefix="covidlungquant-")
    except OSError as error:
        raise OutOfResourcesError(NO_ROOM_MESSAGE) from error
    with folder:
        yield Path(folder.name)


def pixel_bytes(item: SliceHeader, file: BinaryIO) -> bytes:
    """Read the bytes of one frame from its opened file: plain values, or a codestream.

    Raises:
        BadElements: they are not there in full.
    """
    columns, rows = item.columns_rows
    size = rows * columns * item.bits_allocated // 8
    if item.pixels.fragments is None:
        return _read(file, item.pixels.offset + item.frame * size, size)
    parts = _frame_fragments(item, file)
    if sum(length for _, length in parts) > LARGEST_CODESTREAM * size + CODESTREAM_EXTRA:
        raise BadElements("its compressed pixel data are far too long")
    return b"".join(_read(file, offset, length) for offset, length in parts)


def _slice_hu(item: SliceHeader, cells: np.ndarray, name: str) -> np.ndarray:
    padding = _padding(item, cells)
    if padding is not None:
        cells = np.where(padding, cells.dtype.type(0), cells)
    hu = _rescaled(_values(item, cells), item)
    if hu.max() > HIGHEST_POSSIBLE_HU:
        raise BadInputError(not_hounsfield_message(name, f"values reach {hu.max():.6g}"))
    # Padding may lie below what int16 holds.
    hu = np.maximum(hu, LOWEST_STORABLE_HU)
    if padding is not None:
        hu[padding] = LOWEST_STORABLE_HU
    return hu


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    content = file.read(length)
    if len(content) < length:
        raise BadElements("its end is missing")
    return content


def _frame_fragments(item: SliceHeader, file: BinaryIO) -> list[tuple[int, int]]:
    """Offset and length of the fragments of one frame."""
    (table_at, table_length), *parts = item.pixels.fragments or ((0, 0),)
    if item.frame_count == 1:
        return parts
    if len(parts) == item.frame_count:
        return [parts[item.frame]]
    if table_length != 4 * item.frame_count:
        raise BadElements("nothing says where its frames begin")
    starts = struct.unpack(f"<{item.frame_count}I", _read(file, table_at, table_length))
    # Counted from the head of the first fragment, which has 8 bytes.
    first = parts[0][0]
    begin = first + starts[item.frame]
    end = first + starts[item.frame + 1] if item.frame + 1 < len(starts) else None
    own = [part for part in parts if part[0] >= begin and (end is None or part[0] < end)]
    if not own or own[0][0] != begin:
        raise BadElements("nothing says where its frames begin")
    return own


def _cells(item: SliceHeader, content: bytes, folder: Path) -> tuple[np.ndarray, bool]:
    """The pixel cells (rows, columns) as unsigned integers, bits as they lie; whether lossy."""
    columns, rows = item.columns_rows
    if item.pixels.fragments is not None:
        kind = PixelKind(
            rows, columns, item.bits_allocated, item.bits_stored, item.high_bit, item.is_signed
        )
        return decode(content, item.pixels.syntax, kind, folder)
    order = "<" if item.pixels.is_little_endian else ">"
    cells = np.frombuffer(content, dtype=f"{order}u{item.bits_allocated // 8}")
    cells = cells.reshape(rows, columns)
    return cells.astype(cells.dtype.newbyteorder("="), copy=False), False


def _values(item: SliceHeader, cells: np.ndarray) -> np.ndarray:
    """The numbers that the stored bits of the cells mean.

    Raises:
        BadElements: bits that are not stored ones hold something.
    """
    signed = np.dtype(f"i{cells.itemsize}")
    bits = item.bits_stored
    unused_below = item.high_bit + 1 - bits
    if unused_below:
        cells = cells >> np.array(unused_below, cells.dtype)
    if bits == item.bits_allocated:
        return cells.view(signed) if item.is_signed else cells
    if not item.is_signed:
        _check_bits(cells.max() < 1 << bits, bits)
        return cells
    # Above the stored bits, writers leave copies of the sign or zeros.
    sign = 1 << (bits - 1)
    values = cells.view(signed)
    has_sign = (values >= -sign) & (values < sign)
    if has_sign.all():
        return values
    _check_bits((has_sign | (cells < 2 * sign)).all(), bits)
    return ((cells & np.array(2 * sign - 1, cells.dtype)).astype(signed) ^ sign) - sign


def _check_bits(is_right: bool | np.bool_, bits: int) -> None:
    if not is_right:
        raise BadElements(f"its values need more than the {bits} bits its header states")


def _rescaled(values: np.ndarray, item: SliceHeader) -> np.ndarray:
    slope, intercept = item.rescale or (1.0, 0.0)
    if slope == 1.0 and intercept.is_integer() and abs(intercept) < 1 << 20:
        return values.astype(np.int32 if values.itemsize < 4 else np.int64) + int(intercept)
    return np.rint(values * slope + intercept)


def _padding(item: SliceHeader, cells: np.ndarray) -> np.ndarray | None:
    """What the header declares outside the field of view, where it is not air already.

    A value that is also found inside the body is left alone there.
    """
    value, limit = item.numbers("padding_value"), item.numbers("padding_limit")
    if not value.size or cells.itemsize != 2:
        return None
    stated = np.array([value[0], limit[0] if limit.size else value[0]]).astype(np.uint16)
    ends = stated.view(np.int16) if item.is_signed else stated
    low, high = int(ends.min()), int(ends.max())
    slope, intercept = item.rescale or (1.0, 0.0)
    if low * slope + intercept >= PADDING_BELOW_HU and high * slope + intercept <= HIGHEST_AIR_HU:
        return None
    as_stated = cells.view(np.int16) if item.is_signed else cells
    padding = (as_stated >= low) & (as_stated <= high)
    if not padding.any():
        return None
    padding = connected_to_edge(padding)
    return padding if padding.mean() >= SMALLEST_PADDED_SHARE else None
