"""Telling the left from the right lung in any lung mask, also where the two touch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from CovidLungQuantLib.anatomy.grids import CoarseGrid
from CovidLungQuantLib.anatomy.morphology import bounding_box, boxes_of_values
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, LUNG_REGIONS, RIGHT_LUNG_VALUE
from CovidLungQuantLib.progress import Poll, no_poll

Spacing = tuple[float, float, float]

SIDES_GRID_MM = 3.0
# Two parts are a right and a left lung if each has this share of the mask ...
SMALLEST_LUNG_SHARE = 0.08
# ... and their centres are this share of the mask's width apart.
SMALLEST_SEPARATION = 0.3
EROSION_STEPS_MM = (0.0, 2.0, 4.0, 6.0, 8.0, 11.0, 14.0, 18.0, 22.0)


def each_lung(
    lungs: np.ndarray,
) -> Iterator[tuple[int, tuple[slice, ...], np.ndarray]]:
    """Value, bounding box and mask in it, bool (z, y, x), of each lung that is there.

    Args:
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`, 0 elsewhere.
    """
    boxes = boxes_of_values(lungs, max(LUNG_REGIONS))
    for lung_value in (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE):
        box = boxes[lung_value - 1]
        if box is not None:
            yield lung_value, box, lungs[box] == lung_value


def split_left_right(mask: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll) -> np.ndarray:
    """Say for every voxel of a lung mask which lung it belongs to.

    The mask is eroded on a 3 mm grid until its two lungs come apart; from there they grow back by a
    watershed, so that they meet where the mask is thinnest. Islands go to the lung they are nearest
    to. If there is one lung only, its place in the image tells which.

    Args:
        mask: bool (z, y, x), upright: x grows to the patient's Left.
        spacing_mm: voxel size (x, y, z).
        poll: called between the steps; may raise `Cancelled`.

    Returns:
        uint8 (z, y, x): `LEFT_LUNG_VALUE` or `RIGHT_LUNG_VALUE` wherever `mask` is True, else 0.
    """
    mask = np.asarray(mask, dtype=bool)
    sides = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return sides
    box = bounding_box(mask)
    image_middle = (mask.shape[2] - 1) / 2
    cropped = mask[box]
    grid = CoarseGrid.of(cropped.shape, spacing_mm, SIDES_GRID_MM, SIDES_GRID_MM)
    filled = grid.reduce(cropped)
    # A block counts as soon as it holds any lung, or islands would be lost; the erosion looks at
    # blocks at least half full.
    coarse = filled >= 0.5 if (filled >= 0.5).any() else filled > 0
    poll()
    depth_mm = _depth(coarse, grid.spacing_mm)
    poll()
    markers = _lung_markers(depth_mm)
    if markers is None:
        middle = box[2].start + float(np.mean(np.nonzero(cropped)[2]))
        sides[mask] = LEFT_LUNG_VALUE if middle > image_middle else RIGHT_LUNG_VALUE
        return sides
    poll()
    grown = _grow_markers(markers, coarse, depth_mm, grid.spacing_mm)
    poll()
    sides[box] = grid.enlarge(grown) * cropped
    return sides


def _lung_markers(depth_mm: np.ndarray) -> np.ndarray | None:
    """Cores of the two lungs as uint8 side values, or None if the mask is one lung only."""
    for step_mm in EROSION_STEPS_MM:
        components, count = ndimage.label(depth_mm > step_mm)
        if count < 2:
            continue
        sizes = np.bincount(components.ravel())[1:]
        order = np.argsort(-sizes, kind="stable")[:6]
        pair = _opposite_pair(components, order, sizes)
        if pair is not None:
            right, left = pair
            markers = np.zeros(depth_mm.shape, np.uint8)
            markers[components == right + 1] = RIGHT_LUNG_VALUE
            markers[components == left + 1] = LEFT_LUNG_VALUE
            return markers
    return None


def _opposite_pair(
    components: np.ndarray, order: np.ndarray, sizes: np.ndarray
) -> tuple[int, int] | None:
    """The two largest parts that lie side by side, as (right, left), or None."""
    width = components.shape[2]
    centres = {
        int(part): ndimage.center_of_mass(components == part + 1)[2]
        for part in order
        if sizes[part] >= SMALLEST_LUNG_SHARE * sizes.sum()
    }
    parts = list(centres)
    for second in parts[1:]:
        if abs(centres[second] - centres[parts[0]]) >= SMALLEST_SEPARATION * width:
            right, left = sorted((parts[0], second), key=centres.__getitem__)
            return right, left
    return None


def _grow_markers(
    markers: np.ndarray, coarse: np.ndarray, depth_mm: np.ndarray, spacing_mm: Spacing
) -> np.ndarray:
    """Side of every coarse voxel: by watershed inside the mask, by the nearest lung outside."""
    flooded = sitk.GetArrayFromImage(
        sitk.MorphologicalWatershedFromMarkers(
            sitk.GetImageFromArray(-depth_mm.astype(np.float32)),
            sitk.GetImageFromArray(markers),
            markWatershedLine=False,
            fullyConnected=False,
        )
    )
    # Parts that no marker reaches inside the mask take the side of the nearest voxel that one does.
    components, _ = ndimage.label(coarse)
    reached = np.unique(components[markers > 0])
    trusted = np.isin(components, reached[reached > 0])
    nearest = ndimage.distance_transform_edt(
        ~trusted,
        sampling=tuple(reversed(spacing_mm)),
        return_distances=False,
        return_indices=True,
    )
    return flooded[tuple(nearest)].astype(np.uint8)


def _depth(mask: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Distance in millimetres to the outside; the border of the array counts as inside."""
    padded = np.pad(mask, 1, mode="edge")
    depth = ndimage.distance_transform_edt(padded, sampling=tuple(reversed(spacing_mm)))
    return depth[1:-1, 1:-1, 1:-1]
