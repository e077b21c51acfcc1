"""Recognising the lobes in a label map that another tool or a person made.

Files and Slicer's scene share this. Lobes are known by terminology, else by name, else by the
values that tools are known to use; what is found must then lie as lobes do. Arrays are (z, y, x)
and upright: x grows to the patient's Left, y to Posterior, z to Superior.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    LEFT,
    LEFT_LOWER_LOBE,
    LEFT_UPPER_LOBE,
    LOBES,
    LOWER_LOBE,
    MIDDLE_LOBE,
    RIGHT,
    RIGHT_LOWER_LOBE,
    RIGHT_MIDDLE_LOBE,
    RIGHT_UPPER_LOBE,
    UPPER_LOBE,
    Lobe,
)

Spacing = tuple[float, float, float]

_RUL, _RML, _RLL = RIGHT_UPPER_LOBE, RIGHT_MIDDLE_LOBE, RIGHT_LOWER_LOBE
_LUL, _LLL = LEFT_UPPER_LOBE, LEFT_LOWER_LOBE

# Values by which tools write lobes, where a file says nothing more. Chest Imaging Platform keeps
# the region in the low byte of a value and what lies there (vessel, airway …) in the high byte.
CHEST_IMAGING_PLATFORM = "Chest Imaging Platform"
CONVENTIONS: dict[str, dict[int, Lobe]] = {
    "CovidLungQuant": {lobe.value: lobe for lobe in LOBES},
    "lungmask LTRCLobes": {1: _LUL, 2: _LLL, 3: _RUL, 4: _RML, 5: _RLL},
    CHEST_IMAGING_PLATFORM: {4: _RUL, 5: _RML, 6: _RLL, 7: _LUL, 8: _LLL},
    "TotalSegmentator": {10: _LUL, 11: _LLL, 12: _RUL, 13: _RML, 14: _RLL},
    "TotalSegmentator 1": {13: _LUL, 14: _LLL, 15: _RUL, 16: _RML, 17: _RLL},
}
REGION_BITS = 0xFF
# Chest Imaging Platform's thirds of the lungs (9…14) lie much as TotalSegmentator's lobes (10…14)
# do, but its 9 is the top of the left lung, TotalSegmentator's an adrenal gland, far below.
TOP_THIRD_VALUE, MIDDLE_THIRD_VALUE = 9, 10

_LOBES_BY_SHORT_NAME = {lobe.short_name: lobe for lobe in LOBES}

# Codes of DICOM's context group 6170 (SNOMED, and SRT in older files), which come with a code for
# the side; and SNOMED's codes that have the side in them.
_SIDES_BY_CODE = {RIGHT.value: "R", "G-A100": "R", LEFT.value: "L", "G-A101": "L"}
_LEVELS_BY_CODE = {UPPER_LOBE.value: "U", "T-28820": "U", LOWER_LOBE.value: "L", "T-28830": "L"}
_LOBES_BY_CODE = {
    MIDDLE_LOBE.value: _RML,
    "T-28300": _RML,
    "42400003": _RUL,
    "266005": _RLL,
    "44714003": _LUL,
    "41224006": _LLL,
}

_SIDES_BY_WORD = {"right": "R", "left": "L"}
_LEVELS_BY_WORD = {"upper": "U", "superior": "U", "middle": "M", "lower": "L", "inferior": "L"}
_OTHER_WORDS = {"lung", "lobe", "of", "the"}

SMALLEST_LOBE_ML = 1.0
# Values of a label map are counted one by one where they lie within so many numbers.
_MOST_COUNTED_VALUES = 1 << 16


@dataclass(frozen=True)
class SegmentName:
    """What a file or node says about one segment; `terminology` is its TerminologyEntry or ""."""

    name: str
    terminology: str = ""


def lobe_of_segment(segment: SegmentName) -> Lobe | None:
    """The lobe a segment stands for, by its terminology, else its name; None if neither says."""
    return _lobe_of_terminology(segment.terminology) or _lobe_of_name(segment.name)


def _lobe_of_terminology(entry: str) -> Lobe | None:
    """By the type of a TerminologyEntry and its modifier; a finding in a lobe is no lobe."""
    parts = [part.split("^") for part in entry.split("~")]
    codes = [part[1] if len(part) > 1 else "" for part in parts]
    if len(codes) < 3:
        return None
    side = _SIDES_BY_CODE.get(codes[3]) if len(codes) > 3 else None
    level = _LEVELS_BY_CODE.get(codes[2])
    return _LOBES_BY_CODE.get(codes[2]) or _LOBES_BY_SHORT_NAME.get(f"{side}{level}L")


def _lobe_of_name(name: str) -> Lobe | None:
    """By names such as "left upper lobe", "lung_upper_lobe_left", "RightSuperiorLobe" or "RUL"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    rest = set(words) - _OTHER_WORDS
    if len(rest) == 1:
        return _LOBES_BY_SHORT_NAME.get(rest.pop().upper())
    side = [_SIDES_BY_WORD[word] for word in rest if word in _SIDES_BY_WORD]
    level = [_LEVELS_BY_WORD[word] for word in rest if word in _LEVELS_BY_WORD]
    if "lobe" not in words or len(rest) != 2 or len(side) != 1 or len(level) != 1:
        return None
    return _LOBES_BY_SHORT_NAME.get(f"{side[0]}{level[0]}L")


def recognise_lobes(
    labels: np.ndarray,
    spacing_mm: Spacing,
    segments: Mapping[int, SegmentName] | None = None,
    source: str = "The segmentation",
) -> np.ndarray:
    """Turn a label map with lobes in it into ours; everything else in it becomes 0.

    Args:
        labels: integers (z, y, x), upright.
        spacing_mm: voxel size (x, y, z).
        segments: what is said about each value, if anything is.
        source: what to call the label map in messages.

    Returns:
        uint8 (z, y, x), values of `labels.LOBES`.

    Raises:
        BadInputError: no lobes are recognised, they could be more than one tool's, or they do not
            lie as lobes do.
    """
    lobe_of_value = {
        value: lobe
        for value, segment in (segments or {}).items()
        if (lobe := lobe_of_segment(segment)) is not None
    }
    places = _places(labels, spacing_mm)
    if lobe_of_value:
        chosen = {value: lobe for value, lobe in lobe_of_value.items() if value in places}
        _check_complete(chosen, source)
        if not _lie_as_lobes(chosen, places):
            raise BadInputError(
                f"The lobes named in {source} do not lie where lobes lie (left and right or top "
                "and bottom may be exchanged); check its orientation and the names."
            )
        return _renamed(labels, chosen)
    fitting = {}
    for tool, convention in CONVENTIONS.items():
        values = {value: _lobe_by_convention(value, tool, convention) for value in places}
        chosen = {value: lobe for value, lobe in values.items() if lobe is not None}
        if (
            set(chosen.values()) == set(LOBES)
            and _lie_as_lobes(chosen, places)
            and not (MIDDLE_THIRD_VALUE in chosen and _are_thirds(places))
        ):
            fitting[tool] = chosen
    if not fitting:
        raise BadInputError(
            f"{source} holds no five lobes that are recognised by terminology, name or value; name "
            f"its segments {', '.join(lobe.name.lower() for lobe in LOBES)}."
        )
    if len(fitting) > 1:
        raise BadInputError(
            f"The values in {source} could be lobes of {' or of '.join(fitting)}; keep only the "
            "five lobes, or name the segments."
        )
    return _renamed(labels, next(iter(fitting.values())))


@dataclass(frozen=True)
class _Place:
    """Volume and centre (z, y, x), in mm, of the voxels of one value."""

    volume_ml: float
    centre_mm: tuple[float, float, float]


def _places(labels: np.ndarray, spacing_mm: Spacing) -> dict[int, _Place]:
    """Where each value other than 0 lies."""
    values, positions = _numbered(labels)
    counts = np.bincount(positions.ravel())
    sums = [np.zeros(len(values)) for _ in range(3)]
    for axis in range(3):
        # One plane at a time, so that a large label map needs no arrays of coordinates.
        for index, plane in enumerate(np.moveaxis(positions, axis, 0)):
            sums[axis] += index * np.bincount(plane.ravel(), minlength=len(values))
    z_mm, y_mm, x_mm = (
        sums[axis] / counts * step_mm for axis, step_mm in enumerate(spacing_mm[::-1])
    )
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    return {
        int(value): _Place(
            float(count) * voxel_ml,
            (float(z_mm[index]), float(y_mm[index]), float(x_mm[index])),
        )
        for index, (value, count) in enumerate(zip(values, counts, strict=True))
        if value != 0
    }


def _numbered(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The values of a label map, sorted, and which of them each voxel has."""
    lowest = int(labels.min())
    span = int(labels.max()) - lowest + 1
    if span > _MOST_COUNTED_VALUES:
        values, positions = np.unique(labels, return_inverse=True)
        return values, positions.reshape(labels.shape)
    # Sorting a whole scan, as `np.unique` does, takes twenty times as long.
    shifted = (labels.astype(np.int64) - lowest).astype(np.uint16)
    is_there = np.bincount(shifted.ravel(), minlength=span) > 0
    number = (np.cumsum(is_there) - 1).astype(np.uint16)
    return np.flatnonzero(is_there) + lowest, number[shifted]


def _lobe_by_convention(value: int, tool: str, convention: dict[int, Lobe]) -> Lobe | None:
    return convention.get(value & REGION_BITS if tool == CHEST_IMAGING_PLATFORM else value)


def _check_complete(chosen: dict[int, Lobe], source: str) -> None:
    missing = [lobe.name.lower() for lobe in LOBES if lobe not in chosen.values()]
    if missing:
        raise BadInputError(
            f"{source} has no {' and no '.join(missing)}; give a segmentation of all five lobes."
        )


def _are_thirds(places: dict[int, _Place]) -> bool:
    """Whether the values are Chest Imaging Platform's thirds of the lungs."""
    top, middle = (places.get(value) for value in (TOP_THIRD_VALUE, MIDDLE_THIRD_VALUE))
    return top is not None and middle is not None and top.centre_mm[0] > middle.centre_mm[0]


def _lie_as_lobes(chosen: dict[int, Lobe], places: dict[int, _Place]) -> bool:
    """Whether left lies left, upper above lower, and the middle lobe below and in front."""
    z: dict[Lobe, float] = {}
    y: dict[Lobe, float] = {}
    x: dict[Lobe, float] = {}
    for lobe in LOBES:
        parts = [places[value] for value, chosen_lobe in chosen.items() if chosen_lobe == lobe]
        volume_ml = sum(part.volume_ml for part in parts)
        if volume_ml < SMALLEST_LOBE_ML:
            return False
        for axis, centres in enumerate((z, y, x)):
            centres[lobe] = sum(part.volume_ml * part.centre_mm[axis] for part in parts) / volume_ml
    return (
        max(x[_RUL], x[_RML], x[_RLL]) < min(x[_LUL], x[_LLL])
        and z[_RUL] > max(z[_RML], z[_RLL])
        and z[_LUL] > z[_LLL]
        and y[_RML] < y[_RLL]
        and y[_LUL] < y[_LLL]
    )


def _renamed(labels: np.ndarray, chosen: dict[int, Lobe]) -> np.ndarray:
    lobes = np.zeros(labels.shape, np.uint8)
    for value, lobe in chosen.items():
        lobes[labels == value] = lobe.value
    return lobes
