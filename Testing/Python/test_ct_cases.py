"""Inputs that a reader once got wrong, made by the scripts beside the real scans where there are.

`COVIDLUNGQUANT_CASES` names their folder; else it is looked for beside that of the scans. Each
script writes an altered copy of a real series.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.ct import read_ct
from Testing.Python.refusals import codes, refusal

pytestmark = pytest.mark.slow

CASE_RUNNER = Path(__file__).with_name("case_runner.py")
CASES_VARIABLE = "COVIDLUNGQUANT_CASES"
THICK = ["thick_slices", "slice_gaps"]


@pytest.fixture(scope="module")
def truth(test_data: Path) -> np.ndarray:
    """Every third slice of the real series, as the scripts take them."""
    return read_ct(test_data / "dicom" / "covid_P001").hu[::3]


@pytest.fixture(scope="module")
def make(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Run a script; returns the folder it wrote into."""
    folder = Path(os.environ.get(CASES_VARIABLE, test_data.parent / "cases"))

    @cache
    def run(name: str) -> Path:
        script = folder / "scans" / f"{name}.py"
        if not script.is_file():
            pytest.skip(f"no {name}.py here: set {CASES_VARIABLE} to the folder of the cases")
        out = tmp_path_factory.mktemp(name)
        environment = {
            **os.environ,
            "COVIDLUNGQUANT_TEST_DATA": str(test_data),
            "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        }
        subprocess.run([sys.executable, CASE_RUNNER, script, out], env=environment, check=True)
        return out

    return run


@pytest.fixture
def damaged(test_data: Path) -> Path:
    """The folder of small damaged files, or skip."""
    folder = Path(os.environ.get(CASES_VARIABLE, test_data.parent / "cases")) / "damaged"
    if not folder.is_dir():
        pytest.skip(f"no damaged files here: set {CASES_VARIABLE} to the folder of the cases")
    return folder


@pytest.mark.parametrize(
    ("name", "folder", "expected"),
    [
        ("monochrome1_signed", "scan", THICK),
        ("duplicate_copies", "scan", ["copies_dropped", *THICK]),
        ("longer_series_that_cannot_be_read", "scan", ["series_chosen", *THICK]),
        ("no_preamble_named_by_uid", "scan", THICK),
        ("symlinked_series_folder", "study", THICK),
        ("enhanced_multi_frame", "scan", THICK),
        ("scene_of_scan_with_ampersand", "Thorax & Abdomen", THICK),
        ("dicom_results_of_odd_headers", "no_slice_thickness", THICK[:1]),
        ("dicom_results_of_odd_headers", "one_sop_uid", ["instance_uids_repeated", *THICK]),
    ],
)
def test_odd_series_are_read_right(
    make: Callable[[str], Path], truth: np.ndarray, name: str, folder: str, expected: list[str]
) -> None:
    ct = read_ct(make(name) / folder)
    np.testing.assert_array_equal(ct.hu, truth)
    assert codes(ct) == expected


@pytest.mark.parametrize(
    ("name", "folder", "words"),
    [
        ("missing_intercept", "scan", "no rescale slope and intercept"),
        ("third_of_slices_without_rescale_signed", "scan", "17 of 50 slices give no rescale"),
        ("short_pixel_data", "scan", "0025.dcm"),
        ("two_scans_one_series", "half_a_step", "2 patients"),
        ("two_scans_one_series", "end_to_end", "2 patients"),
    ],
)
def test_series_that_cannot_be_right_are_refused(
    make: Callable[[str], Path], name: str, folder: str, words: str
) -> None:
    assert words in refusal(make(name) / folder)


@pytest.mark.parametrize("name", ["dicom-length", "dicom-short-pixels"])
def test_damaged_series_are_refused(damaged: Path, name: str) -> None:
    assert "cannot be read" in refusal(damaged / name) or "can be read" in refusal(damaged / name)


def test_a_series_number_that_is_none_does_no_harm(damaged: Path) -> None:
    assert codes(read_ct(damaged / "dicom-number")) == ["thick_slices"]
