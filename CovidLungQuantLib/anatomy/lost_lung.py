"""Lung that the lungs found beforehand may have lost or taken wrongly, as far as their shape tells.

Lung without air (consolidation, collapse, effusion around it) is as dense as the chest wall and is
easily lost. Healthy lung lies against the ribs behind, and its lower edge reaches far below the
dome of the diaphragm: where there is room between lung and ribs, or the lower edge is flat though
the scan goes on below it, dense lung may be missing. Air of stomach, bowel or pneumothorax is
darker than any lung and holds no vessel. Arrays are (z, y, x) and upright.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.grids import CoarseGrid, Spacing
from CovidLungQuantLib.anatomy.morphology import open_by_cube
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.labels import LUNG_REGIONS
from CovidLungQuantLib.progress import Poll, no_poll

COARSE_IN_PLANE_MM = 2.2
COARSE_SLICE_MM = 2.5
BONE_ABOVE_HU = 180
# Ribs slope: a slab this thick holds one at nearly every place along the chest wall.
SLAB_MM = 20.0
# The part of a lung's width, and of its height, that is looked at: beside spine and side wall the
# columns meet no rib at right angles, above and below ribs and lung part.
WIDTH_SHARES = (0.2, 0.8)
HEIGHT_SHARES = (0.3, 0.9)
FEWEST_SLICES = 5
# Lungs lie within 8 mm of the ribs in 20 scans, sick ones among them; where the lungs are half
# dense from behind, what is found of them lies 31 mm away and more.
LARGEST_GAP_MM = 15.0
# The lower edge behind lies 24 mm and more below the middle of the dome in those scans, 6 mm where
# the lower half is dense.
SMALLEST_RECESS_MM = 15.0
LOWEST_PERCENTILE = 5.0
# Nearer to the end of the scan than this, the lower edge may just be cut off.
SCAN_GOES_ON_MM = 20.0
SMALLEST_JUDGED_LUNG_ML = 200.0
# Noise and emphysema are in small pieces, gas in one.
GAS_BELOW_HU = -940.0
SMALLEST_GAS_ML = 5.0


@dataclass(frozen=True)
class LungShape:
    """What the shape of one lung tells.

    Attributes:
        gap_mm: between lung and ribs behind it, the median over the looked-at height; NaN where
            no ribs are seen.
        gap_ml: room between them, without what is usual.
        recess_mm: how far the lower edge behind lies below the middle of the lung's under-side.
        below_mm: how far the scan goes on below the lung.
    """

    gap_mm: float
    gap_ml: float
    recess_mm: float
    below_mm: float

    @property
    def has_gap(self) -> bool:
        """Whether there is room between lung and ribs."""
        return self.gap_mm > LARGEST_GAP_MM

    @property
    def is_flat_below(self) -> bool:
        """Whether the lower edge is flat though the scan goes on."""
        return self.recess_mm < SMALLEST_RECESS_MM and self.below_mm > SCAN_GOES_ON_MM


def check_lungs(
    hu: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll
) -> tuple[ScanWarning, ...]:
    """Warn where lung seems to be lost, or gas taken for lung.

    Args:
        hu: int16 Hounsfield units (z, y, x).
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        spacing_mm: voxel size (x, y, z).
        poll: called between the steps; may raise `Cancelled`.
    """
    whole = CoarseGrid.of(hu.shape, spacing_mm, COARSE_IN_PLANE_MM, COARSE_SLICE_MM)
    room = _lungs_and_behind(lungs, whole)
    hu, lungs = hu[room], lungs[room]
    grid = replace(whole, fine_shape=hu.shape)
    bone = grid.reduce_to_maximum(hu) > BONE_ABOVE_HU
    both = np.zeros(grid.shape, bool)
    warnings = []
    for value, region in LUNG_REGIONS.items():
        poll()
        lung = grid.reduce(lungs == value) >= 0.5
        both |= lung
        shape = lung_shape(lung, bone, grid.spacing_mm)
        if shape is not None and (warning := _warning(shape, region)) is not None:
            warnings.append(warning)
    poll()
    gas_ml = largest_gas_ml(grid.reduce(hu), both, grid.spacing_mm)
    if gas_ml >= SMALLEST_GAS_ML:
        warnings.append(
            ScanWarning(
                "gas_in_lungs",
                f"{gas_ml:.0f} mL of what counts as lung are bare gas in one piece (pneumothorax, "
                "a bulla, stomach or bowel, perhaps); take out by hand what is no lung.",
            )
        )
    return tuple(warnings)


def _lungs_and_behind(lungs: np.ndarray, grid: CoarseGrid) -> tuple[slice, slice, slice]:
    """All slices, from the lungs' front backwards and between their sides, in whole blocks."""
    rows, columns = (np.flatnonzero(lungs.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not rows.size:
        return (slice(None),) * 3
    _, height, width = grid.factors
    first_row = int(rows[0]) // height * height
    first_column, end = (
        int(columns[0]) // width * width,
        -(-(int(columns[-1]) + 1) // width) * width,
    )
    return slice(None), slice(first_row, None), slice(first_column, end)


def lung_shape(lung: np.ndarray, bone: np.ndarray, spacing_mm: Spacing) -> LungShape | None:
    """Measure how one lung lies against the ribs behind it and how far down it reaches.

    Args:
        lung: bool (z, y, x), one lung.
        bone: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).

    Returns:
        None for a lung too small to judge.
    """
    x_mm, y_mm, z_mm = spacing_mm
    if np.count_nonzero(lung) * x_mm * y_mm * z_mm / 1000 < SMALLEST_JUDGED_LUNG_ML:
        return None
    slices = np.flatnonzero(lung.any(axis=(1, 2)))
    gaps_mm = _gaps_behind(lung, bone, spacing_mm)
    lowest, height = slices[0], slices[-1] - slices[0] + 1
    first, last = (lowest + int(share * height) for share in HEIGHT_SHARES)
    judged = gaps_mm[first:last]
    per_slice = [np.median(row[~np.isnan(row)]) for row in judged if not np.isnan(row).all()]
    excess_mm = np.maximum(gaps_mm - LARGEST_GAP_MM / 2, 0)
    return LungShape(
        gap_mm=float(np.median(per_slice)) if len(per_slice) >= FEWEST_SLICES else float("nan"),
        gap_ml=float(np.nansum(excess_mm)) * x_mm * z_mm / 1000,
        recess_mm=_recess_mm(lung, z_mm),
        below_mm=float(lowest * z_mm),
    )


def _gaps_behind(lung: np.ndarray, bone: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Millimetres from the lung's back to the first bone behind its middle, (z, x); NaN if none."""
    gaps_mm = np.full((lung.shape[0], lung.shape[2]), np.nan)
    middle = int(np.nonzero(lung)[1].mean())
    columns = np.flatnonzero(lung.any(axis=(0, 1)))
    width = columns[-1] - columns[0]
    first, last = (columns[0] + int(share * width) for share in WIDTH_SHARES)
    half_slab = max(1, round(SLAB_MM / 2 / spacing_mm[2]))
    for z in np.flatnonzero(lung.any(axis=(1, 2))):
        slab = bone[max(0, z - half_slab) : z + half_slab + 1, middle:, first : last + 1].any(0)
        behind = lung[z, middle:, first : last + 1]
        rib = np.where(slab.any(axis=0), slab.argmax(axis=0), -1)
        back = np.where(behind.any(axis=0), len(behind) - behind[::-1].argmax(axis=0), 0)
        gaps_mm[z, first : last + 1] = np.where(rib >= 0, (rib - back) * spacing_mm[1], np.nan)
    return gaps_mm


def _recess_mm(lung: np.ndarray, z_mm: float) -> float:
    under = lung.any(axis=0)
    heights = lung.argmax(axis=0)[under] * z_mm
    rows = np.nonzero(under)[0]
    is_behind = rows >= np.median(rows)
    return float(
        np.median(heights[~is_behind]) - np.percentile(heights[is_behind], LOWEST_PERCENTILE)
    )


def largest_gas_ml(hu: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing) -> float:
    """Volume of the largest piece of bare gas in the lungs, mL.

    Args:
        hu: (z, y, x).
        lungs: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).
    """
    gas = open_by_cube(lungs & (hu < GAS_BELOW_HU))
    parts, count = ndimage.label(gas)
    if count == 0:
        return 0.0
    return float(np.bincount(parts.ravel())[1:].max() * np.prod(spacing_mm) / 1000)


def _warning(shape: LungShape, region: str) -> ScanWarning | None:
    if shape.has_gap:
        return ScanWarning(
            "dense_lung_lost",
            f"Between the {region} and the ribs behind it lie about {shape.gap_ml:.0f} mL without "
            "air (consolidation, collapse or effusion, perhaps) that do not count as lung: lung "
            "volume and lesions are too small; add what is lung by hand.",
        )
    if shape.is_flat_below:
        return ScanWarning(
            "dense_lung_lost",
            f"The {region} ends flat below, without its edge beside the diaphragm: dense lung or "
            "effusion at its base may not count as lung, and lung volume and lesions may be too "
            "small; compare with the scan and add what is lung by hand.",
        )
    return None
