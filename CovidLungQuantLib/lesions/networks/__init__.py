"""The lesion networks, one file each, and the table that names them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    ConvLSTMAttentionNetwork,
    NetworkConfig,
)
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.models.network import LesionNetwork, LesionNetworkConfig


class Architecture(NamedTuple):
    """A class of networks and that of their configurations."""

    network: type[LesionNetwork]
    config: type[LesionNetworkConfig]


# By the name that model files and training configurations carry.
NETWORKS = {
    "convlstm-attention": Architecture(ConvLSTMAttentionNetwork, NetworkConfig),
    "unet": Architecture(UNet, UNetConfig),
}


def build_network(config: LesionNetworkConfig) -> LesionNetwork:
    """A network with random weights."""
    return NETWORKS[architecture_name(config)].network(config)


def architecture_name(config: LesionNetworkConfig) -> str:
    """The name of the network that `config` belongs to."""
    return next(name for name, kind in NETWORKS.items() if type(config) is kind.config)


def config_to_values(config: LesionNetworkConfig) -> dict[str, Any]:
    """Plain values for a file."""
    return {"architecture": architecture_name(config), **asdict(config)}


def config_from_values(values: dict[str, Any]) -> LesionNetworkConfig:
    """The configuration that `config_to_values` wrote.

    Raises:
        KeyError, TypeError: these are no such values.
    """
    given = {
        key: tuple(value) if isinstance(value, list | tuple) else value
        for key, value in values.items()
        if key != "architecture"
    }
    return NETWORKS[values["architecture"]].config(**given)
