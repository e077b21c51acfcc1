"""Volumes, extents and HU, worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.label_maps import check_labels
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.measures.volumes import label_histograms, measure_regions

# One row of voxels: four of the right lung, three of the left, one outside.
HU = np.array([[[-900, -800, -600, -200, -850, -840, 20, 40]]], dtype=np.int16)
LABELS = np.array([[[1, 1, 2, 3, 1, 1, 3, 0]]], dtype=np.uint8)
R, L = RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE
LUNGS = np.array([[[R, R, R, R, L, L, L, 0]]], dtype=np.uint8)


def a_plausible_chest(
    right_voxels: int = 54, left_voxels: int = 46, normal_hu: int = -850, ggo_hu: int = -550
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One voxel in ten is GGO; measured with voxels of 45 mL it is 4.5 L of lung."""
    count = right_voxels + left_voxels
    labels = np.ones((1, 1, count), dtype=np.uint8)
    labels[..., ::10] = 2
    hu = np.where(labels == 2, ggo_hu, normal_hu).astype(np.int16)
    lungs = np.full(labels.shape, LEFT_LUNG_VALUE, dtype=np.uint8)
    lungs[..., :right_voxels] = RIGHT_LUNG_VALUE
    return hu, labels, lungs


def warning_codes(*arrays: np.ndarray, voxel_volume_ml: float = 45.0) -> set[str]:
    return {warning.code for warning in measure_lungs(*arrays, voxel_volume_ml).warnings}


def test_rows_are_both_right_and_left_lung_in_this_order():
    regions = measure_lungs(HU, LABELS, LUNGS, 1.0).regions

    assert [region.region for region in regions] == ["both lungs", "right lung", "left lung"]


def test_volumes_and_extents_are_exact():
    both, right, left = measure_lungs(HU, LABELS, LUNGS, 0.5).regions

    assert (both.volume_ml, both.normal_ml, both.ggo_ml) == (3.5, 2.0, 0.5)
    assert (both.high_opacity_ml, both.lesion_ml) == (1.0, 1.5)
    assert both.ggo_percent == 100 / 7
    assert both.high_opacity_percent == 200 / 7
    assert both.lesion_percent == 300 / 7
    assert (right.volume_ml, right.ggo_percent, right.lesion_percent) == (2.0, 25.0, 50.0)
    assert (left.volume_ml, left.ggo_ml, left.ggo_percent) == (1.5, 0.0, 0.0)
    assert left.high_opacity_percent == 100 / 3


def test_hu_are_those_of_the_lung_voxels_with_the_population_sd():
    both, right, left = measure_lungs(HU, LABELS, LUNGS, 1.0).regions

    assert both.mean_hu == (-900 - 800 - 600 - 200 - 850 - 840 + 20) / 7
    assert both.sd_hu == pytest.approx(np.std(HU[LABELS > 0].astype(float)), rel=1e-14)
    assert (right.normal_mean_hu, right.normal_sd_hu) == (-850.0, 50.0)
    assert (right.ggo_mean_hu, right.ggo_sd_hu) == (-600.0, 0.0)
    assert (right.lesion_mean_hu, right.lesion_sd_hu) == (-400.0, 200.0)
    assert (both.high_opacity_mean_hu, both.high_opacity_sd_hu) == (-90.0, 110.0)
    assert left.high_opacity_mean_hu == 20.0


def test_nothing_to_divide_by_gives_nan_and_never_zero():
    only_right = np.where(LUNGS == LEFT_LUNG_VALUE, 0, LABELS)
    left = measure_lungs(HU, only_right, LUNGS, 1.0).region("left lung")

    assert (left.volume_ml, left.lesion_ml) == (0.0, 0.0)
    for value in (left.ggo_percent, left.high_opacity_percent, left.lesion_percent):
        assert math.isnan(value)
    assert math.isnan(left.mean_hu) and math.isnan(left.sd_hu)
    right = measure_lungs(HU, LABELS, LUNGS, 1.0).region("left lung")
    assert math.isnan(right.ggo_mean_hu) and math.isnan(right.ggo_sd_hu)


def test_hu_sums_are_exact_on_many_voxels_of_extreme_values():
    hu = np.full((70, 100, 100), 32767, dtype=np.int16)
    hu[0, 0, 0] = -32768
    labels = np.ones(hu.shape, dtype=np.uint8)

    both = measure_lungs(hu, labels, labels, 1.0).regions[0]

    count = hu.size
    assert both.mean_hu == (32767 * (count - 1) - 32768) / count
    assert both.sd_hu == pytest.approx(65535 * math.sqrt(count - 1) / count, rel=1e-14)


def test_parts_add_up_and_agree_with_plain_numpy_on_random_maps():
    random = np.random.default_rng(3)
    hu = random.integers(-1024, 3072, (40, 16, 18)).astype(np.int16)
    labels = random.integers(0, 4, hu.shape).astype(np.uint8)
    lungs = random.integers(1, 3, hu.shape).astype(np.uint8)

    both, right, left = measure_lungs(hu, labels, lungs, 0.25).regions

    assert both.volume_ml == right.volume_ml + left.volume_ml
    assert both.lesion_ml == both.ggo_ml + both.high_opacity_ml
    for region, inside in ((both, lungs > 0), (right, lungs == R), (left, lungs == L)):
        for value, volume_ml, mean_hu, sd_hu in (
            (1, region.normal_ml, region.normal_mean_hu, region.normal_sd_hu),
            (2, region.ggo_ml, region.ggo_mean_hu, region.ggo_sd_hu),
            (3, region.high_opacity_ml, region.high_opacity_mean_hu, region.high_opacity_sd_hu),
        ):
            voxels = hu[inside & (labels == value)].astype(float)
            assert volume_ml == len(voxels) * 0.25
            assert mean_hu == pytest.approx(voxels.mean(), rel=1e-13)
            assert sd_hu == pytest.approx(voxels.std(), rel=1e-12)


def test_any_regions_can_be_measured_from_a_map():
    lobes = np.array([[[1, 1, 2, 3, 4, 4, 5, 0]]], dtype=np.uint8)

    histograms = label_histograms(HU, LABELS, lobes)

    rows = measure_regions(histograms, {"upper": (1, 4), "RML": (2,), "sixth": (6,)}, 1.0)

    assert [row.region for row in rows] == ["upper", "RML", "sixth"]
    assert [row.volume_ml for row in rows] == [4.0, 1.0, 0.0]
    assert rows[0].mean_hu == (-900 - 800 - 850 - 840) / 4


def test_a_labelled_voxel_outside_every_region_is_an_error():
    with pytest.raises(ValueError, match="region"):
        measure_lungs(HU, np.ones_like(LABELS), LUNGS, 1.0)


def test_the_histogram_holds_every_labelled_voxel_once():
    histograms = label_histograms(HU, LABELS, LUNGS)

    assert histograms.lowest_hu == -900
    assert histograms.counts.shape == (3, 4, 941)
    assert histograms.counts.sum() == 7
    assert histograms.counts[RIGHT_LUNG_VALUE, 2, -600 + 900] == 1


def test_more_regions_than_can_be_counted_are_refused():
    region_map = np.full(LABELS.shape, 64, dtype=np.uint8)
    with pytest.raises(ValueError, match="65 regions"):
        label_histograms(HU, LABELS, region_map)


def test_the_input_is_not_changed():
    before = HU.copy(), LABELS.copy(), LUNGS.copy()
    measure_lungs(HU, LABELS, LUNGS, 1.0)

    for array, kept in zip((HU, LABELS, LUNGS), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@pytest.mark.parametrize("value", [5, 17, 255])
def test_values_that_are_no_label_are_refused(value: int):
    labels = LABELS.copy()
    labels[0, 0, 0] = value
    with pytest.raises(BadInputError, match=rf"no label \({value}\)"):
        measure_lungs(HU, labels, LUNGS, 1.0)


def test_negative_values_are_refused():
    with pytest.raises(BadInputError, match=r"no label \(-1\)"):
        check_labels(np.array([[[-1, 0, 1]]], dtype=np.int16), (1, 1, 3))


def test_lesion_of_no_stated_class_is_refused_with_what_to_do():
    labels = np.where(LABELS == 2, 4, LABELS)
    with pytest.raises(BadInputError, match="relabel it as GGO"):
        measure_lungs(HU, labels, LUNGS, 1.0)


def test_another_shape_is_refused_with_both_sizes():
    with pytest.raises(BadInputError, match="7 × 1 × 1 voxels but the scan has 8 × 1 × 1"):
        measure_lungs(HU, LABELS[..., :7], LUNGS, 1.0)


def test_floating_point_labels_are_refused():
    with pytest.raises(BadInputError, match="float64"):
        check_labels(LABELS.astype(float), LABELS.shape)


def test_a_plausible_result_has_no_warning():
    assert warning_codes(*a_plausible_chest()) == set()


@pytest.mark.parametrize(
    ("chest", "voxel_volume_ml", "code"),
    [
        (a_plausible_chest(), 14.9, "lung_volume_implausible"),
        (a_plausible_chest(), 85.0, "lung_volume_implausible"),
        (a_plausible_chest(right_voxels=45, left_voxels=55), 45.0, "right_left_share_implausible"),
        (a_plausible_chest(right_voxels=62, left_voxels=38), 45.0, "right_left_share_implausible"),
        (a_plausible_chest(right_voxels=100, left_voxels=0), 45.0, "one_lung"),
        (a_plausible_chest(normal_hu=-640), 45.0, "normal_lung_hu_implausible"),
        (a_plausible_chest(normal_hu=-960), 45.0, "normal_lung_hu_implausible"),
        (a_plausible_chest(ggo_hu=-200), 45.0, "ggo_hu_implausible"),
    ],
)
def test_what_is_implausible_is_said(
    chest: tuple[np.ndarray, np.ndarray, np.ndarray], voxel_volume_ml: float, code: str
):
    assert warning_codes(*chest, voxel_volume_ml=voxel_volume_ml) == {code}


def test_an_empty_label_map_warns_and_gives_no_percentages():
    measurements = measure_lungs(HU, np.zeros_like(LABELS), LUNGS, 1.0)

    assert [warning.code for warning in measurements.warnings] == ["no_lung"]
    assert math.isnan(measurements.region("both lungs").lesion_percent)


def test_the_notes_say_that_high_opacity_includes_effusion():
    notes = " ".join(measure_lungs(HU, LABELS, LUNGS, 1.0).notes)

    assert "effusion" in notes and "Grodecki 2021" in notes and "population SD" in notes


def test_an_expert_label_map_measures_as_plain_numpy_does(test_data: Path):
    case = test_data / "labelled" / "covid01"
    hu = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "ct.nrrd"))).astype(np.int16)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(case / "labels.nrrd"))).astype(np.uint8)
    lungs = (labels > 0).astype(np.uint8)

    both = measure_lungs(hu, labels, lungs, 0.002).regions[0]

    counts = np.bincount(labels.reshape(-1), minlength=4)
    assert both.volume_ml == counts[1:].sum() * 0.002
    assert both.lesion_percent == 100 * counts[2:].sum() / counts[1:].sum()
    assert both.mean_hu == pytest.approx(hu[labels > 0].mean(dtype=float), rel=1e-12)
    assert both.ggo_sd_hu == pytest.approx(hu[labels == 2].std(dtype=float), rel=1e-9)
