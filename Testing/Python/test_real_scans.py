"""The whole way through on real scans, with the shipped model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from CovidLungQuantLib.ct import CTVolume, read_ct
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    GGO,
    LEFT_LUNG_VALUE,
    LEFT_UPPER_LOBE,
    NORMAL_LUNG,
    RIGHT_LUNG_VALUE,
)
from CovidLungQuantLib.lesions.probability import DECISION_CODE
from CovidLungQuantLib.lesions.sensitivity import apply_sensitivity
from CovidLungQuantLib.measures.lesion_islands import doubtful_first, map_islands
from CovidLungQuantLib.measures.review import Review, review_sentence
from CovidLungQuantLib.pipeline import Quantification, measure, quantify
from CovidLungQuantLib.quantification import Options
from CovidLungQuantLib.training.evaluation import dice


@pytest.fixture(scope="module")
def covid_p001(test_data) -> Quantification:
    return quantify(read_ct(test_data / "dicom" / "covid_P001"), Options(keep_probability=True))


def lesion_percent(result: Quantification) -> float:
    return result.measurements.region(BOTH_LUNGS_REGION).lesion_percent


@pytest.mark.slow
def test_lesions_lie_on_the_slices_and_sides_the_radiologist_named(covid_p001, test_data):
    labels_file = test_data / "dicom" / "covid_P001" / "lobe_labels.json"
    affected = json.loads(labels_file.read_text(encoding="utf-8"))["affected_slices_per_lobe"]
    slice_count = covid_p001.labels.shape[0]
    lesion = covid_p001.labels >= GGO.value
    for side_value, lobes in (
        (RIGHT_LUNG_VALUE, ("RUL", "RML", "RLL")),
        (LEFT_LUNG_VALUE, ("LUL", "LLL")),
    ):
        named = np.zeros(slice_count, bool)
        for lobe in lobes:
            # The radiologist counted from the top.
            named[[slice_count - 1 - index for index in affected[lobe]]] = True
        volume = (lesion & (covid_p001.lungs == side_value)).sum(axis=(1, 2))
        assert volume[named].sum() > 0.75 * volume.sum()


def test_burden_of_the_covid_scan_is_mild_to_moderate(covid_p001):
    assert 1.0 < lesion_percent(covid_p001) < 25.0
    both = covid_p001.measurements.region(BOTH_LUNGS_REGION)
    assert 3000 < both.volume_ml < 7000
    assert both.normal_mean_hu < -780


def test_measuring_the_result_again_gives_the_same_numbers(covid_p001):
    again = measure(covid_p001.ct, covid_p001.labels, lobes=covid_p001.lobes)
    assert again.measurements.regions == covid_p001.measurements.regions
    assert np.array_equal(again.lungs, covid_p001.lungs)


def test_labels_partition_the_lungs_and_volumes_sum(covid_p001):
    assert np.array_equal(covid_p001.labels > 0, covid_p001.lungs > 0)
    both, right, left, *lobes_and_regions = covid_p001.measurements.regions
    lobes, regions = lobes_and_regions[:5], lobes_and_regions[5:]
    assert len(regions) == 20
    for field in ("volume_ml", "normal_ml", "ggo_ml", "high_opacity_ml", "lesion_ml"):
        whole = pytest.approx(getattr(both, field))
        for parts in ((right, left), lobes, regions):
            assert sum(getattr(part, field) for part in parts) == whole
    assert both.normal_ml + both.ggo_ml + both.high_opacity_ml == pytest.approx(both.volume_ml)


def test_false_spots_beside_sternum_and_heart_take_one_reject_each(covid_p001):
    ct, spacing_mm = covid_p001.ct, covid_p001.ct.geometry.spacing_mm
    labels = covid_p001.labels.copy()
    islands = map_islands(
        labels,
        spacing_mm,
        lobes=covid_p001.lobes,
        lungs=covid_p001.lungs,
        hu=ct.hu,
        probability=covid_p001.lesion_probability,
    )
    # The radiologist names no slice of the left upper lobe: what lies there is heart and sternum.
    false_spots = [island for island in islands.islands if island.lobe is LEFT_UPPER_LOBE]
    assert len(false_spots) == 2
    # They are among the first that "doubtful first" shows, far down by size.
    half = len(islands.islands) // 2
    assert set(false_spots) <= set(doubtful_first(islands.islands)[:half])
    review = Review(labels, islands)
    for island in false_spots:
        review.reject(island.index, "not lung")
    after = measure(ct, labels, lobes=covid_p001.lobes)
    rejected_ml = sum(island.volume_ml for island in false_spots)
    before_ml, after_ml = (
        result.measurements.region(BOTH_LUNGS_REGION).lesion_ml for result in (covid_p001, after)
    )
    assert rejected_ml > 1.0
    assert before_ml - after_ml == pytest.approx(rejected_ml)
    # Specks below the size of the list are left.
    assert after.measurements.region(LEFT_UPPER_LOBE.name.lower()).lesion_ml < 0.5
    assert [entry["reason"] for entry in review.record()] == ["not lung"] * 2
    assert review_sentence(review.record()) == "Lesions reviewed: 2 rejected (not lung 2)."
    # Another sensitivity does not bring them back, and the default one changes nothing else.
    for code in (DECISION_CODE - 30, DECISION_CODE):
        found = apply_sensitivity(
            covid_p001.labels,
            labels,
            covid_p001.lesion_probability,
            ct.hu,
            spacing_mm,
            code,
            locked=review.held(),
        )
        assert (found[review.held()] == NORMAL_LUNG.value).all()
    assert np.array_equal(found, labels)


@pytest.mark.slow
def test_normal_lungs_have_almost_no_lesion(test_data):
    result = quantify(read_ct(test_data / "unlabelled" / "normal_001" / "ct.nrrd"))
    assert lesion_percent(result) < 1.0


def test_thin_and_thick_slices_of_one_scan_agree(test_data):
    thin = read_ct(test_data / "labelled" / "covid13" / "ct.nrrd")
    # The thinnest slices with lesions: 2 mm.
    assert thin.geometry.spacing_mm[2] == 2.0
    thick = averaged_slices(thin, 3)
    thin_result, thick_result = quantify(thin), quantify(thick)
    assert lesion_percent(thick_result) == pytest.approx(lesion_percent(thin_result), rel=0.1)
    count = thick.geometry.shape[0]
    middles = thin_result.labels[1 : 3 * count : 3] >= GGO.value
    assert dice(middles, thick_result.labels >= GGO.value) > 0.9


def averaged_slices(ct: CTVolume, count: int) -> CTVolume:
    """The scan as if its slices were `count` times thicker."""
    thick_count = ct.hu.shape[0] // count
    hu = ct.hu[: thick_count * count].reshape(thick_count, count, *ct.hu.shape[1:])
    x_mm, y_mm, z_mm = ct.geometry.spacing_mm
    geometry = replace(
        ct.geometry,
        shape=(thick_count, *ct.hu.shape[1:]),
        spacing_mm=(x_mm, y_mm, count * z_mm),
    )
    return CTVolume(np.rint(hu.mean(axis=1)).astype(np.int16), geometry, ct.name, ct.warnings)
