"""A small network that draws the fissures of one lung from its shape alone.

A lung is seen in its own bounding box, stretched to a fixed grid, so that position in the grid
means position in the lung. The network answers with one map for each fissure: above zero below
the oblique fissure (lower lobe), and, in the right lung, below the horizontal one (middle lobe).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from CovidLungQuantLib.anatomy.network_blocks import (
    LARGEST_CHANNELS,
    NORM_GROUPS,
    check_sizes,
    convolution_block,
    twice,
)
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

Shape = tuple[int, int, int]

# Fissures in the order of the network's maps.
FISSURE_COUNTS = {RIGHT_LUNG_VALUE: 2, LEFT_LUNG_VALUE: 1}
# An ordinary lung, (z, y, x); sizes reach the network as logarithms against it.
USUAL_SIZE_MM = (280.0, 180.0, 130.0)
INPUT_CHANNELS = 7
# Halved three times on the way down.
GRID_STEP = 8
LARGEST_GRID = 256


@dataclass(frozen=True)
class LobeNetworkConfig:
    """Architecture and input.

    Attributes:
        grid: cells over the bounding box of a lung, (z, y, x); multiples of 8.
        channels: of the levels of the network, finest first.
    """

    grid: Shape = (48, 32, 24)
    channels: tuple[int, int, int] = (24, 48, 96)


def check_lobe_config(config: LobeNetworkConfig) -> None:
    """Refuse values that no lobe network has, before one is built.

    Raises:
        ValueError: a value is no whole number, or out of bounds.
    """
    check_sizes(config.grid, 3, GRID_STEP, LARGEST_GRID)
    check_sizes(config.channels, 3, NORM_GROUPS, LARGEST_CHANNELS)


class LungNetwork(nn.Module):
    """Fissure maps of one lung. A U-Net whose finest level has half the resolution of the grid."""

    def __init__(self, config: LobeNetworkConfig, fissures: int) -> None:
        super().__init__()
        fine, middle, coarse = config.channels
        self.enter = nn.Conv3d(INPUT_CHANNELS, fine, 4, stride=2, padding=1)
        self.fine_down = convolution_block(fine, fine)
        self.middle_down = convolution_block(fine, middle)
        self.coarse = convolution_block(middle, coarse)
        self.middle_up = convolution_block(coarse + middle, middle)
        self.fine_up = convolution_block(middle + fine, fine)
        self.leave = nn.Conv3d(fine, fissures, 1)

    def forward(self, occupancy: Tensor, size_mm: Tensor) -> Tensor:
        """Map every cell of the grid.

        Args:
            occupancy: share of lung in each cell, (batch, z, y, x).
            size_mm: of the bounding box, (batch, 3) in (z, y, x).

        Returns:
            (batch, fissures, z, y, x); above zero below the fissure.
        """
        fine = self.fine_down(self.enter(_with_place_and_size(occupancy, size_mm)))
        middle = self.middle_down(functional.avg_pool3d(fine, 2))
        deep = self.coarse(functional.avg_pool3d(middle, 2))
        middle = self.middle_up(torch.cat([twice(deep), middle], dim=1))
        fine = self.fine_up(torch.cat([twice(middle), fine], dim=1))
        return twice(self.leave(fine))


class LobeNetwork(nn.Module):
    """The networks of both lungs."""

    def __init__(self, config: LobeNetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.right = LungNetwork(config, FISSURE_COUNTS[RIGHT_LUNG_VALUE])
        self.left = LungNetwork(config, FISSURE_COUNTS[LEFT_LUNG_VALUE])

    def of_lung(self, lung_value: int) -> LungNetwork:
        """The network of a lung, by its label value."""
        return self.right if lung_value == RIGHT_LUNG_VALUE else self.left


def occupancy_on_grid(lung: np.ndarray, grid: Shape) -> Tensor:
    """Share of lung in each cell when the array, cropped to the lung, is stretched to `grid`.

    Args:
        lung: bool (z, y, x), cropped to its bounding box.
        grid: cells (z, y, x).

    Returns:
        float32 tensor of shape `grid`.
    """
    voxels = torch.from_numpy(np.ascontiguousarray(lung, dtype=np.float32))
    return functional.interpolate(voxels[None, None], size=grid, mode="area")[0, 0]


def _with_place_and_size(occupancy: Tensor, size_mm: Tensor) -> Tensor:
    """Seven channels: lung, the place in the box along each axis, the size along each axis."""
    batch, *grid = occupancy.shape
    axes = [torch.linspace(-1.0, 1.0, cells, device=occupancy.device) for cells in grid]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij")).expand(batch, -1, -1, -1, -1)
    relative = torch.log(size_mm / size_mm.new_tensor(USUAL_SIZE_MM))
    size = relative[:, :, None, None, None].expand(-1, -1, *grid)
    return torch.cat([occupancy[:, None], place, size], dim=1)
