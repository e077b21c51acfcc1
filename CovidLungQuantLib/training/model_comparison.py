"""Two models on the same cases of a dataset, beside their reader: figures, table and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.tables import none_for_nan, write_csv
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.training.data import read_case
from CovidLungQuantLib.training.evaluation import CaseAgreement, evaluate_case
from CovidLungQuantLib.training.fine_tuning_runs import COMPARED, FineTuningPlan

COMPARISON_NOTE = (
    "The new model saw none of these cases; the old one may have, if it was trained on them. Few "
    "cases say little: look at the new model's results before using it."
)


def compare_models(
    dataset: Path, names: Sequence[str], old: LoadedModel, new: LoadedModel
) -> tuple[list[dict[str, CaseAgreement]], dict[str, str]]:
    """Run both models on cases of a dataset and compare them with the reader.

    Returns:
        rows: agreement of the "old" and the "new" model, one a case.
        left_out: cases that could not be segmented, with the reason.
    """
    rows, left_out = [], {}
    for name in names:
        try:
            scan = read_case(dataset, name)
            anatomy = segment_lungs(scan.hu, scan.spacing_mm)
            rows.append(
                {
                    which: replace(evaluate_case(scan, anatomy, model)[0], case=name)
                    for which, model in (("old", old), ("new", new))
                }
            )
        except BadInputError as error:
            left_out[name] = str(error)
    return rows, left_out


def comparison_values(
    plan: FineTuningPlan,
    old: LoadedModel,
    new: LoadedModel,
    rows: Sequence[Mapping[str, CaseAgreement]],
    left_out: Mapping[str, str],
) -> dict[str, Any]:
    """What the JSON beside a fine-tuned model holds; the last two are from `compare_models`."""
    return {
        "old_model": {"name": old.name, "sha256": old.sha256},
        "new_model": {"name": plan.name, "sha256": new.sha256},
        "trained_on": plan.trained_on,
        "held_back": plan.held_back,
        "left_out": dict(left_out),
        "mean": {
            figure: {which: _mean([row[which] for row in rows], figure) for which in ("old", "new")}
            for figure in COMPARED
        },
        "cases": [
            {"case": row["new"].case, **{which: _figures(row[which]) for which in ("old", "new")}}
            for row in rows
        ],
        "note": COMPARISON_NOTE,
        "disclaimer": DISCLAIMER,
    }


def _mean(agreements: Sequence[CaseAgreement], figure: str) -> float | None:
    values = [getattr(agreement, figure) for agreement in agreements]
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None


def _figures(agreement: CaseAgreement) -> dict[str, Any]:
    values = asdict(agreement)
    del values["case"]
    return none_for_nan(values)


def write_comparison_table(path: Path, rows: Sequence[Mapping[str, CaseAgreement]]) -> None:
    """One row a case and model; empty where a figure is undefined."""
    write_csv(
        path,
        [{"model": which, **asdict(agreement)} for row in rows for which, agreement in row.items()],
        ["model", *(column.name for column in fields(CaseAgreement))],
    )
