"""Two models on the same cases of a dataset, beside their reader: figures, table and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.tables import none_for_nan, write_csv
from CovidLungQuantLib.labels import DISCLAIMER, is_lesion
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.training.data import AnnotatedScan, read_case
from CovidLungQuantLib.training.dataset import voxels_sha256
from CovidLungQuantLib.training.evaluation import CaseAgreement, evaluate_case
from CovidLungQuantLib.training.fine_tuning_runs import COMPARED, FineTuningPlan

COMPARISON_NOTE = (
    "The new model saw none of these cases; the old one may have, if it was trained on them. Few "
    "cases say little: look at the new model's results before using it."
)


@dataclass(frozen=True, eq=False)
class MostChangedSlice:
    """The axial slice on which the new model's lesion differs most from the old one's.

    Attributes:
        case: its name.
        scan_sha256: of the scan, see `dataset.voxels_sha256`.
        index: of the slice, upright, counted upwards from 0.
        changed_cm2: what is lesion to one of them only.
        pixel_mm: size of a pixel (column, row).
        labels: uint8 (3, y, x) of the slice, upright: the reader's, the old and the new model's.
    """

    case: str
    scan_sha256: str
    index: int
    changed_cm2: float
    pixel_mm: tuple[float, float]
    labels: np.ndarray


@dataclass(frozen=True)
class ModelComparison:
    """An old and a new model on the same cases.

    Attributes:
        rows: agreement of the "old" and the "new" model with the reader, one a case.
        left_out: cases that could not be segmented, with the reason.
        most_changed: None where no lesion changed.
    """

    rows: list[dict[str, CaseAgreement]] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    most_changed: MostChangedSlice | None = None


def compare_models(
    dataset: Path, names: Sequence[str], old: LoadedModel, new: LoadedModel
) -> ModelComparison:
    """Run both models on cases of a dataset and compare them with the reader."""
    rows, left_out = [], {}
    changed: list[MostChangedSlice] = []
    for name in names:
        try:
            scan = read_case(dataset, name)
            anatomy = segment_lungs(scan.hu, scan.spacing_mm)
            old_agreement, old_labels = evaluate_case(scan, anatomy, old)
            new_agreement, new_labels = evaluate_case(scan, anatomy, new)
        except BadInputError as error:
            left_out[name] = str(error)
            continue
        rows.append(
            {"old": replace(old_agreement, case=name), "new": replace(new_agreement, case=name)}
        )
        changed.append(most_changed_slice(name, scan, old_labels, new_labels))
    largest = max(changed, key=lambda item: item.changed_cm2, default=None)
    return ModelComparison(rows, left_out, largest if largest and largest.changed_cm2 else None)


def most_changed_slice(
    name: str, scan: AnnotatedScan, old_labels: np.ndarray, new_labels: np.ndarray
) -> MostChangedSlice:
    """The slice of a case on which two label maps, uint8 (z, y, x), differ most in lesion."""
    differs = is_lesion(old_labels) != is_lesion(new_labels)
    by_slice = np.count_nonzero(differs, axis=(1, 2))
    index = int(by_slice.argmax())
    x_mm, y_mm, _ = scan.spacing_mm
    return MostChangedSlice(
        name,
        voxels_sha256(scan.hu),
        index,
        float(by_slice[index] * x_mm * y_mm / 100.0),
        (x_mm, y_mm),
        np.stack([scan.labels[index], old_labels[index], new_labels[index]]).astype(np.uint8),
    )


def write_most_changed_slice(path: Path, changed: MostChangedSlice) -> None:
    """Write the labels of the slice as an image of three planes; no voxel of the scan is in it."""
    geometry = Geometry(changed.labels.shape, (*changed.pixel_mm, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    write_image(path, changed.labels, geometry)


def comparison_values(
    plan: FineTuningPlan,
    old: LoadedModel,
    new: LoadedModel,
    comparison: ModelComparison,
) -> dict[str, Any]:
    """What the JSON beside a fine-tuned model holds."""
    rows, changed = comparison.rows, comparison.most_changed
    return {
        "old_model": {"name": old.name, "sha256": old.sha256},
        "new_model": {"name": plan.name, "sha256": new.sha256},
        "trained_on": plan.trained_on,
        "held_back": plan.held_back,
        "left_out": dict(comparison.left_out),
        "mean": {
            figure: {which: _mean([row[which] for row in rows], figure) for which in ("old", "new")}
            for figure in COMPARED
        },
        "cases": [
            {"case": row["new"].case, **{which: _figures(row[which]) for which in ("old", "new")}}
            for row in rows
        ],
        "most_changed_slice": changed
        and {
            "case": changed.case,
            "ct_voxels_sha256": changed.scan_sha256,
            "index": changed.index,
            "changed_cm2": changed.changed_cm2,
        },
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
