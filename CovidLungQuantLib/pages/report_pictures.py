"""The report's pictures of the scan: with its labels, by density, and enhanced."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.display.density import density_colors, density_picture
from CovidLungQuantLib.display.pictures import (
    choose_coronal_plane,
    encode_grey_png,
    encode_labels_png,
    encode_palette_png,
    enhanced_grey,
    window_grey,
)
from CovidLungQuantLib.display.upright import UprightScan
from CovidLungQuantLib.display.windows import TISSUE_WINDOW_LEVEL_HU, TISSUE_WINDOW_WIDTH_HU
from CovidLungQuantLib.labels import LUNG_DECISIONS, is_lesion, is_lung
from CovidLungQuantLib.pages.drawings import Plane, Svg

DENSITY_AXIAL_PICTURES = 3
ENHANCED_AXIAL_PICTURES = 2
# By the values of `labels.LUNG_DECISIONS`.
DECISION_COLORS = [(*label.color, label.opacity) for label in LUNG_DECISIONS]


@dataclass(frozen=True)
class Pair:
    """One plane drawn twice, plain and with what was found, over a caption."""

    plain: Svg
    found: Svg
    caption: str


@dataclass(frozen=True)
class Views:
    """Planes of the scan: axial ones from the head down, and a coronal one."""

    axial: tuple[Pair, ...]
    coronal: Pair


def label_views(scan: UprightScan, axial_slices: list[int]) -> Views:
    """Return the planes without and with the labels; they hold the CT that others refer to."""
    y = choose_coronal_plane(scan.labels)
    return Views(
        tuple(_labelled_slice(scan, z) for z in reversed(axial_slices)),
        _labelled(
            Plane.coronal(scan, y),
            scan.coronal(scan.hu, y),
            scan.coronal(scan.labels, y),
            _coronal_caption(scan, y),
        ),
    )


def density_pictures(scan: UprightScan, axial_slices: list[int]) -> list[Svg]:
    """Return the planes with most lesion, lesions coloured by their HU; empty without lesion.

    Args:
        scan: what to draw.
        axial_slices: the slices the page shows already; the CT is taken from there.
    """
    lesion = is_lesion(scan.labels)
    if not lesion.any():
        return []
    y = choose_coronal_plane(scan.labels)
    return [
        *(
            _by_density(
                Plane.axial(scan, z),
                f"Axial slice {z + 1}",
                scan.axial(scan.hu, z),
                scan.axial(lesion, z),
            )
            for z in _with_most_lesion(scan, axial_slices, DENSITY_AXIAL_PICTURES)
        ),
        _by_density(
            Plane.coronal(scan, y),
            f"Coronal plane {y + 1}",
            scan.coronal(scan.hu, y),
            scan.coronal(lesion, y),
        ),
    ]


def enhanced_views(
    scan: UprightScan, enhanced_hu: np.ndarray, axial_slices: list[int], window_width_hu: float
) -> Views:
    """Return the planes with most lesion, plain and enhanced.

    Args:
        scan: what to draw.
        enhanced_hu: the enhanced scan, upright (z, y, x).
        axial_slices: the slices the page shows already; the CT is taken from there.
        window_width_hu: width of the window of the enhanced pictures, around 0 HU.
    """
    lung = is_lung(scan.labels)
    y = choose_coronal_plane(scan.labels)
    return Views(
        tuple(
            _enhanced(
                Plane.axial(scan, z),
                enhanced_grey(
                    scan.axial(enhanced_hu, z),
                    scan.axial(lung, z),
                    scan.axial_pixel_mm,
                    window_width_hu,
                ),
                f"Axial slice {z + 1}",
            )
            for z in _with_most_lesion(scan, axial_slices, ENHANCED_AXIAL_PICTURES)
        ),
        _enhanced(
            Plane.coronal(scan, y),
            enhanced_grey(
                scan.coronal(enhanced_hu, y),
                scan.coronal(lung, y),
                scan.coronal_pixel_mm,
                window_width_hu,
            ),
            f"Coronal plane {y + 1}",
        ),
    )


def decision_views(scan: UprightScan, decisions: np.ndarray) -> Views:
    """Return the planes with most of what the lung network decided, in a window for tissue.

    Args:
        scan: what to draw.
        decisions: upright (z, y, x), values of `labels.LUNG_DECISIONS`; not all 0.
    """
    decided = decisions > 0
    z = int(np.count_nonzero(decided, axis=(1, 2)).argmax())
    y = int(np.count_nonzero(decided, axis=(0, 2)).argmax())
    return Views(
        (
            _decided(
                Plane.axial(scan, z),
                scan.axial(scan.hu, z),
                scan.axial(decisions, z),
                _axial_caption(scan, z),
            ),
        ),
        _decided(
            Plane.coronal(scan, y),
            scan.coronal(scan.hu, y),
            scan.coronal(decisions, y),
            _coronal_caption(scan, y),
        ),
    )


def _with_most_lesion(scan: UprightScan, axial_slices: list[int], count: int) -> list[int]:
    """The slices with most lesion among those given, from the head down."""
    by_area = sorted(axial_slices, key=lambda z: int(np.count_nonzero(is_lesion(scan.labels[z]))))
    return sorted(by_area[-count:], reverse=True)


def _labelled_slice(scan: UprightScan, z: int) -> Pair:
    x_mm, y_mm = scan.axial_pixel_mm
    lesion_cm2 = np.count_nonzero(is_lesion(scan.labels[z])) * x_mm * y_mm / 100
    return _labelled(
        Plane.axial(scan, z),
        scan.axial(scan.hu, z),
        scan.axial(scan.labels, z),
        f"{_axial_caption(scan, z)}; lesion {lesion_cm2:.1f} cm²",
    )


def _axial_caption(scan: UprightScan, z: int) -> str:
    return f"Axial slice {z + 1} of {len(scan.labels)} counted upwards, {scan.height_text(z)}"


def _coronal_caption(scan: UprightScan, y: int) -> str:
    return f"Coronal plane {y + 1} of {scan.labels.shape[1]} counted from front to back"


def _labelled(plane: Plane, hu: np.ndarray, labels: np.ndarray, caption: str) -> Pair:
    return Pair(
        plane.svg("CT", plane.ct(hu)),
        plane.svg("CT with labels", plane.ct_again() + plane.overlay(encode_labels_png(labels))),
        caption,
    )


def _by_density(plane: Plane, label: str, hu: np.ndarray, lesion: np.ndarray) -> Svg:
    overlay = encode_palette_png(density_picture(hu, lesion), density_colors())
    return plane.svg(label, plane.ct_again() + plane.overlay(overlay))


def _decided(plane: Plane, hu: np.ndarray, decisions: np.ndarray, caption: str) -> Pair:
    grey = window_grey(hu, TISSUE_WINDOW_LEVEL_HU, TISSUE_WINDOW_WIDTH_HU)
    tissue = plane.picture(encode_grey_png(grey))
    overlay = encode_palette_png(decisions, DECISION_COLORS)
    return Pair(
        plane.svg("CT, soft tissue", tissue),
        plane.svg("CT with what was decided", tissue + plane.overlay(overlay)),
        caption,
    )


def _enhanced(plane: Plane, grey: np.ndarray, caption: str) -> Pair:
    return Pair(
        plane.svg("CT", plane.ct_again()),
        plane.svg("Enhanced CT", plane.picture(encode_grey_png(grey))),
        caption,
    )
