"""The lesion networks, one file each, and the table that names them."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any, NamedTuple

from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    ConvLSTMAttentionNetwork,
    NetworkConfig,
)
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.models.network import (
    BODY_CROP,
    LUNG_CROP,
    LesionNetwork,
    LesionNetworkConfig,
)

# What a configuration may ask for: far more than is of use, far less than memory is short of.
LARGEST_NUMBER = 4096
WORKING_SIZES = range(16, 1025, 16)
ODD_COUNTS = range(1, 102, 2)
STEPS_MM = (0.1, 100.0)


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
        KeyError, TypeError, ValueError: these are no such values.
    """
    given = {
        key: tuple(value) if isinstance(value, list | tuple) else value
        for key, value in values.items()
        if key != "architecture"
    }
    config = NETWORKS[values["architecture"]].config(**given)
    _check_types(config)
    _check_bounds(config)
    return config


def _check_types(config: LesionNetworkConfig) -> None:
    """Every value must be of the type of its default; numbers finite and of a sensible size."""
    for field in fields(config):
        value = getattr(config, field.name)
        if not _is_alike(value, field.default):
            raise TypeError(f"{field.name} cannot be {value!r:.100}")


def _is_alike(value: object, example: object) -> bool:
    if isinstance(example, tuple):
        return (
            isinstance(value, tuple)
            and len(value) == len(example)
            and all(map(_is_alike, value, example))
        )
    if isinstance(example, float):
        return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)
    if isinstance(example, int):
        return type(value) is int and 0 <= value <= LARGEST_NUMBER
    return type(value) is type(example)


def _check_bounds(config: LesionNetworkConfig) -> None:
    low_hu, high_hu = config.hu_window
    if (
        config.working_size not in WORKING_SIZES
        or config.crop not in (BODY_CROP, LUNG_CROP)
        or config.window_length not in ODD_COUNTS
        or config.context_slices not in ODD_COUNTS
        or not STEPS_MM[0] <= config.window_step_mm <= STEPS_MM[1]
        or not low_hu < high_hu
    ):
        raise ValueError("a value of the network's configuration is out of bounds")
