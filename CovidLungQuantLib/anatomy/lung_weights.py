"""The shipped lung network: its file, and reading and writing it."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from CovidLungQuantLib.anatomy.lung_network import (
    ChestNetwork,
    LungNetworkConfig,
    check_lung_config,
)
from CovidLungQuantLib.models.files import load_network, save_in_half_precision
from CovidLungQuantLib.models.registry import MODELS_FOLDER, SHIPPED_SHA256

FORMAT_NAME = "covidlungquant-lungs-1"
# In a folder of its own: the models beside it are the lesion networks a user may choose from.
LUNG_MODEL_FILE = MODELS_FOLDER / "lungs" / "lungs-2.pt"


@cache
def shipped_lung_network() -> ChestNetwork:
    """The network that comes with the software; loaded once.

    Raises:
        BadInputError: its file is damaged.
    """
    return load_lung_model(LUNG_MODEL_FILE)


def shipped_lung_model_sha256() -> str:
    """SHA-256 of the network that comes with the software; loading it checks that it is right."""
    return SHIPPED_SHA256[LUNG_MODEL_FILE.stem]


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
