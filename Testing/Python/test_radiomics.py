"""Regions exported for PyRadiomics, and features against the bias of scans."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest
from small_result import small_ct, small_labels, write_small_result

from CovidLungQuantLib import cli
from CovidLungQuantLib.cohort.radiomics_export import EXPORT_FILES, region_masks
from CovidLungQuantLib.cohort.scan_bias import BiasOptions, feature_bias, feature_biases
from CovidLungQuantLib.cohort.scan_bias_files import BIAS_FILES
from CovidLungQuantLib.cohort.simulated_cohort import feature_values
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_cohort_table
from CovidLungQuantLib.files.images import read_image, write_image
from CovidLungQuantLib.files.tables import write_csv

pytest.importorskip("pingouin", reason="the extra cohort is not installed")


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_result(tmp_path_factory.mktemp("result"))[0]


@pytest.fixture
def cohort(result: Path, tmp_path: Path) -> Path:
    """Two results, the second of a scan that is not there."""
    write_image(tmp_path / "ct.nrrd", small_ct().hu, small_ct().geometry)
    path = tmp_path / "cohort.csv"
    path.write_text(
        "scan_id,patient_id,result_folder,ct,status\n"
        f"s/1,p1,{result},ct.nrrd,done\ns2,p2,{result},absent.nrrd,done\ns3,p3,,,failed\n"
    )
    return path


def test_the_export_is_what_pyradiomics_takes(cohort: Path, tmp_path: Path, capsys):
    out = tmp_path / "out"
    assert cli.main(["radiomics", str(cohort), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(EXPORT_FILES)
    printed = capsys.readouterr().out
    assert "1 scans exported, 1 left out" in printed and "Left out: s2" in printed
    with (out / "pyradiomics.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["region"]: row for row in csv.DictReader(file)}
    assert {"lungs", "lesion", "ggo", "high_opacity", "parenchyma"} <= set(rows)
    labels = small_labels()
    expected = region_masks(labels, small_ct().geometry.spacing_mm)
    for region in ("lungs", "lesion", "ggo", "high_opacity", "parenchyma"):
        row = rows[region]
        assert (row["scan_id"], row["patient_id"], row["Label"]) == ("s/1", "p1", "1")
        mask, geometry = read_image(out / row["Mask"])
        assert (mask == expected[region]).all() and set(np.unique(mask)) == {0, 1}
        assert geometry.shape == small_ct().geometry.shape
        assert float(row["volume_ml"]) == pytest.approx(mask.sum() * geometry.voxel_volume_ml)
        image, _ = read_image(out / row["Image"])
        assert (image == small_ct().hu).all()
    assert "binWidth: 25" in (out / "pyradiomics.yaml").read_text()


def test_parenchyma_is_lung_away_from_lesions_vessels_and_the_border():
    labels = small_labels()
    vessels = np.zeros(labels.shape, bool)
    vessels[20, 30, 50] = True
    masks = region_masks(labels, small_ct().geometry.spacing_mm, None, vessels)
    parenchyma = masks["parenchyma"]
    assert parenchyma.any() and not (parenchyma & (labels != 1)).any()
    assert not parenchyma[20, 30, 50] and parenchyma[20, 30, 52]
    assert (masks["ggo"] | masks["high_opacity"]).sum() == masks["lesion"].sum()


def test_lesions_are_divided_by_lobe():
    labels = small_labels()
    lobes = np.where(labels > 0, 1, 0).astype(np.uint8)
    lobes[:, :, 40:][labels[:, :, 40:] > 0] = 5
    masks = region_masks(labels, small_ct().geometry.spacing_mm, lobes)
    by_lobe = [mask for name, mask in masks.items() if name.endswith("_lesion")]
    assert len(by_lobe) == 5
    assert sum(mask.sum() for mask in by_lobe) == masks["lesion"].sum()
    assert sum(bool(mask.any()) for mask in by_lobe) == 2


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("scan_id,ct\ns1,ct.nrrd\n", "no column “result_folder”"),
        ("scan_id,result_folder\ns1,one\ns1,one\n", "names scan s1 twice"),
        ("scan_id,result_folder\ns1,\n", "In line 2 .* result_folder is missing"),
        ("scan_id,result_folder\ns1,RESULT\n", "does not hold the scan itself"),
        ("scan_id,result_folder,ct\ns1,nowhere,ct.nrrd\n", "No scan .* can be exported"),
    ],
)
def test_tables_that_cannot_be_exported(
    cohort: Path,
    result: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    part: str,
):
    cohort.write_text(text.replace("RESULT", str(result)), encoding="utf-8")
    assert cli.main(["radiomics", str(cohort), "-o", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    assert re.search(part, capsys.readouterr().err)


def test_another_scan_on_the_same_voxels_is_left_out(cohort: Path, tmp_path: Path, capsys):
    write_image(tmp_path / "ct.nrrd", small_ct().hu + np.int16(5), small_ct().geometry)
    assert cli.main(["radiomics", str(cohort), "-o", str(tmp_path / "out")]) == 2
    assert "HU on average" in capsys.readouterr().err


def test_bias_and_signal_by_hand():
    parenchyma = np.array([-860.0, -850.0, -840.0] * 4)
    signal = np.array([100.0, 100.0, 100.0, 200.0, 200.0, 200.0] * 2)
    found = feature_bias("f", parenchyma + signal, parenchyma)
    assert found.bias_sd == pytest.approx(math.sqrt(8 * 100 / 11))
    assert found.signal_sd == pytest.approx(math.sqrt(12 * 2500 / 11))
    assert found.signal_to_bias == pytest.approx(math.sqrt(30000 / 800))
    # Bias and signal are independent, so r² is the signal's share of the variance.
    assert found.r2 == pytest.approx(30000 / (30000 + 800))
    assert found.lower > 1 and found.verdict == "signal exceeds the scan's bias"


def test_a_feature_of_bias_is_found_out(tmp_path: Path):
    path = tmp_path / "features.csv"
    write_csv(path, feature_values(0))
    found = {item.feature: item for item in feature_biases(read_cohort_table(path), BiasOptions())}
    assert set(found) == {"firstorder_Mean", "glcm_Contrast", "firstorder_Minimum"}
    assert found["firstorder_Mean"].lower > 1
    assert found["firstorder_Minimum"].upper < 1
    assert "subtract the parenchyma" in found["firstorder_Minimum"].verdict


def test_features_that_cannot_be_checked(tmp_path: Path):
    path = tmp_path / "features.csv"
    rows = feature_values(0)
    write_csv(path, [*rows, rows[0]])
    with pytest.raises(BadInputError, match="region lesion a second time"):
        feature_biases(read_cohort_table(path), BiasOptions())
    write_csv(path, rows[:10])
    with pytest.raises(BadInputError, match="5 scans with both"):
        feature_biases(read_cohort_table(path), BiasOptions())
    write_csv(path, [{"scan_id": row["scan_id"], "region": row["region"]} for row in rows])
    with pytest.raises(BadInputError, match="no column of numbers"):
        feature_biases(read_cohort_table(path), BiasOptions())
    assert feature_bias("f", np.ones(12), np.zeros(12)).verdict == "the same in all scans"


def test_the_check_as_a_command(tmp_path: Path):
    write_csv(tmp_path / "features.csv", feature_values(0))
    out = tmp_path / "out"
    assert cli.main(["radiomics", "--check", str(tmp_path / "features.csv"), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == sorted(BIAS_FILES)
    with (out / "signal_to_bias.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    ratios = [float(row["signal_to_bias"]) for row in rows]
    assert ratios == sorted(ratios, reverse=True)
    assert "data:image/svg+xml" in (out / "signal_to_bias.html").read_text(encoding="utf-8")
    assert cli.main(["radiomics", "-o", str(tmp_path / "none")]) == 2
