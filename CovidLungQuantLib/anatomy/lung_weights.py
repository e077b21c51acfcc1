"""Reading and writing the lung network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from CovidLungQuantLib.anatomy.lung_network import (
    ChestNetwork,
    LungNetworkConfig,
    check_lung_config,
)
from CovidLungQuantLib.models.files import load_network, save_in_half_precision

FORMAT_NAME = "covidlungquant-lungs-1"


def load_lung_model(path: Path) -> ChestNetwork:
    """Load a lung network after checking its SHA-256; on the CPU, ready for inference.

    Raises:
        BadInputError: checksum mismatch, not a lung network of this software, or weights that are
            not finite.
    """
    return load_network(path, FORMAT_NAME, _config_of, ChestNetwork)


def save_lung_model(path: Path, network: ChestNetwork) -> str:
    """Write a model file and its checksum; returns the SHA-256.

    Half precision moves no border by a visible amount.
    """
    return save_in_half_precision(path, FORMAT_NAME, asdict(network.config), network)


def _config_of(values: Any) -> LungNetworkConfig:
    config = LungNetworkConfig(channels=tuple(values["channels"]))
    check_lung_config(config)
    return config
