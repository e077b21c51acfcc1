"""A copy of a network for inference: batch norm folded into the convolutions, nothing kept back."""

from __future__ import annotations

import copy
import itertools
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network")


def folded(network: Network) -> Network:
    """A copy that says the same up to rounding, in fewer steps and without copies in memory.

    In each `nn.Sequential` a batch norm that follows a convolution becomes a part of it, and
    activations are worked out in place. Channels lie last, as convolutions compute fastest.

    Args:
        network: a `torch.nn.Module`; it stays as it is.
    """
    copied = copy.deepcopy(network)
    assert isinstance(copied, nn.Module)
    copied.eval()
    for module in copied.modules():
        if isinstance(module, nn.Sequential):
            _fold(module)
    copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return copied


def _fold(layers: nn.Sequential) -> None:
    """Fold what follows a convolution, in place."""
    for index in reversed(range(1, len(layers))):
        before, layer = layers[index - 1], layers[index]
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
            layers[index - 1] = fuse_conv_bn_eval(before, layer)
            del layers[index]
    for before, layer in itertools.pairwise(layers):
        # What a convolution gives is nobody else's.
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.LeakyReLU | nn.ReLU):
            layer.inplace = True


def memory_layout(part: Tensor) -> torch.memory_format:
    """Where channels lie in the memory of weights or features, (…, channels, height, width)."""
    if part.dim() == 4 and part.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format
