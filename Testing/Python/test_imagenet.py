"""Starting from ImageNet weights of DenseNet-121."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_model import SMALL_CONFIG

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    UNET_BRANCH,
    ConvLSTMAttentionNetwork,
    NetworkConfig,
)
from CovidLungQuantLib.training.imagenet import start_from_imagenet


def densenet_weights(dotted: bool) -> dict[str, torch.Tensor]:
    """Random weights under torchvision's names, newer ones or those of the published file."""
    torch.manual_seed(1)
    state = {}
    for name, value in (
        ConvLSTMAttentionNetwork(NetworkConfig()).main_branch.dense.state_dict().items()
    ):
        if name.startswith("layers."):
            _, index, rest = name.split(".", 2)
            rest = f"{rest[:4]}.{rest[4:]}" if dotted else rest
            name = f"denseblock1.denselayer{int(index) + 1}.{rest}"
        is_float = value.is_floating_point()
        state[f"features.{name}"] = torch.rand_like(value) if is_float else value
    state["features.conv0.weight"] = torch.rand(64, 3, 7, 7)
    return state


@pytest.mark.parametrize("dotted", [False, True])
def test_a_grey_picture_gives_the_features_it_gave_in_colour(tmp_path, dotted):
    weights = densenet_weights(dotted)
    torch.save(weights, tmp_path / "densenet121.pth")
    network = ConvLSTMAttentionNetwork(NetworkConfig())
    start_from_imagenet(network, tmp_path / "densenet121.pth")
    grey = torch.rand(1, 1, 32, 32)
    in_colour = torch.nn.functional.conv2d(
        grey.expand(1, 3, 32, 32), weights["features.conv0.weight"], stride=2, padding=3
    )
    torch.testing.assert_close(network.main_branch.dense.conv0(grey), in_colour)
    last = network.main_branch.dense.layers[5].conv2.weight
    name = "features.denseblock1.denselayer6." + ("conv.2.weight" if dotted else "conv2.weight")
    assert torch.equal(last, weights[name])


def test_other_files_and_other_sizes_are_refused(tmp_path):
    torch.save({"something": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadInputError, match="DenseNet-121"):
        start_from_imagenet(ConvLSTMAttentionNetwork(NetworkConfig()), tmp_path / "other.pth")
    torch.save(densenet_weights(False), tmp_path / "densenet121.pth")
    with pytest.raises(BadInputError, match="DenseNet-121"):
        start_from_imagenet(ConvLSTMAttentionNetwork(SMALL_CONFIG), tmp_path / "densenet121.pth")
    without_a_dense_block = replace(NetworkConfig(), main_branch=UNET_BRANCH)
    with pytest.raises(BadInputError, match="DenseNet-121"):
        start_from_imagenet(
            ConvLSTMAttentionNetwork(without_a_dense_block), tmp_path / "densenet121.pth"
        )
