"""What a fine-tuning did, from the comparison beside the new model; needs no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.training.dataset import case_ct_file, voxels_sha256
from CovidLungQuantLib.training.fine_tuning_runs import (
    CHANGED_SLICE_SUFFIX,
    COMPARED,
    COMPARISON_SUFFIX,
    DONE,
    FineTuning,
    fine_tunings,
)
from CovidLungQuantLib.vetting import read_json
from CovidLungQuantLib.vetting.problems import NOT_AS_WRITTEN_ERRORS

VOLUMES = ("lesion_ml", "ggo_ml", "high_opacity_ml")


@dataclass(frozen=True)
class Figures:
    """One model on one case, or on all of them; NaN where a figure is undefined.

    Attributes:
        dice: by the names of `fine_tuning_runs.COMPARED`.
        volume_error_ml: model − reader, by the names of `VOLUMES`; of all cases the mean size.
    """

    dice: Mapping[str, float]
    volume_error_ml: Mapping[str, float]


@dataclass(frozen=True)
class CaseEffect:
    """A case held back, with the old and with the new model."""

    case: str
    old: Figures
    new: Figures


@dataclass(frozen=True, eq=False)
class ChangedSlice:
    """The slice on which the new model's lesion differs most; pictures (y, x), upright.

    Attributes:
        case: whose it is.
        number: of the slice, counted upwards from 1.
        changed_cm2: what is lesion to one model only.
        pixel_mm: size of a pixel (column, row).
        hu: int16 Hounsfield units.
        reader: uint8, the labels of the training set; values as in `labels.py`.
        old: uint8, the old model's.
        new: uint8, the new model's.
    """

    case: str
    number: int
    changed_cm2: float
    pixel_mm: tuple[float, float]
    hu: np.ndarray
    reader: np.ndarray
    old: np.ndarray
    new: np.ndarray


@dataclass(frozen=True)
class FineTuningEffect:
    """Old and new model on the cases held back.

    Attributes:
        old_model: name.
        new_model: name.
        cases: one a case that could be compared.
        mean: over these, old and new.
        left_out: cases that could not be, with the reason.
        note: what to think of it.
    """

    old_model: str
    new_model: str
    cases: tuple[CaseEffect, ...]
    mean: CaseEffect
    left_out: Mapping[str, str]
    note: str

    @property
    def rows(self) -> tuple[CaseEffect, ...]:
        """The cases, then their mean."""
        return (*self.cases, self.mean)


def last_fine_tuning(dataset: Path, models_folder: Path | None = None) -> FineTuning | None:
    """The newest finished fine-tuning on a training set whose comparison is still there."""
    dataset = dataset.expanduser().absolute()
    finished = [
        run
        for run in fine_tunings(models_folder)
        if run.is_sound and Path(run.plan.dataset) == dataset and run.status().state == DONE
    ]
    there = [run for run in finished if _comparison_file(run).exists()]
    return max(there, key=lambda run: run.started_s, default=None)


def effect_of(comparison_file: Path) -> FineTuningEffect:
    """Read the comparison beside a fine-tuned model.

    Raises:
        BadInputError: it is not there or damaged.
    """
    try:
        values = read_json(comparison_file)
        cases = tuple(
            CaseEffect(case["case"], _figures(case["old"]), _figures(case["new"]))
            for case in values["cases"]
        )
        return FineTuningEffect(
            str(values["old_model"]["name"]),
            str(values["new_model"]["name"]),
            cases,
            CaseEffect(
                "mean",
                _mean([case.old for case in cases]),
                _mean([case.new for case in cases]),
            ),
            {str(case): str(reason) for case, reason in values["left_out"].items()},
            str(values["note"]),
        )
    except NOT_AS_WRITTEN_ERRORS as error:
        raise BadInputError(
            f"{comparison_file.name} cannot be read as the comparison of a fine-tuning; fine-tune "
            "again."
        ) from error


def changed_slice(run: FineTuning) -> ChangedSlice:
    """The slice of a finished fine-tuning that changed most, with the scan from the training set.

    Raises:
        BadInputError: nothing changed, or its files or the very scan are not there any more.
    """
    plan = run.plan
    file = Path(plan.models_folder) / f"{plan.name}{CHANGED_SLICE_SUFFIX}"
    try:
        changed = read_json(_comparison_file(run))["most_changed_slice"]
    except KeyError as error:
        raise BadInputError(
            "This fine-tuning was made by a version of this software that kept no picture of it; "
            "the next one has one."
        ) from error
    if changed is None:
        raise BadInputError("The new model marks the same lesions as the old one; nothing to show.")
    try:
        scan, _ = lps_oriented(read_ct(case_ct_file(Path(plan.dataset), changed["case"])))
        stored = read_label_file(file)
        reader, old, new = stored.layers[..., 0].astype(np.uint8)
        index = range(len(scan.hu)).index(changed["index"])
        hu = scan.hu[index]
        is_same = voxels_sha256(scan.hu) == changed["ct_voxels_sha256"] and hu.shape == old.shape
        if not is_same:
            raise ValueError(changed["case"])
        return ChangedSlice(
            str(changed["case"]),
            index + 1,
            float(changed["changed_cm2"]),
            scan.geometry.spacing_mm[:2],
            hu,
            reader,
            old,
            new,
        )
    except NOT_AS_WRITTEN_ERRORS as error:
        raise BadInputError(
            f"The slice that changed most cannot be shown, since the case or {file.name} is not "
            "there any more as it was; fine-tune again."
        ) from error


def _comparison_file(run: FineTuning) -> Path:
    plan = run.plan
    return Path(plan.models_folder) / f"{plan.name}{COMPARISON_SUFFIX}.json"


def _figures(values: Mapping[str, Any]) -> Figures:
    return Figures(
        {name: _number(values[name]) for name in COMPARED},
        {name: _number(values[name]) - _number(values[f"reference_{name}"]) for name in VOLUMES},
    )


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _mean(figures: list[Figures]) -> Figures:
    return Figures(
        {name: _mean_known([each.dice[name] for each in figures]) for name in COMPARED},
        {
            name: _mean_known([abs(each.volume_error_ml[name]) for each in figures])
            for name in VOLUMES
        },
    )


def _mean_known(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan
