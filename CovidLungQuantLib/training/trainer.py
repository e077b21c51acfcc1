"""Training the network, by the schedule of the paper or, for short runs, a one-cycle schedule.

Deterministic for a given configuration on one machine. A checkpoint after every epoch lets a killed
run go on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.networks import architecture_name, build_network
from CovidLungQuantLib.models.network import LesionNetwork
from CovidLungQuantLib.training.batches import CaseVariants, draw_slices, draw_windows
from CovidLungQuantLib.training.checks import ONE_CYCLE, PLATEAU, check_training
from CovidLungQuantLib.training.config import TrainingConfig, training_values
from CovidLungQuantLib.training.curves import Curves
from CovidLungQuantLib.training.data import (
    AnnotatedScan,
    HealthyScan,
    TaughtScan,
    TrainingCase,
    training_case,
)
from CovidLungQuantLib.training.distillation import check_grid, taught_probabilities
from CovidLungQuantLib.training.imagenet import start_from_imagenet
from CovidLungQuantLib.training.losses import distillation_loss, segmentation_loss
from CovidLungQuantLib.training.run_folder import claim_run_folder, resume, save_checkpoint
from CovidLungQuantLib.training.schedule import learning_rate, make_optimizer, make_scheduler
from CovidLungQuantLib.training.synthetic_lesions import LesionRanges
from CovidLungQuantLib.training.workers import Workers


class _LossOf(nn.Module):
    """A network with its loss, so that a distributed wrapper sees both as one module."""

    def __init__(
        self,
        network: LesionNetwork,
        config: TrainingConfig,
        distil_from: Sequence[LesionNetwork] = (),
    ) -> None:
        super().__init__()
        self.network = network
        self.config = config
        # A tuple, so that the teachers are no part of the module that learns.
        self.distil_from = tuple(distil_from)

    def forward(self, slices: Tensor, targets: Tensor, windows: Tensor | None) -> Tensor:
        """Loss of a `Batch`; without windows, of the main branch alone."""
        with torch.autocast(slices.device.type, dtype=torch.bfloat16):
            branches: tuple[Tensor, ...] = ()
            if windows is None:
                slices = slices.contiguous(memory_format=torch.channels_last)
                assert self.network.main_branch is not None, "only what can learn alone does"
                logits = self.network.main_branch(slices)[0]
            else:
                output = self.network(slices, windows)
                logits, branches = output.logits, output.branches
        loss = self._loss(logits, targets)
        if self.distil_from:
            taught = taught_probabilities(self.distil_from, slices, windows)
            loss = torch.lerp(
                loss, distillation_loss(logits.float(), taught), self.config.distil_weight
            )
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
    distil_from: Mapping[str, LesionNetwork] = MappingProxyType({}),
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
        distil_from: networks on the same grid, by the name the configuration calls them, whose
            answers are learned beside the labels; they are moved to the device.

    Raises:
        BadInputError: `config` has a value that nobody can train with, `run_folder` holds a run of
            other options or scans, `start_from` has other sizes than the network, or one of
            `distil_from` another grid.
    """
    check_training(config)
    teachers = list(distil_from.values())
    check_grid(config.network, teachers)
    run_folder = Path(run_folder)
    workers = Workers(device)
    network = _new_network(config, start_from, imagenet_weights)
    if workers.first:
        names = {
            "cases": [scan.name for scan in scans],
            "validation": [scan.name for scan in validation_scans],
            "healthy": [scan.name for scan in healthy_scans],
            "unlabelled": [scan.name for scan in taught_scans],
        }
        if distil_from:
            names["distilled from"] = list(distil_from)
        claim_run_folder(run_folder, training_values(config), names)
    network.to(workers.device)
    optimizer = make_optimizer(network, config)
    scheduler: Any = make_scheduler(optimizer, config)
    first_epoch = resume(run_folder, network, optimizer, scheduler)
    teachers = [teacher.to(workers.device).eval() for teacher in teachers]
    loss_of = workers.wrap(_LossOf(network, config, teachers), config.main_branch_epochs > 0)
    validation = [training_case(scan, config.network) for scan in validation_scans]
    cases = CaseVariants(
        [*scans, *taught_scans],
        config.network,
        healthy_scans,
        config.painted_variants,
        config.seed,
        config.single_slice_share,
        LesionRanges(dense_chance=config.dense_share, motion_chance=config.motion_share),
    )
    with Curves(run_folder if workers.first else None) as curves:
        for epoch in range(first_epoch, config.epochs):
            random = np.random.default_rng([config.seed, epoch, *workers.seed])
            network.train()
            loss = _epoch(loss_of, optimizer, scheduler, cases, config, epoch, random)
            record = {"epoch": epoch, "loss": workers.mean(loss), "lr": learning_rate(optimizer)}
            if validation:
                watched = validation_loss(network, validation, config)
                record["validation_loss"] = workers.mean(watched)
            if config.schedule == PLATEAU:
                scheduler.step(record.get("validation_loss", record["loss"]))
            curves.add(record)
            if workers.first:
                save_checkpoint(run_folder, network, optimizer, scheduler, epoch + 1)
            if config.schedule == PLATEAU and (
                learning_rate(optimizer) <= config.minimum_learning_rate
            ):
                break
    workers.leave()
    return network.cpu()


def _new_network(
    config: TrainingConfig, start_from: LesionNetwork | None, imagenet_weights: Path | None
) -> LesionNetwork:
    torch.manual_seed(config.seed)
    network = build_network(config.network)
    if config.main_branch_epochs and network.main_branch is None:
        raise BadInputError(
            "This network has no main branch that could be trained alone; set main_branch_epochs "
            "to 0."
        )
    if start_from is not None:
        _start_from(network, start_from)
    if imagenet_weights is not None:
        start_from_imagenet(network, imagenet_weights)
    return network


def _start_from(network: LesionNetwork, start: LesionNetwork) -> None:
    is_same_kind = architecture_name(start.config) == architecture_name(network.config)
    try:
        place = network if is_same_kind else network.main_branch
        if place is None:
            raise KeyError("main_branch")
        place.load_state_dict(start.state_dict())
    except (KeyError, RuntimeError) as error:
        raise BadInputError(
            "The model to start from has other layers than the network to train; start from one of "
            "the same recipe, or from a U-Net where that is the main branch."
        ) from error


def _epoch(
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    cases: CaseVariants,
    config: TrainingConfig,
    epoch: int,
    random: np.random.Generator,
) -> float:
    """All optimiser steps of an epoch; returns the mean loss."""
    losses = []
    for _ in range(config.steps_per_epoch):
        losses.append(_step(loss_of, optimizer, cases, config, epoch, random))
        if config.schedule == ONE_CYCLE:
            scheduler.step()
    return float(np.mean(losses))


def _step(
    loss_of: nn.Module,
    optimizer: torch.optim.Optimizer,
    cases: CaseVariants,
    config: TrainingConfig,
    epoch: int,
    random: np.random.Generator,
) -> float:
    """One optimiser step; returns the loss."""
    device = next(loss_of.parameters()).device
    drawing = (config.lesion_share, config.augmentation, random, device)
    if epoch < config.main_branch_epochs:
        batch = draw_slices(cases, config.samples_per_batch * config.targets_per_sample, *drawing)
    else:
        batch = draw_windows(cases, config.samples_per_batch, config.targets_per_sample, *drawing)
    loss = loss_of(*batch)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(loss_of.parameters(), 10.0)
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def validation_loss(
    network: LesionNetwork, cases: Sequence[TrainingCase], config: TrainingConfig
) -> float:
    """Mean loss over every slice of `cases`, as in training but for augmentation and branches."""
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
                        config.dice_weight,
                    )
                )
            )
    network.train()
    return float(np.mean(losses))
