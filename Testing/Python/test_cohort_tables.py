"""Tables of cohorts: CSV and Parquet, what is missing, what is refused and with which line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_cohort_table

pytest.importorskip("pingouin", reason="the extra cohort is not installed")
pd = pytest.importorskip("pandas")

TEXT = """\
scan_id,patient_id,days_from_onset,group,lesion_percent,status,smoker
s1,1,3,mild,2.5,done,yes
s2,1,NA,mild,,finished,none

s3,2,5,severe,40,failed,
s4,3,0,severe,12,done,n/a
"""


@pytest.fixture
def csv_path(tmp_path: Path) -> Path:
    path = tmp_path / "cohort.csv"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_rows_that_were_not_measured_are_left_out_and_counted(csv_path: Path):
    table = read_cohort_table(csv_path)
    assert table.left_out == 1
    assert list(table.texts("scan_id")) == ["s1", "s2", "s4"]
    # Lines of the file, so that messages name what a person sees there.
    assert list(table.frame.index) == [2, 3, 6]


def test_missing_values_are_missing_and_words_are_not(csv_path: Path):
    table = read_cohort_table(csv_path)
    assert table.numbers("lesion_percent").tolist()[0] == 2.5
    assert math.isnan(table.numbers("lesion_percent")[3])
    assert math.isnan(table.numbers("days_from_onset")[3])
    assert list(table.texts("smoker")) == ["yes", "none", None]
    assert table.is_numeric("lesion_percent") and not table.is_numeric("smoker")


def test_parquet_gives_the_same_as_csv(csv_path: Path, tmp_path: Path):
    frame = pd.DataFrame(
        {
            "patient_id": [1, 2, 3],
            "lesion_percent": [2.5, None, 12.0],
            "icu": [True, False, True],
            "day": pd.array([3, None, 7], dtype="Int64"),
        }
    )
    path = tmp_path / "cohort.parquet"
    frame.to_parquet(path)
    table = read_cohort_table(path)
    assert list(table.texts("patient_id")) == ["1", "2", "3"]
    assert table.numbers("icu").tolist() == [1.0, 0.0, 1.0]
    assert math.isnan(table.numbers("day")[2]) and table.numbers("day")[3] == 7.0
    assert list(table.frame.index) == [1, 2, 3]


def test_semicolons_and_decimal_commas(tmp_path: Path):
    path = tmp_path / "cohort.csv"
    path.write_text("patient;extent\nMüller;1,5\n", encoding="utf-8")
    assert read_cohort_table(path).numbers("extent").tolist() == [1.5]


def test_a_word_among_numbers_is_named_with_its_line(csv_path: Path):
    csv_path.write_text(
        TEXT.replace("s4,3,0,severe,12", "s4,3,0,severe,about 12"), encoding="utf-8"
    )
    with pytest.raises(BadInputError, match=r"“about 12” in line 6, column lesion_percent"):
        read_cohort_table(csv_path).numbers("lesion_percent")


def test_infinity_is_no_number(csv_path: Path):
    csv_path.write_text(TEXT.replace("s4,3,0,severe,12", "s4,3,0,severe,inf"), encoding="utf-8")
    with pytest.raises(BadInputError, match="no number"):
        read_cohort_table(csv_path).numbers("lesion_percent")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a,a\n1,2\n", "“a” twice"),
        ("a,b\n", "no row below its first line"),
        ("a,status\n1,failed\n", "no row of a scan that was measured"),
        ("a,b\n1,2,3\n", "Line 2 .* has 3 cells"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, part: str):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=part):
        read_cohort_table(path)


def test_a_missing_column_is_named_with_those_there(csv_path: Path):
    with pytest.raises(BadInputError, match=r"no column “icu”.*days_from_onset"):
        read_cohort_table(csv_path).numbers("icu")


def test_garbage_is_refused(tmp_path: Path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 garbage PAR1")
    (tmp_path / "x.csv").write_bytes(b"\x80\x81\xff")
    for name in ("x.parquet", "x.csv", "absent.csv", "absent.parquet"):
        with pytest.raises(BadInputError):
            read_cohort_table(tmp_path / name)
