"""A small 3D network that sees the whole chest at once and tells lung from what looks like it.

The threshold in `lungs.py` finds air. This network knows where a lung ends though it is dense, and
that gas in a bowel or in the pleural space is not lung. It works on a coarse grid; fine borders are
not its business. Arrays are (z, y, x) and upright.
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
from CovidLungQuantLib.models.polling import polled
from CovidLungQuantLib.progress import Poll, no_poll

Shape = tuple[int, int, int]
Spacing = tuple[float, float, float]

GRID_MM = 3.0
CELL_ML = GRID_MM**3 / 1000.0
# Classes of the network's answer; lungs have the values they have everywhere.
ELSEWHERE_CLASS = 0
AIRWAY_CLASS = 3
PNEUMOTHORAX_CLASS = 4
GAS_CLASS = 5  # in stomach and bowel
LUNG_CLASSES = (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE)
LUNG_NETWORK_CLASSES = 6

# One channel shows air to bone, one the differences between fat, water and muscle.
HU_WINDOWS = ((-1024.0, 400.0), (-200.0, 200.0))
# The finest level has half the resolution of the grid, and is halved three times.
LEVELS = 4
GRID_STEP = 2**LEVELS


@dataclass(frozen=True)
class LungNetworkConfig:
    """Architecture.

    Attributes:
        channels: of the four levels of the network, finest first; multiples of 4.
    """

    channels: tuple[int, int, int, int] = (16, 32, 64, 96)


def check_lung_config(config: LungNetworkConfig) -> None:
    """Refuse values that no lung network has, before one is built.

    Raises:
        ValueError: a value is no whole number, or out of bounds.
    """
    check_sizes(config.channels, LEVELS, NORM_GROUPS, LARGEST_CHANNELS)


class ChestNetwork(nn.Module):
    """A U-Net from HU on a grid of `GRID_MM` to logits on the same grid."""

    def __init__(self, config: LungNetworkConfig) -> None:
        super().__init__()
        self.config = config
        first, *deeper = config.channels
        self.enter = nn.Conv3d(len(HU_WINDOWS), first, 4, stride=2, padding=1)
        self.first = convolution_block(first, first)
        self.down = nn.ModuleList(
            convolution_block(above, width)
            for above, width in zip(config.channels[:-1], deeper, strict=True)
        )
        self.up = nn.ModuleList(
            convolution_block(below + width, width)
            for below, width in zip(deeper[::-1], config.channels[-2::-1], strict=True)
        )
        self.leave = nn.ConvTranspose3d(first, LUNG_NETWORK_CLASSES, 2, stride=2)

    def forward(self, windows: Tensor) -> Tensor:
        """Logits (batch, LUNG_NETWORK_CLASSES, z, y, x).

        Args:
            windows: from `hu_windows`, (batch, 2, z, y, x); sizes are multiples of `GRID_STEP`.
        """
        seen = [self.first(self.enter(windows))]
        for block in self.down:
            seen.append(block(functional.avg_pool3d(seen[-1], 2)))
        features = seen.pop()
        for block in self.up:
            larger = twice(features)
            features = block(torch.cat([larger, seen.pop()], dim=1))
        return self.leave(features)


def hu_windows(hu: Tensor) -> Tensor:
    """What the network sees of HU (batch, z, y, x): (batch, 2, z, y, x) in −1…1."""
    shown = [2.0 * (hu.clamp(low, high) - low) / (high - low) - 1.0 for low, high in HU_WINDOWS]
    return torch.stack(shown, dim=1)


def grid_shape(shape: Shape, spacing_mm: Spacing) -> Shape:
    """Cells of `GRID_MM` (z, y, x) that a scan of this shape and voxel size (x, y, z) fills."""
    depth, height, width = (
        max(1, round(size * step / GRID_MM))
        for size, step in zip(shape, reversed(spacing_mm), strict=True)
    )
    return depth, height, width


def onto_grid(volume: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll) -> Tensor:
    """Mean of a volume (z, y, x) in each cell of the grid, float32; linear where it is coarser.

    Axis by axis, and the slices one at a time, so that memory stays small.
    """
    depth, height, width = grid_shape(volume.shape, spacing_mm)
    planes = []
    for plane in volume:
        poll()
        planes.append(_resized_plane(torch.from_numpy(plane.astype(np.float32)), (height, width)))
    return _resized_depth(torch.stack(planes), depth)


def _resized_plane(plane: Tensor, size: tuple[int, int]) -> Tensor:
    return functional.interpolate(
        plane[None, None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0, 0]


def _resized_depth(planes: Tensor, depth: int) -> Tensor:
    columns = planes.reshape(len(planes), -1)
    return _resized_plane(columns, (depth, columns.shape[1])).reshape(depth, *planes.shape[1:])


def class_shares(
    hu: np.ndarray, spacing_mm: Spacing, network: ChestNetwork, poll: Poll = no_poll
) -> np.ndarray:
    """How much of each cell the network takes for each class.

    Args:
        hu: Hounsfield units (z, y, x), upright.
        spacing_mm: voxel size (x, y, z).
        network: in evaluation mode, on the CPU.
        poll: called between slices and layers; may raise `Cancelled`.

    Returns:
        float32 (LUNG_NETWORK_CLASSES, z, y, x) on the grid of `grid_shape`; sums to 1.
    """
    return shares_on_grid(onto_grid(hu, spacing_mm, poll), network, poll)


@torch.inference_mode()
def shares_on_grid(coarse: Tensor, network: ChestNetwork, poll: Poll = no_poll) -> np.ndarray:
    """As `class_shares`, of the HU that `onto_grid` gives."""
    missing = [-size % GRID_STEP for size in coarse.shape]
    padding = [width for size in reversed(missing) for width in (0, size)]
    padded = functional.pad(coarse[None, None], padding, mode="replicate")[0]
    windows = hu_windows(padded).contiguous(memory_format=torch.channels_last_3d)
    with polled(network, poll):
        shares = network(windows)[0].float().softmax(dim=0)
    depth, height, width = coarse.shape
    return shares[:, :depth, :height, :width].numpy()
