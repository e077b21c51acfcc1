"""`covidlungquant export`: one scan, or a list of them, into a training set."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.errors import BadInputError, Cancelled, CovidLungQuantError
from CovidLungQuantLib.files.names import RESULT_FILE, SEGMENTATION_FILE
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.quantification import Provenance
from CovidLungQuantLib.training.export import (
    check_layout,
    check_same_patient,
    export_training_case,
)

NEEDED_COLUMNS = ("ct", "segmentation")
OPTIONAL_COLUMNS = ("machine", "reader", "series", "patient")


@dataclass(frozen=True)
class ExportItem:
    """One scan to add: paths as for `covidlungquant export`, None where not given.

    `patient` is any word that scans of one patient share in a list; it is not written anywhere.
    """

    ct: Path
    segmentation: Path
    machine: Path | None = None
    reader: str | None = None
    series: str | None = None
    patient: str | None = None


def run(chosen: argparse.Namespace, progress: Callable[[float, str], None]) -> list[str]:
    """Add what the options name; returns the names of the cases.

    A scan of a list that cannot be added is printed and left out, and the others go on.

    Raises:
        BadInputError: the options or the list cannot be used, or scans were left out.
    """
    items = _items(chosen)
    layout = check_layout(chosen.output, chosen.layout)
    check_same_patient(Path(chosen.output).expanduser().absolute(), chosen.same_patient_as)
    names: list[str] = []
    case_of_patient: dict[str | None, str | None] = {None: chosen.same_patient_as}
    for index, item in enumerate(items):
        progress(index / len(items), f"Adding scan {index + 1} of {len(items)}")
        try:
            fellow = case_of_patient.get(item.patient)
            names.append(export_item(item, chosen.output, layout, chosen.new_version, fellow))
        except Cancelled:
            raise
        except CovidLungQuantError as error:
            if chosen.list is None:
                raise
            print(f"Left out: {item.ct.name}: {error}")
        else:
            case_of_patient.setdefault(item.patient, names[-1])
            print(f"{names[-1]}  {item.ct.name}")
    progress(1.0, "Added")
    if len(names) < len(items):
        raise BadInputError(
            f"{len(items) - len(names)} of {len(items)} scans were left out, for the reasons "
            "above; correct the list and run it again with the scans left out."
        )
    return names


def export_item(
    item: ExportItem,
    dataset: Path,
    layout: str | None,
    new_version: bool,
    same_patient_as: str | None = None,
) -> str:
    """Read one scan with its segmentations and add it; raises as `export_training_case`."""
    ct = read_ct(item.ct, item.series)
    labels, _ = read_segmentation(_segmentation_file(item.segmentation), ct.geometry)
    machine_labels = None
    if item.machine is not None:
        machine_labels, _ = read_segmentation(_segmentation_file(item.machine), ct.geometry)
    return export_training_case(
        dataset,
        ct,
        labels,
        machine_labels,
        provenance_beside(item.machine or item.segmentation),
        item.reader,
        layout,
        new_version,
        same_patient_as,
    )


def provenance_beside(segmentation: Path) -> Provenance | None:
    """What made a segmentation, from the `result.json` in its folder; None where there is none."""
    file = _segmentation_file(segmentation).parent / RESULT_FILE
    if _segmentation_file(segmentation).name != SEGMENTATION_FILE or not file.exists():
        return None
    try:
        values = json.loads(file.read_text(encoding="utf-8"))["provenance"]
        return None if values is None else Provenance(**values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInputError(
            f"{RESULT_FILE} beside {segmentation.name} cannot be read; give the segmentation in a "
            "folder of its own."
        ) from error


def read_list(file: Path) -> list[ExportItem]:
    """Scans of a CSV list; relative paths are taken from the list's folder.

    Raises:
        BadInputError: it cannot be read, or a column or cell is missing.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{file.name} cannot be read; give a CSV file in UTF-8.") from error
    lines = text.splitlines()
    delimiter = ";" if lines and ";" in lines[0] else ","
    table = csv.DictReader(lines, delimiter=delimiter)
    columns = table.fieldnames or []
    known = (*NEEDED_COLUMNS, *OPTIONAL_COLUMNS)
    if not set(NEEDED_COLUMNS) <= set(columns) or not set(columns) <= set(known):
        raise BadInputError(
            f"{file.name} needs the columns {' and '.join(NEEDED_COLUMNS)} and may have "
            f"{', '.join(OPTIONAL_COLUMNS)}; name them so in its first line."
        )
    items = []
    for number, row in enumerate(table, start=2):
        cells = {name: (row[name] or "").strip() for name in columns}
        if not all(cells[name] for name in NEEDED_COLUMNS):
            raise BadInputError(
                f"Line {number} of {file.name} lacks the {' or '.join(NEEDED_COLUMNS)}; fill it in."
            )
        machine = cells.get("machine")
        items.append(
            ExportItem(
                file.parent / cells["ct"],
                file.parent / cells["segmentation"],
                file.parent / machine if machine else None,
                cells.get("reader") or None,
                cells.get("series") or None,
                cells.get("patient") or None,
            )
        )
    if not items:
        raise BadInputError(f"{file.name} lists no scan; add one line for each.")
    return items


def _items(chosen: argparse.Namespace) -> list[ExportItem]:
    if chosen.list is None:
        if chosen.ct is None or chosen.segmentation is None:
            raise BadInputError("Give CT and SEGMENTATION, or a list of them with --list.")
        return [
            ExportItem(chosen.ct, chosen.segmentation, chosen.machine, chosen.reader, chosen.series)
        ]
    for_one = (chosen.ct, chosen.machine, chosen.series, chosen.same_patient_as)
    if any(given is not None for given in for_one):
        raise BadInputError(
            "With --list, scans, segmentations, series and patients stand in the list; leave them "
            "out of the command."
        )
    items = read_list(chosen.list)
    return [replace(item, reader=item.reader or chosen.reader) for item in items]


def _segmentation_file(path: Path) -> Path:
    """The file a path stands for: itself, or the segmentation in a folder of results."""
    return path / SEGMENTATION_FILE if path.is_dir() else path
