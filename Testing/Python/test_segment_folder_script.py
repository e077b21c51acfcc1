"""The example script for a folder of scans, run in a process of its own in the stand-in."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="slicer-core is not installed")
pytest.importorskip("PySide6", reason="the stand-in needs PySide6")

from small_model import small_model

from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.phantom import chest_phantom

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "Docs" / "examples" / "segment_folder.py"
RESULTS = {
    "lesions.csv",
    "measurements.csv",
    "report.html",
    "result.json",
    "scene.mrb",
    "segmentation.seg.nrrd",
}


def run_script(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "Testing.slicer_stand_in.run_script", SCRIPT, "--"),
            *map(str, arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen", "LC_ALL": "C"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.pt"
    save_model(path, small_model().network)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two phantoms, a broken file, and a file that is no image."""
    folder = tmp_path_factory.mktemp("scans")
    case = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5))
    write_image(folder / "first.nrrd", case.ct.hu, case.ct.geometry)
    write_image(folder / "second.nii.gz", case.ct.hu, case.ct.geometry)
    (folder / "broken.nrrd").write_text("no image", encoding="utf-8")
    (folder / "notes.txt").write_text("no scan", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_a_folder_is_segmented_and_a_failed_scan_costs_one_line(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    output = tmp_path / "results"
    options = ("--model", model, "--device", "cpu")
    done = run_script(scans, output, *options)
    assert done.returncode == 1, done.stderr
    (failure,) = rows_of(output / "failures.csv")
    assert f"{failure['scan_id']}: {failure['reason']}" in done.stderr
    assert "2 of 3 scans are finished." in done.stdout
    rows = [row for row in rows_of(output / "cohort.csv") if row["status"] == "finished"]
    for row in rows:
        names = {path.name for path in (output / row["result_folder"]).iterdir()}
        assert names >= RESULTS
    first_ml, second_ml = (float(row["volume_ml"]) for row in rows)
    # NIfTI keeps the voxel size with fewer digits.
    assert first_ml == pytest.approx(second_ml, rel=1e-3)
    assert first_ml > 1000
    folder = output / rows[0]["result_folder"]
    assert "small" in (folder / "report.html").read_text(encoding="utf-8")  # the model is named

    # What is finished is skipped; what was interrupted is done again.
    shutil.rmtree(output / rows[1]["result_folder"])
    before = (folder / "scene.mrb").stat().st_mtime_ns
    again = run_script(scans, output, *options)
    assert again.returncode == 1, again.stderr
    assert "2 of 3 scans, 1 failed" in again.stdout
    assert (folder / "scene.mrb").stat().st_mtime_ns == before
    assert (output / rows[1]["result_folder"] / "scene.mrb").is_file()


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_cannot_begin_ends_with_two(tmp_path: Path) -> None:
    done = run_script(tmp_path / "nowhere", tmp_path / "results")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("segment_folder: The input nowhere is neither")
    assert not (tmp_path / "results").exists()
