"""Arteries and veins inside the lungs, together, by how tube-like the density is at three scales.

At each scale the eigenvalues of the Hessian matrix of the smoothed scan are looked at (Sato et al.,
Med. Image Anal. 1998; Frangi et al., MICCAI 1998): across a bright tube two of them are strongly
negative, across a fissure or a pleura only one, so the middle one tells vessels from sheets. Round
opacities, where all three are negative, are held back at the larger scales. Thresholds follow the
noise of the scan. What is dense all through, as consolidation is, has no such response inside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.progress import Poll, ProgressCallback, no_poll, no_progress, polling

if TYPE_CHECKING:
    from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy

Spacing = tuple[float, float, float]

# Standard deviation of the smoothing, mm, and how much of the third eigenvalue counts against.
SCALES: tuple[tuple[float, float], ...] = ((1.0, 0.0), (1.8, 0.5), (3.2, 1.0))
HU_RANGE = (-1000.0, 200.0)
# A vessel is at least this much denser than the middle of its lung.
LEAST_CONTRAST_HU = 80.0
CONTRAST_SMOOTHING_MM = 0.4
WEAK_RESPONSE_HU = 42.0
WEAK_RESPONSE_IN_NOISE_SD = 3.5
# How steeply density may fall along a vessel, as a multiple of the response.
STEEPEST_ALONG = 1.0
# Somewhere a vessel answers this many times more strongly than at its weakest.
STRONG_BY_WEAK = 2.6
SMALLEST_VESSEL_ML = 0.03
# The outermost voxels of a lung are partly pleura and are replaced by what lies beneath them.
BORDER_SMOOTHING_MM = 1.5
THICKEST_ERODED_SLICE_MM = 2.6
NOISE_SAMPLES = 20000
VOXELS_AT_ONCE = 100_000


def segment_vessels(
    hu: np.ndarray,
    anatomy: LungAnatomy,
    spacing_mm: Spacing,
    progress: ProgressCallback = no_progress,
) -> np.ndarray:
    """Vessels inside the lungs, arteries and veins together.

    Args:
        hu: int16 (z, y, x), upright (x→Left, y→Posterior, z→Superior).
        anatomy: of the same scan.
        spacing_mm: voxel size (x, y, z); slices of 1 to 6 mm.
        progress: progress callback; may raise `Cancelled`.

    Returns:
        bool (z, y, x), True only where `anatomy.lungs` is not 0.
    """
    response = np.zeros(hu.shape, np.float32)
    sides = [side for side in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE) if (anatomy.lungs == side).any()]
    for done, side in enumerate(sides):
        poll = polling(progress, 0.9 * done / len(sides), "Looking for vessels")
        box = bounding_box(anatomy.lungs == side)
        lung = anatomy.lungs[box] == side
        response[box][lung] = _relative_response(hu[box], lung, spacing_mm, poll)
    poll = polling(progress, 0.9, "Looking for vessels")
    vessels = _connected_vessels(response, float(np.prod(spacing_mm)) / 1000.0, poll)
    progress(1.0, "Found the vessels")
    return vessels


def _relative_response(
    hu: np.ndarray, lung: np.ndarray, spacing_mm: Spacing, poll: Poll
) -> np.ndarray:
    """Best response of all scales as a multiple of the weakest that counts, at the lung's voxels.

    Args:
        hu: int16 (z, y, x), around one lung.
        lung: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).
        poll: called in between; may raise `Cancelled`.
    """
    steps_mm = np.array(spacing_mm[::-1])
    widths = [(width, width) for width in _reach_voxels(SCALES[-1][0], steps_mm)]
    lung = np.pad(lung, widths)
    padded = np.pad(np.clip(hu, *HU_RANGE).astype(np.float32), widths, mode="edge")
    poll()
    density, core = _without_surroundings(padded, lung, steps_mm, poll)
    poll()
    smooth = ndimage.gaussian_filter(density, CONTRAST_SMOOTHING_MM / steps_mm)
    middle_hu = float(np.median(density[core]))
    where = np.flatnonzero(lung & (smooth > middle_hu + LEAST_CONTRAST_HU))
    parenchyma = np.flatnonzero(core)
    samples = np.random.default_rng(0).choice(parenchyma, min(NOISE_SAMPLES, len(parenchyma)))
    best = np.zeros(len(where), np.float32)
    for sigma_mm, against_blobs in SCALES:
        poll()
        # Less than half a voxel would not smooth, only cost time.
        sigma = np.where(sigma_mm > 0.4 * steps_mm, sigma_mm / steps_mm, 0.0)
        smooth = ndimage.gaussian_filter(density, sigma, mode="nearest", truncate=3.0)
        poll()
        sheets = np.linalg.eigvalsh(hessians(smooth, samples, sigma_mm, spacing_mm))[:, 1]
        noise_hu = 1.4826 * float(np.median(np.abs(sheets - np.median(sheets))))
        weakest_hu = max(WEAK_RESPONSE_HU, WEAK_RESPONSE_IN_NOISE_SD * noise_hu)
        for start in range(0, len(where), VOXELS_AT_ONCE):
            poll()
            part = slice(start, start + VOXELS_AT_ONCE)
            airways_and_vessels_hu = tube_responses(
                smooth, where[part], sigma_mm, spacing_mm, against_blobs, weakest_hu
            )
            best[part] = np.maximum(best[part], airways_and_vessels_hu / weakest_hu)
    response = np.zeros(lung.shape, np.float32)
    response.ravel()[where] = best
    return response[lung]


def _without_surroundings(
    hu: np.ndarray, lung: np.ndarray, steps_mm: np.ndarray, poll: Poll
) -> tuple[np.ndarray, np.ndarray]:
    """Density with all but the core of the lung replaced by what lies inside nearby, and the core.

    Otherwise the edge of the chest wall would answer as a sheet does, with steps in it. A vessel
    goes on through the border, as the mean inside it is dense too.
    """
    cross = ndimage.generate_binary_structure(2, 1)[np.newaxis]
    core = ndimage.binary_erosion(lung, cross)
    if steps_mm[0] <= THICKEST_ERODED_SLICE_MM:
        core[1:-1] &= lung[:-2] & lung[2:]
    if not core.any():
        core = lung
    middle_hu = float(np.median(hu[core]))
    poll()
    sigma = BORDER_SMOOTHING_MM / steps_mm
    weight = ndimage.gaussian_filter(core.astype(np.float32), sigma, truncate=3.0)
    poll()
    total = ndimage.gaussian_filter(np.where(core, hu - middle_hu, 0), sigma, truncate=3.0)
    return np.where(core, hu, middle_hu + total / np.maximum(weight, 0.05)), core


def tube_responses(
    smooth: np.ndarray,
    where: np.ndarray,
    sigma_mm: float,
    spacing_mm: Spacing,
    against_blobs: float,
    weakest_hu: float,
) -> np.ndarray:
    """How tube-like the density is at some voxels, HU; 0 where less than `weakest_hu`.

    The surface of a round opacity curves like a tube that stands upright on it. Unlike in a vessel,
    the density then falls steeply along the tube: such responses are 0 too.

    Args:
        smooth: float32 (z, y, x), smoothed by `sigma_mm` where voxels are not coarser than that.
        where: flat indices of voxels, at least one difference away from every border.
        sigma_mm: the scale.
        spacing_mm: voxel size (x, y, z).
        against_blobs: how much of the third eigenvalue, where negative, counts against.
        weakest_hu: the weakest response of interest.
    """
    matrices = hessians(smooth, where, sigma_mm, spacing_mm)
    values = np.linalg.eigvalsh(matrices)
    response_hu = -values[:, 1] + against_blobs * np.minimum(values[:, 2], 0.0)
    response_hu[response_hu < weakest_hu] = 0.0
    tubes = np.flatnonzero(response_hu)
    along = np.linalg.eigh(matrices[tubes])[1][:, :, 2]
    slope_hu = np.abs((gradients(smooth, where[tubes], sigma_mm, spacing_mm) * along).sum(axis=1))
    response_hu[tubes[slope_hu > STEEPEST_ALONG * response_hu[tubes]]] = 0.0
    return response_hu


def gradients(
    smooth: np.ndarray, where: np.ndarray, sigma_mm: float, spacing_mm: Spacing
) -> np.ndarray:
    """Scale-normalised gradients (z, y, x), HU; shape (voxels, 3). Arguments as `hessians`."""
    strides, scale = _differences(smooth.shape, sigma_mm, spacing_mm)
    values = smooth.ravel()
    return np.stack(
        [
            (values[where + stride] - values[where - stride]) * (0.5 * factor)
            for stride, factor in zip(strides, scale, strict=True)
        ],
        axis=1,
    )


def hessians(
    smooth: np.ndarray, where: np.ndarray, sigma_mm: float, spacing_mm: Spacing
) -> np.ndarray:
    """Scale-normalised Hessian matrices, HU; float32 (voxels, 3, 3), rows (z, y, x).

    Derivatives are differences over about `sigma_mm`, at least one voxel. The normalisation counts
    the smoothing by the voxel itself, so that a vessel within one thick slice is no sheet.

    Args:
        smooth: float32 (z, y, x).
        where: flat indices of voxels, at least one difference away from every border.
        sigma_mm: the scale.
        spacing_mm: voxel size (x, y, z).
    """
    strides, scale = _differences(smooth.shape, sigma_mm, spacing_mm)
    values = smooth.ravel()
    matrices = np.empty((len(where), 3, 3), np.float32)
    for row, down in enumerate(strides):
        second = values[where + down] - 2 * values[where] + values[where - down]
        matrices[:, row, row] = second * scale[row] ** 2
        for column, along in enumerate(strides[:row]):
            mixed = (
                values[where + down + along]
                - values[where + down - along]
                - values[where - down + along]
                + values[where - down - along]
            ) / 4
            matrices[:, row, column] = mixed * (scale[row] * scale[column])
            matrices[:, column, row] = matrices[:, row, column]
    return matrices


def _differences(
    shape: tuple[int, ...], sigma_mm: float, spacing_mm: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """For each axis the distance between flat indices to take differences over, and the scale."""
    steps_mm = np.array(spacing_mm[::-1])
    reach = _reach_voxels(sigma_mm, steps_mm)
    strides = reach * np.array([shape[1] * shape[2], shape[2], 1])
    return strides, np.sqrt(sigma_mm**2 + steps_mm**2 / 12.0) / (reach * steps_mm)


def _reach_voxels(sigma_mm: float, steps_mm: np.ndarray) -> np.ndarray:
    return np.maximum(1, np.rint(sigma_mm / steps_mm)).astype(int)


def _connected_vessels(response: np.ndarray, voxel_ml: float, poll: Poll = no_poll) -> np.ndarray:
    """Weak responses that hang together with a strong one and are not tiny."""
    components, count = ndimage.label(response > 1.0, np.ones((3, 3, 3)))
    poll()
    sizes_ml = np.bincount(components.ravel(), minlength=count + 1) * voxel_ml
    strong = np.zeros(count + 1, bool)
    strong[np.unique(components[response > STRONG_BY_WEAK])] = True
    poll()
    kept = strong & (sizes_ml >= SMALLEST_VESSEL_ML)
    kept[0] = False
    return kept[components]
