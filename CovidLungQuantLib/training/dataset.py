"""Where the cases of a training set lie, and which are of one patient; needs no PyTorch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import CASE_CT_FILE, CASE_LABELS_FILE
from CovidLungQuantLib.training.nnunet import is_nnunet_dataset, nnunet_case, nnunet_case_names
from CovidLungQuantLib.vetting import read_csv_dicts

MANIFEST_FILE_NAME = "manifest.csv"
CASE_COLUMN = "case"
# A case of the same patient; a patient's first case stands there for itself.
PATIENT_COLUMN = "patient_group"

COVIDLUNGQUANT_LAYOUT = "covidlungquant"
NNUNET_LAYOUT = "nnunet"
LAYOUTS = (COVIDLUNGQUANT_LAYOUT, NNUNET_LAYOUT)


def layout_of(dataset: Path) -> str | None:
    """One of `LAYOUTS`; None where the folder holds no case, or is not there."""
    if is_nnunet_dataset(dataset):
        return NNUNET_LAYOUT
    return COVIDLUNGQUANT_LAYOUT if any(dataset.glob(f"*/{CASE_LABELS_FILE}")) else None


def case_names(dataset: Path) -> list[str]:
    """Names of the cases in a dataset folder, sorted.

    Raises:
        BadInputError: the folder holds none.
    """
    if is_nnunet_dataset(dataset):
        return nnunet_case_names(dataset)
    names = sorted(folder.parent.name for folder in Path(dataset).glob(f"*/{CASE_LABELS_FILE}"))
    if not names:
        raise BadInputError(
            f"No case with {CASE_CT_FILE} and {CASE_LABELS_FILE} was found in {dataset}; "
            "give the folder that holds one folder for each case."
        )
    return names


def case_ct_file(dataset: Path, name: str) -> Path:
    """The scan of a case of a dataset of either layout; raises as `case_names`."""
    if is_nnunet_dataset(dataset):
        return nnunet_case(dataset, name).ct
    return dataset / name / CASE_CT_FILE


def voxels_sha256(hu: np.ndarray) -> str:
    """Identifies a scan whatever file it was read from: its shape and HU (z, y, x), upright."""
    digest = hashlib.sha256(json.dumps(hu.shape).encode())
    for plane in hu.astype("<i2", copy=False):
        digest.update(plane.tobytes())
    return digest.hexdigest()


def patient_groups(
    dataset: Path | str, same_patient: Sequence[Sequence[str]] = ()
) -> list[list[str]]:
    """Cases of one patient, as the dataset's manifest and `same_patient` say, sorted.

    Groups do not overlap: what shares a case is one patient. Cases that are in no group are a
    patient each. A manifest that does not tell of patients, or none, adds nothing.

    Raises:
        BadInputError: the manifest cannot be read.
    """
    groups: list[set[str]] = []
    for cases in (*same_patient, *_patient_group_of_case(Path(dataset)).items()):
        joined = set(cases)
        for other in [group for group in groups if group & joined]:
            joined |= other
            groups.remove(other)
        groups.append(joined)
    return sorted(sorted(group) for group in groups if len(group) > 1)


def patient_count(dataset: Path) -> int:
    """How many patients the cases of a dataset are of; raises as `case_names`."""
    names = case_names(dataset)
    together = [len(set(group) & set(names)) for group in patient_groups(dataset)]
    return len(names) - sum(count - 1 for count in together if count)


def _patient_group_of_case(dataset: Path) -> dict[str, str]:
    """Case → patient group of its newest version; empty where the manifest does not tell."""
    file = dataset / MANIFEST_FILE_NAME
    if not file.exists():
        return {}
    try:
        rows = read_csv_dicts(file)
    except BadInputError as error:
        raise BadInputError(
            f"{MANIFEST_FILE_NAME} of {dataset.name} cannot be read; correct it or choose another "
            "dataset folder."
        ) from error
    return {
        row[CASE_COLUMN]: row[PATIENT_COLUMN]
        for row in rows
        if row.get(CASE_COLUMN) and row.get(PATIENT_COLUMN)
    }
