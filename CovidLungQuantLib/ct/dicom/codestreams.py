"""Compressed pixel data: what a codestream says of itself, and its values.

Decoders are native code that trusts what it is given. So the codestream's own header is held
against the image first, and the decoder then sees a file written here around the codestream, with
no other element in it: what it gives are the stored values, not inverted and not rescaled.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.ct.dicom.decoder_messages import listening
from CovidLungQuantLib.ct.dicom.elements import ITEM_TAG, SEQUENCE_END_TAG, UNDEFINED_LENGTH
from CovidLungQuantLib.ct.dicom.elements import BadElements as BadCodestream
from CovidLungQuantLib.ct.images import quiet_itk
from CovidLungQuantLib.errors import OutOfResourcesError

RLE_LOSSLESS = "1.2.840.10008.1.2.5"
JPEG_SYNTAXES = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
}
JPEG_LS_SYNTAXES = {"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}
JPEG_2000_SYNTAXES = {"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"}
COMPRESSED_SYNTAXES = JPEG_SYNTAXES | JPEG_LS_SYNTAXES | JPEG_2000_SYNTAXES | {RLE_LOSSLESS}

# An RLE frame begins with the number and the places of its segments.
RLE_HEAD = 64

NO_ROOM_MESSAGE = "There is no room for a temporary file; free some disk space and try again."
CODESTREAM_FILE = "codestream.dcm"

# Markers of ITU-T T.81 (JPEG), T.87 (JPEG-LS) and T.800 (JPEG 2000), the second byte after FF.
START_OF_IMAGE, END_OF_CODESTREAM, START_OF_SCAN = 0xD8, b"\xff\xd9", 0xDA
LOSSLESS_FRAME, JPEG_LS_FRAME = 0xC3, 0xF7
JPEG_FRAMES = {0xC0, 0xC1, LOSSLESS_FRAME, JPEG_LS_FRAME}
JPEG_2000_START = b"\xff\x4f\xff\x51"
CODING_STYLE = 0x52
JP2_SIGNATURE = b"\0\0\0\x0cjP  "
IRREVERSIBLE_WAVELET = 0


@dataclass(frozen=True)
class Codestream:
    """What the header of a codestream says."""

    rows: int
    columns: int
    precision: int
    components: int
    is_lossy: bool


@dataclass(frozen=True)
class PixelKind:
    """How the values of an image are stored."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool


def describe_codestream(data: bytes, syntax: str) -> Codestream | None:
    """Read a codestream's header; None for RLE, which says nothing of its image.

    Raises:
        BadCodestream: it is none of its syntax, or its end is missing.
    """
    if syntax == RLE_LOSSLESS:
        return None
    if not data.rstrip(b"\0").endswith(END_OF_CODESTREAM):
        raise BadCodestream("its compressed pixel data have no end")
    try:
        return _jpeg_2000(data) if syntax in JPEG_2000_SYNTAXES else _jpeg(data)
    except (IndexError, struct.error) as error:
        raise BadCodestream("its compressed pixel data are damaged") from error


def decode(data: bytes, syntax: str, kind: PixelKind, folder: Path) -> tuple[np.ndarray, bool]:
    """Decode one frame.

    Args:
        data: its codestream.
        syntax: UID of the transfer syntax, one of `COMPRESSED_SYNTAXES`.
        kind: of its values.
        folder: for a file that lives while this runs.

    Returns:
        cells: the stored values (rows, columns), unsigned, as the bits lie in the pixel cells.
        is_lossy: whether the codestream says it was compressed with loss.

    Raises:
        BadCodestream: it cannot be decoded, or is of another image.
        OutOfResourcesError: the folder is full.
    """
    stated = describe_codestream(data, syntax)
    cells = np.dtype(f"u{kind.bits_allocated // 8}")
    if stated is None:
        planes = _decode_rle(data, kind)
        return planes.view(cells.newbyteorder("<")).reshape(kind.rows, kind.columns), False
    is_same = (stated.rows, stated.columns, stated.components) == (kind.rows, kind.columns, 1)
    if not is_same or stated.precision > kind.bits_allocated:
        raise BadCodestream("its compressed pixel data are of another image than its header says")
    file = folder / CODESTREAM_FILE
    try:
        file.write_bytes(_head(kind, syntax) + _encapsulated(data))
    except OSError as error:
        raise OutOfResourcesError(NO_ROOM_MESSAGE) from error
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        with quiet_itk():
            image, complained = listening(reader.Execute)
    except RuntimeError as error:
        raise BadCodestream("its compressed pixel data cannot be decoded") from error
    if complained:
        raise BadCodestream("its compressed pixel data are damaged")
    values = sitk.GetArrayFromImage(image).squeeze()
    if values.shape != (kind.rows, kind.columns) or values.dtype.kind not in "iu":
        raise BadCodestream("its compressed pixel data are of another image than its header says")
    return values.astype(cells), stated.is_lossy


def _jpeg(data: bytes) -> Codestream:
    """Read the markers of a JPEG or JPEG-LS codestream up to its scan."""
    at, frame = 0, None
    if data[:2] != bytes((0xFF, START_OF_IMAGE)):
        raise BadCodestream("its compressed pixel data are damaged")
    at = 2
    while True:
        if data[at] != 0xFF:
            raise BadCodestream("its compressed pixel data are damaged")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in JPEG_FRAMES:
            frame = (marker, *struct.unpack_from(">BHHB", data, at + 4))
        elif marker == START_OF_SCAN:
            break
        at += 2 + length
    if frame is None:
        raise BadCodestream("its compressed pixel data are in an unknown compression")
    marker, precision, rows, columns, components = frame
    if marker == JPEG_LS_FRAME:
        scan_components = data[at + 4]
        is_lossy = data[at + 5 + 2 * scan_components] > 0
    else:
        is_lossy = marker != LOSSLESS_FRAME
    return Codestream(rows, columns, precision, components, is_lossy)


def _jpeg_2000(data: bytes) -> Codestream:
    """Read the main header of a JPEG 2000 codestream, or of one in a JP2 file."""
    at = data.find(JPEG_2000_START) if data.startswith(JP2_SIGNATURE) else 0
    if at < 0 or data[at : at + 4] != JPEG_2000_START:
        raise BadCodestream("its compressed pixel data are damaged")
    size, _, x_end, y_end, x, y = struct.unpack_from(">HHIIII", data, at + 4)
    (components,) = struct.unpack_from(">H", data, at + 40)
    precision = (data[at + 42] & 0x7F) + 1
    at += 4 + size
    while data[at] == 0xFF and data[at + 1] != CODING_STYLE:
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    if data[at] != 0xFF:
        raise BadCodestream("its compressed pixel data are damaged")
    is_lossy = data[at + 13] == IRREVERSIBLE_WAVELET
    return Codestream(y_end - y, x_end - x, precision, components, is_lossy)


def _decode_rle(data: bytes, kind: PixelKind) -> np.ndarray:
    """Decode run lengths (PS3.5, annex G): one segment for each byte of a cell, highest first."""
    size = kind.rows * kind.columns
    try:
        count, *starts = struct.unpack_from("<16I", data)
    except struct.error as error:
        raise BadCodestream("its compressed pixel data are damaged") from error
    ends = [*starts[1:count], len(data)]
    if count != kind.bits_allocated // 8 or starts[0] != RLE_HEAD or sorted(ends) != ends:
        raise BadCodestream("its compressed pixel data are damaged")
    planes = [
        _unpacked(data[start:end], size) for start, end in zip(starts[:count], ends, strict=True)
    ]
    return np.stack([np.frombuffer(plane, np.uint8) for plane in reversed(planes)], axis=-1)


def _unpacked(segment: bytes, size: int) -> bytes:
    values = bytearray()
    at = 0
    while len(values) < size and at + 1 < len(segment):
        head = segment[at]
        if head < 128:
            values += segment[at + 1 : at + 2 + head]
            at += 2 + head
        elif head > 128:
            values += segment[at + 1 : at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    if len(values) != size or segment[at:].strip(b"\0"):
        raise BadCodestream("its compressed pixel data are damaged")
    return bytes(values)


@lru_cache(maxsize=16)
def _head(kind: PixelKind, syntax: str) -> bytes:
    """A DICOM file of such an image, up to its pixel data."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, SecondaryCaptureImageStorage

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = "1.2.3"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = kind.rows, kind.columns
    dataset.BitsAllocated, dataset.BitsStored = kind.bits_allocated, kind.bits_stored
    dataset.HighBit = kind.high_bit
    dataset.PixelRepresentation = int(kind.is_signed)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _encapsulated(data: bytes) -> bytes:
    data += b"\0" * (len(data) % 2)
    return b"".join(
        (
            struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, UNDEFINED_LENGTH),
            _item_head(ITEM_TAG, 0),
            _item_head(ITEM_TAG, len(data)),
            data,
            _item_head(SEQUENCE_END_TAG, 0),
        )
    )


def _item_head(tag: int, length: int) -> bytes:
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, length)
