"""Body, airways and aerated lungs from a chest CT, by adaptive threshold and morphology.

The way through: a coarse grid of about 2 mm → body → trachea and main bronchi → air-filled lung →
left and right → dense lesions taken back in → the border redrawn on the native grid. Arrays are
(z, y, x) and upright: x grows to the patient's Left, y to Posterior, z to Superior.

The adaptive threshold follows Hu, Hoffman and Reinhardt, IEEE Trans. Med. Imaging 2001: it settles
between the means of what lies below and above it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.airways import find_airways
from CovidLungQuantLib.anatomy.dense_lesions import dense_costal_lung
from CovidLungQuantLib.anatomy.grids import CoarseGrid
from CovidLungQuantLib.anatomy.morphology import (
    bounding_box,
    close,
    component_sizes,
    dilate,
    dilate_in_planes,
    erode,
    erode_in_planes,
    fill_holes,
    fill_holes_in_planes,
    largest_component,
)
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.progress import Poll, ProgressCallback, no_progress, polling

Spacing = tuple[float, float, float]

NO_LUNGS_MESSAGE = "No lungs were found in this scan; choose a CT of the chest."

# The coarse grid has whole voxels of the scan, up to these sizes.
COARSE_IN_PLANE_MM = 2.2
COARSE_SLICE_MM = 2.5
SMOOTHING_MM = 0.8
HIGHEST_HU = 400.0
LOWEST_HU = -1024.0

BODY_HU = -500.0
TABLE_THICKNESS_MM = 4.0
# The border of the lung: about half-way between -850 (or -600 in disease) and +40 HU.
LUNG_THRESHOLD_RANGE_HU = (-550.0, -300.0)
START_THRESHOLD_HU = -500.0
# The border on the scan's own grid: readers count border pixels that are partly chest wall.
BORDER_HU = -250.0
# Readers draw the border a little on the tissue's side of half-way.
BORDER_SHARE = 0.57

AIRWAY_WALL_MM = 2.1
SMALLEST_AIR_ML = 200.0
SMALLEST_LUNG_PART_ML = 80.0
SMALLEST_ISLAND_ML = 0.1
ISLAND_REACH_MM = 12.0
SMALLEST_APEX_ML = 2.0
OESOPHAGUS_REACH_MM = 20.0
CHEST_WALL_MM = 12.0
# Gas in stomach, bowel or outside is darker than any lung, and even; a large lung may be as dark
# (emphysema) but has vessels.
GAS_CORE_HU = -945.0
LARGE_LUNG_PART_ML = 1000.0
LUNG_TEXTURE_HU = -900.0

VESSEL_CLOSING_MM = 5.0
# Within this many coarse voxels of a lung its border on the scan's own grid may run.
SIDES_REACH_VOXELS = 3.5
# Room around a lung for what is added to it, (z, y, x).
MARGIN_VOXELS = (3, 10, 10)


@dataclass(frozen=True, eq=False)
class BodyAndAir:
    """What `find_body_and_air` found, on the grid of the scan, arrays (z, y, x).

    Attributes:
        lungs: uint8, `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, 0 elsewhere; empty where no air of
            a lung's size was found.
        body: bool, the trunk with everything in it; table and clothes excluded.
        airways: bool, lumen of trachea and main bronchi, as far as they can be followed safely.
    """

    lungs: np.ndarray
    body: np.ndarray
    airways: np.ndarray


def find_body_and_air(
    hu: np.ndarray, spacing_mm: Spacing, progress: ProgressCallback = no_progress
) -> BodyAndAir:
    """Find body, airways and the lungs as far as they hold air or lie in the rib cage beside it.

    Args:
        hu: int16 Hounsfield units (z, y, x), upright (x→Left, y→Posterior, z→Superior).
        spacing_mm: voxel size (x, y, z).
        progress: progress callback; may raise `Cancelled`.

    Raises:
        BadInputError: there is no body in the scan.
    """
    poll = polling(progress, 0.0, "Finding the body")
    grid = CoarseGrid.of(hu.shape, spacing_mm, COARSE_IN_PLANE_MM, COARSE_SLICE_MM)
    coarse = grid.reduce(hu, poll)
    coarse = _smooth(coarse, grid.spacing_mm)
    poll()
    body = _find_body(coarse, grid.spacing_mm, poll)
    if not body.any():
        raise BadInputError(NO_LUNGS_MESSAGE)
    native_body = grid.enlarge(body)
    poll()
    middle_x = float(np.mean(np.nonzero(body.any(axis=(0, 1)))[0]))
    # Air is sought in the body only.
    box = bounding_box(body)
    hu_in_box, body = coarse[box], body[box]
    threshold_hu = _adaptive_threshold(hu_in_box[body])
    poll = polling(progress, 0.2, "Finding the airways")
    airways = find_airways(hu_in_box, body, grid.spacing_mm, poll)
    poll = polling(progress, 0.35, "Finding the lungs")
    air = _find_air_filled_lung(
        hu_in_box, body, airways, threshold_hu, middle_x - box[2].start, grid.spacing_mm, poll
    )
    air, airways = (_placed(part, box, grid.shape) for part in (air, airways))
    native_airways = grid.enlarge(airways)
    # Memory that is never written to costs nothing, and most of this is nothing.
    airways_box = bounding_box(native_airways)
    native_airways = _placed(native_airways[airways_box], airways_box, hu.shape)
    if air.sum() * grid.voxel_volume_ml < SMALLEST_AIR_ML:
        return BodyAndAir(np.zeros(hu.shape, np.uint8), native_body, native_airways)
    poll()
    air_sides = split_left_right(air, grid.spacing_mm, poll)
    poll = polling(progress, 0.5, "Taking dense lesions into the lungs")
    closed = _close_lungs(coarse, air_sides, airways, middle_x, grid.spacing_mm, poll)
    poll = polling(progress, 0.7, "Drawing the borders of the lungs")
    lungs = _redraw_on_native_grid(hu, grid, closed, air_sides > 0, poll)
    lungs[native_airways] = 0
    progress(1.0, "Found the air of the lungs")
    return BodyAndAir(lungs, native_body, native_airways)


def _placed(part: np.ndarray, box: tuple[slice, ...], shape: tuple[int, ...]) -> np.ndarray:
    """The array of this shape that has `part` in a box and 0 elsewhere."""
    whole = np.zeros(shape, part.dtype)
    whole[box] = part
    return whole


def _smooth(hu: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Light in-plane smoothing where the grid is fine enough to show noise; HU are clipped."""
    sigma = [0.0, SMOOTHING_MM / spacing_mm[1], SMOOTHING_MM / spacing_mm[0]]
    return ndimage.gaussian_filter(np.clip(hu, LOWEST_HU, HIGHEST_HU), sigma, mode="nearest")


def _find_body(hu: np.ndarray, spacing_mm: Spacing, poll: Poll) -> np.ndarray:
    """The trunk with everything in it, each slice for itself; without the table."""
    dense = hu > BODY_HU
    core = erode_in_planes(dense, TABLE_THICKNESS_MM / 2, spacing_mm)
    poll()
    body = largest_component(dense & dilate_in_planes(core, TABLE_THICKNESS_MM / 2, spacing_mm))
    poll()
    for plane in body:
        poll()
        _close_cut_sides(plane)
    return fill_holes_in_planes(body)


def _close_cut_sides(plane: np.ndarray) -> None:
    """Where the body is cut by a side of the image, close that side, in place."""
    for side in (plane[0], plane[-1], plane[:, 0], plane[:, -1]):
        hits = np.flatnonzero(side)
        if hits.size:
            side[hits[0] : hits[-1] + 1] = True


def _adaptive_threshold(hu: np.ndarray) -> float:
    """HU at the border of the lung, between the means of what lies below and above it."""
    threshold_hu = START_THRESHOLD_HU
    for _ in range(50):
        low, high = hu[hu < threshold_hu], hu[hu >= threshold_hu]
        if not low.size or not high.size:
            break
        low_mean, high_mean = float(low.mean()), float(high.mean())
        updated_hu = low_mean + BORDER_SHARE * (high_mean - low_mean)
        if abs(updated_hu - threshold_hu) < 0.5:
            break
        threshold_hu = updated_hu
    return float(np.clip(threshold_hu, *LUNG_THRESHOLD_RANGE_HU))


def _find_air_filled_lung(
    hu: np.ndarray,
    body: np.ndarray,
    airways: np.ndarray,
    threshold_hu: float,
    middle_x: float,
    spacing_mm: Spacing,
    poll: Poll,
) -> np.ndarray:
    """Aerated lung: air inside the body that is neither airway nor gas in stomach or bowel."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    air = body & (hu < threshold_hu) & ~dilate(airways, AIRWAY_WALL_MM, spacing_mm)
    poll()
    components, count = ndimage.label(air)
    poll()
    sizes_ml = component_sizes(components, count) * voxel_ml
    boxes = ndimage.find_objects(components)
    poll()
    parts = [int(part) for part in np.flatnonzero(sizes_ml[1:] >= SMALLEST_ISLAND_ML) + 1]
    lungs = np.zeros_like(air)
    islands = []
    for part in parts:
        box = boxes[part - 1]
        here = components[box] == part
        if sizes_ml[part] >= SMALLEST_LUNG_PART_ML and not _is_gas(hu[box], here, sizes_ml[part]):
            lungs[box] |= here
        else:
            islands.append(part)
    if not lungs.any():
        return lungs
    filled_slices = np.flatnonzero(lungs.any(axis=(1, 2)))
    middle_slice = (filled_slices[0] + filled_slices[-1]) / 2
    reach = dilate(lungs, ISLAND_REACH_MM, spacing_mm)
    for part in islands:
        box = boxes[part - 1]
        here = components[box] == part
        off_midline_mm = abs((box[2].start + box[2].stop - 1) / 2 - middle_x) * spacing_mm[0]
        if off_midline_mm < OESOPHAGUS_REACH_MM:
            continue
        # Above the middle of the lungs there is no bowel: what is dark there, and deep in the
        # body, is lung (emphysema).
        is_high = box[0].start > middle_slice and sizes_ml[part] >= SMALLEST_APEX_ML
        is_near = reach[box][here].mean() > 0.5
        if (is_high and _is_deep(body, box, here, spacing_mm)) or (
            is_near and not _is_gas(hu[box], here, sizes_ml[part])
        ):
            lungs[box] |= here
    return lungs


def _is_deep(
    body: np.ndarray, box: tuple[slice, ...], part: np.ndarray, spacing_mm: Spacing
) -> bool:
    """Whether a part of the air in the body, True in `box`, has a chest wall around it."""
    planes = np.pad(body[box[0]], ((0, 0), (1, 1), (1, 1)))
    deep = erode(planes, CHEST_WALL_MM, spacing_mm)[:, 1:-1, 1:-1]
    return bool(deep[:, box[1], box[2]][part].mean() > 0.9)


def _is_gas(hu: np.ndarray, part: np.ndarray, volume_ml: float) -> bool:
    """Whether a part of the air in the body is bare gas (stomach, bowel, outside), not lung."""
    core = ndimage.binary_erosion(part, border_value=1)
    values = hu[core] if core.any() else hu[part]
    if np.median(values) > GAS_CORE_HU:
        return False
    return volume_ml < LARGE_LUNG_PART_ML or np.percentile(values, 90) < LUNG_TEXTURE_HU


def _close_lungs(
    hu: np.ndarray,
    sides: np.ndarray,
    airways: np.ndarray,
    middle_x: float,
    spacing_mm: Spacing,
    poll: Poll,
) -> np.ndarray:
    """Take vessels and dense lesions into each lung; uint8 side values."""
    closed = sides.copy()
    for side in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE):
        lung = sides == side
        if not lung.any():
            continue
        box = bounding_box(lung, MARGIN_VOXELS)
        smooth = close(lung[box], VESSEL_CLOSING_MM, spacing_mm, poll)
        poll()
        filled = fill_holes(smooth)
        poll()
        middle = middle_x - box[2].start
        filled |= dense_costal_lung(hu[box], filled, side, middle, spacing_mm, poll)
        smooth = close(filled, VESSEL_CLOSING_MM / 2, spacing_mm, poll)
        poll()
        filled = fill_holes(smooth)
        poll()
        closed[box][filled & (closed[box] == 0)] = side
    closed[airways] = 0
    return closed


def _redraw_on_native_grid(
    hu: np.ndarray,
    grid: CoarseGrid,
    closed: np.ndarray,
    aerated: np.ndarray,
    poll: Poll,
) -> np.ndarray:
    """Lung border on the scan's own grid: by HU where lung is aerated, smooth where it is dense."""
    lungs = np.zeros(grid.fine_shape, np.uint8)
    box = bounding_box(closed > 0, (2, 2, 2))
    fine_box = tuple(
        slice(part.start * factor, min(part.stop * factor, size))
        for part, factor, size in zip(box, grid.factors, grid.fine_shape, strict=True)
    )
    sides = _sides_around(closed[box])
    poll()
    along_z, along_y, along_x = (
        grid.interpolation(axis, fine_box[axis], box[axis]) for axis in range(3)
    )
    inside = (closed[box] > 0).astype(np.float32)
    dense = inside * ~aerated[box]
    rows, columns = (
        np.arange(part.stop - part.start) // factor
        for part, factor in zip(fine_box[1:], grid.factors[1:], strict=True)
    )
    for index, hu_plane in enumerate(hu[fine_box]):
        poll()
        share, dense_share = (
            along_x.of(along_y.of(along_z.at(part, index), 0), 1) for part in (inside, dense)
        )
        if grid.factors[1:] == (1, 1):
            # Interpolation softens the border of finer scans; here nothing was interpolated.
            share, dense_share = (ndimage.uniform_filter(part, 3) for part in (share, dense_share))
        lung = share > 0.5
        border = (share > 0.05) & (share < 0.95) & (dense_share < 0.25)
        lung[border] = hu_plane[border] < BORDER_HU
        lung = ndimage.uniform_filter(lung.astype(np.float32), 3, mode="nearest") > 0.5
        plane_sides = sides[index // grid.factors[0]][np.ix_(rows, columns)]
        lungs[fine_box][index] = lung * plane_sides
    return lungs


def _sides_around(closed: np.ndarray) -> np.ndarray:
    """The lung nearest to each voxel in it or up to two voxels beside it along each axis."""
    voxels = (1.0, 1.0, 1.0)
    near_right, near_left = (
        dilate(closed == value, SIDES_REACH_VOXELS, voxels)
        for value in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE)
    )
    sides = near_right * np.uint8(RIGHT_LUNG_VALUE)
    sides[near_left] = LEFT_LUNG_VALUE
    either = near_right & near_left
    if either.any():
        box = bounding_box(either, (int(SIDES_REACH_VOXELS) + 1,) * 3)
        nearest = ndimage.distance_transform_edt(
            closed[box] == 0, return_distances=False, return_indices=True
        )
        sides[box][either[box]] = closed[box][tuple(nearest)][either[box]]
    return sides
