"""The network: its shapes, its blend, and that shared gates change nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_model import SMALL_CONFIG

from CovidLungQuantLib.lesions.networks.blocks import class_probabilities
from CovidLungQuantLib.lesions.networks.convlstm_attention import (
    UNET_BRANCH,
    ConvLSTM,
    ConvLSTMAttentionNetwork,
    NetworkConfig,
)
from CovidLungQuantLib.lesions.networks.unet import UNet, UNetConfig
from CovidLungQuantLib.models.network import LOGIT_CHANNELS

SMALL = replace(SMALL_CONFIG, working_size=32)


@pytest.fixture(
    params=[{}, {"full_channels": 4}, {"main_branch": UNET_BRANCH, "base_channels": 4}],
    ids=["half", "full", "unet"],
)
def network(request) -> ConvLSTMAttentionNetwork:
    """The small network with each main branch there is."""
    torch.manual_seed(0)
    return ConvLSTMAttentionNetwork(replace(SMALL, **request.param)).eval()


def windows_of(count: int, length: int) -> torch.Tensor:
    return torch.arange(count)[:, None] + torch.arange(length)[None]


def test_output_has_a_logit_for_every_class_and_pixel(network):
    output = network(torch.rand(13, 1, 32, 32), windows_of(3, 11))
    assert output.logits.shape == (3, LOGIT_CHANNELS, 32, 32)
    assert output.alpha.shape == (3, 1, 32, 32)


def test_blend_is_alpha_of_main_and_the_rest_of_attention(network):
    output = network(torch.rand(11, 1, 32, 32), windows_of(1, 11))
    expected = output.main * output.alpha + output.attention * (1 - output.alpha)
    torch.testing.assert_close(output.logits, expected)


def test_gates_shared_between_windows_give_the_result_of_each_window_alone(network):
    slices = torch.rand(13, 1, 32, 32)
    together = network(slices, windows_of(3, 11)).logits
    for index in range(3):
        alone = network(slices[index : index + 11], windows_of(1, 11)).logits
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-4)


def test_every_slice_of_the_window_and_its_order_matter(network):
    slices = torch.rand(11, 1, 32, 32)
    reference = network(slices, windows_of(1, 11)).logits
    for changed in range(11):
        other = slices.clone()
        other[changed] = 1 - other[changed]
        assert not torch.allclose(network(other, windows_of(1, 11)).logits, reference, atol=1e-6)
    reversed_windows = windows_of(1, 11).flip(1)
    assert not torch.allclose(network(slices, reversed_windows).logits, reference, atol=1e-6)


def test_main_branch_sees_the_target_slice_only(network):
    slices = torch.rand(11, 1, 32, 32)
    reference = network(slices, windows_of(1, 11)).main
    slices[[0, 1, 2, 3, 4, 6, 7, 8, 9, 10]] = 0
    torch.testing.assert_close(network(slices, windows_of(1, 11)).main, reference)


def test_a_unet_as_main_branch_gives_what_the_unet_gives():
    torch.manual_seed(0)
    network = ConvLSTMAttentionNetwork(
        replace(SMALL, main_branch=UNET_BRANCH, base_channels=4)
    ).eval()
    unet = UNet(UNetConfig(working_size=32, base_channels=4)).eval()
    network.main_branch.load_state_dict(unet.state_dict())
    slices = torch.rand(11, 1, 32, 32)
    expected = unet(slices, torch.tensor([[5]])).logits
    torch.testing.assert_close(network(slices, windows_of(1, 11)).main, expected)


def test_full_level_adds_to_what_comes_up_from_half_the_resolution_and_to_nothing_else():
    torch.manual_seed(0)
    branch = ConvLSTMAttentionNetwork(replace(SMALL, full_channels=4)).eval().main_branch
    slices = torch.rand(2, 1, 32, 32)
    logits, features = branch(slices)
    with torch.no_grad():
        for parameter in branch.full_level.narrow.parameters():
            parameter.zero_()
    # Alone, the full level sees no farther than its four 3×3 convolutions reach.
    alone, same_features = branch(slices)
    assert not torch.allclose(alone, logits)
    assert torch.equal(same_features, features)
    changed = slices.clone()
    changed[:, :, 16, 16] = 5.0
    reached = (branch(changed)[0] != alone).any(dim=(0, 1)).nonzero()
    assert reached.amin() == 16 - 4
    assert reached.amax() == 16 + 4


def test_convlstm_follows_its_equations_on_one_pixel():
    lstm = ConvLSTM(1, 1)
    with torch.no_grad():
        lstm.input_to_gates.weight.zero_()
        lstm.hidden_to_gates.weight.zero_()
        # Order of the gates: input, forget, output, candidate.
        lstm.input_to_gates.weight[:, 0, 1, 1] = torch.tensor([0.5, -0.3, 0.8, 1.2])
        lstm.hidden_to_gates.weight[:, 0, 1, 1] = torch.tensor([0.1, 0.2, -0.4, 0.7])
        lstm.input_to_gates.bias.zero_()
    inputs = [0.9, -0.4, 0.6]
    hidden = cell = torch.tensor(0.0)
    for value in inputs:
        i, f, o, g = (
            weight * value + recurrent * hidden
            for weight, recurrent in zip((0.5, -0.3, 0.8, 1.2), (0.1, 0.2, -0.4, 0.7), strict=True)
        )
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
    gates = lstm.input_gates(torch.tensor(inputs).view(3, 1, 1, 1))
    result = lstm(gates, torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(result.flatten(), hidden.view(1))


def test_default_dense_block_is_that_of_densenet_121():
    network = ConvLSTMAttentionNetwork(NetworkConfig())
    assert network.main_branch.dense.out_channels == 256
    assert [layer.conv1.in_channels for layer in network.main_branch.dense.layers] == [
        64,
        96,
        128,
        160,
        192,
        224,
    ]
    assert {
        (layer.conv1.out_channels, layer.conv2.out_channels)
        for layer in network.main_branch.dense.layers
    } == {(128, 32)}


def test_probabilities_sum_to_one_and_follow_hand_worked_logits():
    # Background, normal lung, lesion, high opacity given lesion.
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0]).view(1, 4, 1, 1)
    probabilities = class_probabilities(logits).flatten()
    assert probabilities.sum() == pytest.approx(1.0)
    background, normal = 1 / 2, 1 / (1 + torch.tensor(-1.0).exp())
    lesion = 1 / (1 + torch.tensor(-2.0).exp())
    total = background + normal + lesion
    assert probabilities[2] + probabilities[3] == pytest.approx(float(lesion / total), abs=1e-6)
    assert probabilities[2] / probabilities[3] == pytest.approx(
        float(torch.tensor(1.0).exp()), rel=1e-5
    )
