"""Trachea and main bronchi on the coarse grid: a chain of round dark discs, grown leak-safe."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import dilate_by_steps, erode_by_steps
from CovidLungQuantLib.progress import Poll, no_poll

Spacing = tuple[float, float, float]

LUMEN_HU = -700.0
DARK_LUMEN_HU = -850.0
TRACHEA_AREA_RANGE_MM2 = (40.0, 900.0)
TRACHEA_WIDEST_MM = 42.0
TRACHEA_OFF_MIDLINE_MM = 45.0
SHORTEST_TRACHEA_MM = 12.0
GROWTH_THRESHOLDS_HU = (-700.0, -750.0, -800.0, -850.0, -880.0, -910.0, -940.0)
LARGEST_AIRWAYS_ML = 110.0
LARGEST_SECTION_MM2 = 2200.0
# Openings narrower than twice this are not followed: leaks into lung go through thin walls.
LEAK_RADIUS_MM = 2.1


def find_airways(
    hu: np.ndarray, body: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll
) -> np.ndarray:
    """Lumen of trachea and main bronchi, bool (z, y, x); all False where no trachea is seen."""
    trachea = _find_trachea(hu, body, spacing_mm, poll)
    if not trachea.any():
        return trachea
    for threshold_hu in GROWTH_THRESHOLDS_HU:
        poll()
        grown = _grow(trachea, body & (hu < threshold_hu), spacing_mm)
        if _is_plausible(grown, spacing_mm):
            return grown | trachea
    return trachea


def _find_trachea(hu: np.ndarray, body: np.ndarray, spacing_mm: Spacing, poll: Poll) -> np.ndarray:
    """The longest chain of small dark discs near the midline, above the lungs' widest part."""
    x_mm, y_mm, z_mm = spacing_mm
    air = body & (hu < LUMEN_HU)
    middle_x = float(np.mean(np.nonzero(body.any(axis=(0, 1)))[0]))
    discs = np.zeros(hu.shape, bool)
    for index in range(hu.shape[0]):
        poll()
        components, count = ndimage.label(air[index])
        if not count:
            continue
        sizes = np.bincount(components.ravel())
        for part, where in enumerate(ndimage.find_objects(components), start=1):
            area_mm2 = sizes[part] * x_mm * y_mm
            height_mm = (where[0].stop - where[0].start) * y_mm
            width_mm = (where[1].stop - where[1].start) * x_mm
            off_mm = abs((where[1].start + where[1].stop - 1) / 2 - middle_x) * x_mm
            if (
                TRACHEA_AREA_RANGE_MM2[0] <= area_mm2 <= TRACHEA_AREA_RANGE_MM2[1]
                and max(height_mm, width_mm) <= TRACHEA_WIDEST_MM
                and area_mm2 >= 0.4 * height_mm * width_mm
                and off_mm <= TRACHEA_OFF_MIDLINE_MM
            ):
                discs[index][where] |= components[where] == part
    chains, count = ndimage.label(discs)
    if not count:
        return discs
    widest_slice = int(air.sum(axis=(1, 2)).argmax())
    best, best_length_mm = 0, SHORTEST_TRACHEA_MM
    for part, where in enumerate(ndimage.find_objects(chains), start=1):
        length_mm = (where[0].stop - where[0].start) * z_mm
        chain = chains[where] == part
        darkest_hu = np.percentile(hu[where][chain], 20)
        if (
            where[0].stop > widest_slice
            and length_mm > best_length_mm
            and darkest_hu < DARK_LUMEN_HU
        ):
            best, best_length_mm = part, length_mm
    return chains == best if best else np.zeros_like(discs)


def _grow(trachea: np.ndarray, air: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Air reached from the trachea through passages wide enough not to be a leak."""
    in_plane_mm = min(spacing_mm[:2])
    # On grids too coarse to erode the lumen would vanish; they are grown as they are.
    if in_plane_mm <= 2.5:
        steps = max(1, round(LEAK_RADIUS_MM / in_plane_mm))
        core = erode_by_steps(air, steps)
        core = _connected_to(core | (trachea & air), trachea)
        return air & dilate_by_steps(core, steps)
    return _connected_to(air, trachea)


def _connected_to(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    components, count = ndimage.label(mask)
    wanted = np.zeros(count + 1, bool)
    wanted[np.unique(components[seeds])] = True
    wanted[0] = False
    return wanted[components]


def _is_plausible(airways: np.ndarray, spacing_mm: Spacing) -> bool:
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    sections_mm2 = airways.sum(axis=(1, 2)) * spacing_mm[0] * spacing_mm[1]
    return (
        airways.sum() * voxel_ml <= LARGEST_AIRWAYS_ML
        and sections_mm2.max(initial=0.0) <= LARGEST_SECTION_MM2
    )
