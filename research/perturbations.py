"""What another scanner, protocol or position would have made of a scan, with its labels.

Every function takes and returns an `AnnotatedScan`; labels follow the geometry and stay as they are
where only the HU change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.training.data import AnnotatedScan

NOISE_VARIANCE_FACTOR = 4.0
SHARPENING = 1.0
SHARPENING_MM = 1.0
THIN_MM = 1.0
THICK_MM = 6.0
HU_SHIFT = 30
TILT_DEGREES = 10.0
FIELD_OF_VIEW_SHARE = 0.8
AIR_HU = -1024


def noise_sd_hu(scan: AnnotatedScan) -> float:
    """SD of a scan's noise, from the second differences along rows of soft tissue.

    A flat region's second difference a − 2b + c has the variance 6σ²; its median absolute value,
    insensitive to edges, is 0.6745·√6·σ.
    """
    hu = scan.hu[:: max(1, len(scan.hu) // 20)].astype(np.float32)
    difference = hu[:, :, :-2] - 2 * hu[:, :, 1:-1] + hu[:, :, 2:]
    tissue = np.abs(hu[:, :, 1:-1] - 40) < 100
    if not tissue.any():
        return 0.0
    return float(np.median(np.abs(difference[tissue])) / (0.6745 * np.sqrt(6.0)))


def noisier(scan: AnnotatedScan) -> AnnotatedScan:
    """Noise of four times the variance, as of a quarter of the dose."""
    added_sd = noise_sd_hu(scan) * np.sqrt(NOISE_VARIANCE_FACTOR - 1.0)
    noise = np.random.default_rng(0).normal(0.0, added_sd, scan.hu.shape)
    return replace(scan, hu=_as_hu(scan.hu + noise))


def sharper(scan: AnnotatedScan) -> AnnotatedScan:
    """A sharper kernel: unsharp masking in the slice plane."""
    sigma = (0.0, SHARPENING_MM / scan.spacing_mm[1], SHARPENING_MM / scan.spacing_mm[0])
    hu = scan.hu.astype(np.float32)
    return replace(scan, hu=_as_hu(hu + SHARPENING * (hu - ndimage.gaussian_filter(hu, sigma))))


def thicker(scan: AnnotatedScan) -> AnnotatedScan:
    """Neighbouring slices averaged to about 6 mm; each voxel takes its commonest label."""
    group = max(1, round(THICK_MM / scan.spacing_mm[2]))
    count = len(scan.hu) // group
    hu = scan.hu[: count * group].reshape(count, group, *scan.hu.shape[1:])
    labels = scan.labels[: count * group].reshape(hu.shape)
    values = np.unique(labels)
    votes = np.stack([(labels == value).sum(axis=1) for value in values])
    x_mm, y_mm, z_mm = scan.spacing_mm
    return replace(
        scan,
        hu=_as_hu(hu.mean(axis=1)),
        labels=values[votes.argmax(axis=0)],
        spacing_mm=(x_mm, y_mm, z_mm * group),
    )


def thinner(scan: AnnotatedScan) -> AnnotatedScan:
    """Slices interpolated to about 1 mm."""
    factor = max(1, round(scan.spacing_mm[2] / THIN_MM))
    positions = (np.arange(len(scan.hu) * factor) + 0.5) / factor - 0.5
    below = np.clip(np.floor(positions).astype(int), 0, len(scan.hu) - 1)
    above = np.clip(below + 1, 0, len(scan.hu) - 1)
    share = np.clip(positions - below, 0.0, 1.0).astype(np.float32)
    hu = np.empty((len(positions), *scan.hu.shape[1:]), np.int16)
    for index, (low, high, weight) in enumerate(zip(below, above, share, strict=True)):
        hu[index] = _as_hu(scan.hu[low] * (1 - weight) + scan.hu[high] * weight)
    x_mm, y_mm, z_mm = scan.spacing_mm
    nearest = np.clip(np.rint(positions).astype(int), 0, len(scan.hu) - 1)
    return replace(scan, hu=hu, labels=scan.labels[nearest], spacing_mm=(x_mm, y_mm, z_mm / factor))


def shifted_up(scan: AnnotatedScan) -> AnnotatedScan:
    """HU 30 too high, but for the air outside."""
    return _shifted(scan, HU_SHIFT)


def shifted_down(scan: AnnotatedScan) -> AnnotatedScan:
    """HU 30 too low."""
    return _shifted(scan, -HU_SHIFT)


def tilted(scan: AnnotatedScan) -> AnnotatedScan:
    """The patient turned by 10° about the left-right axis."""
    angle = np.deg2rad(TILT_DEGREES)
    spacing = np.array([scan.spacing_mm[2], scan.spacing_mm[1]])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # In voxels of (z, y): to mm, turn, and back.
    matrix = np.eye(3)
    matrix[:2, :2] = rotation * spacing[None, :] / spacing[:, None]
    centre = (np.array(scan.hu.shape) - 1) / 2.0
    offset = centre - matrix @ centre
    hu = ndimage.affine_transform(
        scan.hu.astype(np.float32), matrix, offset, order=1, mode="constant", cval=AIR_HU
    )
    labels = ndimage.affine_transform(scan.labels, matrix, offset, order=0)
    return replace(scan, hu=_as_hu(hu), labels=labels)


def smaller_field_of_view(scan: AnnotatedScan) -> AnnotatedScan:
    """The middle 80 % of every slice's rows and columns."""
    rows, columns = (
        slice(
            round(size * (1 - FIELD_OF_VIEW_SHARE) / 2), round(size * (1 + FIELD_OF_VIEW_SHARE) / 2)
        )
        for size in scan.hu.shape[1:]
    )
    return replace(
        scan,
        hu=np.ascontiguousarray(scan.hu[:, rows, columns]),
        labels=np.ascontiguousarray(scan.labels[:, rows, columns]),
    )


PERTURBATIONS: dict[str, Callable[[AnnotatedScan], AnnotatedScan]] = {
    "noise of 4 times the variance": noisier,
    "sharper kernel": sharper,
    "6 mm slices": thicker,
    "1 mm slices": thinner,
    "30 HU up": shifted_up,
    "30 HU down": shifted_down,
    "tilted by 10°": tilted,
    "field of view 20 % smaller": smaller_field_of_view,
}


def _shifted(scan: AnnotatedScan, by_hu: int) -> AnnotatedScan:
    shifted = np.where(scan.hu > AIR_HU, scan.hu.astype(np.int32) + by_hu, scan.hu)
    return replace(scan, hu=_as_hu(shifted))


def _as_hu(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), AIR_HU, 3071).astype(np.int16)
