"""Model files: weights with the configuration to rebuild the network, checked by SHA-256."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from CovidLungQuantLib.lesions.networks import build_network, config_from_values, config_to_values
from CovidLungQuantLib.models.files import (
    NOT_A_MODEL_ERRORS,
    filled_network,
    load_checked,
    not_a_model,
    save_with_checksum,
    weights_of,
)
from CovidLungQuantLib.models.network import LesionNetwork, LesionNetworkConfig
from CovidLungQuantLib.models.registry import model_path

FORMAT_NAME = "covidlungquant-model-1"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network ready for inference, on the CPU, and what identifies it."""

    network: LesionNetwork
    config: LesionNetworkConfig
    name: str
    sha256: str


def load_model(name_or_path: str | None = None) -> LoadedModel:
    """Load a model after checking its SHA-256.

    The checksum beside the file must agree; a file without one (a user's own) is only named by its
    hash.

    Raises:
        BadInputError: no such model, checksum mismatch, not a model of this software, or weights
            that are not finite.
    """
    path = model_path(name_or_path)
    content, sha256 = load_checked(path, FORMAT_NAME)
    try:
        config = config_from_values(content["network_config"])
        weights = content["weights"]
    except NOT_A_MODEL_ERRORS as error:
        raise not_a_model(path) from error
    network = filled_network(lambda: build_network(config), weights, path)
    return LoadedModel(network, config, path.stem, sha256)


def save_model(path: Path, network: LesionNetwork) -> str:
    """Write a model file and its checksum; returns the SHA-256."""
    return save_with_checksum(
        Path(path),
        {
            "format": FORMAT_NAME,
            "network_config": config_to_values(network.config),
            "weights": weights_of(network),
        },
    )
