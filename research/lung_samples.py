"""Bent, cut, blurred and painted copies of scans with known lungs, for the lung network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from CovidLungQuantLib.anatomy.lung_network import GRID_MM
from research.dense_disease import (
    paint_dense_disease,
    paint_faint_disease,
    paint_gas,
    paint_pneumothorax,
    smooth_noise,
)
from research.lung_bank import LungScan, lungs_of_shares

LOWEST_HU = -1024.0


@dataclass(frozen=True)
class LungSampleConfig:
    """How samples are drawn; shares are chances.

    Attributes:
        depths: cells of a sample in z, one of them drawn; `height` and `width` are fixed.
        rotation_degrees, scale, shear, bend_mm: geometry, SD (`scale` is the largest change).
        dense_share, faint_share, gas_share, pneumothorax_share: what is painted, see
            `dense_disease.py`.
        blur_share: thicker slices, or a diaphragm that moved.
        cut_share: a field of view that cuts the body.
        hu_shift, narrowing, noise_hu: largest.
    """

    depths: tuple[int, ...] = (64, 80, 96)
    height: int = 96
    width: int = 128
    rotation_degrees: float = 6.0
    scale: float = 0.2
    shear: float = 0.04
    bend_mm: float = 6.0
    dense_share: float = 0.45
    faint_share: float = 0.2
    gas_share: float = 0.4
    pneumothorax_share: float = 0.2
    blur_share: float = 0.35
    cut_share: float = 0.2
    hu_shift: float = 60.0
    narrowing: float = 0.25
    noise_hu: float = 40.0


class LungSample(NamedTuple):
    """HU (z, y, x), shares (classes, z, y, x) and where they are known (z, y, x), all float32."""

    hu: Tensor
    shares: Tensor
    known: Tensor


class LungSamples(Dataset[LungSample]):
    """Sample number n is always the same; scans take turns at random, each as likely."""

    def __init__(self, scans: Sequence[LungScan], config: LungSampleConfig, seed: int = 0) -> None:
        self.scans = scans
        self.config = config
        self.seed = seed

    def __getitem__(self, index: int) -> LungSample:
        random = np.random.default_rng([self.seed, index])
        scan = self.scans[int(random.integers(len(self.scans)))]
        return draw_sample(scan, self.config, random)


def draw_sample(
    scan: LungScan, config: LungSampleConfig, random: np.random.Generator
) -> LungSample:
    """One changed copy of a scan."""
    hu, shares, known, body = _moved(scan, config, random)
    if random.random() < config.pneumothorax_share:
        hu, shares = paint_pneumothorax(hu, shares, random)
    if random.random() < config.faint_share:
        hu = paint_faint_disease(hu, shares, random)
    if random.random() < config.dense_share:
        hu = paint_dense_disease(hu, shares, random)
    if random.random() < config.gas_share:
        hu, shares = paint_gas(hu, shares, body, random)
    if random.random() < config.blur_share:
        hu = _blurred(hu, shares, random)
    hu = _other_hu(hu, body, config, random)
    if random.random() < config.cut_share:
        hu, known = _cut(hu, known, random)
    return LungSample(hu, shares, known)


def _moved(
    scan: LungScan, config: LungSampleConfig, random: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """HU, shares, known and body of a part of the scan, turned, stretched and bent."""
    shape = (int(random.choice(config.depths)), config.height, config.width)
    places = _places(tuple(scan.hu.shape), shape, config, random)
    maps = torch.cat(
        [scan.shares[1:].float() / 255, scan.known[None].float(), scan.body[None].float()]
    )
    sampled = functional.grid_sample(maps[None], places[None], align_corners=False)[0]
    hu = functional.grid_sample(
        scan.hu[None, None].float(), places[None], padding_mode="border", align_corners=False
    )[0, 0]
    shares = torch.cat([(1 - sampled[:-2].sum(0, keepdim=True)).clamp(0, 1), sampled[:-2]])
    return hu, shares, (sampled[-2] > 0.99).float(), sampled[-1] > 0.5


def _places(
    source: tuple[int, ...],
    shape: tuple[int, int, int],
    config: LungSampleConfig,
    random: np.random.Generator,
) -> Tensor:
    """Where each cell comes from, (z, y, x, 3) in grid_sample's −1…1 (order x, y, z)."""
    angles = np.radians(random.normal(0.0, config.rotation_degrees, 3))
    turn = np.zeros((3, 3))
    turn[0, 1], turn[0, 2], turn[1, 2] = angles
    matrix = torch.matrix_exp(torch.from_numpy(turn - turn.T)).numpy()
    matrix = matrix + config.shear * random.standard_normal((3, 3))
    overall = np.exp(random.uniform(-config.scale, config.scale))
    matrix = matrix * overall * np.exp(random.uniform(-config.scale / 2, config.scale / 2, 3))
    half_out, half_in = np.array(shape[::-1]) / 2.0, np.array(source[::-1]) / 2.0
    room = np.abs(half_in - half_out)
    # Along z anywhere, also a little beyond the ends; in the plane near the middle.
    shift = random.uniform(-1.0, 1.0, 3) * np.array([8.0, 8.0, room[2] + 6.0])
    theta = np.concatenate(
        [matrix * half_out[None, :] / half_in[:, None], (shift / half_in)[:, None]], axis=1
    )
    grid = functional.affine_grid(
        torch.tensor(theta[None].astype(np.float32)), [1, 1, *shape], align_corners=False
    )[0]
    for axis in range(3):
        bend = config.bend_mm / GRID_MM * smooth_noise(shape, 90.0, random)
        grid[..., axis] += bend / float(half_in[axis])
    return grid


def _blurred(hu: Tensor, shares: Tensor, random: np.random.Generator) -> Tensor:
    """Thicker slices, or, about the lower ends of the lungs only, smeared by motion."""
    size = int(random.choice([3, 5]))
    padded = functional.pad(hu[None, None], (0, 0, 0, 0, size // 2, size // 2), mode="replicate")
    thick = functional.avg_pool3d(padded, (size, 1, 1), stride=1)[0, 0]
    filled = torch.nonzero((lungs_of_shares(shares) > 0.5).flatten(1).any(dim=1))
    if random.random() < 0.6 or not len(filled):
        return thick
    first, last = float(filled[0]), float(filled[-1])
    level = first + float(random.uniform(0.2, 0.6)) * (last - first)
    low = torch.sigmoid((level - torch.arange(len(hu))) / 2.0)[:, None, None]
    return torch.lerp(hu, thick, low)


def _other_hu(
    hu: Tensor, body: Tensor, config: LungSampleConfig, random: np.random.Generator
) -> Tensor:
    """Another calibration, narrowed or clipped grey values, contrast medium, noise, no clothes."""
    shape = tuple(hu.shape)
    if random.random() < 0.2:
        blood = ((hu > 10) & (hu < 120)).float() * (smooth_noise(shape, 40.0, random) > 0.7)
        hu = hu + float(random.uniform(30, 200)) * blood
    if random.random() < 0.4:
        narrow = 1.0 - float(random.uniform(0.0, config.narrowing))
        hu = -400.0 + narrow * (hu + 400.0)
    if random.random() < 0.6:
        hu = hu + float(random.uniform(-config.hu_shift, config.hu_shift))
    if random.random() < 0.3:
        hu = hu.clamp(-1024.0, float(random.uniform(100.0, 400.0)))
    if random.random() < 0.7:
        noise = torch.tensor(random.standard_normal(shape, dtype=np.float32))
        hu = hu + float(random.uniform(0.0, config.noise_hu)) * noise
    if random.random() < 0.3:
        hu = torch.where(body, hu, torch.tensor(LOWEST_HU))
    return hu


def _cut(hu: Tensor, known: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Only what lies in a cylinder is shown; beyond it nothing is known."""
    height, width = hu.shape[1:]
    y = torch.arange(height)[:, None] - height / 2 - float(random.uniform(-6, 6))
    x = torch.arange(width)[None, :] - width / 2 - float(random.uniform(-6, 6))
    beyond = (y**2 + x**2).sqrt() * GRID_MM > float(random.uniform(110, 190))
    return hu.masked_fill(beyond, LOWEST_HU), known.masked_fill(beyond, 0.0)
