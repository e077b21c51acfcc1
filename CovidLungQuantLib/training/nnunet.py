"""The raw dataset layout of nnU-Net: `imagesTr/NAME_0000.*`, `labelsTr/NAME.*`, `dataset.json`.

`dataset.json` names the values of the label maps; the names are matched with ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import BACKGROUND_VALUE, LABELS, UNCLASSIFIED_LESION_VALUE
from CovidLungQuantLib.vetting import read_json

IMAGES_FOLDER_NAME = "imagesTr"
LABELS_FOLDER_NAME = "labelsTr"
DATASET_FILE_NAME = "dataset.json"
DEFAULT_ENDING = ".nii.gz"
FILE_ENDINGS = (DEFAULT_ENDING, ".nii", ".nrrd", ".mha")
# nnU-Net's label maps have a byte a voxel.
LARGEST_VALUE = 255

# By the letters of a label's name alone, in lower case.
_VALUES_BY_NAME: dict[str, int] = {
    "background": BACKGROUND_VALUE,
    **{"".join(filter(str.isalnum, label.name.lower())): label.value for label in LABELS},
    "lung": LABELS[0].value,
    "lungs": LABELS[0].value,
    "groundglassopacity": LABELS[1].value,
    "consolidation": LABELS[2].value,
    "lesion": UNCLASSIFIED_LESION_VALUE,
    "infection": UNCLASSIFIED_LESION_VALUE,
    "covid": UNCLASSIFIED_LESION_VALUE,
    "pneumonia": UNCLASSIFIED_LESION_VALUE,
}


@dataclass(frozen=True)
class NnunetCase:
    """Files of one case and what its label values mean in ours."""

    ct: Path
    labels: Path
    values: dict[int, int]

    def translate(self, labels: np.ndarray) -> np.ndarray:
        """Label map with our values, uint8.

        Raises:
            BadInputError: it holds a value that `dataset.json` does not name.
        """
        unknown = set(np.unique(labels).tolist()) - set(self.values)
        if unknown:
            raise BadInputError(
                f"{self.labels.name} holds the label value {min(unknown):g}, which "
                f"{DATASET_FILE_NAME} does not name; add it there or correct the label map."
            )
        table = np.zeros(max(self.values) + 1, np.uint8)
        for value, ours in self.values.items():
            table[value] = ours
        return table[labels.astype(np.intp)]


def is_nnunet_dataset(dataset: Path) -> bool:
    """Whether the folder is laid out as nnU-Net's raw data."""
    return (Path(dataset) / LABELS_FOLDER_NAME).is_dir()


def nnunet_case_names(dataset: Path) -> list[str]:
    """Names of the cases, sorted.

    Raises:
        BadInputError: there is none, or `dataset.json` cannot be used.
    """
    ending = _information(dataset)[0]
    folder = Path(dataset) / LABELS_FOLDER_NAME
    names = sorted(file.name[: -len(ending)] for file in folder.glob(f"*{ending}"))
    if not names:
        raise BadInputError(f"{folder} holds no label map *{ending}; check {DATASET_FILE_NAME}.")
    return names


def nnunet_case(dataset: Path, name: str) -> NnunetCase:
    """The files of one case.

    Raises:
        BadInputError: `dataset.json` cannot be used.
    """
    ending, values = _information(dataset)
    return NnunetCase(
        Path(dataset) / IMAGES_FOLDER_NAME / f"{name}_0000{ending}",
        Path(dataset) / LABELS_FOLDER_NAME / f"{name}{ending}",
        values,
    )


def _information(dataset: Path) -> tuple[str, dict[int, int]]:
    """File ending and the meaning of the label values."""
    file = Path(dataset) / DATASET_FILE_NAME
    try:
        information = read_json(file)
        values = {
            _label_value(value): _VALUES_BY_NAME["".join(filter(str.isalnum, name.lower()))]
            for name, value in information["labels"].items()
        }
    except KeyError as error:
        raise BadInputError(
            f"{DATASET_FILE_NAME} names a label {error} that is none of ours; use background, "
            "normal lung, GGO, high opacity or lesion."
        ) from error
    except (BadInputError, ValueError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"{file} cannot be read as nnU-Net's {DATASET_FILE_NAME}; write it as nnU-Net asks."
        ) from error
    ending = information.get("file_ending", DEFAULT_ENDING)
    if ending not in FILE_ENDINGS:
        raise BadInputError(
            f"{DATASET_FILE_NAME} gives {ending!r:.40} for file_ending, which is not read here; "
            f"use one of {', '.join(FILE_ENDINGS)}."
        )
    return ending, {BACKGROUND_VALUE: 0, **values}


def _label_value(value: object) -> int:
    """A value that voxels may have; raises ValueError for another, TypeError for a region's."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError(value)
    if not 0 <= int(value) <= LARGEST_VALUE:
        raise ValueError(value)
    return int(value)
