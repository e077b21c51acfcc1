"""Segmentations of several readers and sessions compared: Dice, volumes, ICC in one command."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from small_chest import a_ct, a_label_map

from CovidLungQuantLib import cli
from CovidLungQuantLib.cohort.agreement_files import SEGMENTATION_AGREEMENT_FILES
from CovidLungQuantLib.cohort.observer_segmentations import (
    compare_segmentations,
    read_segmentation_list,
)
from CovidLungQuantLib.cohort.reader_tables import (
    compare_observers,
    read_reader_tables,
    reader_and_session,
    reading_name,
)
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.labels import GGO

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

READINGS = (("automatic", 1), ("anna", 1), ("anna", 2), ("anna", 3), ("bert", 1))
VOXEL_ML = a_ct().geometry.voxel_volume_ml


def labels_of(case: int, reading: int) -> np.ndarray:
    """GGO of 3 × 4 × 4 voxels, one row of 12 less for each number of the reading or case."""
    labels = a_label_map()
    labels[3:6, 5 : 5 + reading % 3 + case % 2, 4:8] = 1
    return labels


@pytest.fixture
def list_path(tmp_path: Path) -> Path:
    lines = ["case,reader,session,segmentation"]
    for case in range(4):
        for number, (reader, session) in enumerate(READINGS):
            name = f"{reader}-{session}/p{case}.nrrd"
            (tmp_path / name).parent.mkdir(exist_ok=True)
            write_image(tmp_path / name, labels_of(case, number), a_ct().geometry)
            lines.append(f"p{case},{reader},{session},{name}")
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_names_of_readings():
    for reader, session, name in (
        ("anna", 1, "anna"),
        ("anna", 2, "anna_repeat"),
        ("anna", 3, "anna_repeat2"),
        ("anna", 12, "anna_repeat11"),
    ):
        assert reading_name(reader, session) == name
        assert reader_and_session(name) == (reader, session)


def test_every_pair_of_readings_is_compared(list_path: Path):
    found = compare_segmentations(read_segmentation_list(list_path))
    pairs = {(item.kind, item.first, item.second) for item in found.overlaps}
    assert pairs == {
        ("automatic against reader", "automatic", "anna"),
        ("automatic against reader", "automatic", "bert"),
        ("inter-observer", "bert", "anna"),
        ("intra-observer", "anna_repeat", "anna"),
        ("intra-observer", "anna_repeat2", "anna"),
        ("intra-observer", "anna_repeat2", "anna_repeat"),
    }
    # Of p0 automatic has 48 voxels of GGO, anna 36 of them, and again 24.
    dice = {
        (item.case, item.first, item.second): item.dice
        for item in found.case_overlaps
        if item.structure == GGO.name
    }
    assert dice["p0", "automatic", "anna"] == pytest.approx(2 * 36 / (48 + 36))
    assert dice["p0", "anna_repeat", "anna"] == pytest.approx(2 * 24 / (36 + 24))
    assert dice["p1", "automatic", "anna"] == pytest.approx(2 * 24 / (36 + 24))


def test_volumes_become_tables_of_readers(list_path: Path):
    found = compare_segmentations(read_segmentation_list(list_path))
    volume = next(table for table in found.tables if table.measure == "GGO volume (mL)")
    assert volume.cases == ("p0", "p1", "p2", "p3")
    voxels = np.array(volume.observers["anna_repeat"]) / VOXEL_ML
    assert voxels == pytest.approx([24, 12, 24, 12])
    (automatic, *_) = compare_observers(volume)
    assert automatic.agreement.bias == pytest.approx(12 * VOXEL_ML)
    assert {table.measure for table in found.tables} == {
        f"{structure} {measure}"
        for structure in ("GGO", "High opacity", "Lesion")
        for measure in ("volume (mL)", "extent (%)")
    }


def test_a_reading_that_is_missing_leaves_its_pairs_out(list_path: Path):
    lines = list_path.read_text(encoding="utf-8").splitlines()
    list_path.write_text(
        "\n".join(line for line in lines if "bert-1/p2" not in line), encoding="utf-8"
    )
    found = compare_segmentations(read_segmentation_list(list_path))
    inter = next(
        item for item in found.overlaps if item.first == "bert" and item.structure == GGO.name
    )
    assert inter.summary.n == 3
    assert np.isnan(found.tables[0].observers["bert"][2])


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("p0,anna,1,anna-1/p0.nrrd", "a reading of case p0 by anna a second time"),
        ("p9,anna,1,nowhere.nrrd", "no segmentation nowhere.nrrd, which line 22"),
        ("p9,,1,anna-1/p0.nrrd", "lacks the case, the reader or the segmentation"),
        ("p9,anna,zero,anna-1/p0.nrrd", "session “zero” in line 22"),
    ],
)
def test_a_list_that_cannot_be_used(list_path: Path, line: str, part: str):
    list_path.write_text(f"{list_path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    with pytest.raises(BadInputError, match=part):
        read_segmentation_list(list_path)


def test_lesions_of_unknown_class_are_refused(list_path: Path):
    labels = labels_of(0, 4)
    labels[labels == 3] = 4
    write_image(list_path.parent / "anna-1" / "open.nrrd", labels, a_ct().geometry)
    list_path.write_text(
        list_path.read_text(encoding="utf-8").replace("anna-1/p0", "anna-1/open"), encoding="utf-8"
    )
    with pytest.raises(BadInputError, match="lesion"):
        compare_segmentations(read_segmentation_list(list_path))


def test_one_row_a_reading_is_the_same_as_one_row_a_case(tmp_path: Path):
    wide, long = tmp_path / "wide.csv", tmp_path / "long.csv"
    wide.write_text("case,measure,x,y,x_repeat\np1,m,1,2,3\np2,m,4,,6\n")
    long.write_text(
        "case,measure,reader,session,value\n"
        "p1,m,x,1,1\np1,m,y,1,2\np1,m,x,2,3\np2,m,x,,4\np2,m,x,2,6\n"
    )
    (expected,), (found,) = read_reader_tables(wide), read_reader_tables(long)
    assert found.cases == expected.cases and list(found.observers) == list(expected.observers)
    for name, values in expected.observers.items():
        assert found.observers[name] == pytest.approx(values, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("reader,value\nx,1\n", "no column “case”"),
        ("case,reader,value\np,x,1\n", "of one observer only"),
        ("case,reader,value\np,x,1\np,x,2\n", "Line 3 .* a second time"),
        ("case,reader,value\np,,1\n", "no case or no reader"),
        ("case,reader,session,value\np,x,2,1\np,y,1,1\n", "x_repeat but none called x"),
        ("case,reader,value\n", "holds no cases"),
    ],
)
def test_readings_that_cannot_be_used(tmp_path: Path, text: str, part: str):
    path = tmp_path / "long.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=part):
        read_reader_tables(path)


def test_the_command(list_path: Path, tmp_path: Path):
    out = tmp_path / "out"
    arguments = ["agreement", "--segmentations", str(list_path), "--no-figures", "-o", str(out)]
    assert cli.main(arguments) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(SEGMENTATION_AGREEMENT_FILES)
    with (out / "table2.csv").open(newline="", encoding="utf-8") as file:
        rows = {(row["measure"], row["first"], row["second"]): row for row in csv.DictReader(file)}
    row = rows["GGO Dice", "automatic", "anna"]
    assert float(row["dice"]) == pytest.approx((6 / 7 + 4 / 5) / 2) and row["mae"] == ""
    row = rows["GGO volume (mL)", "automatic", "anna"]
    assert float(row["mae"]) == pytest.approx(12 * VOXEL_ML) and 0 < float(row["icc"]) < 1
    page = (out / "agreement.html").read_text(encoding="utf-8")
    assert "anna_repeat2 − anna_repeat" in page and "all sessions of anna" in page
    assert cli.main(["agreement", "-o", str(tmp_path / "none")]) == 2
