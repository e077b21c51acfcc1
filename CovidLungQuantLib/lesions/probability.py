"""The network's lesion probability as it is kept, and the margin at which a voxel is lesion.

A voxel is lesion where lesion > margin · max(background, normal lung). Kept is the share
lesion / (lesion + max(background, normal lung)) as a code 0…255, so that any other margin can be
looked at later without the network. Needs no PyTorch.
"""

from __future__ import annotations

# A voxel is lesion where lesion is at least this share as probable as background or normal lung.
# At 1 the network marks about a fifth too little; Dice hardly depends on it between 0.25 and 0.7.
LESION_MARGIN = 0.4
HIGHEST_CODE = 255
# A code above this one is lesion at `LESION_MARGIN`; see `deciding.probability_codes`.
DECISION_CODE = int(HIGHEST_CODE * LESION_MARGIN / (1.0 + LESION_MARGIN))


def margin_of_code(code: int) -> float:
    """Return the margin that a code stands for: the default code for `LESION_MARGIN` exactly."""
    if code == DECISION_CODE:
        return LESION_MARGIN
    return float("inf") if code >= HIGHEST_CODE else code / (HIGHEST_CODE - code)


def code_of_margin(margin: float | None) -> int:
    """Return the code of a margin; None, where no network said one, is the default."""
    if margin is None or margin == LESION_MARGIN:
        return DECISION_CODE
    return round(HIGHEST_CODE * margin / (1.0 + margin))


def share_of_code(code: float) -> float:
    """Return the probability in 0…1 that a code stands for."""
    return code / HIGHEST_CODE
