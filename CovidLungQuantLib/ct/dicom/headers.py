"""What the header of one DICOM slice says: a file's own, or a frame's of a multi-frame file.

A file is judged here before anything is decoded: a CT image whose pixel data are not there in full
is a damaged file.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct.dicom.elements import (
    NATIVE_SYNTAXES,
    START_SIZE,
    BadElements,
    Elements,
    PixelPlace,
    Value,
    begins_like_dicom,
    is_regular_file,
    open_dataset,
    read_elements,
)

DICOM_SUFFIXES = (".dcm", ".ima")

# CT Image, Enhanced CT Image, Legacy Converted Enhanced CT Image.
CT_STORAGE_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.2",
    "1.2.840.10008.5.1.4.1.1.2.1",
    "1.2.840.10008.5.1.4.1.1.2.2",
)

STORAGE_CLASS = re.compile(r"1\.2\.840\.10008\.5\.1\.4[0-9.]+")

TAGS = {
    "media_storage_class": (0x00020002, "UI"),
    "character_set": (0x00080005, "CS"),
    "image_type": (0x00080008, "CS"),
    "storage_class": (0x00080016, "UI"),
    "instance_uid": (0x00080018, "UI"),
    "study_date": (0x00080020, "DA"),
    "modality": (0x00080060, "CS"),
    "series_description": (0x0008103E, "LO"),
    "patient_name": (0x00100010, "PN"),
    "patient_id": (0x00100020, "LO"),
    "birth_date": (0x00100030, "DA"),
    "contrast_agent": (0x00180010, "LO"),
    "body_part": (0x00180015, "CS"),
    "slice_thickness": (0x00180050, "DS"),
    "contrast_route": (0x00181040, "LO"),
    "gantry_tilt": (0x00181120, "DS"),
    "study_uid": (0x0020000D, "UI"),
    "series_uid": (0x0020000E, "UI"),
    "series_number": (0x00200011, "IS"),
    "acquisition_number": (0x00200012, "IS"),
    "instance_number": (0x00200013, "IS"),
    "position": (0x00200032, "DS"),
    "orientation": (0x00200037, "DS"),
    "frame_of_reference_uid": (0x00200052, "UI"),
    "frame_acquisition_number": (0x00209156, "US"),
    "samples_per_pixel": (0x00280002, "US"),
    "photometric": (0x00280004, "CS"),
    "frame_count": (0x00280008, "IS"),
    "rows": (0x00280010, "US"),
    "columns": (0x00280011, "US"),
    "pixel_spacing": (0x00280030, "DS"),
    "bits_allocated": (0x00280100, "US"),
    "bits_stored": (0x00280101, "US"),
    "high_bit": (0x00280102, "US"),
    "pixel_representation": (0x00280103, "US"),
    "padding_value": (0x00280120, "US"),
    "padding_limit": (0x00280121, "US"),
    "rescale_intercept": (0x00281052, "DS"),
    "rescale_slope": (0x00281053, "DS"),
    "rescale_type": (0x00281054, "LO"),
    "lossy": (0x00282110, "CS"),
}
SHARED_GROUPS_TAG, FRAME_GROUPS_TAG = 0x52009229, 0x52009230
# Frame content, plane position, plane orientation, pixel measures, pixel value transformation.
GROUP_TAGS = (0x00209111, 0x00209113, 0x00209116, 0x00289110, 0x00289145)
WANTED = {
    **dict(TAGS.values()),
    **dict.fromkeys((SHARED_GROUPS_TAG, FRAME_GROUPS_TAG, *GROUP_TAGS), "SQ"),
}
NAMES = {tag: name for name, (tag, _) in TAGS.items()}

SAME_ORIENTATION = 1e-3
SAME_SPACING_MM = 1e-4
# Rounded cosines may be this far from unit vectors at right angles.
COSINE_TOLERANCE = 1e-2
LARGEST_SIDE = 8192
MOST_FRAMES = 20_000


@dataclass(frozen=True)
class DamagedFile:
    """A file that cannot be read.

    Attributes:
        path: the file.
        reason: why, in words.
        series_uid: of the series it says it is of; "" where that is lost.
        is_image: whether it may be an image of a CT.
    """

    path: Path
    reason: str
    series_uid: str = ""
    is_image: bool = True

    def may_belong_to(self, series_uid: str) -> bool:
        """Tell whether it may be a slice of a series."""
        return self.series_uid == series_uid or (self.series_uid == "" and self.is_image)


@dataclass(frozen=True, eq=False)
class Place:
    """Where a slice lies; LPS, in mm.

    Attributes:
        position_mm: of the centre of the first voxel.
        direction: 3×3: along a row, along a column, normal.
        pixel_spacing_mm: between rows, then between columns.
    """

    position_mm: np.ndarray
    direction: np.ndarray
    pixel_spacing_mm: np.ndarray

    def is_parallel_to(self, other: Place) -> bool:
        """Tell whether both have one direction and one spacing."""
        return bool(
            (np.abs(self.direction - other.direction) <= SAME_ORIENTATION).all()
            and (np.abs(self.pixel_spacing_mm - other.pixel_spacing_mm) <= SAME_SPACING_MM).all()
        )


@dataclass(frozen=True)
class SliceHeader:
    """Header of one DICOM image.

    Attributes:
        path: its file.
        frame: which image of the file it is, from 0.
        tags: the tags listed in `TAGS`, values separated by backslashes, "" where absent.
        pixels: where the file's pixel data lie.
    """

    path: Path
    frame: int
    tags: dict[str, str]
    pixels: PixelPlace

    def numbers(self, tag: str) -> np.ndarray:
        """Return a tag's finite numbers; empty where absent or not numbers."""
        try:
            values = np.array([float(part) for part in self.tags[tag].split("\\")])
        except ValueError:
            return np.empty(0)
        return values if np.isfinite(values).all() else np.empty(0)

    def whole(self, tag: str, default: int = 0) -> int:
        """Return a tag's first number as an integer."""
        values = self.numbers(tag)
        return int(values[0]) if values.size else default

    def word(self, tag: str) -> str:
        return self.tags[tag].upper()

    @property
    def columns_rows(self) -> tuple[int, int]:
        return self.whole("columns"), self.whole("rows")

    @property
    def frame_count(self) -> int:
        return max(self.whole("frame_count", 1), 1)

    @property
    def bits_allocated(self) -> int:
        return self.whole("bits_allocated", 16)

    @property
    def bits_stored(self) -> int:
        return self.whole("bits_stored", self.bits_allocated)

    @property
    def high_bit(self) -> int:
        return self.whole("high_bit", self.bits_stored - 1)

    @property
    def is_signed(self) -> bool:
        return self.whole("pixel_representation") == 1

    @property
    def rescale(self) -> tuple[float, float] | None:
        """Slope and intercept; None where the header does not give both."""
        slope, intercept = self.numbers("rescale_slope"), self.numbers("rescale_intercept")
        return (float(slope[0]), float(intercept[0])) if slope.size and intercept.size else None

    @cached_property
    def pixel_spacing_mm(self) -> np.ndarray | None:
        """Between rows, then between columns; None where the header has none."""
        spacing = self.numbers("pixel_spacing")
        return spacing if spacing.size == 2 and (spacing > 0).all() else None

    @cached_property
    def position_mm(self) -> np.ndarray | None:
        position = self.numbers("position")
        return position if position.size == 3 else None

    @cached_property
    def direction(self) -> np.ndarray | None:
        """3×3: along a row, along a column, normal; None where the header has none."""
        cosines = self.numbers("orientation")
        if cosines.size != 6 or np.abs(cosines).max() > 2.0:
            return None
        row, column = cosines[:3], cosines[3:]
        # Skewed vectors can have a normal of length 1, too.
        products = np.array([row @ row - 1.0, column @ column - 1.0, row @ column])
        if np.abs(products).max() > COSINE_TOLERANCE:
            return None
        normal = np.cross(row, column)
        length = np.linalg.norm(normal)
        if abs(length - 1.0) > SAME_ORIENTATION:
            return None
        normal = normal / length
        row = row / np.linalg.norm(row)
        # + 0.0 turns −0.0 into 0.0.
        return np.column_stack([row, np.cross(normal, row), normal]) + 0.0

    @cached_property
    def stated_place(self) -> Place | None:
        """Where it lies; None where the header does not say all of it."""
        if self.position_mm is None or self.direction is None or self.pixel_spacing_mm is None:
            return None
        return Place(self.position_mm, self.direction, self.pixel_spacing_mm)

    @property
    def place(self) -> Place:
        """Where it lies, once the header was checked for saying so."""
        assert self.stated_place is not None
        return self.stated_place

    @property
    def is_localizer(self) -> bool:
        return "LOCALIZER" in self.word("image_type").split("\\")

    def is_stackable_with(self, other: SliceHeader) -> bool:
        """Tell whether both are slices of one series, parallel and of one size."""
        if self.tags["series_uid"] != other.tags["series_uid"]:
            return False
        if self.columns_rows != other.columns_rows or self.is_localizer != other.is_localizer:
            return False
        if self.stated_place is None or other.stated_place is None:
            return self.stated_place is other.stated_place
        return self.stated_place.is_parallel_to(other.stated_place)


def counted(count: int, noun: str) -> str:
    """Return such as "1 slice" or "3 slices"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def is_dicom(path: Path) -> bool:
    """Tell by its first bytes whether a file is DICOM; what is no regular file is not.

    Raises:
        OSError: the file cannot be opened.
    """
    if not is_regular_file(path):
        return False
    with path.open("rb") as file:
        return begins_like_dicom(file.read(START_SIZE))


def is_named_dicom(path: Path) -> bool:
    """Tell by its name whether a file is meant as DICOM, whatever is left of it."""
    return path.suffix.lower() in DICOM_SUFFIXES


def read_headers(path: Path) -> list[SliceHeader] | DamagedFile:
    """Read the headers of the images in a file: none where it is no DICOM image.

    A multi-frame CT gives one header a frame; other kinds of multi-frame files one for all.

    Raises:
        OSError: the file cannot be opened.
    """
    if not is_dicom(path):
        # A slice cut off within its first bytes still has its name.
        if is_named_dicom(path):
            return DamagedFile(path, "truncated or damaged")
        return []
    try:
        with open_dataset(path) as file:
            elements = read_elements(file, WANTED)
    except BadElements as error:
        return _damaged_image(path, _texts(error.values, is_little_endian=True), error.reason)
    tags = _texts(elements.values, elements.is_little_endian)
    if elements.pixels is None:
        # Reports, plans and the like are DICOM without pixels; only a CT image should have some.
        return [] if _is_another_kind(tags) else _damaged_image(path, tags, "without pixel data")
    header = SliceHeader(path, 0, tags, elements.pixels)
    if header.word("modality") != "CT":
        return [header]
    problem = _pixel_problem(header)
    if problem:
        return _damaged_image(path, tags, problem)
    return _frames(header, elements)


def _damaged_image(path: Path, tags: dict[str, str], reason: str) -> DamagedFile:
    return DamagedFile(path, reason, tags["series_uid"], not _is_another_kind(tags))


def _is_another_kind(tags: dict[str, str]) -> bool:
    stated = tags["storage_class"] or tags["media_storage_class"]
    return stated not in CT_STORAGE_CLASSES and STORAGE_CLASS.fullmatch(stated) is not None


def _texts(values: dict[int, Value], is_little_endian: bool) -> dict[str, str]:
    texts = dict.fromkeys(TAGS, "")
    charset = values.get(TAGS["character_set"][0], b"")
    for tag, value in values.items():
        name = NAMES.get(tag)
        if name and isinstance(value, bytes):
            texts[name] = _text(value, TAGS[name][1], is_little_endian, charset)
    return texts


def _text(value: bytes, vr: str, is_little_endian: bool, charset: Value) -> str:
    if vr == "US":
        # Padding of 32-bit pixels is longer than its kind says; it is not needed.
        count = len(value) // 2
        order = "<" if is_little_endian else ">"
        return "\\".join(map(str, struct.unpack(f"{order}{count}H", value[: 2 * count])))
    text = value.decode("latin-1")
    if vr in ("LO", "PN") and not text.isascii() and isinstance(charset, bytes):
        text = _decoded(value, charset) or text
    # Headers reach terminals and pages; what is no text stays out.
    return "".join(filter(str.isprintable, text)).strip()


def _decoded(value: bytes, charset: bytes) -> str:
    from pydicom.charset import convert_encodings, decode_bytes

    names = [name.strip(" \0") for name in charset.decode("latin-1").split("\\")]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return decode_bytes(value, convert_encodings(names), set())
    except (LookupError, ValueError, TypeError):
        return ""


def _pixel_problem(header: SliceHeader) -> str:
    """Tell why the pixel data cannot be those of the header; "" where they can."""
    columns, rows = header.columns_rows
    if not (0 < columns <= LARGEST_SIDE and 0 < rows <= LARGEST_SIDE):
        return f"an image of {columns} × {rows} pixels"
    if header.frame_count > MOST_FRAMES:
        return f"it states {header.frame_count} frames"
    fragments = header.pixels.fragments
    is_native = header.pixels.syntax in NATIVE_SYNTAXES
    if is_native != (fragments is None):
        return "its pixel data are not packed as its header says"
    if fragments is not None:
        has_all = len(fragments) > header.frame_count and header.pixels.length > 0
        return "" if has_all else "its pixel data are not all there"
    if header.bits_allocated % 8:
        return ""
    samples = header.whole("samples_per_pixel", 1)
    row = columns * samples * header.bits_allocated // 8
    needed = row * rows * header.frame_count
    if header.pixels.length < needed:
        return f"it has {header.pixels.length} bytes of pixel data where {needed} belong"
    if header.pixels.length >= needed + row:
        return f"it has {header.pixels.length} bytes of pixel data where {needed} belong"
    return ""


def _frames(header: SliceHeader, elements: Elements) -> list[SliceHeader] | DamagedFile:
    """One header a frame: what the file says of all, then of all frames, then of the frame."""
    shared = _group_tags(elements.values.get(SHARED_GROUPS_TAG), elements.is_little_endian)
    groups = elements.values.get(FRAME_GROUPS_TAG, [])
    if not groups or not isinstance(groups, list):
        # An old kind of multi-frame file: nothing says where its frames lie.
        return [header]
    if len(groups) != header.frame_count:
        return _damaged_image(header.path, header.tags, "its header lacks some frames")
    common = {**header.tags, **(shared[0] if shared else {})}
    frames = []
    for index, own in enumerate(_group_tags(groups, elements.is_little_endian)):
        tags = {**common, **own}
        if tags["frame_acquisition_number"]:
            tags["acquisition_number"] = tags["frame_acquisition_number"]
        tags["instance_number"] = str(index + 1)
        frames.append(SliceHeader(header.path, index, tags, header.pixels))
    return frames


def _group_tags(groups: Value | None, is_little_endian: bool) -> list[dict[str, str]]:
    """What each item of a functional groups sequence says, only what it does say."""
    return [
        {name: text for name, text in _texts(inner, is_little_endian).items() if text}
        for inner in map(_flat, groups if isinstance(groups, list) else [])
    ]


def _flat(groups: dict[int, Value]) -> dict[int, Value]:
    """The elements within an item's groups, one level down."""
    flat: dict[int, Value] = {}
    for value in groups.values():
        if isinstance(value, list):
            for item in _items(value):
                flat.update(item)
    return flat


def _items(value: Iterable[dict[int, Value]]) -> Iterable[dict[int, Value]]:
    return (item for item in value if isinstance(item, dict))
