"""The shipped lung network in the way through, on real scans: what it finds, and what it leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.lung_weights import LUNG_MODEL_FILE, shipped_lung_network
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.anatomy.sides import split_left_right
from CovidLungQuantLib.anatomy.threshold_lungs import find_body_and_air
from CovidLungQuantLib.ct import CTVolume, lps_oriented, read_ct
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.pipeline import quantify
from CovidLungQuantLib.quantification import NO_LOBES, Options
from research.lung_figures import BEHIND, BELOW, WHITE, made_dense

DENSE_ABOVE_HU = -300


def read(test_data: Path, name: str) -> CTVolume:
    return lps_oriented(read_ct(test_data / name / "ct.nrrd"))[0]


def volume_ml(mask: np.ndarray, ct: CTVolume) -> float:
    return float(np.count_nonzero(mask)) * ct.geometry.voxel_volume_ml


def test_the_network_is_small_and_its_card_states_licence_and_checksum():
    assert LUNG_MODEL_FILE.stat().st_size < 10e6
    card = LUNG_MODEL_FILE.with_suffix(".md").read_text(encoding="utf-8")
    sha256 = LUNG_MODEL_FILE.with_suffix(".pt.sha256").read_text(encoding="utf-8").split()[0]
    assert sha256 in card
    assert "non-commercial research use only" in card
    assert not shipped_lung_network().training


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["unlabelled/normal_001", "unlabelled/lidc_0002", "labelled/covid01", "labelled/covid13"],
)
def test_tidy_lungs_stay_as_they_are(test_data: Path, name: str):
    ct = read(test_data, name)
    by_air = find_body_and_air(ct.hu, ct.geometry.spacing_mm).lungs
    anatomy = segment_lungs(ct.hu, ct.geometry.spacing_mm)
    assert anatomy.decisions is None
    np.testing.assert_array_equal(anatomy.lungs, by_air)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "share_percent", "largest_error_percent"),
    [(BEHIND, 45, 12), (BELOW, 20, 12), (WHITE, 0, 12)],
)
def test_dense_lung_is_found_counted_and_named(
    test_data: Path, where: str, share_percent: float, largest_error_percent: float
):
    ct = read(test_data, "unlabelled/normal_001")
    spacing_mm = ct.geometry.spacing_mm
    truth = find_body_and_air(ct.hu, spacing_mm).lungs
    hu = made_dense(ct.hu, truth, spacing_mm, where, share_percent)
    by_air = find_body_and_air(hu, spacing_mm).lungs
    anatomy = segment_lungs(hu, spacing_mm)
    true_ml = volume_ml(truth > 0, ct)
    assert volume_ml(by_air > 0, ct) < 0.85 * true_ml
    assert volume_ml(anatomy.lungs > 0, ct) == pytest.approx(
        true_ml, rel=largest_error_percent / 100
    )
    # Sides are told from the lungs' shape when they are measured.
    sides = split_left_right(anatomy.lungs > 0, spacing_mm)
    both = (sides > 0) & (truth > 0)
    assert (sides != truth)[both].mean() < 0.01
    added_ml = volume_ml(anatomy.airless, ct)
    named = [warning for warning in anatomy.warnings if warning.code.endswith("counted_as_lung")]
    named += [warning for warning in anatomy.warnings if warning.code == "airless_lung_counted"]
    told_ml = sum(float(warning.message.split(" mL")[0]) for warning in named)
    assert told_ml == pytest.approx(added_ml, abs=12)


@pytest.mark.slow
def test_dense_lung_counts_as_high_opacity_in_the_result(test_data: Path):
    ct = read(test_data, "unlabelled/normal_001")
    spacing_mm = ct.geometry.spacing_mm
    truth = find_body_and_air(ct.hu, spacing_mm).lungs
    hu = made_dense(ct.hu, truth, spacing_mm, BEHIND, 45)
    result = quantify(CTVolume(hu, ct.geometry), Options(lobes=NO_LOBES))
    both = result.measurements.region(BOTH_LUNGS_REGION)
    dense_percent = 100 * float((hu[truth > 0] > DENSE_ABOVE_HU).mean())
    assert both.lesion_percent == pytest.approx(dense_percent, abs=8)
    assert both.high_opacity_ml > 0.9 * volume_ml(result.lung_decisions == 1, ct)
    assert result.provenance is not None
    assert result.provenance.lung_model_name == LUNG_MODEL_FILE.stem
    assert "airless_lung_counted" in {warning.code for warning in result.warnings}


@pytest.mark.slow
def test_chest_wall_that_passed_for_lung_is_taken_out(test_data: Path):
    """The scan's grey values are shifted, its slices thin and its back against the table."""
    ct = read(test_data, "labelled/covid14")
    reader = read_label_file(test_data / "labelled" / "covid14" / "labels.nrrd").layers[..., 0] > 0
    by_air = find_body_and_air(ct.hu, ct.geometry.spacing_mm).lungs > 0
    anatomy = segment_lungs(ct.hu, ct.geometry.spacing_mm)
    assert dice(by_air, reader) < 0.92
    assert dice(anatomy.lungs > 0, reader) > 0.97
    assert "tissue_left_out" in {warning.code for warning in anatomy.warnings}
