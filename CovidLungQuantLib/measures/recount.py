"""Counting a label map again after a correction, by looking at the changed voxels only.

A stroke changes thousands of voxels of some eighty million. Histograms and the table of machine
against corrected labels are kept and only the changed voxels are moved within them, so the numbers
are exactly those of counting anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import CLASS_COUNT, is_lung
from CovidLungQuantLib.measures.correction import Correction, StructureCorrection
from CovidLungQuantLib.measures.measurements import Measurements, measurements_from_histograms
from CovidLungQuantLib.measures.structures import STRUCTURES, structure_mask
from CovidLungQuantLib.measures.volumes import LabelHistograms, label_histograms

# Lung that is drawn takes its region from known lung this near, or twice as far, and so on.
_SEARCH_MARGIN_VOXELS = 10
# np.bincount makes eight bytes of each.
_VOXELS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class Recounted:
    """What a recount gives.

    Attributes:
        measurements: the table, as from `measures.measurements.measure_lungs`.
        correction: against the machine's label map; None where that is not known.
        changed_voxels: since the last count.
        lung_was_added: whether voxels became lung that were none when counting began. They count
            to the region of the nearest lung voxel, until the lungs are divided anew.
        lung_was_removed: whether voxels are no lung any more that were lung when counting began.
    """

    measurements: Measurements
    correction: Correction | None
    changed_voxels: int
    lung_was_added: bool
    lung_was_removed: bool


class RunningCount:
    """The counts of one scan, kept up to date with its label map."""

    def __init__(
        self,
        hu: np.ndarray,
        labels: np.ndarray,
        regions: np.ndarray,
        has_lobes: bool,
        spacing_mm: tuple[float, float, float],
        voxel_volume_ml: float,
        machine_labels: np.ndarray | None = None,
    ) -> None:
        """Count for the first time.

        Args:
            hu: int16 Hounsfield units, (z, y, x).
            labels: label map, (z, y, x); values as in `labels.py`.
            regions: uint8 (z, y, x), region of every voxel with a label: values of
                `labels.LUNG_SEGMENTS` if `has_lobes`, otherwise left or right lung.
            has_lobes: what `regions` holds.
            spacing_mm: (x, y, z).
            voxel_volume_ml: volume of one voxel.
            machine_labels: label map to compare with, (z, y, x); None compares with none.

        Raises:
            BadInputError: a label map cannot be measured; see `check_labels`.
        """
        check_labels(labels, hu.shape)
        if machine_labels is not None:
            check_labels(machine_labels, hu.shape)
        self._hu = hu
        self._labels = labels.astype(np.uint8)
        self._regions = regions.astype(np.uint8)
        self._was_lung_count = int(np.count_nonzero(labels))
        self._has_lobes = has_lobes
        self._spacing_mm = spacing_mm
        self._voxel_ml = voxel_volume_ml
        self._machine_labels = machine_labels
        histograms = label_histograms(hu, self._labels, self._regions)
        self._counts, self._lowest_hu = histograms.counts, histograms.lowest_hu
        self._pairs = None
        if machine_labels is not None:
            self._pairs = _pair_counts(machine_labels.reshape(-1), self._labels.reshape(-1))
        self._added = np.zeros(0, np.intp)

    def recount(self, labels: np.ndarray) -> Recounted:
        """Count a changed label map, (z, y, x) on the same grid.

        Raises:
            BadInputError: it cannot be measured; see `check_labels`.
        """
        check_labels(labels, self._hu.shape)
        changed = np.flatnonzero((labels != self._labels).reshape(-1))
        if len(changed):
            self._give_regions(changed, labels)
            before = self._labels.reshape(-1)[changed]
            after = labels.reshape(-1)[changed].astype(np.uint8)
            self._move(changed, before, after)
            self._labels.reshape(-1)[changed] = after
        return Recounted(
            measurements=measurements_from_histograms(
                LabelHistograms(self._counts, self._lowest_hu), self._voxel_ml, self._has_lobes
            ),
            correction=None
            if self._pairs is None
            else correction_from_pairs(self._pairs, self._voxel_ml),
            changed_voxels=len(changed),
            lung_was_added=self._added_lung_count() > 0,
            lung_was_removed=self._lung_count() - self._added_lung_count() < self._was_lung_count,
        )

    def _lung_count(self) -> int:
        return int(self._counts.sum())

    def _added_lung_count(self) -> int:
        return int(np.count_nonzero(self._labels.reshape(-1)[self._added]))

    def _give_regions(self, changed: np.ndarray, labels: np.ndarray) -> None:
        """Give new lung the region of the nearest lung; what was lung keeps its region for undo."""
        lung = is_lung(labels.reshape(-1)[changed])
        new = changed[lung & (self._regions.reshape(-1)[changed] == 0)]
        if len(new) == 0:
            return
        self._added = np.concatenate([self._added, new])
        positions = np.unravel_index(new, labels.shape)
        box, step = self._box_with_regions(positions)
        inside = tuple(
            (index - part.start) // step for index, part in zip(positions, box, strict=True)
        )
        nearest = _nearest_values(self._regions[box], tuple(step * mm for mm in self._spacing_mm))
        self._regions.reshape(-1)[new] = nearest[inside]

    def _box_with_regions(self, positions: tuple[np.ndarray, ...]) -> tuple[tuple[slice, ...], int]:
        """Slices around some voxels that hold known lung, and their step."""
        margin, step = _SEARCH_MARGIN_VOXELS, 1
        while True:
            box = tuple(
                slice(max(int(index.min()) - margin, 0), int(index.max()) + margin + 1, step)
                for index in positions
            )
            if margin >= max(self._regions.shape) or self._regions[box].any():
                return box, step
            # Far away a few voxels more or less hardly matter; nothing is missed in the end.
            margin *= 2
            is_far = margin < max(self._regions.shape)
            step = margin // (2 * _SEARCH_MARGIN_VOXELS) if is_far else 1

    def _move(self, changed: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        """Move the changed voxels within the counts."""
        regions = self._regions.reshape(-1)[changed]
        hu = self._hu.reshape(-1)[changed].astype(np.intp) - self._lowest_hu
        for labels, step in ((before, -1), (after, 1)):
            counted = is_lung(labels)
            cells = (regions[counted], labels[counted], hu[counted])
            np.add.at(self._counts, cells, step)
        if self._pairs is not None and self._machine_labels is not None:
            machine = self._machine_labels.reshape(-1)[changed]
            self._pairs += _pair_counts(machine, after) - _pair_counts(machine, before)


def correction_from_pairs(pairs: np.ndarray, voxel_volume_ml: float) -> Correction:
    """Return what `measures.correction.correction_of` says, from counts of pairs of labels.

    Args:
        pairs: int64 (machine's label, corrected label), number of voxels.
        voxel_volume_ml: volume of one voxel.
    """
    changed = int(pairs.sum() - np.trace(pairs))
    values = np.arange(CLASS_COUNT, dtype=np.uint8)
    structures = []
    for structure in STRUCTURES:
        belongs = structure_mask(values, structure)
        machine, corrected = int(pairs[belongs].sum()), int(pairs[:, belongs].sum())
        both = int(pairs[np.ix_(belongs, belongs)].sum())
        structures.append(
            StructureCorrection(
                structure,
                machine * voxel_volume_ml,
                corrected * voxel_volume_ml,
                2.0 * both / (machine + corrected) if corrected else float("nan"),
            )
        )
    return Correction(changed, changed * voxel_volume_ml, tuple(structures))


def _pair_counts(machine: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count pairs of labels of two flat label maps: int64 (machine's label, label)."""
    counts = np.zeros(CLASS_COUNT**2, np.int64)
    for first in range(0, len(labels), _VOXELS_AT_ONCE):
        chunk = slice(first, first + _VOXELS_AT_ONCE)
        codes = machine[chunk].astype(np.uint8) * np.uint8(CLASS_COUNT) + labels[chunk]
        counts += np.bincount(codes, minlength=CLASS_COUNT**2)
    return counts.reshape(CLASS_COUNT, CLASS_COUNT)


def _nearest_values(values: np.ndarray, spacing_mm: tuple[float, ...]) -> np.ndarray:
    """Fill the zeros of an array (z, y, x) with the nearest value."""
    from scipy.ndimage import distance_transform_edt

    _, indices = distance_transform_edt(values == 0, sampling=spacing_mm[::-1], return_indices=True)
    return values[tuple(indices)]
