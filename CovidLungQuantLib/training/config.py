"""Every choice of a training run, and the file that holds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.networks import NETWORKS, config_from_values, config_to_values
from CovidLungQuantLib.lesions.networks.convlstm_attention import NetworkConfig
from CovidLungQuantLib.models.network import LesionNetworkConfig
from CovidLungQuantLib.training.augmentation import AugmentationConfig
from CovidLungQuantLib.training.checks import PLATEAU, SGD
from CovidLungQuantLib.vetting import read_json

CONFIG_FILE_NAME = "config.json"
# Names of the scans of a run, beside its options in the configuration.
SCANS_KEY = "scans"


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; saved with it. Defaults are the paper's (Grodecki 2021).

    Attributes:
        network: architecture and input.
        augmentation: random changes to the samples.
        optimizer: "sgd" (momentum 0.9) or "adamw"; `checks.check_training` tells what is no value.
        schedule: "plateau" (×0.1 after 10 epochs without better validation loss, stop below
            `minimum_learning_rate`) or "one_cycle", one over `main_branch_epochs` and one over the
            rest.
        epochs: most epochs to train.
        steps_per_epoch: optimiser steps in an epoch.
        samples_per_batch, targets_per_sample: a batch is this many stretches of neighbouring
            slices, each with this many targets (together the paper's batch of 32).
        dice_weight: of a soft Dice loss of the lesions; 0 in the paper.
        branch_weight: weight of the same loss on each branch alone; 0 in the paper.
        distil_weight: share of what larger networks say of the same slices in the loss, where there
            are any; the rest is the reader's labels. None in the paper.
        main_branch_epochs: of `epochs`, the first this many train the main branch alone, on
            single slices (samples_per_batch × targets_per_sample a batch); 0 in the paper.
        main_branch_rate: the main branch's learning rate as a share of the others', in the epochs
            that train all, so as not to undo what it has learned alone; 1 in the paper.
        painted_variants: how many times lesions are painted into each healthy scan.
        dense_share: share of the painted scans with lung without air, too.
        motion_share: share of the painted scans whose lower lungs are smeared by breathing.
        lesion_share: chance that a sample is drawn around a lesion.
        single_slice_share: chance that a sample is one of the cases of a single slice, where there
            are any; they may be many more than the scans.
        seed: of everything random.
    """

    network: LesionNetworkConfig = field(default_factory=NetworkConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: str = SGD
    schedule: str = PLATEAU
    learning_rate: float = 1e-3
    minimum_learning_rate: float = 1e-7
    weight_decay: float = 1e-6
    rmi_weight: float = 0.5
    dice_weight: float = 0.0
    branch_weight: float = 0.0
    distil_weight: float = 0.5
    epochs: int = 500
    steps_per_epoch: int = 40
    samples_per_batch: int = 4
    targets_per_sample: int = 8
    main_branch_epochs: int = 0
    main_branch_rate: float = 1.0
    painted_variants: int = 4
    dense_share: float = 0.0
    motion_share: float = 0.0
    lesion_share: float = 0.7
    single_slice_share: float = 0.25
    seed: int = 0


def training_values(config: TrainingConfig) -> dict[str, Any]:
    """A configuration as its file holds it and `read_config` reads it."""
    return {**asdict(config), "network": config_to_values(config.network)}


def read_config(path: Path) -> TrainingConfig:
    """The configuration saved with a run.

    Raises:
        BadInputError: the file is none.
    """
    try:
        values: dict[str, Any] = read_json(path, nan_allowed=True)
        augmentation: dict[str, Any] = {
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
    except (BadInputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(
            f"{path} is no training configuration ({error}); start from a run's config.json, whose "
            f"network is one of {', '.join(NETWORKS)}."
        ) from error
