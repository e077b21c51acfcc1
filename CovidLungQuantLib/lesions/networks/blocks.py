"""What all networks here share: their crops and output channels, and small building blocks."""

from __future__ import annotations

from torch import nn

# Channels of the logits: background, normal lung, lesion, and high opacity given lesion. Lesion has
# a channel of its own so that a lesion of unknown kind teaches nothing about its kind.
LESION_CHANNEL = 2
KIND_CHANNEL = 3
LOGIT_CHANNELS = 4


# What the network sees of a slice: the box around the body, as in the paper, or around the lungs.
BODY_CROP, LUNG_CROP = "body", "lungs"


def convolution_segment(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Convolution, batch normalisation, LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(),
    )


def initialise(module: nn.Module) -> None:
    """He initialisation (He et al. 2015), as in the paper."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
