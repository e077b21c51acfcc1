"""Model files: weights with the configuration to rebuild the network, checked by SHA-256."""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import torch

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.architectures import (
    LesionNetwork,
    LesionNetworkConfig,
    build_network,
    config_from_values,
    config_to_values,
)
from CovidLungQuantLib.lesions.models import CHECKSUM_SUFFIX, MODELS_FOLDER, model_path

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
        BadInputError: no such model, checksum mismatch, or not a model of this software.
    """
    path = model_path(name_or_path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    checksum_file = path.with_name(path.name[: -len(path.suffix)] + CHECKSUM_SUFFIX)
    if checksum_file.is_file() and checksum_file.read_text().split()[0] != sha256:
        raise BadInputError(
            f"The model file {path.name} is damaged or was changed (its SHA-256 is not the one in "
            f"{checksum_file.name}); install it again."
        )
    if path.parent == MODELS_FOLDER and not checksum_file.is_file():
        raise BadInputError(f"The checksum of model {path.stem} is missing; install it again.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT_NAME:
            raise KeyError("format")
        config = config_from_values(content["network_config"])
        network = build_network(config)
        network.load_state_dict({key: value.float() for key, value in content["weights"].items()})
    except (
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        raise BadInputError(
            f"{path.name} is not a model of this software; choose a file made by its training."
        ) from error
    network.eval()
    return LoadedModel(network, config, path.stem, sha256)


def save_model(path: Path, network: LesionNetwork) -> str:
    """Write a model file and its checksum; returns the SHA-256.

    Both are written beside and renamed, so that a reader never meets half a file.
    """
    path = Path(path)
    # In memory first: torch writes a file's own name into it, and the hash should not depend on it.
    content = io.BytesIO()
    torch.save(
        {
            "format": FORMAT_NAME,
            "network_config": config_to_values(network.config),
            "weights": {
                key: value.detach().cpu().contiguous()
                for key, value in network.state_dict().items()
            },
        },
        content,
    )
    sha256 = hashlib.sha256(content.getvalue()).hexdigest()
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content.getvalue())
    partial.replace(path)
    checksum_file = path.with_name(path.name[: -len(path.suffix)] + CHECKSUM_SUFFIX)
    checksum_file.write_text(f"{sha256}  {path.name}\n")
    return sha256
