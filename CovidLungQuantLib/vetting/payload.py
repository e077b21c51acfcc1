"""The voxels' bytes: unpacked in pieces, counted to the byte, checksums enforced."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting.memory import empty_array
from CovidLungQuantLib.vetting.problems import damaged, shown
from CovidLungQuantLib.vetting.regular_file import check_regular_file, open_regular_file
from CovidLungQuantLib.vetting.stored_image import GZIP, RAW, ZLIB, Payload

READ_AT_ONCE = 1 << 16
UNPACKED_AT_ONCE = 1 << 17
# One byte of a deflate stream becomes 1032 at most.
MOST_TIMES_LARGER = 1032
WINDOW_BITS = {GZIP: zlib.MAX_WBITS + 16, ZLIB: zlib.MAX_WBITS}
GZIP_START = b"\x1f\x8b"


def detached_file(header: Path, name: str) -> Path:
    """Return the file beside a header that holds its voxels.

    Raises:
        BadInputError: the name leads out of the header's folder, or there is no such file.
    """
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise _leads_elsewhere(header, name)
    file = header.parent / name
    check_regular_file(file, "file of voxels")
    homes = {header.parent.resolve(), header.resolve().parent}
    if not any(file.resolve().is_relative_to(home) for home in homes):
        raise _leads_elsewhere(header, name)
    return file


def check_payload(payload: Payload, file_name: str) -> None:
    """Compare the stored bytes with what the header says, without reading them.

    Raises:
        UnreadableFileError: there are fewer or more.
    """
    stored = check_regular_file(payload.file).st_size - payload.offset
    if payload.stored_count is not None and stored != payload.stored_count:
        raise damaged(
            file_name, f"its header says {payload.stored_count} packed bytes and {stored} are there"
        )
    if payload.packing == RAW:
        if stored != payload.byte_count:
            raise damaged(
                file_name,
                f"its header says {payload.byte_count} bytes of voxels and {max(stored, 0)} are"
                " there",
            )
    elif payload.skip + payload.byte_count > max(stored, 0) * MOST_TIMES_LARGER:
        raise damaged(
            file_name,
            f"its header says {payload.byte_count} bytes of voxels, more than can be packed into"
            f" the {max(stored, 0)} there",
        )


def read_payload(payload: Payload, file_name: str) -> np.ndarray:
    """Read the voxels' bytes.

    Returns:
        uint8, as many as the header says.

    Raises:
        UnreadableFileError: there are fewer or more, a checksum is wrong, or something follows.
        OutOfResourcesError: the memory does not hold them.
    """
    check_payload(payload, file_name)
    voxels = empty_array((payload.byte_count,), np.dtype(np.uint8), file_name)
    target = voxels.data
    position = -payload.skip
    with open_regular_file(payload.file) as file:
        file.seek(payload.offset)
        for piece in _pieces(file, payload.packing, file_name):
            end = position + len(piece)
            if end > payload.byte_count:
                raise damaged(file_name, "it holds more voxels than its header says")
            if end > 0:
                start = max(position, 0)
                target[start:end] = piece[start - position :]
            position = end
    if position != payload.byte_count:
        raise damaged(file_name, "it holds fewer voxels than its header says")
    return voxels


def unpacked_start(path: Path, count: int) -> bytes:
    """Return the first bytes of a gzip file, unpacked; fewer if there are fewer.

    Raises:
        UnreadableFileError: it is no gzip file.
    """
    unpacker = zlib.decompressobj(WINDOW_BITS[GZIP])
    start = b""
    with open_regular_file(path) as file:
        try:
            while len(start) < count and not unpacker.eof and (piece := file.read(READ_AT_ONCE)):
                start += unpacker.decompress(piece, count - len(start))
        except (zlib.error, OSError) as error:
            raise damaged(path.name, "it is not packed as its name says") from error
    return start


def _pieces(file: BinaryIO, packing: str, file_name: str) -> Iterator[bytes]:
    try:
        if packing == RAW:
            while piece := file.read(UNPACKED_AT_ONCE):
                yield piece
        else:
            yield from _unpacked(file, packing, file_name)
    except zlib.error as error:
        raise damaged(file_name, "its packed voxels are damaged or their checksum is wrong") from (
            error
        )
    except OSError as error:
        raise BadInputError(
            f'"{shown(file_name)}" cannot be read ({error.strerror or error}); check the disk it'
            " is on."
        ) from error


def _unpacked(file: BinaryIO, packing: str, file_name: str) -> Iterator[bytes]:
    """Unpack a zlib stream, or gzip members one after the other."""
    unpacker = zlib.decompressobj(WINDOW_BITS[packing])
    packed = b""
    while packed := packed or file.read(READ_AT_ONCE):
        if unpacker.eof:
            packed += file.read(len(GZIP_START))
            if packing != GZIP or not packed.startswith(GZIP_START):
                raise damaged(file_name, "something follows its packed voxels")
            unpacker = zlib.decompressobj(WINDOW_BITS[packing])
        if piece := unpacker.decompress(packed, UNPACKED_AT_ONCE):
            yield piece
        packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    # What the last pieces still hold back.
    while not unpacker.eof and (piece := unpacker.decompress(b"", UNPACKED_AT_ONCE)):
        yield piece
    if not unpacker.eof:
        raise damaged(file_name, "its packed voxels end too early")


def _leads_elsewhere(header: Path, name: str) -> BadInputError:
    return BadInputError(
        f'"{shown(header.name)}" keeps its voxels in "{shown(name)}", which is not in its own'
        " folder; put that file beside it and name it without a folder."
    )
