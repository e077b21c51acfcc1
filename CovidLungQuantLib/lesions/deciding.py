"""From probabilities of the classes to labels, and to the codes in which they are kept."""

from __future__ import annotations

import torch
from torch import Tensor

from CovidLungQuantLib.labels import BACKGROUND_VALUE, GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.lesions.probability import DECISION_CODE, HIGHEST_CODE, LESION_MARGIN

# Background, normal lung and lesion sum to one, so that the higher of the first two is at least
# half of what lesion leaves: below this no voxel is lesion, nor is one between such voxels.
LEAST_LESION = LESION_MARGIN / (2.0 + LESION_MARGIN)


def decide_labels(probabilities: Tensor, class_axis: int = 0) -> Tensor:
    """Background, normal lung or lesion by `LESION_MARGIN`; then the more probable kind of lesion.

    Args:
        probabilities: (…, classes, …), such as (classes, y, x).
        class_axis: where the classes are.

    Returns:
        uint8, without the axis of the classes.
    """
    classes = probabilities.unbind(class_axis)
    lesion, rival = lesion_and_other(probabilities, class_axis)
    kind = torch.where(
        classes[HIGH_OPACITY.value] > classes[GGO.value], HIGH_OPACITY.value, GGO.value
    )
    other = torch.where(
        classes[NORMAL_LUNG.value] > classes[BACKGROUND_VALUE], NORMAL_LUNG.value, BACKGROUND_VALUE
    )
    return torch.where(lesion > LESION_MARGIN * rival, kind, other).to(torch.uint8)


def lesion_and_other(probabilities: Tensor, class_axis: int = 0) -> tuple[Tensor, Tensor]:
    """Return how probable lesion of any kind is, and its rival: background or normal lung."""
    classes = probabilities.unbind(class_axis)
    return (
        classes[GGO.value] + classes[HIGH_OPACITY.value],
        torch.maximum(classes[BACKGROUND_VALUE], classes[NORMAL_LUNG.value]),
    )


def can_be_lesion(probabilities: Tensor) -> Tensor:
    """Which planes of (planes, classes, y, x) may hold lesion, also when drawn finer; bool."""
    lesion = probabilities[:, GGO.value] + probabilities[:, HIGH_OPACITY.value]
    # A little less, for the rounding of sums that are not quite one.
    return lesion.flatten(1).amax(dim=1) > 0.99 * LEAST_LESION


def probability_codes(lesion: Tensor, other: Tensor, decided: Tensor) -> Tensor:
    """Return how probable lesion is as codes of `lesions.probability`.

    Args:
        lesion: probability of GGO and high opacity together.
        other: that of background or normal lung, whichever is higher.
        decided: bool, where the network decides lesion at `LESION_MARGIN`.

    Returns:
        uint8 of the same shape, above `DECISION_CODE` exactly where `decided`.
    """
    total = lesion + other
    share = torch.where(total > 0, lesion / total, 0.0)
    codes = (share * HIGHEST_CODE).to(torch.uint8)
    return torch.where(decided, codes.clamp(min=DECISION_CODE + 1), codes.clamp(max=DECISION_CODE))
