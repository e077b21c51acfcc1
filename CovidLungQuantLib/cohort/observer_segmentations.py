"""Segmentations of the same cases by the software and several readers, in one or more sessions.

A list in CSV names them, one row a reading; paths are as seen from the list:

    case,reader,session,segmentation
    p01,automatic,1,results/p01/segmentation.seg.nrrd
    p01,reader1,1,anna/p01.seg.nrrd
    p01,reader1,2,anna-again/p01.seg.nrrd
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from CovidLungQuantLib.cohort.agreement import Summary, summarise
from CovidLungQuantLib.cohort.evaluation import CaseEvaluation, CasePair, evaluate_pair
from CovidLungQuantLib.cohort.reader_tables import (
    CASE_COLUMN,
    READER_COLUMN,
    SESSION_COLUMN,
    ReaderTable,
    observer_pairs,
    reading_name,
    session_number,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_delimited
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.measures.structures import LESION
from CovidLungQuantLib.progress import ProgressCallback, no_progress

SEGMENTATION_COLUMN = "segmentation"
DICE_STRUCTURES = (NORMAL_LUNG.name, GGO.name, HIGH_OPACITY.name, LESION)
MEASURED_STRUCTURES = (GGO.name, HIGH_OPACITY.name, LESION)
# Field of a comparison, its name, unit.
MEASURED = (("volume_ml", "volume", "mL"), ("extent_percent", "extent", "%"))


@dataclass(frozen=True)
class Overlap:
    """Dice of one structure between two readings, over the cases both have."""

    structure: str
    kind: str
    first: str
    second: str
    summary: Summary


@dataclass(frozen=True)
class CaseOverlap:
    """Dice of one structure between two readings of one case; NaN where both are empty."""

    case: str
    structure: str
    first: str
    second: str
    dice: float


@dataclass(frozen=True)
class ObserverSegmentations:
    """What the segmentations say of each other."""

    tables: tuple[ReaderTable, ...]
    overlaps: tuple[Overlap, ...]
    case_overlaps: tuple[CaseOverlap, ...]
    warnings: tuple[str, ...]


def read_segmentation_list(file: Path) -> dict[str, dict[str, Path]]:
    """Files by case and reading.

    Raises:
        BadInputError: with the line and what is wrong in it.
    """
    header, rows = read_delimited(file)
    for column in (CASE_COLUMN, READER_COLUMN, SEGMENTATION_COLUMN):
        if column not in header:
            raise BadInputError(
                f"{file.name} has no column “{column}”; its first line must name the columns "
                f"{CASE_COLUMN}, {READER_COLUMN}, {SESSION_COLUMN}, {SEGMENTATION_COLUMN}."
            )
    found: dict[str, dict[str, Path]] = {}
    for line, row in rows:
        case, reader, path = (
            row[name] for name in (CASE_COLUMN, READER_COLUMN, SEGMENTATION_COLUMN)
        )
        if not (case and reader and path):
            raise BadInputError(
                f"Line {line} of {file.name} lacks the case, the reader or the segmentation; "
                "complete it."
            )
        name = reading_name(reader, session_number(row.get(SESSION_COLUMN, ""), line, file.name))
        segmentation = file.parent / path
        if not segmentation.is_file():
            raise BadInputError(
                f"There is no segmentation {segmentation.name}, which line {line} of {file.name} "
                "names; check the path."
            )
        of_case = found.setdefault(case, {})
        if name in of_case:
            raise BadInputError(
                f"Line {line} of {file.name} names a reading of case {case} by {reader} a second "
                "time; number the sessions, or keep one of them."
            )
        of_case[name] = segmentation
    if not found:
        raise BadInputError(f"{file.name} names no segmentations; add one line a reading.")
    return found


def compare_segmentations(
    cases: dict[str, dict[str, Path]], progress: ProgressCallback = no_progress
) -> ObserverSegmentations:
    """Dice of every pair of readings, and each reading's volumes and extents as tables.

    Args:
        cases: as of `read_segmentation_list`.
        progress: progress callback; may raise `Cancelled`.

    Raises:
        BadInputError: nobody has two readings of a case, a file cannot be read, two do not lie on
            the same voxels, or one holds what a reading may not leave open.
    """
    readings = list(dict.fromkeys(name for of_case in cases.values() for name in of_case))
    pairs = observer_pairs(readings)
    wanted = [
        (case, kind, first, second)
        for case, of_case in cases.items()
        for kind, first, second in pairs
        if first in of_case and second in of_case
    ]
    if not wanted:
        raise BadInputError("No case has two readings that can be compared; add readings.")
    measured: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    overlaps: list[tuple[str, CaseOverlap]] = []
    warnings: list[str] = []
    for index, (case, kind, first, second) in enumerate(wanted):
        progress(index / len(wanted), f"Comparing {first} with {second} on {case}")
        found = evaluate_pair(CasePair(case, cases[case][first], cases[case][second]))
        _refuse_open_classes(found, second)
        warnings += [f"{case}: {warning}" for warning in found.warnings]
        overlaps += [
            (kind, CaseOverlap(case, name, first, second, found.structure(name).dice))
            for name in DICE_STRUCTURES
        ]
        for reading, prefix in ((first, ""), (second, "reference_")):
            measured.setdefault((case, reading), _measured(found, prefix))
    progress(1.0, "Compared")
    return ObserverSegmentations(
        tables=tuple(_tables(list(cases), readings, measured)),
        overlaps=tuple(_summed_up(overlaps)),
        case_overlaps=tuple(item for _, item in overlaps),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _refuse_open_classes(found: CaseEvaluation, reading: str) -> None:
    slices = {row.slices for row in found.structures}
    if len(slices) > 1:
        raise BadInputError(
            f"{found.reference_file} of case {found.case}, {reading}, holds lesions of unknown "
            "class, which readings that are compared may not; give each its class."
        )


def _measured(found: CaseEvaluation, prefix: str) -> dict[tuple[str, str], float]:
    return {
        (structure, field): getattr(found.structure(structure), f"{prefix}{field}")
        for structure in MEASURED_STRUCTURES
        for field, _, _ in MEASURED
    }


def _tables(
    cases: Sequence[str],
    readings: Sequence[str],
    measured: dict[tuple[str, str], dict[tuple[str, str], float]],
) -> list[ReaderTable]:
    return [
        ReaderTable(
            f"{structure} {name} ({unit})",
            tuple(cases),
            {
                reading: tuple(
                    measured.get((case, reading), {}).get((structure, field), math.nan)
                    for case in cases
                )
                for reading in readings
            },
        )
        for field, name, unit in MEASURED
        for structure in MEASURED_STRUCTURES
    ]


def _summed_up(overlaps: Sequence[tuple[str, CaseOverlap]]) -> list[Overlap]:
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for kind, item in overlaps:
        groups.setdefault((item.structure, kind, item.first, item.second), []).append(item.dice)
    return [Overlap(*key, summarise(values)) for key, values in groups.items()]
