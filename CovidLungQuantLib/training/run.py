"""A training from a dataset on disk to a model file: what `covidlungquant train` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.inference import choose_device
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks import architecture_name
from CovidLungQuantLib.models.network import LesionNetwork
from CovidLungQuantLib.models.registry import MODEL_SUFFIX
from CovidLungQuantLib.training.checks import PLATEAU, check_training
from CovidLungQuantLib.training.config import TrainingConfig
from CovidLungQuantLib.training.data import (
    fold_names,
    fold_of_dataset,
    read_case,
    read_healthy_scan,
)
from CovidLungQuantLib.training.dataset import case_names, patient_groups
from CovidLungQuantLib.training.self_training import read_taught_scan
from CovidLungQuantLib.training.trainer import train
from CovidLungQuantLib.training.workers import is_first_process

# With the "plateau" schedule one patient in this many is watched instead of learned from.
WATCHED_FOLDS = 5


class SavedModel(NamedTuple):
    """The file of a trained model and its SHA-256."""

    file: Path
    sha256: str


def train_on_dataset(
    dataset: Path,
    output: Path,
    config: TrainingConfig,
    *,
    device: str = "auto",
    start_from: str | None = None,
    imagenet: Path | None = None,
    also: Sequence[Path] = (),
    healthy: Sequence[Path] = (),
    unlabelled: Sequence[Path] = (),
    teachers: Sequence[str] = (),
    distil_from: Sequence[str] = (),
    fold: int | None = None,
    folds: int = 3,
    leave_out: Sequence[str] = (),
    same_patient: Sequence[Sequence[str]] = (),
) -> SavedModel | None:
    """Train on all cases of a dataset, or on those outside one fold, and save the model.

    Goes on where the run folder's last epoch ended.

    Args:
        dataset: folder with one folder for each case, or nnU-Net raw data.
        output: run folder; the model in it takes its name.
        config: how to train, such as `recipes.recipe("unet-attention")`.
        device: "auto", "cpu", "cuda" or "mps".
        start_from: name or file of a model to go on from, or of one that fits the main branch,
            whose epochs alone are then left out.
        imagenet: DenseNet-121 weights to start the dense block from.
        also: further datasets, every case of which is trained on, whatever the fold.
        healthy: scans without lesions, to learn from as they are and with painted lesions.
        unlabelled, teachers: scans without labels, and names or files of the models whose mean
            probabilities stand in for them.
        distil_from: names or files of larger models on the same grid, whose answers on every slice
            are learned beside the labels; see `TrainingConfig.distil_weight`.
        fold, folds: leave out the cases of this fold of so many, counted from 0; None is no fold.
        leave_out: cases not to train on.
        same_patient: cases of one patient, kept in one fold, as those are that the manifest names.

    Returns:
        The model; None in a process that does not write, where `torchrun` started several.

    Raises:
        BadInputError: no such dataset, case, fold, model or device, scans without teachers, or
            `output` holds a run of other options.
    """
    check_training(config)
    if bool(unlabelled) != bool(teachers):
        raise BadInputError(
            "Scans without labels need a teacher, and a teacher needs scans: give --unlabelled and "
            "--teacher together, or neither."
        )
    teaching = [load_model(teacher) for teacher in teachers]
    distilled = [load_model(teacher) for teacher in distil_from]
    start = load_model(start_from).network if start_from else None
    if start is not None:
        config = _started(config, start)
    names = _names_to_learn_from(dataset, fold, folds, leave_out, same_patient)
    watched: list[str] = []
    if config.schedule == PLATEAU:
        names, watched = fold_names(names, 0, WATCHED_FOLDS, patient_groups(dataset, same_patient))
    if not names:
        raise BadInputError("No case is left to train on; use fewer folds or add cases.")
    device = choose_device(device)
    network = train(
        [
            *(read_case(dataset, name) for name in names),
            *(read_case(other, name) for other in also for name in case_names(other)),
        ],
        config,
        output,
        [read_case(dataset, name) for name in watched],
        imagenet,
        start,
        device,
        [read_healthy_scan(path) for path in healthy],
        [read_taught_scan(path, teaching, device) for path in unlabelled],
        {f"{model.name} {model.sha256}": model.network for model in distilled},
    )
    if not is_first_process():
        return None
    model_file = output / f"{output.name}{MODEL_SUFFIX}"
    return SavedModel(model_file, save_model(model_file, network))


def _started(config: TrainingConfig, start: LesionNetwork) -> TrainingConfig:
    """The configuration without what a network of another kind, the new main branch, knows."""
    if architecture_name(start.config) == architecture_name(config.network):
        return config
    return replace(config, epochs=config.epochs - config.main_branch_epochs, main_branch_epochs=0)


def _names_to_learn_from(
    dataset: Path,
    fold: int | None,
    folds: int,
    leave_out: Sequence[str],
    same_patient: Sequence[Sequence[str]],
) -> list[str]:
    names = case_names(dataset)
    if fold is not None:
        if not 0 <= fold < folds:
            raise BadInputError(f"There is no fold {fold} of {folds}; count from 0.")
        names, _ = fold_of_dataset(dataset, fold, folds, same_patient)
    return [name for name in names if name not in leave_out]
