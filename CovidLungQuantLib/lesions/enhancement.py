"""Enhanced parenchyma: vessels and airways taken out, the scan's own baseline subtracted.

After DLPE (Zhou et al., Nature Machine Intelligence 2022): the baseline is the median density of
thin rings of parenchyma around vessels and airways; the scan minus the baseline, shown in a window
as narrow as the scan allows, brings out what the lung window hides.

What is done otherwise, and why: rings keep one voxel and at least a millimetre away from the tube,
as the published ones touch it and share voxels with its wall; their widths are in millimetres, so
that thin and thick, coarse and fine scans give the same; known lesions, their rims and the border
of the lung are no parenchyma; and what is far denser or darker than the rings' own low side spreads
is left out of the median, so that lesions nobody marked hardly move it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box, dilate
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import is_lesion, is_lung
from CovidLungQuantLib.lesions.airways_and_vessels import airways_and_vessels_in_lungs
from CovidLungQuantLib.progress import Poll, ProgressCallback, no_poll, no_progress, polling

Spacing = tuple[float, float, float]

METHOD_NAME = "parenchyma enhancement (DLPE)"
RINGS = "rings"
HISTOGRAM = "histogram"
BASELINE_CHOICES: dict[str, str] = {
    RINGS: "trimmed median of thin rings of parenchyma around vessels and airways (Zhou et al. "
    "2022)",
    HISTOGRAM: "centre of a Gaussian fitted to the low side of the lungs' histogram",
}

ENHANCED_RANGE_HU = (-80, 400)
# Outside the lungs; black in every window.
OUTSIDE_HU = ENHANCED_RANGE_HU[0]
# Middle of the usual mean density of normal lung (−870 to −830 HU); the bias is counted from here.
USUAL_BASELINE_HU = -850.0
WINDOW_WIDTH_IN_SD = 1.5
MIDDLE_PERCENTILES = (10.0, 90.0)

# A ring begins at 5 % and ends at 10 % of the tube's diameter from it, but not below these.
RING_SHARE_OF_DIAMETER = 0.05
SMALLEST_RING_GAP_MM = 1.0
SMALLEST_RING_WIDTH_MM = 1.5
LESION_RIM_MM = 3.0
LUNG_BORDER_MM = 2.0
SMALLEST_PARENCHYMA_ML = 1.0

# Values farther from the median than this, in SD of the low side, are left out of it.
TRIMMED_BEYOND_SD = 3.0
TRIMMING_ROUNDS = 30

LOW_SIDE_SD = 2.5
HIGH_SIDE_SD = 0.5
HISTOGRAM_SMOOTHING_HU = 5.0

# Bands by the diameter of the vessel nearest in the slice.
VESSEL_BANDS_MM: tuple[tuple[float, float], ...] = ((0.0, 3.0), (3.0, 6.0), (6.0, math.inf))

SUB_VISUAL_SMOOTHING_MM = 2.5
SUB_VISUAL_ABOVE_HU = 100.0
SUB_VISUAL_ABOVE_SD = 3.0
SMALLEST_SUB_VISUAL_ML = 0.5
SUB_VISUAL_BORDER_MM = 4.0
AIRWAY_AND_VESSEL_RIM_MM = 2.0
SUB_VISUAL_RULE = (
    f"lung away from lesions, vessels, airways and the pleura whose enhanced density, smoothed "
    f"over {SUB_VISUAL_SMOOTHING_MM:g} mm, is more than {SUB_VISUAL_ABOVE_HU:.0f} HU and more than "
    f"{SUB_VISUAL_ABOVE_SD:g} SD of equally smoothed parenchyma above the baseline, in parts of at "
    f"least {SMALLEST_SUB_VISUAL_ML:g} mL"
)


@dataclass(frozen=True)
class SeveritySum:
    """Enhanced density summed over a lesion, as the mean it would make spread over the lungs.

    Attributes:
        name: of the lesion.
        hu: sum of enhanced HU over the lesion, per lung volume.
        bands_hu: the same, parted by the diameter of the nearest vessel, as `VESSEL_BANDS_MM`; with
            `no_vessel_hu`, for slices without a vessel, they make up `hu`.
        no_vessel_hu: see above.
        volume_ml: of the lesion.
    """

    name: str
    hu: float
    bands_hu: tuple[float, ...]
    no_vessel_hu: float
    volume_ml: float


@dataclass(frozen=True, eq=False)
class Enhancement:
    """An enhanced scan, arrays (z, y, x) on the grid given.

    Attributes:
        enhanced_hu: int16, scan minus baseline inside the lungs, −80 to +400 HU; 0 in vessels and
            airways and, outside lesions, one voxel around them; −80 outside the lungs.
        baseline_hu: density of the scan's assumed parenchyma, HU; level of the optimal window on
            the scan itself (0 on `enhanced_hu`).
        baseline: which of `BASELINE_CHOICES` it was found by.
        window_width_hu: width of the optimal window, on the scan and on `enhanced_hu`.
        bias_hu: scan-level bias, the baseline less `USUAL_BASELINE_HU`.
        parenchyma_ml: what the baseline was taken from.
        airways_and_vessels: bool, vessels and airways that were taken out.
        sub_visual: bool, what can be found on `enhanced_hu` only; None where not looked for.
        severities: of the lesions, and of the sub-visual ones where looked for.
        warnings: what the user should know.
    """

    enhanced_hu: np.ndarray
    baseline_hu: float
    baseline: str
    window_width_hu: float
    bias_hu: float
    parenchyma_ml: float
    airways_and_vessels: np.ndarray
    sub_visual: np.ndarray | None
    severities: tuple[SeveritySum, ...]
    warnings: tuple[ScanWarning, ...] = ()


def check_baseline(baseline: str) -> None:
    """Refuse an unknown choice, before any work.

    Raises:
        BadInputError: with what can be chosen.
    """
    if baseline not in BASELINE_CHOICES:
        raise BadInputError(
            f"“{baseline}” is no way to find the baseline; use {' or '.join(BASELINE_CHOICES)}."
        )


def enhance_parenchyma(
    hu: np.ndarray,
    labels: np.ndarray,
    airways: np.ndarray,
    vessels: np.ndarray,
    spacing_mm: Spacing,
    baseline: str = RINGS,
    find_sub_visual: bool = False,
    progress: ProgressCallback = no_progress,
) -> Enhancement:
    """Enhance the parenchyma of a scan.

    Args:
        hu: int16 (z, y, x), slices along the first axis.
        labels: uint8 (z, y, x), values of `labels.py`.
        airways: bool (z, y, x), lumen.
        vessels: bool (z, y, x).
        spacing_mm: voxel size (x, y, z).
        baseline: one of `BASELINE_CHOICES`.
        find_sub_visual: look for sub-visual lesions; see `SUB_VISUAL_RULE`.
        progress: progress callback; may raise `Cancelled`.

    Raises:
        BadInputError: unknown `baseline`, no lungs, or no parenchyma without lesion is left.
    """
    check_baseline(baseline)
    everywhere = is_lung(labels)
    if not everywhere.any():
        raise BadInputError("There is no lung in the label map; segment the lungs first.")
    enhanced = np.full(hu.shape, OUTSIDE_HU, np.int16)
    all_airways_and_vessels = np.zeros(hu.shape, bool)
    margin = tuple(int(LESION_RIM_MM / size) + 1 for size in reversed(spacing_mm))
    box = bounding_box(everywhere, margin)
    # From here on only the box around the lungs is looked at.
    hu, labels, lungs = hu[box], labels[box], everywhere[box]
    progress(0.0, "Taking out vessels and airways")
    airways_and_vessels = airways_and_vessels_in_lungs(
        lungs, airways[box], vessels[box], spacing_mm
    )
    all_airways_and_vessels[box] = airways_and_vessels
    lesion = is_lesion(labels)
    poll = polling(progress, 0.2, "Measuring the parenchyma")
    parenchyma = assumed_parenchyma(lungs, lesion, airways_and_vessels, spacing_mm, poll=poll)
    rings = rings_around(airways_and_vessels, spacing_mm, poll) & parenchyma
    values, used, warnings = _baseline_values(hu, parenchyma, rings, baseline, spacing_mm)
    baseline_hu = trimmed_median(values) if used == RINGS else low_side_centre(values)
    progress(0.5, "Enhancing the parenchyma")
    difference = np.clip(hu - np.float32(baseline_hu), *ENHANCED_RANGE_HU)
    # So that no bright outline of the vessels is left; inside lesions it would take lesion away.
    difference[airways_and_vessels | (_with_rim(airways_and_vessels) & ~lesion)] = 0
    difference = np.rint(difference).astype(np.int16)
    enhanced[box] = np.where(lungs, difference, OUTSIDE_HU)
    named = [("lesions", lesion)]
    sub_visual = None
    if find_sub_visual:
        poll = polling(progress, 0.6, "Looking for sub-visual lesions")
        found = _find_sub_visual(difference, lungs, lesion, airways_and_vessels, spacing_mm, poll)
        sub_visual = np.zeros(enhanced.shape, bool)
        sub_visual[box] = found
        named.append(("sub-visual lesions", found))
    poll = polling(progress, 0.8, "Summing up")
    diameters_mm = nearest_diameter_mm(vessels[box] & lungs, spacing_mm, poll)
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    severities = tuple(
        _severity_sum(name, mask, difference, diameters_mm, int(lungs.sum()), voxel_ml)
        for name, mask in named
    )
    progress(1.0, "Enhanced the parenchyma")
    return Enhancement(
        enhanced_hu=enhanced,
        baseline_hu=baseline_hu,
        baseline=used,
        window_width_hu=optimal_width_hu(values),
        bias_hu=baseline_hu - USUAL_BASELINE_HU,
        parenchyma_ml=len(values) * voxel_ml,
        airways_and_vessels=all_airways_and_vessels,
        sub_visual=sub_visual,
        severities=severities,
        warnings=warnings,
    )


def _with_rim(airways_and_vessels: np.ndarray) -> np.ndarray:
    """Airways and vessels with the voxels beside them in their slice, which they fill in part."""
    return ndimage.binary_dilation(airways_and_vessels, np.ones((1, 3, 3)))


def assumed_parenchyma(
    lungs: np.ndarray,
    lesion: np.ndarray,
    airways_and_vessels: np.ndarray,
    spacing_mm: Spacing,
    border_mm: float = LUNG_BORDER_MM,
    poll: Poll = no_poll,
) -> np.ndarray:
    """Lung without its border, without lesions and their rims, without vessels and airways.

    All arrays bool (z, y, x). `poll` is called in between and may raise `Cancelled`.
    """
    near_lesion = dilate(lesion, LESION_RIM_MM, spacing_mm)
    poll()
    parenchyma = lungs & ~airways_and_vessels & ~near_lesion
    sampling = spacing_mm[1::-1]
    for plane, lung in zip(parenchyma, lungs, strict=True):
        poll()
        if plane.any():
            plane &= ndimage.distance_transform_edt(lung, sampling=sampling) > border_mm
    return parenchyma


def rings_around(
    airways_and_vessels: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll
) -> np.ndarray:
    """Thin rings around airways and vessels, axial slice by axial slice, bool (z, y, x).

    A ring of a tube of diameter d begins max(0.05 d, 1 mm, a voxel) away from it and is
    max(0.05 d, 1.5 mm, a voxel) wide.
    """
    voxel_mm = max(spacing_mm[:2])
    rings = np.zeros_like(airways_and_vessels)
    for plane, ring in zip(airways_and_vessels, rings, strict=True):
        poll()
        if not plane.any():
            continue
        distance_mm, diameter_mm = _nearest_in_plane(plane, spacing_mm)
        share_mm = RING_SHARE_OF_DIAMETER * diameter_mm
        gap_mm = np.maximum(share_mm, max(SMALLEST_RING_GAP_MM, voxel_mm))
        width_mm = np.maximum(share_mm, max(SMALLEST_RING_WIDTH_MM, voxel_mm))
        ring[:] = (distance_mm > gap_mm) & (distance_mm <= gap_mm + width_mm)
    return rings


def nearest_diameter_mm(
    airways_and_vessels: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll
) -> np.ndarray:
    """Diameter of the tube nearest in the axial slice, mm, float32; NaN in slices without one."""
    diameters_mm = np.full(airways_and_vessels.shape, np.nan, np.float32)
    for plane, diameter_mm in zip(airways_and_vessels, diameters_mm, strict=True):
        poll()
        if plane.any():
            diameter_mm[:] = _nearest_in_plane(plane, spacing_mm)[1]
    return diameters_mm


def _nearest_in_plane(
    airways_and_vessels: np.ndarray, spacing_mm: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the nearest airway or vessel of a slice and its diameter, mm; (y, x).

    The diameter is that of the largest disc in it, as it may lie along the slice.
    """
    sampling = spacing_mm[1::-1]
    components, count = ndimage.label(airways_and_vessels, np.ones((3, 3)))
    depth_mm = ndimage.distance_transform_edt(np.pad(airways_and_vessels, 1), sampling=sampling)[
        1:-1, 1:-1
    ]
    deepest_mm = ndimage.maximum(depth_mm, components, np.arange(count + 1))
    # Depth is counted to the centre of the first voxel outside: half a voxel too much a side.
    diameters_mm = 2 * deepest_mm - min(sampling)
    distance_mm, nearest = ndimage.distance_transform_edt(
        ~airways_and_vessels, sampling=sampling, return_indices=True
    )
    return distance_mm, diameters_mm[components[tuple(nearest)]]


def _baseline_values(
    hu: np.ndarray,
    parenchyma: np.ndarray,
    rings: np.ndarray,
    baseline: str,
    spacing_mm: Spacing,
) -> tuple[np.ndarray, str, tuple[ScanWarning, ...]]:
    """HU to take the baseline from, the way really gone, and a warning where it is another one."""
    smallest = SMALLEST_PARENCHYMA_ML * 1000.0 / float(np.prod(spacing_mm))
    if parenchyma.sum() < smallest:
        raise BadInputError(
            "Too little lung without lesions is left to measure the scan's baseline, so the scan "
            "cannot be enhanced; use the plain scan."
        )
    if baseline == HISTOGRAM:
        return hu[parenchyma], HISTOGRAM, ()
    if rings.sum() >= smallest:
        return hu[rings], RINGS, ()
    warning = ScanWarning(
        "few_rings",
        "Too few vessels were found for a baseline from the lung around them, so it was taken from "
        "the histogram of the lungs; check the vessels.",
    )
    return hu[parenchyma], HISTOGRAM, (warning,)


def trimmed_median(values_hu: np.ndarray) -> float:
    """Median of the values within 3 SD of itself, HU; the SD is that of its low side (from MAD)."""
    kept = values_hu
    median_hu = math.inf
    for _ in range(TRIMMING_ROUNDS):
        earlier_hu, median_hu = median_hu, float(np.median(kept))
        if median_hu == earlier_hu:
            break
        low_sd_hu = 1.4826 * (median_hu - float(np.median(kept[kept <= median_hu])))
        kept = values_hu[np.abs(values_hu - median_hu) <= TRIMMED_BEYOND_SD * low_sd_hu]
    return median_hu


def low_side_centre(values_hu: np.ndarray) -> float:
    """Centre of a Gaussian fitted to the low side of a histogram, HU; after its peak if none fits.

    The low side is free of lesions and vessels, which are all denser than parenchyma.
    """
    lowest_hu = int(values_hu.min())
    counts = np.bincount(np.asarray(values_hu, dtype=np.int64) - lowest_hu).astype(float)
    smooth = ndimage.gaussian_filter1d(counts, HISTOGRAM_SMOOTHING_HU, mode="constant")
    bins_hu = lowest_hu + np.arange(len(counts), dtype=float)
    peak_hu = float(bins_hu[smooth.argmax()])
    below = values_hu[values_hu < peak_hu].astype(float)
    if not below.size:
        return peak_hu
    sd_hu = math.sqrt(float(np.mean((below - peak_hu) ** 2)))
    side = (bins_hu > peak_hu - LOW_SIDE_SD * sd_hu) & (bins_hu < peak_hu + HIGH_SIDE_SD * sd_hu)
    # Here, since it takes a while to load and most runs never need it.
    from scipy import optimize

    try:
        (_, centre_hu, _), _ = optimize.curve_fit(
            _gaussian, bins_hu[side], smooth[side], (float(smooth.max()), peak_hu, sd_hu)
        )
    except (RuntimeError, TypeError):
        return peak_hu
    # A fit that ran away from the peak says less than the peak.
    return float(centre_hu) if abs(centre_hu - peak_hu) <= sd_hu else peak_hu


def _gaussian(
    position: np.ndarray, height: float, centre: float, standard_deviation: float
) -> np.ndarray:
    return height * np.exp(-0.5 * ((position - centre) / standard_deviation) ** 2)


def optimal_width_hu(values_hu: np.ndarray) -> float:
    """1.5 × the SD of the middle 80 % of the values, at least 1 HU."""
    low_hu, high_hu = np.percentile(values_hu, MIDDLE_PERCENTILES)
    middle = values_hu[(values_hu >= low_hu) & (values_hu <= high_hu)]
    return max(1.0, WINDOW_WIDTH_IN_SD * float(np.std(middle, dtype=np.float64)))


def _find_sub_visual(
    enhanced_hu: np.ndarray,
    lungs: np.ndarray,
    lesion: np.ndarray,
    airways_and_vessels: np.ndarray,
    spacing_mm: Spacing,
    poll: Poll,
) -> np.ndarray:
    """See `SUB_VISUAL_RULE`; bool (z, y, x)."""
    # Around them and at the border voxels are shared, and smoothing would spread that.
    rims = dilate(airways_and_vessels, AIRWAY_AND_VESSEL_RIM_MM, spacing_mm)
    poll()
    counted = assumed_parenchyma(lungs, lesion, rims, spacing_mm, SUB_VISUAL_BORDER_MM, poll)
    if not counted.any():
        return counted
    sigma = [SUB_VISUAL_SMOOTHING_MM / size for size in reversed(spacing_mm)]
    weight = ndimage.gaussian_filter(counted.astype(np.float32), sigma, truncate=3.0)
    poll()
    total = ndimage.gaussian_filter(
        np.where(counted, enhanced_hu, 0).astype(np.float32), sigma, truncate=3.0
    )
    poll()
    mean_hu = total / np.maximum(weight, 0.05)
    # From the low side, where there is no lesion: 16 of 100 lie one SD below the middle.
    low_hu, middle_hu = np.percentile(mean_hu[counted], [15.87, 50.0])
    threshold_hu = max(SUB_VISUAL_ABOVE_HU, SUB_VISUAL_ABOVE_SD * float(middle_hu - low_hu))
    components, count = ndimage.label(counted & (mean_hu > threshold_hu))
    smallest = SMALLEST_SUB_VISUAL_ML * 1000.0 / float(np.prod(spacing_mm))
    large = np.bincount(components.ravel(), minlength=count + 1) >= smallest
    large[0] = False
    return large[components]


def _severity_sum(
    name: str,
    lesion: np.ndarray,
    enhanced_hu: np.ndarray,
    diameters_mm: np.ndarray,
    lung_voxels: int,
    voxel_ml: float,
) -> SeveritySum:
    values, nearest_mm = enhanced_hu[lesion].astype(np.float64), diameters_mm[lesion]
    bands_hu = tuple(
        float(values[(nearest_mm >= low_mm) & (nearest_mm < high_mm)].sum()) / lung_voxels
        for low_mm, high_mm in VESSEL_BANDS_MM
    )
    return SeveritySum(
        name=name,
        hu=float(values.sum()) / lung_voxels,
        bands_hu=bands_hu,
        no_vessel_hu=float(values[np.isnan(nearest_mm)].sum()) / lung_voxels,
        volume_ml=float(len(values)) * voxel_ml,
    )
