"""Files of weights: written whole or not at all, loaded only if their SHA-256 agrees.

Nothing in a file is run, and nothing it claims is believed before it is checked: sizes first, then
what network it names, then that its weights are those of that network and finite.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.models.network import LesionNetwork
from CovidLungQuantLib.models.registry import CHECKSUM_SUFFIX, MODELS_FOLDER, SHIPPED_SHA256

# A zip archive, and the pickles of PyTorch before 1.6.
STARTS_OF_TORCH_FILES = (b"PK\x03\x04", b"\x80\x02")
# What reading a file that is no model, or filling a network from it, may raise.
NOT_A_MODEL_ERRORS = (
    AttributeError,
    IndexError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
    RuntimeError,
    AssertionError,
    NotImplementedError,
    EOFError,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
# The shipped models have 1 to 6 MB.
LARGEST_MODEL_BYTES = 1_000_000_000

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module | LesionNetwork)


def load_checked(path: Path, format_name: str) -> tuple[dict[str, Any], str]:
    """Read a model file after checking its SHA-256; nothing in it is run.

    A shipped model must have the hash that `registry` states. The checksum beside a file must
    agree; a file without one (a user's own) is only named by its hash, but what ships has one.

    Args:
        path: the .pt file.
        format_name: what its entry "format" must be.

    Returns:
        The content, and the SHA-256.

    Raises:
        BadInputError: not a file, checksum missing or different, or not a model of this format.
    """
    data = _bytes_of(path)
    sha256 = hashlib.sha256(data).hexdigest()
    _check_sha256(path, sha256)
    try:
        content = read_torch(data)
        if not isinstance(content, dict) or content["format"] != format_name:
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


def read_torch(data: bytes) -> Any:
    """Read what `torch.save` wrote; plain values and tensors only, and no more than the bytes hold.

    Raises:
        ValueError: a checksum within the archive differs, or it unpacks to more than it is; torch
            itself packs nothing.
        Exception: one of `NOT_A_MODEL_ERRORS`.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("compressed")
        if sum(entry.file_size for entry in archive.infolist()) > len(data):
            raise ValueError("larger inside than outside")
        # torch does not look at the checksums in its archives.
        if archive.testzip() is not None:
            raise ValueError("checksum")
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def filled_network(build: Callable[[], Network], weights: Any, path: Path) -> Network:
    """Build a network and give it the weights of a file, on the CPU, ready for inference.

    It is built without memory first: what a configuration asks for is only allocated if the file
    holds the weights for it.

    Args:
        build: makes the network with weights of any kind.
        weights: what the file holds, by name.
        path: of the file, for messages.

    Raises:
        BadInputError: the weights are of another network, or not finite.
    """
    try:
        with torch.device("meta"):
            shapes = {name: value.shape for name, value in build().state_dict().items()}
        _check_weights(weights, shapes)
    except NOT_A_MODEL_ERRORS as error:
        raise not_a_model(path) from error
    plain = {name: value.float() for name, value in weights.items()}
    if not all(bool(torch.isfinite(value).all()) for value in plain.values()):
        raise BadInputError(
            f"The model {path.stem} holds weights that are not finite numbers, so it cannot "
            "segment; train it again or choose another model."
        )
    network = build()
    network.load_state_dict(plain)
    network.eval()
    return network


def load_network(
    path: Path,
    format_name: str,
    config_of: Callable[[Any], Config],
    build: Callable[[Config], Network],
) -> Network:
    """Load a network from a file of its own format; on the CPU, ready for inference.

    Args:
        path: the .pt file.
        format_name: what its entry "format" must be.
        config_of: makes and checks a configuration from the values in the file.
        build: makes the network of a configuration.

    Raises:
        BadInputError: checksum mismatch, not a model of this format, or weights that are not
            finite.
    """
    content, _ = load_checked(path, format_name)
    try:
        config = config_of(content["network_config"])
        weights = content["weights"]
    except NOT_A_MODEL_ERRORS as error:
        raise not_a_model(path) from error
    return filled_network(lambda: build(config), weights, path)


def save_in_half_precision(
    path: Path, format_name: str, network_config: dict[str, Any], network: nn.Module
) -> str:
    """Write what `load_network` reads, and its checksum; returns the SHA-256."""
    weights = {key: value.half() for key, value in weights_of(network).items()}
    return save_with_checksum(
        path, {"format": format_name, "network_config": network_config, "weights": weights}
    )


def _bytes_of(path: Path) -> bytes:
    if not path.is_file():
        raise BadInputError(f"{path.name} is not a model file; give the path of a .pt file.")
    if path.stat().st_size > LARGEST_MODEL_BYTES:
        raise not_a_model(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadInputError(
            f"The model file {path.name} cannot be read ({error.strerror}); check its rights."
        ) from error


def _check_sha256(path: Path, sha256: str) -> None:
    checksum_file = _checksum_file(path)
    is_shipped = MODELS_FOLDER in path.parents
    if is_shipped and not checksum_file.is_file():
        raise BadInputError(f"The checksum of model {path.stem} is missing; install it again.")
    differs = checksum_file.is_file() and _checksum_in(checksum_file) != sha256
    if differs or (is_shipped and SHIPPED_SHA256.get(path.stem) != sha256):
        there = f"in {checksum_file.name}" if differs else "of the model that was shipped"
        raise BadInputError(
            f"The model file {path.name} is damaged or was changed (its SHA-256 is not the one "
            f"{there}); install it again."
        )


def _checksum_in(file: Path) -> str:
    """The hash a checksum file states; empty where it states none."""
    try:
        with file.open("rb") as opened:
            words = opened.read(1000).decode("ascii", errors="replace").split()
    except OSError:
        return ""
    return words[0] if words else ""


def _check_weights(weights: Any, shapes: Mapping[str, torch.Size]) -> None:
    """Refuse with ValueError what are not the plain tensors of a network of these shapes."""
    if not isinstance(weights, Mapping) or set(weights) != set(shapes):
        raise ValueError("other names")
    for name, shape in shapes.items():
        value = weights[name]
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_complex():
            raise ValueError(f"{name} is not a tensor of numbers")
        if value.shape != shape or value.is_quantized or value.device.type != "cpu":
            raise ValueError(f"{name} is of another shape")


def save_with_checksum(path: Path, content: dict[str, Any]) -> str:
    """Write a model file and its checksum; returns the SHA-256.

    Both are written beside and renamed, so that a reader never meets half a file.
    """
    # In memory first: torch writes a file's own name into it, and the hash should not depend on it.
    written = io.BytesIO()
    torch.save(content, written)
    sha256 = hashlib.sha256(written.getvalue()).hexdigest()
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(written.getvalue())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
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
