"""A synthetic chest CT whose lesions are known voxel by voxel: for the demo and for exact tests.

It is drawn from simple solids in patient millimetres (x to the Left, y to Posterior, z to Superior;
x = y = 0 in the middle of the image, z = 0 at its lowest slice), then blurred and given noise.
It looks like a chest, but it is no measure of how well a method works on patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from CovidLungQuantLib.ct import CTVolume, Geometry
from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    LEFT_LUNG_VALUE,
    NORMAL_LUNG,
    RIGHT_LUNG_VALUE,
)

DEFAULT_SHAPE = (100, 256, 256)
DEFAULT_SPACING_MM = (1.4, 1.4, 3.0)

OUTSIDE_HU = -1000.0
AIRWAY_HU = -990.0
LUNG_HU = -850.0
FAT_HU = -105.0
MUSCLE_HU = 50.0
BLOOD_HU = 42.0
LIVER_HU = 60.0
BONE_HU = 320.0
DISC_HU = 90.0
TABLE_HU = -150.0
GGO_RANGE_HU = (-650.0, -450.0)
CONSOLIDATION_HU = 20.0

VESSEL_TRUNKS = 10
SMALLEST_VESSEL_MM = 0.9

NOISE_HU = 16.0
BLUR_MM = 0.9

APEX_MM = 272.0
CARINA_MM = 172.0
HILUM_MM = {RIGHT_LUNG_VALUE: (-36.0, 12.0, 146.0), LEFT_LUNG_VALUE: (38.0, 12.0, 146.0)}
SIDE_SIGN = {RIGHT_LUNG_VALUE: -1.0, LEFT_LUNG_VALUE: 1.0}


@dataclass(frozen=True, eq=False)
class PhantomCase:
    """A synthetic scan and its truth, arrays (z, y, x).

    Attributes:
        ct: int16 HU and geometry (axes along LPS).
        labels: uint8, 0 background, 1 normal lung, 2 GGO, 3 high opacity.
        lungs: uint8, left and right lung, lesions and vessels included.
    """

    ct: CTVolume
    labels: np.ndarray
    lungs: np.ndarray


@dataclass(frozen=True, eq=False)
class _Grid:
    """Open coordinate arrays in mm, to be broadcast to (z, y, x)."""

    z: np.ndarray
    y: np.ndarray
    x: np.ndarray
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


def chest_phantom(
    shape: tuple[int, int, int] = DEFAULT_SHAPE,
    spacing_mm: tuple[float, float, float] = DEFAULT_SPACING_MM,
    seed: int = 0,
    ggo_count: int = 5,
    consolidation: bool = True,
) -> PhantomCase:
    """Draw a chest CT with subpleural GGO and one consolidation; the same seed, the same bytes.

    Args:
        shape: (z, y, x). The chest is about 340 × 240 × 290 mm; a smaller field of view cuts it.
        spacing_mm: voxel size (x, y, z).
        seed: of vessels, lesions and noise.
        ggo_count: how many patches of GGO.
        consolidation: whether there is one.
    """
    random = np.random.default_rng(seed)
    grid = _make_grid(shape, spacing_mm)
    cage = _cage_radius(grid)
    hu = _draw_trunk(grid, cage)
    airways, walls = _draw_airways(grid)
    lungs = _draw_lungs(grid, cage, walls)
    hu[lungs > 0] = LUNG_HU
    hu += _lung_texture(random, grid) * (lungs > 0)
    labels = np.where(lungs > 0, np.uint8(NORMAL_LUNG.value), np.uint8(0))
    _add_vessels(hu, lungs, grid, random)
    _add_lesions(hu, labels, lungs, grid, random, ggo_count, consolidation)
    hu[walls & (lungs == 0)] = MUSCLE_HU
    hu[airways] = AIRWAY_HU
    hu = _scan(hu, grid, random)
    depth, height, width = shape
    x_mm, y_mm, z_mm = spacing_mm
    origin_mm = (-(width - 1) / 2 * x_mm, -(height - 1) / 2 * y_mm, 0.0)
    geometry = Geometry((depth, height, width), (x_mm, y_mm, z_mm), origin_mm, np.eye(3))
    return PhantomCase(CTVolume(hu, geometry, "synthetic chest"), labels, lungs)


def _make_grid(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> _Grid:
    depth, height, width = shape
    z = np.arange(depth, dtype=np.float32)[:, None, None] * spacing_mm[2]
    y = (np.arange(height, dtype=np.float32)[None, :, None] - (height - 1) / 2) * spacing_mm[1]
    x = (np.arange(width, dtype=np.float32)[None, None, :] - (width - 1) / 2) * spacing_mm[0]
    return _Grid(
        z.astype(np.float32), y.astype(np.float32), x.astype(np.float32), shape, spacing_mm
    )


def _cage_radius(grid: _Grid) -> np.ndarray:
    """Distance from the axis of the rib cage as a share of its inner radius: 1 is the pleura."""
    rise = np.clip((grid.z - 95.0) / (APEX_MM - 95.0), 0.0, 1.0)
    narrowing = np.sqrt(np.clip(1.0 - rise**2.6, 1e-4, 1.0))
    across = np.abs(grid.x) / (128.0 * narrowing)
    along = np.abs(grid.y - 2.0) / (88.0 * (0.35 + 0.65 * narrowing))
    return ((across**2.3 + along**2.3) ** np.float32(1 / 2.3)).astype(np.float32)


def _draw_trunk(grid: _Grid, cage: np.ndarray) -> np.ndarray:
    """Everything but the lungs and airways, HU as float32."""
    x, y, z = grid.x, grid.y, grid.z
    hu = np.full(grid.shape, OUTSIDE_HU, np.float32)
    shoulders = 12.0 * np.clip((z - 200.0) / 60.0, 0.0, 1.0)
    skin = (np.abs(x) / (166.0 + shoulders)) ** 2.5 + (np.abs(y) / (116.0 - shoulders)) ** 2.5
    _paint(hu, skin <= 1.0, FAT_HU)
    muscle = (np.abs(x) / (152.0 + shoulders)) ** 2.5 + (np.abs(y) / (104.0 - shoulders)) ** 2.5
    _paint(hu, muscle <= 1.0, MUSCLE_HU)
    _paint(hu, (cage <= 1.0) & (z < 150.0), LIVER_HU)
    mediastinum = (cage <= 1.0) & (z >= 60.0)
    _paint(hu, mediastinum, FAT_HU)
    _paint(hu, _ellipsoid(grid, (60.0, -45.0, 24.0), (46.0, 34.0, 26.0)), MUSCLE_HU)
    _paint(hu, _ellipsoid(grid, (60.0, -62.0, 24.0), (30.0, 12.0, 16.0)), AIRWAY_HU)
    _paint(hu, _ellipsoid(grid, (16.0, -22.0, 108.0), (60.0, 50.0, 56.0)), BLOOD_HU)
    _paint(hu, ((x - 24.0) ** 2 + (y - 42.0) ** 2 <= 12.0**2) & (z < 190.0), BLOOD_HU)
    _paint(hu, ((x + 8.0) ** 2 + (y + 22.0) ** 2 <= 16.0**2) & (z >= 120.0) & (z < 200.0), BLOOD_HU)
    arch = (np.hypot(y - 10.0, z - 185.0) - 32.0) ** 2 + (x - 10.0 - 0.4 * y) ** 2 <= 12.0**2
    _paint(hu, arch & (z > 185.0), BLOOD_HU)
    _draw_bones(hu, grid, cage)
    _draw_table(hu, grid)
    return hu


def _draw_bones(hu: np.ndarray, grid: _Grid, cage: np.ndarray) -> None:
    x, y, z = grid.x, grid.y, grid.z
    # Ribs run down towards the front; 26 mm from one to the next.
    phase = np.abs((z - 0.35 * y + 500.0) % 26.0 - 13.0)
    ribs = (cage > 1.02) & (cage < 1.085) & (phase < 5.0) & (z < APEX_MM + 8.0)
    _paint(hu, ribs & (np.abs(x) > 14.0), BONE_HU)
    sternum = (np.abs(x) < 18.0) & (cage > 1.01) & (cage < 1.11) & (y < 0.0)
    _paint(hu, sternum & (z > 95.0) & (z < 235.0), BONE_HU * 0.8)
    vertebra = np.hypot(x, (y - 68.0) * 1.15) <= 19.0
    disc = z % 27.0 < 5.0
    _paint(hu, vertebra & ~disc, BONE_HU * 0.7)
    _paint(hu, vertebra & disc, DISC_HU)
    _paint(hu, (np.hypot(x, y - 89.0) <= 12.0) & (np.hypot(x, y - 89.0) > 8.0), BONE_HU)
    _paint(hu, np.hypot(x, y - 89.0) <= 8.0, 25.0)


def _draw_table(hu: np.ndarray, grid: _Grid) -> None:
    x, y = grid.x, grid.y
    for below_mm, thickness_mm in ((121.0, 3.0), (146.0, 3.0)):
        surface = below_mm - 0.0006 * x**2
        plate = (y >= surface) & (y < surface + thickness_mm) & (np.abs(x) < 170.0)
        _paint(hu, plate & (hu < -500.0), TABLE_HU)


def _paint(hu: np.ndarray, where: np.ndarray, value_hu: float) -> None:
    hu[np.broadcast_to(where, hu.shape)] = value_hu


def _draw_airways(grid: _Grid) -> tuple[np.ndarray, np.ndarray]:
    """Lumen, and lumen with wall, of the trachea and the main bronchi, bool."""
    carina = (0.0, 14.0, CARINA_MM)
    top = (0.0, 6.0, max(CARINA_MM, float(grid.z.max())) + 20.0)
    lumen = np.zeros(grid.shape, bool)
    walls = np.zeros(grid.shape, bool)
    tubes = [(top, carina, 9.0)]
    tubes += [(carina, end, 6.5) for end in HILUM_MM.values()]
    for start, end, radius_mm in tubes:
        for mask, wall_mm in ((lumen, 0.0), (walls, 2.2)):
            box, distance_mm = _distance_to_segment(grid, start, end, radius_mm + wall_mm)
            mask[box] |= distance_mm <= radius_mm + wall_mm
    return lumen, walls


def _draw_lungs(grid: _Grid, cage: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """Both lungs as uint8 side values."""
    x, y, z = grid.x, grid.y, grid.z
    lungs = np.zeros(grid.shape, np.uint8)
    # Half the width of the mediastinum: a thin line behind the sternum, wide before the spine.
    middle = np.interp(
        y, [-90.0, -70.0, -35.0, 20.0, 50.0, 80.0], [3.0, 3.0, 22.0, 25.0, 24.0, 22.0]
    )
    heart = _ellipsoid(grid, (16.0, -22.0, 108.0), (64.0, 54.0, 60.0))
    aorta = ((x - 24.0) ** 2 + (y - 42.0) ** 2 <= 14.0**2) & (z < 190.0)
    spine = np.hypot(x, (y - 68.0) * 1.1) <= 23.0
    chest = (
        (cage < 0.985) & (np.abs(x) > middle) & (z < APEX_MM) & ~heart & ~aorta & ~spine & ~walls
    )
    for side, top_mm in ((RIGHT_LUNG_VALUE, 84.0), (LEFT_LUNG_VALUE, 74.0)):
        off = ((x - SIDE_SIGN[side] * 66.0) / 66.0) ** 2 + ((y + 12.0) / 92.0) ** 2
        dome = np.maximum(top_mm - 42.0 * off, 18.0)
        lungs[chest & (x * SIDE_SIGN[side] > 0) & (z > dome)] = side
    return lungs


def _lung_texture(random: np.random.Generator, grid: _Grid) -> np.ndarray:
    """Slow differences of aeration, denser to the back, HU."""
    coarse = random.normal(0.0, 1.0, tuple(max(2, size // 16) for size in grid.shape))
    factors = [size / part for size, part in zip(grid.shape, coarse.shape, strict=True)]
    texture = ndimage.zoom(
        coarse.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest"
    )
    return 14.0 * texture + 0.28 * grid.y


def _add_vessels(
    hu: np.ndarray, lungs: np.ndarray, grid: _Grid, random: np.random.Generator
) -> None:
    """A branching tree from each hilum; vessels stay inside their lung."""
    for side, hilum in HILUM_MM.items():
        outward = np.array([SIDE_SIGN[side], 0.0, 0.0])
        branches = [
            (np.array(hilum), _unit(outward + random.normal(0.0, 1.0, 3)), 4.2, 34.0)
            for _ in range(VESSEL_TRUNKS)
        ]
        while branches:
            start, direction, radius_mm, length_mm = branches.pop()
            end = start + direction * length_mm
            box, distance_mm = _distance_to_segment(grid, start, end, radius_mm + 1.5)
            if distance_mm.size:
                share = np.clip((radius_mm - distance_mm) / 1.4 + 0.5, 0.0, 1.0)
                share *= lungs[box] == side
                hu[box] += share * (BLOOD_HU - hu[box])
            if radius_mm > SMALLEST_VESSEL_MM and _holds(lungs, grid, end):
                for turn in (-1.0, 1.0):
                    bend = _unit(np.cross(direction, random.normal(0.0, 1.0, 3)))
                    branches.append(
                        (
                            end,
                            _unit(direction + turn * 0.65 * bend),
                            radius_mm * 0.78,
                            length_mm * 0.82,
                        )
                    )


def _add_lesions(
    hu: np.ndarray,
    labels: np.ndarray,
    lungs: np.ndarray,
    grid: _Grid,
    random: np.random.Generator,
    ggo_count: int,
    consolidation: bool,
) -> None:
    """Subpleural lesions with soft, uneven edges; a voxel is lesion where the lesion fills half."""
    depth_mm = ndimage.distance_transform_edt(lungs > 0, sampling=tuple(reversed(grid.spacing_mm)))
    low_back = (grid.y > -20.0) & (grid.z < 200.0) & (np.abs(grid.x) > 45.0)
    pleura = np.argwhere((depth_mm > 3.0) & (depth_mm < 8.0) & low_back)
    if not pleura.size:
        return
    kinds = [GGO] * ggo_count + ([HIGH_OPACITY] if consolidation else [])
    for kind in kinds:
        z, y, x = pleura[random.integers(len(pleura))]
        centre = (float(grid.x[0, 0, x]), float(grid.y[0, y, 0]), float(grid.z[z, 0, 0]))
        size_mm = 30.0 if kind is GGO else 22.0
        radii_mm = tuple(random.uniform(0.7, 1.15, 3) * size_mm)
        box, share = _soft_blob(grid, centre, radii_mm, random)
        share *= lungs[box] > 0
        # Never thinned by a later lesion: consolidation is drawn last and wins over GGO.
        value_hu = random.uniform(*GGO_RANGE_HU) if kind is GGO else CONSOLIDATION_HU
        lifted = np.maximum(hu[box], value_hu + random.normal(0.0, 12.0, share.shape))
        hu[box] += share * (lifted - hu[box])
        labels[box][share > 0.5] = kind.value


def _soft_blob(
    grid: _Grid,
    centre: tuple[float, float, float],
    radii_mm: tuple[float, float, float],
    random: np.random.Generator,
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Box and share 0…1 of an ellipsoid with an uneven edge about 4 mm wide."""
    box = _box(
        grid,
        np.array(centre) - np.array(radii_mm) * 1.6,
        np.array(centre) + np.array(radii_mm) * 1.6,
    )
    z, y, x = grid.z[box[0]], grid.y[:, box[1]], grid.x[:, :, box[2]]
    radius = np.sqrt(
        ((x - centre[0]) / radii_mm[0]) ** 2
        + ((y - centre[1]) / radii_mm[1]) ** 2
        + ((z - centre[2]) / radii_mm[2]) ** 2
    )
    sigma = [6.0 / step for step in reversed(grid.spacing_mm)]
    bumps = ndimage.gaussian_filter(random.normal(0.0, 1.0, radius.shape), sigma)
    bumps *= 0.16 / max(float(bumps.std()), 1e-6)
    inside_mm = (1.0 - radius - bumps) * min(radii_mm)
    return box, 1.0 / (1.0 + np.exp(-np.clip(inside_mm / 1.2, -30.0, 30.0)))


def _scan(hu: np.ndarray, grid: _Grid, random: np.random.Generator) -> np.ndarray:
    """Blur of the scanner, then noise correlated in-plane as after reconstruction; int16."""
    x_mm, y_mm, _ = grid.spacing_mm
    blurred = ndimage.gaussian_filter(hu, (0.0, BLUR_MM / y_mm, BLUR_MM / x_mm))
    noise = ndimage.gaussian_filter(
        random.standard_normal(grid.shape, dtype=np.float32), (0.0, 1.0 / y_mm, 1.0 / x_mm)
    )
    noise *= NOISE_HU / float(noise.std())
    return np.clip(np.rint(blurred + noise), -1024, 3071).astype(np.int16)


def _ellipsoid(
    grid: _Grid, centre: tuple[float, float, float], radii_mm: tuple[float, float, float]
) -> np.ndarray:
    return (
        ((grid.x - centre[0]) / radii_mm[0]) ** 2
        + ((grid.y - centre[1]) / radii_mm[1]) ** 2
        + ((grid.z - centre[2]) / radii_mm[2]) ** 2
    ) <= 1.0


def _distance_to_segment(
    grid: _Grid, start_mm: ArrayLike, end_mm: ArrayLike, reach_mm: float
) -> tuple[tuple[slice, ...], np.ndarray]:
    """Box around a segment (x, y, z in mm) and the distance of its voxels to it."""
    start, end = np.asarray(start_mm, float), np.asarray(end_mm, float)
    box = _box(grid, np.minimum(start, end) - reach_mm, np.maximum(start, end) + reach_mm)
    x, y, z = grid.x[:, :, box[2]], grid.y[:, box[1]], grid.z[box[0]]
    along = end - start
    share = (
        (x - start[0]) * along[0] + (y - start[1]) * along[1] + (z - start[2]) * along[2]
    ) / float(along @ along)
    share = np.clip(share, 0.0, 1.0)
    distance_mm = np.sqrt(
        (x - start[0] - share * along[0]) ** 2
        + (y - start[1] - share * along[1]) ** 2
        + (z - start[2] - share * along[2]) ** 2
    )
    return box, distance_mm


def _box(grid: _Grid, low_mm: np.ndarray, high_mm: np.ndarray) -> tuple[slice, ...]:
    """Slices (z, y, x) of the voxels between two corners (x, y, z)."""
    slices = []
    for axis, values in enumerate((grid.x.ravel(), grid.y.ravel(), grid.z.ravel())):
        first = int(np.searchsorted(values, low_mm[axis]))
        last = int(np.searchsorted(values, high_mm[axis], side="right"))
        slices.append(slice(first, max(first, last)))
    return tuple(reversed(slices))


def _holds(mask: np.ndarray, grid: _Grid, point_mm: np.ndarray) -> bool:
    """Whether there is any `mask` within 6 mm of a point (x, y, z)."""
    return bool(mask[_box(grid, point_mm - 6.0, point_mm + 6.0)].any())


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
