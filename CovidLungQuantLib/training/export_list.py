"""Scans with their segmentations from files into a training set: one, or a list of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.errors import BadInputError, Cancelled, CovidLungQuantError
from CovidLungQuantLib.files.names import RESULT_FILE, SEGMENTATION_FILE
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.progress import ProgressCallback, no_progress
from CovidLungQuantLib.quantification import Provenance
from CovidLungQuantLib.training.export import check_layout, check_same_patient, export_training_case
from CovidLungQuantLib.vetting import parse_csv_rows, read_json, read_text

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


@dataclass(frozen=True)
class ExportedScan:
    """What became of a scan: `case` is its name in the training set, or None and the reason."""

    item: ExportItem
    case: str | None
    reason: str = ""


def export_scans(
    items: Sequence[ExportItem],
    dataset: Path,
    *,
    layout: str | None = None,
    new_version: bool = False,
    same_patient_as: str | None = None,
    leave_out: bool = False,
    tell: Callable[[ExportedScan], None] = lambda scan: None,
    progress: ProgressCallback = no_progress,
) -> list[ExportedScan]:
    """Add scans to a training set one after the other.

    Args:
        items: what to add; scans that share a `patient` become cases of one patient.
        dataset: folder of the training set; made where there is none.
        layout: "covidlungquant" or "nnunet"; None is that of the training set.
        new_version: add scans that are there already again.
        same_patient_as: a case of the same patient, for scans without `patient`.
        leave_out: go on with the others where a scan cannot be added, instead of raising.
        tell: called after each scan.
        progress: called before each scan; may raise `Cancelled`.

    Returns:
        One for each item, in their order.

    Raises:
        BadInputError: another layout than the training set's, no such case, or a scan cannot be
            added and is not to be left out.
    """
    layout = check_layout(dataset, layout)
    check_same_patient(Path(dataset).expanduser().absolute(), same_patient_as)
    exported = []
    case_of_patient: dict[str | None, str | None] = {None: same_patient_as}
    for index, item in enumerate(items):
        progress(index / len(items), f"Adding scan {index + 1} of {len(items)}")
        try:
            fellow = case_of_patient.get(item.patient)
            case = export_item(item, dataset, layout, new_version, fellow)
        except Cancelled:
            raise
        except CovidLungQuantError as error:
            if not leave_out:
                raise
            exported.append(ExportedScan(item, None, str(error)))
        else:
            case_of_patient.setdefault(item.patient, case)
            exported.append(ExportedScan(item, case))
        tell(exported[-1])
    progress(1.0, "Added")
    return exported


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
        values = read_json(file)["provenance"]
        return None if values is None else Provenance(**values)
    except (BadInputError, KeyError, TypeError) as error:
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
        text = read_text(file)
        delimiter = ";" if ";" in text.partition("\n")[0] else ","
        rows = parse_csv_rows(text, file.name, delimiter)
    except BadInputError as error:
        raise BadInputError(f"{file.name} cannot be read; give a CSV file in UTF-8.") from error
    columns = rows[0][1] if rows else []
    known = (*NEEDED_COLUMNS, *OPTIONAL_COLUMNS)
    if not set(NEEDED_COLUMNS) <= set(columns) or not set(columns) <= set(known):
        raise BadInputError(
            f"{file.name} needs the columns {' and '.join(NEEDED_COLUMNS)} and may have "
            f"{', '.join(OPTIONAL_COLUMNS)}; name them so in its first line."
        )
    items = []
    for number, row in enumerate((row for _, row in rows[1:]), start=2):
        row += [""] * (len(columns) - len(row))
        cells = {name: cell.strip() for name, cell in zip(columns, row, strict=False)}
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


def _segmentation_file(path: Path) -> Path:
    """The file a path stands for: itself, or the segmentation in a folder of results."""
    return path / SEGMENTATION_FILE if path.is_dir() else path
