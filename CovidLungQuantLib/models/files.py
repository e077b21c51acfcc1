"""Files of weights: written whole or not at all, and loaded only if their SHA-256 agrees."""

from __future__ import annotations

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.models.network import LesionNetwork
from CovidLungQuantLib.models.registry import CHECKSUM_SUFFIX, MODELS_FOLDER

# A zip archive, and the pickles of PyTorch before 1.6.
STARTS_OF_TORCH_FILES = (b"PK\x03\x04", b"\x80\x02")
# What reading a file that is no model, or filling a network from it, may raise.
NOT_A_MODEL_ERRORS = (
    KeyError,
    TypeError,
    ValueError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
)


def load_checked(path: Path, format_name: str) -> tuple[dict[str, Any], str]:
    """Read a model file after checking its SHA-256; nothing in it is run.

    The checksum beside the file must agree; a file without one (a user's own) is only named by its
    hash, but what ships has one.

    Args:
        path: the .pt file.
        format_name: what its entry "format" must be.

    Returns:
        The content, and the SHA-256.

    Raises:
        BadInputError: checksum missing or different, or not a model of this format.
    """
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    checksum_file = _checksum_file(path)
    if checksum_file.is_file() and checksum_file.read_text(encoding="utf-8").split()[0] != sha256:
        raise BadInputError(
            f"The model file {path.name} is damaged or was changed (its SHA-256 is not the one in "
            f"{checksum_file.name}); install it again."
        )
    if MODELS_FOLDER in path.parents and not checksum_file.is_file():
        raise BadInputError(f"The checksum of model {path.stem} is missing; install it again.")
    check_is_of_torch(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != format_name:
            raise KeyError("format")
    except NOT_A_MODEL_ERRORS as error:
        raise not_a_model(path) from error
    return content, sha256


def check_is_of_torch(path: Path) -> None:
    """Refuse what PyTorch did not write, by its first bytes; raises BadInputError.

    PyTorch takes minutes to refuse some texts.
    """
    with path.open("rb") as file:
        if not file.read(4).startswith(STARTS_OF_TORCH_FILES):
            raise not_a_model(path)


def save_with_checksum(path: Path, content: dict[str, Any]) -> str:
    """Write a model file and its checksum; returns the SHA-256.

    Both are written beside and renamed, so that a reader never meets half a file.
    """
    # In memory first: torch writes a file's own name into it, and the hash should not depend on it.
    written = io.BytesIO()
    torch.save(content, written)
    sha256 = hashlib.sha256(written.getvalue()).hexdigest()
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(written.getvalue())
    partial.replace(path)
    _checksum_file(path).write_text(f"{sha256}  {path.name}\n")
    return sha256


def weights_of(network: nn.Module | LesionNetwork) -> dict[str, torch.Tensor]:
    """A network's weights as they are saved."""
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def not_a_model(path: Path) -> BadInputError:
    """The error for a file that is no model, or none that fits."""
    return BadInputError(
        f"{path.name} is not a model of this software; choose a file made by its training."
    )


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name[: -len(path.suffix)] + CHECKSUM_SUFFIX)
