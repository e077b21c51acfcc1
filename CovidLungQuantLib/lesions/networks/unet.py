"""The 2D U-Net of COVID-Lesion Net (Pan et al. 2021); it also stands for Bartoli et al. 2022.

Twelve convolution segments (convolution, batch normalisation, activation), three max-poolings,
three transposed convolutions and concatenations between both paths. The papers give no widths and
no order; here two segments stand on each of four levels down, one on each level up, and one before
the output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from CovidLungQuantLib.lesions.networks.blocks import convolution_segment, initialise
from CovidLungQuantLib.models.network import BODY_CROP, LOGIT_CHANNELS

LEVELS = 4
# The level whose features the ConvLSTM (`convlstm_attention.py`) sees: a quarter of the resolution.
QUARTER_LEVEL = 2


@dataclass(frozen=True)
class UNetConfig:
    """Everything needed to rebuild a U-Net; saved with its weights.

    Attributes:
        working_size, crop, window_length, window_step_mm, context_slices, hu_window: as in
            `NetworkConfig`; a window is the slice alone.
        base_channels: width of the finest level, doubled at every level below.
    """

    working_size: int = 256
    crop: str = BODY_CROP
    window_length: int = 1
    window_step_mm: float = 3.0
    context_slices: int = 1
    hu_window: tuple[float, float] = (-1024.0, 600.0)
    base_channels: int = 16

    fine_tuning_recipe: ClassVar[str] = "unet"

    @property
    def description(self) -> str:
        """A sentence for the card."""
        return (
            "The 2D U-Net of COVID-Lesion Net (Pan et al. 2021), which also stands for the slice "
            f"network of Bartoli et al. 2022; it sees {self.context_slices} neighbouring slices, "
            f"about {self.window_step_mm:g} mm apart, as channels."
        )

    @property
    def widths(self) -> str:
        """A few words for the card."""
        return f"{self.base_channels} channels at the finest level"


class SliceLogits(NamedTuple):
    """Logits (slices, LOGIT_CHANNELS, size, size)."""

    logits: Tensor

    @property
    def branches(self) -> tuple[Tensor, ...]:
        """A U-Net has no branches that could be trained apart."""
        return ()


class UNetLevels(nn.Module):
    """The U-Net's paths down and up; gives logits, and features at a quarter of the resolution."""

    def __init__(self, context_slices: int, base_channels: int) -> None:
        super().__init__()
        widths = [base_channels * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(
            nn.Sequential(
                convolution_segment(above, width, 3),
                convolution_segment(width, width, 3),
            )
            for above, width in zip([context_slices, *widths], widths, strict=False)
        )
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2)
            for level in range(LEVELS - 1)
        )
        self.up = nn.ModuleList(
            convolution_segment(2 * widths[level], widths[level], 3) for level in range(LEVELS - 1)
        )
        self.last = convolution_segment(widths[0], widths[0], 3)
        self.output = nn.Conv2d(widths[0], LOGIT_CHANNELS, 1)
        self.feature_channels = widths[QUARTER_LEVEL]

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Slices (slices, context_slices, size, size) → logits and features.

        Logits are (slices, LOGIT_CHANNELS, size, size); the features, (slices, feature_channels,
        size/4, size/4), are those of the way up.
        """
        features, passed_on, quarter = slices, [], slices
        for level, segment in enumerate(self.down):
            features = segment(functional.max_pool2d(features, 2) if level else features)
            passed_on.append(features)
        for level in reversed(range(LEVELS - 1)):
            enlarged = self.enlarge[level](features)
            features = self.up[level](torch.cat([enlarged, passed_on[level]], dim=1))
            if level == QUARTER_LEVEL:
                quarter = features
        return self.output(self.last(features)), quarter


class UNet(UNetLevels):
    """Slices in, logits as `ConvLSTMAttentionNetwork` gives them out."""

    Seen = SliceLogits
    # All of it sees single slices, so there is no part that could learn before the whole.
    main_branch = None

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config.context_slices, config.base_channels)
        self.config = config
        self.apply(initialise)

    def forward(  # type: ignore[override]  # its levels alone see no windows
        self, slices: Tensor, windows: Tensor
    ) -> SliceLogits:
        """Segment the slice that each window of length 1 names.

        Args:
            slices: (slices, context_slices, size, size), scaled to 0…1.
            windows: int64 (windows, 1), indices into `slices`.
        """
        return self.attend(self.see_slices(slices), windows)

    def see_slices(self, slices: Tensor) -> SliceLogits:
        """Logits of every slice; slices (slices, context_slices, size, size) in 0…1."""
        return SliceLogits(super().forward(slices.contiguous(memory_format=torch.channels_last))[0])

    def attend(self, seen: SliceLogits, windows: Tensor) -> SliceLogits:
        """The logits of each window's slice; `windows` are indices into `seen`."""
        return SliceLogits(seen.logits[windows[:, 0]])
