"""What all networks here share: small building blocks, and what their logits mean."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from CovidLungQuantLib.models.network import KIND_CHANNEL, LESION_CHANNEL


def convolution_segment(in_channels: int, out_channels: int, kernel_size: int) -> nn.Sequential:
    """Convolution, batch normalisation, LeakyReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.LeakyReLU(),
    )


def initialise(module: nn.Module) -> None:
    """He initialisation (He et al. 2015), as in the paper."""
    # Without memory there is nothing to fill, and PyTorch would load its compiler for it (1.4 s).
    if isinstance(module, nn.Conv2d) and not module.weight.is_meta:
        nn.init.kaiming_normal_(module.weight, nonlinearity="leaky_relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def class_probabilities(logits: Tensor) -> Tensor:
    """Probabilities (…, classes, height, width) that sum to one.

    The loss trains background, normal lung and lesion by a sigmoid each (Zhao et al. 2019); they
    are scaled to sum to one, and lesion is divided between GGO and high opacity by the fourth.
    """
    logits = logits.float()
    always = logits[..., :KIND_CHANNEL, :, :].sigmoid()
    always = always / always.sum(dim=-3, keepdim=True).clamp_min(1e-12)
    lesion = always[..., LESION_CHANNEL:, :, :]
    high_opacity = logits[..., KIND_CHANNEL:, :, :].sigmoid()
    return torch.cat(
        [
            always[..., :LESION_CHANNEL, :, :],
            lesion * (1.0 - high_opacity),
            lesion * high_opacity,
        ],
        dim=-3,
    )
