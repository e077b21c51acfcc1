"""Where the cases of a training set lie; needs no PyTorch."""

from __future__ import annotations

from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.training.nnunet import is_nnunet_dataset, nnunet_case_names

CT_FILE_NAME = "ct.nrrd"
LABELS_FILE_NAME = "labels.nrrd"

COVIDLUNGQUANT_LAYOUT = "covidlungquant"
NNUNET_LAYOUT = "nnunet"
LAYOUTS = (COVIDLUNGQUANT_LAYOUT, NNUNET_LAYOUT)


def layout_of(dataset: Path) -> str | None:
    """One of `LAYOUTS`; None where the folder holds no case, or is not there."""
    if is_nnunet_dataset(dataset):
        return NNUNET_LAYOUT
    return COVIDLUNGQUANT_LAYOUT if any(dataset.glob(f"*/{LABELS_FILE_NAME}")) else None


def case_names(dataset: Path) -> list[str]:
    """Names of the cases in a dataset folder, sorted.

    Raises:
        BadInputError: the folder holds none.
    """
    if is_nnunet_dataset(dataset):
        return nnunet_case_names(dataset)
    names = sorted(folder.parent.name for folder in Path(dataset).glob(f"*/{LABELS_FILE_NAME}"))
    if not names:
        raise BadInputError(
            f"No case with {CT_FILE_NAME} and {LABELS_FILE_NAME} was found in {dataset}; "
            "give the folder that holds one folder for each case."
        )
    return names
