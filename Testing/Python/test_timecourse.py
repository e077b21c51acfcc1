"""`covidlungquant timecourse`: groups, visits, patients, files; tables it refuses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib import cli
from CovidLungQuantLib.cohort.simulated_cohort import serial_scans
from CovidLungQuantLib.cohort.timecourse import (
    Scans,
    TimecourseOptions,
    timecourse,
    visit_rows,
)
from CovidLungQuantLib.cohort.timecourse_files import TIMECOURSE_FILES, write_timecourse
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_cohort_table
from CovidLungQuantLib.files.tables import write_csv

pytest.importorskip("pingouin", reason="the extra cohort is not installed")
pd = pytest.importorskip("pandas")

SMALL = {"moderate": 8, "severe": 6}
QUICK = TimecourseOptions(group="group", bootstraps=100, mixed=False)


@pytest.fixture
def serial(tmp_path: Path) -> Path:
    path = tmp_path / "serial.csv"
    write_csv(path, serial_scans(1, SMALL))
    return path


def changed(path: Path, **cells: str) -> Path:
    """The table with cells of its third scan (line 4) changed."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[2] |= cells
    write_csv(path, rows)
    return path


def test_groups_are_fitted_apart_and_peak_in_the_right_order(serial: Path):
    found = timecourse(read_cohort_table(serial), QUICK)
    assert found.groups == ("moderate", "severe")
    assert found.options.measures == (
        "ct_score",
        "lesion_percent",
        "ggo_percent",
        "high_opacity_percent",
    )
    by_group = {
        curve.group: curve.cubic for curve in found.curves if curve.measure == "lesion_percent"
    }
    assert by_group["moderate"].patients == 8 and by_group["severe"].patients == 6
    assert by_group["moderate"].peak_height < 8 < by_group["severe"].peak_height
    assert len(found.patients) == 4 * 14
    assert found.warnings == () or all("peak" in text or "below" in text for text in found.warnings)


def test_without_a_group_column_all_are_one(serial: Path):
    found = timecourse(
        read_cohort_table(serial),
        TimecourseOptions(bootstraps=100, mixed=False, measures=("ct_score",)),
    )
    assert found.groups == ("all",) and found.visits == ()
    assert found.curves[0].cubic.patients == 14


def test_the_mixed_model_and_its_test_stand_beside(serial: Path):
    options = TimecourseOptions(group="group", bootstraps=100, measures=("lesion_percent",))
    found = timecourse(read_cohort_table(serial), options)
    assert found.curves[0].mixed is not None
    assert found.group_tests[0].degrees_of_freedom == 3


def test_visits_take_the_nearest_scan_of_each_patient():
    # Days from the first scan: a 0, 6, 9; b 0, 20; c 0, 8.
    scans = Scans(
        days=np.array([4.0, 10.0, 13.0, 2.0, 22.0, 5.0, 13.0]),
        values=np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]),
        patients=np.array(["a", "a", "a", "b", "b", "c", "c"]),
        groups=np.array(["x", "x", "x", "x", "x", "y", "y"]),
    )
    first, week = visit_rows(scans, "m", TimecourseOptions(visits=(0.0, 7.0)))
    assert (first.n_first, first.median_first, first.n_second, first.median_second) == (
        2,
        2.5,
        1,
        6,
    )
    # Of a the scan a day before; b has none within three days.
    assert (week.n_first, week.median_first, week.n_second, week.median_second) == (1, 2.0, 1, 7.0)
    onset = visit_rows(scans, "m", TimecourseOptions(visits=(3.0,), visits_from_onset=True))
    assert (onset[0].n_first, onset[0].n_second) == (2, 1)


def test_mann_whitney_by_hand():
    # All of x below all of y: U = 0; of the 20 orders of 3 and 3 one is as far on either side.
    scans = Scans(
        days=np.zeros(6),
        values=np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        patients=np.array(list("abcdef")),
        groups=np.array(["x"] * 3 + ["y"] * 3),
    )
    (row,) = visit_rows(scans, "m", TimecourseOptions(visits=(0.0,)))
    assert row.u == 0.0 and row.p == pytest.approx(2 / 20)


def test_missing_values_are_counted_and_left_out_where_they_are(serial: Path):
    found = timecourse(read_cohort_table(changed(serial, ggo_percent="")), QUICK)
    assert found.missing == {
        "ct_score": 0,
        "lesion_percent": 0,
        "ggo_percent": 1,
        "high_opacity_percent": 0,
    }
    assert any("1 of" in text and "ggo_percent" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("cells", "part"),
    [
        ({"days_from_onset": "-2"}, r"In line 4 of serial.csv the day is negative \(-2"),
        ({"days_from_onset": "soon"}, "“soon” in line 4, column days_from_onset"),
        ({"patient_id": ""}, "In line 4 of serial.csv the patient is missing"),
        ({"group": "severe"}, r"In line \d of serial.csv patient m001 is in group"),
        ({"lesion_percent": "much"}, "“much” in line 4, column lesion_percent"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_with_its_line(
    serial: Path, cells: dict[str, str], part: str
):
    with pytest.raises(BadInputError, match=part):
        timecourse(read_cohort_table(changed(serial, **cells)), QUICK)


@pytest.mark.parametrize("column", ["days_from_onset", "group"])
def test_a_scan_without_day_or_group_is_left_out_and_said(serial: Path, column: str):
    table = read_cohort_table(serial)
    without = timecourse(table.where(table.frame.index != 4), QUICK)
    found = timecourse(read_cohort_table(changed(serial, **{column: ""})), QUICK)
    count = len(table.frame)
    assert found.warnings[0] == f"1 of {count} scans have no {column} and are left out."
    assert found.warnings[1:] == without.warnings
    for curve, same in zip(found.curves, without.curves, strict=True):
        np.testing.assert_array_equal(curve.cubic.curve, same.cubic.curve)


def test_other_tables_that_are_refused(serial: Path, tmp_path: Path):
    table = read_cohort_table(serial)
    with pytest.raises(BadInputError, match="no column “onset”"):
        timecourse(table, TimecourseOptions(days="onset"))
    with pytest.raises(BadInputError, match=r"names .* groups; give a column"):
        timecourse(table, TimecourseOptions(group="patient_id"))
    frame = table.frame.assign(days_from_onset="")
    with pytest.raises(BadInputError, match=r"Column days_from_onset .* is empty in every row"):
        timecourse(replace(table, frame=frame), QUICK)
    few = tmp_path / "few.csv"
    write_csv(few, serial_scans(1, {"moderate": 8, "severe": 2}))
    with pytest.raises(BadInputError, match=r"Group severe .* of 2 patients"):
        timecourse(read_cohort_table(few), QUICK)
    nothing = tmp_path / "nothing.csv"
    nothing.write_text("patient_id,days_from_onset\np,1\n")
    with pytest.raises(BadInputError, match="none of the columns"):
        timecourse(read_cohort_table(nothing), TimecourseOptions())


def test_files_hold_the_numbers_and_the_page_loads_nothing(serial: Path, tmp_path: Path):
    found = timecourse(read_cohort_table(serial), QUICK)
    out = tmp_path / "out"
    out.mkdir()
    assert write_timecourse(out, found, with_figures=True, with_published=True) == list(
        TIMECOURSE_FILES
    )
    with (out / "curves.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8 and float(rows[0]["a"]) == found.curves[0].cubic.coefficients[0]
    stored = json.loads((out / "timecourse.json").read_text(encoding="utf-8"))
    assert stored["options"]["group"] == "group" and len(stored["visits"]) == 12
    page = (out / "timecourse.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 5
    assert "http" not in page.replace("http://www.w3.org", "")


def test_parquet_gives_the_same_curves(serial: Path, tmp_path: Path):
    pd.read_csv(serial).to_parquet(tmp_path / "serial.parquet")
    of_csv, of_parquet = (
        timecourse(read_cohort_table(path), QUICK) for path in (serial, tmp_path / "serial.parquet")
    )
    for one, other in zip(of_csv.curves, of_parquet.curves, strict=True):
        assert one.cubic.coefficients == pytest.approx(other.cubic.coefficients, rel=1e-12)


def test_help_loads_no_statistics():
    loaded = "import sys; from CovidLungQuantLib.cli import program; print(*sys.modules)"
    modules = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert "CovidLungQuantLib.cli.prognosis" in modules
    assert not {"pandas", "statsmodels", "pingouin", "matplotlib"} & set(modules)


def test_the_command(serial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    arguments = ["timecourse", str(serial), "--group", "group", "--no-mixed", "-o", str(out)]
    assert cli.main([*arguments, "--bootstraps", "100", "--measures", "lesion_percent"]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(TIMECOURSE_FILES)
    printed = capsys.readouterr().out
    assert "lesion_percent, severe" in printed and "peak day" in printed
    # A second run refuses to write over it, and one on a bad table leaves it as it is.
    assert cli.main(arguments) == 2
    assert cli.main([*arguments, "--overwrite", "--days", "nowhen"]) == 2
    assert (out / "timecourse.html").is_file()
