"""Bent and damaged copies of lungs with their fissures: what the lobe network learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import (
    LEFT_UPPER_LOBE,
    RIGHT_LUNG_VALUE,
    RIGHT_MIDDLE_LOBE,
    RIGHT_UPPER_LOBE,
)
from research.lobe_masks import LobeMask, lungs_of

# Room around a lung, as a share of its box on each side, so that it can be turned and bent.
ROOM = 0.25
FARTHEST_MM = 31.0


@dataclass(frozen=True)
class LobeTrainingConfig:
    """Every choice of a training run.

    Attributes:
        variants: bent copies of each lung, made once and shared by all folds.
        steps, batch: of the optimiser in one cycle.
        right_cycles, left_cycles: one-cycle schedules, one after the other; the right lung with its
            two fissures is harder.
        learning_rate: highest of each cycle.
        blend_share: chance that a sample is a blend of two lungs.
        rotation_degrees, shear, bend: standard deviation of the random changes; `bend` is a share
            of the box.
        damage_share: chance of each kind of damage to the mask (dents, border, cut end).
        seed: of everything random.
    """

    variants: int = 24
    steps: int = 300
    batch: int = 6
    right_cycles: int = 2
    left_cycles: int = 1
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    blend_share: float = 0.5
    rotation_degrees: float = 4.0
    shear: float = 0.05
    bend: float = 0.03
    damage_share: float = 0.25
    seed: int = 0


@dataclass(frozen=True, eq=False)
class LungBank:
    """Bent copies of one lung of every mask, on the network's grid.

    Axes are (mask, variant, …); distances in millimetres, positive inside or below.

    Attributes:
        occupancy: uint8, share of lung × 255.
        inside: int8, quarter millimetres to the border of the lung.
        fissures: int8 (mask, variant, fissure, z, y, x), quarter millimetres to each fissure.
        size_mm: float32 (mask, variant, 3), of the box, (z, y, x).
    """

    occupancy: Tensor
    inside: Tensor
    fissures: Tensor
    size_mm: Tensor


def make_bank(
    masks: Sequence[LobeMask], lung_value: int, grid: tuple[int, ...], config: LobeTrainingConfig
) -> LungBank:
    """Bend one lung of every mask `config.variants` times; variant 0 is the lung as it is."""
    rows: dict[str, list[Tensor]] = {"occupancy": [], "inside": [], "fissures": [], "size_mm": []}
    for index, mask in enumerate(masks):
        generator = torch.Generator().manual_seed(config.seed + 1000 * index + lung_value)
        fields, extent_mm = _fields_with_room(mask, lung_value, grid)
        variants = [
            _bent(fields, extent_mm, grid, config if variant else None, generator)
            for variant in range(config.variants)
        ]
        for key, values in zip(rows, zip(*variants, strict=True), strict=True):
            rows[key].append(torch.stack(values))
    return LungBank(**{key: torch.stack(values) for key, values in rows.items()})


def _fields_with_room(
    mask: LobeMask, lung_value: int, grid: tuple[int, ...]
) -> tuple[Tensor, np.ndarray]:
    """Distance maps (1 + fissures, z, y, x) of a lung with room around it; their extent in mm."""
    lung = lungs_of(mask.lobes) == lung_value
    box = bounding_box(lung)
    spacing_mm = np.array(mask.spacing_mm[::-1])
    size = np.array([part.stop - part.start for part in box])
    room = np.ceil(ROOM * size).astype(int)
    lobes = np.pad(np.where(lung[box], mask.lobes[box], 0), [(width, width) for width in room])
    cells = [round(count * (1 + 2 * ROOM)) for count in grid]
    # Fine enough for the distances, which are smooth, at half the cells of the network.
    positions = [
        np.minimum(((np.arange(2 * count) + 0.5) * length / (2 * count)).astype(int), length - 1)
        for count, length in zip(cells, lobes.shape, strict=True)
    ]
    coarse = lobes[np.ix_(*positions)]
    extent_mm = np.array(lobes.shape) * spacing_mm
    steps_mm = extent_mm / coarse.shape
    whole = _nearest_label(coarse, steps_mm)
    upper = (RIGHT_UPPER_LOBE if lung_value == RIGHT_LUNG_VALUE else LEFT_UPPER_LOBE).value
    middle = RIGHT_MIDDLE_LOBE.value if lung_value == RIGHT_LUNG_VALUE else upper
    maps = [_signed_distance(coarse > 0, steps_mm), _signed_distance(whole > middle, steps_mm)]
    if lung_value == RIGHT_LUNG_VALUE:
        front = _nearest_label(np.where(whole > middle, 0, whole), steps_mm)
        maps.append(_signed_distance(front == middle, steps_mm))
    return torch.from_numpy(np.stack(maps).astype(np.float32)), extent_mm


def _nearest_label(labels: np.ndarray, steps_mm: np.ndarray) -> np.ndarray:
    nearest = ndimage.distance_transform_edt(
        labels == 0, sampling=steps_mm, return_distances=False, return_indices=True
    )
    return labels[tuple(nearest)]


def _signed_distance(mask: np.ndarray, steps_mm: np.ndarray) -> np.ndarray:
    """Millimetres to the border, positive inside."""
    return ndimage.distance_transform_edt(mask, sampling=steps_mm) - (
        ndimage.distance_transform_edt(~mask, sampling=steps_mm)
    )


def _bent(
    fields: Tensor,
    extent_mm: np.ndarray,
    grid: tuple[int, ...],
    config: LobeTrainingConfig | None,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One copy of a lung, turned, sheared, bent and damaged at random, in its new bounding box."""
    places = _places(grid, extent_mm, config, generator)
    lung = _sample(fields[:1], places)[0] > 0
    cut = _random_cut(config, generator)
    box = bounding_box(lung.numpy())
    first = torch.tensor([float(part.start) for part in box])
    size = torch.tensor([float(part.stop - part.start) for part in box])
    first[0] += cut[0] * size[0]
    size[0] *= 1 - cut[0] - cut[1]
    size_mm = size / torch.tensor(lung.shape) * torch.tensor(extent_mm, dtype=torch.float32)
    if config is not None:
        size_mm = size_mm * torch.exp(0.1 * torch.randn(1, generator=generator))
    fine = [2 * cells for cells in grid]
    in_box = [
        2 * (start + (torch.arange(count) + 0.5) / count * length) / total - 1
        for start, length, count, total in zip(first, size, fine, lung.shape, strict=True)
    ]
    inner = torch.stack(torch.meshgrid(*in_box, indexing="ij")[::-1], dim=-1)
    fine_places = _sample(places.permute(3, 0, 1, 2), inner).permute(1, 2, 3, 0)
    sampled = _sample(fields, fine_places)
    voxels = (sampled[:1] > 0).float()
    if config is not None:
        voxels = _damaged(voxels, config, generator)
    occupancy = functional.avg_pool3d(voxels[None], 2)[0, 0]
    quarter_mm = functional.avg_pool3d(sampled[None], 2)[0].clamp(-FARTHEST_MM, FARTHEST_MM) * 4
    distances = quarter_mm.round().to(torch.int8)
    return (occupancy * 255).round().to(torch.uint8), distances[0], distances[1:], size_mm


def _places(
    grid: tuple[int, ...],
    extent_mm: np.ndarray,
    config: LobeTrainingConfig | None,
    generator: torch.Generator,
) -> Tensor:
    """Where each cell of the lung with room comes from, (z, y, x, 3) in grid_sample's −1…1."""
    cells = [round(count * (1 + 2 * ROOM)) for count in grid]
    matrix = torch.eye(3)
    if config is not None:
        angles = torch.randn(3, generator=generator) * np.radians(config.rotation_degrees)
        turn = torch.zeros(3, 3)
        turn[0, 1], turn[0, 2], turn[1, 2] = angles
        matrix = torch.matrix_exp(turn - turn.T)
        matrix = matrix + config.shear * torch.randn(3, 3, generator=generator)
        half_mm = torch.tensor(extent_mm[::-1].copy(), dtype=torch.float32) / 2
        matrix = matrix * half_mm[None, :] / half_mm[:, None]
    theta = torch.cat([matrix, torch.zeros(3, 1)], dim=1)[None]
    places = functional.affine_grid(theta, [1, 1, *cells], align_corners=False)[0]
    if config is not None:
        bend = 2 * config.bend * torch.randn(1, 3, 5, 4, 4, generator=generator)
        smooth = functional.interpolate(bend, size=cells, mode="trilinear", align_corners=True)
        places = places + functional.avg_pool3d(smooth, 5, 1, 2)[0].permute(1, 2, 3, 0)
    return places


def _sample(fields: Tensor, places: Tensor) -> Tensor:
    return functional.grid_sample(
        fields[None], places[None], padding_mode="border", align_corners=False
    )[0]


def _random_cut(config: LobeTrainingConfig | None, generator: torch.Generator) -> tuple:
    """Shares of the lung cut off below and above, as by a scan that ends too early."""
    if config is None:
        return 0.0, 0.0
    chance, share, end = torch.rand(3, generator=generator).tolist()
    if chance > config.damage_share / 2:
        return 0.0, 0.0
    return (0.15 * share, 0.0) if end < 0.7 else (0.0, 0.1 * share)


def _damaged(voxels: Tensor, config: LobeTrainingConfig, generator: torch.Generator) -> Tensor:
    """Dents and holes (lesions, vessels left out) and a border drawn too tight or too wide."""
    chance = torch.rand(3, generator=generator)
    if chance[0] < config.damage_share:
        voxels = functional.max_pool3d(voxels[None], 3, 1, 1)[0]
    elif chance[1] < config.damage_share:
        voxels = -functional.max_pool3d(-voxels[None], 3, 1, 1)[0]
    if chance[2] < config.damage_share:
        inside = torch.nonzero(voxels[0])
        axes = [torch.arange(count) for count in voxels.shape[1:]]
        for _ in range(int(torch.randint(1, 6, (1,), generator=generator))):
            pick = int(torch.randint(len(inside), (1,), generator=generator))
            radius = 2 + 8 * torch.rand(3, generator=generator)
            squares = [
                ((axis - centre) / length) ** 2
                for axis, centre, length in zip(axes, inside[pick], radius, strict=True)
            ]
            ball = squares[0][:, None, None] + squares[1][:, None] + squares[2] < 1
            voxels = voxels * ~ball
    return voxels
