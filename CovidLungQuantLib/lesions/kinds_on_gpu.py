"""`kinds.classify_by_density` on a GPU; sums are of whole numbers, so only ties can differ."""

from __future__ import annotations

import numpy as np
import torch

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.lesions.joining import as_tensor, box_of_lungs
from CovidLungQuantLib.lesions.masks import slabs, sums_in_rectangles
from CovidLungQuantLib.progress import Poll


@torch.inference_mode()
def classify_on_gpu(
    labels: np.ndarray,
    hu: np.ndarray,
    size: tuple[int, int],
    high_opacity_above_hu: float,
    lesion_above_hu: float,
    device: str,
    poll: Poll,
) -> np.ndarray:
    """Relabel lesions by their mean density.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        hu: int16 (z, y, x).
        size: rows and columns of the rectangle over which the mean is taken, odd.
        high_opacity_above_hu, lesion_above_hu: as of `kinds.classify_by_density`.
        device: where to work, such as "cuda".
        poll: called between the steps; may raise `Cancelled`.

    Returns:
        uint8 (z, y, x), a new array.

    Raises:
        torch.cuda.OutOfMemoryError: the device has too little memory.
    """
    box = _wider(box_of_lungs(labels), size, labels.shape)
    part = as_tensor(labels[box]).to(device)
    density = as_tensor(hu[box]).to(device)
    for slab in slabs(part):
        poll()
        lesion = part[slab] >= GGO.value
        total_hu = sums_in_rectangles(torch.where(lesion, density[slab].float(), 0.0), size)
        mean_hu = total_hu / sums_in_rectangles(lesion.float(), size)
        kind = torch.where(mean_hu > high_opacity_above_hu, HIGH_OPACITY.value, GGO.value)
        kind = kind.masked_fill_(mean_hu < lesion_above_hu, NORMAL_LUNG.value).to(torch.uint8)
        part[slab] = torch.where(lesion, kind, part[slab])
    relabelled = labels.copy()
    relabelled[box] = part.cpu().numpy()
    return relabelled


def _wider(
    box: tuple[slice, ...], size: tuple[int, int], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """A box with room around it, so that its edge is mirrored only where the scan ends."""
    margins = (0, size[0] // 2, size[1] // 2)
    return tuple(
        slice(max(0, part.start - margin), min(length, part.stop + margin))
        for part, margin, length in zip(box, margins, shape, strict=True)
    )
