"""The ConvLSTM-attention network of Grodecki, Killekar et al. 2021.

Two branches look at each axial slice. The main branch sees the slice alone: the stem and first
dense block of DenseNet-121, then two coarser levels for context and skip connections back up, where
wanted to the full resolution, so that it knows both the surroundings and the edge of a lesion. In
place of this branch the U-Net of `unet.py` can stand, which learns more from few cases. The
attention branch runs a convolutional LSTM (Shi et al. 2015) through what the main branch made of 11
slices. An attention head blends both: S = S_main·α + S_attention·(1 − α).

The ConvLSTM works on a quarter of the resolution (the dense block's grid), which keeps it
affordable on a CPU, and everything that depends on one slice only is computed once a slice, not
once for each window that contains it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from CovidLungQuantLib.lesions.networks.blocks import convolution_segment, initialise
from CovidLungQuantLib.lesions.networks.unet import UNetLevels
from CovidLungQuantLib.models.folding import memory_layout
from CovidLungQuantLib.models.network import BODY_CROP, LOGIT_CHANNELS

DENSE_BLOCK_STRIDE = 4
ALPHA_START_LOGIT = 2.0
DENSE_BRANCH, UNET_BRANCH = "dense", "unet"


@dataclass(frozen=True)
class NetworkConfig:
    """Everything needed to rebuild a network; saved with its weights.

    Attributes:
        working_size: height and width in pixels to which the crop is resized.
        crop: "body" or "lungs": the box of the slices that the network sees.
        window_length: slices the attention branch sees, odd; the middle one is the target.
        context_slices: neighbouring slices, odd, that the main branch sees as channels of one
            picture, the slice itself in the middle; 1 in the paper.
        window_step_mm: distance between the slices of a window.
        hu_window: HU range that is scaled to 0…1; values outside are clipped.
        attention_channels: hidden channels of the ConvLSTM.
        dense_layers, growth, bottleneck, stem_channels: of the dense block; the defaults are those
            of DenseNet-121's first block.
        level_channels: channels at 1/2, 1/4, 1/8 and 1/16 of the resolution around the block.
        full_channels: channels at the full resolution, beside the block; 0 leaves that level out.
        main_branch: "dense" or "unet"; with the U-Net, `dense_layers` to `full_channels` mean
            nothing.
        base_channels: width of the U-Net's finest level, doubled at every level below.
        head_channels: width of the attention branch's heads.
    """

    working_size: int = 256
    crop: str = BODY_CROP
    window_length: int = 11
    window_step_mm: float = 3.0
    context_slices: int = 1
    hu_window: tuple[float, float] = (-1024.0, 600.0)
    attention_channels: int = 32
    dense_layers: int = 6
    growth: int = 32
    bottleneck: int = 128
    stem_channels: int = 64
    level_channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    full_channels: int = 0
    main_branch: str = DENSE_BRANCH
    base_channels: int = 16
    head_channels: int = 64

    fine_tuning_recipe: ClassVar[str] = "short"

    @property
    def description(self) -> str:
        """A sentence for the card."""
        main_branch = (
            "a U-Net, as in COVID-Lesion Net (Pan et al. 2021),"
            if self.main_branch == UNET_BRANCH
            else "the stem and first dense block of DenseNet-121 with coarser levels below,"
        )
        return (
            "A ConvLSTM-attention network after Grodecki, Killekar et al. 2021: the main branch, "
            f"{main_branch} sees {self.context_slices} neighbouring slices, about "
            f"{self.window_step_mm:g} mm apart, as channels; the attention branch runs a "
            f"convolutional LSTM through what it made of {self.window_length} slices, and an "
            "attention head blends both."
        )

    @property
    def widths(self) -> str:
        """A few words for the card."""
        if self.main_branch == UNET_BRANCH:
            return f"U-Net of {self.base_channels} channels at the finest level"
        full = f", {self.full_channels} channels at full resolution" if self.full_channels else ""
        return (
            f"dense block of growth {self.growth} and bottleneck {self.bottleneck} (DenseNet-121: "
            f"32 and 128){full}"
        )


class SliceOutput(NamedTuple):
    """What a slice alone gives.

    `main`: logits of the main branch (slices, LOGIT_CHANNELS, size, size); `gates`: the slice's
    share of the ConvLSTM's gates (slices, 4·attention_channels, size/4, size/4).
    """

    main: Tensor
    gates: Tensor


class BranchOutput(NamedTuple):
    """Logits (windows, LOGIT_CHANNELS, size, size) and where they came from.

    `logits` is the blend; `main` and `attention` are the branches, `alpha` the weight of `main`,
    (windows, 1, size, size).
    """

    logits: Tensor
    main: Tensor
    attention: Tensor
    alpha: Tensor

    @property
    def branches(self) -> tuple[Tensor, ...]:
        """Logits of what can be trained apart from the blend."""
        return self.main, self.attention


class DenseLayer(nn.Module):
    """BN-ReLU-1×1-BN-ReLU-3×3; its output is appended to its input."""

    def __init__(self, in_channels: int, growth: int, bottleneck: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, bottleneck, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bottleneck)
        self.conv2 = nn.Conv2d(bottleneck, growth, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Append `growth` channels to `features` (slices, channels, height, width)."""
        new = self.conv1(functional.relu(self.norm1(features)))
        new = self.conv2(functional.relu(self.norm2(new)))
        return torch.cat([features, new], dim=1)


class DenseBlock(nn.Module):
    """DenseNet-121's stem and first dense block."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(
            config.context_slices, config.stem_channels, 7, stride=2, padding=3, bias=False
        )
        self.norm0 = nn.BatchNorm2d(config.stem_channels)
        self.layers = nn.Sequential(
            *(
                DenseLayer(
                    config.stem_channels + index * config.growth, config.growth, config.bottleneck
                )
                for index in range(config.dense_layers)
            )
        )
        self.out_channels = config.stem_channels + config.dense_layers * config.growth

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """(slices, context_slices, size, size) → the stem's features at 1/2, the block's at 1/4."""
        stem = functional.relu(self.norm0(self.conv0(slices)))
        return stem, self.layers(functional.max_pool2d(stem, 3, stride=2, padding=1))


class DenseBranch(nn.Module):
    """The dense block, two coarser levels below it, and the way back up to full resolution."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = config.level_channels
        self.dense = DenseBlock(config)
        dense_channels = self.dense.out_channels
        self.skip_quarter = convolution_segment(dense_channels, quarter, 1)
        self.transition = convolution_segment(dense_channels, eighth, 1)
        self.down_eighth = nn.Sequential(
            convolution_segment(eighth, eighth, 3), convolution_segment(eighth, eighth, 3)
        )
        self.down_sixteenth = nn.Sequential(
            convolution_segment(eighth, sixteenth, 3), convolution_segment(sixteenth, sixteenth, 3)
        )
        self.up_eighth = convolution_segment(sixteenth + eighth, eighth, 3)
        self.up_quarter = convolution_segment(eighth + quarter, quarter, 3)
        self.up_half = convolution_segment(quarter + config.stem_channels, half, 3)
        self.full_level = FullLevel(config) if config.full_channels else None
        if self.full_level is None:
            self.head = segmentation_head(half, half, LOGIT_CHANNELS, DENSE_BLOCK_STRIDE // 2)
        self.feature_channels = quarter

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """Slices (slices, context_slices, size, size) → logits and features.

        Logits are (slices, LOGIT_CHANNELS, size, size); the features, (slices, feature_channels,
        size/4, size/4), are what the ConvLSTM sees.
        """
        stem, block = self.dense(slices)
        eighth = self.down_eighth(functional.avg_pool2d(self.transition(block), 2))
        sixteenth = self.down_sixteenth(functional.max_pool2d(eighth, 2))
        eighth = self.up_eighth(torch.cat([_doubled(sixteenth), eighth], dim=1))
        quarter = self.up_quarter(torch.cat([_doubled(eighth), self.skip_quarter(block)], dim=1))
        half = self.up_half(torch.cat([_doubled(quarter), stem], dim=1))
        if self.full_level is None:
            return self.head(half), quarter
        return self.full_level(slices, half), quarter


class FullLevel(nn.Module):
    """The finest level of a U-Net: the slices themselves beside what came up from half of it."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, half = config.full_channels, config.level_channels[0]
        self.down = nn.Sequential(
            convolution_segment(config.context_slices, width, 3),
            convolution_segment(width, width, 3),
        )
        self.narrow = convolution_segment(half, width, 1)
        self.up = nn.Sequential(
            convolution_segment(2 * width, width, 3), convolution_segment(width, width, 3)
        )
        self.output = nn.Conv2d(width, LOGIT_CHANNELS, 1)

    def forward(self, slices: Tensor, half: Tensor) -> Tensor:
        """Logits from slices and the features (slices, channels, size/2, size/2)."""
        coarse = _doubled(self.narrow(half))
        return self.output(self.up(torch.cat([coarse, self.down(slices)], dim=1)))


def _doubled(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")


class ConvLSTM(nn.Module):
    """A convolutional LSTM without peepholes (Shi et al. 2015) that returns its last output.

    The convolution of the input is separate (`input_gates`), so that a slice's share of the gates
    can be computed once and used in every window that contains the slice.
    """

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels
        self.input_to_gates = nn.Conv2d(in_channels, 4 * hidden_channels, 3, padding=1)
        self.hidden_to_gates = nn.Conv2d(
            hidden_channels, 4 * hidden_channels, 3, padding=1, bias=False
        )

    def input_gates(self, inputs: Tensor) -> Tensor:
        """(slices, in_channels, height, width) → (slices, 4·hidden_channels, height, width)."""
        return self.input_to_gates(inputs)

    def forward(self, gates: Tensor, windows: Tensor) -> Tensor:
        """Run through every window and return the last output of each.

        Args:
            gates: (slices, 4·hidden_channels, height, width), from `input_gates`.
            windows: int64 (windows, window_length), indices into `gates`.

        Returns:
            (windows, hidden_channels, height, width).
        """
        hidden: Tensor | None = None
        cell: Tensor | None = None
        for total in self._steps(gates, windows):
            if hidden is not None:
                total = total + self.hidden_to_gates(hidden)
            sigmoids, candidate = total.split(
                [3 * self.hidden_channels, self.hidden_channels], dim=1
            )
            input_gate, forget_gate, output_gate = sigmoids.sigmoid().chunk(3, dim=1)
            update = input_gate * _tanh(candidate)
            cell = update if cell is None else torch.addcmul(update, forget_gate, cell)
            hidden = output_gate * _tanh(cell)
        assert hidden is not None, "a window has at least one slice"
        return hidden

    @staticmethod
    def _steps(gates: Tensor, windows: Tensor) -> Iterable[Tensor]:
        """The gates of each step of the windows, (windows, 4·hidden_channels, height, width)."""
        if torch.is_grad_enabled():
            # One gather for all steps: its gradient is then summed once, not once a step.
            return gates.index_select(0, windows.T.reshape(-1)).unflatten(0, windows.T.shape)
        # One at a time stays in the cache.
        return (gates[column] for column in windows.T)


def _tanh(values: Tensor) -> Tensor:
    """Hyperbolic tangent; on the CPU by the sigmoid, which PyTorch has several times faster."""
    if values.device.type != "cpu" or torch.is_grad_enabled():
        return values.tanh()
    return (2.0 * values).sigmoid_().mul_(2.0).sub_(1.0)


def segmentation_head(
    in_channels: int, channels: int, out_channels: int, stride: int
) -> nn.Sequential:
    """Two 3×3 conv-BN-LeakyReLU blocks and a 1×1 convolution, unfolded `stride` times finer."""
    return nn.Sequential(
        convolution_segment(in_channels, channels, 3),
        convolution_segment(channels, channels, 3),
        nn.Conv2d(channels, out_channels * stride**2, 1),
        nn.PixelShuffle(stride),
    )


class ConvLSTMAttentionNetwork(nn.Module):
    """Slices in, logits of background, normal lung, lesion and kind of lesion out."""

    Seen = SliceOutput

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        if config.main_branch == UNET_BRANCH:
            self.main_branch: UNetLevels | DenseBranch = UNetLevels(
                config.context_slices, config.base_channels
            )
        else:
            self.main_branch = DenseBranch(config)
        self.convlstm = ConvLSTM(self.main_branch.feature_channels, config.attention_channels)
        self.attention_segmentation_head = segmentation_head(
            config.attention_channels, config.head_channels, LOGIT_CHANNELS, DENSE_BLOCK_STRIDE
        )
        self.attention_head = segmentation_head(
            config.attention_channels, config.head_channels, 1, DENSE_BLOCK_STRIDE
        )
        self.apply(initialise)
        # The main branch computes several times faster with channels last, the ConvLSTM without.
        self.main_branch.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # A forget gate that starts open lets the first slices of a window reach the target.
        with torch.no_grad():
            hidden = config.attention_channels
            gates_bias = self.convlstm.input_to_gates.get_parameter("bias")
            gates_bias[hidden : 2 * hidden].fill_(1.0)
            # The blend starts near the main branch and takes from the other what it has learned.
            self.attention_head[-2].get_parameter("bias").fill_(ALPHA_START_LOGIT)

    def forward(self, slices: Tensor, windows: Tensor) -> BranchOutput:
        """Segment the middle slice of each window.

        Args:
            slices: (slices, context_slices, size, size), scaled to 0…1.
            windows: int64 (windows, window_length), indices into `slices`.
        """
        return self.attend(self.see_slices(slices), windows)

    def see_slices(self, slices: Tensor) -> SliceOutput:
        """What a slice gives in every window; (slices, context_slices, size, size) in 0…1."""
        main, features = self.main_branch(slices.contiguous(memory_format=torch.channels_last))
        # A copy for inference has channels last everywhere (`models.folding`).
        layout = memory_layout(self.convlstm.input_to_gates.get_parameter("weight"))
        gates = self.convlstm.input_gates(features.contiguous(memory_format=layout))
        return SliceOutput(main.contiguous(), gates)

    def attend(self, seen: SliceOutput, windows: Tensor) -> BranchOutput:
        """Segment the middle slice of each window; `windows` are indices into `seen`."""
        main = seen.main[windows[:, self.config.window_length // 2]]
        with self._attention_precision():
            hidden = self.convlstm(seen.gates, windows)
            attention = self.attention_segmentation_head(hidden)
            alpha = self.attention_head(hidden).sigmoid()
        return BranchOutput(main * alpha + attention * (1.0 - alpha), main, attention, alpha)

    def _attention_precision(self) -> AbstractContextManager[object]:
        """On CPUs that compute with bfloat16 themselves the attention branch does, but in training.

        It takes half the time and changes less than 0.003 % of the lungs' voxels; the main branch
        would change ten times as many.
        """
        if self.training or torch.is_grad_enabled() or not _cpu_has_bfloat16():
            return nullcontext()
        return torch.autocast("cpu", dtype=torch.bfloat16)


def _cpu_has_bfloat16() -> bool:
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)
