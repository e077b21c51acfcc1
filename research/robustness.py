"""`python -m research.robustness DATASET FOLD0.pt FOLD1.pt … -o TABLE.csv`.

How much the lesion Dice of left-out cases falls when the scan is changed as another scanner,
protocol or position would (`perturbations.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.cli.options import add_same_patient_option
from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.measures.structures import LESION, structure_mask
from CovidLungQuantLib.training.data import AnnotatedScan, fold_of_dataset, read_case
from research.perturbations import PERTURBATIONS
from research.tables import write_rows

UNCHANGED = "unchanged"


def lesion_dice(scan: AnnotatedScan, model: LoadedModel) -> float:
    """Dice of the lesions `model` finds in `scan` with the reader's."""
    anatomy = segment_lungs(scan.hu, scan.spacing_mm)
    labels = segment_lesions(scan.hu, scan.spacing_mm, anatomy, model, "cpu").labels
    return dice(structure_mask(labels, LESION), structure_mask(scan.labels, LESION))


def case_robustness(scan: AnnotatedScan, model: LoadedModel) -> dict[str, float]:
    """Lesion Dice of a case as it is and after every change, by name."""
    changed = {name: lesion_dice(change(scan), model) for name, change in PERTURBATIONS.items()}
    return {UNCHANGED: lesion_dice(scan, model), **changed}


def left_out_cases(
    dataset: Path,
    model_files: Sequence[Path],
    same_patient: Sequence[Sequence[str]],
    wanted: Sequence[str] | None = None,
) -> Iterator[tuple[AnnotatedScan, LoadedModel]]:
    """Every case (or those wanted) with the model that never saw it."""
    for fold, model_file in enumerate(model_files):
        model = load_model(str(model_file))
        _, test = fold_of_dataset(dataset, fold, len(model_files), same_patient)
        for name in test:
            if wanted is None or name in wanted:
                yield read_case(dataset, name), model


def _printed_row(case: tuple[AnnotatedScan, LoadedModel]) -> dict[str, str | float]:
    scan, model = case
    figures = case_robustness(scan, model)
    print(scan.name, {name: round(value, 3) for name, value in figures.items()})
    return {"case": scan.name, **figures}


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Measure how robust models are.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("models", type=Path, nargs="+", help="model of fold 0, fold 1, …")
    parser.add_argument("-o", "--output", type=Path, required=True, help="table to write (CSV)")
    parser.add_argument("--cases", nargs="+", help="only these")
    add_same_patient_option(parser)
    arguments = parser.parse_args()
    names = [UNCHANGED, *PERTURBATIONS]
    cases = left_out_cases(
        arguments.dataset, arguments.models, arguments.same_patient, arguments.cases
    )
    rows = write_rows(arguments.output, ["case", *names], map(_printed_row, cases))
    for name in names:
        fall = np.nanmean([row[UNCHANGED] - row[name] for row in rows])
        print(f"{name}: mean fall of lesion Dice {fall:.3f}")


if __name__ == "__main__":
    main()
