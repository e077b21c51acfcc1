"""Painted lung without air and smeared diaphragms: where they lie, and what they leave alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from CovidLungQuantLib.labels import HIGH_OPACITY, LEFT_LUNG_VALUE, NORMAL_LUNG, RIGHT_LUNG_VALUE
from CovidLungQuantLib.training.shape_grid import ShapeGrid
from CovidLungQuantLib.training.synthetic_dense_lung import (
    DENSE_SHARE,
    paint_dense_lung,
    smear_lower_lungs,
)
from CovidLungQuantLib.training.synthetic_lesions import LesionRanges, paint_lesions

SPACING_MM = (2.0, 2.0, 3.0)
SHAPE = (40, 80, 100)


@pytest.fixture
def chest() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HU, lungs and airways."""
    hu = np.full(SHAPE, 40, np.int16)
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[4:36, 10:70, 8:45] = RIGHT_LUNG_VALUE
    lungs[4:36, 10:70, 55:92] = LEFT_LUNG_VALUE
    hu[lungs > 0] = -860
    airways = np.zeros(SHAPE, bool)
    airways[10:30, 38:42, 20:24] = True
    hu[airways] = -1000
    hu[10:30, 60:62, 60:64] = 90  # a vessel
    return hu, lungs, airways


def painted(chest, seed: int) -> tuple[np.ndarray, np.ndarray]:
    hu, lungs, airways = chest
    labels = np.where(lungs > 0, np.uint8(NORMAL_LUNG.value), np.uint8(0))
    random = np.random.default_rng(seed)
    return paint_dense_lung(hu, labels, lungs, airways, SPACING_MM, random)


@pytest.mark.parametrize("seed", range(12))
def test_dense_lung_is_high_opacity_as_dense_as_tissue(chest, seed):
    hu, lungs, airways = chest
    dense_hu, labels = painted(chest, seed)
    dense = labels == HIGH_OPACITY.value
    assert dense_hu.dtype == np.int16 and labels.dtype == np.uint8
    assert dense.any() and not dense[(lungs == 0) | airways].any()
    assert set(np.unique(labels)) <= {0, NORMAL_LUNG.value, HIGH_OPACITY.value}
    assert (dense_hu >= hu).all()
    np.testing.assert_array_equal(dense_hu[airways], hu[airways])
    beyond = ~ndimage.binary_dilation(lungs > 0)
    np.testing.assert_array_equal(dense_hu[beyond], hu[beyond])
    assert np.median(dense_hu[dense]) == pytest.approx(30, abs=60)
    assert (dense_hu[hu == 90] == 90).all()
    sides = [float((dense & (lungs == side)).sum() / (lungs == side).sum()) for side in (1, 2)]
    assert max(sides) > 0.98 or DENSE_SHARE[0] * 0.5 < max(sides) < 0.9


def test_every_kind_is_painted(chest):
    lungs = chest[1]
    at_back = at_base = whole = 0
    for seed in range(40):
        dense = painted(chest, seed)[1] == HIGH_OPACITY.value
        if any(dense[lungs == side].mean() > 0.98 for side in (1, 2)):
            whole += 1
            continue
        z, y, _ = (places.mean() for places in np.nonzero(dense))
        at_back += y > 45
        at_base += z < 15
    assert min(at_back, at_base, whole) >= 4


def test_the_same_seed_paints_the_same(chest):
    for first, second in zip(painted(chest, 5), painted(chest, 5), strict=True):
        assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_the_smear_stays_low_and_blurs_the_lower_edge(chest, seed):
    hu, lungs, _ = chest
    smeared = smear_lower_lungs(hu, lungs, SPACING_MM, np.random.default_rng(seed))
    np.testing.assert_array_equal(smeared[34:], hu[34:])
    column = smeared[:12, 30, 60]
    assert ((column > -800) & (column < 0)).any()
    assert (np.diff(column[2:].astype(int)) <= 0).all()


def test_chances_decide_what_is_painted_and_none_changes_nothing(chest):
    plain = paint_lesions(*chest, SPACING_MM, np.random.default_rng(1))
    same = paint_lesions(*chest, SPACING_MM, np.random.default_rng(1), LesionRanges())
    assert all(a.tobytes() == b.tobytes() for a, b in zip(plain, same, strict=True))
    dense = paint_lesions(
        *chest, SPACING_MM, np.random.default_rng(1), LesionRanges(dense_chance=1.0)
    )
    moved = paint_lesions(
        *chest, SPACING_MM, np.random.default_rng(1), LesionRanges(motion_chance=1.0)
    )
    high = HIGH_OPACITY.value
    assert (dense[1] == high).sum() > (plain[1] == high).sum() + 0.05 * (chest[1] > 0).sum()
    np.testing.assert_array_equal(moved[1], plain[1])
    assert not np.array_equal(moved[0], plain[0])


def test_the_shape_grid_covers_a_scan_of_any_size():
    grid = ShapeGrid.of((7, 11, 13), (1.5, 1.0, 1.0))
    assert (grid.steps, grid.shape) == ((3, 3, 2), (3, 4, 7))
    enlarged = grid.enlarged(np.full(grid.shape, 2.5, np.float32))
    assert enlarged.shape == (7, 11, 13) and (enlarged == 2.5).all()
