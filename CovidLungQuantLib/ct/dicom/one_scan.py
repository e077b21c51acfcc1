"""Whether slices are those of one CT scan in Hounsfield units, as far as their headers tell."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np

from CovidLungQuantLib.ct.checks import not_hounsfield_message
from CovidLungQuantLib.ct.dicom.codestreams import COMPRESSED_SYNTAXES
from CovidLungQuantLib.ct.dicom.elements import NATIVE_SYNTAXES
from CovidLungQuantLib.ct.dicom.headers import SliceHeader, counted
from CovidLungQuantLib.ct.dicom.pixels import read_hounsfield
from CovidLungQuantLib.ct.volume import ScanWarning
from CovidLungQuantLib.errors import BadInputError

# "US" is unspecified: some archives write it for HU; the values tell.
HOUNSFIELD_RESCALE_TYPES = ("", "HU", "HU_MOD", "US")
CELL_BITS = (16, 32)
# Scanners that choose the scale slice by slice do so for many.
USUAL_RESCALE_SHARE = 0.8

# What two copies of one slice must agree in, besides their values.
SAME_IN_COPIES = ("orientation", "pixel_spacing", "rows", "columns")
SAME_PLACE_MM = 0.01
# From this length on, a part of a series may be a chest by itself.
LONG_PART_MM = 100.0
REPEATED_SHARE = 0.3


def check_header(slices: Sequence[SliceHeader], name: str) -> None:
    """Refuse what is no CT in Hounsfield units at known places.

    Raises:
        BadInputError: in colour, of 8 bits, without voxel size or place, in an unknown compression,
            or without the numbers that make Hounsfield units.
    """
    for item in slices:
        _check_kind(item, name)
        _check_cells(item, name)
        if item.pixel_spacing_mm is None:
            raise BadInputError(
                f'The header of "{name}" gives no pixel spacing, so nothing can be measured;'
                " export the original series."
            )
        if item.stated_place is None:
            raise BadInputError(
                f'The header of "{name}" does not say where its slices lie; export the original'
                " series."
            )
    _check_rescale(slices, name)


def check_identity(slices: Sequence[SliceHeader], name: str) -> None:
    """Refuse slices of several patients, studies or frames of reference under one series.

    Raises:
        BadInputError: they are.
    """
    patients = max(len(_stated(slices, tag)) for tag in ("patient_id", "birth_date"))
    names = {item.word("patient_name").split("=")[0].strip("^ ") for item in slices} - {""}
    patients = max(patients, len(names))
    if patients > 1:
        raise BadInputError(_several_message(name, f"{patients} patients"))
    studies = _stated(slices, "study_uid")
    if len(studies) > 1:
        raise BadInputError(_several_message(name, f"{len(studies)} studies"))
    frames = _stated(slices, "frame_of_reference_uid")
    if len(frames) > 1:
        raise BadInputError(
            _several_message(
                name, f"{len(frames)} frames of reference, whose places do not compare"
            )
        )


def without_copies(
    slices: Sequence[SliceHeader], name: str
) -> tuple[list[SliceHeader], list[ScanWarning]]:
    """Drop identical copies: of one SOPInstanceUID, at one place and with the same values.

    Returns:
        slices: the rest, in order.
        warnings: what was dropped; and where different slices share a SOPInstanceUID.

    Raises:
        BadInputError: two images of one SOPInstanceUID and place differ.
    """
    by_uid: dict[tuple[str, int], list[SliceHeader]] = defaultdict(list)
    kept = []
    for item in slices:
        same_uid = by_uid[item.tags["instance_uid"], item.frame]
        original = next((other for other in same_uid if _is_at_place_of(item, other)), None)
        if original is None or not item.tags["instance_uid"]:
            kept.append(item)
            same_uid.append(item)
        elif not _is_copy(item, original, name):
            raise BadInputError(
                f'"{name}" holds two different images of one slice ({original.path.name} and'
                f" {item.path.name} have the same SOPInstanceUID); give the original series alone."
            )
    warnings = []
    dropped = len(slices) - len(kept)
    if dropped:
        warnings.append(
            ScanWarning(
                "copies_dropped",
                f"{counted(dropped, 'file')} of the series were identical copies of others and"
                " were left out.",
            )
        )
    if any(uid and len(items) > 1 for (uid, _), items in by_uid.items()):
        warnings.append(
            ScanWarning(
                "instance_uids_repeated",
                "Different slices of the series have the same SOPInstanceUID; they were told apart"
                " by their places.",
            )
        )
    return kept, warnings


def check_acquisitions(slices: Sequence[SliceHeader], name: str) -> list[ScanWarning]:
    """Refuse scans that are mixed with each other; tell where one follows the other.

    Scanners that move the table between slices may count each stop as an acquisition, so several
    numbers are no fault while each has a part of the body for itself.

    Args:
        slices: in order of their places.
        name: of the scan.

    Raises:
        BadInputError: slices of several acquisitions lie among each other.
    """
    numbers = [item.tags["acquisition_number"] for item in slices]
    parts = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1]), len(numbers)]
    if len(parts) - 1 > len(set(numbers)):
        raise BadInputError(
            f'"{name}" mixes slices of {len(set(numbers))} acquisitions in one series; export each'
            " acquisition by itself."
        )
    instances = {item.tags["instance_number"] for item in slices}
    adjacent = sum(_share_number(a, b) for a, b in itertools.pairwise(slices))
    if len(instances) > 1 and adjacent > REPEATED_SHARE * len(slices):
        raise BadInputError(
            f'"{name}" mixes slices of two scans in one series (their instance numbers occur'
            " twice, side by side); export each scan by itself."
        )
    lengths_mm = [
        float(np.linalg.norm(slices[end - 1].place.position_mm - slices[start].place.position_mm))
        for start, end in itertools.pairwise(parts)
    ]
    if sum(length >= LONG_PART_MM for length in lengths_mm) < 2:
        return _repeated_numbers_warnings(slices)
    return [
        ScanWarning(
            "acquisitions_joined",
            f"The series joins {len(lengths_mm)} acquisitions, one above the other; look whether"
            " they are one scan of one breath.",
        )
    ]


def _repeated_numbers_warnings(slices: Sequence[SliceHeader]) -> list[ScanWarning]:
    numbers = [item.tags["instance_number"] for item in slices if item.tags["instance_number"]]
    repeated = len(numbers) - len(set(numbers))
    if len(set(numbers)) < 2 or repeated <= REPEATED_SHARE * len(slices):
        return []
    return [
        ScanWarning(
            "acquisitions_joined",
            "The instance numbers of the series occur more than once, as where two scans were"
            " joined; look whether it is one scan of one breath.",
        )
    ]


def conversion_warnings(slices: Sequence[SliceHeader]) -> list[ScanWarning]:
    """Tell where Hounsfield units had to be found in an unusual way."""
    warnings = []
    if all(item.rescale is None for item in slices):
        warnings.append(
            ScanWarning(
                "rescale_missing",
                "The header gives no rescale slope and intercept; the stored values look like"
                " Hounsfield units and were taken as such.",
            )
        )
    kinds = {
        (item.rescale, item.is_signed, item.bits_stored, item.word("photometric"))
        for item in slices
    }
    if len(kinds) > 1:
        warnings.append(
            ScanWarning(
                "conversion_differs",
                "The slices are stored in different ways (rescale slope and intercept, sign or"
                " bits); each was converted by its own header.",
            )
        )
    return warnings


def _stated(slices: Sequence[SliceHeader], tag: str) -> set[str]:
    return {item.word(tag).strip() for item in slices} - {""}


def _several_message(name: str, what: str) -> str:
    return (
        f'"{name}" holds slices of {what} under one SeriesInstanceUID; export each scan by itself.'
    )


def _check_kind(item: SliceHeader, name: str) -> None:
    if item.whole("samples_per_pixel", 1) != 1 or not item.word("photometric").startswith(
        "MONOCHROME"
    ):
        raise BadInputError(f'"{name}" holds colour images; choose the original CT series.')
    if item.bits_stored <= 8:
        raise BadInputError(not_hounsfield_message(name, "it has only 8 bits per voxel"))
    if item.word("rescale_type") not in HOUNSFIELD_RESCALE_TYPES:
        raise BadInputError(
            not_hounsfield_message(name, f"its header says {item.tags['rescale_type'][:32]}")
        )


def _check_cells(item: SliceHeader, name: str) -> None:
    is_sound = (
        item.bits_allocated in CELL_BITS
        and item.bits_stored <= item.high_bit + 1 <= item.bits_allocated
        and item.whole("pixel_representation") in (0, 1)
    )
    if not is_sound:
        raise BadInputError(
            f'The header of "{name}" contradicts itself ({item.bits_stored} of'
            f" {item.bits_allocated} bits stored, the highest is {item.high_bit}); export the"
            " original series."
        )
    if item.pixels.syntax not in (*NATIVE_SYNTAXES, *COMPRESSED_SYNTAXES):
        raise BadInputError(
            f'"{name}" is in an unknown compression; export the scan again, uncompressed.'
        )


def _check_rescale(slices: Sequence[SliceHeader], name: str) -> None:
    lacking = sum(item.rescale is None for item in slices)
    if 0 < lacking < len(slices):
        raise BadInputError(
            not_hounsfield_message(
                name,
                f"the headers of {lacking} of {len(slices)} slices give no rescale slope and"
                " intercept",
            )
        )
    if lacking and not all(item.is_signed for item in slices):
        raise BadInputError(
            not_hounsfield_message(name, "its header gives no rescale slope and intercept")
        )
    _check_odd_rescale(slices, name)
    if any(item.rescale is not None and item.rescale[0] <= 0 for item in slices):
        raise BadInputError(
            not_hounsfield_message(name, "its header gives a rescale slope that is not above 0")
        )


def _check_odd_rescale(slices: Sequence[SliceHeader], name: str) -> None:
    """Refuse a few slices that are scaled unlike all others: their headers are damaged."""
    counts = Counter(item.rescale for item in slices)
    usual, count = counts.most_common(1)[0]
    if USUAL_RESCALE_SHARE * len(slices) < count < len(slices):
        odd = next(item for item in slices if item.rescale != usual)
        raise BadInputError(
            f'{counted(len(slices) - count, "slice")} of "{name}", of {len(slices)}, have another'
            f" rescale slope or intercept than all others (the first is {odd.path.name}); export"
            " the original series."
        )


def _share_number(item: SliceHeader, other: SliceHeader) -> bool:
    """Tell whether two slices at different places have one instance number."""
    number = item.tags["instance_number"]
    is_same = number == other.tags["instance_number"] != ""
    return is_same and not _is_at_place_of(item, other)


def _is_at_place_of(item: SliceHeader, other: SliceHeader) -> bool:
    return bool(np.abs(item.place.position_mm - other.place.position_mm).max() < SAME_PLACE_MM)


def _is_copy(item: SliceHeader, other: SliceHeader, name: str) -> bool:
    if not all(np.array_equal(item.numbers(tag), other.numbers(tag)) for tag in SAME_IN_COPIES):
        return False
    hu, _ = read_hounsfield([item, other], name)
    return bool(np.array_equal(hu[0], hu[1]))
