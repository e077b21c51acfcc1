"""How dense the blood in the pulmonary artery is, measured without segmenting the artery.

Without contrast medium the blood is equally dense in heart, aorta and pulmonary artery, so the core
of all large soft tissue between the lungs stands for the artery: from the carina 45 mm downwards
(where the pulmonary trunk, its branches, the ascending aorta and the top of the heart lie), in
front of the trachea, at least 6 mm from fat, air and bone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.grids import CoarseGrid
from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE

COARSE_IN_PLANE_MM = 2.2
COARSE_SLICE_MM = 2.5
# Where it lies, downwards from the carina.
BAND_BELOW_CARINA_MM = (5.0, 45.0)
# Where no carina is seen: its usual height, as a share of the lungs' from their lower end.
USUAL_CARINA_HEIGHT = 0.6
SMALLEST_BRONCHUS_MM2 = 40.0
SOFT_TISSUE_RANGE_HU = (-30.0, 600.0)
SMOOTHING_MM = 2.0
# Taken off all round, so that fat and partly filled voxels do not count.
TAKEN_OFF_MM = 6.0
SMALLEST_CORE_ML = 5.0
# Of blood without contrast medium; below and above, the calibration is off or contrast was given.
USUAL_BLOOD_HU = (0.0, 100.0)
ASSUMED_BLOOD_HU = 40.0


@dataclass(frozen=True)
class ArteryEstimate:
    """The estimate.

    Attributes:
        hu: median HU of the core; `ASSUMED_BLOOD_HU` where none was found.
        core_ml: volume it was taken from; 0 where none was found.
        warnings: not found, contrast medium suspected, or unusual.
    """

    hu: float
    core_ml: float
    warnings: tuple[ScanWarning, ...]


def estimate_pulmonary_artery_hu(
    hu: np.ndarray, anatomy: LungAnatomy, spacing_mm: tuple[float, float, float]
) -> ArteryEstimate:
    """Estimate the attenuation of the pulmonary artery from the blood around it.

    Args:
        hu: int16 (z, y, x), upright (x→Left, y→Posterior, z→Superior).
        anatomy: lungs and airways of the same scan.
        spacing_mm: voxel size (x, y, z).
    """
    grid = CoarseGrid.of(hu.shape, spacing_mm, COARSE_IN_PLANE_MM, COARSE_SLICE_MM)
    coarse_hu = grid.reduce(hu)
    core = blood_core(
        coarse_hu,
        grid.reduce(anatomy.lungs == RIGHT_LUNG_VALUE) > 0.5,
        grid.reduce(anatomy.lungs == LEFT_LUNG_VALUE) > 0.5,
        grid.reduce(anatomy.airways) > 0.5,
        grid.spacing_mm,
    )
    core_ml = np.count_nonzero(core) * grid.voxel_volume_ml
    if core_ml < SMALLEST_CORE_ML:
        warning = ScanWarning(
            "artery_not_found",
            "The pulmonary artery's density could not be measured and was taken as "
            f"{ASSUMED_BLOOD_HU:.0f} HU; give the value (--artery-hu) if you know it.",
        )
        return ArteryEstimate(ASSUMED_BLOOD_HU, 0.0, (warning,))
    blood_hu = float(np.median(coarse_hu[core]))
    return ArteryEstimate(blood_hu, core_ml, _unusual_blood(blood_hu))


def blood_core(
    hu: np.ndarray,
    right_lung: np.ndarray,
    left_lung: np.ndarray,
    airways: np.ndarray,
    spacing_mm: tuple[float, float, float],
) -> np.ndarray:
    """Core of heart and great vessels, bool (z, y, x), on the grid of the arrays given."""
    lungs = right_lung | left_lung
    if not (right_lung.any() and left_lung.any()):
        return np.zeros_like(lungs)
    carina = _carina_slice(airways, spacing_mm)
    if carina is None:
        slices = np.flatnonzero(lungs.any(axis=(1, 2)))
        carina = round(float(slices[0] + USUAL_CARINA_HEIGHT * (slices[-1] - slices[0])))
    top, bottom = (carina - distance / spacing_mm[2] for distance in BAND_BELOW_CARINA_MM)
    band = slice(max(0, round(bottom)), max(0, round(top) + 1))
    # x grows to the patient's left: right lung at lower x, left lung at higher x of the same row.
    right_before = np.logical_or.accumulate(right_lung, axis=2)
    left_after = np.logical_or.accumulate(left_lung[:, :, ::-1], axis=2)[:, :, ::-1]
    between = right_before & left_after
    region = np.zeros_like(lungs)
    front = slice(0, _back_of_band(airways[carina], between[band]))
    region[band, front] = between[band, front]
    lowest_hu, highest_hu = SOFT_TISSUE_RANGE_HU
    sigma = [SMOOTHING_MM / size for size in reversed(spacing_mm)]
    smooth = ndimage.gaussian_filter(np.clip(hu, -1024.0, 1000.0), sigma)
    soft = (smooth > lowest_hu) & (smooth < highest_hu) & ~lungs
    depth_mm = ndimage.distance_transform_edt(soft, sampling=spacing_mm[::-1])
    return region & (depth_mm > TAKEN_OFF_MM)


def _carina_slice(airways: np.ndarray, spacing_mm: tuple[float, float, float]) -> int | None:
    """The highest slice in which the airway is two; None where it never is."""
    for index in np.flatnonzero(airways.any(axis=(1, 2)))[::-1]:
        parts, count = ndimage.label(airways[index])
        if count < 2:
            continue
        areas_mm2 = np.sort(np.bincount(parts.ravel())[1:]) * spacing_mm[0] * spacing_mm[1]
        if areas_mm2[-2] >= SMALLEST_BRONCHUS_MM2:
            return int(index)
    return None


def _back_of_band(airways_at_carina: np.ndarray, between: np.ndarray) -> int:
    """Row behind which nothing counts: the bronchi's, else the middle of the mediastinum."""
    if airways_at_carina.any():
        return round(float(np.nonzero(airways_at_carina)[0].mean()))
    rows = np.flatnonzero(between.any(axis=(0, 2)))
    return round(float(rows.mean())) if rows.size else 0


def _unusual_blood(blood_hu: float) -> tuple[ScanWarning, ...]:
    lowest_hu, highest_hu = USUAL_BLOOD_HU
    if blood_hu > highest_hu:
        return (
            ScanWarning(
                "artery_enhanced",
                f"The blood in heart and great vessels measures {blood_hu:.0f} HU, so contrast "
                "medium is suspected; consolidation then stays below the pulmonary artery and "
                "reads as GGO: tell them apart by density instead.",
            ),
        )
    if blood_hu < lowest_hu:
        return (
            ScanWarning(
                "artery_hu_unusual",
                f"The blood in heart and great vessels measures {blood_hu:.0f} HU (usual 20 to "
                "70 HU without contrast medium); check the scan's calibration.".replace("-", "−"),
            ),
        )
    return ()
