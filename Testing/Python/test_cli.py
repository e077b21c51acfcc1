"""The command line, run as users run it."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sentences import is_one_sentence
from small_model import small_model

from CovidLungQuantLib import __version__, cli
from CovidLungQuantLib.cli import info, program
from CovidLungQuantLib.cli.progress_bar import LineProgress
from CovidLungQuantLib.errors import Cancelled, OutOfResourcesError
from CovidLungQuantLib.labels import DISCLAIMER, is_lesion
from CovidLungQuantLib.lesions.kinds import KIND_CHOICES
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.lesions.probability import DECISION_CODE
from CovidLungQuantLib.phantom import DEFAULT_SHAPE, DEFAULT_SPACING_MM

FILES = [
    "lesions.csv",
    "lobes.seg.nrrd",
    "measurements.csv",
    "report.html",
    "result.json",
    "segmentation.seg.nrrd",
]
PROJECT_ROOT = Path(cli.__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(PROJECT_ROOT), os.environ.get("PYTHONPATH", "")])
SHAPE = (40, 64, 80)
SPACING_MM = (4.5, 4.5, 6.0)


def a_chest() -> tuple[np.ndarray, np.ndarray]:
    """HU and labels of two boxes of lung in a box of tissue, with lesion in the right one."""
    hu = np.full(SHAPE, -1000, dtype=np.int16)
    hu[:, 10:54, 8:72] = 40
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[6:34, 18:46, 14:38] = 1
    labels[6:34, 18:46, 43:64] = 1
    labels[10:16, 30:40, 18:28] = 2
    labels[16:18, 30:40, 18:28] = 3
    for value, level_hu in ((1, -850), (2, -550), (3, -50)):
        hu[labels == value] = level_hu
    hu += np.random.default_rng(0).integers(-20, 21, SHAPE).astype(np.int16)
    return hu, labels


def a_lobe_map() -> np.ndarray:
    """Lobes of the two boxes, one above the other, the middle lobe in front."""
    lung = a_chest()[1] > 0
    lobes = np.zeros(SHAPE, dtype=np.uint8)
    lobes[:18, :, :40], lobes[18:, :, :40] = 3, 1
    lobes[18:24, :30, :40] = 2
    lobes[:20, :, 40:], lobes[20:, :, 40:] = 5, 4
    lobes[:20, :26, 40:] = 4
    return lobes * lung


def write_image(array: np.ndarray, path: Path) -> Path:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin((-180.0, -144.0, -120.0))
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def ct_path(tmp_path: Path) -> Path:
    return write_image(a_chest()[0], tmp_path / "chest.nrrd")


@pytest.fixture
def labels_path(tmp_path: Path) -> Path:
    return write_image(a_chest()[1], tmp_path / "labels.nii.gz")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture) -> Callable[..., Done]:
    """Run the command line in this process, which saves loading PyTorch each time."""

    def run_here(*arguments: str | Path) -> Done:
        capsys.readouterr()
        try:
            returncode = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:
            returncode = stop.code
        shown = capsys.readouterr()
        return Done(returncode, shown.out, shown.err)

    return run_here


def test_measure_writes_the_numbers_of_the_given_segmentation(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    done = run("measure", ct_path, labels_path, "-o", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == FILES
    with (tmp_path / "out" / "measurements.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    both, right, left = rows[:3]
    assert len(rows) == 3 + 5 + 20
    voxel_ml = 4.5 * 4.5 * 6.0 / 1000
    assert float(both["ggo_ml"]) == pytest.approx(600 * voxel_ml, rel=1e-12)
    assert float(right["high_opacity_ml"]) == pytest.approx(200 * voxel_ml, rel=1e-12)
    assert float(right["volume_ml"]) == pytest.approx(28 * 28 * 24 * voxel_ml, rel=1e-12)
    assert float(left["lesion_ml"]) == 0.0
    assert float(left["mean_hu"]) == pytest.approx(-850, abs=1)


def test_measure_prints_a_table_the_disclaimer_and_where_the_files_lie(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    done = run("measure", ct_path, labels_path, "-o", tmp_path / "out")

    assert "both lungs" in done.stdout and "left lung" in done.stdout
    assert DISCLAIMER in done.stdout
    assert str(tmp_path / "out") in done.stdout
    # Plain lines where there is no terminal: no bar, and few of them.
    assert "\r" not in done.stderr and len(done.stderr.splitlines()) < 15


def test_lobes_of_a_file_are_measured_and_none_leaves_them_out(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    lobes = write_image(a_lobe_map(), tmp_path / "their_lobes.nii.gz")

    given = run("measure", ct_path, labels_path, "--lobes", lobes, "-o", tmp_path / "given")
    without = run("measure", ct_path, labels_path, "--lobes", "none", "-o", tmp_path / "without")

    assert (given.returncode, without.returncode) == (0, 0), given.stderr + without.stderr
    with (tmp_path / "given" / "measurements.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["region"]: row for row in csv.DictReader(file)}
    voxel_ml = 4.5 * 4.5 * 6.0 / 1000
    # Slices 6 to 17 of the right box are the lower lobe, and hold all of the lesion.
    lower = rows["right lower lobe"]
    assert float(lower["volume_ml"]) == pytest.approx(12 * 28 * 24 * voxel_ml, rel=1e-12)
    assert float(lower["lesion_percent"]) == pytest.approx(100 * 800 / (12 * 28 * 24), rel=1e-12)
    assert (lower["ct_score"], rows["both lungs"]["ct_score"]) == ("2", "2")
    assert rows["left lower lobe"]["ct_score"] == "0"
    assert rows["both lungs"]["involved_lobes"] == "1"
    assert "Lobe CT score          2 of 25 (RUL 0, RML 0, RLL 2, LUL 0, LLL 0)" in given.stdout
    result = json.loads((tmp_path / "given" / "result.json").read_text(encoding="utf-8"))
    assert result["scores"]["ct_score"] == 2
    assert result["provenance"]["options"]["lobes"] == "given"
    assert result["provenance"]["lobe_model_name"] is None
    with (tmp_path / "without" / "measurements.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 3
    assert not (tmp_path / "without" / "lobes.seg.nrrd").exists()
    assert "CT-SS" not in without.stdout


def test_lobes_found_by_a_run_give_the_same_numbers_again(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    run("measure", ct_path, labels_path, "-o", tmp_path / "first")
    written = [tmp_path / "first" / name for name in ("segmentation.seg.nrrd", "lobes.seg.nrrd")]
    run("measure", ct_path, written[0], "--lobes", written[1], "-o", tmp_path / "second")

    first, second = (tmp_path / name / "measurements.csv" for name in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    result = json.loads((tmp_path / "first" / "result.json").read_text(encoding="utf-8"))
    assert result["provenance"]["lobe_model_name"] == "lobes-from-shape-1"
    assert len(result["provenance"]["lobe_model_sha256"]) == 64


def test_the_mirror_image_is_asked_when_the_user_wants_it(
    run: Callable[..., Done], ct_path: Path, tmp_path: Path
):
    model = tmp_path / "small.pt"
    save_model(model, small_model().network)
    labels = {}
    for name, extra in (("plain", ()), ("mirror", ("--mirror",))):
        out = tmp_path / name
        done = run("segment", ct_path, "--model", model, "--lobes", "none", *extra, "-o", out)
        assert done.returncode == 0, done.stderr
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
        assert result["provenance"]["options"]["mirror"] is bool(extra)
        labels[name] = sitk.GetArrayFromImage(sitk.ReadImage(str(out / "segmentation.seg.nrrd")))
    # Random weights see a scan and its mirror image differently.
    assert np.any(labels["plain"] != labels["mirror"])


def test_probability_is_written_when_asked_for_and_changes_no_label(
    run: Callable[..., Done], ct_path: Path, tmp_path: Path
):
    model = tmp_path / "small.pt"
    save_model(model, small_model().network)
    for name, extra in (("plain", ()), ("kept", ("--probability",))):
        out = tmp_path / name
        done = run("segment", ct_path, "--model", model, "--lobes", "none", *extra, "-o", out)
        assert done.returncode == 0, done.stderr
    assert not (tmp_path / "plain" / "probability.nrrd").exists()
    segmentations = [
        (tmp_path / name / "segmentation.seg.nrrd").read_bytes() for name in ("plain", "kept")
    ]
    assert segmentations[0] == segmentations[1]
    image = sitk.ReadImage(str(tmp_path / "kept" / "probability.nrrd"))
    probability = sitk.GetArrayFromImage(image)
    labels = sitk.GetArrayFromImage(
        sitk.ReadImage(str(tmp_path / "kept" / "segmentation.seg.nrrd"))
    )
    assert probability.dtype == np.uint8
    assert image.GetSpacing() == SPACING_MM
    assert probability.any() and not probability[labels == 0].any()
    assert is_lesion(labels[probability > DECISION_CODE]).all()
    with (tmp_path / "kept" / "lesions.csv").open(newline="", encoding="utf-8") as file:
        assert all(0 < float(row["confidence"]) <= 1 for row in csv.DictReader(file))


def test_results_hold_no_path(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    run("measure", ct_path, labels_path, "-o", tmp_path / "out")

    for name in ("measurements.csv", "report.html", "result.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text(encoding="utf-8")


def test_measuring_what_was_written_gives_the_same_numbers(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    run("measure", ct_path, labels_path, "-o", tmp_path / "first")
    written = tmp_path / "first" / "segmentation.seg.nrrd"
    run("measure", ct_path, written, "-o", tmp_path / "second")

    for name in ("measurements.csv", "segmentation.seg.nrrd"):
        first, second = (tmp_path / run_name / name for run_name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_warnings_reach_the_exit_message_the_table_and_the_json(
    run: Callable[..., Done], ct_path: Path, tmp_path: Path
):
    labels = a_chest()[1]
    labels[:, :, 40:] = 0
    one_lung = write_image(labels, tmp_path / "one_lung.nrrd")

    done = run("measure", ct_path, one_lung, "-o", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    assert "Warning: No left lung was found" in done.stdout
    with (tmp_path / "out" / "measurements.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert all("one_lung" in row["warnings"].split(";") for row in rows)
    assert rows[2]["lesion_percent"] == ""
    result = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert "one_lung" in [warning["code"] for warning in result["warnings"]]
    assert "No left lung was found" in (tmp_path / "out" / "report.html").read_text("utf-8")


@pytest.mark.parametrize("command", ["segment", "measure"])
def test_results_already_there_are_refused_before_anything_is_read(
    run: Callable[..., Done], command: str, tmp_path: Path
):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "measurements.csv").write_text("keep")
    (tmp_path / "unread.nrrd").touch()
    inputs = [tmp_path / "unread.nrrd", "absent.seg.nrrd"][: 1 if command == "segment" else 2]

    done = run(command, *inputs, "-o", tmp_path / "out")

    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert (tmp_path / "out" / "measurements.csv").read_text(encoding="utf-8") == "keep"


def test_bad_input_is_one_sentence_and_exit_code_2(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    shifted = sitk.ReadImage(str(labels_path))
    shifted.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(shifted, str(tmp_path / "shifted.nrrd"))
    for arguments in (
        ("segment", tmp_path / "absent.nrrd"),
        ("segment", ct_path, "--device", "abacus"),
        ("segment", ct_path, "--model", "no such model"),
        ("measure", ct_path, tmp_path / "absent.nrrd"),
        ("measure", ct_path, labels_path, "--lobes", tmp_path / "absent.nrrd"),
        ("measure", ct_path, tmp_path / "shifted.nrrd"),
    ):
        done = run(*arguments, "-o", tmp_path / "out")
        sentence = done.stderr.splitlines()[-1]
        assert done.returncode == 2, done.stderr
        assert sentence.startswith("covidlungquant: ")
        assert is_one_sentence(sentence.removeprefix("covidlungquant: "))
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (("--device", "abacus"), "is not a device"),
        (("--kinds", "colour"), f"use one of {', '.join(KIND_CHOICES)}"),
        (("--vessels", "eat"), "use none, find or remove"),
        (("--artery-hu", "40"), "choose kinds “artery”"),
        (("--kinds", "artery", "--artery-hu", "9999"), "cannot be the density"),
    ],
)
def test_options_are_refused_before_the_scan_is_read(
    run: Callable[..., Done], options: tuple[str, ...], part: str, tmp_path: Path
):
    (tmp_path / "unread.nrrd").touch()
    done = run("segment", tmp_path / "unread.nrrd", "-o", tmp_path / "out", *options)

    assert done.returncode == 2
    assert part in done.stderr and "unread" not in done.stderr


def test_the_help_lists_every_way_to_tell_lesions_apart(run: Callable[..., Done]):
    shown = run("segment", "--help").stdout

    assert f"--kinds {{{','.join(KIND_CHOICES)}}}" in shown


def test_evaluate_writes_the_figures_of_two_label_maps(
    run: Callable[..., Done], labels_path: Path, tmp_path: Path
):
    done = run("evaluate", labels_path, labels_path, "-o", tmp_path / "out", "--no-figures")

    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["dice"] for row in rows] == ["1.0"] * 5
    assert "lesion" in done.stdout and "0.70 ± 0.08 (inter-observer)" in done.stdout
    assert DISCLAIMER in done.stdout and "evaluation.html" in done.stdout

    again = run("evaluate", labels_path, labels_path, "-o", tmp_path / "out", "--no-figures")
    assert again.returncode == 2 and "--overwrite" in again.stderr
    done = run(
        "evaluate", labels_path, labels_path, "-o", tmp_path / "out", "--no-figures", "--overwrite"
    )
    assert done.returncode == 0, done.stderr


def test_evaluate_refuses_another_grid_and_leaves_nothing(
    run: Callable[..., Done], labels_path: Path, tmp_path: Path
):
    shifted = sitk.ReadImage(str(labels_path))
    shifted.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(shifted, str(tmp_path / "shifted.nrrd"))

    done = run(
        "evaluate", tmp_path / "shifted.nrrd", labels_path, "-o", tmp_path / "out", "--no-figures"
    )

    assert done.returncode == 2
    assert "do not lie on the same voxels" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_agreement_compares_the_columns_of_a_table(run: Callable[..., Done], tmp_path: Path):
    table = tmp_path / "extent.csv"
    table.write_text("case,automatic,reader1,reader2\na,1,2,2\nb,4,3,5\nc,6,7,9\n")

    done = run("agreement", table, "-o", tmp_path / "out", "--no-figures")

    assert done.returncode == 0, done.stderr
    assert "extent: automatic - reader1" in done.stdout and "inter-observer" in done.stdout
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "agreement.csv",
        "agreement.html",
        "agreement.json",
        "icc.csv",
        "table2.csv",
    ]


def test_help_of_agreement_shows_the_columns(run: Callable[..., Done]):
    assert (
        "case,measure,automatic,reader1,reader2,reader1_repeat" in run("agreement", "--help").stdout
    )


def test_enhance_writes_the_volume_and_prints_what_it_measured(
    run: Callable[..., Done], ct_path: Path, labels_path: Path, tmp_path: Path
):
    files = [tmp_path / name for name in ("enhanced.nrrd", "airways.nrrd", "vessels.nii.gz")]
    arguments = ("--segmentation", labels_path, "--airways", files[1], "--vessels", files[2])

    done = run("enhance", ct_path, "-o", files[0], *arguments)

    assert done.returncode == 0, done.stderr
    enhanced = sitk.ReadImage(str(files[0]))
    assert enhanced.GetSpacing() == SPACING_MM
    array, (_, labels) = sitk.GetArrayFromImage(enhanced), a_chest()
    assert array.dtype == np.int16
    assert (array[labels == 0] == -80).all()
    # GGO of −550 HU in lung of −850 HU.
    assert np.median(array[labels == 2]) == pytest.approx(300, abs=4)
    for file in files[1:]:
        assert set(np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(file))))) <= {0, 1}
    for part in ("baseline", "scan-level bias", "optimal window", "lesions", DISCLAIMER):
        assert part in done.stdout
    baseline_hu = float(re.search(r"baseline +(-[\d.]+) HU", done.stdout)[1])
    assert baseline_hu == pytest.approx(-850, abs=3)


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("-o", "enhanced.txt"), "no image file"),
        (("-o", "e.nrrd", "--airways", "e.nrrd"), "one file"),
        (("-o", "e.nrrd", "--baseline", "mean"), "rings or histogram"),
    ],
)
def test_enhance_refuses_before_the_scan_is_read(
    run: Callable[..., Done],
    arguments: tuple[str, ...],
    part: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unread.nrrd").touch()
    done = run("enhance", "unread.nrrd", *arguments)
    assert done.returncode == 2
    assert part in done.stderr and "unread" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["unread.nrrd"]


def test_the_phantom_is_written_once_with_its_geometry(run: Callable[..., Done], tmp_path: Path):
    wrong = run("phantom", "-o", tmp_path / "phantom.docx")
    assert wrong.returncode == 2 and "no image file" in wrong.stderr

    path = tmp_path / "new" / "phantom.nrrd"
    assert run("phantom", "-o", path).returncode == 0
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == tuple(reversed(DEFAULT_SHAPE))
    np.testing.assert_allclose(image.GetSpacing(), DEFAULT_SPACING_MM, rtol=1e-12)
    voxels_hu = sitk.GetArrayFromImage(image)
    assert voxels_hu.min() < -950 and voxels_hu.max() > 200
    assert list(path.parent.iterdir()) == [path]
    before = path.read_bytes()

    again = run("phantom", "-o", path)
    assert again.returncode == 2 and "exists already" in again.stderr
    assert path.read_bytes() == before


def test_a_command_is_needed(run: Callable[..., Done]):
    assert run().returncode == 2


def test_version_and_info_in_a_process_of_their_own():
    command = [sys.executable, "-m", "CovidLungQuantLib.cli"]

    def shown_by(*arguments: str) -> str:
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            encoding="utf-8",
            check=True,
            cwd=PROJECT_ROOT,
        ).stdout

    assert shown_by("--version") == f"covidlungquant {__version__}\n"
    info = shown_by("info")
    for name in ("python", "numpy", "torch", "SimpleITK", "devices"):
        assert f"\n{name} " in info
    assert "cpu" in info and DISCLAIMER in info


@pytest.mark.parametrize(
    ("error", "exit_code", "sentence"),
    [
        (Cancelled("Cancelled."), 130, "Cancelled."),
        (KeyboardInterrupt(), 130, "nothing was written"),
        (OutOfResourcesError("The disk is full."), 3, "disk is full"),
        (MemoryError(), 3, "memory ran out"),
        (RuntimeError("std::bad_alloc"), 3, "memory ran out"),
        (ZeroDivisionError("by zero\nand more"), 1, "ZeroDivisionError: by zero); run again"),
    ],
)
def test_each_error_has_its_exit_code_and_no_traceback(
    error: BaseException,
    exit_code: int,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    def failing(chosen: object) -> None:
        raise error

    monkeypatch.setattr(info, "run", failing)

    assert cli.main(["info"]) == exit_code
    shown = capsys.readouterr().err
    assert shown.startswith("covidlungquant: ") and sentence in shown
    assert len(shown.splitlines()) == 1


def test_debug_shows_where_an_error_arose(monkeypatch: pytest.MonkeyPatch):
    def failing(chosen: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(info, "run", failing)

    with pytest.raises(ZeroDivisionError):
        cli.main(["info", "--debug"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_and_leaves_no_trace(
    ct_path: Path, labels_path: Path, tmp_path: Path, number: int
):
    (tmp_path / "work").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING_RUN, str(ct_path), str(labels_path), "out"],
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout.readline() == "writing\n"
    time.sleep(0.2)
    process.send_signal(number)
    _, shown = process.communicate(timeout=60)

    assert process.returncode == 130
    assert shown.splitlines()[-1] == "covidlungquant: Cancelled; nothing was written."
    assert list((tmp_path / "work").iterdir()) == []


# Stops while the output folder is half-written, which no input can bring about reliably.
WAITING_RUN = """
import signal, sys, time
# A shell that runs tests in the background has its children ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from CovidLungQuantLib import cli
from CovidLungQuantLib.outputs import folder

def wait(path, quantification):
    print("writing", flush=True)
    time.sleep(120)

folder.write_report = wait
sys.exit(cli.main(["measure", sys.argv[1], sys.argv[2], "-o", sys.argv[3]]))
"""


def test_lines_of_progress_appear_once_a_step_and_every_tenth(capsys: pytest.CaptureFixture):
    show = LineProgress()
    for index in range(5):
        show(index / 40, f"Slice {index} of 5 (cpu)")
    show(0.11, "Measuring")

    lines = ["  0 %  Slice 0 of 5 (cpu)", " 10 %  Slice 4 of 5 (cpu)", " 11 %  Measuring"]
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.slow
def test_segment_writes_the_very_label_map_of_quantify(ct_path: Path, tmp_path: Path) -> None:
    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.pipeline import Options, quantify

    assert cli.main(["segment", str(ct_path), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out/segmentation.seg.nrrd")))
    expected = quantify(read_ct(ct_path), Options(device="cpu"))
    assert np.array_equal(written, expected.labels)
    result = json.loads((tmp_path / "out/result.json").read_text(encoding="utf-8"))
    assert expected.provenance is not None
    assert expected.provenance.model_sha256 in json.dumps(result)
    assert '"kinds": "density"' in json.dumps(result)
    assert KIND_CHOICES["density"] in result["notes"][-1]


NEW_COMMAND = """
from CovidLungQuantLib.cli.options import add_debug_option

def add_parser(commands):
    parser = commands.add_parser("greet", help="say hello")
    add_debug_option(parser)
    parser.set_defaults(run=run)

def run(chosen):
    print("hello")
"""


def test_a_new_command_is_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    (tmp_path / "greet.py").write_text(NEW_COMMAND)
    monkeypatch.setattr(cli, "__path__", [*cli.__path__, str(tmp_path)])
    monkeypatch.setattr(program, "COMMANDS", program.find_commands())

    assert cli.main(["greet"]) == 0
    assert capsys.readouterr().out == "hello\n"
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    names = re.findall(r"^    ([a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    assert names[:2] == ["segment", "batch"] and names[-1] == "greet"
