"""Lesions painted into real lungs without any, so that few annotated cases teach more.

COVID-19 pneumonia as radiologists describe it: patches of ground-glass opacity near the pleura,
more at the back and the base, of uneven outline and soft edge, some with a denser core. Vessels
stay visible in ground glass and vanish in consolidation; open bronchi stay open in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.training.shape_grid import ShapeGrid, enlarged, soft_step
from CovidLungQuantLib.training.synthetic_dense_lung import paint_dense_lung, smear_lower_lungs


@dataclass(frozen=True)
class LesionRanges:
    """From what each lesion is drawn, evenly between the two numbers of a range.

    Attributes:
        count: lesions in a scan.
        radius_mm: half the size along the pleura.
        flatness: size across the pleura as share of that along it.
        depth_mm: distance from the pleura at which lesions become rare.
        edge_mm: width of the soft edge.
        roughness: how far smooth noise of `grain_mm` moves the outline, as share of the radius.
        ggo_hu: density of ground-glass opacity.
        unevenness: how much that density varies within a lesion, as SD of its share.
        core_chance: share of lesions with a core of consolidation.
        core_hu: density of the core.
        dense_chance: share of scans with lung without air besides.
        motion_chance: share of scans whose lower lungs are smeared by breathing.
    """

    count: tuple[int, int] = (1, 14)
    radius_mm: tuple[float, float] = (6.0, 40.0)
    flatness: tuple[float, float] = (0.35, 1.0)
    depth_mm: float = 14.0
    edge_mm: tuple[float, float] = (2.0, 7.0)
    roughness: tuple[float, float] = (0.2, 0.7)
    grain_mm: tuple[float, float] = (4.0, 12.0)
    ggo_hu: tuple[float, float] = (-720.0, -450.0)
    unevenness: tuple[float, float] = (0.05, 0.35)
    core_chance: float = 0.4
    core_hu: tuple[float, float] = (-150.0, 50.0)
    dense_chance: float = 0.0
    motion_chance: float = 0.0


def paint_lesions(
    hu: np.ndarray,
    lungs: np.ndarray,
    airways: np.ndarray,
    spacing_mm: tuple[float, float, float],
    random: np.random.Generator,
    ranges: LesionRanges | None = None,
    chances: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A diseased copy of a scan, and its labels.

    Args:
        hu: int16 (z, y, x), upright; lungs without lesions.
        lungs: uint8 (z, y, x), `LEFT_LUNG_VALUE` and `RIGHT_LUNG_VALUE` inside the lungs.
        airways: bool (z, y, x), left as they are.
        spacing_mm: voxel size (x, y, z).
        random: source of randomness.
        ranges: of the lesions.
        chances: float (z, y, x), how likely a lesion's centre is at each voxel, to any scale; None
            for near the pleura, at the back and at the base.

    Returns:
        int16 (z, y, x) and uint8 (z, y, x), values of `labels.py`.
    """
    ranges = ranges or LesionRanges()
    grid = ShapeGrid.of(hu.shape, spacing_mm)
    coarse_lungs = grid.reduced(lungs)
    depth_mm, inwards = _depth(coarse_lungs, grid.spacing_mm)
    if chances is None:
        chances = _placement(coarse_lungs, depth_mm, ranges)
    else:
        chances = grid.picked(chances)
        chances = chances / chances.sum()
    diseased = hu.astype(np.float32)
    labels = np.where(lungs > 0, NORMAL_LUNG.value, 0).astype(np.uint8)
    paintable = (lungs > 0) & ~airways
    for _ in range(random.integers(ranges.count[0], ranges.count[1] + 1)):
        centre = np.unravel_index(random.choice(chances.size, p=chances.ravel()), chances.shape)
        z, y, x = centre
        field, edge = _lesion_field(
            coarse_lungs.shape, centre, inwards[:, z, y, x], grid.spacing_mm, random, ranges
        )
        _paint(diseased, labels, field, edge, grid.steps, paintable, random, ranges)
    hu = np.rint(diseased).astype(np.int16)
    if ranges.dense_chance and random.random() < ranges.dense_chance:
        hu, labels = paint_dense_lung(hu, labels, lungs, airways, spacing_mm, random)
    if ranges.motion_chance and random.random() < ranges.motion_chance:
        hu = smear_lower_lungs(hu, lungs, spacing_mm, random)
    return hu, labels


def _depth(lungs: np.ndarray, grid_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the lung's border in mm, and the unit vector (3, z, y, x) away from it."""
    depth_mm = ndimage.distance_transform_edt(np.pad(lungs, 1), sampling=grid_mm)[1:-1, 1:-1, 1:-1]
    smooth = ndimage.gaussian_filter(depth_mm, 6.0 / grid_mm)
    gradient = np.stack(np.gradient(smooth, *grid_mm))
    return depth_mm, gradient / np.maximum(np.linalg.norm(gradient, axis=0), 1e-6)


def _placement(lungs: np.ndarray, depth_mm: np.ndarray, ranges: LesionRanges) -> np.ndarray:
    """Chance of a lesion's centre at each voxel: near the pleura, at the back and at the base."""
    occupied = [np.flatnonzero(lungs.any(axis=axes)) for axes in ((1, 2), (0, 2))]
    low, high = (float(index) for index in occupied[0][[0, -1]])
    front, back = (float(index) for index in occupied[1][[0, -1]])
    z, y, _ = np.ogrid[: lungs.shape[0], : lungs.shape[1], :1]
    basal = 1.0 - (z - low) / max(1.0, high - low)
    dorsal = (y - front) / max(1.0, back - front)
    chances = lungs * np.exp(-depth_mm / ranges.depth_mm) * (0.3 + basal) * (0.3 + dorsal)
    chances = np.clip(chances, 0.0, None)
    return chances / chances.sum()


def _lesion_field(
    shape: tuple[int, ...],
    centre: tuple[np.intp, ...],
    inwards: np.ndarray,
    grid_mm: np.ndarray,
    random: np.random.Generator,
    ranges: LesionRanges,
) -> tuple[np.ndarray, float]:
    """Depth inside the lesion in units of its radius (negative outside), and its edge likewise."""
    radius_mm = random.uniform(*ranges.radius_mm)
    across_mm = radius_mm * random.uniform(*ranges.flatness)
    offsets = [
        ((np.arange(size) - position) * step).reshape([-1 if axis == i else 1 for i in range(3)])
        for axis, (size, position, step) in enumerate(zip(shape, centre, grid_mm, strict=True))
    ]
    along_normal = sum(offset * part for offset, part in zip(offsets, inwards, strict=True))
    squared = sum(offset**2 for offset in offsets)
    radius = np.sqrt(
        np.maximum(squared - along_normal**2, 0) / radius_mm**2 + along_normal**2 / across_mm**2
    )
    grain = random.uniform(*ranges.grain_mm) / grid_mm
    noise = ndimage.gaussian_filter(random.standard_normal(shape), grain)
    noise *= random.uniform(*ranges.roughness) / max(float(noise.std()), 1e-9)
    return (1.0 - radius + noise * (radius < 2.0)).astype(np.float32), float(
        random.uniform(*ranges.edge_mm) / radius_mm
    )


def _paint(
    diseased: np.ndarray,
    labels: np.ndarray,
    field: np.ndarray,
    edge: float,
    steps: tuple[int, int, int],
    paintable: np.ndarray,
    random: np.random.Generator,
    ranges: LesionRanges,
) -> None:
    """Add one lesion to the scan and its labels, in place, inside the lesion's box only."""
    inside = np.argwhere(field > -4.0 * edge)
    if len(inside) == 0:
        return
    box = tuple(
        slice(int(first), int(last) + 2)
        for first, last in zip(inside.min(axis=0), inside.max(axis=0), strict=True)
    )
    fine_box = tuple(
        slice(part.start * step, min(part.stop * step, size))
        for part, step, size in zip(box, steps, diseased.shape, strict=True)
    )
    fine = enlarged(field[box], steps, tuple(part.stop - part.start for part in fine_box))
    fine_box = tuple(
        slice(part.start, part.start + size)
        for part, size in zip(fine_box, fine.shape, strict=True)
    )
    open_lung = paintable[fine_box]
    scan, map_part = diseased[fine_box], labels[fine_box]
    ggo_hu = random.uniform(*ranges.ggo_hu)
    haze = (
        soft_step(fine / edge) * open_lung * _texture(field[box].shape, steps, fine, random, ranges)
    )
    # Ground glass adds to what is there: vessels, denser than it, stay visible.
    scan += haze * np.maximum(ggo_hu - scan, 0.15 * (ggo_hu + 850.0)) * (scan < 0)
    map_part[(fine > 0.0) & open_lung & (map_part == NORMAL_LUNG.value)] = GGO.value
    if random.random() < ranges.core_chance:
        core = soft_step((fine - random.uniform(0.2, 0.6)) / edge) * open_lung
        scan += core * (random.uniform(*ranges.core_hu) - scan)
        map_part[core > 0.5] = HIGH_OPACITY.value


def _texture(
    shape: tuple[int, ...],
    steps: tuple[int, int, int],
    fine: np.ndarray,
    random: np.random.Generator,
    ranges: LesionRanges,
) -> np.ndarray:
    """How dense the haze is from place to place, about 1; on the fine grid of the box."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape), random.uniform(0.6, 2.0))
    noise *= random.uniform(*ranges.unevenness) / max(float(noise.std()), 1e-9)
    return np.clip(1.0 + enlarged(noise, steps, fine.shape), 0.3, 1.5).astype(np.float32)
