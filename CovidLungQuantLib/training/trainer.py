"""Training the network, by the schedule of the paper or, for short runs, a one-cycle schedule.

Deterministic for a given configuration on one machine. A checkpoint after every epoch lets a killed
run go on where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from CovidLungQuantLib.lesions.network import ConvLSTMAttentionNetwork, NetworkConfig
from CovidLungQuantLib.lesions.preprocessing import slices_per_group
from CovidLungQuantLib.training.augmentation import AugmentationConfig, augment
from CovidLungQuantLib.training.data import AnnotatedScan, TrainingCase, draw_sample, training_case
from CovidLungQuantLib.training.imagenet import start_from_imagenet
from CovidLungQuantLib.training.losses import segmentation_loss

CHECKPOINT_FILE_NAME = "checkpoint.pt"
LOG_FILE_NAME = "training.jsonl"
CONFIG_FILE_NAME = "config.json"


@dataclass(frozen=True)
class TrainingConfig:
    """Every choice of a training run; saved with it. Defaults are the paper's (Grodecki 2021).

    Attributes:
        network: architecture and input.
        augmentation: random changes to the samples.
        optimizer: "sgd" (momentum 0.9) or "adamw".
        schedule: "plateau" (×0.1 after 10 epochs without better validation loss, stop below
            `minimum_learning_rate`) or "one_cycle" over `epochs`.
        epochs: most epochs to train.
        steps_per_epoch: optimiser steps in an epoch.
        samples_per_batch, targets_per_sample: a batch is this many stretches of neighbouring
            slices, each with this many targets (together the paper's batch of 32).
        dice_weight: of a soft Dice loss of the lesions; 0 in the paper.
        branch_weight: weight of the same loss on each branch alone; 0 in the paper.
        lesion_share: chance that a sample is drawn around a lesion.
        seed: of everything random.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
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
    lesion_share: float = 0.7
    seed: int = 0


# What the shipped weights were trained with: a hundredth of the paper's data and no GPU call for an
# optimiser that converges in a few hundred steps.
SHORT_TRAINING = TrainingConfig(
    optimizer="adamw",
    schedule="one_cycle",
    learning_rate=3e-3,
    weight_decay=1e-2,
    dice_weight=1.0,
    branch_weight=0.25,
    epochs=16,
    steps_per_epoch=30,
    samples_per_batch=6,
    targets_per_sample=4,
)


def train(
    scans: Sequence[AnnotatedScan],
    config: TrainingConfig,
    run_folder: Path,
    validation_scans: Sequence[AnnotatedScan] = (),
    imagenet_weights: Path | None = None,
    start_from: ConvLSTMAttentionNetwork | None = None,
) -> ConvLSTMAttentionNetwork:
    """Train a network; resumes where `run_folder` has a checkpoint of the same configuration.

    Args:
        scans: annotated cases to learn from.
        config: every choice.
        run_folder: receives configuration, log and checkpoint.
        validation_scans: needed by the "plateau" schedule, else only logged.
        imagenet_weights: file of DenseNet-121's weights to start the dense block from.
        start_from: a trained network of the same configuration to go on from.
    """
    run_folder = Path(run_folder)
    run_folder.mkdir(parents=True, exist_ok=True)
    (run_folder / CONFIG_FILE_NAME).write_text(json.dumps(asdict(config), indent=2))
    torch.manual_seed(config.seed)
    network = ConvLSTMAttentionNetwork(config.network)
    if start_from is not None:
        network.load_state_dict(start_from.state_dict())
    if imagenet_weights is not None:
        start_from_imagenet(network, imagenet_weights)
    # The dense branch computes several times faster with channels last, the ConvLSTM without.
    network.dense.to(memory_format=torch.channels_last)
    network.main_head.to(memory_format=torch.channels_last)
    optimizer = _optimizer(network, config)
    scheduler = _scheduler(optimizer, config)
    first_epoch = _resume(run_folder, network, optimizer, scheduler)
    validation = [training_case(scan, config.network) for scan in validation_scans]
    cases = _CaseVariants(scans, config)
    for epoch in range(first_epoch, config.epochs):
        random = np.random.default_rng([config.seed, epoch])
        network.train()
        losses = []
        for _ in range(config.steps_per_epoch):
            losses.append(_training_step(network, optimizer, cases, config, random))
            if config.schedule == "one_cycle":
                scheduler.step()
        record = {"epoch": epoch, "loss": float(np.mean(losses)), "lr": _learning_rate(optimizer)}
        if validation:
            record["validation_loss"] = validation_loss(network, validation, config)
        if config.schedule == "plateau":
            scheduler.step(record.get("validation_loss", record["loss"]))
        with (run_folder / LOG_FILE_NAME).open("a") as log:
            log.write(json.dumps(record) + "\n")
        _save_checkpoint(run_folder, network, optimizer, scheduler, epoch + 1)
        if (
            config.schedule == "plateau"
            and _learning_rate(optimizer) <= config.minimum_learning_rate
        ):
            break
    return network


class _CaseVariants:
    """Training cases; thin-slice scans in every way their slices can be grouped."""

    def __init__(self, scans: Sequence[AnnotatedScan], config: TrainingConfig) -> None:
        self.variants: list[list[TrainingCase]] = [
            [
                training_case(scan, config.network, first_slice)
                for first_slice in range(slices_per_group(scan.spacing_mm[2], config.network))
            ]
            for scan in scans
        ]

    def draw(self, random: np.random.Generator) -> TrainingCase:
        variants = self.variants[random.integers(len(self.variants))]
        return variants[random.integers(len(variants))]


def _training_step(
    network: ConvLSTMAttentionNetwork,
    optimizer: torch.optim.Optimizer,
    cases: _CaseVariants,
    config: TrainingConfig,
    random: np.random.Generator,
) -> float:
    slices, targets, windows = _draw_batch(cases, config, random)
    device = next(network.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16):
        output = network(slices.to(device), windows.to(device))
    targets = targets.to(device)
    loss = segmentation_loss(output.logits.float(), targets, config.rmi_weight, config.dice_weight)
    if config.branch_weight:
        for branch in (output.main, output.attention):
            loss = loss + config.branch_weight * segmentation_loss(
                branch.float(), targets, config.rmi_weight, config.dice_weight
            )
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 10.0)
    optimizer.step()
    return float(loss.detach())


def _draw_batch(
    cases: _CaseVariants, config: TrainingConfig, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Slices (n, 1, size, size), targets (m, 5, size, size) and windows (m, window_length)."""
    all_slices, all_targets, all_windows = [], [], []
    first = 0
    for _ in range(config.samples_per_batch):
        sample = draw_sample(
            cases.draw(random), config.targets_per_sample, config.lesion_share, random
        )
        slices, targets = augment(
            torch.from_numpy(sample.slices),
            torch.from_numpy(sample.targets),
            config.augmentation,
            random,
        )
        all_slices.append(slices)
        all_targets.append(targets)
        all_windows.append(torch.from_numpy(sample.windows) + first)
        first += len(slices)
    return torch.cat(all_slices)[:, None], torch.cat(all_targets), torch.cat(all_windows)


@torch.no_grad()
def validation_loss(
    network: ConvLSTMAttentionNetwork, cases: Sequence[TrainingCase], config: TrainingConfig
) -> float:
    """Mean loss over every slice of `cases`, without augmentation."""
    network.eval()
    device = next(network.parameters()).device
    losses = []
    for case in cases:
        for start in range(0, len(case.slices), config.targets_per_sample):
            windows = case.windows[start : start + config.targets_per_sample]
            needed, positions = np.unique(windows, return_inverse=True)
            slices = torch.from_numpy(case.slices[needed].astype(np.float32))[:, None].to(device)
            targets = case.targets[start : start + config.targets_per_sample].astype(np.float32)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                output = network(
                    slices, torch.from_numpy(positions.reshape(windows.shape)).to(device)
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


def _optimizer(network: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            network.parameters(),
            lr=config.learning_rate,
            momentum=0.9,
            weight_decay=config.weight_decay,
        )
    return torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )


def _scheduler(
    optimizer: torch.optim.Optimizer, config: TrainingConfig
) -> torch.optim.lr_scheduler.LRScheduler:
    if config.schedule == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=10)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=config.learning_rate,
        total_steps=config.epochs * config.steps_per_epoch,
        pct_start=0.15,
    )


def _learning_rate(optimizer: torch.optim.Optimizer) -> float:
    return float(optimizer.param_groups[0]["lr"])


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
