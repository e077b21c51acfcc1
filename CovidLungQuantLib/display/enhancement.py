"""The enhanced scan in words: baseline, bias and window, severity sums, and what they mean."""

from __future__ import annotations

import math

from CovidLungQuantLib.lesions.enhancement import (
    BASELINE_CHOICES,
    SUB_VISUAL_RULE,
    USUAL_BASELINE_HU,
    VESSEL_BANDS_MM,
    Enhancement,
)

# The optimal window is hardly wider than the noise of the scan; pictures show more of the range.
WINDOWS_SHOWN = 4


def enhancement_facts(enhancement: Enhancement) -> list[tuple[str, str]]:
    """Return baseline, bias and window as (name, text)."""
    return [
        (
            "baseline",
            f"{enhancement.baseline_hu:.1f} HU, {BASELINE_CHOICES[enhancement.baseline]}, over "
            f"{enhancement.parenchyma_ml:.0f} mL",
        ),
        (
            "scan-level bias",
            f"{enhancement.bias_hu:+.1f} HU against {USUAL_BASELINE_HU:.0f} HU",
        ),
        (
            "optimal window",
            f"level {enhancement.baseline_hu:.1f} HU on the scan and 0 HU on the enhanced volume, "
            f"width {enhancement.window_width_hu:.1f} HU",
        ),
    ]


def enhancement_severities(enhancement: Enhancement) -> list[tuple[str, str]]:
    """Return the severity sums as (name of the lesions, text)."""
    lines = []
    for severity in enhancement.severities:
        bands = ", ".join(
            f"{hu:.3f} near vessels of {name}"
            for hu, name in zip(severity.bands_hu, vessel_band_names(), strict=True)
        )
        text = (
            f"{severity.volume_ml:.1f} mL, severity {severity.hu:.3f} HU over the lungs: {bands}, "
            f"{severity.no_vessel_hu:.3f} in slices without vessels"
        )
        lines.append((severity.name, text))
    return lines


def enhancement_notes(enhancement: Enhancement) -> list[str]:
    """Return what the severity sums and the sub-visual lesions are."""
    notes = [
        "Severity: enhanced HU summed over the lesions and divided by the lung volume, parted by "
        "the diameter of the vessel nearest in the slice (after Zhou et al. 2022)."
    ]
    if enhancement.sub_visual is not None:
        notes.append(
            f"Sub-visual lesions are {SUB_VISUAL_RULE}. They count in no other number here, and "
            "may as well be scar, atelectasis or crowded vessels in expiration."
        )
    return notes


def vessel_band_names() -> list[str]:
    """Return "0 to 3 mm" and so on for each of `VESSEL_BANDS_MM`."""
    return [
        f"{low_mm:.0f} to {high_mm:.0f} mm" if math.isfinite(high_mm) else f"{low_mm:.0f} mm+"
        for low_mm, high_mm in VESSEL_BANDS_MM
    ]
