"""The shipped lobe network: its file, and reading and writing it."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from pathlib import Path

from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork, LobeNetworkConfig
from CovidLungQuantLib.models.files import (
    NOT_A_MODEL_ERRORS,
    load_checked,
    not_a_model,
    save_with_checksum,
    weights_of,
)
from CovidLungQuantLib.models.registry import CHECKSUM_SUFFIX, MODELS_FOLDER

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
    return (
        LOBE_MODEL_FILE.with_name(LOBE_MODEL_FILE.stem + CHECKSUM_SUFFIX)
        .read_text(encoding="utf-8")
        .split()[0]
    )


def load_lobe_model(path: Path) -> LobeNetwork:
    """Load a lobe network after checking its SHA-256; on the CPU, ready for inference.

    Raises:
        BadInputError: checksum mismatch, or not a lobe network of this software.
    """
    content, _ = load_checked(path, FORMAT_NAME)
    try:
        values = content["network_config"]
        network = LobeNetwork(LobeNetworkConfig(**{key: tuple(values[key]) for key in values}))
        network.load_state_dict({key: value.float() for key, value in content["weights"].items()})
    except NOT_A_MODEL_ERRORS as error:
        raise not_a_model(path) from error
    return network.eval()


def save_lobe_model(path: Path, network: LobeNetwork) -> str:
    """Write a model file and its checksum; returns the SHA-256."""
    return save_with_checksum(
        path,
        {
            "format": FORMAT_NAME,
            "network_config": asdict(network.config),
            # Half precision moves no fissure by a visible amount.
            "weights": {key: value.half() for key, value in weights_of(network).items()},
        },
    )
