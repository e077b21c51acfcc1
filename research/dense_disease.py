"""Dense disease, gas and pneumothorax painted into scans whose lungs are known.

Everything works on the grid of the lung network; the truth about what is lung stays as it was,
whatever is painted over it. Arrays are tensors (z, y, x), upright: y grows to the back, z to the
head.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from CovidLungQuantLib.anatomy.lung_network import (
    GAS_CLASS,
    GRID_MM,
    LUNG_CLASSES,
    PNEUMOTHORAX_CLASS,
)
from research.lung_bank import lungs_of_shares

DENSE_HU = (0.0, 60.0)
EFFUSION_HU = (-5.0, 25.0)
AIR_HU = -990.0
BOWEL_HU = (-1000.0, -850.0)
BOWEL_RADIUS_MM = (8.0, 50.0)
BOWEL_WALL_MM = 4.0
# How far the field that decides where disease lies bends, as a share of its spread.
BEND = 0.35


def smooth_noise(shape: tuple[int, ...], size_mm: float, random: np.random.Generator) -> Tensor:
    """Noise of mean 0 and SD about 1 whose features are about `size_mm` large."""
    cells = [max(2, round(count * GRID_MM / size_mm) + 1) for count in shape]
    coarse = torch.tensor(random.standard_normal(cells, dtype=np.float32))
    return (
        functional.interpolate(
            coarse[None, None], size=shape, mode="trilinear", align_corners=True
        )[0, 0]
        * 1.6
    )


def paint_dense_disease(
    hu: Tensor, shares: Tensor, random: np.random.Generator, share: float | None = None
) -> Tensor:
    """Lung made as dense as tissue or fluid; returns the new HU, float32.

    Where: behind a tilted front, below one, beside the pleura, in patches, in one whole lung, or a
    layer of fluid with a level. Consolidation may keep its bronchi.

    Args:
        hu: float32.
        shares: float32 (classes, z, y, x), 0…1.
        random: source of randomness.
        share: of the lung to make dense; None draws one.
    """
    lungs = lungs_of_shares(shares)
    kind = random.choice(
        ["behind", "below", "both", "pleura", "patches", "whole", "fluid"],
        # A front that rises from the diaphragm looks like a diaphragm that stands high: the
        # hardest to tell, so the most often shown.
        p=[0.18, 0.28, 0.2, 0.06, 0.05, 0.1, 0.13],
    )
    side = random.choice([0, *LUNG_CLASSES], p=[0.5, 0.25, 0.25])
    if kind == "whole":
        side = side or random.choice(LUNG_CLASSES)
    where = lungs if side == 0 else shares[int(side)]
    inside = where > 0.5
    if int(inside.sum()) < 1000:
        return hu
    if kind == "whole":
        amount = where.clone()
    else:
        field = _field(str(kind), lungs, inside, random)
        if share is None:
            share = float(random.uniform(0.05, 0.85))
        threshold = torch.quantile(_some(field[inside]), 1 - share)
        spread = float(_some(field[inside]).std()) + 1e-3
        softness = spread * float(random.uniform(0.01, 0.03 if kind == "fluid" else 0.2))
        amount = where * torch.sigmoid((field - threshold) / softness)
    return _filled(hu, amount, kind == "fluid", random)


def _field(kind: str, lungs: Tensor, inside: Tensor, random: np.random.Generator) -> Tensor:
    """A map that is highest where disease of this kind comes first."""
    shape = tuple(lungs.shape)
    axes = [torch.linspace(-1.0, 1.0, count) for count in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    tilt = random.normal(0.0, 0.25, 3)
    if kind == "patches":
        return smooth_noise(shape, float(random.uniform(20, 80)), random)
    if kind == "pleura":
        depth = _mean_around(inside, 9)
        field = -depth + 0.2 * float(random.uniform(0, 1)) * (y - z)
    elif kind == "fluid":
        # A level, a little higher along the chest wall (meniscus).
        rim = _mean_around(inside, 7)
        return y + tilt[0] * 0.3 * z - 0.1 * float(random.uniform(0, 1)) * rim
    else:
        along = {"behind": (0.0, 1.0), "below": (-1.0, 0.0), "both": (-0.8, 0.8)}[kind]
        field = along[0] * z + along[1] * y
    field = field + tilt[0] * z + tilt[1] * y + tilt[2] * x
    bend = BEND * float(field[inside].std())
    return field + bend * smooth_noise(shape, float(random.uniform(25, 100)), random)


def _mean_around(mask: Tensor, size: int) -> Tensor:
    """Share of the mask in a cube of `size` cells about each cell; fast, axis by axis."""
    shares = mask.float()[None]
    for axis in range(3):
        cube = [size if at == axis else 1 for at in range(3)]
        shares = functional.avg_pool3d(shares, cube, 1, [count // 2 for count in cube])
    return shares[0]


def _filled(hu: Tensor, amount: Tensor, is_fluid: bool, random: np.random.Generator) -> Tensor:
    """HU with tissue or fluid in the stated amount (0…1)."""
    shape = tuple(hu.shape)
    level = float(random.uniform(*(EFFUSION_HU if is_fluid else DENSE_HU)))
    dense = level + float(random.uniform(0, 15)) * smooth_noise(shape, 15.0, random)
    if not is_fluid and random.random() < 0.6:
        # Two smooth maps are near zero together along lines: bronchi that hold air.
        lines = smooth_noise(shape, 25.0, random) ** 2 + smooth_noise(shape, 25.0, random) ** 2
        width = float(random.uniform(0.005, 0.04))
        dense = torch.lerp(dense, torch.tensor(-750.0), (1 - lines / width).clamp(0, 1) * 0.8)
    return torch.lerp(hu, torch.maximum(hu, dense), amount.clamp(0, 1))


def paint_faint_disease(hu: Tensor, shares: Tensor, random: np.random.Generator) -> Tensor:
    """Patches of lung made denser, as ground glass does."""
    lungs = lungs_of_shares(shares)
    noise = smooth_noise(tuple(hu.shape), float(random.uniform(20, 80)), random)
    amount = lungs * torch.sigmoid(4 * (noise - float(random.uniform(-0.5, 1.0))))
    return hu + float(random.uniform(100, 450)) * amount


def paint_gas(
    hu: Tensor, shares: Tensor, body: Tensor, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Gas in stomach and bowel, anywhere in the body below the tops of the domes; HU and shares."""
    lungs = lungs_of_shares(shares)
    filled = torch.nonzero((lungs > 0.5).flatten(1).any(dim=1))
    if not len(filled):
        return hu, shares
    first, last = int(filled[0]), int(filled[-1])
    top = first + round(0.45 * (last - first))
    wall = 2 * round(BOWEL_WALL_MM / GRID_MM) + 1
    taken = (lungs > 0.02) | ~body
    free = functional.max_pool3d(taken.float()[None], wall, 1, wall // 2)[0] < 0.5
    free[top:] = False
    places = torch.nonzero(free)
    if not len(places):
        return hu, shares
    gas = torch.zeros_like(hu)
    axes = [torch.arange(count, dtype=torch.float32) for count in hu.shape]
    bent = smooth_noise(tuple(hu.shape), 30.0, random)
    for _ in range(int(random.integers(1, 6))):
        centre = places[int(random.integers(len(places)))]
        radii = random.uniform(*BOWEL_RADIUS_MM, 3) / GRID_MM
        squares = [
            ((axis - float(place)) / float(radius)) ** 2
            for axis, place, radius in zip(axes, centre, radii, strict=True)
        ]
        distance = (squares[0][:, None, None] + squares[1][:, None] + squares[2]).sqrt()
        gas = torch.maximum(gas, torch.sigmoid(8 * (1 - distance + 0.15 * bent)))
    gas = gas * free
    hu = torch.lerp(hu, torch.full_like(hu, float(random.uniform(*BOWEL_HU))), gas)
    return hu, _with_class(shares, GAS_CLASS, gas)


def paint_pneumothorax(
    hu: Tensor, shares: Tensor, random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Air between chest wall and one lung, in front and to the side; HU and shares."""
    side = int(random.choice(LUNG_CLASSES))
    lung = shares[side]
    inside = lung > 0.5
    if int(inside.sum()) < 1000:
        return hu, shares
    axes = [torch.linspace(-1.0, 1.0, count) for count in hu.shape]
    z, y, _ = torch.meshgrid(*axes, indexing="ij")
    depth = _mean_around(inside, 15)
    field = -1.5 * depth - float(random.uniform(0, 1.5)) * y + float(random.uniform(0, 0.8)) * z
    field = field + 0.1 * smooth_noise(tuple(hu.shape), 60.0, random)
    threshold = torch.quantile(_some(field[inside]), 1 - float(random.uniform(0.05, 0.6)))
    air = lung * torch.sigmoid((field - threshold) / 0.02)
    pressed = float(random.uniform(0, 300)) * (lung - air)
    hu = torch.lerp(hu + pressed, torch.full_like(hu, AIR_HU), air.clamp(0, 1))
    return hu, _with_class(shares, PNEUMOTHORAX_CLASS, air)


def _with_class(shares: Tensor, value: int, amount: Tensor) -> Tensor:
    """Shares with `amount` of one class put over the others."""
    shares = shares * (1 - amount)
    shares[value] += amount
    return shares


def _some(values: Tensor, count: int = 20000) -> Tensor:
    """At most `count` of the values, evenly chosen: enough for a quantile."""
    return values[:: max(1, len(values) // count)]
