"""Reading and writing the lung network."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from CovidLungQuantLib.anatomy.lung_network import (
    ChestNetwork,
    LungNetworkConfig,
    check_lung_config,
)
from CovidLungQuantLib.models.files import (
    NOT_A_MODEL_ERRORS,
    filled_network,
    load_checked,
    not_a_model,
    save_with_checksum,
    weights_of,
)

FORMAT_NAME = "covidlungquant-lungs-1"


def load_lung_model(path: Path) -> ChestNetwork:
    """Load a lung network after checking its SHA-256; on the CPU, ready for inference.

    Raises:
        BadInputError: checksum mismatch, not a lung network of this software, or weights that are
            not finite.
    """
    content, _ = load_checked(path, FORMAT_NAME)
    try:
        config = LungNetworkConfig(channels=tuple(content["network_config"]["channels"]))
        check_lung_config(config)
        weights = content["weights"]
    except NOT_A_MODEL_ERRORS as error:
        raise not_a_model(path) from error
    return filled_network(lambda: ChestNetwork(config), weights, path)


def save_lung_model(path: Path, network: ChestNetwork) -> str:
    """Write a model file and its checksum; returns the SHA-256."""
    return save_with_checksum(
        path,
        {
            "format": FORMAT_NAME,
            "network_config": asdict(network.config),
            # Half precision moves no border by a visible amount.
            "weights": {key: value.half() for key, value in weights_of(network).items()},
        },
    )
