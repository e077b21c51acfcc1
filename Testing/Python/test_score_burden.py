"""`covidlungquant score-burden`: correlations, fits, the published curve; tables it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from CovidLungQuantLib import cli
from CovidLungQuantLib.cohort.score_burden import (
    FOR_BOTH,
    FOR_PATIENT,
    FOR_TIME,
    PLAIN,
    ScoreBurdenOptions,
    score_burden,
)
from CovidLungQuantLib.cohort.score_burden_files import SCORE_BURDEN_FILES
from CovidLungQuantLib.cohort.simulated_cohort import serial_scans
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_cohort_table
from CovidLungQuantLib.files.tables import write_csv

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

OPTIONS = ScoreBurdenOptions(days="days_from_onset", patient="patient_id", bootstraps=100)


@pytest.fixture
def serial(tmp_path: Path) -> Path:
    path = tmp_path / "serial.csv"
    write_csv(path, serial_scans(1, {"moderate": 8, "severe": 6}))
    return path


def residuals_of_ranks(values: np.ndarray, design: np.ndarray) -> np.ndarray:
    ranks = stats.rankdata(values)
    return ranks - design @ np.linalg.lstsq(design, ranks, rcond=None)[0]


def test_partial_correlations_are_those_of_residual_ranks(serial: Path):
    table = read_cohort_table(serial)
    found = {
        row.controlled_for: row.correlation for row in score_burden(table, OPTIONS).correlations
    }
    score, burden = (table.numbers(name).to_numpy() for name in ("ct_score", "lesion_percent"))
    days = stats.rankdata(table.numbers("days_from_onset"))
    patients = table.texts("patient_id").to_numpy()
    dummies = (patients[:, None] == np.unique(patients)[None, :]).astype(float)
    one = np.ones((len(score), 1))
    assert set(found) == {PLAIN, FOR_TIME, FOR_PATIENT, FOR_BOTH}
    for name, design in (
        (PLAIN, one),
        (FOR_TIME, np.column_stack([one, days])),
        (FOR_PATIENT, dummies),
        (FOR_BOTH, np.column_stack([dummies, days])),
    ):
        expected = np.corrcoef(
            residuals_of_ranks(score, design), residuals_of_ranks(burden, design)
        )
        assert found[name].r == pytest.approx(expected[0, 1], abs=1e-9), name
        assert found[name].lower < found[name].r < found[name].upper


def test_scans_on_the_published_curve_give_it(tmp_path: Path):
    path = tmp_path / "curve.csv"
    scores = np.arange(0.0, 21.0)
    write_csv(
        path,
        [
            {"ct_score": score, "lesion_percent": -0.27 + 0.37 * score + 0.13 * score**2}
            for score in scores
        ],
    )
    found = score_burden(read_cohort_table(path), ScoreBurdenOptions(bootstraps=100))
    linear, quadratic = found.fits
    assert quadratic.coefficients == pytest.approx([-0.27, 0.37, 0.13])
    assert quadratic.r2 == pytest.approx(1.0) and linear.r2 < 0.95
    assert found.away_from_published == pytest.approx((0.0, 0.0), abs=1e-12)
    assert found.p_of_square < 1e-10
    assert [row.correlation.r for row in found.correlations] == [1.0]


def test_groups_are_correlated_apart(serial: Path):
    options = ScoreBurdenOptions(patient="patient_id", group="group", bootstraps=100)
    found = score_burden(read_cohort_table(serial), options)
    groups = [row.group for row in found.correlations if row.controlled_for == PLAIN]
    assert groups == ["", "moderate", "severe"]
    plain = found.correlations[0]
    assert plain.bootstrap_lower < plain.correlation.r < plain.bootstrap_upper


def test_tables_that_are_refused(serial: Path, tmp_path: Path):
    table = read_cohort_table(serial)
    with pytest.raises(BadInputError, match="no column “score”"):
        score_burden(table, ScoreBurdenOptions(score="score"))
    few = tmp_path / "few.csv"
    few.write_text("ct_score,lesion_percent\n" + "1,2\n" * 9)
    with pytest.raises(BadInputError, match="has 9 scans"):
        score_burden(read_cohort_table(few), ScoreBurdenOptions())
    few.write_text("ct_score,lesion_percent\n" + "1,2\n2,3\n" * 9)
    with pytest.raises(BadInputError, match="fewer than 4 different values"):
        score_burden(read_cohort_table(few), ScoreBurdenOptions())


def test_the_command(serial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    arguments = ["score-burden", str(serial), "--bootstraps", "100", "-o", str(out)]
    assert cli.main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(SCORE_BURDEN_FILES)
    # Days and patients are taken where the table has them.
    assert "controlled for time and patient" in capsys.readouterr().out
    with (out / "fits.csv").open(newline="", encoding="utf-8") as file:
        linear, quadratic = csv.DictReader(file)
    assert linear["square"] == "" and float(quadratic["square"]) > 0
    assert json.loads((out / "score-burden.json").read_text())["scans"] == 70
    page = (out / "score-burden.html").read_text(encoding="utf-8")
    assert "data:image/svg+xml" in page and "−0.27 + 0.37·score" in page
