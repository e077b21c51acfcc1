"""The loss: known answers of region mutual information, and what partial labels may not teach."""

from __future__ import annotations

import math

import pytest
import torch

from CovidLungQuantLib.models.network import KIND_CHANNEL, LESION_CHANNEL
from CovidLungQuantLib.training.data import TARGET_CHANNELS, UNKNOWN_LUNG_CHANNEL
from CovidLungQuantLib.training.losses import (
    RMI_RIDGE,
    region_mutual_information,
    segmentation_loss,
)


def random_labels(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(2, 1, 8, 8, generator=generator).round()
    return torch.nn.functional.interpolate(coarse, scale_factor=8)


def test_rmi_of_an_empty_class_is_the_ridge_alone():
    empty = torch.zeros(1, 1, 64, 64)
    assert region_mutual_information(empty, empty) == pytest.approx(0.5 * math.log(RMI_RIDGE))


def test_rmi_is_lowest_for_the_right_answer():
    labels = random_labels(0)
    right = region_mutual_information(labels, labels)
    half = region_mutual_information(torch.full_like(labels, 0.5), labels)
    wrong = region_mutual_information(random_labels(1), labels)
    assert right < wrong < half


def test_rmi_matches_a_direct_computation():
    torch.manual_seed(3)
    labels, predicted = random_labels(2)[:1], torch.rand(1, 1, 64, 64)

    def patches(maps):
        pooled = torch.nn.functional.avg_pool2d(maps.double(), 4)
        columns = torch.nn.functional.unfold(pooled, 3)[0]
        return columns - columns.mean(dim=1, keepdim=True)

    y, p = patches(labels), patches(predicted)
    ridge = RMI_RIDGE * torch.eye(9, dtype=torch.double)
    remaining = y @ y.T - (y @ p.T) @ torch.linalg.inv(p @ p.T + ridge) @ (p @ y.T) + ridge
    expected = 0.5 * torch.linalg.slogdet(remaining)[1] / 9
    torch.testing.assert_close(
        region_mutual_information(predicted, labels).double(), expected, rtol=1e-5, atol=1e-5
    )


def targets_with_lesion(channel: int) -> torch.Tensor:
    targets = torch.zeros(1, TARGET_CHANNELS, 64, 64)
    targets[:, 1] = 1
    targets[:, 1, 16:32, 16:40] = 0
    targets[:, channel, 16:32, 16:40] = 1
    return targets


def test_lesion_of_unknown_class_does_not_teach_its_class():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 64, 64)
    swapped = logits * torch.tensor([1.0, 1.0, 1.0, -1.0]).view(1, 4, 1, 1)
    unknown = targets_with_lesion(4)
    torch.testing.assert_close(
        segmentation_loss(logits, unknown), segmentation_loss(swapped, unknown)
    )
    known = targets_with_lesion(2)
    assert segmentation_loss(logits, known) != segmentation_loss(swapped, known)


def enlarged(maps: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(maps, scale_factor=16)


def test_where_lung_is_unknown_only_the_absence_of_lesion_is_taught_exactly():
    targets = torch.zeros(1, TARGET_CHANNELS, 2, 2)
    targets[0, 0, 0, 0] = 1  # background
    targets[0, 1, 0, 1] = 1  # normal lung
    targets[0, UNKNOWN_LUNG_CHANNEL, 1, 0] = 1
    targets[0, [1, UNKNOWN_LUNG_CHANNEL], 1, 1] = 0.5  # of two slices one is known to be lung
    # Each pixel becomes 16 × 16, since region mutual information needs room even at weight 0.
    logits = torch.zeros(1, 4, 32, 32, requires_grad=True)
    loss = segmentation_loss(logits, enlarged(targets), rmi_weight=0.0)
    # ln 2 for each of the 4 pixels as far as it is known: 2.5 of background and of normal lung, 4
    # of lesion.
    assert float(loss.detach()) == pytest.approx((2.5 + 2.5 + 4) / 4 * math.log(2))
    loss.backward()
    # Sigmoid less share, by how far the pixel is known.
    background = torch.tensor([[-0.5, 0.5], [0.0, 0.25]])
    normal = torch.tensor([[0.5, -0.5], [0.0, -0.25]])
    lesion = torch.full((2, 2), 0.5)
    expected = enlarged(torch.stack([background, normal, lesion])[None])[0]
    torch.testing.assert_close(logits.grad[0, :3] * 32 * 32, expected)


@pytest.mark.parametrize("weights", [{"rmi_weight": 0.5}, {"rmi_weight": 0.0, "dice_weight": 1.0}])
def test_where_lung_is_unknown_no_part_of_the_loss_looks_at_lung(weights):
    torch.manual_seed(0)
    targets = targets_with_lesion(2)
    targets[:, :, 40:48, 8:24] = 0
    targets[:, UNKNOWN_LUNG_CHANNEL, 40:48, 8:24] = 1
    logits = torch.randn(1, 4, 64, 64, requires_grad=True)
    other = logits.detach().clone()
    other[:, :LESION_CHANNEL, 40:48, 8:24] += 3.0
    loss = segmentation_loss(logits, targets, **weights)
    torch.testing.assert_close(segmentation_loss(other, targets, **weights), loss.detach())
    loss.backward()
    assert not logits.grad[:, :LESION_CHANNEL, 40:48, 8:24].any()
    assert (logits.grad[:, LESION_CHANNEL, 40:48, 8:24] != 0).all()
    sure_lesion = other.clone()
    sure_lesion[:, LESION_CHANNEL, 40:48, 8:24] = 6.0
    assert segmentation_loss(sure_lesion, targets, **weights) > loss


def test_gradient_pulls_lesion_up_where_there_is_lesion():
    torch.manual_seed(0)
    logits = torch.zeros(1, 4, 64, 64, requires_grad=True)
    segmentation_loss(logits + 0.01 * torch.randn(1, 4, 64, 64), targets_with_lesion(4)).backward()
    inside = logits.grad[0, LESION_CHANNEL, 20:28, 20:36].mean()
    outside = logits.grad[0, LESION_CHANNEL, 40:60, 4:60].mean()
    assert inside < 0 < outside
    assert not logits.grad[0, KIND_CHANNEL].any()


@pytest.mark.parametrize(("channel", "sign"), [(2, 1), (3, -1)])
def test_gradient_turns_the_kind_of_lesion_towards_the_readers(channel, sign):
    logits = torch.zeros(1, 4, 64, 64, requires_grad=True)
    segmentation_loss(logits, targets_with_lesion(channel), dice_weight=1.0).backward()
    kind = logits.grad[0, KIND_CHANNEL]
    assert sign * kind[20:28, 20:36].mean() > 0
