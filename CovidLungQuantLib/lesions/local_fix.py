"""Lesion or not, decided anew around a click or a scribble; no network runs.

What looks like the marked spot goes with it: by density, by the network's probability where that is
kept, and by thickness, so that a vessel leaves the lesion it runs into. These say for each voxel
how far it belongs to the mark; a random walker smooths that within the edges of the scan. It fades
with the distance, and changed is only what hangs together with the marks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.anatomy.morphology import Spacing, bounding_box
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG, is_lesion
from CovidLungQuantLib.lesions.kinds import tell_added_apart
from CovidLungQuantLib.lesions.random_walker import random_walk

# Nothing farther from the marks changes.
REACH_MM = 28.0
# Voxels finer than this in the slice are taken together while deciding.
WORKING_MM = 1.3
# How far a voxel makes itself felt, and the step of density that hinders it.
WALK_MM = 2.5
EDGE_HU = 150.0
# The look of a mark is the mean within this distance of it.
LOOK_MM = 1.5
# Lesion that differs so much from the mark belongs to it by 1/e.
SAME_HU = 200.0
# Lung at least so much denser than the lung around it can be a lesion that was missed.
CONTRAST_HU = 60.0
# Vessels thinner than this are not seen where lesion is looked for.
VESSEL_MM = 4.0
# How far a mark on a large lesion takes from it, by 1/e; others lie within this share of the reach.
BITE_MM = 10.0
WHOLE_SHARE = 0.8
# In log-odds of the network's probability, likewise.
SAME_LOG_ODDS = 3.0
# What is thicker than the mark by this factor and so much more is another thing.
THICKER_FACTOR, THICKER_MM = 1.5, 1.0
AIR_HU = -1024.0
# Aerated lung is no denser.
AERATED_HU = -800.0
# Left-overs beside a change that are smaller go with it.
CRUMB_ML = 0.05

_FACES = ndimage.generate_binary_structure(3, 1)
_NEIGHBOURS = np.ones((3, 3, 3), bool)


@dataclass(frozen=True, eq=False)
class LocalFix:
    """Labels decided anew around marks.

    Attributes:
        labels: uint8 (z, y, x), the whole map with the change; a new array.
        changed: bool, of the shape of the box: where it differs from the map before.
        box: slices (z, y, x) of `labels`; nothing outside it was looked at.
    """

    labels: np.ndarray
    changed: np.ndarray
    box: tuple[slice, ...]


def fix_locally(
    labels: np.ndarray,
    probability: np.ndarray | None,
    hu: np.ndarray,
    lungs: np.ndarray,
    spacing_mm: Spacing,
    lesion_seeds: np.ndarray,
    other_seeds: np.ndarray,
    locked: np.ndarray | None = None,
    reach_mm: float = REACH_MM,
) -> LocalFix:
    """Decide around marks anew what is lesion.

    Marked voxels become what they are marked as, but for those outside the lungs and locked ones.
    Around them lesion goes with the marks of `other_seeds`, and lung without lesion with those of
    `lesion_seeds`, nothing farther than `reach_mm`.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        probability: uint8 (z, y, x), the network's for lesion as 0…255; None where it is not kept.
        hu: int16 (z, y, x).
        lungs: (z, y, x), not 0 where there is lung.
        spacing_mm: voxel size (x, y, z).
        lesion_seeds: bool (z, y, x), marked as lesion.
        other_seeds: bool (z, y, x), marked as no lesion.
        locked: bool (z, y, x), voxels that stay as they are.
        reach_mm: how far from the marks anything may change.

    Returns:
        `LocalFix`. New lesion is GGO or high opacity by its density; other lesion keeps its kind.

    Raises:
        BadInputError: arrays of different grids, no mark in the lungs, or one voxel marked as both.
    """
    for array in (probability, hu, lungs, lesion_seeds, other_seeds, locked):
        if array is not None and array.shape != labels.shape:
            raise BadInputError(
                "The marks or the scan do not lie on the voxels of the labels; segment again."
            )
    box = _box_around(lesion_seeds, other_seeds, spacing_mm, reach_mm)
    free = lungs[box] != 0
    if locked is not None:
        free &= ~locked[box]
    seeds = lesion_seeds[box] & free, other_seeds[box] & free
    if (seeds[0] & seeds[1]).any():
        raise BadInputError("Voxels are marked both as lesion and as no lesion; mark them anew.")
    if not (seeds[0].any() or seeds[1].any()):
        raise BadInputError("Nothing that may change is marked; click within the lungs.")
    lesion = is_lesion(labels[box])
    codes = None if probability is None else probability[box]
    region = _Region(hu[box], codes, spacing_mm, reach_mm)
    added = region.taken_as_lesion(free & ~lesion, *seeds)
    removed = region.taken_from_lesion(free & lesion, *seeds)
    result = labels.astype(np.uint8)
    _write(result, hu, spacing_mm, box, added, removed)
    return LocalFix(result, added | removed, box)


class _Region:
    """The box around the marks, and what is known of it on the working grid."""

    def __init__(
        self, hu: np.ndarray, codes: np.ndarray | None, spacing_mm: Spacing, reach_mm: float
    ) -> None:
        factor = max(1, round(WORKING_MM / min(spacing_mm[0], spacing_mm[1])))
        self._grid = _WorkingGrid(hu.shape, factor)
        self._spacing_mm = (spacing_mm[0] * factor, spacing_mm[1] * factor, spacing_mm[2])
        self._voxel_ml = float(np.prod(spacing_mm)) / 1000.0
        self._reach_mm = reach_mm
        self._hu = ndimage.gaussian_filter(self._grid.mean(hu), self._in_slice(0.7))
        self._log_odds = None
        if codes is not None:
            share = (self._grid.mean(codes) + 0.5) / 256.0
            self._log_odds = np.log(share / (1.0 - share))

    def taken_as_lesion(
        self, candidates: np.ndarray, lesion_seeds: np.ndarray, other_seeds: np.ndarray
    ) -> np.ndarray:
        """Return which of `candidates`, lung without lesion, become lesion; all bool."""
        if not lesion_seeds.any():
            return np.zeros_like(candidates)
        marks, lung = self._grid.any(lesion_seeds), self._grid.any(candidates)
        distance_mm = self._distance_mm(marks)
        near = (distance_mm <= LOOK_MM) & (lung | marks)
        hu = self._without_vessels(near)
        seen_hu = float(hu[near].mean())
        around = (lung | marks) & (distance_mm <= self._reach_mm)
        # All lung around may be lesion that was missed.
        around_hu = min(AERATED_HU, float(np.percentile(hu[around], 25)))
        contrast_hu = max(seen_hu - around_hu, 2 * CONTRAST_HU)
        alike = np.clip((hu - around_hu) / contrast_hu, 0.0, 1.0)
        alike *= self._as_probable(near, -1.0)
        return self._hanging_together(candidates, lesion_seeds, other_seeds, distance_mm, alike)

    def taken_from_lesion(
        self, candidates: np.ndarray, lesion_seeds: np.ndarray, other_seeds: np.ndarray
    ) -> np.ndarray:
        """Return which of `candidates`, lesion, become lung without lesion; all bool."""
        if not other_seeds.any():
            return np.zeros_like(candidates)
        marks, lesion = self._grid.any(other_seeds), self._grid.any(candidates)
        distance_mm = self._distance_mm(marks)
        near = (distance_mm <= LOOK_MM) & (lesion | marks)
        lesion = _touched(lesion | marks, marks, _NEIGHBOURS)
        alike = self._as_thin(lesion, near)
        if alike is None:
            alike = self._as_dense(lesion, near)
            if distance_mm[lesion].max() > WHOLE_SHARE * self._reach_mm:
                # Of a lesion that goes on a click takes a bite; others may go as a whole.
                alike *= _similarity(distance_mm, BITE_MM)
        alike *= self._as_probable(near, 1.0)
        return self._hanging_together(candidates, other_seeds, lesion_seeds, distance_mm, alike)

    def _hanging_together(
        self,
        candidates: np.ndarray,
        seeds: np.ndarray,
        stops: np.ndarray,
        distance_mm: np.ndarray,
        alike: np.ndarray,
    ) -> np.ndarray:
        """Smooth how far voxels belong to the seeds; return what then hangs together with them."""
        marks, inside = self._grid.any(seeds), self._grid.any(candidates | seeds)
        inside &= distance_mm < self._reach_mm
        stopped = self._grid.any(stops) & ~marks
        prior = alike * np.clip(1.0 - (distance_mm / self._reach_mm) ** 4, 0.0, 1.0)
        prior[marks], prior[stopped] = 1.0, 0.0
        field = random_walk(
            prior, inside, marks | stopped, self._hu, EDGE_HU, WALK_MM, self._spacing_mm
        )
        within_mm = self._reach_mm - max(self._spacing_mm[:2])
        candidates = candidates & ~stops & self._grid.fine(distance_mm <= within_mm)
        belongs = (candidates & (self._grid.interpolated(field, inside) > 0.5)) | seeds
        belongs = _touched(belongs, seeds, _NEIGHBOURS)
        belongs |= self._crumbs(candidates & ~belongs, belongs)
        return belongs & candidates

    def _crumbs(self, left: np.ndarray, belongs: np.ndarray) -> np.ndarray:
        """The small pieces of what is left over beside what belongs to the marks."""
        numbered, count = ndimage.label(left, structure=_FACES)
        small = np.bincount(numbered.ravel(), minlength=count + 1) * self._voxel_ml < CRUMB_ML
        small[0] = False
        return _touched(small[numbered] | belongs, belongs, _FACES)

    def _distance_mm(self, marks: np.ndarray) -> np.ndarray:
        return ndimage.distance_transform_edt(~marks, sampling=self._spacing_mm[::-1])

    def _without_vessels(self, near: np.ndarray) -> np.ndarray:
        """The density without what is thin and dense, unless just that was marked."""
        opened = ndimage.grey_opening(self._hu, self._widths(VESSEL_MM))
        is_thin = (self._hu - opened)[near].mean() > 2 * CONTRAST_HU
        return self._hu if is_thin else opened

    def _as_probable(self, near: np.ndarray, sign: float) -> np.ndarray | float:
        """How far voxels are as probable as the mark; `sign` is that of what speaks against it."""
        if self._log_odds is None:
            return 1.0
        differing = sign * (self._log_odds - self._log_odds[near].mean())
        return _similarity(np.maximum(differing, 0.0), SAME_LOG_ODDS)

    def _as_thin(self, lesion: np.ndarray, near: np.ndarray) -> np.ndarray | None:
        """How far lesion belongs to a mark on a thin part of it; None where it is not thin."""
        sampling = self._spacing_mm[::-1]
        # Lesion goes on beyond the box.
        depth_mm = ndimage.distance_transform_edt(lesion, sampling=sampling)
        radius_mm = THICKER_FACTOR * float(depth_mm[near].max()) + THICKER_MM
        core = depth_mm > radius_mm
        thick = np.zeros_like(core)
        if core.any():
            thick = ndimage.distance_transform_edt(~core, sampling=sampling) <= radius_mm
        if thick[near].any():
            return None
        # The blurred rim of a vessel goes with it.
        hu = ndimage.maximum_filter(np.where(lesion, self._hu, AIR_HU), self._widths(VESSEL_MM))
        alike = _similarity(hu - float(hu[near].mean()), SAME_HU)
        alike[thick] = 0.0
        return alike

    def _as_dense(self, lesion: np.ndarray, near: np.ndarray) -> np.ndarray:
        """How far lesion is as dense as the mark; or darker, too, where the mark is dark."""
        seen_hu = float(self._hu[near].mean())
        contrast_hu = float(np.median(self._hu[lesion])) - seen_hu
        difference_hu = self._hu - seen_hu
        if contrast_hu < 2 * CONTRAST_HU:
            return _similarity(difference_hu, SAME_HU)
        return _similarity(np.maximum(difference_hu, 0.0), 0.4 * contrast_hu)

    def _in_slice(self, width_mm: float) -> tuple[float, ...]:
        """A width in voxels of the working grid (z, y, x), none across slices."""
        return (0.0, width_mm / self._spacing_mm[1], width_mm / self._spacing_mm[0])

    def _widths(self, width_mm: float) -> tuple[int, ...]:
        """The same in whole odd voxels."""
        return tuple(2 * round(width / 2) + 1 for width in self._in_slice(width_mm))


class _WorkingGrid:
    """The box with voxels of a slice taken together, `factor` times `factor`."""

    def __init__(self, shape: tuple[int, ...], factor: int) -> None:
        self._shape = shape
        self._factor = factor
        self._padding = [(0, 0), *((0, -size % factor) for size in shape[1:])]

    def mean(self, image: np.ndarray) -> np.ndarray:
        return self._blocks(np.pad(image, self._padding, mode="edge")).mean(
            axis=(2, 4), dtype=np.float32
        )

    def any(self, mask: np.ndarray) -> np.ndarray:
        return np.asarray(self._blocks(np.pad(mask, self._padding)).any(axis=(2, 4)))

    def fine(self, mask: np.ndarray) -> np.ndarray:
        """A mask on the voxels of the box again."""
        fine = mask.repeat(self._factor, axis=1).repeat(self._factor, axis=2)
        return fine[:, : self._shape[1], : self._shape[2]]

    def interpolated(self, field: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """A field on the voxels of the box again, as if it went on outside."""
        if self._factor == 1:
            return field
        weight = self._zoomed(inside.astype(np.float64))
        total = self._zoomed(np.where(inside, field, 0.0))
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)

    def _zoomed(self, field: np.ndarray) -> np.ndarray:
        zoom = (1, self._factor, self._factor)
        fine = ndimage.zoom(field, zoom, order=1, mode="nearest", grid_mode=True)
        return fine[:, : self._shape[1], : self._shape[2]]

    def _blocks(self, padded: np.ndarray) -> np.ndarray:
        depth, rows, columns = padded.shape
        factor = self._factor
        return padded.reshape(depth, rows // factor, factor, columns // factor, factor)


def _box_around(
    lesion_seeds: np.ndarray, other_seeds: np.ndarray, spacing_mm: Spacing, reach_mm: float
) -> tuple[slice, ...]:
    """Slices around all marks, as far as anything may change."""
    planes = np.flatnonzero(lesion_seeds.any(axis=(1, 2)) | other_seeds.any(axis=(1, 2)))
    if not len(planes):
        return tuple(slice(0, 0) for _ in lesion_seeds.shape)
    depth = slice(int(planes[0]), int(planes[-1]) + 1)
    marks = np.asarray(lesion_seeds[depth].any(axis=0) | other_seeds[depth].any(axis=0))
    margins = [int(np.ceil(reach_mm / step_mm)) for step_mm in reversed(spacing_mm)]
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, size))
        for part, margin, size in zip(
            (depth, *bounding_box(marks)), margins, lesion_seeds.shape, strict=True
        )
    )


def _similarity(difference: np.ndarray, width: float) -> np.ndarray:
    """1 where there is no difference, 1/e where it is `width`."""
    return np.exp(-((difference / width) ** 2))


def _touched(mask: np.ndarray, seeds: np.ndarray, structure: np.ndarray) -> np.ndarray:
    """The connected parts of a mask that hold a seed."""
    numbered, count = ndimage.label(mask, structure=structure)
    held = np.zeros(count + 1, bool)
    held[numbered[seeds]] = True
    held[0] = False
    return held[numbered]


def _write(
    labels: np.ndarray,
    hu: np.ndarray,
    spacing_mm: Spacing,
    box: tuple[slice, ...],
    added: np.ndarray,
    removed: np.ndarray,
) -> None:
    """Change `labels` in place; new lesion gets its kind by density."""
    inside = labels[box]
    inside[removed] = NORMAL_LUNG.value
    inside[added] = GGO.value
    tell_added_apart(inside, hu[box], spacing_mm, added)
