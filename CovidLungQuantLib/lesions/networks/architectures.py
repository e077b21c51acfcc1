"""The networks there are, by the name that a model file carries."""

from __future__ import annotations

from dataclasses import asdict

from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    ConvLSTMAttentionNetwork,
    NetworkConfig,
)
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig

# Both kinds have `see_slices`, `attend` and `config`, and give the same logits.
LesionNetwork = ConvLSTMAttentionNetwork | UNet
LesionNetworkConfig = NetworkConfig | UNetConfig

CONFIGS: dict[str, type[LesionNetworkConfig]] = {
    "convlstm-attention": NetworkConfig,
    "unet": UNetConfig,
}


def build_network(config: LesionNetworkConfig) -> LesionNetwork:
    """A network with random weights."""
    if isinstance(config, UNetConfig):
        return UNet(config)
    return ConvLSTMAttentionNetwork(config)


def architecture_name(config: LesionNetworkConfig) -> str:
    """The name of the architecture that `config` belongs to."""
    return next(name for name, kind in CONFIGS.items() if type(config) is kind)


def config_to_values(config: LesionNetworkConfig) -> dict:
    """Plain values for a file."""
    return {"architecture": architecture_name(config), **asdict(config)}


def config_from_values(values: dict) -> LesionNetworkConfig:
    """The configuration that `config_to_values` wrote.

    Raises:
        KeyError, TypeError: these are no such values.
    """
    given = {
        key: tuple(value) if isinstance(value, list | tuple) else value
        for key, value in values.items()
        if key != "architecture"
    }
    return CONFIGS[values["architecture"]](**given)
