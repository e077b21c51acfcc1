"""The whole table: lungs, lobes, regions and scores."""

from __future__ import annotations

import math

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.segments import divide_into_segments
from CovidLungQuantLib.labels import LOBES, LUNG_SEGMENTS
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.measures.measurements import Measurements, measure_lungs, table_rows

VOXEL_ML = 0.5
# Thousandths of the lung, as in healthy adults.
LOBE_SHARES = (179, 93, 265, 231, 232)


def lungs_in_a_row(shares: tuple[int, ...] = LOBE_SHARES) -> tuple[np.ndarray, ...]:
    """HU, labels and segments of lungs whose voxels lie in one row, ten for each thousandth.

    All is normal lung of −850 HU; each lobe's voxels are dealt out to its segments in turn.
    """
    segments = []
    for lobe, share in zip(LOBES, shares, strict=True):
        values = [segment.value for segment in LUNG_SEGMENTS if segment.lobe is lobe]
        segments.append(np.resize(values, 10 * share))
    row = np.concatenate(segments).astype(np.uint8)[np.newaxis, np.newaxis]
    return np.full(row.shape, -850, np.int16), np.ones_like(row), row


def measured(hu: np.ndarray, labels: np.ndarray, segments: np.ndarray) -> Measurements:
    return measure_lungs(hu, labels, np.zeros_like(labels), VOXEL_ML, segments)


def test_rows_are_lungs_lobes_and_regions_in_this_order():
    measurements = measured(*lungs_in_a_row())

    names = [row.region for row in measurements.regions]
    assert names[:3] == ["both lungs", "right lung", "left lung"]
    assert names[3:8] == [
        "right upper lobe",
        "right middle lobe",
        "right lower lobe",
        "left upper lobe",
        "left lower lobe",
    ]
    assert names[8] == "RUL apical (approximation)"
    assert names[8:] == [segment.row_name for segment in LUNG_SEGMENTS]
    assert names[:3] == [row.region for row in measurements.lungs]
    assert names[3:8] == [row.region for row in measurements.lobes]
    assert names[8:] == [row.region for row in measurements.segments]


def test_without_lobes_there_are_three_rows_and_no_scores():
    hu, labels, _ = lungs_in_a_row()
    measurements = measure_lungs(hu, labels, np.full_like(labels, 2), VOXEL_ML)

    assert len(measurements.regions) == 3
    assert (measurements.lobes, measurements.segments) == ((), ())
    assert measurements.severity is None
    assert not any("CT-SS" in note for note in measurements.notes)


def test_parts_add_up():
    hu, labels, segments = lungs_in_a_row()
    labels[..., ::7] = 2
    labels[..., ::11] = 3
    measurements = measured(hu, labels, segments)

    both, right, left = measurements.lungs
    for field in ("volume_ml", "ggo_ml", "high_opacity_ml", "lesion_ml"):
        lobes = [getattr(row, field) for row in measurements.lobes]
        assert sum(lobes) == getattr(both, field)
        assert sum(lobes[:3]) == getattr(right, field)
        assert sum(lobes[3:]) == getattr(left, field)
        assert sum(getattr(row, field) for row in measurements.segments) == getattr(both, field)


def test_lesion_is_found_in_its_lobe_and_region_and_scored():
    hu, labels, segments = lungs_in_a_row()
    region = LUNG_SEGMENTS[19]
    labels[segments == region.value] = 2
    measurements = measured(hu, labels, segments)

    lower = measurements.region("left lower lobe")
    assert lower.lesion_percent == pytest.approx(20.0)
    assert measurements.region(region.row_name).lesion_percent == 100.0
    severity = measurements.severity
    assert [lobe.ct_score for lobe in severity.lobes] == [0, 0, 0, 0, 2]
    assert (severity.ct_score, severity.involved_lobes) == (2, 1)
    assert severity.ct_severity_score == 2


def test_the_table_has_the_sums_in_the_row_of_both_lungs_and_the_parts_in_theirs():
    hu, labels, segments = lungs_in_a_row()
    labels[segments == 1] = 2
    rows = {row["region"]: row for row in table_rows(measured(hu, labels, segments))}

    assert list(rows["both lungs"]) == list(column_keys())
    scores = ("ct_score", "total_severity_score", "ct_severity_score", "involved_lobes")
    assert [rows["both lungs"][name] for name in scores] == [3, 2, 2, 1]
    upper = rows["right upper lobe"]
    assert (upper["ct_score"], upper["total_severity_score"], upper["involved_lobes"]) == (3, 2, 1)
    assert rows["left upper lobe"]["ct_score"] == 0
    assert rows["RUL apical (approximation)"]["ct_severity_score"] == 2
    assert math.isnan(rows["right lung"]["ct_score"])
    assert math.isnan(upper["ct_severity_score"])
    assert 0 < rows["both lungs"]["hellinger_distance"] < 1


def test_a_missing_lobe_is_said_and_leaves_an_empty_score():
    hu, labels, segments = lungs_in_a_row()
    labels[(segments == 4) | (segments == 5)] = 0
    measurements = measured(hu, labels, segments)

    codes = [warning.code for warning in measurements.warnings]
    assert "scores_unknown" in codes
    assert any("right middle lobe" in warning.message for warning in measurements.warnings)
    assert measurements.severity.ct_score is None
    rows = {row["region"]: row for row in table_rows(measurements)}
    assert math.isnan(rows["both lungs"]["ct_score"])
    assert math.isnan(rows["right middle lobe"]["ct_score"])
    assert rows["right lower lobe"]["ct_score"] == 0


def test_plausible_lobes_raise_no_warning():
    assert measured(*lungs_in_a_row()).warnings == ()


def test_an_implausible_lobe_is_said_with_its_share():
    measurements = measured(*lungs_in_a_row((229, 20, 288, 231, 232)))

    assert [warning.code for warning in measurements.warnings] == ["lobe_share_implausible"]
    message = measurements.warnings[0].message
    assert message.startswith("The right middle lobe is 2 % of the lung")
    assert "the lobes are unreliable; check them" in message


def test_the_minimum_lesion_is_a_parameter_and_stands_in_the_notes():
    hu, labels, segments = lungs_in_a_row()
    labels[..., :20] = 2
    by_default = measure_lungs(hu, labels, labels, VOXEL_ML, segments)
    strict = measure_lungs(hu, labels, labels, VOXEL_ML, segments, minimum_lesion_ml=10.0)

    assert by_default.severity.ct_score == 1
    assert strict.severity.ct_score == 0
    assert any("larger than 10 mL" in note for note in strict.notes)
    assert any("larger than 1 mL" in note for note in by_default.notes)


def test_a_labelled_voxel_without_a_region_is_an_error():
    hu, labels, segments = lungs_in_a_row()
    segments[0, 0, 0] = 0
    with pytest.raises(ValueError, match="region"):
        measured(hu, labels, segments)


def test_rows_agree_with_plain_numpy_on_random_maps():
    random = np.random.default_rng(5)
    lobes = np.kron(random.integers(0, 6, (4, 4, 4)), np.ones((5, 6, 7))).astype(np.uint8)
    segments = divide_into_segments(lobes)
    hu = random.integers(-1024, 600, lobes.shape).astype(np.int16)
    labels = (random.integers(0, 4, lobes.shape) * (lobes > 0)).astype(np.uint8)

    measurements = measured(hu, labels, segments)

    for lobe, row in zip(LOBES, measurements.lobes, strict=True):
        inside = (lobes == lobe.value) & (labels > 0)
        assert row.volume_ml == inside.sum() * VOXEL_ML
        assert row.lesion_percent == 100 * (labels[inside] > 1).sum() / inside.sum()
        assert row.mean_hu == pytest.approx(hu[inside].mean(), rel=1e-12)
    for segment, row in zip(LUNG_SEGMENTS, measurements.segments, strict=True):
        assert row.ggo_ml == ((segments == segment.value) & (labels == 2)).sum() * VOXEL_ML
