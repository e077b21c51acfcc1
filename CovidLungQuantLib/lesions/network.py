"""The ConvLSTM-attention network of Grodecki, Killekar et al. 2021.

Two branches look at each axial slice. The main branch sees the slice alone, through the stem and
first dense block of DenseNet-121. The attention branch runs a convolutional LSTM (Shi et al. 2015)
through 11 slices around it. An attention head blends both: S = S_main·α + S_attention·(1 − α).

Two choices keep the network affordable on a CPU. The ConvLSTM works on a grid `attention_stride`
times coarser, reached without loss by folding pixels into channels; the heads unfold them again, so
that the output has the full resolution. And the convolution from input to gates runs once a slice,
not once for each window that contains it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from CovidLungQuantLib.labels import BACKGROUND_VALUE, CLASS_COUNT, GGO, HIGH_OPACITY, NORMAL_LUNG

DENSE_BRANCH_STRIDE = 4


@dataclass(frozen=True)
class NetworkConfig:
    """Everything needed to rebuild a network; saved with its weights.

    Attributes:
        working_size: height and width in pixels to which the body crop is resized.
        window_length: slices the attention branch sees, odd; the middle one is the target.
        window_step_mm: distance between the slices of a window.
        hu_window: HU range that is scaled to 0…1; values outside are clipped.
        attention_channels: hidden channels of the ConvLSTM.
        attention_stride: how many times coarser the ConvLSTM's grid is.
        dense_layers, growth, bottleneck, stem_channels: of the dense block; the defaults are those
            of DenseNet-121's first block.
        head_channels: width of the segmentation and attention heads.
    """

    working_size: int = 256
    window_length: int = 11
    window_step_mm: float = 3.0
    hu_window: tuple[float, float] = (-1024.0, 600.0)
    attention_channels: int = 32
    attention_stride: int = 4
    dense_layers: int = 6
    growth: int = 32
    bottleneck: int = 128
    stem_channels: int = 64
    head_channels: int = 64


class BranchOutput(NamedTuple):
    """Logits (windows, classes, working_size, working_size) and where they came from.

    `logits` is the blend; `main` and `attention` are the branches, `alpha` the weight of `main`,
    (windows, 1, working_size, working_size).
    """

    logits: Tensor
    main: Tensor
    attention: Tensor
    alpha: Tensor


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


class DenseBranch(nn.Module):
    """DenseNet-121's stem (stride 4) and first dense block."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, config.stem_channels, 7, stride=2, padding=3, bias=False)
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

    def forward(self, slices: Tensor) -> Tensor:
        """(slices, 1, size, size) → (slices, out_channels, size/4, size/4)."""
        features = functional.relu(self.norm0(self.conv0(slices)))
        return self.layers(functional.max_pool2d(features, 3, stride=2, padding=1))


class ConvLSTM(nn.Module):
    """A convolutional LSTM without peepholes (Shi et al. 2015) that returns its last output.

    The convolution of the input is separate (`input_gates`), so that a slice's share of the gates
    can be computed once and used in every window that contains the slice.
    """

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.hidden_channels = hidden_channels
        self.input_to_gates = nn.Conv2d(in_channels, 4 * hidden_channels, 5, padding=2)
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
        # One gather for all steps: its gradient is then summed once, not once a step.
        steps = gates.index_select(0, windows.T.reshape(-1)).unflatten(0, windows.T.shape)
        for total in steps.unbind(0):
            if hidden is not None:
                total = total + self.hidden_to_gates(hidden)
            sigmoids, candidate = total.split(
                [3 * self.hidden_channels, self.hidden_channels], dim=1
            )
            input_gate, forget_gate, output_gate = sigmoids.sigmoid().chunk(3, dim=1)
            update = input_gate * candidate.tanh()
            cell = update if cell is None else forget_gate * cell + update
            hidden = output_gate * cell.tanh()
        return hidden


def segmentation_head(
    in_channels: int, channels: int, out_channels: int, stride: int
) -> nn.Sequential:
    """Two 3×3 conv-BN-LeakyReLU blocks and a 1×1 convolution, unfolded `stride` times finer."""
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(),
        nn.Conv2d(channels, out_channels * stride**2, 1),
        nn.PixelShuffle(stride),
    )


class ConvLSTMAttentionNetwork(nn.Module):
    """Slices in, logits of background, normal lung, GGO and high opacity out."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.dense = DenseBranch(config)
        self.main_head = segmentation_head(
            self.dense.out_channels, config.head_channels, CLASS_COUNT, DENSE_BRANCH_STRIDE
        )
        self.convlstm = ConvLSTM(config.attention_stride**2, config.attention_channels)
        attention_width = min(config.head_channels, 2 * config.attention_channels)
        self.attention_segmentation_head = segmentation_head(
            config.attention_channels, attention_width, CLASS_COUNT, config.attention_stride
        )
        self.attention_head = segmentation_head(
            config.attention_channels, attention_width, 1, config.attention_stride
        )
        self.apply(_initialise)
        # A forget gate that starts open lets the first slices of a window reach the target.
        with torch.no_grad():
            hidden = config.attention_channels
            self.convlstm.input_to_gates.bias[hidden : 2 * hidden].fill_(1.0)

    def input_gates(self, slices: Tensor) -> Tensor:
        """The ConvLSTM's gates from each slice alone; slices (slices, 1, size, size) in 0…1."""
        return self.convlstm.input_gates(
            functional.pixel_unshuffle(slices, self.config.attention_stride)
        )

    def forward(self, slices: Tensor, windows: Tensor) -> BranchOutput:
        """Segment the middle slice of each window.

        Args:
            slices: (slices, 1, size, size), scaled to 0…1.
            windows: int64 (windows, window_length), indices into `slices`.
        """
        return self.segment(slices, self.input_gates(slices), windows)

    def segment(self, slices: Tensor, gates: Tensor, windows: Tensor) -> BranchOutput:
        """As `forward`, with `input_gates(slices)` already at hand."""
        targets = slices[windows[:, self.config.window_length // 2]]
        hidden = self.convlstm(gates, windows)
        attention = self.attention_segmentation_head(hidden)
        alpha = self.attention_head(hidden).sigmoid()
        main = self.main_head(self.dense(targets))
        return BranchOutput(main * alpha + attention * (1.0 - alpha), main, attention, alpha)


def class_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (…, classes, height, width) that sum to one.

    The loss trains background, normal lung and lesion by a sigmoid each (Zhao et al. 2019); they
    are scaled to sum to one, and lesion is divided between GGO and high opacity by their logits.
    """
    logits = logits.float()
    always = torch.cat(
        [
            logits[..., BACKGROUND_VALUE : NORMAL_LUNG.value + 1, :, :],
            lesion_logits(logits),
        ],
        dim=-3,
    ).sigmoid()
    always = always / always.sum(dim=-3, keepdim=True).clamp_min(1e-12)
    kinds = logits[..., GGO.value :, :, :].softmax(dim=-3)
    return torch.cat([always[..., : GGO.value, :, :], always[..., GGO.value :, :, :] * kinds], -3)


def lesion_logits(logits: Tensor) -> Tensor:
    """Logits (…, 1, height, width) of "GGO or high opacity", whichever it is."""
    return torch.logaddexp(
        logits[..., GGO.value : GGO.value + 1, :, :],
        logits[..., HIGH_OPACITY.value : HIGH_OPACITY.value + 1, :, :],
    )


def _initialise(module: nn.Module) -> None:
    """He initialisation (He et al. 2015), as in the paper."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
