"""Adding a corrected scan to a dataset that `covidlungquant train` or nnU-Net learns from.

A case holds the voxels, their geometry and what made the labels, and nothing else: files are
written from arrays, so that no patient name, id, date, UID or path of the scan can come along.
Cases are numbered. Nothing is ever overwritten: a scan that the dataset holds already is refused,
or added as a new version while the earlier one is moved to the folder `earlier`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.ct import CTVolume, lps_oriented
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import writing_error
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.names import CASE_CT_FILE, CASE_FILE, CASE_LABELS_FILE
from CovidLungQuantLib.files.tables import cell_text, csv_line, replace_text
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import BACKGROUND_VALUE, LABELS, is_lung
from CovidLungQuantLib.measures.correction import correction_of
from CovidLungQuantLib.outputs.replacing import recover, remove_empty, unfinished_folder
from CovidLungQuantLib.training.dataset import (
    CASE_COLUMN,
    COVIDLUNGQUANT_LAYOUT,
    LAYOUTS,
    MANIFEST_FILE_NAME,
    NNUNET_LAYOUT,
    PATIENT_COLUMN,
    case_names,
    layout_of,
    voxels_sha256,
)
from CovidLungQuantLib.training.nnunet import (
    DATASET_FILE_NAME,
    DEFAULT_ENDING,
    IMAGES_FOLDER_NAME,
    LABELS_FOLDER_NAME,
)
from CovidLungQuantLib.vetting import read_csv_dicts, read_csv_rows, read_json

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Provenance

EARLIER_FOLDER_NAME = "earlier"
# nnU-Net looks at none of these; they keep the record of each case.
RECORDS_FOLDER_NAME = "cases"
CASE_NAME = re.compile(r"case_(\d{4,})")


@dataclass(frozen=True)
class _CaseFiles:
    """Where the files of one case lie; a case is there once its labels are."""

    ct: Path
    record: Path
    labels: Path

    @property
    def in_order_of_writing(self) -> tuple[Path, Path, Path]:
        return self.ct, self.record, self.labels


def export_training_case(
    dataset_folder: Path | str,
    ct: CTVolume,
    labels: np.ndarray,
    machine_labels: np.ndarray | None = None,
    provenance: Provenance | None = None,
    reader: str | None = None,
    layout: str | None = None,
    new_version: bool = False,
    same_patient_as: str | None = None,
) -> str:
    """Add a scan and its labels to a dataset; written whole or not at all.

    The dataset's `manifest.csv` receives a row: case, version, when, reader, model and SHA-256,
    what was changed against the machine's labels (voxels, mL, Dice), and SHA-256 of the files.
    Scans of one patient share a `patient_group`, the name of a case, so that nothing is trained and
    compared on the same patient.

    Args:
        dataset_folder: made if it does not exist.
        ct: the scan. Its name, which may be that of a patient's folder, is not copied.
        labels: the reader's, uint8 (z, y, x) on the scan's grid; values as in `labels.py`.
        machine_labels: what the reader began with, likewise; None leaves the changes blank.
        provenance: what made `machine_labels`, or `labels` where nobody corrected them.
        reader: who corrected, exactly as that person typed it.
        layout: one of `LAYOUTS`; None takes the dataset's, and `covidlungquant` for a new one.
        new_version: add a scan that is there already; the earlier version is kept in `earlier`.
        same_patient_as: a case of the dataset that is of the same patient; None says that it is of
            a patient of its own, or leaves a new version with the patient of the earlier one.

    Returns:
        the case's name, such as "case_0007".

    Raises:
        BadInputError: the labels do not fit the scan or are empty, the dataset has another layout
            or holds the scan already, there is no case `same_patient_as`, or it cannot be written.
        OutOfResourcesError: the disk is full.
    """
    dataset = Path(dataset_folder).expanduser().absolute()
    check_labels(labels, ct.hu.shape)
    if not np.any(is_lung(labels)):
        raise BadInputError("The segmentation is empty; mark the lungs before adding the case.")
    layout = check_layout(dataset, layout)
    check_same_patient(dataset, same_patient_as)
    changes = _changes(machine_labels, labels, ct.geometry.voxel_volume_ml)
    scan_sha256 = voxels_sha256(lps_oriented(ct)[0].hu)
    rows = _manifest_rows(dataset)
    present = _present_case(dataset, layout, rows, scan_sha256)
    if present is not None and not new_version:
        raise _already_there(present)
    name = present or _next_name(dataset, layout, rows)
    version = 1 + sum(row[CASE_COLUMN] == name for row in rows)
    made = [folder for folder in (dataset, *dataset.parents) if not folder.exists()]
    # A hidden folder in the dataset; its cases lie too deep to be taken for the dataset's.
    hidden = dataset / "case"
    recover(hidden, (name, IMAGES_FOLDER_NAME, LABELS_FOLDER_NAME, RECORDS_FOLDER_NAME))
    try:
        with unfinished_folder(hidden) as folder:
            unfinished, final = _files(folder, layout, name), _files(dataset, layout, name)
            write_image(unfinished.ct, ct.hu.astype(np.int16, copy=False), ct.geometry)
            write_image(unfinished.labels, labels.astype(np.uint8), ct.geometry)
            record = {
                CASE_COLUMN: name,
                "version": version,
                PATIENT_COLUMN: _patient_of(rows, same_patient_as or name),
                **_origin(reader, provenance),
                **changes,
                "ct_voxels_sha256": scan_sha256,
                **_written(unfinished, final, dataset),
            }
            _write_record(unfinished.record, record)
            earlier = dataset / EARLIER_FOLDER_NAME / f"{name}_version_{version - 1}"
            with _put_in_place(unfinished, final, earlier):
                _complete_dataset(dataset, layout, record)
    except OSError as error:
        raise writing_error(error, dataset) from error
    finally:
        remove_empty(made)
    return name


def _already_there(case: str) -> BadInputError:
    return BadInputError(
        f"This scan is in the dataset already, as {case}; remove that case, or ask for a new "
        "version of it."
    )


def _origin(reader: str | None, provenance: Provenance | None) -> dict[str, str]:
    """Columns of the manifest that say when, who and what made the labels; blank if not known."""
    return {
        "exported_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "reader": (reader or "").strip(),
        "model_name": (provenance and provenance.model_name) or "",
        "model_sha256": (provenance and provenance.model_sha256) or "",
        "kinds": str((provenance and provenance.options.get("kinds")) or ""),
        "software_version": __version__,
    }


def _patient_of(rows: list[dict[str, str]], case: str) -> str:
    """The patient group of a case; its own name where the manifest does not hold it yet."""
    return {row[CASE_COLUMN]: row[PATIENT_COLUMN] for row in rows}.get(case, case)


def _written(unfinished: _CaseFiles, final: _CaseFiles, dataset: Path) -> dict[str, str]:
    """Columns of the manifest that say where the files will lie and what is in them."""
    return {
        "ct_file": final.ct.relative_to(dataset).as_posix(),
        "ct_file_sha256": _file_sha256(unfinished.ct),
        "labels_file": final.labels.relative_to(dataset).as_posix(),
        "labels_file_sha256": _file_sha256(unfinished.labels),
    }


def _write_record(file: Path, record: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    # The reader has seen every class, so no slice's class was inferred.
    content = {"class_inferred_slices": [], **record}
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def check_layout(dataset: Path, layout: str | None) -> str:
    """The layout to write; None is that of the dataset.

    Raises:
        BadInputError: unknown, or the dataset has another one.
    """
    if layout not in (None, *LAYOUTS):
        raise BadInputError(f"“{layout}” is no layout of a dataset; use {' or '.join(LAYOUTS)}.")
    present = layout_of(dataset) or layout or COVIDLUNGQUANT_LAYOUT
    if layout not in (None, present):
        raise BadInputError(
            f"{dataset.name} holds cases in the layout {present}; choose that layout or another "
            "folder."
        )
    return present


def check_same_patient(dataset: Path, case: str | None) -> None:
    """Refuse a case that is not in the dataset; None is fine.

    Raises:
        BadInputError: there is no such case.
    """
    if case is None:
        return
    names = case_names(dataset) if layout_of(dataset) is not None else []
    if case not in names:
        there_are = f"give one of {', '.join(names)}" if names else "it holds no case yet"
        raise BadInputError(f"There is no case {case} in {dataset.name}; {there_are}.")


def _files(folder: Path, layout: str, name: str) -> _CaseFiles:
    if layout == NNUNET_LAYOUT:
        return _CaseFiles(
            folder / IMAGES_FOLDER_NAME / f"{name}_0000{DEFAULT_ENDING}",
            folder / RECORDS_FOLDER_NAME / f"{name}.json",
            folder / LABELS_FOLDER_NAME / f"{name}{DEFAULT_ENDING}",
        )
    case = folder / name
    return _CaseFiles(case / CASE_CT_FILE, case / CASE_FILE, case / CASE_LABELS_FILE)


def _changes(
    machine_labels: np.ndarray | None, labels: np.ndarray, voxel_volume_ml: float
) -> dict[str, Any]:
    """Columns of the manifest that say what was corrected; blank where that is not known."""
    # Against itself where there is nothing to compare with: the columns are the same.
    before = labels if machine_labels is None else machine_labels
    correction = correction_of(before, labels, voxel_volume_ml)
    columns: dict[str, Any] = {
        "changed_voxels": correction.changed_voxels,
        "changed_ml": correction.changed_ml,
    }
    known = {}
    for item in correction.structures:
        name = item.structure.lower().replace(" ", "_")
        known[f"{name}_ml"] = item.corrected_ml
        columns[f"{name}_machine_ml"] = item.machine_ml
        columns[f"{name}_dice"] = "" if math.isnan(item.dice) else item.dice
    if machine_labels is None:
        columns = dict.fromkeys(columns, "")
    return {**known, **columns}


def _file_sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _manifest_rows(dataset: Path) -> list[dict[str, str]]:
    file = dataset / MANIFEST_FILE_NAME
    if not file.exists():
        return []
    try:
        rows = read_csv_dicts(file)
        return [
            {
                CASE_COLUMN: row[CASE_COLUMN],
                "ct_voxels_sha256": row["ct_voxels_sha256"],
                # Earlier versions of this software did not ask.
                PATIENT_COLUMN: row.get(PATIENT_COLUMN) or row[CASE_COLUMN],
            }
            for row in rows
        ]
    except (BadInputError, KeyError) as error:
        raise BadInputError(
            f"{MANIFEST_FILE_NAME} of {dataset.name} was not written by this software or was "
            "changed; choose another dataset folder or correct it."
        ) from error


def _present_case(
    dataset: Path, layout: str, rows: list[dict[str, str]], scan_sha256: str
) -> str | None:
    """Name of the case that holds the scan, if its files are still there."""
    for row in rows:
        labels_file = _files(dataset, layout, row[CASE_COLUMN]).labels
        if row["ct_voxels_sha256"] == scan_sha256 and labels_file.exists():
            return row[CASE_COLUMN]
    return None


def _next_name(dataset: Path, layout: str, rows: list[dict[str, str]]) -> str:
    """A number above all that are or were there."""
    folder = dataset / LABELS_FOLDER_NAME if layout == NNUNET_LAYOUT else dataset
    names = [row[CASE_COLUMN] for row in rows]
    if folder.is_dir():
        names += [entry.name.partition(".")[0] for entry in folder.iterdir()]
    numbers = [int(match[1]) for name in names if (match := CASE_NAME.fullmatch(name))]
    return f"case_{1 + max(numbers, default=0):04d}"


@contextmanager
def _put_in_place(unfinished: _CaseFiles, final: _CaseFiles, earlier: Path) -> Iterator[None]:
    """Move the finished files to where they belong; undone if anything then fails.

    Files that are there already, of the version before, are moved to the folder `earlier`.
    """
    moves = [
        (file, earlier / file.name) for file in reversed(final.in_order_of_writing) if file.exists()
    ]
    moves += zip(unfinished.in_order_of_writing, final.in_order_of_writing, strict=True)
    begun: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        for source, target in moves:
            made += [parent for parent in target.parents if not parent.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            _claim(source, target)
            begun.append((source, target))
            if source.exists() and target.samefile(source):
                source.unlink()
            else:
                source.replace(target)
        yield
    except BaseException:
        for source, target in reversed(begun):
            if source.exists():
                target.unlink()
            else:
                target.replace(source)
        for folder in made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _claim(source: Path, target: Path) -> None:
    """Take a name that is free, so that two exports at the same time never meet in one case.

    A second name of the finished file, where there can be one: a kill then leaves no empty file.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):
        target.touch(exist_ok=False)


def _complete_dataset(dataset: Path, layout: str, record: dict[str, Any]) -> None:
    """Write what describes the dataset as a whole; unchanged if anything fails."""
    dataset_file = dataset / DATASET_FILE_NAME
    earlier = dataset_file.read_bytes() if dataset_file.exists() else None
    if layout == NNUNET_LAYOUT:
        _write_nnunet_description(dataset_file)
    try:
        _append_to_manifest(dataset, record)
    except BaseException:
        if earlier is not None:
            dataset_file.write_bytes(earlier)
        elif layout == NNUNET_LAYOUT:
            dataset_file.unlink()
        raise


def _write_nnunet_description(file: Path) -> None:
    ours = {
        "channel_names": {"0": "CT"},
        "labels": {"background": BACKGROUND_VALUE, **{label.name: label.value for label in LABELS}},
        "file_ending": DEFAULT_ENDING,
    }
    description = ours
    if file.exists():
        try:
            description = read_json(file)
            is_ours = all(description.get(key) == value for key, value in ours.items())
        except BadInputError:
            is_ours = False
        if not is_ours:
            raise BadInputError(
                f"{DATASET_FILE_NAME} of {file.parent.name} describes other channels, labels or "
                "file endings; choose another dataset folder."
            )
    count = sum(1 for _ in (file.parent / LABELS_FOLDER_NAME).glob(f"*{DEFAULT_ENDING}"))
    replace_text(file, json.dumps({**description, "numTraining": count}, indent=2))


def _append_to_manifest(dataset: Path, record: dict[str, Any]) -> None:
    file = dataset / MANIFEST_FILE_NAME
    written = ""
    length = file.stat().st_size if file.exists() else 0
    if length == 0:
        written = csv_line(record)
    else:
        header = next(iter(read_csv_rows(file)), [])
        if header == [column for column in record if column != PATIENT_COLUMN]:
            _add_patient_column(file)
            length = file.stat().st_size
        elif header != list(record):
            raise BadInputError(
                f"{MANIFEST_FILE_NAME} of {dataset.name} has other columns than this version of "
                "the software writes; choose another dataset folder."
            )
    written += csv_line(record.values())
    try:
        with file.open("a", newline="", encoding="utf-8") as content:
            content.write(written)
    except BaseException:
        with file.open("r+b") as content:
            content.truncate(length)
        if length == 0:
            file.unlink()
        raise


def _add_patient_column(file: Path) -> None:
    """Let a manifest of an earlier version tell of patients: every case is one of its own."""
    header, *rows = read_csv_rows(file)
    lines = [csv_line([*header[:2], PATIENT_COLUMN, *header[2:]])]
    lines += [csv_line(map(cell_text, [*row[:2], row[0], *row[2:]])) for row in rows]
    replace_text(file, "".join(lines))
