"""The loss: known answers of region mutual information, and what partial labels may not teach."""

from __future__ import annotations

import math

import pytest
import torch

from CovidLungQuantLib.models.network import KIND_CHANNEL, LESION_CHANNEL
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
    targets = torch.zeros(1, 5, 64, 64)
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
