"""The one rule that joins the lungs found by their air with those the network sees.

Where both agree on the large scale, the border found by HU on the scan's own grid stands. Where
they differ by a part that is thick and large, the network decides: lung without air is taken in,
and gas, chest wall or a pneumothorax that passed for lung is taken out. What is thinner than
`THICKNESS_MM` is a matter of borders, not of lungs, and left alone, but where it lies far from any
lung that the network sees: there it is no border. What is as dense as fat is never taken in, what
is as dense as aerated lung never taken out. Arrays are (z, y, x), upright.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from CovidLungQuantLib.anatomy.lung_network import (
    CELL_ML,
    GRID_MM,
    LUNG_CLASSES,
    onto_grid,
)
from CovidLungQuantLib.anatomy.morphology import bounding_box, dilate, erode
from CovidLungQuantLib.anatomy.threshold_lungs import BodyAndAir
from CovidLungQuantLib.labels import (
    AIRLESS_LUNG,
    LEFT_LUNG_VALUE,
    LEFT_OUT,
    RIGHT_LUNG_VALUE,
    SUSPECTED_LUNG,
)
from CovidLungQuantLib.progress import Poll, no_poll

Spacing = tuple[float, float, float]
Box = tuple[slice, ...]

CELL_MM = (GRID_MM, GRID_MM, GRID_MM)
# Differences thinner than this, or smaller than these volumes, are left to the border by HU.
THICKNESS_MM = 12.0
SMALLEST_ADDED_ML = 30.0
SMALLEST_REMOVED_ML = 5.0
# The network must be this sure, on average, of a part it takes in or out; of what it would take in
# with less it warns. Of a small part that it takes out it must be surer: bits of lungs with little
# tissue, cut by a coarse slice, pass for bare air.
SURE_SHARE = 0.8
SMALL_PART_ML = 50.0
SURE_OF_SMALL_SHARE = 0.9
SUSPECTED_SHARE = 0.65
# Thin parts are taken out where they are this far from what the network takes for lung, though it
# is only half sure there (thin edges of the lungs fill their cells in part only).
FAR_MM = 9.0
FAR_FROM_SHARE = 0.25
FAR_SURE_SHARE = 0.95
# No lung is as dense as fat, with air or without.
FAT_HU = (-140.0, -50.0)
# What is as dense as aerated lung is never taken out: only bare gas, up to so much denser than the
# air of the trachea, and tissue.
BARE_GAS_HU = 60.0
TISSUE_HU = -500.0
NOMINAL_AIR_HU = -1000.0
# A cell of bare gas is at most so much denser than the air of the trachea.
SAME_GAS_HU = 25.0
SAME_GAS_REACH_MM = 20.0
# Sheets up to this thick, this near to what is taken out, are its rim.
SLIVER_MM = 6.0
SLIVER_REACH_MM = 6.0


@dataclass(frozen=True, eq=False)
class JoinedLungs:
    """Lungs on which threshold and network agree.

    Attributes:
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE`.
        added: bool (z, y, x), lung that only the network saw.
        removed: uint8 (z, y, x), what only the threshold took for lung: the network's class + 1,
            so that `ELSEWHERE_CLASS` is not 0.
        suspected: uint8 (z, y, x), what may be lung but is not counted: `LEFT_LUNG_VALUE` and
            `RIGHT_LUNG_VALUE`.
    """

    lungs: np.ndarray
    added: np.ndarray
    removed: np.ndarray
    suspected: np.ndarray

    @property
    def decisions(self) -> np.ndarray | None:
        """Where the network differs, uint8, and what came of it; None where it does nowhere.

        Values of `labels.LUNG_DECISIONS`, or 0.
        """
        if not (self.added.any() or self.removed.any() or self.suspected.any()):
            return None
        decisions = np.zeros(self.lungs.shape, np.uint8)
        decisions[self.added] = AIRLESS_LUNG.value
        decisions[self.removed > 0] = LEFT_OUT.value
        decisions[self.suspected > 0] = SUSPECTED_LUNG.value
        return decisions


def join_lungs(
    hu: np.ndarray,
    found: BodyAndAir,
    shares: np.ndarray,
    spacing_mm: Spacing,
    poll: Poll = no_poll,
    coarse_hu: np.ndarray | None = None,
) -> JoinedLungs:
    """Join the lungs found by their air with those of the network.

    Nothing outside the body, no airway and no fat becomes lung.

    Args:
        hu: int16 Hounsfield units (z, y, x).
        found: body, airways and lungs of a scan.
        shares: from `lung_network.class_shares` of the same scan.
        spacing_mm: voxel size (x, y, z).
        poll: called between slices and steps; may raise `Cancelled`.
        coarse_hu: what `lung_network.onto_grid` makes of `hu`, where it is known.
    """
    lungs = found.lungs
    if coarse_hu is None:
        coarse_hu = onto_grid(hu, spacing_mm, poll).numpy()
    coarse = _Coarse(
        hu=coarse_hu,
        seen=shares[list(LUNG_CLASSES)].sum(axis=0),
        filled=onto_grid(lungs > 0, spacing_mm, poll).numpy(),
    )
    joined = lungs.copy()
    # Only boxes of these are written to: the rest of their memory is never there.
    added = np.zeros(lungs.shape, bool)
    suspected, removed = (np.zeros(lungs.shape, np.uint8) for _ in range(2))
    # In the body and not in the airways.
    allowed = onto_grid(found.body > found.airways, spacing_mm, poll).numpy() > 0.5
    more, perhaps = _parts_to_take_in(coarse, allowed)
    poll()
    sides = _sides(shares)
    if more.any():
        box, drawn = _on_scan(more, coarse.seen, lungs.shape, poll)
        drawn &= _free(found, box)
        added[box] = drawn
        joined[box][drawn] = _nearest_cells(sides, drawn, box, lungs.shape)
    if perhaps.any():
        box, drawn = _on_scan(perhaps, coarse.seen, lungs.shape, poll)
        drawn &= _free(found, box) & ~added[box]
        suspected[box][drawn] = _nearest_cells(sides, drawn, box, lungs.shape)
    less, no_lung = _parts_to_take_out(coarse, _air_hu(hu, found.airways))
    if less.any():
        room = _sliver_room(spacing_mm)
        box, drawn = _on_scan(less, no_lung, lungs.shape, poll, room)
        drawn &= lungs[box] > 0
        _add_slivers(drawn, joined[box], spacing_mm, poll)
        poll()
        others = _nearest_cells(_most_likely_other(shares), drawn, box, lungs.shape)
        removed[box][drawn] = others + 1
        joined[box][drawn] = 0
    return JoinedLungs(joined, added, removed, suspected)


def _free(found: BodyAndAir, box: Box) -> np.ndarray:
    """What of a box is in the body, and neither lung nor airway yet."""
    return (found.lungs[box] == 0) & (found.body[box] > found.airways[box])


@dataclass(frozen=True, eq=False)
class _Coarse:
    """On the grid of the network: HU, share of lung by the network, and by the threshold."""

    hu: np.ndarray
    seen: np.ndarray
    filled: np.ndarray


def _parts_to_take_in(coarse: _Coarse, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells of which the network is sure that they are lung, and those that it only suspects."""
    only_seen = (coarse.seen > 0.5) & (coarse.filled < 0.5) & allowed
    perhaps = _large_parts(only_seen, coarse.seen, SMALLEST_ADDED_ML, SUSPECTED_SHARE)
    perhaps = _without(perhaps, coarse.hu, FAT_HU)
    more = _large_parts(perhaps, coarse.seen, SMALLEST_ADDED_ML, SURE_SHARE)
    return more, perhaps & ~more


def _parts_to_take_out(coarse: _Coarse, air_hu: float) -> tuple[np.ndarray, np.ndarray]:
    """Cells that are no lung, and the share of each cell that is none."""
    no_lung = 1 - coarse.seen
    only_filled = (no_lung > 0.5) & (coarse.filled > 0.5)
    less = _large_parts(only_filled, no_lung, SMALLEST_REMOVED_ML, SURE_OF_SMALL_SHARE)
    less |= _large_parts(only_filled, no_lung, SMALL_PART_ML, SURE_SHARE)
    less |= _far_parts(coarse.filled, coarse.seen)
    less = _without(less, coarse.hu, (air_hu + BARE_GAS_HU, TISSUE_HU))
    gas = _same_gas(less, coarse.filled, coarse.hu < air_hu + SAME_GAS_HU)
    return less | gas, np.where(gas, np.float32(1.0), no_lung)


def _large_parts(
    differs: np.ndarray, sure: np.ndarray, smallest_ml: float, least_share: float
) -> np.ndarray:
    """Parts of a difference that are thick, large and of which the network is sure enough."""
    core = dilate(erode(differs, THICKNESS_MM / 2, CELL_MM), THICKNESS_MM / 2, CELL_MM) & differs
    parts, count = ndimage.label(core)
    if count == 0:
        return core
    sizes_ml = np.bincount(parts.ravel(), minlength=count + 1) * CELL_ML
    means = ndimage.mean(sure, parts, np.arange(count + 1))
    kept = (sizes_ml >= smallest_ml) & (means >= least_share)
    kept[0] = False
    return kept[parts]


def _air_hu(hu: np.ndarray, airways: np.ndarray) -> float:
    """What bare air has in this scan, by its trachea."""
    return float(np.median(hu[airways])) if airways.any() else NOMINAL_AIR_HU


def _without(parts: np.ndarray, coarse: np.ndarray, range_hu: tuple[float, float]) -> np.ndarray:
    """Parts but those of which most cells lie within a range of HU."""
    if not parts.any():
        return parts
    numbered, count = ndimage.label(parts)
    within = (coarse > range_hu[0]) & (coarse < range_hu[1])
    kept = ndimage.mean(within, numbered, np.arange(count + 1)) < 0.5
    kept[0] = False
    return kept[numbered]


def _far_parts(filled: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Parts of the lungs found by their air that are far from any lung the network sees."""
    near = seen > FAR_FROM_SHARE
    if not near.any():
        return np.zeros(filled.shape, bool)
    far = (filled > 0) & ~dilate(near, FAR_MM, CELL_MM)
    parts, count = ndimage.label(far)
    if count == 0:
        return far
    numbers = np.arange(count + 1)
    sizes_ml = ndimage.sum(filled, parts, numbers) * CELL_ML
    means = ndimage.mean(1 - seen, parts, numbers)
    kept = (sizes_ml >= SMALLEST_REMOVED_ML) & (means >= FAR_SURE_SHARE)
    kept[0] = False
    return kept[parts]


def _same_gas(parts: np.ndarray, filled: np.ndarray, black: np.ndarray) -> np.ndarray:
    """Black cells that are joined to gas that is taken out, and near it: the same gas.

    A pneumothorax is as black as the air of the trachea, without any vessel; lung is not.
    """
    gas = parts & black
    if not gas.any():
        return gas
    near = dilate(gas, SAME_GAS_REACH_MM, CELL_MM)
    joined, count = ndimage.label((black & near & (filled > 0.5)) | gas)
    touched = np.zeros(count + 1, bool)
    touched[joined[gas]] = True
    return touched[joined]


def _add_slivers(gone: np.ndarray, lungs: np.ndarray, spacing_mm: Spacing, poll: Poll) -> None:
    """Add to what is taken out, in place, thin sheets of lung left along it: its rim, not lung."""
    if not gone.any():
        return
    box = bounding_box(gone, _sliver_room(spacing_mm))
    left = (lungs[box] > 0) & ~gone[box]
    core = erode(left, SLIVER_MM / 2, spacing_mm)
    poll()
    thick = dilate(core, SLIVER_MM / 2, spacing_mm)
    poll()
    gone[box] |= left & ~thick & dilate(gone[box], SLIVER_REACH_MM, spacing_mm)


def _sliver_room(spacing_mm: Spacing) -> tuple[int, int, int]:
    """Voxels (z, y, x) around what is taken out, to look for its rim."""
    z, y, x = (int(np.ceil(2 * SLIVER_REACH_MM / size_mm)) for size_mm in reversed(spacing_mm))
    return z, y, x


def _on_scan(
    parts: np.ndarray,
    share: np.ndarray,
    shape: tuple[int, ...],
    poll: Poll,
    room: tuple[int, int, int] = (0, 0, 0),
) -> tuple[Box, np.ndarray]:
    """Parts of the grid on the voxels of the scan, with the border where `share` is a half.

    Args:
        parts: bool, cells of the grid; not all False.
        share: of the grid.
        shape: of the scan.
        poll: called between slices; may raise `Cancelled`.
        room: voxels more on all sides, as far as the scan goes.

    Returns:
        box of the scan in which they lie, and bool (z, y, x) in it.
    """
    reach = ndimage.binary_dilation(parts, np.ones((3, 3, 3)))
    soft = torch.from_numpy(np.where(reach, share, 0.0).astype(np.float32))
    box = bounding_box(reach, (1, 1, 1))
    inside = tuple(
        slice(
            max(0, part.start * size // cells - more),
            min(size, -(-part.stop * size // cells) + more),
        )
        for part, size, cells, more in zip(box, shape, parts.shape, room, strict=True)
    )
    result = np.zeros([part.stop - part.start for part in inside], bool)
    places = [
        (torch.arange(part.start, part.stop) + 0.5) / size * 2 - 1
        for part, size in zip(inside, shape, strict=True)
    ]
    for index, z in enumerate(places[0]):
        poll()
        plane = torch.stack(
            torch.broadcast_tensors(places[2][None, :], places[1][:, None], z), dim=-1
        )
        values = functional.grid_sample(
            soft[None, None], plane[None, None], padding_mode="border", align_corners=False
        )
        result[index] = values[0, 0, 0].numpy() > 0.5
    return inside, result


def _sides(shares: np.ndarray) -> np.ndarray:
    """The lung each cell more likely belongs to, uint8."""
    return np.where(
        shares[LEFT_LUNG_VALUE] > shares[RIGHT_LUNG_VALUE], LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
    ).astype(np.uint8)


def _most_likely_other(shares: np.ndarray) -> np.ndarray:
    """The class, other than lung, each cell most likely belongs to, uint8."""
    likeliest = np.zeros(shares.shape[1:], np.uint8)
    highest = np.full(shares.shape[1:], -1.0, np.float32)
    for network_class, share in enumerate(shares):
        if network_class not in LUNG_CLASSES:
            likeliest[share > highest] = network_class
            np.maximum(highest, share, out=highest)
    return likeliest


def _nearest_cells(
    cells: np.ndarray, where: np.ndarray, box: Box, shape: tuple[int, ...]
) -> np.ndarray:
    """Values of the cells in which the True voxels of a box of the scan lie, in their order."""
    places = np.nonzero(where)
    return cells[
        tuple(
            (place + part.start) * count // size
            for place, part, count, size in zip(places, box, cells.shape, shape, strict=True)
        )
    ]


def removed_ml(joined: JoinedLungs, network_class: int, spacing_mm: Spacing) -> float:
    """Millilitres taken out of the lungs for being of one class, such as `GAS_CLASS`."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    return float((joined.removed == network_class + 1).sum()) * voxel_ml
