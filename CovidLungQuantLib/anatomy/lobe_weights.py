"""The shipped lobe network: its file, and reading and writing it."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork, LobeNetworkConfig, check_lobe_config
from CovidLungQuantLib.models.files import load_network, save_in_half_precision
from CovidLungQuantLib.models.registry import MODELS_FOLDER, SHIPPED_SHA256

FORMAT_NAME = "covidlungquant-lobes-1"
# In a folder of its own: the models beside it are the lesion networks a user may choose from.
LOBE_MODEL_FILE = MODELS_FOLDER / "lobes" / "lobes-from-shape-1.pt"


@cache
def shipped_lobe_network() -> LobeNetwork:
    """The network that comes with the software; loaded once.

    Raises:
        BadInputError: its file is damaged.
    """
    return load_lobe_model(LOBE_MODEL_FILE)


def shipped_lobe_model_sha256() -> str:
    """SHA-256 of the network that comes with the software; loading it checks that it is right."""
    return SHIPPED_SHA256[LOBE_MODEL_FILE.stem]


def load_lobe_model(path: Path) -> LobeNetwork:
    """Load a lobe network after checking its SHA-256; on the CPU, ready for inference.

    Raises:
        BadInputError: checksum mismatch, not a lobe network of this software, or weights that are
            not finite.
    """
    return load_network(path, FORMAT_NAME, _config_of, LobeNetwork)


def save_lobe_model(path: Path, network: LobeNetwork) -> str:
    """Write a model file and its checksum; returns the SHA-256.

    Half precision moves no fissure by a visible amount.
    """
    return save_in_half_precision(path, FORMAT_NAME, asdict(network.config), network)


def _config_of(values: Any) -> LobeNetworkConfig:
    config = LobeNetworkConfig(**{key: tuple(values[key]) for key in values})
    check_lobe_config(config)
    return config
