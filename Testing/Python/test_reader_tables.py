"""Tables of observers' numbers: reading, which pairs are compared, files written."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from CovidLungQuantLib.cohort.agreement_files import AGREEMENT_FILES, write_agreement
from CovidLungQuantLib.cohort.reader_tables import (
    compare_observers,
    read_reader_tables,
    tables_of_files,
)
from CovidLungQuantLib.errors import BadInputError

TABLE = """\
case,measure,automatic,reader1,reader2,reader1_repeat
p01,lesion extent (%),12.0,11.0,13.0,11.5
p02,lesion extent (%),3.0,3.0,,3.5
p03,lesion extent (%),30.0,33.0,36.0,31.0

p01,GGO volume (mL),100,120,110,130
"""


@pytest.fixture
def table_path(tmp_path: Path) -> Path:
    path = tmp_path / "readers.csv"
    path.write_text(TABLE, encoding="utf-8")
    return path


def test_a_table_is_read_measure_by_measure(table_path: Path):
    extent, volume = read_reader_tables(table_path)
    assert (extent.measure, volume.measure) == ("lesion extent (%)", "GGO volume (mL)")
    assert extent.cases == ("p01", "p02", "p03")
    assert extent.observers["automatic"] == (12.0, 3.0, 30.0)
    assert math.isnan(extent.observers["reader2"][1])
    assert volume.observers["reader1_repeat"] == (130.0,)


def test_software_readers_and_repeats_are_compared(table_path: Path):
    comparisons = compare_observers(read_reader_tables(table_path)[0])
    assert [(item.kind, item.first, item.second) for item in comparisons] == [
        ("automatic against reader", "automatic", "reader1"),
        ("automatic against reader", "automatic", "reader2"),
        ("inter-observer", "reader2", "reader1"),
        ("intra-observer", "reader1_repeat", "reader1"),
    ]
    automatic, _, inter, intra = (item.agreement for item in comparisons)
    # 1, 0, -3; then 2 and 3 of two pairs; then 0.5, 0.5, -2.
    assert (automatic.n, automatic.bias) == (3, pytest.approx(-2 / 3))
    assert automatic.mean_absolute_error == pytest.approx(4 / 3)
    assert (inter.n, inter.missing, inter.bias) == (2, 1, 2.5)
    assert intra.bias == pytest.approx(-1 / 3)
    assert intra.mean_absolute_error == 1.0


def test_readers_alone_and_any_name_will_do(tmp_path: Path):
    path = tmp_path / "volume.csv"
    path.write_text("case,Anna,Bert,Carla\np1,1,2,3\np2,2,2,4\n")
    (table,) = read_reader_tables(path)
    assert table.measure == "volume"
    pairs = [(item.first, item.second) for item in compare_observers(table)]
    assert pairs == [("Bert", "Anna"), ("Carla", "Anna"), ("Carla", "Bert")]


def test_a_table_as_a_european_spreadsheet_saves_it(tmp_path: Path):
    path = tmp_path / "extent.csv"
    path.write_bytes("\ufeffcase; automatic ;Leserin\r\nMüller;1,5;2,25\r\n".encode())
    (table,) = read_reader_tables(path)
    assert table.cases == ("Müller",)
    assert table.observers == {"automatic": (1.5,), "Leserin": (2.25,)}


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("name,a,b\nx,1,2\n", "no column “case”"),
        ("case,automatic\nx,1\n", "at least two observers"),
        ("case,a,b_repeat\nx,1,2\n", "none called b;"),
        ("case,a,a\nx,1,2\n", "“a” twice"),
        ("case,a,b\nx,1,2\nx,3,4\n", "Line 3 .* holds case x of “table” a second time"),
        ("case,a,b\nx,1,about 2\n", "“about 2” in line 2, column b"),
        ("case,a,b\nx,1,5,2\n", "Line 2 .* has 4 cells"),
        ("case,a,b\n,1,2\n", "Line 2 .* names no case"),
        ("case,a,b\n", "holds no cases"),
        ("", "no column “case”"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_the_line(tmp_path: Path, text: str, part: str):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=part):
        read_reader_tables(path)


def test_files_that_are_no_tables_are_refused(tmp_path: Path):
    (tmp_path / "binary.csv").write_bytes(b"\x80\x81\xff")
    for name in ("binary.csv", "absent.csv", "."):
        with pytest.raises(BadInputError):
            read_reader_tables(tmp_path / name)


def test_one_measure_in_two_tables_is_refused(table_path: Path):
    with pytest.raises(BadInputError, match="comes in two tables"):
        tables_of_files([table_path, table_path])


def test_the_files_hold_every_comparison(table_path: Path, tmp_path: Path):
    tables = read_reader_tables(table_path)
    comparisons = [item for table in tables for item in compare_observers(table)]
    names = write_agreement(tmp_path, tables, comparisons, with_figures=False)
    assert sorted(names) == sorted(AGREEMENT_FILES)
    with (tmp_path / "agreement.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 8
    assert rows[2]["kind"] == "inter-observer" and float(rows[2]["bias"]) == 2.5
    assert rows[2]["spearman"] == "" and rows[2]["reason"] == "correlation needs 3 pairs"
    stored = json.loads((tmp_path / "agreement.json").read_text(encoding="utf-8"))
    assert stored["agreement"][2]["spearman"] is None
    page = (tmp_path / "agreement.html").read_text(encoding="utf-8")
    for text in (
        "inter-observer<br>reader2 − reader1",
        "2 (1 missing)",
        "3.1 ± 2.9",
        "0.72 ± 0.09",
    ):
        assert text in page
