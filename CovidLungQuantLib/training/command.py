"""`covidlungquant train`: from the options to a trained model."""

from __future__ import annotations

import argparse
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.inference import choose_device
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks.architectures import CONFIGS, config_from_values
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.models.registry import MODEL_SUFFIX
from CovidLungQuantLib.training.augmentation import AugmentationConfig
from CovidLungQuantLib.training.checks import PLATEAU, check_training
from CovidLungQuantLib.training.data import (
    fold_names,
    fold_of_dataset,
    read_case,
    read_healthy_scan,
)
from CovidLungQuantLib.training.dataset import case_names, patient_groups
from CovidLungQuantLib.training.self_training import read_taught_scan
from CovidLungQuantLib.training.trainer import RECIPES, SCANS_KEY, TrainingConfig, train
from CovidLungQuantLib.training.workers import is_first_process


def run(chosen: argparse.Namespace) -> None:
    """Train on all cases, or on those outside one fold, and save the model.

    Raises:
        BadInputError: no such dataset, fold or configuration.
    """
    config = read_config(chosen.config) if chosen.config else RECIPES[chosen.recipe]
    changes = {
        name: getattr(chosen, name)
        for name in ("epochs", "learning_rate", "seed")
        if getattr(chosen, name) is not None
    }
    config = replace(config, **changes)
    check_training(config)
    if bool(chosen.unlabelled) != bool(chosen.teacher):
        raise BadInputError(
            "Scans without labels need a teacher, and a teacher needs scans: give --unlabelled and "
            "--teacher together, or neither."
        )
    teachers = [load_model(model) for model in chosen.teacher]
    start = load_model(chosen.start_from).network if chosen.start_from else None
    if isinstance(start, UNet) and not isinstance(config.network, UNetConfig):
        # What the main branch would learn alone, it knows.
        rest = config.epochs - config.main_branch_epochs
        config = replace(config, epochs=rest, main_branch_epochs=0)
    training = case_names(chosen.dataset)
    if chosen.fold is not None:
        if not 0 <= chosen.fold < chosen.folds:
            raise BadInputError(f"There is no fold {chosen.fold} of {chosen.folds}; count from 0.")
        training, _ = fold_of_dataset(
            chosen.dataset, chosen.fold, chosen.folds, chosen.same_patient
        )
    left_out = [name for names in chosen.leave_out for name in names]
    training = [name for name in training if name not in left_out]
    validation: list[str] = []
    if config.schedule == PLATEAU:
        same_patient = patient_groups(chosen.dataset, chosen.same_patient)
        training, validation = fold_names(training, 0, 5, same_patient)
    if not training:
        raise BadInputError("No case is left to train on; use fewer folds or add cases.")
    device = choose_device(chosen.device)
    network = train(
        [read_case(chosen.dataset, name) for name in training],
        config,
        chosen.output,
        [read_case(chosen.dataset, name) for name in validation],
        chosen.imagenet,
        start,
        device,
        [read_healthy_scan(path) for path in chosen.healthy],
        [read_taught_scan(path, teachers, device) for path in chosen.unlabelled],
    )
    if not is_first_process():
        return
    model_file = chosen.output / f"{chosen.output.name}{MODEL_SUFFIX}"
    print(f"{save_model(model_file, network)}  {model_file}")


def read_config(path: Path) -> TrainingConfig:
    """The configuration saved with a run.

    Raises:
        BadInputError: the file is none.
    """
    try:
        values: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        augmentation = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in values["augmentation"].items()
        }
        names = {field.name for field in fields(TrainingConfig)} - {"network", "augmentation"}
        rest = {key: value for key, value in values.items() if key in names}
        if unknown := set(values) - names - {"network", "augmentation", SCANS_KEY}:
            raise KeyError(min(unknown))
        return TrainingConfig(
            network=config_from_values(values["network"]),
            augmentation=AugmentationConfig(**augmentation),
            **rest,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(
            f"{path} is no training configuration ({error}); start from a run's config.json, whose "
            f"network is one of {', '.join(CONFIGS)}."
        ) from error
