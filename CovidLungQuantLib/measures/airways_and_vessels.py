"""How much airway and vessel was found, and what that says about a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import AIRWAYS, GGO, HIGH_OPACITY, VESSELS, is_lung


@dataclass(frozen=True)
class AirwaysAndVessels:
    """Volumes of airways and vessels.

    Attributes:
        airways_ml: lumen of trachea and bronchi as far as it was followed.
        vessels_ml: arteries and veins inside the lungs.
        vessels_percent: the same of the lung volume; NaN without lungs.
    """

    airways_ml: float
    vessels_ml: float
    vessels_percent: float


def measure_airways_and_vessels(
    airways_and_vessels: np.ndarray, labels: np.ndarray, voxel_volume_ml: float
) -> AirwaysAndVessels:
    """Measure airways and vessels.

    Args:
        airways_and_vessels: uint8 (z, y, x), values of `labels.AIRWAYS_AND_VESSELS`.
        labels: label map (z, y, x); values as in `labels.py`.
        voxel_volume_ml: volume of one voxel.
    """
    lung_ml = np.count_nonzero(is_lung(labels)) * voxel_volume_ml
    vessels_ml = np.count_nonzero(airways_and_vessels == VESSELS.value) * voxel_volume_ml
    return AirwaysAndVessels(
        airways_ml=float(np.count_nonzero(airways_and_vessels == AIRWAYS.value) * voxel_volume_ml),
        vessels_ml=float(vessels_ml),
        vessels_percent=float(100.0 * vessels_ml / lung_ml) if lung_ml else math.nan,
    )


def volumes_note(measured: AirwaysAndVessels) -> str:
    """Return the sentence that stands under the table."""
    return (
        f"Airways: {measured.airways_ml:.1f} mL, lumen of trachea and bronchi as far as they could "
        f"be followed. Vessels: {measured.vessels_ml:.1f} mL, arteries and veins together, "
        f"{measured.vessels_percent:.1f} % of the lung volume. Both are part of the label they lie "
        "in."
    )


def removal_note(before: np.ndarray, after: np.ndarray, voxel_volume_ml: float) -> str:
    """Return the sentence that says what was taken out of the lesions.

    Args:
        before: label map (z, y, x); values as in `labels.py`.
        after: the same without airways and vessels.
        voxel_volume_ml: volume of one voxel.
    """
    ggo_ml, high_opacity_ml = (
        np.count_nonzero((before == label.value) & (after != label.value)) * voxel_volume_ml
        for label in (GGO, HIGH_OPACITY)
    )
    return (
        "Airways and vessels in normal lung were taken out of the lesions: "
        f"{ggo_ml:.1f} mL of GGO and {high_opacity_ml:.1f} mL of high opacity became normal lung. "
        "A vessel inside a lesion belongs to it."
    )


def missing_airways_or_vessels(airways: np.ndarray, vessels: np.ndarray) -> tuple[ScanWarning, ...]:
    """Return a warning for each that was looked for and not found; arrays bool (z, y, x)."""
    warnings = []
    if not airways.any():
        warnings.append(
            ScanWarning(
                "no_airways",
                "No trachea was found, and so no airways; their volume of 0 mL means nothing.",
            )
        )
    if not vessels.any():
        warnings.append(
            ScanWarning(
                "no_vessels",
                "No vessels were found in the lungs; their volume of 0 mL means nothing.",
            )
        )
    return tuple(warnings)
