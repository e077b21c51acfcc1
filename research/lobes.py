"""`python -m research.lobes DATASET [-o MODEL.pt]`: train the lobe network.

DATASET is a folder of lobe label maps (NRRD, 1 RUL, 2 RML, 3 RLL, 4 LUL, 5 LLL; other values are
ignored), any spacing and orientation. Cross-validation is printed for each lobe; with `-o` a
network is trained on all masks after it and saved with its card. Deterministic on one machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork, LobeNetworkConfig, LungNetwork
from CovidLungQuantLib.anatomy.lobe_weights import save_lobe_model
from CovidLungQuantLib.anatomy.lobes import lobes_from_lungs
from CovidLungQuantLib.labels import LOBES, RIGHT_LUNG_VALUE
from research.lobe_average import average_dice
from research.lobe_bank import LobeTrainingConfig, LungBank, make_bank
from research.lobe_card import lobe_card
from research.lobe_masks import (
    LUNG_VALUES,
    LobeMask,
    lobe_dice,
    lungs_of,
    middle_lobe_in_front,
    read_lobe_masks,
)

# How sharply a fissure map turns from one lobe to the other, as the targets see it.
FISSURE_SOFTNESS_MM = 1.5


def train_cycle(
    bank: LungBank,
    network: LungNetwork,
    members: Sequence[int],
    config: LobeTrainingConfig,
    cycle: int,
) -> None:
    """Train a lung's network on some masks of a bank for one cycle (counted from 0), in place."""
    generator = torch.Generator().manual_seed(config.seed + cycle)
    optimizer = torch.optim.AdamW(
        network.parameters(), config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.learning_rate, total_steps=config.steps
    )
    network.train()
    for _ in range(config.steps):
        occupancy, fissures, size_mm = _draw_batch(bank, members, config, generator)
        loss = fissure_loss(network(occupancy, size_mm), fissures, occupancy)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()


def _draw_batch(
    bank: LungBank,
    members: Sequence[int],
    config: LobeTrainingConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Occupancy (batch, z, y, x), millimetres to the fissures and box sizes (batch, 3)."""
    variants = bank.occupancy.shape[1]
    rows = []
    for _ in range(config.batch):
        picks = [
            (
                members[int(torch.randint(len(members), (1,), generator=generator))],
                int(torch.randint(variants, (1,), generator=generator)),
            )
            for _ in range(2)
        ]
        chance, weight = torch.rand(2, generator=generator).tolist()
        if chance >= config.blend_share:
            (pick, _), weight = picks, 1.0
            rows.append(
                (bank.occupancy[pick] / 255.0, bank.fissures[pick] / 4.0, bank.size_mm[pick])
            )
            continue
        inside, fissures, size_mm = (
            weight * part[picks[0]].float() + (1 - weight) * part[picks[1]].float()
            for part in (bank.inside, bank.fissures, bank.size_mm)
        )
        cell_mm = float((size_mm / torch.tensor(inside.shape)).mean())
        rows.append(((inside / 4 / cell_mm + 0.5).clamp(0, 1), fissures / 4, size_mm))
    inside, fissures, size_mm = (torch.stack(parts) for parts in zip(*rows, strict=True))
    return inside, fissures, size_mm


def fissure_loss(maps: Tensor, fissures_mm: Tensor, occupancy: Tensor) -> Tensor:
    """Cross-entropy of each fissure plus soft Dice of the lobes, inside the lung only.

    Args:
        maps: of the network, (batch, fissures, z, y, x).
        fissures_mm: signed distances to the true fissures, same shape.
        occupancy: share of lung, (batch, z, y, x).
    """
    targets = torch.sigmoid(fissures_mm / FISSURE_SOFTNESS_MM)
    weights = [occupancy]
    if maps.shape[1] == 2:
        # Behind the oblique fissure there is no horizontal one.
        weights.append(occupancy * (1 - targets[:, 0]))
    entropy = sum(
        (
            functional.binary_cross_entropy_with_logits(
                maps[:, index], targets[:, index], reduction="none"
            )
            * weight
        ).sum()
        / occupancy.sum()
        for index, weight in enumerate(weights)
    )
    found, true = _lobe_shares(torch.sigmoid(maps)), _lobe_shares(targets)
    weight = occupancy[:, None]
    common = (weight * found * true).sum(dim=(2, 3, 4))
    total = (weight * (found + true)).sum(dim=(2, 3, 4))
    return entropy + (1 - 2 * common / (total + 1e-3)).mean()


def _lobe_shares(below: Tensor) -> Tensor:
    """Share of each lobe, (batch, lobes, z, y, x), from the shares below the fissures."""
    lower = below[:, 0]
    if below.shape[1] == 1:
        return torch.stack([1 - lower, lower], dim=1)
    middle = (1 - lower) * below[:, 1]
    return torch.stack([1 - lower - middle, middle, lower], dim=1)


def train_both(
    banks: dict[int, LungBank],
    members: Sequence[int],
    config: LobeTrainingConfig,
    network_config: LobeNetworkConfig,
) -> LobeNetwork:
    """Train the networks of both lungs on some masks."""
    torch.manual_seed(config.seed)
    network = LobeNetwork(network_config)
    for lung_value in LUNG_VALUES:
        is_right = lung_value == RIGHT_LUNG_VALUE
        for cycle in range(config.right_cycles if is_right else config.left_cycles):
            train_cycle(banks[lung_value], network.of_lung(lung_value), members, config, cycle)
    return network


def cross_validate(
    masks: Sequence[LobeMask],
    banks: dict[int, LungBank],
    folds: int,
    config: LobeTrainingConfig,
    network_config: LobeNetworkConfig,
) -> np.ndarray:
    """Dice of every mask by a network that did not see it, (mask, lobe); prints as it goes."""
    dice = np.full((len(masks), len(LOBES)), np.nan)
    for fold in range(folds):
        start = time.process_time()
        members = [index for index in range(len(masks)) if index % folds != fold]
        network = train_both(banks, members, config, network_config)
        for index in range(fold, len(masks), folds):
            mask = masks[index]
            found = lobes_from_lungs(lungs_of(mask.lobes), mask.spacing_mm, network)
            dice[index] = lobe_dice(found, mask.lobes)
            print(_row(mask.name, dice[index]), flush=True)
        print(
            _row(f"fold {fold}", dice[fold::folds].mean(axis=0)),
            f" {time.process_time() - start:.0f} s",
            flush=True,
        )
    return dice


def _row(name: str, values: np.ndarray) -> str:
    return f"{name:<16}" + "".join(f"{value:8.3f}" for value in (*values, np.mean(values)))


def recipe_text(config: LobeTrainingConfig) -> str:
    """How a network is trained, for its card."""
    return (
        f"AdamW, one-cycle schedule up to learning rate {config.learning_rate:g}, weight decay "
        f"{config.weight_decay:g}, {config.steps} steps of {config.batch} lungs a cycle; "
        f"{config.right_cycles} cycle(s) for the right lung, {config.left_cycles} for the left. "
        "Cross-entropy of each fissure plus soft Dice of the lobes, inside the lung. "
        f"{config.variants} copies of each lung, turned (SD {config.rotation_degrees:g}°), sheared "
        f"({config.shear:g}), bent ({config.bend:g} of the box) and damaged at random (dents and "
        f"holes, tight or wide border, cut ends); a share of {config.blend_share:g} of the samples "
        f"blends two lungs. Never mirrored. Seed {config.seed}."
    )


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Train the lobe network on lobe masks.")
    parser.add_argument("dataset", type=Path, help="folder of .nrrd lobe masks")
    parser.add_argument(
        "-o", "--output", type=Path, help="model file to write, with its card; such as lobes.pt"
    )
    parser.add_argument("--folds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config, network_config = LobeTrainingConfig(), LobeNetworkConfig()
    masks = read_lobe_masks(arguments.dataset)
    banks = {
        lung_value: make_bank(masks, lung_value, network_config.grid, config)
        for lung_value in LUNG_VALUES
    }
    print(f"{'mask':<16}" + "".join(f"{lobe.short_name:>8}" for lobe in LOBES) + "    mean")
    dice = cross_validate(masks, banks, arguments.folds, config, network_config)
    print(_row("mean", dice.mean(axis=0)))
    print(_row("median", np.median(dice, axis=0)))
    print(_row("worst", dice.min(axis=0)))
    if arguments.output:
        network = train_both(banks, range(len(masks)), config, network_config)
        card = lobe_card(
            arguments.output.stem,
            save_lobe_model(arguments.output, network),
            network,
            recipe_text(config),
            [mask.name for mask in masks],
            dice,
            arguments.folds,
            average_dice([mask.lobes for mask in masks], arguments.folds),
            [middle_lobe_in_front(mask.lobes) for mask in masks],
        )
        arguments.output.with_suffix(".md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
