"""The airway tree: bronchi added to the trachea branch by branch, and never a leak into the lung.

A bronchus is a dark basin with a wall all around it in at least one of the three planes. How deep
such a basin is, from its floor to the lowest point of its rim, is found by closing and grey-scale
reconstruction in each plane (Aykac, Hoffman, McLennan and Reinhardt, IEEE Trans. Med. Imaging
2003). From trachea and main bronchi the tree grows into ever shallower basins; a piece whose
section widens on its way is a leak and is left out, while its neighbours go on growing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.progress import (
    Poll,
    ProgressCallback,
    no_poll,
    no_progress,
    polling,
    subrange,
)

if TYPE_CHECKING:
    from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy

Spacing = tuple[float, float, float]

LUMEN_HU = -700.0
HU_RANGE = (-1024.0, 200.0)
SMOOTHING_MM = 0.5
# Half the width of the widest basin looked for; wider airways are in the trachea and main bronchi.
BASIN_RADIUS_MM = 5.0
# In thicker slices, basins are looked for in the axial plane only.
THICKEST_SLICE_MM = 3.0
DEEPEST_BASIN_HU = 600.0
SHALLOWEST_BASIN_HU = 80.0
BASIN_STEP = 0.75
# The basins of noise in the lung itself: nine of ten voxels have shallower ones.
NOISE_PERCENTILE = 90.0
NOISE_MARGIN = 1.25

# Pieces this small cannot be told from the widening of a lumen and are harmless.
SMALLEST_LEAK_ML = 0.1
LARGEST_PIECE_ML = 12.0
LARGEST_SHORT_PIECE_ML = 3.0
SECTION_STEP_MM = 2.0
# A piece holds all the branches that begin at one place; its section counts all of them.
LARGEST_FIRST_SECTION_MM2 = 250.0
HARMLESS_SECTION_MM2 = 60.0
LARGEST_WIDENING = 1.6
MARGIN_VOXELS = 8


def segment_airways(
    hu: np.ndarray,
    anatomy: LungAnatomy,
    spacing_mm: Spacing,
    progress: ProgressCallback = no_progress,
) -> np.ndarray:
    """Lumen of trachea and bronchi as far as they can be followed without a leak.

    Args:
        hu: int16 (z, y, x), upright (x→Left, y→Posterior, z→Superior).
        anatomy: of the same scan; the tree grows from its `airways`.
        spacing_mm: voxel size (x, y, z).
        progress: progress callback; may raise `Cancelled`.

    Returns:
        bool (z, y, x); all False where `anatomy` has no trachea. Bronchi inside the lungs are part
        of the lungs too.
    """
    tree = anatomy.airways.copy()
    lungs = anatomy.lungs > 0
    if not tree.any() or not lungs.any():
        return tree
    poll = polling(progress, 0.0, "Looking for bronchi")
    box = bounding_box(lungs, (MARGIN_VOXELS,) * 3)
    poll()
    smooth = _smooth(hu[box], spacing_mm)
    depth_hu = basin_depth(smooth, spacing_mm, subrange(progress, 0.0, 0.6))
    noise_hu = float(np.percentile(depth_hu[lungs[box]], NOISE_PERCENTILE))
    lowest_hu = max(SHALLOWEST_BASIN_HU, NOISE_MARGIN * noise_hu)
    depth_hu[smooth >= LUMEN_HU] = 0
    steps = _basin_steps(lowest_hu)
    for index, least_hu in enumerate(steps):
        poll = polling(progress, 0.6 + 0.4 * index / len(steps), "Following the bronchi")
        grow_without_leaks(tree[box], depth_hu > least_hu, spacing_mm, poll)
    progress(1.0, "Found the airways")
    return tree


def basin_depth(
    hu: np.ndarray, spacing_mm: Spacing, progress: ProgressCallback = no_progress
) -> np.ndarray:
    """How deep each voxel lies in a dark basin narrower than 10 mm, HU; the best of three planes.

    Args:
        hu: int16 (z, y, x).
        spacing_mm: voxel size (x, y, z).
        progress: progress callback.
    """
    depth_hu = np.zeros(hu.shape, np.int16)
    radii = [max(1, round(BASIN_RADIUS_MM / size)) for size in reversed(spacing_mm)]
    axes = (0, 1, 2) if spacing_mm[2] <= THICKEST_SLICE_MM else (0,)
    for done, axis in enumerate(axes):
        poll = polling(progress, done / len(axes), "Looking for bronchi")
        window = [2 * radii[other] + 1 for other in range(3) if other != axis]
        planes, depths = np.moveaxis(hu, axis, 0), np.moveaxis(depth_hu, axis, 0)
        for plane, depth in zip(planes, depths, strict=True):
            poll()
            lid = ndimage.grey_closing(plane, size=window)
            filled = sitk.ReconstructionByErosion(
                sitk.GetImageFromArray(np.ascontiguousarray(lid)),
                sitk.GetImageFromArray(np.ascontiguousarray(plane)),
            )
            np.maximum(depth, sitk.GetArrayViewFromImage(filled) - plane, out=depth)
    return depth_hu


def grow_without_leaks(
    tree: np.ndarray, lumen: np.ndarray, spacing_mm: Spacing, poll: Poll = no_poll
) -> None:
    """Add to `tree`, in place, what of `lumen` is connected with it and is no leak.

    Args:
        tree: bool (z, y, x).
        lumen: bool (z, y, x), what may be airway.
        spacing_mm: voxel size (x, y, z).
        poll: called in between; may raise `Cancelled`, which leaves `tree` as it was.
    """
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    components, count = ndimage.label(lumen | tree)
    poll()
    reached = np.zeros(count + 1, bool)
    reached[np.unique(components[tree])] = True
    poll()
    added = reached[components] & ~tree
    poll()
    pieces, count = ndimage.label(added, np.ones((3, 3, 3)))
    sizes_ml = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml
    accepted = sizes_ml < SMALLEST_LEAK_ML
    poll()
    boxes = ndimage.find_objects(pieces)
    for part in np.flatnonzero(~accepted[1:]) + 1:
        poll()
        if sizes_ml[part] > LARGEST_PIECE_ML:
            continue
        box = tuple(
            slice(max(side.start - MARGIN_VOXELS, 0), side.stop + MARGIN_VOXELS)
            for side in boxes[part - 1]
        )
        accepted[part] = not is_leak(pieces[box] == part, tree[box], spacing_mm)
    accepted[0] = False
    tree |= accepted[pieces]


def is_leak(piece: np.ndarray, tree: np.ndarray, spacing_mm: Spacing) -> bool:
    """Whether a piece beside the tree widens with the distance from it, as airways never do.

    Args:
        piece: bool (z, y, x), what would be added.
        tree: bool (z, y, x), which it touches.
        spacing_mm: voxel size (x, y, z).
    """
    voxel_mm3 = float(np.prod(spacing_mm))
    step_mm = max(SECTION_STEP_MM, spacing_mm[2])
    distance_mm = ndimage.distance_transform_edt(~tree, sampling=spacing_mm[::-1])
    shells = (distance_mm[piece] / step_mm).astype(int)
    sections_mm2 = np.bincount(shells) * voxel_mm3 / step_mm
    if len(sections_mm2) < 2:
        return bool(len(shells) * voxel_mm3 / 1000.0 > LARGEST_SHORT_PIECE_ML)
    # The first shell is the lumen's own rim, wherever the piece lies along the tree.
    first_mm2 = sections_mm2[1]
    allowed_mm2 = max(HARMLESS_SECTION_MM2, LARGEST_WIDENING * first_mm2)
    return bool(first_mm2 > LARGEST_FIRST_SECTION_MM2 or sections_mm2[1:].max() > allowed_mm2)


def _smooth(hu: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Light smoothing in the axial plane, never more than half a voxel; int16."""
    sigma = [0.0, *(min(0.5, SMOOTHING_MM / size) for size in (spacing_mm[1], spacing_mm[0]))]
    clipped = np.clip(hu, *HU_RANGE).astype(np.float32)
    return np.rint(ndimage.gaussian_filter(clipped, sigma)).astype(np.int16)


def _basin_steps(lowest_hu: float) -> list[float]:
    """Depths from the deepest basin down to `lowest_hu`, each three quarters of the one before."""
    steps = [max(DEEPEST_BASIN_HU, lowest_hu)]
    while steps[-1] * BASIN_STEP > lowest_hu:
        steps.append(steps[-1] * BASIN_STEP)
    return [*steps, lowest_hu] if lowest_hu < steps[-1] else steps
