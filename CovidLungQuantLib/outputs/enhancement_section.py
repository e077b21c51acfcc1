"""The report's section on the enhanced scan: plain beside enhanced, bias, window, severity sums."""

from __future__ import annotations

import math
import re
from html import escape

import numpy as np

from CovidLungQuantLib.ct import orient_like
from CovidLungQuantLib.ct.orientation import Orientation
from CovidLungQuantLib.display.pictures import (
    choose_coronal_plane,
    encode_grey_png,
    enhanced_grey,
)
from CovidLungQuantLib.display.windows import LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU
from CovidLungQuantLib.labels import BACKGROUND_VALUE, GGO
from CovidLungQuantLib.lesions.enhancement import (
    BASELINE_CHOICES,
    SUB_VISUAL_RULE,
    USUAL_BASELINE_HU,
    VESSEL_BANDS_MM,
    Enhancement,
    SeveritySum,
)
from CovidLungQuantLib.outputs.page import (
    Plane,
    UprightScan,
    html_notes,
    html_table,
    png_uri,
    signed_text,
    volume_text,
)

AXIAL_PICTURES = 2
# The optimal window is hardly wider than the noise of the scan; pictures show more of the range.
WINDOWS_SHOWN = 4


def enhancement_section(
    enhancement: Enhancement | None,
    orientation: Orientation,
    scan: UprightScan,
    axial_slices: list[int],
) -> str:
    """Return the section; empty where the scan was not enhanced.

    Args:
        enhancement: on the scan's own grid.
        orientation: how that grid is turned upright.
        scan: what to draw.
        axial_slices: the slices the page shows already; the CT is taken from there.
    """
    if enhancement is None:
        return ""
    enhanced_hu = orient_like(enhancement.enhanced_hu, orientation)
    width_hu = WINDOWS_SHOWN * enhancement.window_width_hu
    x_mm, y_mm, z_mm = scan.geometry.spacing_mm
    lesion = scan.labels >= GGO.value
    by_area = sorted(axial_slices, key=lambda z: int(np.count_nonzero(lesion[z])))
    figures = []
    for z in sorted(by_area[-AXIAL_PICTURES:], reverse=True):
        grey = enhanced_grey(
            scan.axial(enhanced_hu, z),
            scan.axial(scan.labels, z) != BACKGROUND_VALUE,
            (x_mm, y_mm),
            width_hu,
        )
        figures.append(_pair(scan.axial_plane(z), grey, f"Axial slice {z + 1}"))
    y = choose_coronal_plane(scan.labels)
    grey = enhanced_grey(
        scan.coronal(enhanced_hu, y),
        scan.coronal(scan.labels, y) != BACKGROUND_VALUE,
        (x_mm, z_mm),
        width_hu,
    )
    coronal = _pair(scan.coronal_plane(y), grey, f"Coronal plane {y + 1}")
    facts = "".join(
        f"<tr><td>{escape(name.capitalize())}</td><td>{escape(_true_minus(text))}</td></tr>"
        for name, text in enhancement_facts(enhancement)
    )
    return (
        "<h2>Enhanced lung</h2>"
        '<p class="legend">Left: the scan in the lung window, level '
        f"{signed_text(LUNG_WINDOW_LEVEL_HU)} HU, width {LUNG_WINDOW_WIDTH_HU} HU. Right: the same "
        "less the scan’s baseline, without vessels and airways, smoothed over 1 mm, shown at level "
        f"0 HU and width {width_hu:.0f} HU, {WINDOWS_SHOWN} times the optimal window: grey is "
        "normal lung of this scan, white what is denser. The white rim is where lung and pleura "
        "share voxels, and lung at the back is denser in anyone who lies on it.</p>"
        f'<div class="views">{"".join(figures)}</div>'
        f'<div class="views wide" style="margin-top:18px">{coronal}</div>'
        f'<table class="provenance" style="margin-top:14px">{facts}</table>'
        + _severity_table(enhancement.severities)
        + html_notes(enhancement_notes(enhancement))
    )


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


def _severity_table(severities: tuple[SeveritySum, ...]) -> str:
    headings = [
        "Severity <span>HU over the lungs</span>",
        "Volume <span>mL</span>",
        "All",
        *(f"Near vessels <span>of {name}</span>" for name in vessel_band_names()),
        "In slices <span>without vessels</span>",
    ]
    rows = [
        [
            escape(severity.name.capitalize()),
            volume_text(severity.volume_ml),
            *(
                _true_minus(f"{value:.2f}")
                for value in (severity.hu, *severity.bands_hu, severity.no_vessel_hu)
            ),
        ]
        for severity in severities
    ]
    return f'<div style="margin-top:14px">{html_table(headings, rows)}</div>'


def _true_minus(text: str) -> str:
    """Return a text with a minus sign instead of a hyphen before numbers."""
    return re.sub(r"-(?=\d)", "−", text)


def _pair(plane: Plane, grey: np.ndarray, caption: str) -> str:
    """One plane plain and enhanced."""
    uri = png_uri(encode_grey_png(grey))
    enhanced = (
        f'<image width="{plane.width_mm:.2f}" height="{plane.height_mm:.2f}" '
        f'preserveAspectRatio="none" href="{uri}"/>'
    )
    return (
        '<figure><div class="pair">'
        + plane.svg("CT", plane.ct_again())
        + plane.svg("Enhanced CT", enhanced)
        + f"</div><figcaption>{escape(caption)}</figcaption></figure>"
    )
