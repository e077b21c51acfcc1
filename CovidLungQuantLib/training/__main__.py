"""`python -m CovidLungQuantLib.training DATASET -o RUN [--fold K --folds N]`: train one network."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from CovidLungQuantLib.lesions.models import MODEL_SUFFIX
from CovidLungQuantLib.lesions.weights import load_model, save_model
from CovidLungQuantLib.training.data import case_names, fold_names, read_annotated_scan
from CovidLungQuantLib.training.trainer import SHORT_TRAINING, TrainingConfig, train


def main() -> None:
    """Train on a dataset folder, on all cases or on those outside one test fold."""
    parser = argparse.ArgumentParser(description="Train the lesion network.")
    parser.add_argument("dataset", type=Path, help="folder with one folder for each case")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder")
    parser.add_argument("--recipe", choices=["paper", "short"], default="short")
    parser.add_argument(
        "--imagenet", type=Path, help="DenseNet-121 weights to start the dense block from"
    )
    parser.add_argument("--start-from", type=Path, help="model file to go on from")
    parser.add_argument("--learning-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--epochs", type=int, help="train this many instead of the recipe's")
    parser.add_argument("--fold", type=int, help="leave out the cases of this fold, from 0")
    parser.add_argument("--folds", type=int, default=3, help="number of folds")
    parser.add_argument(
        "--same-patient",
        action="append",
        default=[],
        metavar="CASE,CASE",
        help="cases of one patient, kept in one fold; may be given several times",
    )
    arguments = parser.parse_args()
    config = TrainingConfig() if arguments.recipe == "paper" else SHORT_TRAINING
    if arguments.epochs is not None:
        config = replace(config, epochs=arguments.epochs)
    if arguments.learning_rate is not None:
        config = replace(config, learning_rate=arguments.learning_rate)
    start_from = load_model(str(arguments.start_from)).network if arguments.start_from else None
    same_patient = [group.split(",") for group in arguments.same_patient]
    training = case_names(arguments.dataset)
    if arguments.fold is not None:
        training, _ = fold_names(training, arguments.fold, arguments.folds, same_patient)
    validation: list[str] = []
    if config.schedule == "plateau":
        training, validation = fold_names(training, 0, 5, same_patient)
    network = train(
        [read_annotated_scan(arguments.dataset / name) for name in training],
        config,
        arguments.output,
        [read_annotated_scan(arguments.dataset / name) for name in validation],
        arguments.imagenet,
        start_from,
    )
    print(save_model(arguments.output / f"{arguments.output.name}{MODEL_SUFFIX}", network))


if __name__ == "__main__":
    main()
