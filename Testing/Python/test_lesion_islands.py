"""Lesions one by one."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    LEFT_LOWER_LOBE,
    LEFT_LUNG_VALUE,
    NORMAL_LUNG,
    RIGHT_LUNG_VALUE,
    RIGHT_UPPER_LOBE,
)
from CovidLungQuantLib.measures.lesion_islands import doubtful_first, lesion_islands, map_islands

VOXEL_ML = 0.01


def test_islands_come_largest_first_with_volume_place_and_lobe():
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
    assert large.lobe is LEFT_LOWER_LOBE
    assert small.volume_ml == pytest.approx(18 * VOXEL_ML)
    assert small.place == (2, 3, 3)
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


SPACING_MM = (2.0, 2.0, 2.5)


def test_what_is_known_of_each_lesion():
    labels = np.full((12, 30, 30), NORMAL_LUNG.value, np.uint8)
    lungs = np.full(labels.shape, RIGHT_LUNG_VALUE, np.uint8)
    lungs[:, :, 15:] = LEFT_LUNG_VALUE
    labels[1:6, 2:7, 2:7] = GGO.value
    labels[1:4, 2:7, 2:7] = HIGH_OPACITY.value
    labels[8:10, 20:24, 20:24] = GGO.value
    hu = np.full(labels.shape, -850, np.int16)
    hu[1:4, 2:7, 2:7], hu[4:6, 2:7, 2:7], hu[8:10, 20:24, 20:24] = 0, -500, -700
    probability = np.where(labels >= 2, np.uint8(204), np.uint8(10))
    probability[8, 20:24, 20:24] = 102
    found = map_islands(labels, SPACING_MM, lungs=lungs, hu=hu, probability=probability)
    large, small = found.islands
    assert (large.index, small.index) == (1, 2)
    assert large.box == (slice(1, 6), slice(2, 7), slice(2, 7))
    assert (large.lung, small.lung) == (RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE)
    assert (large.ggo_ml, large.high_opacity_ml) == pytest.approx((0.5, 0.75))
    assert (large.kind, small.kind) == (HIGH_OPACITY, GGO)
    assert (large.mean_hu, small.mean_hu) == pytest.approx((-200.0, -700.0))
    assert (large.confidence, small.confidence) == pytest.approx((0.8, 0.6))
    assert large.elongation == pytest.approx(0.2)  # 10 × 10 × 12.5 mm
    assert np.array_equal(found.mask_of(small), np.ones((2, 4, 4), bool))
    assert found.island_at((9, 23, 20)) is small
    assert found.island_at((0, 0, 0)) is None
    assert found.island_at((7, 10, 10)) is None


def test_what_is_not_given_is_not_known():
    labels = np.zeros((8, 8, 8), np.uint8)
    labels[2:6, 2:6, 2:6] = GGO.value
    (island,) = map_islands(labels, SPACING_MM).islands
    assert island.lung == 0
    assert island.lobe is None
    assert all(
        np.isnan(value) for value in (island.mean_hu, island.confidence, island.mediastinal_share)
    )


def test_rods_and_what_touches_the_mediastinum_with_little_confidence_come_first():
    labels = np.zeros((20, 40, 60), np.uint8)
    lungs = np.zeros(labels.shape, np.uint8)
    lungs[:, :, 2:26], lungs[:, :, 34:58] = RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE
    labels[lungs > 0] = NORMAL_LUNG.value
    probability = np.full(labels.shape, 230, np.uint8)
    lesions = {
        "at the chest wall": (slice(2, 8), slice(2, 8), slice(2, 8)),
        "at the heart": (slice(2, 8), slice(20, 26), slice(20, 26)),
        "vessel": (slice(12, 14), slice(4, 36), slice(12, 14)),
        "sure": (slice(2, 8), slice(20, 26), slice(40, 46)),
    }
    for box in lesions.values():
        labels[box] = GGO.value
    probability[lesions["at the heart"]] = 90
    probability[lesions["vessel"]] = 90
    probability[lesions["at the chest wall"]] = 90
    found = map_islands(labels, SPACING_MM, lungs=lungs, probability=probability)
    by_name = {name: found.island_at([part.start for part in box]) for name, box in lesions.items()}
    assert by_name["at the heart"].mediastinal_share == 1.0
    assert by_name["at the chest wall"].mediastinal_share == 0.0
    assert by_name["sure"].mediastinal_share == 0.0
    assert by_name["vessel"].elongation > 0.85
    ordered = doubtful_first(found.islands)
    assert set(ordered[:2]) == {by_name["at the heart"], by_name["vessel"]}
    assert ordered[-1] is by_name["sure"]
    assert all(0 <= island.doubt <= 1 for island in ordered)


def test_no_lesion_is_an_empty_map():
    found = map_islands(np.ones((3, 3, 3), np.uint8), SPACING_MM)
    assert found.islands == ()
    assert found.island_at((1, 1, 1)) is None
