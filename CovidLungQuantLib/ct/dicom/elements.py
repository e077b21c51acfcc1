"""The data elements of a DICOM file, walked with suspicion: what lies where, and nothing decoded.

Only the elements asked for are kept; all others are stepped over by their length. Whatever a
damaged or hostile file claims, walking it takes little time and memory: lengths are held against
the size of the file, and nesting and the number of elements have limits. (DICOM PS3.5, chapter 7.)
"""

from __future__ import annotations

import io
import os
import stat
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Union

PREFIX_OFFSET = 128
PREFIX = b"DICM"
META_GROUP = 0x0002
META_START = b"\x02\x00\x00\x00UL"
START_SIZE = PREFIX_OFFSET + len(PREFIX) + len(META_START)
# Files of before 1993 have no prefix and begin with the first element of one of these groups.
FIRST_GROUPS = (META_GROUP, 0x0008)
LONGEST_FIRST_VALUE = 1 << 10

SYNTAX_TAG = 0x00020010
FRAME_COUNT_TAG = 0x00280008
PIXEL_DATA_TAG = 0x7FE00010
ITEM_TAG = 0xFFFEE000
ITEM_END_TAG = 0xFFFEE00D
SEQUENCE_END_TAG = 0xFFFEE0DD
UNDEFINED_LENGTH = 0xFFFFFFFF

IMPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
DEFLATED_LITTLE_ENDIAN = "1.2.840.10008.1.2.1.99"
EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES = (
    IMPLICIT_LITTLE_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    DEFLATED_LITTLE_ENDIAN,
    EXPLICIT_BIG_ENDIAN,
)
# Value representations whose length has 32 bits.
LONG_VRS = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)

# Real headers have a few hundred elements, nested three or four deep; functional groups have some
# dozens more a frame.
DEEPEST_NESTING = 32
MOST_ELEMENTS = 10_000
MOST_ELEMENTS_A_FRAME = 500
MOST_ELEMENTS_AT_ALL = 500_000
MOST_FRAGMENTS = 100_000
LONGEST_VALUE = 1 << 16
LARGEST_INFLATED = 1 << 28

Value = Union[bytes, list[dict[int, "Value"]]]  # noqa: UP007 - it names itself


class BadElements(Exception):
    """A file whose elements make no sense.

    Attributes:
        reason: in words that follow "cannot be read".
        values: what was read until then.
    """

    def __init__(self, reason: str, values: Mapping[int, Value] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.values = dict(values or {})


@dataclass(frozen=True)
class PixelPlace:
    """Where the pixel data of a file lie.

    Attributes:
        syntax: UID of the transfer syntax.
        is_little_endian: order of the bytes of one value.
        offset: of the value, in the (inflated) file.
        length: of the value in bytes; where it is encapsulated, of all fragments together.
        fragments: offset and length of each, the offset table first; None where not encapsulated.
    """

    syntax: str
    is_little_endian: bool
    offset: int
    length: int
    fragments: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Elements:
    """What `read_elements` found.

    Attributes:
        values: the wanted elements; a sequence is a list of such mappings, one an item.
        is_little_endian: order of the bytes of binary values.
        pixels: None where the file has no pixel data.
    """

    values: dict[int, Value]
    is_little_endian: bool
    pixels: PixelPlace | None


def is_regular_file(path: Path) -> bool:
    """Tell whether a path is a file to read: no folder, pipe, socket or device."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def begins_like_dicom(start: bytes) -> bool:
    """Tell whether the first `START_SIZE` bytes of a file are those of a DICOM file."""
    if start[PREFIX_OFFSET : PREFIX_OFFSET + len(PREFIX)] == PREFIX:
        return True
    if start[PREFIX_OFFSET + len(PREFIX) : START_SIZE] == META_START:
        # Only the prefix is damaged.
        return True
    if len(start) < 8:
        return False
    group, element, vr, short_length = struct.unpack("<HH2sH", start[:8])
    if group not in FIRST_GROUPS or element > 0x0100:
        return False
    if _is_vr(vr):
        return short_length <= LONGEST_FIRST_VALUE
    return struct.unpack("<I", start[4:8])[0] <= LONGEST_FIRST_VALUE


def open_dataset(path: Path) -> BinaryIO:
    """Open a DICOM file for reading; a deflated one is inflated as a whole.

    Raises:
        BadElements: it cannot be inflated.
        OSError: it cannot be opened.
    """
    # Without O_NONBLOCK, a pipe put in the file's place meanwhile would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | _BINARY)
    file = os.fdopen(descriptor, "rb", buffering=1 << 16)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise BadElements("it is no regular file")
    try:
        _, syntax = _read_meta(file)
        if syntax != DEFLATED_LITTLE_ENDIAN:
            return file
        head_size = file.tell()
        packed = file.read(LARGEST_INFLATED)
        file.seek(0)
        head = file.read(head_size)
    except BaseException:
        file.close()
        raise
    file.close()
    return io.BytesIO(head + _inflated(packed))


def read_elements(file: BinaryIO, wanted: Mapping[int, str]) -> Elements:
    """Walk a file opened by `open_dataset` up to and over its pixel data.

    Args:
        file: anywhere in it.
        wanted: tags to keep, at the top and within wanted sequences, with their value
            representations; "SQ" for sequences.

    Raises:
        BadElements: an element is longer than the file, nested too deep, twice there or nonsense.
    """
    values, syntax = _read_meta(file)
    walker = _Walker(file, wanted, is_little_endian=syntax != EXPLICIT_BIG_ENDIAN)
    walker.is_explicit = walker.looks_explicit(syntax)
    found: dict[int, Value] = dict(values)
    try:
        pixels = walker.walk_top(found, syntax)
    except BadElements as error:
        raise BadElements(error.reason, found) from error
    return Elements(found, walker.is_little_endian, pixels)


_BINARY = getattr(os, "O_BINARY", 0)
_CUT_OFF = "truncated or damaged"


def _is_vr(vr: bytes) -> bool:
    return vr.isalpha() and vr.isupper()


def _inflated(packed: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflater.decompress(packed, LARGEST_INFLATED)
    except zlib.error as error:
        raise BadElements(_CUT_OFF) from error
    if not inflater.eof:
        raise BadElements(_CUT_OFF)
    return content


def _read_meta(file: BinaryIO) -> tuple[dict[int, bytes], str]:
    """Read the file meta information; leave the file at the data set."""
    file.seek(0)
    start = file.read(PREFIX_OFFSET + len(PREFIX))
    at = len(start) if start[PREFIX_OFFSET:] == PREFIX else 0
    file.seek(at)
    walker = _Walker(file, {}, is_little_endian=True)
    values: dict[int, bytes] = {}
    while True:
        at = file.tell()
        head = file.read(2)
        file.seek(at)
        if head != META_GROUP.to_bytes(2, "little"):
            break
        tag, _, length = walker.element()
        values[tag] = walker.value(length)
    if SYNTAX_TAG not in values:
        # Nothing is said: implicit by the standard, unless it looks otherwise.
        return values, EXPLICIT_LITTLE_ENDIAN if walker.looks_explicit("") else (
            IMPLICIT_LITTLE_ENDIAN
        )
    return values, values[SYNTAX_TAG].decode("latin-1").strip(" \0")


@dataclass
class _Walker:
    """Steps from element to element of one file."""

    file: BinaryIO
    wanted: Mapping[int, str]
    is_little_endian: bool
    is_explicit: bool = True
    count: int = 0
    most: int = MOST_ELEMENTS
    size: int = field(init=False)

    def __post_init__(self) -> None:
        at = self.file.tell()
        self.size = self.file.seek(0, io.SEEK_END)
        self.file.seek(at)
        order = "<" if self.is_little_endian else ">"
        self.short_head = struct.Struct(f"{order}HH2sH")
        self.long_head = struct.Struct(f"{order}HHI")
        self.long_length = struct.Struct(f"{order}I")

    def looks_explicit(self, syntax: str) -> bool:
        """Tell by the next element whether value representations are written out.

        Some writers state the one syntax and use the other; the bytes decide.
        """
        at = self.file.tell()
        head = self.file.read(6)
        self.file.seek(at)
        if len(head) < 6:
            return syntax != IMPLICIT_LITTLE_ENDIAN
        return _is_vr(head[4:6])

    def element(self) -> tuple[int, bytes, int]:
        """Read the head of the next element: tag, value representation ("" unknown), length."""
        self.count += 1
        if self.count > self.most:
            raise BadElements("its header has too many elements")
        head = self._exactly(8)
        group, element, vr, length = self.short_head.unpack(head)
        tag = group << 16 | element
        if self.is_explicit and group != 0xFFFE and _is_vr(vr):
            if vr in LONG_VRS:
                (length,) = self.long_length.unpack(self._exactly(4))
            return tag, vr, length
        return tag, b"", self.long_head.unpack(head)[2]

    def value(self, length: int) -> bytes:
        if length > LONGEST_VALUE:
            raise BadElements(_CUT_OFF)
        return self._exactly(length)

    def walk_top(self, found: dict[int, Value], syntax: str) -> PixelPlace | None:
        """Collect the wanted elements up to the pixel data, and step over these."""
        while self.file.tell() < self.size:
            tag, vr, length = self.element()
            if tag == PIXEL_DATA_TAG:
                pixels = self._pixels(length, syntax)
                self._check_rest()
                return pixels
            self._take(found, tag, vr, length, end=self.size, depth=0)
            if tag == FRAME_COUNT_TAG:
                self._allow_for_frames(found.get(tag, b""))
        return None

    def _allow_for_frames(self, value: Value) -> None:
        text = value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""
        if text.isdecimal() and len(text) < 10:
            more = MOST_ELEMENTS + MOST_ELEMENTS_A_FRAME * int(text)
            self.most = min(more, MOST_ELEMENTS_AT_ALL)

    def _exactly(self, length: int) -> bytes:
        content = self.file.read(length)
        if len(content) < length:
            raise BadElements(_CUT_OFF)
        return content

    def _take(
        self, found: dict[int, Value], tag: int, vr: bytes, length: int, end: int, depth: int
    ) -> None:
        """Keep a wanted element, step over any other."""
        wanted_vr = self.wanted.get(tag)
        at = self.file.tell()
        if length != UNDEFINED_LENGTH and at + length > end:
            raise BadElements(_CUT_OFF)
        if wanted_vr is not None and tag in found:
            raise BadElements("its header says the same thing twice")
        if length == UNDEFINED_LENGTH or wanted_vr == "SQ":
            if vr in (b"OB", b"OW") and wanted_vr is None:
                # The pixels of an icon.
                self._fragments()
                return
            if vr not in (b"", b"SQ", b"UN"):
                raise BadElements(_CUT_OFF)
            items = self._sequence(vr, length, end, depth + 1)
            if wanted_vr == "SQ":
                found[tag] = items
            return
        if wanted_vr is None:
            self.file.seek(at + length)
        else:
            found[tag] = self.value(length)

    def _sequence(self, vr: bytes, length: int, end: int, depth: int) -> list[dict[int, Value]]:
        """Walk the items of a sequence whose head was read."""
        if depth > DEEPEST_NESTING:
            raise BadElements("its header is nested too deep")
        was_explicit = self.is_explicit
        # PS3.5, 6.2.2: what has an unknown representation of undefined length is implicit inside.
        self.is_explicit = was_explicit and vr != b"UN"
        is_open = length == UNDEFINED_LENGTH
        end = end if is_open else self.file.tell() + length
        items = []
        while is_open or self.file.tell() < end:
            tag, _, item_length = self.element()
            if tag == SEQUENCE_END_TAG and is_open:
                break
            if tag != ITEM_TAG:
                raise BadElements(_CUT_OFF)
            items.append(self._item(item_length, end, depth))
        self.is_explicit = was_explicit
        return items

    def _item(self, length: int, end: int, depth: int) -> dict[int, Value]:
        is_open = length == UNDEFINED_LENGTH
        if not is_open:
            if self.file.tell() + length > end:
                raise BadElements(_CUT_OFF)
            end = self.file.tell() + length
        found: dict[int, Value] = {}
        while is_open or self.file.tell() < end:
            tag, vr, element_length = self.element()
            if tag == ITEM_END_TAG and is_open:
                break
            self._take(found, tag, vr, element_length, end, depth)
        return found

    def _pixels(self, length: int, syntax: str) -> PixelPlace:
        at = self.file.tell()
        if length == UNDEFINED_LENGTH:
            fragments = self._fragments()
            total = sum(size for _, size in fragments[1:])
            return PixelPlace(syntax, self.is_little_endian, at, total, fragments)
        if at + length > self.size:
            raise BadElements(_CUT_OFF)
        self.file.seek(at + length)
        return PixelPlace(syntax, self.is_little_endian, at, length, None)

    def _check_rest(self) -> None:
        """Refuse a file in which no elements follow the pixel data, but something else does."""
        at = self.file.tell()
        if not self.file.read(LONGEST_VALUE).strip(b"\0"):
            return
        self.file.seek(at)
        while self.file.tell() < self.size:
            tag, vr, length = self.element()
            self._take({}, tag, vr, length, end=self.size, depth=0)

    def _fragments(self) -> tuple[tuple[int, int], ...]:
        fragments: list[tuple[int, int]] = []
        while True:
            tag, length = self._fragment_head()
            if tag == SEQUENCE_END_TAG:
                return tuple(fragments)
            at = self.file.tell()
            if tag != ITEM_TAG or at + length > self.size or len(fragments) >= MOST_FRAGMENTS:
                raise BadElements(_CUT_OFF)
            fragments.append((at, length))
            self.file.seek(at + length)

    def _fragment_head(self) -> tuple[int, int]:
        group, element, length = self.long_head.unpack(self._exactly(8))
        return group << 16 | element, length
