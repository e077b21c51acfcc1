"""One row per figure: what a row says is what files, tables and reports show."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from dicom_series import write_series
from small_chest import a_ct, a_quantification, labels_at

from CovidLungQuantLib.cli.results import _text_table
from CovidLungQuantLib.cohort import follow_up as follow_up_module
from CovidLungQuantLib.cohort.follow_up import follow_up
from CovidLungQuantLib.cohort.follow_up_files import change_text, follow_up_page
from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.labels import Code
from CovidLungQuantLib.measures import columns
from CovidLungQuantLib.measures.columns import (
    HU,
    MEAN_ATTENUATION,
    NO_UNIT,
    REGION_COLUMNS,
    SCORE_COLUMNS,
    Column,
    DicomMeasure,
    Place,
    Unit,
    columns_in,
    density_columns,
    region_columns,
)
from CovidLungQuantLib.measures.structures import ALL_LESION
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.outputs.table import write_measurements_csv, write_result_json
from CovidLungQuantLib.pipeline import Quantification

PANEL = Path(__file__).resolve().parents[2] / "CovidLungQuant" / "Resources" / "UI"

# A figure nobody has yet: its field, as `measure_region` would compute it, and its row.
NEW_KEY = "lesion_p85_hu"
NEW_CODE = Code("99CLQ", "P85", "85th percentile of the density")
NEW_COLUMN = Column(
    NEW_KEY,
    "Lesion P85",
    HU,
    ALL_LESION,
    shown_in=tuple(Place),
    followed=True,
    dicom=DicomMeasure(MEAN_ATTENUATION.concept, NEW_CODE),
)


@dataclass(frozen=True)
class EnlargedMeasurement(RegionMeasurement):
    lesion_p85_hu: float = math.nan


def enlarged(quantification: Quantification, value: float) -> Quantification:
    """The same result with the new figure in every region."""
    rows = [
        EnlargedMeasurement(**asdict(row), **{NEW_KEY: value})
        for row in quantification.measurements.regions
    ]
    measurements = replace(quantification.measurements, regions=tuple(rows))
    return replace(quantification, measurements=measurements)


@pytest.fixture
def with_new_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "REGION_COLUMNS", (*REGION_COLUMNS, NEW_COLUMN))
    monkeypatch.setattr(follow_up_module, "RegionMeasurement", EnlargedMeasurement)


def test_every_field_of_a_region_has_its_row_in_order():
    assert [column.key for column in region_columns()] == [
        field.name for field in fields(RegionMeasurement)
    ]
    derived = [column for column in REGION_COLUMNS if not column.in_files]
    assert [column.key for column in derived] == ["normal_percent"]
    row = a_quantification().measurements.regions[0]
    assert row.normal_percent == pytest.approx(100 - row.lesion_percent)


def test_keys_are_unique_and_end_in_their_unit():
    rows = (*REGION_COLUMNS, *SCORE_COLUMNS)
    assert len({column.key for column in rows}) == len(rows)
    assert [
        c.key for c in rows if c.unit is not NO_UNIT and not c.key.endswith(c.unit.suffix)
    ] == []


def test_every_mean_has_its_standard_deviation_from_the_lung_to_the_lesion():
    shown = [(s.density_name or s.name, mean.key, sd.key) for s, mean, sd in density_columns()]
    assert shown == [
        ("Whole lung", "mean_hu", "sd_hu"),
        ("Normal lung", "normal_mean_hu", "normal_sd_hu"),
        ("GGO", "ggo_mean_hu", "ggo_sd_hu"),
        ("High opacity", "high_opacity_mean_hu", "high_opacity_sd_hu"),
        ("Lesion", "lesion_mean_hu", "lesion_sd_hu"),
    ]


def test_what_is_shown_where_in_which_order():
    shown = {place: [column.key for column in columns_in(place)] for place in Place}
    by_structure = ["volume_ml", "normal_ml", "ggo_ml", "ggo_percent", "high_opacity_ml"]
    by_structure += ["high_opacity_percent", "lesion_ml", "lesion_percent"]
    assert shown[Place.PRINTED] == shown[Place.REPORT] == by_structure
    lesion_first = ["volume_ml", "lesion_ml", "lesion_percent", "ggo_ml", "ggo_percent"]
    lesion_first += ["high_opacity_ml", "high_opacity_percent"]
    assert shown[Place.CHANGE_PAGE] == lesion_first
    assert shown[Place.PANEL_CHANGES] == [
        "lesion_ml",
        "lesion_percent",
        "ggo_ml",
        "high_opacity_ml",
    ]
    assert shown[Place.PRINTED_CHANGES] == shown[Place.REPORT_SEVERITY]
    assert shown[Place.REPORT_SEVERITY] == ["lesion_ml", "lesion_percent"]


def test_the_panel_says_what_the_rows_say():
    root = ElementTree.parse(PANEL / "CovidLungQuant.ui").getroot()
    results, lobes = (
        root.find(f".//widget[@name='{name}']") for name in ("resultsTable", "lobesTable")
    )
    texts = [
        tuple(row.findtext(f"property[@name='{name}']/string") for name in ("text", "toolTip"))
        for row in results.findall("row")
    ]
    assert texts == [(c.panel_heading, c.tip) for c in columns_in(Place.PANEL)]
    narrow = [item.findtext("property[@name='text']/string") for item in lobes.findall("column")]
    assert narrow[:-1] == [c.narrow_heading for c in columns_in(Place.PANEL_LOBES)]


def test_a_new_row_is_in_csv_and_json(tmp_path: Path, with_new_column: None):
    quantification = enlarged(a_quantification(lobes=True), -321.5)
    write_measurements_csv(tmp_path / "m.csv", quantification)
    write_result_json(tmp_path / "r.json", quantification)

    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        assert {row[NEW_KEY] for row in csv.DictReader(file)} == {"-321.5"}
    result = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert {row[NEW_KEY] for row in result["measurements"]} == {-321.5}


def test_a_new_row_is_followed_and_printed(tmp_path: Path, with_new_column: None):
    for index, name in enumerate(("first", "second")):
        result = a_quantification(labels=labels_at(index), lobes=True)
        write_results(tmp_path / name, enlarged(result, -300.0 - 10 * index))

    found = follow_up([tmp_path / "first", tmp_path / "second"])

    change = found.change("left lung", NEW_KEY)
    assert (change.from_first, change.unit, change.change_unit) == (-10.0, "HU", "HU")
    assert change_text(found)[0][-2:] == ("lesion P85 HU", "change")
    assert change_text(found)[1][-2:] == ("−300.0 → −310.0", "−10.0")
    assert "Lesion P85 <small>HU</small>" in follow_up_page(found, with_figures=False)
    printed = columns_in(Place.PRINTED)[-1]
    assert (printed.printed_heading, printed.printed(-321.5)) == ("lesion P85", "-322")
    assert printed.printed(math.nan) == "–"
    lines = _text_table(enlarged(a_quantification(), -321.5)).splitlines()
    assert lines[0].endswith("lesion P85") and lines[1].endswith("HU")
    assert all(line.endswith("-322") for line in lines[2:])


def test_a_figure_that_follows_from_others_is_one_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    mass = Column(
        "lesion_mass_g",
        "Lesion mass",
        Unit("g", "_g", "g", 1),
        ALL_LESION,
        shown_in=tuple(Place),
        followed=True,
        derived=lambda region: region.lesion_ml * (1 + region.lesion_mean_hu / 1000),
    )
    monkeypatch.setattr(columns, "REGION_COLUMNS", (*REGION_COLUMNS, mass))
    quantification = a_quantification()
    both = quantification.measurements.regions[0]
    expected = both.lesion_ml * (1 + both.lesion_mean_hu / 1000)
    for name in ("first", "second"):
        write_results(tmp_path / name, quantification)

    with (tmp_path / "first" / "measurements.csv").open(encoding="utf-8") as file:
        assert float(next(csv.DictReader(file))["lesion_mass_g"]) == expected
    change = follow_up([tmp_path / "first", tmp_path / "second"]).change(
        "both lungs", "lesion_mass_g"
    )
    assert change.values == (expected, expected)
    assert f"{expected:.1f}" in _text_table(quantification).splitlines()[2]


def test_results_of_before_a_new_row_can_still_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_results(tmp_path / "first", a_quantification())
    monkeypatch.setattr(columns, "REGION_COLUMNS", (*REGION_COLUMNS, NEW_COLUMN))
    monkeypatch.setattr(follow_up_module, "RegionMeasurement", EnlargedMeasurement)
    write_results(tmp_path / "second", enlarged(a_quantification(), -300.0))

    change = follow_up([tmp_path / "first", tmp_path / "second"]).change("both lungs", NEW_KEY)

    assert math.isnan(change.values[0]) and change.values[1] == -300.0
    assert math.isnan(change.from_first)


def test_a_new_row_is_in_the_dicom_report(tmp_path: Path, with_new_column: None):
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    from CovidLungQuantLib.outputs.dicom_files import DICOM_MEASUREMENTS_FILE, write_dicom

    files = write_series(tmp_path / "scan", a_ct().hu)
    ct = read_ct(tmp_path / "scan")
    (tmp_path / "out").mkdir()
    quantification = enlarged(a_quantification(ct), -321.5)
    write_dicom(tmp_path / "out", quantification, files)

    report = highdicom.sr.srread(tmp_path / "out" / DICOM_MEASUREMENTS_FILE)
    values = [
        float(item.value)
        for group in report.content.get_image_measurement_groups()
        for item in group.get_measurements()
        if item.derivation is not None and item.derivation.value == NEW_CODE.value
    ]
    assert values == [-321.5] * 3


def test_a_new_row_is_in_the_table_of_the_scene(
    request: pytest.FixtureRequest, with_new_column: None
):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    scene = request.getfixturevalue("scene")
    from CovidLungQuantLib.mrml.table import measurements_to_node
    from CovidLungQuantLib.mrml.volumes import ct_to_node

    volume_node = ct_to_node(scene, a_ct())
    node = measurements_to_node(scene, enlarged(a_quantification(), -321.5), volume_node)

    assert node.GetColumnTitle(NEW_KEY) == "Lesion P85 (HU)"
    assert node.GetColumnUnitLabel(NEW_KEY) == "HU"
    assert node.GetTable().GetColumnByName(NEW_KEY).GetVariantValue(0).ToDouble() == -321.5
