"""Batches for training: cases on the network's grid, drawn and augmented."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.lesions.preprocessing import slices_per_group
from CovidLungQuantLib.models.network import LesionNetworkConfig
from CovidLungQuantLib.training.augmentation import AugmentationConfig, augment
from CovidLungQuantLib.training.data import (
    AnnotatedScan,
    HealthyScan,
    Sample,
    TaughtScan,
    TrainingCase,
    draw_sample,
    draw_slice,
    training_case,
)
from CovidLungQuantLib.training.synthetic_lesions import LesionRanges


class Batch(NamedTuple):
    """Slices (n, context_slices, size, size), targets (m, TARGET_CHANNELS, size, size) and windows.

    `windows` (m, window_length) are indices into `slices`; None where each target is its slice.
    """

    slices: Tensor
    targets: Tensor
    windows: Tensor | None


class CaseVariants:
    """Training cases; each scan in several variants, cases of a single slice by themselves.

    Thin-slice scans come in every way their slices can be grouped, healthy scans as they are and
    with painted lesions.
    """

    def __init__(
        self,
        scans: Sequence[AnnotatedScan | TaughtScan],
        network: LesionNetworkConfig,
        healthy: Sequence[HealthyScan] = (),
        painted_variants: int = 0,
        seed: int = 0,
        single_slice_share: float = 0.0,
        ranges: LesionRanges | None = None,
    ) -> None:
        self.single_slices = [training_case(scan, network) for scan in scans if len(scan.hu) == 1]
        self.single_slice_share = single_slice_share
        self.variants: list[list[TrainingCase]] = [
            [
                training_case(scan, network, first_slice)
                for first_slice in range(slices_per_group(scan.spacing_mm[2], network))
            ]
            for scan in scans
            if len(scan.hu) > 1
        ]
        for index, scan in enumerate(healthy):
            painted = [
                scan.painted(np.random.default_rng([seed, index, variant]), ranges)
                for variant in range(painted_variants)
            ]
            self.variants.append(
                [training_case(variant, network) for variant in (scan.annotated(), *painted)]
            )

    def draw(self, random: np.random.Generator) -> TrainingCase:
        """One case, every scan as likely as any other, and so every single slice among its like."""
        if not self.variants or (self.single_slices and random.random() < self.single_slice_share):
            return self.single_slices[random.integers(len(self.single_slices))]
        variants = self.variants[random.integers(len(self.variants))]
        return variants[random.integers(len(variants))]


def draw_slices(
    cases: CaseVariants,
    count: int,
    lesion_share: float,
    augmentation: AugmentationConfig,
    random: np.random.Generator,
    device: torch.device | None = None,
) -> Batch:
    """`count` single slices, each from a case of its own and changed in its own way.

    They are changed on `device`, by default the CPU, where noise is drawn in another way.
    """
    batch = [
        _augmented(
            draw_slice(cases.draw(random), lesion_share, random, device), augmentation, random
        )
        for _ in range(count)
    ]
    return Batch(
        torch.cat([slices for slices, _ in batch]),
        torch.cat([targets for _, targets in batch]),
        None,
    )


def draw_windows(
    cases: CaseVariants,
    samples: int,
    targets_per_sample: int,
    lesion_share: float,
    augmentation: AugmentationConfig,
    random: np.random.Generator,
    device: torch.device | None = None,
) -> Batch:
    """`samples` stretches of neighbouring targets with all the slices their windows need.

    `device` as in `draw_slices`.
    """
    all_slices, all_targets, all_windows = [], [], []
    first = 0
    for _ in range(samples):
        case = cases.draw(random)
        sample = draw_sample(case, targets_per_sample, lesion_share, random, device)
        slices, targets = _augmented(sample, augmentation, random)
        all_slices.append(slices)
        all_targets.append(targets)
        all_windows.append(sample.windows + first)
        first += len(slices)
    return Batch(torch.cat(all_slices), torch.cat(all_targets), torch.cat(all_windows))


def _augmented(
    sample: Sample, augmentation: AugmentationConfig, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    return augment(sample.slices, sample.targets, sample.lesions, augmentation, random)
