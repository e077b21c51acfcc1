"""Lesions one by one."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    LEFT_LOWER_LOBE,
    NORMAL_LUNG,
    RIGHT_UPPER_LOBE,
)
from CovidLungQuantLib.measures.lesion_islands import lesion_islands

VOXEL_ML = 0.01


def test_islands_come_largest_first_with_volume_place_box_and_lobe():
    labels = np.full((20, 30, 30), NORMAL_LUNG.value, np.uint8)
    lobes = np.full(labels.shape, RIGHT_UPPER_LOBE.value, np.uint8)
    lobes[:, :, 15:] = LEFT_LOWER_LOBE.value
    labels[2:4, 2:5, 2:5] = GGO.value
    labels[10:15, 20:25, 20:25] = GGO.value
    labels[12, 18:27, 18:27] = HIGH_OPACITY.value
    large, small = lesion_islands(labels, VOXEL_ML, lobes)
    assert large.volume_ml == pytest.approx((4 * 25 + 81) * VOXEL_ML)
    # In the slice where it is largest, in the middle.
    assert large.place == (12, 22, 22)
    assert large.box == (slice(10, 15), slice(18, 27), slice(18, 27))
    assert large.lobe is LEFT_LOWER_LOBE
    assert small.volume_ml == pytest.approx(18 * VOXEL_ML)
    assert small.place == (2, 3, 3)
    assert small.box == (slice(2, 4), slice(2, 5), slice(2, 5))
    assert small.lobe is RIGHT_UPPER_LOBE


def test_kinds_that_touch_at_a_corner_are_one_lesion():
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[0:3, 0:3, 0:3] = GGO.value
    labels[3:6, 3:6, 3:6] = HIGH_OPACITY.value
    (island,) = lesion_islands(labels, VOXEL_ML)
    assert island.volume_ml == pytest.approx(54 * VOXEL_ML)
    assert island.lobe is None


def test_the_place_lies_in_the_lesion_also_where_its_middle_does_not():
    labels = np.zeros((1, 11, 11), np.uint8)
    labels[0] = GGO.value
    labels[0, 2:9, 2:9] = NORMAL_LUNG.value
    (island,) = lesion_islands(labels, VOXEL_ML)
    assert labels[island.place] == GGO.value


def test_specks_and_healthy_lungs_have_no_islands():
    labels = np.full((5, 5, 5), NORMAL_LUNG.value, np.uint8)
    assert lesion_islands(labels, VOXEL_ML) == ()
    labels[0, 0, 0:9] = GGO.value
    assert lesion_islands(labels, VOXEL_ML) == ()
    labels[0, 0:2, 0:5] = GGO.value
    assert len(lesion_islands(labels, VOXEL_ML)) == 1
