"""Region mutual information with binary cross-entropy (Zhao et al. 2019), for partial labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    GGO,
    HIGH_OPACITY,
    NORMAL_LUNG,
    UNCLASSIFIED_LESION_VALUE,
)
from CovidLungQuantLib.models.network import KIND_CHANNEL, LESION_CHANNEL
from CovidLungQuantLib.training.data import UNKNOWN_LUNG_CHANNEL

RMI_POOLING = 4
RMI_RADIUS = 3
RMI_RIDGE = 5e-4


def segmentation_loss(
    logits: Tensor, targets: Tensor, rmi_weight: float = 0.5, dice_weight: float = 0.0
) -> Tensor:
    """(1 − w)·BCE + w·RMI over background, normal, lesion, and the kinds of lesion where known.

    A slice with lesion of unknown class teaches only that there is lesion, not which. Where lung or
    not is unknown, background and normal lung are not taught, but that there is no lesion.

    Args:
        logits: (windows, LOGIT_CHANNELS, height, width).
        targets: shares (windows, TARGET_CHANNELS, height, width), see `training.data`.
        rmi_weight: w, 0.5 in the paper.
        dice_weight: of an added soft Dice loss of lesion and its kinds, 0 in the paper.
    """
    always_logits = logits[:, :KIND_CHANNEL]
    lesion = targets[:, [GGO.value, HIGH_OPACITY.value, UNCLASSIFIED_LESION_VALUE]].sum(
        dim=1, keepdim=True
    )
    always_targets = torch.cat([targets[:, [BACKGROUND_VALUE, NORMAL_LUNG.value]], lesion], dim=1)
    probabilities = always_logits.sigmoid()
    known_shares = _known_shares(targets)
    bce = functional.binary_cross_entropy_with_logits(
        always_logits,
        always_targets / known_shares.clamp_min(1e-6),
        weight=known_shares,
        reduction="none",
    )
    loss = (1.0 - rmi_weight) * bce.mean(dim=(0, 2, 3)).sum()
    if rmi_weight:
        loss = loss + rmi_weight * region_mutual_information(
            probabilities * known_shares, always_targets
        )
    if dice_weight:
        loss = loss + dice_weight * _soft_dice_loss(probabilities[:, LESION_CHANNEL:], lesion)
    known = (targets[:, UNCLASSIFIED_LESION_VALUE].flatten(1).amax(dim=1) == 0) & (
        lesion.flatten(1).amax(dim=1) > 0
    )
    if known.any():
        loss = loss + known.float().mean() * _kind_loss(
            logits[known], targets[known], rmi_weight, dice_weight
        )
    return loss


def distillation_loss(logits: Tensor, taught: Tensor) -> Tensor:
    """BCE against what other networks say of the same slices (Hinton et al. 2015, temperature 1).

    The kind of lesion counts where they see lesion.

    Args:
        logits: (windows, LOGIT_CHANNELS, height, width).
        taught: probabilities, of the same shape.
    """
    bce = functional.binary_cross_entropy_with_logits(logits, taught, reduction="none")
    always, kind = bce[:, :KIND_CHANNEL], bce[:, KIND_CHANNEL:]
    lesion = taught[:, LESION_CHANNEL:KIND_CHANNEL]
    return always.mean(dim=(0, 2, 3)).sum() + (lesion * kind).sum() / (lesion.sum() + 1.0)


def _known_shares(targets: Tensor) -> Tensor:
    """Share of each voxel in which background, normal lung and lesion are known, in that order."""
    lung_known = 1.0 - targets[:, [UNKNOWN_LUNG_CHANNEL]]
    return torch.cat([lung_known, lung_known, torch.ones_like(lung_known)], dim=1)


def _kind_loss(logits: Tensor, targets: Tensor, rmi_weight: float, dice_weight: float) -> Tensor:
    """The same for GGO and high opacity; BCE is that of the kind, averaged over the lesions."""
    kind_logits = logits[:, KIND_CHANNEL:]
    kinds = targets[:, [GGO.value, HIGH_OPACITY.value]]
    lesion = kinds.sum(dim=1, keepdim=True)
    bce = functional.binary_cross_entropy_with_logits(
        kind_logits, kinds[:, 1:] / lesion.clamp_min(1e-6), weight=lesion, reduction="sum"
    ) / (lesion.sum() + 1.0)
    probabilities = logits[:, LESION_CHANNEL:KIND_CHANNEL].sigmoid() * torch.cat(
        [(-kind_logits).sigmoid(), kind_logits.sigmoid()], dim=1
    )
    loss = (1.0 - rmi_weight) * bce
    if rmi_weight:
        loss = loss + rmi_weight * region_mutual_information(probabilities, kinds)
    if dice_weight:
        loss = loss + dice_weight * _soft_dice_loss(probabilities, kinds)
    return loss


def _soft_dice_loss(probabilities: Tensor, targets: Tensor) -> Tensor:
    """1 − Dice of each class over the whole batch, averaged over classes."""
    overlap = (probabilities * targets).sum(dim=(0, 2, 3))
    total = (probabilities + targets).sum(dim=(0, 2, 3))
    return (1.0 - (2.0 * overlap + 1.0) / (total + 1.0)).mean()


def region_mutual_information(probabilities: Tensor, targets: Tensor) -> Tensor:
    """RMI term of Zhao et al. 2019: ½ log det(M + εI) / 9, summed over classes, mean over images.

    M is the (unnormalised) covariance of the 3×3 neighbourhoods of the labels that the predictions
    leave unexplained, both average-pooled by 4 and taken in double precision.

    Args:
        probabilities, targets: (images, classes, height, width).
    """
    predicted = _neighbourhoods(probabilities.double())
    expected = _neighbourhoods(targets.double())
    size = predicted.shape[2]
    ridge = RMI_RIDGE * torch.eye(size, dtype=torch.double, device=predicted.device)
    covariance_expected = expected @ expected.transpose(2, 3)
    covariance_predicted = predicted @ predicted.transpose(2, 3)
    cross = expected @ predicted.transpose(2, 3)
    explained = cross @ torch.linalg.solve(covariance_predicted + ridge, cross.transpose(2, 3))
    remaining = covariance_expected - explained + ridge
    terms = 0.5 * torch.logdet(remaining) / size
    return terms.sum(dim=1).mean().to(probabilities.dtype)


def _neighbourhoods(maps: Tensor) -> Tensor:
    """(images, classes, height, width) → mean-free 3×3 patches (images, classes, 9, patches)."""
    pooled = functional.avg_pool2d(maps, RMI_POOLING)
    images, classes, height, width = pooled.shape
    rows, columns = height - RMI_RADIUS + 1, width - RMI_RADIUS + 1
    patches = torch.stack(
        [
            pooled[:, :, row : row + rows, column : column + columns].reshape(images, classes, -1)
            for row in range(RMI_RADIUS)
            for column in range(RMI_RADIUS)
        ],
        dim=2,
    )
    return patches - patches.mean(dim=3, keepdim=True)
