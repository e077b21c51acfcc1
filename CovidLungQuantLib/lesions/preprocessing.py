"""From a CT to what the network sees: body crop, working slices, scaled HU.

The rule for slice spacing, the same in training and inference: neighbouring slices thinner than the
window step (3 mm) are averaged in groups into working slices of about that step; thicker ones stay
as they are. A window then takes the working slices nearest to −15, −12 … +15 mm around its target
(repeating a thick one where needed), so that the network always sees the same stretch of lung.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from CovidLungQuantLib.models.network import LUNG_CROP, LesionNetworkConfig

BODY_THRESHOLD_HU = -500
BODY_GRID_MM = 4.0
# Room for ribs and mediastinum, and for lungs that were found a little too small.
LUNG_MARGIN_MM = 12.0


@dataclass(frozen=True)
class InPlaneBox:
    """Rows y0…y1 and columns x0…x1 (ends excluded), the same on every slice."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices for indexing the last two axes."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)


def in_plane_box(
    hu: np.ndarray,
    lungs: np.ndarray,
    spacing_mm: tuple[float, float, float],
    config: LesionNetworkConfig,
) -> InPlaneBox:
    """What part of the slices the network sees, by `config.crop`.

    Args:
        hu: int16 (z, y, x), upright.
        lungs: bool, of the same shape.
        spacing_mm: voxel size (x, y, z).
        config: of the network.
    """
    if config.crop == LUNG_CROP:
        return lung_box(lungs, spacing_mm)
    return body_box(hu, spacing_mm)


def lung_box(lungs: np.ndarray, spacing_mm: tuple[float, float, float]) -> InPlaneBox:
    """In-plane bounding box of the lungs with `LUNG_MARGIN_MM` around it.

    Args:
        lungs: bool (z, y, x), not empty.
        spacing_mm: voxel size (x, y, z).
    """
    ends = []
    for axis, spacing in ((1, spacing_mm[1]), (2, spacing_mm[0])):
        inside = np.flatnonzero(lungs.any(axis=(0, 3 - axis)))
        margin = round(LUNG_MARGIN_MM / spacing)
        ends += [
            max(0, int(inside[0]) - margin),
            min(lungs.shape[axis], int(inside[-1]) + 1 + margin),
        ]
    return InPlaneBox(*ends)


def body_box(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> InPlaneBox:
    """In-plane bounding box of the body, without table and clothes.

    Args:
        hu: int16 (z, y, x), upright.
        spacing_mm: voxel size (x, y, z).

    Returns:
        The box; the whole slice where no body stands out.
    """
    steps = [max(1, round(BODY_GRID_MM / spacing)) for spacing in reversed(spacing_mm)]
    coarse = hu[:: steps[0], :: steps[1], :: steps[2]] > BODY_THRESHOLD_HU
    # With the lungs filled, a thin chest wall survives the opening.
    coarse = np.stack([ndimage.binary_fill_holes(plane) for plane in coarse])
    # A slice-wise opening with a disc of about 12 mm takes away table, sheets and cables.
    disc = _disc(3)
    padded = np.pad(coarse, ((0, 0), (3, 3), (3, 3)), mode="edge")
    opened = ndimage.binary_opening(padded, structure=disc[None])[:, 3:-3, 3:-3]
    components, count = ndimage.label(opened)
    if count == 0:
        return InPlaneBox(0, hu.shape[1], 0, hu.shape[2])
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    body = components == sizes.argmax()
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    columns = np.flatnonzero(body.any(axis=(0, 1)))
    return InPlaneBox(
        max(0, (int(rows[0]) - 1) * steps[1]),
        min(hu.shape[1], (int(rows[-1]) + 2) * steps[1]),
        max(0, (int(columns[0]) - 1) * steps[2]),
        min(hu.shape[2], (int(columns[-1]) + 2) * steps[2]),
    )


def slices_per_group(spacing_z_mm: float, config: LesionNetworkConfig) -> int:
    """How many neighbouring slices are averaged into one working slice."""
    return max(1, int(config.window_step_mm / spacing_z_mm + 0.25))


def group_bounds(slice_count: int, group_size: int) -> list[tuple[int, int]]:
    """First and past-the-last slice of each working slice; the last group may be smaller."""
    return [
        (start, min(start + group_size, slice_count)) for start in range(0, slice_count, group_size)
    ]


def group_centres(slice_count: int, group_size: int) -> np.ndarray:
    """Position of each working slice, in native slice indices."""
    return np.array(
        [(start + stop - 1) / 2.0 for start, stop in group_bounds(slice_count, group_size)]
    )


def working_slice(
    hu: Tensor, bounds: tuple[int, int], box: InPlaneBox, config: LesionNetworkConfig
) -> Tensor:
    """One working slice: averaged, cropped, resized, scaled.

    Args:
        hu: int16 (z, y, x), on any device.
        bounds: first and past-the-last native slice.
        box: in-plane crop.
        config: gives the working size and HU window.

    Returns:
        float32 (working_size, working_size) in 0…1, on the same device.
    """
    rows, columns = box.slices
    low, high = config.hu_window
    group = hu[bounds[0] : bounds[1], rows, columns].float().clamp_(low, high)
    scaled = (group.mean(dim=0) - low) / (high - low)
    return resize_plane(scaled, (config.working_size, config.working_size))


def window_indices(count: int, working_step_mm: float, config: LesionNetworkConfig) -> np.ndarray:
    """Which working slices make up each window.

    Args:
        count: number of working slices.
        working_step_mm: distance between them.
        config: gives the window's length and step.

    Returns:
        int64 (count, window_length); the ends of the scan are repeated.
    """
    return _around(count, working_step_mm, config.window_length, config)


def context_indices(count: int, working_step_mm: float, config: LesionNetworkConfig) -> np.ndarray:
    """Which working slices the network is shown together as one picture's channels.

    Args, spacing and ends as for `window_indices`.

    Returns:
        int64 (count, context_slices); the middle column is the slice itself.
    """
    return _around(count, working_step_mm, config.context_slices, config)


def _around(
    count: int, working_step_mm: float, length: int, config: LesionNetworkConfig
) -> np.ndarray:
    """Indices (count, length) of the working slices nearest to `length` steps around each."""
    half = length // 2
    offsets = np.arange(-half, half + 1) * (config.window_step_mm / working_step_mm)
    # Rounds halves away from the target on both sides alike.
    steps = np.sign(offsets) * np.floor(np.abs(offsets) + 0.5)
    steps = steps.astype(np.int64)
    return np.clip(np.arange(count)[:, None] + steps[None, :], 0, count - 1)


def working_step_mm(spacing_z_mm: float, config: LesionNetworkConfig) -> float:
    """Distance between working slices; within a quarter of the window step it counts as it."""
    step = spacing_z_mm * slices_per_group(spacing_z_mm, config)
    near = abs(step / config.window_step_mm - 1.0) <= 0.25
    return config.window_step_mm if near else step


def resize_plane(plane: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resize (…, y, x) float32 by area averaging when shrinking, linearly when growing.

    Pixel centres map as in torch's `align_corners=False`, which the way back uses too.
    """
    rows, columns = (
        _resize_weights(length, size, plane.device)
        for length, size in zip(plane.shape[-2:], shape, strict=True)
    )
    return rows @ plane @ columns.T


@functools.lru_cache(maxsize=8)
def _resize_weights(length: int, size: int, device: torch.device) -> Tensor:
    """Triangle filter as wide as the coarser of the two grids (antialiased linear)."""
    ratio = length / size
    support = max(1.0, ratio)
    centres = (np.arange(size) + 0.5) * ratio - 0.5
    distance = np.abs(np.arange(length)[None, :] - np.clip(centres, 0, length - 1)[:, None])
    weights = np.clip(1.0 - distance / support, 0.0, None)
    scaled = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    return torch.from_numpy(scaled).to(device)


def _disc(radius: int) -> np.ndarray:
    grid = np.arange(-radius, radius + 1)
    return grid[:, None] ** 2 + grid[None, :] ** 2 <= radius**2
