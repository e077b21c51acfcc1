"""The report's pictures of how dense the lesions are, from cold to warm (after Pan et al. 2021)."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.display.pictures import choose_coronal_plane, encode_palette_png
from CovidLungQuantLib.labels import GGO
from CovidLungQuantLib.outputs.page import Plane, UprightScan, css_color, signed_text

# The usual HU of lesions, from the edge of GGO to solid tissue.
DENSITY_RANGE_HU = (-800, 100)
DENSITY_OPACITY = 0.85
DENSITY_STEPS = 30
# Cold to warm in even steps of the range; the lightness has one peak, so that it can be followed
# without colour vision, too.
_COLD_TO_WARM = (
    (0.16, 0.20, 0.60),
    (0.20, 0.50, 0.78),
    (0.55, 0.80, 0.88),
    (0.98, 0.93, 0.62),
    (0.97, 0.60, 0.28),
    (0.80, 0.16, 0.15),
)
AXIAL_PICTURES = 3


def density_section(scan: UprightScan, axial_slices: list[int]) -> str:
    """Return the section: the planes with most lesion, lesions coloured by their HU.

    Args:
        scan: what to draw.
        axial_slices: the slices the page shows already; the CT is taken from there.

    Returns:
        HTML; empty where there is no lesion.
    """
    lesion = scan.labels >= GGO.value
    if not lesion.any():
        return ""
    by_area = sorted(axial_slices, key=lambda z: int(np.count_nonzero(lesion[z])))
    shown = sorted(by_area[-AXIAL_PICTURES:], reverse=True)
    pictures = [
        _picture(
            scan.axial_plane(z),
            f"Axial slice {z + 1}",
            scan.axial(scan.hu, z),
            scan.axial(lesion, z),
        )
        for z in shown
    ]
    y = choose_coronal_plane(scan.labels)
    pictures.append(
        _picture(
            scan.coronal_plane(y),
            f"Coronal plane {y + 1}",
            scan.coronal(scan.hu, y),
            scan.coronal(lesion, y),
        )
    )
    return (
        "<h2>Density of the lesions</h2>"
        f'<figure><div class="four">{"".join(pictures)}</div>{_scale()}</figure>'
    )


def density_colors() -> list[tuple[float, float, float, float]]:
    """Return the colours from the lowest to the highest density, with their opacity."""
    places = np.linspace(0, len(_COLD_TO_WARM) - 1, DENSITY_STEPS)
    components = [
        np.interp(places, range(len(_COLD_TO_WARM)), component)
        for component in zip(*_COLD_TO_WARM, strict=True)
    ]
    return [(*map(float, color), DENSITY_OPACITY) for color in zip(*components, strict=True)]


def density_picture(hu: np.ndarray, lesion: np.ndarray) -> np.ndarray:
    """Return which colour (1…`DENSITY_STEPS`) each pixel of lesion has, 0 elsewhere.

    Args:
        hu: Hounsfield units (row, column).
        lesion: bool (row, column).
    """
    lowest, highest = DENSITY_RANGE_HU
    step = (hu.astype(np.float32) - lowest) * (DENSITY_STEPS / (highest - lowest))
    return np.where(lesion, np.clip(step.astype(int), 0, DENSITY_STEPS - 1) + 1, 0)


def _picture(plane: Plane, label: str, hu: np.ndarray, lesion: np.ndarray) -> str:
    overlay = encode_palette_png(density_picture(hu, lesion), density_colors())
    return plane.svg(label, plane.ct_again() + plane.overlay(overlay))


def _scale() -> str:
    """The colours with their HU, under the pictures."""
    lowest, highest = DENSITY_RANGE_HU
    left, width = 30.0, 500.0
    bars = "".join(
        f'<rect x="{left + index * width / DENSITY_STEPS:.2f}" y="4" '
        f'width="{width / DENSITY_STEPS + 0.3:.2f}" height="12" fill="{css_color(color[:3])}"/>'
        for index, color in enumerate(density_colors())
    )
    ticks = "".join(
        f'<text x="{left + width * (hu - lowest) / (highest - lowest):.1f}" y="32" '
        f'text-anchor="middle">{signed_text(hu)}{" HU" if hu == highest else ""}</text>'
        for hu in range(lowest, highest + 1, 300)
    )
    return (
        '<figcaption><svg viewBox="0 0 1000 38" class="chart" font-size="13" fill="#3e4a54">'
        f"{bars}{ticks}</svg>Lesions coloured from cold to warm with their density (Pan 2021); "
        "below and above the scale in its first and last colour.</figcaption>"
    )
