"""What of the numbers lies outside the usual: a result far off deserves a warning, not silence."""

from __future__ import annotations

from collections.abc import Sequence

from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import (
    LEFT_LOWER_LOBE,
    LEFT_LUNG_REGION,
    LEFT_UPPER_LOBE,
    LOBES,
    RIGHT_LOWER_LOBE,
    RIGHT_LUNG_REGION,
    RIGHT_MIDDLE_LOBE,
    RIGHT_UPPER_LOBE,
)
from CovidLungQuantLib.measures.volumes import RegionMeasurement

# Adults at inspiration have 4.5 ± 1.3 L of lung (COVID cohort of Pan 2021: 3.4–4.8 L between
# quartiles), 53.6 ± 1.5 % of it on the right, and normal lung of −870…−830 HU. The limits leave
# room for expiration, unequal disease and thick slices: volume up to +3 SD, right share ± 5 SD.
PLAUSIBLE_LUNG_VOLUME_ML = (1500.0, 8400.0)
PLAUSIBLE_RIGHT_SHARE_PERCENT = (46.0, 61.0)
PLAUSIBLE_NORMAL_LUNG_MEAN_HU = (-950.0, -650.0)
# The usual HU of GGO (Pan 2021); judged only where there is enough of it to have a steady mean.
PLAUSIBLE_GGO_MEAN_HU = (-750.0, -350.0)
SMALLEST_JUDGED_GGO_ML = 10.0
# Shares of the lung volume in healthy adults, supine (Yamada et al. 2020, n = 32): RUL 17.9 ± 2.4,
# RML 9.3 ± 1.6, RLL 26.5 ± 2.6, LUL 23.1 ± 2.1, LLL 23.2 ± 2.4. The limits are 4 SD, widened to
# what readers drew in diseased lungs.
PLAUSIBLE_LOBE_SHARE_PERCENT = {
    RIGHT_UPPER_LOBE.value: (8.0, 32.0),
    RIGHT_MIDDLE_LOBE.value: (3.0, 17.0),
    RIGHT_LOWER_LOBE.value: (13.0, 37.0),
    LEFT_UPPER_LOBE.value: (13.0, 33.0),
    LEFT_LOWER_LOBE.value: (13.0, 33.0),
}


def implausible(
    both: RegionMeasurement, right: RegionMeasurement, left: RegionMeasurement
) -> tuple[ScanWarning, ...]:
    """Return what of the lungs' rows lies outside the plausible ranges."""
    if both.volume_ml == 0:
        return (
            ScanWarning("no_lung", "Nothing is labelled as lung; there is nothing to measure."),
        )
    warnings = []
    if not _within(both.volume_ml, PLAUSIBLE_LUNG_VOLUME_ML):
        warnings.append(
            ScanWarning(
                "lung_volume_implausible",
                f"The lung volume of {both.volume_ml:.0f} mL is outside "
                f"{_range(PLAUSIBLE_LUNG_VOLUME_ML)} mL; check that the scan shows the whole lungs "
                "and that the segmentation covers them.",
            )
        )
    if right.volume_ml == 0 or left.volume_ml == 0:
        absent = RIGHT_LUNG_REGION if right.volume_ml == 0 else LEFT_LUNG_REGION
        warnings.append(ScanWarning("one_lung", f"No {absent} was found; check the segmentation."))
    else:
        right_share_percent = 100.0 * right.volume_ml / both.volume_ml
        if not _within(right_share_percent, PLAUSIBLE_RIGHT_SHARE_PERCENT):
            warnings.append(
                ScanWarning(
                    "right_left_share_implausible",
                    f"The right lung makes up {right_share_percent:.0f} % of the lung volume "
                    f"(plausible {_range(PLAUSIBLE_RIGHT_SHARE_PERCENT)} %); check that both lungs "
                    "are complete and told apart correctly.",
                )
            )
    if both.normal_ml > 0 and not _within(both.normal_mean_hu, PLAUSIBLE_NORMAL_LUNG_MEAN_HU):
        warnings.append(
            ScanWarning(
                "normal_lung_hu_implausible",
                f"Normal lung has a mean of {both.normal_mean_hu:.0f} HU (plausible "
                f"{_range(PLAUSIBLE_NORMAL_LUNG_MEAN_HU)} HU); check that the scan is in HU and in "
                "inspiration, and that no lesion is labelled as normal lung.",
            )
        )
    if both.ggo_ml >= SMALLEST_JUDGED_GGO_ML and not _within(
        both.ggo_mean_hu, PLAUSIBLE_GGO_MEAN_HU
    ):
        warnings.append(
            ScanWarning(
                "ggo_hu_implausible",
                f"GGO has a mean of {both.ggo_mean_hu:.0f} HU (usual "
                f"{_range(PLAUSIBLE_GGO_MEAN_HU)} HU); check what is labelled as GGO.",
            )
        )
    return tuple(warnings)


def implausible_lobes(
    both: RegionMeasurement, lobes: Sequence[RegionMeasurement]
) -> tuple[ScanWarning, ...]:
    """Return what of the lobes' rows lies outside the plausible ranges.

    Args:
        both: row of both lungs.
        lobes: rows in the order of `labels.LOBES`.
    """
    if both.volume_ml == 0:
        return ()
    absent = [row.region for row in lobes if row.volume_ml == 0]
    warnings = []
    if absent:
        warnings.append(
            ScanWarning(
                "scores_unknown",
                f"No {' and no '.join(absent)} was found, so its scores and their sums are "
                "unknown; check the lobes.",
            )
        )
    for lobe, row in zip(LOBES, lobes, strict=True):
        share_percent = 100.0 * row.volume_ml / both.volume_ml
        limits = PLAUSIBLE_LOBE_SHARE_PERCENT[lobe.value]
        if row.volume_ml > 0 and not _within(share_percent, limits):
            warnings.append(
                ScanWarning(
                    "lobe_share_implausible",
                    f"The {row.region} is {share_percent:.0f} % of the lung (plausible "
                    f"{_range(limits)} %): the lobes are unreliable; check them.",
                )
            )
    return tuple(warnings)


def _within(value: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= value <= limits[1]


def _range(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.0f} to {limits[1]:.0f}".replace("-", "−")
