"""What a small network learns from larger ones: their answers on the very slices it sees."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.models.network import LesionNetwork, LesionNetworkConfig

# Where two networks agree in these, a slice of one is a slice of the other.
_GRID = ("working_size", "crop", "window_step_mm", "context_slices", "hu_window")


def check_grid(config: LesionNetworkConfig, teachers: Sequence[LesionNetwork]) -> None:
    """Refuse teachers that see other slices than the network that is to learn from them.

    Raises:
        BadInputError: one has another working size, crop, window step, context or HU window.
    """
    for teacher in teachers:
        for name in _GRID:
            own, other = getattr(config, name), getattr(teacher.config, name)
            if own != other:
                raise BadInputError(
                    f"The network to distil from has {other} for {name}, the one to train {own}; "
                    "they must see the same slices."
                )


@torch.no_grad()
def taught_probabilities(
    teachers: Sequence[LesionNetwork], slices: Tensor, windows: Tensor | None
) -> Tensor:
    """Mean probabilities of the teachers, float32 (windows, LOGIT_CHANNELS, size, size).

    Args:
        teachers: in evaluation mode, on the device of the slices.
        slices: (slices, context_slices, size, size).
        windows: int64 (windows, length), indices into `slices`, the target in the middle; None
            where each slice is a target.
    """
    if windows is None:
        windows = torch.arange(len(slices), device=slices.device)[:, None]
    probabilities = []
    for teacher in teachers:
        length = teacher.config.window_length
        middle = windows.shape[1] // 2
        seen = windows[:, [middle]] if length == 1 else windows
        probabilities.append(teacher(slices, seen).logits.float().sigmoid())
    return torch.stack(probabilities).mean(dim=0)
