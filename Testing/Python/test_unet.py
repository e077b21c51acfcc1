"""The 2D U-Net: its parts as published, and that it goes the way of every model."""

from __future__ import annotations

import numpy as np
import torch
from test_inference import SPACING_MM, small_scan
from torch import nn

from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.lesion_model import load_model, save_model
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.models.network import LOGIT_CHANNELS

SMALL = UNetConfig(working_size=64, base_channels=4)


def count(network: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in network.modules())


def test_it_has_the_published_parts():
    network = UNet(UNetConfig())
    assert count(network, nn.BatchNorm2d) == 12  # one in each convolution segment
    assert count(network, nn.ConvTranspose2d) == 3
    shapes = []
    network.down[3].register_forward_hook(lambda module, args, output: shapes.append(output.shape))
    output = network(torch.rand(2, 1, 64, 64), torch.tensor([[0], [1]]))
    assert shapes == [(2, 128, 8, 8)]  # three poolings
    assert output.logits.shape == (2, LOGIT_CHANNELS, 64, 64)


def test_a_saved_unet_segments_like_the_one_in_memory(tmp_path):
    torch.manual_seed(0)
    network = UNet(SMALL).eval()
    save_model(tmp_path / "slices.pt", network)
    model = load_model(str(tmp_path / "slices.pt"))
    assert model.config == SMALL
    hu, anatomy = small_scan()
    labels = segment_lesions(hu, SPACING_MM, anatomy, model, "cpu").labels
    assert (labels[anatomy.lungs > 0] > 0).all()
    assert np.count_nonzero(labels >= 2)
