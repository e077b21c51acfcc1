"""What the 3D networks of this room are built from, and what their sizes may be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NORM_GROUPS = 4
LARGEST_CHANNELS = 1024


class SteadyGroupNorm(nn.GroupNorm):
    """Group norm whose result does not depend on how many threads compute it.

    With the channels last, PyTorch adds up each thread's part: a border that lies on the edge moves
    by a voxel on a computer with more cores. With the channels first one thread adds up a group.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps (batch, channels, z, y, x), in the memory format they came in."""
        has_channels_last = maps.is_contiguous(memory_format=torch.channels_last_3d)
        normalised = super().forward(maps.contiguous())
        if has_channels_last:
            return normalised.contiguous(memory_format=torch.channels_last_3d)
        return normalised


def convolution_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Two convolutions of 3×3×3, each normalised and rectified."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, padding=1, bias=False),
        SteadyGroupNorm(NORM_GROUPS, channels_out),
        nn.LeakyReLU(0.1),
        nn.Conv3d(channels_out, channels_out, 3, padding=1, bias=False),
        SteadyGroupNorm(NORM_GROUPS, channels_out),
        nn.LeakyReLU(0.1),
    )


def twice(maps: Tensor) -> Tensor:
    """Maps (batch, channels, z, y, x) with twice the cells along each axis, linear between them."""
    return functional.interpolate(maps, scale_factor=2, mode="trilinear", align_corners=False)


def check_sizes(values: Sequence[object], count: int, step: int, highest: int) -> None:
    """Refuse what are not `count` multiples of `step` up to `highest`; raises ValueError."""
    numbers = [value for value in values if type(value) is int]
    if len(values) != count or len(numbers) != count:
        raise ValueError(f"{values} are not {count} whole numbers")
    if not all(step <= value <= highest and value % step == 0 for value in numbers):
        raise ValueError(f"{values} are out of bounds")
