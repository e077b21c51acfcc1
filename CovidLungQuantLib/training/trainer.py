"""Training the network, by the schedule of the paper or, for short runs, a one-cycle schedule.

Deterministic for a given configuration on one machine. A checkpoint after every epoch lets a killed
run go on where it stopped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.networks import (
    NETWORKS,
    architecture_name,
    build_network,
    config_from_values,
    config_to_values,
)
from CovidLungQuantLib.lesions.networks.convlstm_attention import NetworkConfig
from CovidLungQuantLib.models.network import LesionNetwork, LesionNetworkConfig
from CovidLungQuantLib.training.augmentation import AugmentationConfig
from CovidLungQuantLib.training.batches import CaseVariants, draw_slices, draw_windows
from CovidLungQuantLib.training.curves import Curves
from CovidLungQuantLib.training.data import (
    AnnotatedScan,
    HealthyScan,
    TaughtScan,
    TrainingCase,
    training_case,
)
from CovidLungQuantLib.training.imagenet import start_from_imagenet
from CovidLungQuantLib.training.losses import segmentation_loss
from CovidLungQuantLib.training.workers import Workers
from CovidLungQuantLib.vetting import read_json

CHECKPOINT_FILE_NAME = "checkpoint.pt"
CONFIG_FILE_NAME = "config.json"
# Names of the scans of a run, beside its options in the configuration.
SCANS_KEY = "scans"

CYCLE_RISE = 0.15


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; saved with it. Defaults are the paper's (Grodecki 2021).

    Attributes:
        network: architecture and input.
        augmentation: random changes to the samples.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        schedule: "plateau" (×0.1 after 10 epochs without better validation loss, stop below
            `minimum_learning_rate`) or "one_cycle", one over `main_branch_epochs` and one over the
            rest.
        epochs: most epochs to train.
        steps_per_epoch: optimiser steps in an epoch.
        samples_per_batch, targets_per_sample: a batch is this many stretches of neighbouring
            slices, each with this many targets (together the paper's batch of 32).
        dice_weight: of a soft Dice loss of the lesions; 0 in the paper.
        branch_weight: weight of the same loss on each branch alone; 0 in the paper.
        main_branch_epochs: of `epochs`, the first this many train the main branch alone, on
            single slices (samples_per_batch × targets_per_sample a batch); 0 in the paper.
        main_branch_rate: the main branch's learning rate as a share of the others', in the epochs
            that train all, so as not to undo what it has learned alone; 1 in the paper.
        painted_variants: how many times lesions are painted into each healthy scan.
        lesion_share: chance that a sample is drawn around a lesion.
        seed: of everything random.
    """

    network: LesionNetworkConfig = field(default_factory=NetworkConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    optimizer: str = "sgd"
    schedule: str = "plateau"
    learning_rate: float = 1e-3
    minimum_learning_rate: float = 1e-7
    weight_decay: float = 1e-6
    rmi_weight: float = 0.5
    dice_weight: float = 0.0
    branch_weight: float = 0.0
    epochs: int = 500
    steps_per_epoch: int = 40
    samples_per_batch: int = 4
    targets_per_sample: int = 8
    main_branch_epochs: int = 0
    main_branch_rate: float = 1.0
    painted_variants: int = 4
    lesion_share: float = 0.7
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
        values: dict[str, Any] = read_json(path)
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
    except (BadInputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInputError(
            f"{path} is no training configuration ({error}); start from a run's config.json, whose "
            f"network is one of {', '.join(NETWORKS)}."
        ) from error


class _LossOf(nn.Module):
    """A network with its loss, so that a distributed wrapper sees both as one module."""

    def __init__(self, network: LesionNetwork, config: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config

    def forward(self, slices: Tensor, targets: Tensor, windows: Tensor | None) -> Tensor:
        """Loss of a `Batch`; without windows, of the main branch alone."""
        with torch.autocast(slices.device.type, dtype=torch.bfloat16):
            if windows is None:
                slices = slices.contiguous(memory_format=torch.channels_last)
                logits, branches = self.network.main_branch(slices)[0], ()
            else:
                output = self.network(slices, windows)
                logits, branches = output.logits, output.branches
        loss = self._loss(logits, targets)
        if self.config.branch_weight:
            for branch in branches:
                loss = loss + self.config.branch_weight * self._loss(branch, targets)
        return loss

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        return segmentation_loss(
            logits.float(), targets, self.config.rmi_weight, self.config.dice_weight
        )


def train(
    scans: Sequence[AnnotatedScan],
    config: TrainingConfig,
    run_folder: Path,
    validation_scans: Sequence[AnnotatedScan] = (),
    imagenet_weights: Path | None = None,
    start_from: LesionNetwork | None = None,
    device: str = "cpu",
    healthy_scans: Sequence[HealthyScan] = (),
    taught_scans: Sequence[TaughtScan] = (),
) -> LesionNetwork:
    """Train a network; resumes where `run_folder` has a checkpoint of the same training.

    Under `torchrun` every process calls this; gradients are averaged between them, and the first
    process writes.

    Args:
        scans: annotated cases to learn from.
        config: every choice.
        run_folder: receives configuration, log, TensorBoard curves (where tensorboard is installed)
            and checkpoint.
        validation_scans: needed by the "plateau" schedule, else only logged.
        imagenet_weights: file of DenseNet-121's weights to start the dense block from.
        start_from: a trained network of the same configuration to go on from, or a U-Net for the
            main branch.
        device: "cpu", "cuda", "cuda:1" …
        healthy_scans: scans without lesions, to learn from as they are and with painted lesions.
        taught_scans: scans without labels, to learn from as other networks see them.

    Raises:
        BadInputError: `run_folder` holds a run of other options or scans, or `start_from` has other
            sizes than the network.
    """
    run_folder = Path(run_folder)
    workers = Workers(device)
    torch.manual_seed(config.seed)
    network = build_network(config.network)
    if start_from is not None:
        _start_from(network, start_from)
    if imagenet_weights is not None:
        start_from_imagenet(network, imagenet_weights)
    if workers.first:
        _claim(
            run_folder,
            config,
            {
                "cases": scans,
                "validation": validation_scans,
                "healthy": healthy_scans,
                "unlabelled": taught_scans,
            },
        )
    network.to(workers.device)
    optimizer = _optimizer(network, config)
    scheduler = _scheduler(optimizer, config)
    first_epoch = _resume(run_folder, network, optimizer, scheduler)
    loss_of = workers.wrap(_LossOf(network, config), config.main_branch_epochs > 0)
    validation = [training_case(scan, config.network) for scan in validation_scans]
    cases = CaseVariants(
        [*scans, *taught_scans],
        config.network,
        healthy_scans,
        config.painted_variants,
        config.seed,
    )
    with Curves(run_folder if workers.first else None) as curves:
        for epoch in range(first_epoch, config.epochs):
            random = np.random.default_rng([config.seed, epoch, *workers.seed])
            network.train()
            losses = []
            for _ in range(config.steps_per_epoch):
                losses.append(_step(loss_of, optimizer, cases, config, epoch, random))
                if config.schedule == "one_cycle":
                    scheduler.step()
            record = {
                "epoch": epoch,
                "loss": workers.mean(float(np.mean(losses))),
                "lr": _learning_rate(optimizer),
            }
            if validation:
                record["validation_loss"] = workers.mean(
                    validation_loss(network, validation, config)
                )
            if config.schedule == "plateau":
                scheduler.step(record.get("validation_loss", record["loss"]))
            curves.add(record)
            if workers.first:
                _save_checkpoint(run_folder, network, optimizer, scheduler, epoch + 1)
            if (
                config.schedule == "plateau"
                and _learning_rate(optimizer) <= config.minimum_learning_rate
            ):
                break
    workers.leave()
    return network.cpu()


def _step(
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    cases: CaseVariants,
    config: TrainingConfig,
    epoch: int,
    random: np.random.Generator,
) -> float:
    """One optimiser step; returns the loss."""
    drawing = (config.lesion_share, config.augmentation, random)
    if epoch < config.main_branch_epochs:
        batch = draw_slices(cases, config.samples_per_batch * config.targets_per_sample, *drawing)
    else:
        batch = draw_windows(cases, config.samples_per_batch, config.targets_per_sample, *drawing)
    device = next(loss_of.parameters()).device
    loss = loss_of(*(part if part is None else part.to(device) for part in batch))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(loss_of.parameters(), 10.0)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def validation_loss(
    network: LesionNetwork, cases: Sequence[TrainingCase], config: TrainingConfig
) -> float:
    """Mean loss over every slice of `cases`, without augmentation."""
    network.eval()
    device = next(network.parameters()).device
    losses = []
    for case in cases:
        for start in range(0, len(case.slices), config.targets_per_sample):
            windows = case.windows[start : start + config.targets_per_sample]
            needed, positions = np.unique(windows, return_inverse=True)
            slices = torch.from_numpy(case.slices[case.contexts[needed]].astype(np.float32))
            targets = case.targets[start : start + config.targets_per_sample].astype(np.float32)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                output = network(
                    slices.to(device), torch.from_numpy(positions.reshape(windows.shape)).to(device)
                )
            losses.append(
                float(
                    segmentation_loss(
                        output.logits.float(),
                        torch.from_numpy(targets).to(device),
                        config.rmi_weight,
                    )
                )
            )
    network.train()
    return float(np.mean(losses))


def _claim(
    run_folder: Path,
    config: TrainingConfig,
    scans: dict[str, Sequence[AnnotatedScan | HealthyScan | TaughtScan]],
) -> None:
    """Write the configuration and the names of the scans; refuse a folder with others."""
    config_file = run_folder / CONFIG_FILE_NAME
    names = {kind: [scan.name for scan in several] for kind, several in scans.items()}
    values = {**training_values(config), SCANS_KEY: names}
    text = json.dumps(values, indent=2, ensure_ascii=False)
    if (run_folder / CHECKPOINT_FILE_NAME).exists() and config_file.read_text(
        encoding="utf-8"
    ) != text:
        raise BadInputError(
            f"{run_folder.name} holds a training run of other options or scans; choose another "
            "folder, or the same options and scans to go on with it."
        )
    run_folder.mkdir(parents=True, exist_ok=True)
    config_file.write_text(text, encoding="utf-8")


def _start_from(network: LesionNetwork, start: LesionNetwork) -> None:
    is_same_kind = architecture_name(start.config) == architecture_name(network.config)
    try:
        (network if is_same_kind else network.main_branch).load_state_dict(start.state_dict())
    # A network without a main branch has None there.
    except (AttributeError, RuntimeError) as error:
        raise BadInputError(
            "The model to start from has other layers than the network to train; start from one of "
            "the same recipe, or from a U-Net where that is the main branch."
        ) from error


def _optimizer(network: LesionNetwork, config: TrainingConfig) -> torch.optim.Optimizer:
    groups = _parameter_groups(network)
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=config.learning_rate, momentum=0.9, weight_decay=config.weight_decay
        )
    return torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)


def _parameter_groups(network: LesionNetwork) -> list[dict[str, list[nn.Parameter]]]:
    """The main branch and the rest; all in one for a network without branches."""
    groups: dict[bool, list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault(name.startswith("main_branch."), []).append(parameter)
    return [{"params": groups[key]} for key in sorted(groups, reverse=True)]


def _scheduler(
    optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=10)
    first = config.main_branch_epochs * config.steps_per_epoch
    second = max(1, config.epochs * config.steps_per_epoch - first)

    def factor(step: int) -> float:
        return one_cycle(step / first if step < first else min(1.0, (step - first) / second))

    def main_branch_factor(step: int) -> float:
        return factor(step) * (config.main_branch_rate if step >= first else 1.0)

    factors = [main_branch_factor, factor][-len(optimizer.param_groups) :]
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors)


def one_cycle(position: float) -> float:
    """Share of the peak learning rate at `position` (0…1) of a cycle: a rise, then half a cosine.

    After Smith and Topin, Super-convergence, 2018.
    """
    if position < CYCLE_RISE:
        return max(0.04, position / CYCLE_RISE)
    return 0.5 + 0.5 * math.cos(math.pi * (position - CYCLE_RISE) / (1.0 - CYCLE_RISE))


def _learning_rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[-1]["lr"])


def _save_checkpoint(
    run_folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    next_epoch: int,
) -> None:
    """Write beside, then rename, so that a kill never leaves half a checkpoint."""
    partial = run_folder / f"{CHECKPOINT_FILE_NAME}.partial"
    torch.save(
        {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "next_epoch": next_epoch,
        },
        partial,
    )
    partial.replace(run_folder / CHECKPOINT_FILE_NAME)


def _resume(
    run_folder: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> int:
    checkpoint_file = run_folder / CHECKPOINT_FILE_NAME
    if not checkpoint_file.exists():
        return 0
    checkpoint = torch.load(checkpoint_file, map_location="cpu", weights_only=True)
    network.load_state_dict(checkpoint["network"])
    optimizer.load_state_dict(checkpoint["optimizer"])
    scheduler.load_state_dict(checkpoint["scheduler"])
    return int(checkpoint["next_epoch"])
