"""Finding the fissures between lobes in a CT, near where the shape of the lung expects them.

A fissure is a thin bright sheet that vessels avoid. How much each voxel looks like such a sheet is
measured by the eigenvalues of the Hessian (after Wiemker et al., "Unsupervised extraction of the
pulmonary interlobar fissures", 2005: one large negative, two small). The fissure itself is sought
as a height map over its mean plane, by semi-global matching (Hirschmüller, IEEE PAMI 2008): sheets
attract it, vessels repel it, the shape prior holds it where nothing is seen.

Arrays are (z, y, x), points and vectors too, in millimetres from the centre of the first voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from CovidLungQuantLib.anatomy.morphology import bounding_box
from CovidLungQuantLib.progress import Poll, no_poll

GRID_MM = 1.25
SHEET_SCALE_MM = 1.1
# The smoothing ends after so many standard deviations: nothing is seen beyond so many voxels.
SHEET_TRUNCATE = 3.0
SHEET_REACH = 4
# HU between which sheets are sought: brighter is vessel or lesion.
SHEET_HU = (-1000.0, -500.0)
# A vessel or wall bends in two directions; this much of the second bend is taken off the first.
SECOND_BEND_WEIGHT = 2.0
# A sheet that bends this many HU/mm² counts half.
HALF_SHEET = 8.0
VESSEL_HU = (-750.0, -450.0)
PLEURA_MM = 2.5

# The height map: cells across, steps along its normal, and how far it may leave the prior.
CELL_MM = 2.0
STEP_MM = 1.0
REACH_MM = 28.0

SHEET_WEIGHT = 1.5
VESSEL_WEIGHT = 0.3
# Discs over which sheets are averaged, and their slopes against the prior's course.
VOTE_CELLS = 2.5
VOTE_SLOPES = (-0.5, -0.25, 0.0, 0.25, 0.5)
CHANCE_PERCENTILE = 90.0
LEAST_CHANCE = 0.03
VOTES_ABOVE_CHANCE = 2.0
# Where this share of the surroundings is bright (a hilum, a lesion), sheets are not fissures.
CROWDED_CELLS = (2.0, 2.0, 4.0)
CROWDED_SHARE = 0.4
PRIOR_WEIGHT_PER_MM = 0.01
# Cost of a step of 1, 2 and more between neighbouring cells, against the prior's own course.
STEP_COSTS = (0.1, 0.3)
JUMP_COST = 2.0
SMOOTHING_CELLS = 1.5
# A cell where the fissure has this many votes is believed; others follow those around them.
BELIEVED_VOTES = 0.25
LEAST_BELIEF = 0.02
NEAR_CELLS = 4.0
# The second look starts from where the first one leads, and not far from it.
WIDE_CELLS = 8.0
SECOND_REACH_MM = 16.0
HOLD_WEIGHT_PER_MM2 = 0.0015
# Beyond this the prior is certain, and no sheet is looked for.
UNCERTAIN = 6.0


@dataclass(frozen=True, eq=False)
class FissureSurface:
    """A fissure as a height map over a plane.

    Attributes:
        axes: 3×3, rows are unit vectors: two across the plane, then its normal, which points to
            the lower side.
        start_mm: place of the first cell along the two axes across.
        height_mm: place of the fissure along the normal in each cell of `CELL_MM`.
    """

    axes: np.ndarray
    start_mm: np.ndarray
    height_mm: np.ndarray

    def depth_below_mm(self, points_mm: np.ndarray) -> np.ndarray:
        """Distance along the normal from fissure to points (3, …); positive on the lower side."""
        across = np.tensordot(self.axes[:2], points_mm, axes=1)
        cells = (across - self.start_mm.reshape(2, *[1] * (points_mm.ndim - 1))) / CELL_MM
        height_mm = ndimage.map_coordinates(self.height_mm, cells, order=1, mode="nearest")
        return np.tensordot(self.axes[2], points_mm, axes=1) - height_mm

    def depth_below_grid_mm(self, lung: np.ndarray, poll: Poll = no_poll) -> np.ndarray:
        """`depth_below_mm` in a lung on a cubic grid of `GRID_MM`, plane by plane; 0 elsewhere."""
        depth_mm = np.zeros(lung.shape, np.float32)
        for index, plane in enumerate(lung):
            poll()
            rows, columns = np.nonzero(plane)
            points_mm = np.stack([np.full(len(rows), index), rows, columns]) * GRID_MM
            depth_mm[index, rows, columns] = self.depth_below_mm(points_mm)
        return depth_mm


def vessel_brightness(hu: np.ndarray) -> np.ndarray:
    """How much each voxel is too bright for a fissure in aerated lung, 0…1."""
    low, high = VESSEL_HU
    return np.clip((hu - low) / (high - low), 0.0, 1.0)


def sheet_strengths(
    hu: np.ndarray, lung: np.ndarray, priors: np.ndarray, poll: Poll = no_poll
) -> np.ndarray:
    """How much each voxel looks like part of each fissure, 0…1.

    Args:
        hu: float32 on a cubic grid of `GRID_MM`.
        lung: bool, where fissures may lie.
        priors: (fissure, z, y, x), maps of the shape prior; sheets are sought where it is unsure,
            and should lie across its gradient.
        poll: called between the steps; may raise `Cancelled`.

    Returns:
        float32 (fissure, z, y, x).
    """
    strengths = np.zeros(priors.shape, np.float32)
    unsure = lung & (np.abs(priors) < UNCERTAIN).any(axis=0)
    if not unsure.any():
        return strengths
    box = bounding_box(unsure, (SHEET_REACH,) * 3)
    deep = ndimage.binary_erosion(lung[box], iterations=round(PLEURA_MM / GRID_MM))
    filled = np.where(lung[box], np.clip(hu[box], *SHEET_HU), np.median(hu[lung]))
    sought, bends = _bends(filled.astype(np.float32), deep & unsure[box], poll)
    strongest, second_bend = _two_largest_bends(bends)
    sheet = np.maximum(-strongest - SECOND_BEND_WEIGHT * second_bend, 0.0)
    for strength, prior in zip(strengths, priors, strict=True):
        poll()
        normal = [gradient[sought] for gradient in np.gradient(prior[box])]
        along_normal = sum(
            (1 if first == second else 2) * bend * normal[first] * normal[second]
            for (first, second), bend in bends.items()
        ) / (sum(part**2 for part in normal) + 1e-9)
        aligned = np.clip(along_normal / np.minimum(strongest, -1e-6), 0.0, 1.0)
        strength[box][sought] = aligned * sheet / (sheet + HALF_SHEET)
    return strengths


def _bends(
    hu: np.ndarray, sought: np.ndarray, poll: Poll
) -> tuple[np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """The Hessian, by its axes, where a bright sheet may be; HU/mm².

    Args:
        hu: float32 (z, y, x).
        sought: bool (z, y, x).
        poll: called between the steps; may raise `Cancelled`.

    Returns:
        The part of `sought` where the bends together are those of something bright, and the bends
        there.
    """

    def derived(volume: np.ndarray, axis: int, order: int) -> np.ndarray:
        poll()
        return ndimage.gaussian_filter1d(
            volume, SHEET_SCALE_MM / GRID_MM, axis, order, truncate=SHEET_TRUNCATE
        )

    along_z = [derived(hu, 0, order) for order in range(3)]
    along_zy = {(z, y): derived(along_z[z], 1, y) for z in range(3) for y in range(3) if z + y <= 2}
    del along_z
    along_one = [
        derived(along_zy[2, 0], 2, 0),
        derived(along_zy[0, 2], 2, 0),
        derived(along_zy[0, 0], 2, 2),
    ]
    sought = sought & (sum(along_one) < 0)
    bends = {(axis, axis): bend[sought] / GRID_MM**2 for axis, bend in enumerate(along_one)}
    bends[0, 1] = derived(along_zy[1, 1], 2, 0)[sought] / GRID_MM**2
    bends[0, 2] = derived(along_zy[1, 0], 2, 1)[sought] / GRID_MM**2
    bends[1, 2] = derived(along_zy[0, 1], 2, 1)[sought] / GRID_MM**2
    return sought, bends


def _two_largest_bends(
    bends: dict[tuple[int, int], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """The eigenvalue of largest size, and the size of the second, of symmetric 3×3 matrices.

    In closed form (Smith 1961), far faster than a general solver for millions of voxels.
    """
    mean = (bends[0, 0] + bends[1, 1] + bends[2, 2]) / 3
    d0, d1, d2 = (bends[axis, axis] - mean for axis in range(3))
    off = bends[0, 1] ** 2 + bends[0, 2] ** 2 + bends[1, 2] ** 2
    spread = np.sqrt((d0**2 + d1**2 + d2**2 + 2 * off) / 6) + 1e-9
    determinant = (
        d0 * (d1 * d2 - bends[1, 2] ** 2)
        - bends[0, 1] * (bends[0, 1] * d2 - bends[1, 2] * bends[0, 2])
        + bends[0, 2] * (bends[0, 1] * bends[1, 2] - d1 * bends[0, 2])
    )
    angle = np.arccos(np.clip(determinant / (2 * spread**3), -1, 1)) / 3
    highest, lowest, middle = (
        mean + 2 * spread * np.cos(angle + turn * 2 * np.pi / 3) for turn in range(3)
    )
    size_high, size_low = np.abs(highest), np.abs(lowest)
    second = np.maximum(np.abs(middle), np.minimum(size_high, size_low))
    return np.where(size_high > size_low, highest, lowest), second


def find_fissure(
    strength: np.ndarray,
    vessels: np.ndarray,
    prior: np.ndarray,
    lung: np.ndarray,
    poll: Poll = no_poll,
) -> FissureSurface | None:
    """The fissure as a surface, or None where the prior does not cross the lung.

    Args:
        strength: from `sheet_strengths`.
        vessels: from `vessel_brightness`.
        prior: float32 map of the shape prior, above zero on the lower side.
        lung: bool, the part of the lung that the fissure divides.
        poll: called between the steps; may raise `Cancelled`.
    """
    near = lung & (np.abs(prior) < 2.0)
    if not near.any() or prior[lung].min() > 0 or prior[lung].max() < 0:
        return None
    axes = _plane_axes(prior, near)
    inside_mm = axes @ (np.argwhere(lung).T * GRID_MM)
    start_mm = inside_mm.min(axis=1)
    counts = [
        int(length / step) + 2
        for length, step in zip(
            inside_mm.max(axis=1) - start_mm, (CELL_MM, CELL_MM, STEP_MM), strict=True
        )
    ]
    heights_mm = np.broadcast_to(start_mm[2] + np.arange(counts[2]) * STEP_MM, counts)
    lung_share = lung.astype(np.float32)
    columns = _sampled([prior, lung_share], axes, start_mm, heights_mm, poll)
    prior_cost, has_lung = _prior_cost(*columns)
    if not has_lung.any():
        return None
    poll()
    expected = _expected_steps(prior_cost, has_lung)
    poll()
    maps = [strength, vessels, lung_share]
    offsets = np.arange(-int(REACH_MM / STEP_MM), int(REACH_MM / STEP_MM) + 1)
    held = PRIOR_WEIGHT_PER_MM * _at_steps(prior_cost, expected[..., None] + offsets)
    poll()
    found, belief = _best_offsets(maps, axes, start_mm, expected, held, poll)
    poll()
    # Where the fissure was seen it shows how far the prior is off around there, too.
    centre = expected + _following(found, belief, has_lung, WIDE_CELLS)
    offsets = np.arange(-int(SECOND_REACH_MM / STEP_MM), int(SECOND_REACH_MM / STEP_MM) + 1)
    held = HOLD_WEIGHT_PER_MM2 * (offsets * STEP_MM) ** 2 * has_lung[..., None]
    poll()
    found, belief = _best_offsets(maps, axes, start_mm, centre, held, poll)
    poll()
    completed = belief * found + (1 - belief) * _following(found, belief, has_lung, NEAR_CELLS)
    completed = ndimage.gaussian_filter(completed, SMOOTHING_CELLS, mode="nearest")
    return FissureSurface(axes, start_mm[:2], start_mm[2] + (centre + completed) * STEP_MM)


def _best_offsets(
    maps: list[np.ndarray],
    axes: np.ndarray,
    start_mm: np.ndarray,
    centre: np.ndarray,
    held: np.ndarray,
    poll: Poll,
) -> tuple[np.ndarray, np.ndarray]:
    """Steps from `centre` to the best fissure in each cell, and how far it is believed, 0…1.

    Args:
        maps: sheet strength, vessel brightness and lung (z, y, x).
        axes, start_mm: of the surface's frame.
        centre: step about which to look, (across, across).
        held: cost of each step away from it, (across, across, step).
        poll: called between the steps; may raise `Cancelled`.
    """
    reach = held.shape[2] // 2
    steps = centre[..., None] + np.arange(-reach, reach + 1)
    heights_mm = start_mm[2] + steps * STEP_MM
    seen, bright, weight = _sampled(maps, axes, start_mm, heights_mm, poll)
    # Walls of large vessels and bronchi are sheets too.
    crowded = ndimage.gaussian_filter(bright * weight, CROWDED_CELLS)
    seen *= weight * np.clip(1.0 - crowded / CROWDED_SHARE, 0.0, 1.0)
    votes = _votes(seen, weight, poll)
    poll()
    best = _semi_global_matching(held + weight * (VESSEL_WEIGHT * bright - SHEET_WEIGHT * votes))
    votes_there = np.take_along_axis(weight * votes, best[..., None], axis=2)[..., 0]
    has_lung = weight.max(axis=2) > 0.5
    if not has_lung.any():
        return np.zeros(centre.shape, np.float32), np.zeros(centre.shape, np.float32)
    nearest = ndimage.distance_transform_edt(~has_lung, return_distances=False, return_indices=True)
    offsets = (best - reach)[tuple(nearest)].astype(np.float32)
    belief = np.clip(ndimage.gaussian_filter(votes_there, 1.0) / BELIEVED_VOTES, 0.0, 1.0)
    return ndimage.median_filter(offsets, 5, mode="nearest"), belief


def _following(
    offsets: np.ndarray, belief: np.ndarray, has_lung: np.ndarray, cells: float
) -> np.ndarray:
    """Mean of the offsets around each cell, those that are believed counting most."""
    weight = belief**2 + LEAST_BELIEF * has_lung
    return ndimage.gaussian_filter(weight * offsets, cells) / (
        ndimage.gaussian_filter(weight, cells) + 1e-6
    )


def _plane_axes(prior: np.ndarray, near: np.ndarray) -> np.ndarray:
    normal = np.array([gradient[near].mean() for gradient in np.gradient(prior)])
    normal /= np.linalg.norm(normal)
    across = np.eye(3)[np.abs(normal).argmin()]
    across = across - (across @ normal) * normal
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(normal, across), normal])


def _sampled(
    maps: list[np.ndarray],
    axes: np.ndarray,
    start_mm: np.ndarray,
    heights_mm: np.ndarray,
    poll: Poll,
) -> list[np.ndarray]:
    """Maps at the heights (across, across, step) of each cell; 0 outside the lung.

    Args:
        maps: float32 (z, y, x), the lung last.
        axes, start_mm: of the surface's frame.
        heights_mm: float (across, across, step).
        poll: called between rows; may raise `Cancelled`.
    """
    touches_lung = maps[-1] > 0
    for axis in range(3):
        along = np.moveaxis(touches_lung, axis, 0)
        along[:-1] |= along[1:]
    rows, columns, _ = heights_mm.shape
    first_mm = start_mm[0] + np.arange(rows) * CELL_MM
    second_mm = start_mm[1] + np.arange(columns) * CELL_MM
    last = np.array(touches_lung.shape, np.int32)[:, None] - 1
    strides = np.array(touches_lung.strides, np.int32)
    sampled = [np.zeros(heights_mm.shape, np.float32) for _ in maps]
    for row in range(rows):
        poll()
        points = np.stack(
            [
                first_mm[row] * axes[0, axis]
                + second_mm[:, None] * axes[1, axis]
                + heights_mm[row] * axes[2, axis]
                for axis in range(3)
            ]
        ).astype(np.float32)
        points /= GRID_MM
        corners = points.astype(np.int32).reshape(3, -1)
        np.clip(corners, 0, last, out=corners)
        inside = np.flatnonzero(touches_lung.take(strides @ corners))
        places = points.reshape(3, -1).take(inside, axis=1)
        for part, values in zip(maps, sampled, strict=True):
            values[row].ravel()[inside] = ndimage.map_coordinates(
                part, places, order=1, mode="constant"
            )
    return sampled


def _prior_cost(prior: np.ndarray, lung: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the prior loses by a fissure at each step of each column (mm × log odds), least 0."""
    above = np.cumsum(lung * np.logaddexp(0.0, prior), axis=2)
    below = lung * np.logaddexp(0.0, -prior)
    below = below.sum(axis=2, keepdims=True) - np.cumsum(below, axis=2)
    cost = (above + below) * STEP_MM
    return cost - cost.min(axis=2, keepdims=True), lung.max(axis=2) > 0.5


def _expected_steps(prior_cost: np.ndarray, has_lung: np.ndarray) -> np.ndarray:
    """Step at which the prior expects the fissure, smooth, and carried on beyond the lung."""
    best = prior_cost.argmin(axis=2).astype(np.float32)
    # Columns that lie wholly on one side say only that: the fissure is at an end of them.
    crossed = has_lung & (best > 0) & (best < prior_cost.shape[2] - 1)
    crossed &= (prior_cost[..., 0] > 0.5) & (prior_cost[..., -1] > 0.5)
    trusted = crossed if crossed.any() else has_lung
    nearest = ndimage.distance_transform_edt(~trusted, return_distances=False, return_indices=True)
    return ndimage.gaussian_filter(best[tuple(nearest)], 2 * SMOOTHING_CELLS, mode="nearest")


def _at_steps(cost: np.ndarray, steps: np.ndarray) -> np.ndarray:
    position = np.clip(steps, 0, cost.shape[2] - 1)
    low = np.minimum(position.astype(int), cost.shape[2] - 2)
    share = position - low
    return (1 - share) * np.take_along_axis(cost, low, 2) + share * np.take_along_axis(
        cost, low + 1, 2
    )


def _votes(sheet: np.ndarray, lung: np.ndarray, poll: Poll) -> np.ndarray:
    """How far sheets go on around each place, 0…1, over (across, across, step).

    Sheets are averaged over discs of many slopes against the prior's course and the best slope
    counts, so that a faint fissure, seen in places, outweighs the specks that noise and vessels
    leave. What the strongest tenth of the lung reaches is taken for chance.
    """
    reach = _averaged(_turned(_averaged(_steps_first(lung), 0.0)), 0.0)
    most = torch.zeros_like(reach)
    sheet_by_step = _steps_first(sheet)
    for slope in VOTE_SLOPES:
        turned = _turned(_averaged(sheet_by_step, slope))
        for other_slope in VOTE_SLOPES:
            poll()
            torch.maximum(most, _averaged(turned, other_slope), out=most)
    most /= reach.clamp(min=0.3)
    votes = most.permute(2, 1, 0).contiguous().numpy()
    inside = lung > 0.5
    chance = np.percentile(votes[inside], CHANCE_PERCENTILE) if inside.any() else 1.0
    return np.clip((votes / max(chance, LEAST_CHANCE) - 1.0) / VOTES_ABOVE_CHANCE, 0.0, 1.0)


def _steps_first(volume: np.ndarray) -> Tensor:
    """(across, across, step) as (step, across, across): whole planes are moved at once."""
    return torch.from_numpy(np.ascontiguousarray(volume.transpose(2, 0, 1)))


def _turned(volume: Tensor) -> Tensor:
    """(step, across, across) with both axes across exchanged."""
    return volume.transpose(1, 2).contiguous()


def _averaged(volume: Tensor, slope: float) -> Tensor:
    """Gaussian mean of (step, across, across) along the first axis across.

    It climbs `slope` mm per mm; beyond the end is 0.
    """
    cells = int(2 * VOTE_CELLS)
    average = torch.zeros_like(volume)
    weights = np.exp(-0.5 * (np.arange(-cells, cells + 1) / VOTE_CELLS) ** 2)
    weights /= weights.sum()
    for shift, weight in zip(range(-cells, cells + 1), weights, strict=True):
        climb = slope * shift * CELL_MM / STEP_MM
        low = int(np.floor(climb))
        for step, share in ((low, 1 - (climb - low)), (low + 1, climb - low)):
            if share > 0:
                target, source = _shifted(volume.shape, step, shift)
                average[target].add_(volume[source], alpha=float(weight * share))
    return average


def _shifted(
    shape: tuple[int, ...], steps: int, cells: int
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where values go and where they come from, so many steps up and cells along."""
    target, source = zip(
        *(
            (
                slice(max(-by, 0), max(size - max(by, 0), 0)),
                slice(max(by, 0), max(size + min(by, 0), 0)),
            )
            for by, size in zip((steps, cells), shape, strict=False)
        ),
        strict=True,
    )
    return target, source


def _semi_global_matching(cost: np.ndarray) -> np.ndarray:
    """Step of least cost in each cell, (across, across), with paths from eight directions."""
    total = np.zeros_like(cost)
    for turned in (False, True):
        volume = cost.transpose(1, 0, 2) if turned else cost
        for backwards in (False, True):
            for slant in (0,) if turned else (-1, 0, 1):
                rows = volume[::-1] if backwards else volume
                paths = _along_paths(rows, slant)
                paths = paths[::-1] if backwards else paths
                total += paths.transpose(1, 0, 2) if turned else paths
    return total.argmin(axis=2)


def _along_paths(cost: np.ndarray, slant: int) -> np.ndarray:
    paths = cost.copy()
    for row in range(1, len(cost)):
        before = paths[row - 1]
        if slant:
            before = np.roll(before, slant, axis=0)
            edge = 0 if slant > 0 else -1
            before[edge] = 0.0
        least = before.min(axis=1, keepdims=True)
        options = np.minimum(before, least + JUMP_COST)
        for size, step_cost in enumerate(STEP_COSTS, start=1):
            options[:, size:] = np.minimum(options[:, size:], before[:, :-size] + step_cost)
            options[:, :-size] = np.minimum(options[:, :-size], before[:, size:] + step_cost)
        paths[row] += options - least
    return paths
