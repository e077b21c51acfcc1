"""Optimisers of a training, and how the learning rate changes on the way."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from CovidLungQuantLib.models.network import LesionNetwork
from CovidLungQuantLib.training.checks import PLATEAU, SGD
from CovidLungQuantLib.training.config import TrainingConfig

Scheduler = torch.optim.lr_scheduler.LRScheduler | torch.optim.lr_scheduler.ReduceLROnPlateau

CYCLE_RISE = 0.15


def make_optimizer(network: LesionNetwork, config: TrainingConfig) -> torch.optim.Optimizer:
    """The optimiser; the main branch is its first group of parameters, the rest its last."""
    groups = _parameter_groups(network)
    if config.optimizer == SGD:
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


def make_scheduler(optimizer: torch.optim.Optimizer, config: TrainingConfig) -> Scheduler:
    """What changes the learning rate: after every epoch (plateau) or step (one cycle)."""
    if config.schedule == PLATEAU:
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=10)
    first = config.main_branch_epochs * config.steps_per_epoch
    second = max(1, config.epochs * config.steps_per_epoch - first)

    def factor(step: int) -> float:
        return one_cycle(step / first if step < first else min(1.0, (step - first) / second))

    def main_branch_factor(step: int) -> float:
        return factor(step) * (config.main_branch_rate if step >= first else 1.0)

    factors: list[Callable[[int], float]] = [main_branch_factor, factor]
    # One for each group of parameters: a network without branches has the last alone.
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factors[-len(optimizer.param_groups) :])


def one_cycle(position: float) -> float:
    """Share of the peak learning rate at `position` (0…1) of a cycle: a rise, then half a cosine.

    After Smith and Topin, Super-convergence, 2018.
    """
    if position < CYCLE_RISE:
        return max(0.04, position / CYCLE_RISE)
    return 0.5 + 0.5 * math.cos(math.pi * (position - CYCLE_RISE) / (1.0 - CYCLE_RISE))


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The present rate, of all but the main branch."""
    return float(optimizer.param_groups[-1]["lr"])
