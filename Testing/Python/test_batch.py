"""A batch in one process: what it writes, what it keeps to itself, how it goes on and stops."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from batch_runs import COARSE, ROOT, environment, small_chest, write_small_model
from dicom_series import write_series
from sentences import is_one_sentence

from CovidLungQuantLib.batch import scan_task
from CovidLungQuantLib.batch.batch import Batch, BatchResult, BatchStopped
from CovidLungQuantLib.batch.cluster import plan_workers
from CovidLungQuantLib.batch.run import run_batch
from CovidLungQuantLib.batch.scan_task import Outcome, ScanTask
from CovidLungQuantLib.cli import main
from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.errors import BadInputError, Cancelled, OutOfResourcesError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.names import OUTPUT_FILES
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.measures.columns import column_keys
from CovidLungQuantLib.pipeline import quantify
from CovidLungQuantLib.quantification import Options
from CovidLungQuantLib.vetting import read_csv_dicts

GIB = 1 << 30
# Whatever could tell somebody: of headers, file names, folders and the list.
SECRETS = (
    "Adam",
    "Smith",
    "SECRET-ID",
    "19500704",
    "20200310",
    "20200331",
    "1.2.826.0.99",
    "Ward7",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def options(model: Path) -> Options:
    return Options(device="cpu", model=str(model), lobes="none")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of one patient as DICOM, an image, and an image that is none."""
    folder = tmp_path_factory.mktemp("Ward7") / "Smith"
    for number, day in enumerate(("20200310", "20200331")):
        write_series(
            folder / f"Adam-{day}",
            small_chest(number).hu,
            uid=f"1.2.826.0.99.{number}.1",
            spacing_mm=COARSE[1],
            origin_mm=(0.0, 0.0, 0.0),
            PatientName="Smith^Adam",
            PatientID="SECRET-ID",
            PatientBirthDate="19500704",
            StudyInstanceUID=f"1.2.826.0.99.{number}",
            FrameOfReferenceUID=f"1.2.826.0.99.{number}.2",
            StudyDate=day,
        )
    # A second series, so that what was chosen is told, and a thick one.
    write_series(
        folder / "Adam-20200310" / "other",
        small_chest(7).hu[::3],
        uid="1.2.826.0.99.0.7",
        number=9,
        prefix="other",
        spacing_mm=(6.5, 6.5, 30.0),
        PatientName="Smith^Adam",
        PatientID="SECRET-ID",
        StudyInstanceUID="1.2.826.0.99.0",
        FrameOfReferenceUID="1.2.826.0.99.0.2",
        StudyDate="20200310",
    )
    ct = small_chest(2)
    write_image(folder / "Smith-Eve.nrrd", ct.hu, ct.geometry)
    (folder / "Smith-broken.nrrd").write_text("no image", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(
    source: Path, options: Options, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BatchResult]:
    """A finished batch, with scenes where they can be written."""
    folder = tmp_path_factory.mktemp("done")
    yield run_batch(Batch(source, folder / "out", options, workers=0))


def test_every_scan_is_a_row_with_the_figures_of_its_result(done: BatchResult):
    rows = read_csv_dicts(done.places.out / "cohort.csv")
    assert [row["status"] for row in rows].count("finished") == 3
    columns = list(rows[0])
    assert columns[:3] == ["scan_id", "patient_id", "days_from_first_scan"]
    assert columns[3:] == [*column_keys()[1:], "warnings", "status", "result_folder"]
    regions = read_csv_dicts(done.places.out / "cohort-regions.csv")
    assert len(regions) == 9
    for row in rows:
        if row["status"] == "failed":
            assert row["volume_ml"] == row["result_folder"] == ""
            continue
        (both, *_) = read_csv_dicts(done.places.out / row["result_folder"] / "measurements.csv")
        assert all(row[name] == both[name] for name in column_keys()[1:])
        assert float(row["volume_ml"]) > 1000
    # Two of one patient, three weeks apart; of the images nobody knows.
    assert sorted(row["days_from_first_scan"] for row in rows) == ["", "", "0", "21"]
    assert len({row["patient_id"] for row in rows}) == 3
    (failure,) = read_csv_dicts(done.places.out / "failures.csv")
    assert failure["kind"] == "refused" and is_one_sentence(failure["reason"])


def test_the_parquet_file_holds_the_same(done: BatchResult):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name in ("cohort", "cohort-regions"):
        table = parquet.read_table(done.places.out / f"{name}.parquet").to_pydict()
        rows = read_csv_dicts(done.places.out / f"{name}.csv")
        assert list(table) == list(rows[0])
        for column, cells in table.items():
            texts = [row[column] for row in rows]
            if {type(cell) for cell in cells} <= {float, type(None)}:
                assert cells == [float(text) if text else None for text in texts]
            else:
                assert cells == texts


def test_a_result_is_that_of_the_command_segment(done: BatchResult, source: Path, options: Options):
    ct = read_ct(source / "Smith-Eve.nrrd")
    expected = quantify(ct, options)
    (row,) = [
        row
        for row in read_csv_dicts(done.places.who_is_who)
        if row["place"] == str(source / "Smith-Eve.nrrd")
    ]
    folder = done.places.result(row["scan_id"])
    labels, _ = read_segmentation(folder / "segmentation.seg.nrrd", ct.geometry)
    assert (labels == expected.labels).all()
    assert {path.name for path in folder.iterdir()} <= set(OUTPUT_FILES)
    assert (folder / "thumbnail.png").read_bytes().startswith(b"\x89PNG")


def texts_of(file: Path) -> Iterator[bytes]:
    """Whatever a file holds, packed or not."""
    content = file.read_bytes()
    yield content
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                yield name.encode() + b"\n" + archive.read(name)


def test_nothing_of_the_output_tells_who_it_is(done: BatchResult, source: Path):
    files = [path for path in done.places.out.rglob("*") if path.is_file()]
    assert len(files) > 25
    for file in files:
        assert not any(secret in str(file.relative_to(done.places.out)) for secret in SECRETS)
        for text in texts_of(file):
            for secret in (*SECRETS, str(source), source.parent.name):
                assert secret.encode() not in text, (file, secret)
    # The warning on the series that was chosen is there, without the folder's name.
    reports = [path.read_text("utf-8") for path in done.places.out.rglob("result.json")]
    assert sum("holds several series" in report for report in reports) == 1
    who_is_who = done.places.who_is_who.read_text(encoding="utf-8")
    assert "SECRET-ID" in who_is_who and "2020-03-31" in who_is_who
    if sys.platform != "win32":
        assert done.places.who_is_who.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_scenes_and_kept_identifiers(source: Path, options: Options, tmp_path: Path):
    pytest.importorskip("slicer", reason="slicer-core is not installed")
    run_batch(Batch(source, tmp_path / "out", options, workers=0, scene=True))
    scenes = list((tmp_path / "out").rglob("scene.mrb"))
    assert len(scenes) == 3
    for scene in scenes:
        for text in texts_of(scene):
            assert not any(secret.encode() in text for secret in SECRETS)
    kept = Batch(source, tmp_path / "kept", options, workers=0, keep_identifiers=True)
    rows = run_batch(kept).tables.scans
    assert {row["patient_id"] for row in rows} >= {"SECRET-ID"}
    assert {row["study_date"] for row in rows} >= {"2020-03-10", "2020-03-31"}


def test_a_finished_batch_has_nothing_left_to_do(
    done: BatchResult, source: Path, options: Options, monkeypatch: pytest.MonkeyPatch
):
    before = {f: f.read_bytes() for f in done.places.out.rglob("*") if f.is_file()}
    monkeypatch.setattr(scan_task, "quantify", None)
    run_batch(Batch(source, done.places.out, options, workers=0))
    assert {f: f.read_bytes() for f in done.places.out.rglob("*") if f.is_file()} == before


def one_scan(folder: Path, count: int = 1) -> Path:
    folder.mkdir()
    for number in range(count):
        ct = small_chest(number)
        write_image(folder / f"scan-{number}.nrrd", ct.hu, ct.geometry)
    return folder


def test_another_batch_in_the_same_folder_is_refused(
    done: BatchResult, source: Path, options: Options, tmp_path: Path
):
    out = done.places.out
    before = {f: f.read_bytes() for f in out.rglob("*") if f.is_file()}
    batch = Batch(source, out, options, workers=0)
    other_key = tmp_path / "other.key"
    other_key.write_text("ab" * 32, encoding="ascii")
    for changed, part in (
        (replace(batch, options=replace(options, kinds="thresholds")), "kinds “density”"),
        (replace(batch, options=replace(options, model=None)), "begun with model"),
        (replace(batch, keep_identifiers=True), "keep identifiers"),
        (replace(batch, threads=77), "not “77”"),
        (replace(batch, key=other_key), "The key is not the one"),
        (replace(batch, key=tmp_path / "missing.key"), "is not there"),
        (replace(batch, source=one_scan(tmp_path / "in")), "4 are not in the input"),
        (replace(batch, key=out / "key"), "may be passed on"),
    ):
        with pytest.raises(BadInputError, match=part) as refusal:
            run_batch(changed)
        assert is_one_sentence(str(refusal.value)), str(refusal.value)
    assert {f: f.read_bytes() for f in out.rglob("*") if f.is_file()} == before
    assert not (tmp_path / "missing.key").exists()


def test_the_number_of_threads_stays_whatever_the_number_of_workers(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = one_scan(tmp_path / "in")
    batch = Batch(source, tmp_path / "out", options, workers=0, threads=3)
    seen = []

    def measured(*_arguments: object) -> None:
        seen.append(torch.get_num_threads())
        raise BadInputError("This scan is not measured here; take another.")

    monkeypatch.setattr(scan_task, "quantify", measured)
    run_batch(batch)
    run_batch(replace(batch, threads=None, retry_failed=True))
    assert seen == [3, 3] and torch.get_num_threads() != 3
    settings = json.loads((tmp_path / "out" / "batch.json").read_text(encoding="utf-8"))["settings"]
    assert settings["threads"] == 3


def test_a_folder_with_other_files_is_left_alone(source: Path, options: Options, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").touch()
    with pytest.raises(BadInputError, match=r"thesis\.docx"):
        run_batch(Batch(source, tmp_path / "out", options, workers=0))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.docx"]
    assert not (tmp_path / "out.key").exists()


def test_what_was_mended_added_or_exchanged_is_measured_and_nothing_else(
    options: Options, tmp_path: Path
):
    source = one_scan(tmp_path / "in", 2)
    (source / "late.nrrd").write_text("no image", encoding="utf-8")
    batch = Batch(source, tmp_path / "out", options, workers=0)
    first = run_batch(batch)
    assert len(first.tables.failures) == 1
    shutil.copy(source / "scan-1.nrrd", source / "late.nrrd")  # mended
    ct = small_chest(5)
    write_image(source / "new.nrrd", ct.hu, ct.geometry)  # added
    write_image(source / "scan-0.nrrd", ct.hu, ct.geometry)  # exchanged
    os.utime(source / "scan-0.nrrd", (10**9, 10**9))
    (kept,) = [
        row["scan_id"]
        for row in read_csv_dicts(first.places.who_is_who)
        if row["place"].endswith("scan-1.nrrd")
    ]
    result = first.places.result(kept) / "result.json"
    before = result.stat().st_mtime_ns
    said: list[str] = []
    second = run_batch(batch, say=said.append)
    assert not second.tables.failures and len(second.tables.scans) == 4
    assert result.stat().st_mtime_ns == before
    # That of the mended one had changed, too.
    assert "New scans in the input are added: 1." in said
    assert "Scans whose files have changed since are measured anew: 2." in said
    volumes = {row["volume_ml"] for row in second.tables.scans}
    assert len(volumes) < 4  # The exchanged scan has the figures of the new one.


class Full:
    """Writing fails once, as on a disk that is full."""

    def __init__(self, error: Exception, after: int = 1) -> None:
        self.error, self.left, self.write = error, after, scan_task.write_results

    def __call__(self, *arguments: object, **options: object) -> object:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return self.write(*arguments, **options)


def test_a_full_disk_stops_the_batch_and_it_goes_on(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = one_scan(tmp_path / "in", 3)
    batch = Batch(source, tmp_path / "out", options, workers=0)
    with monkeypatch.context() as patched:
        patched.setattr(scan_task, "write_results", Full(OutOfResourcesError("The disk is full.")))
        with pytest.raises(BatchStopped, match="free some space") as stop:
            run_batch(batch)
    assert is_one_sentence(str(stop.value)) and stop.value.exit_code == 3
    states = [row["status"] for row in read_csv_dicts(tmp_path / "out" / "cohort.csv")]
    assert sorted(states) == ["finished", "waiting", "waiting"]
    assert run_batch(batch).tables.count("finished") == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 kB, or skip."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(folder)]
    try:
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("only root may mount a small disk")
    except OSError:
        pytest.skip("nothing can be mounted on this system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(options: Options, small_disk: Path, tmp_path: Path):
    source = one_scan(tmp_path / "in", 3)
    batch = Batch(source, small_disk / "out", options, workers=0, key=tmp_path / "a.key")
    filler = small_disk / "filler"
    # Room for the plan and half a result.
    filler.write_bytes(bytes(540 * 1024))
    with pytest.raises(BatchStopped, match="free some space") as stop:
        run_batch(batch)
    assert is_one_sentence(str(stop.value))
    filler.unlink()
    result = run_batch(batch)
    assert result.tables.count("finished") >= 1
    assert result.tables.count("failed") == 0


def test_scans_that_vanish_stop_the_batch_instead_of_failing_one_by_one(
    options: Options, tmp_path: Path
):
    source = one_scan(tmp_path / "in", 3)
    batch = Batch(source, tmp_path / "out", options, workers=0)
    away = tmp_path / "away"

    def unplug(standing: object) -> None:
        if standing.finished == 1 and source.exists():
            source.rename(away)

    with pytest.raises(BatchStopped, match="can no longer be read") as stop:
        run_batch(batch, tell=unplug)
    assert is_one_sentence(str(stop.value))
    assert read_csv_dicts(tmp_path / "out" / "failures.csv") == []
    away.rename(source)
    assert run_batch(batch).tables.count("finished") == 3
    # One file that is gone is that scan's own misfortune.
    again = replace(batch, out=tmp_path / "other")

    def remove(standing: object) -> None:
        if standing.finished == 1:
            for row in read_csv_dicts(tmp_path / "other.who-is-who.csv")[-1:]:
                Path(row["place"]).unlink(missing_ok=True)

    result = run_batch(again, tell=remove)
    assert (result.tables.count("finished"), result.tables.count("failed")) == (2, 1)


def test_memory_that_runs_out_twice_sets_a_scan_aside(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = one_scan(tmp_path / "in", 2)
    batch = Batch(source, tmp_path / "out", options, workers=0)
    tried: list[str] = []
    run = scan_task.quantify

    def hungry(ct: object, *arguments: object) -> object:
        tried.append(ct.name)
        if ct.name == tried[0]:
            raise MemoryError
        return run(ct, *arguments)

    monkeypatch.setattr(scan_task, "quantify", hungry)
    result = run_batch(batch)
    first, second = dict.fromkeys(tried)
    assert tried == [first, second, first]  # Once more, after all others.
    (failure,) = read_csv_dicts(tmp_path / "out" / "failures.csv")
    assert (failure["scan_id"], failure["kind"]) == (first, "out of memory")
    assert is_one_sentence(failure["reason"])
    assert result.tables.count("finished") == 1


def test_an_unexpected_error_costs_one_scan_and_tells_no_name(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = one_scan(tmp_path / "in", 2)
    run, calls = scan_task.quantify, []

    def failing(ct: object, *arguments: object) -> object:
        calls.append(ct)
        if len(calls) == 1:
            raise ZeroDivisionError(f"in {source}/header.txt\nmore")
        return run(ct, *arguments)

    monkeypatch.setattr(scan_task, "quantify", failing)
    run_batch(Batch(source, tmp_path / "out", options, workers=0))
    (failure,) = read_csv_dicts(tmp_path / "out" / "failures.csv")
    assert failure["kind"] == "unexpected" and is_one_sentence(failure["reason"])
    assert "ZeroDivisionError" in failure["reason"] and "more" not in failure["reason"]
    assert str(tmp_path) not in failure["reason"]


def test_cancelling_leaves_what_is_finished(options: Options, tmp_path: Path):
    source = one_scan(tmp_path / "in", 2)

    def cancel(standing: object) -> None:
        if standing.finished == 1:
            raise Cancelled("Enough.")

    with pytest.raises(Cancelled):
        run_batch(Batch(source, tmp_path / "out", options, workers=0), tell=cancel)
    states = [row["status"] for row in read_csv_dicts(tmp_path / "out" / "cohort.csv")]
    assert sorted(states) == ["finished", "waiting"]


def test_a_worker_that_sees_another_output_folder_stops_the_batch(tmp_path: Path, model: Path):
    scan = scan_task.FoundScan("a", "b", path=tmp_path / "a.nrrd")
    task = ScanTask(
        "id", scan, Options(model=str(model)), "0" * 64, tmp_path / "out", "t", tmp_path
    )
    outcome = scan_task.measure_scan(task)
    assert outcome.kind == scan_task.STOP and is_one_sentence(outcome.sentence)
    older = scan_task.measure_scan(replace(task, software_version="0.0.1"))
    assert older.kind == scan_task.STOP and "0.0.1" in older.sentence
    assert isinstance(outcome, Outcome)


def test_workers_share_cores_memory_and_gpus(monkeypatch: pytest.MonkeyPatch):
    def planned(count: int | None, **options: int) -> tuple[int, int, int]:
        workers = plan_workers(count, options.pop("memory", None), 100, **options)
        return workers.count, workers.threads, workers.memory_bytes // GIB

    machine = {"cores": 16, "total_bytes": 64 * GIB}
    assert planned(None, **machine) == (16, 1, 4)
    assert planned(4, **machine) == (4, 4, 16)
    assert planned(None, memory=8 * GIB, **machine) == (8, 2, 8)
    assert planned(None, cores=16, total_bytes=2 * GIB) == (1, 16, 2)
    assert planned(None, threads=5, **machine) == (3, 5, 21)
    assert planned(None, threads=32, **machine) == (1, 32, 64)
    assert plan_workers(None, None, 3, **machine).count == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    two_gpus = plan_workers(None, None, 100, gpu_count=2, **machine)
    assert (two_gpus.count, two_gpus.threads, two_gpus.gpus) == (2, 8, (4, 6))
    with pytest.raises(BadInputError, match="2 GPUs"):
        plan_workers(3, None, 100, gpu_count=2, **machine)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("--workers -1", "below 0"),
        ("--threads 0", "below 1"),
        ("--memory-limit lots", "no amount of memory"),
        ("--memory-limit 100MiB", "too little"),
        ("--lobes lobes.nrrd", "many scans"),
        ("--id-column name", "a CSV list"),
        ("--model nothing", "There is no model"),
        ("--scheduler nowhere", "no scheduler"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_and_leave_nothing(
    line: str, part: str, tmp_path: Path, capsys: pytest.CaptureFixture, model: Path
):
    if "scheduler" in line:
        pytest.importorskip("distributed", reason="Dask is not installed")
    source = one_scan(tmp_path / "in")
    given = [] if "--model" in line else ["--model", str(model)]
    arguments = ["batch", str(source), "-o", str(tmp_path / "out"), *given, *line.split()]
    assert main(arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1].removeprefix("covidlungquant: ")
    assert part in last and is_one_sentence(last), last
    if "scheduler" not in line:
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_help_and_other_commands_do_not_load_dask_or_torch():
    code = (
        "import sys; from CovidLungQuantLib.cli import main\n"
        "try: main(['batch', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'dask', 'distributed', 'pyarrow', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        cwd=ROOT,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_what_the_system_refuses_is_told_in_a_sentence(
    options: Options, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    source = one_scan(tmp_path / "in")

    def gone(*_arguments: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr("CovidLungQuantLib.batch.plan.replace_text", gone)
    with pytest.raises(BatchStopped, match="cannot be used") as stop:
        run_batch(Batch(source, tmp_path / "out", options, workers=0))
    assert is_one_sentence(str(stop.value))
    assert np.isfinite(stop.value.exit_code)
