"""A network small enough for quick tests; its weights are random and mean nothing."""

from __future__ import annotations

from dataclasses import replace

import torch

from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    ConvLSTMAttentionNetwork,
    NetworkConfig,
)

SMALL_CONFIG = NetworkConfig(
    working_size=64,
    attention_channels=4,
    dense_layers=2,
    growth=4,
    bottleneck=8,
    stem_channels=8,
    level_channels=(4, 8, 8, 8),
    head_channels=8,
)


def small_model(seed: int = 0, context_slices: int = 1) -> LoadedModel:
    """A randomly initialised small network."""
    torch.manual_seed(seed)
    config = replace(SMALL_CONFIG, context_slices=context_slices)
    network = ConvLSTMAttentionNetwork(config).eval()
    return LoadedModel(network, config, "small", "0" * 64)
