"""`python -m research.ablation DATASET MODEL… -o TABLE.csv --fold K`.

What each part of a recipe is worth: the lesion Dice, on the cases one fold left out, of models that
were trained on the others with and without that part.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from CovidLungQuantLib.cli.options import add_same_patient_option
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.lesion_model import load_model
from CovidLungQuantLib.training.data import AnnotatedScan, fold_of_dataset, read_case
from research.robustness import lesion_dice
from research.tables import write_rows

# The first column after the case: nothing was left out.
WHOLE_RECIPE = "everything"


def ablation_table(
    scans: Sequence[AnnotatedScan], model_files: Mapping[str, Path]
) -> list[dict[str, str | float]]:
    """A row a scan: its lesion Dice by each model, under the name of what was left out."""
    models = {name: load_model(str(file)) for name, file in model_files.items()}
    return [
        {"case": scan.name, **{name: lesion_dice(scan, model) for name, model in models.items()}}
        for scan in scans
    ]


def _named_model(text: str) -> tuple[str, Path]:
    name, separator, file = text.partition("=")
    if not (name and separator and file):
        raise argparse.ArgumentTypeError(f"“{text}” is not NAME=MODEL.pt")
    return name, Path(file)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Measure what parts of a recipe are worth.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "models",
        type=_named_model,
        nargs="+",
        metavar="NAME=MODEL.pt",
        help=f"what its training left out; the whole recipe is named {WHOLE_RECIPE}",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="table to write (CSV)")
    parser.add_argument("--fold", type=int, required=True, help="left out of all trainings")
    parser.add_argument("--folds", type=int, default=3)
    add_same_patient_option(parser)
    arguments = parser.parse_args()
    models = dict(arguments.models)
    if WHOLE_RECIPE not in models:
        raise BadInputError(
            f"The model of the whole recipe is missing; give it as {WHOLE_RECIPE}=MODEL.pt, too."
        )
    _, test = fold_of_dataset(
        arguments.dataset, arguments.fold, arguments.folds, arguments.same_patient
    )
    rows = ablation_table([read_case(arguments.dataset, name) for name in test], models)
    write_rows(arguments.output, ["case", *models], rows)


if __name__ == "__main__":
    main()
