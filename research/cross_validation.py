"""`python -m research.cross_validation DATASET FOLD0.pt FOLD1.pt … -o TABLE.csv`.

Each case is segmented by the model of the fold that left it out, through the very steps of
`pipeline.quantify`, and compared with its reader.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.lung_weights import load_lung_model
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.cli.options import add_same_patient_option
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.files.images import read_label_file, write_image
from CovidLungQuantLib.lesions.lesion_model import load_model
from CovidLungQuantLib.measures.against_reader import MINIMUM_EXTENT_PERCENT
from CovidLungQuantLib.training.data import fold_of_dataset, labels_file, read_case
from CovidLungQuantLib.training.evaluation import CaseAgreement, evaluate_case
from research.tables import write_rows


def cross_validate(
    dataset: Path,
    model_files: Sequence[Path],
    same_patient: Sequence[Sequence[str]] = (),
    predictions_folder: Path | None = None,
    mirror: bool = False,
    lung_model_files: Sequence[Path] = (),
) -> list[CaseAgreement]:
    """Figures for every case of `dataset`, each from the model that never saw it.

    `lung_model_files`: lung networks, each of which saw none of the scans that the lesion model in
    its place left out; none for the shipped one, which may have seen all.
    """
    lung_networks = [load_lung_model(file) for file in lung_model_files]
    results = []
    for fold, model_file in enumerate(model_files):
        model = load_model(str(model_file))
        _, test = fold_of_dataset(dataset, fold, len(model_files), same_patient)
        for name in test:
            scan = read_case(dataset, name)
            network = lung_networks[fold] if lung_networks else None
            anatomy = segment_lungs(scan.hu, scan.spacing_mm, network=network)
            agreement, labels = evaluate_case(scan, anatomy, model, mirror)
            print(
                f"{name}: lesion Dice {agreement.lesion_dice:.3f} (threshold "
                f"{agreement.threshold_lesion_dice:.3f}), lung Dice {agreement.lung_dice:.3f}, "
                f"extent {agreement.extent_percent:.1f} % "
                f"(reader {agreement.reference_extent_percent:.1f} %)",
                flush=True,
            )
            results.append(agreement)
            if predictions_folder is not None:
                # On the reader's grid, so that `covidlungquant evaluate` can compare them.
                grid = read_label_file(labels_file(dataset, name)).geometry
                upright = oriented_geometry(grid, orientation_of(grid))
                write_image(predictions_folder / f"{name}.nrrd", labels, upright)
    return sorted(results, key=lambda agreement: agreement.case)


def mean_lesion_dice(results: Sequence[CaseAgreement]) -> tuple[float, float]:
    """Mean lesion Dice of the network and of the threshold, over cases with enough lesion."""
    counted = [
        result for result in results if result.reference_extent_percent > MINIMUM_EXTENT_PERCENT
    ]
    return (
        float(np.mean([result.lesion_dice for result in counted])),
        float(np.mean([result.threshold_lesion_dice for result in counted])),
    )


def write_table(path: Path, results: Sequence[CaseAgreement]) -> None:
    """One row a case."""
    write_rows(path, [field.name for field in fields(CaseAgreement)], map(asdict, results))


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Evaluate cross-validation models.")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("models", type=Path, nargs="+", help="model of fold 0, fold 1, …")
    parser.add_argument("-o", "--output", type=Path, required=True, help="table to write (CSV)")
    parser.add_argument("--predictions", type=Path, help="folder for the predicted label maps")
    parser.add_argument(
        "--lungs", type=Path, nargs="+", default=[], help="lung network for each of these models"
    )
    parser.add_argument("--mirror", action="store_true", help="mean with the mirror image")
    add_same_patient_option(parser)
    arguments = parser.parse_args()
    if arguments.lungs and len(arguments.lungs) != len(arguments.models):
        parser.error("give as many lung networks as models")
    results = cross_validate(
        arguments.dataset,
        arguments.models,
        arguments.same_patient,
        arguments.predictions,
        arguments.mirror,
        arguments.lungs,
    )
    write_table(arguments.output, results)
    network, threshold = mean_lesion_dice(results)
    print(f"Mean lesion Dice {network:.3f}; threshold in the reader's lungs {threshold:.3f}.")


if __name__ == "__main__":
    main()
