"""The comparison with normal lungs."""

from __future__ import annotations

import json
import math
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.measures.distribution import (
    BIN_COUNT,
    REFERENCE_FILE,
    NormalReference,
    bin_counts,
    compare_with_normal,
    comparison_notes,
    hellinger_distance,
    intersection_over_union,
    reference_from_dict,
    relative_density,
    shipped_reference,
)
from CovidLungQuantLib.measures.volumes import label_histograms, measure_region
from research.normal_reference import normal_lung_counts


def shares_of(**bins: float) -> np.ndarray:
    shares = np.zeros(BIN_COUNT)
    for index, share in bins.items():
        shares[int(index[1:])] = share
    return shares


def test_equal_distributions_have_distance_0_and_overlap_1():
    p = shares_of(b3=0.25, b9=0.75)

    assert hellinger_distance(p, p) == 0.0
    assert intersection_over_union(p, p) == 1.0


def test_disjoint_distributions_have_distance_1_and_overlap_0():
    assert hellinger_distance(shares_of(b0=1.0), shares_of(b5=1.0)) == 1.0
    assert intersection_over_union(shares_of(b0=1.0), shares_of(b5=1.0)) == 0.0


def test_the_distance_is_that_of_the_paper():
    p, q = shares_of(b1=0.5, b2=0.5), shares_of(b1=0.125, b2=0.375, b3=0.5)

    expected = math.sqrt(1 - math.sqrt(0.5 * 0.125) - math.sqrt(0.5 * 0.375))
    assert hellinger_distance(p, q) == pytest.approx(expected, rel=1e-12)
    assert intersection_over_union(p, q) == 0.5 / 1.5


def test_bins_are_20_hu_and_the_ends_take_what_lies_outside():
    hu = np.array([[[-1024, -1000, -981, -980, 179, 180, 3000, 40]]], np.int16)
    labels = np.array([[[1, 1, 1, 2, 3, 3, 3, 0]]], np.uint8)

    binned = bin_counts(label_histograms(hu, labels, labels))

    assert binned.shape == (4, BIN_COUNT) and binned.sum() == 7
    assert (binned[1, 0], binned[2, 1]) == (3, 1)
    assert binned[3, -2:].tolist() == [1, 2]


def test_a_scan_is_compared_by_shares():
    hu = np.array([[[-850, -850, -450, -450]]], np.int16)
    labels = np.array([[[1, 1, 2, 2]]], np.uint8)
    histograms = label_histograms(hu, labels, np.ones_like(labels))
    reference = NormalReference(shares_of(b7=1.0), ("a scan",))

    comparison = compare_with_normal(histograms, measure_region("x", histograms, 1.0), reference)

    assert comparison.hellinger_distance == pytest.approx(math.sqrt(1 - math.sqrt(0.5)))
    assert comparison.intersection_over_union == 0.5 / 1.5
    assert comparison.lesion_relative_density == (-450 + 1000) / (-850 + 1000)


def test_nothing_to_compare_is_nan():
    nothing = np.zeros((1, 1, 2), np.int16)
    histograms = label_histograms(nothing, nothing, nothing)

    comparison = compare_with_normal(
        histograms, measure_region("x", histograms, 1.0), shipped_reference()
    )

    assert math.isnan(comparison.hellinger_distance)
    assert math.isnan(comparison.intersection_over_union)
    assert math.isnan(comparison.lesion_relative_density)


def test_relative_density_needs_normal_lung_denser_than_air():
    assert relative_density(-1000.0, -500.0) == 0.0
    assert math.isnan(relative_density(-500.0, -1000.0))
    assert math.isnan(relative_density(-500.0, math.nan))


def test_the_shipped_reference_is_normal_lung_of_named_scans():
    reference = shipped_reference()

    assert reference.shares.shape == (BIN_COUNT,)
    assert reference.shares.sum() == pytest.approx(1.0, abs=1e-12)
    # Most of a normal lung lies between −940 and −780 HU, and its mode near −880.
    assert reference.shares[3:11].sum() > 0.6
    assert 4 <= reference.shares.argmax() <= 8
    assert reference.scan_names == ("normal_001", "lidc_0001", "lidc_0002")
    assert all(name in comparison_notes(reference)[0] for name in reference.scan_names)


def test_the_file_names_its_sources_and_holds_nothing_else_of_the_scans():
    resource = files("CovidLungQuantLib").joinpath("resources", REFERENCE_FILE)
    stored = json.loads(resource.read_text(encoding="utf-8"))

    assert all(set(scan) == {"name", "origin", "voxels"} for scan in stored["scans"])
    assert all(
        "CC BY" in scan["origin"] or "research" in scan["origin"] for scan in stored["scans"]
    )


def test_a_reference_with_other_bins_is_refused():
    with pytest.raises(ValueError, match="other bins"):
        reference_from_dict(
            {"lowest_bin_hu": -1000, "highest_bin_hu": 0, "bin_width_hu": 20, "scans": []}
        )


def test_scans_weigh_the_same_whatever_their_voxels():
    few, many = np.zeros((2, BIN_COUNT), int)
    few[0], many[1] = 10, 1000
    scans = [
        {"name": name, "voxels": counts.tolist()} for name, counts in (("a", few), ("b", many))
    ]
    reference = reference_from_dict(
        {"lowest_bin_hu": -1000, "highest_bin_hu": 200, "bin_width_hu": 20, "scans": scans}
    )

    assert reference.shares[:2].tolist() == [0.5, 0.5]


def test_the_shipped_counts_are_those_of_the_scan(test_data: Path):
    resource = files("CovidLungQuantLib").joinpath("resources", REFERENCE_FILE)
    stored = json.loads(resource.read_text(encoding="utf-8"))["scans"][0]
    ct = read_ct(test_data / "unlabelled" / "normal_001" / "ct.nrrd")

    counted = np.array(normal_lung_counts(ct))

    # The lungs may be drawn a little otherwise by a later version; the distribution stays.
    shares, shipped = counted / counted.sum(), np.array(stored["voxels"]) / sum(stored["voxels"])
    assert hellinger_distance(shares, shipped) < 0.03
