"""Starting the dense block from ImageNet weights, as Grodecki et al. 2021 did; optional.

Nothing is downloaded: the user gives the file of DenseNet-121's weights (a state dictionary with
torchvision's names).
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.networks.convlstm_attention import DenseBlock
from CovidLungQuantLib.models.files import check_is_of_torch
from CovidLungQuantLib.models.network import LesionNetwork

# A network without a dense block lacks the attribute.
_NOT_FITTING_ERRORS = (
    OSError,
    AttributeError,
    BadInputError,
    KeyError,
    ValueError,
    TypeError,
    RuntimeError,
    EOFError,
    pickle.UnpicklingError,
)


def start_from_imagenet(network: LesionNetwork, weights_file: Path) -> None:
    """Copy DenseNet-121's stem and first dense block into the main branch, in place.

    The stem's three colour channels are summed and shared out to the network's channels: a grey
    picture then gives what it gave in colour.

    Raises:
        BadInputError: the file is no DenseNet-121, or the network's dense block has other sizes.
    """
    try:
        check_is_of_torch(weights_file)
        source = torch.load(weights_file, map_location="cpu", weights_only=True)
        main_branch: Any = network.main_branch
        block = main_branch.dense
        block.load_state_dict(
            {name: _from_imagenet(name, source, block) for name in block.state_dict()}
        )
    except _NOT_FITTING_ERRORS as error:
        raise BadInputError(
            f"{Path(weights_file).name} does not hold DenseNet-121 weights that fit this network's "
            "dense block; give torchvision's file and leave the block at its default size."
        ) from error


def _from_imagenet(name: str, source: dict[str, Tensor], block: DenseBlock) -> Tensor:
    if name == "conv0.weight":
        channels = block.conv0.in_channels
        grey = source["features.conv0.weight"].sum(dim=1, keepdim=True)
        return grey.expand(-1, channels, -1, -1) / channels
    if name.startswith("layers."):
        _, index, rest = name.split(".", 2)
        layer = f"features.denseblock1.denselayer{int(index) + 1}"
        # The file first published writes norm.1 for norm1.
        plain, dotted = f"{layer}.{rest}", f"{layer}.{rest[:4]}.{rest[4:]}"
        return source[plain] if plain in source else source[dotted]
    return source[f"features.{name}"]
