"""The 20 regions of the CT severity score, from the lobes alone: an approximation.

Bronchopulmonary segments follow their bronchi, which end too early on most scans to be followed.
Here each lobe is cut by planes, by one rule for all scans:

- a voxel's place is counted from the centre of its lobe in standard deviations of the lobe's voxels
  along the three axes (outward, that is away from the mediastinum; backward; upward), so that
  neither size nor spacing matters;
- every segment has a direction in these coordinates, placed as anatomy has it (`_RULES`), and a
  voxel goes to the segment for which place · direction + offset is largest: the borders are planes
  at right angles to the difference of two directions;
- the offsets are those that give each segment its share of the lobe's volume, which is its share of
  the lobe's subsegments (B1a, B1b, …; 42 in all, as counted to predict lung function after
  resection, Nakahara et al. 1985).

Arrays are (z, y, x) and upright: x grows to the patient's Left, y to Posterior, z to Superior.
"""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.anatomy.morphology import boxes_of_values
from CovidLungQuantLib.labels import LOBES, LUNG_SEGMENTS, RIGHT_LUNG_VALUE, Lobe
from CovidLungQuantLib.progress import Poll, no_poll

# Direction (outward, backward, upward) and number of subsegments. The left apicoposterior segment
# has three, the left anteromedial basal two; each is split evenly.
_RULES: dict[str, tuple[tuple[float, float, float], float]] = {
    "RUL apical": ((0.0, 0.15, 1.0), 2),
    "RUL posterior": ((0.25, 1.0, -0.1), 2),
    "RUL anterior": ((0.1, -1.0, -0.3), 2),
    "RML lateral": ((1.0, 0.4, 0.1), 2),
    "RML medial": ((-1.0, -0.4, -0.1), 2),
    "RLL superior": ((0.0, 0.7, 1.0), 3),
    "RLL medial basal": ((-1.0, -0.2, -0.5), 2),
    "RLL anterior basal": ((0.3, -1.0, -0.4), 2),
    "RLL lateral basal": ((1.0, 0.15, -0.5), 2),
    "RLL posterior basal": ((-0.1, 1.0, -0.6), 3),
    "LUL apical": ((0.0, 0.2, 1.0), 1.5),
    "LUL posterior": ((0.15, 1.0, 0.15), 1.5),
    "LUL anterior": ((0.05, -0.8, 0.5), 3),
    "LUL superior lingular": ((0.2, -0.35, -0.4), 2),
    "LUL inferior lingular": ((0.0, -0.45, -1.1), 2),
    "LLL superior": ((0.0, 0.7, 1.0), 3),
    "LLL anterior basal": ((0.3, -1.0, -0.4), 1),
    "LLL medial basal": ((-1.0, -0.2, -0.5), 1),
    "LLL lateral basal": ((1.0, 0.15, -0.5), 2),
    "LLL posterior basal": ((-0.1, 1.0, -0.6), 3),
}
# Voxels of a lobe from which the offsets are found, and how close to its share a segment must come.
_SAMPLE_SIZE = 20000
_SHARE_TOLERANCE = 0.002
_MAX_SWEEPS = 100


def divide_into_segments(lobes: np.ndarray, poll: Poll = no_poll) -> np.ndarray:
    """Divide each lobe into its regions of the CT severity score, by the rule above.

    Args:
        lobes: uint8 (z, y, x), upright, values of `labels.LOBES`; 0 is no lobe.
        poll: called between slices; may raise `Cancelled`.

    Returns:
        uint8 (z, y, x), values of `labels.LUNG_SEGMENTS`; above 0 exactly where `lobes` is.
    """
    segments = np.zeros(lobes.shape, np.uint8)
    boxes = boxes_of_values(lobes, len(LOBES))
    for lobe in LOBES:
        box = boxes[lobe.value - 1]
        if box is not None:
            poll()
            _divide_lobe(lobes[box] == lobe.value, lobe, segments[box], poll)
    return segments


def _divide_lobe(inside: np.ndarray, lobe: Lobe, segments: np.ndarray, poll: Poll) -> None:
    """Write the segment values of one lobe into `segments`, an array of the lobe's box."""
    parts = [segment for segment in LUNG_SEGMENTS if segment.lobe is lobe]
    directions = np.array([_RULES[part.short_name][0] for part in parts])
    subsegments = np.array([_RULES[part.short_name][1] for part in parts])
    # (outward, backward, upward) → weights along the array's (z, y, x).
    outward_sign = -1.0 if lobe.lung_value == RIGHT_LUNG_VALUE else 1.0
    weights = directions[:, ::-1] * [1.0, 1.0, outward_sign]
    places = [_standardised(inside, axis) for axis in range(3)]
    scores = [np.outer(weights[:, axis], places[axis]).astype(np.float32) for axis in range(3)]

    flat = np.flatnonzero(inside)
    sample = np.unravel_index(flat[:: max(1, len(flat) // _SAMPLE_SIZE)], inside.shape)
    by_z, by_y, by_x = (score[:, index] for score, index in zip(scores, sample, strict=True))
    sampled = by_z + by_y + by_x
    offsets = _offsets_for_shares(sampled, subsegments / subsegments.sum())

    values = np.array([part.value for part in parts], np.uint8)
    for z, plane in enumerate(inside):
        poll()
        rows, columns = np.nonzero(plane)
        at_height = scores[0][:, z] + offsets
        score = scores[1][:, rows] + scores[2][:, columns] + at_height[:, np.newaxis]
        segments[z, rows, columns] = values[score.argmax(axis=0)]


def _standardised(inside: np.ndarray, axis: int) -> np.ndarray:
    """Position of each index of an axis, in standard deviations from the centre of the lobe."""
    others = tuple(other for other in range(3) if other != axis)
    counts = np.count_nonzero(inside, axis=others)
    index = np.arange(inside.shape[axis])
    mean = np.average(index, weights=counts)
    sd = np.sqrt(np.average((index - mean) ** 2, weights=counts))
    # A lobe one voxel wide has no spread along that axis, and nothing to divide there.
    return (index - mean) / (sd or 1.0)


def _offsets_for_shares(scores: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Offsets (segments,) with which each segment wins its share of the columns of `scores`.

    One segment after the other gets the offset that is right for it given the others, until all
    are; this climbs a concave function (that of optimal transport), so it cannot go astray.
    """
    offsets = np.zeros((len(shares), 1), np.float32)
    for _ in range(_MAX_SWEEPS):
        for part, share in enumerate(shares):
            rivals = np.delete(scores + offsets, part, axis=0).max(axis=0)
            offsets[part] = np.quantile(rivals - scores[part], share)
        won = (scores + offsets).argmax(axis=0)
        found = np.bincount(won, minlength=len(shares)) / scores.shape[1]
        if np.abs(found - shares).max() <= _SHARE_TOLERANCE:
            break
    return offsets[:, 0]
