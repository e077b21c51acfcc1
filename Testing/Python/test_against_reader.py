"""A label map against a reader's, structure by structure; numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.measures.against_reader import (
    StructureComparison,
    class_slices,
    compare_label_maps,
)
from CovidLungQuantLib.measures.structures import STRUCTURES, structure_mask

# One voxel is 0.01 mL.
SPACING_MM = (1.0, 2.0, 5.0)


def a_reader() -> np.ndarray:
    """Return 4 slices of 100 lung voxels; slice 0 holds 10 GGO, slice 1 8 high opacity."""
    labels = np.zeros((4, 12, 12), np.uint8)
    labels[:, 1:11, 1:11] = 1
    labels[0, 2, 1:11] = 2
    labels[1, 5, 1:9] = 3
    return labels


def compared(labels: np.ndarray, reference: np.ndarray) -> dict[str, StructureComparison]:
    rows = compare_label_maps(labels, reference, SPACING_MM)
    return {row.structure: row for row in rows}


def test_the_structures_and_what_belongs_to_them():
    labels = np.array([[[0, 1, 2, 3, 4]]])
    assert STRUCTURES == ("Lung", "Normal lung", "Lesion", "GGO", "High opacity")
    found = [structure_mask(labels, name)[0, 0].astype(int).tolist() for name in STRUCTURES]
    assert found == [
        [0, 1, 1, 1, 1],
        [0, 1, 0, 0, 0],
        [0, 0, 1, 1, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
    ]


def test_equal_label_maps_agree_in_everything():
    for row in compared(a_reader(), a_reader()).values():
        assert (row.dice, row.volume_similarity) == (1.0, 1.0)
        assert (row.hausdorff95_mm, row.mean_surface_distance_mm) == (0.0, 0.0)
        assert (row.volume_error_ml, row.extent_error_points) == (0.0, 0.0)
        assert (row.slices, row.reason) == (4, "")


def test_every_figure_of_a_small_difference():
    labels = a_reader()
    # GGO: one voxel of 10 missed; high opacity: two voxels more than 8.
    labels[0, 2, 10] = 1
    labels[1, 5, 9:11] = 3
    rows = compared(labels, a_reader())

    ggo, high, lesion = rows["GGO"], rows["High opacity"], rows["Lesion"]
    assert ggo.dice == pytest.approx(18 / 19)
    assert high.dice == pytest.approx(16 / 18)
    assert lesion.dice == pytest.approx(2 * 17 / (19 + 18))
    assert high.volume_similarity == pytest.approx(1 - 2 / 18)
    assert (ggo.volume_ml, ggo.reference_volume_ml) == (pytest.approx(0.09), pytest.approx(0.10))
    assert high.volume_error_ml == pytest.approx(0.02)
    assert high.volume_error_percent == pytest.approx(25.0)
    assert lesion.extent_percent == pytest.approx(100 * 19 / 400)
    assert lesion.reference_extent_percent == pytest.approx(100 * 18 / 400)
    assert lesion.extent_error_points == pytest.approx(0.25)
    # High opacity: 10 voxels against 8 in a row of 1 mm; two are 1 and 2 mm off.
    assert high.mean_surface_distance_mm == pytest.approx(3 / 18)
    assert high.hausdorff95_mm == pytest.approx(1.55)
    assert rows["Lung"].dice == 1.0


def test_lesion_of_unknown_class_counts_for_the_lesion_and_not_for_classes():
    reference = a_reader()
    reference[1][reference[1] == 3] = 4
    labels = a_reader()
    labels[0, 3, 1:11] = 3
    rows = compared(labels, reference)

    assert rows["Lesion"].dice == pytest.approx(2 * 18 / (28 + 18))
    assert rows["Lesion"].slices == 4
    assert rows["GGO"].slices == 3
    assert rows["GGO"].dice == 1.0
    assert rows["GGO"].extent_percent == pytest.approx(100 * 10 / 300)
    assert math.isnan(rows["GGO"].hausdorff95_mm)
    assert "the class is not stated on 1 of 4 slices" in rows["GGO"].reason
    # The reader has no high opacity left on the slices that count; ten voxels are too many.
    assert math.isnan(rows["High opacity"].dice)
    assert "the reference has no high opacity" in rows["High opacity"].reason
    assert rows["High opacity"].volume_error_ml == pytest.approx(0.10)


def test_where_no_class_is_stated_nothing_is_said_of_classes():
    reference = a_reader()
    reference[reference >= 2] = 4
    rows = compared(a_reader(), reference)
    for name in ("GGO", "High opacity"):
        assert math.isnan(rows[name].dice) and math.isnan(rows[name].volume_ml)
        assert rows[name].slices == 0
        assert rows[name].reason == "the reference states no class of lesion"
    assert rows["Lesion"].dice == 1.0


def test_slices_without_lesion_count_for_classes():
    reference = a_reader()
    reference[1][reference[1] == 3] = 4
    assert class_slices(reference).tolist() == [True, False, True, True]
    assert class_slices(a_reader()).all()


def test_an_empty_reference_is_undefined_and_what_was_marked_too_much_is_shown():
    reference = a_reader()
    reference[reference >= 2] = 1
    row = compared(a_reader(), reference)["Lesion"]
    assert math.isnan(row.dice) and math.isnan(row.volume_similarity)
    assert math.isnan(row.hausdorff95_mm) and math.isnan(row.volume_error_percent)
    assert row.volume_error_ml == pytest.approx(0.18)
    assert row.extent_error_points == pytest.approx(4.5)
    assert row.reason == "the reference has no lesion"


def test_a_missed_structure_has_dice_zero_and_no_surface():
    labels = a_reader()
    labels[labels == 3] = 1
    row = compared(labels, a_reader())["High opacity"]
    assert (row.dice, row.volume_similarity, row.volume_error_percent) == (0.0, 0.0, -100.0)
    assert math.isnan(row.hausdorff95_mm)
    assert row.reason == "the segmentation has no high opacity, so no surface"


def test_without_normal_lung_there_is_no_extent():
    reference = a_reader()
    reference[reference == 1] = 0
    rows = compared(a_reader(), reference)
    assert math.isnan(rows["Lung"].dice) and math.isnan(rows["Normal lung"].dice)
    assert math.isnan(rows["Lesion"].reference_extent_percent)
    assert math.isnan(rows["Lesion"].extent_error_points)
    assert rows["Lesion"].extent_percent == pytest.approx(4.5)
    assert rows["Lesion"].dice == 1.0
    for row in rows.values():
        assert "the reference has no normal lung" in row.reason


def test_label_maps_of_different_shape_are_a_mistake():
    with pytest.raises(ValueError):
        compare_label_maps(a_reader(), a_reader()[1:], SPACING_MM)
