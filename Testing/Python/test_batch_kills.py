"""Batches that are killed, interrupted or lose their workers: nothing is lost, nothing twice."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="Dask is not installed")
pytest.importorskip("pyarrow", reason="pyarrow is not installed")

from batch_runs import (
    BatchProcess,
    finished_count,
    running_scans,
    started,
    tables_of,
    worker_processes,
    write_cohort,
    write_small_model,
)
from sentences import is_one_sentence

from CovidLungQuantLib.vetting import read_csv_dicts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="kills processes as POSIX does"),
]
COUNT = 6
START = "covidlungquant: "


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six small scans, and a file that is none."""
    folder = write_cohort(tmp_path_factory.mktemp("cohort") / "in", COUNT)
    (folder / "broken.nrrd").write_text("no image", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One key for all, so that the tables of different batches can be compared."""
    return tmp_path_factory.mktemp("key") / "cohort.key"


@pytest.fixture(scope="module")
def options(model: Path, key: Path) -> list[str]:
    return ["--model", str(model), "--lobes", "none", "--device", "cpu", "--key", str(key)]


@pytest.fixture(scope="module")
def undisturbed(
    cohort: Path, options: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """The tables of a batch in one process, without Dask."""
    folder = tmp_path_factory.mktemp("undisturbed")
    process = BatchProcess(cohort, folder / "out", *options, "--workers", "0", log=folder / "log")
    assert process.wait() == 2, process.said()
    assert len(read_csv_dicts(folder / "out" / "cohort.csv")) == COUNT + 1
    return tables_of(folder / "out")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_killed_workers_and_a_killed_scheduler_change_no_table(
    cohort: Path, options: list[str], undisturbed: dict[str, bytes], tmp_path: Path
):
    out, log = tmp_path / "out", tmp_path / "log"
    two_workers = [*options, "--workers", "2", "--memory-limit", "2GiB"]
    first = BatchProcess(cohort, out, *two_workers, log=log)
    for _ in range(2):
        # A scan is tried again after all others, so that none loses two workers here.
        first.wait_until(lambda: running_scans(first.places), "running")
        first.workers()[0].kill()
        first.wait_for_finished(finished_count(first.places) + 1)
    workers = first.workers()
    first.kill()
    for worker in workers:
        worker.wait(60)
    before = finished_count(first.places)
    assert 0 < before < COUNT

    second = BatchProcess(cohort, out, *two_workers, log=log)
    assert second.wait() == 2, second.said()
    assert tables_of(out) == undisturbed
    assert finished_count(second.places) == COUNT
    assert f"Measured {COUNT} of {COUNT + 1} scans" in second.said()
    left = [path.name for path in second.places.scans.iterdir() if path.name.startswith(".")]
    assert left == [] and running_scans(second.places) == set()
    assert not second.places.lock.exists()

    # Once more: nothing is left to do.
    times = {file: file.stat().st_mtime_ns for file in second.places.scans.rglob("*")}
    third = BatchProcess(cohort, out, *two_workers, log=log)
    assert third.wait() == 2, third.said()
    assert {file: file.stat().st_mtime_ns for file in third.places.scans.rglob("*")} == times
    assert tables_of(out) == undisturbed


def test_a_scan_that_takes_its_worker_along_twice_is_set_aside(options: list[str], tmp_path: Path):
    cohort = write_cohort(tmp_path / "in", 3)
    out = tmp_path / "out"
    batch = BatchProcess(
        cohort, out, *options, "--workers", "1", "--memory-limit", "2GiB", log=tmp_path / "log"
    )
    batch.wait_until(lambda: running_scans(batch.places), "running")
    (victim,) = {name.rpartition("-")[0] for name in running_scans(batch.places)}
    batch.workers()[0].kill()
    batch.wait_until(lambda: f"{victim}-2" in running_scans(batch.places), "tried again")
    assert finished_count(batch.places) == 2  # It had to wait until all others were done.
    batch.workers()[0].kill()
    assert batch.wait() == 2
    (failure,) = read_csv_dicts(out / "failures.csv")
    assert (failure["scan_id"], failure["kind"], failure["attempts"]) == (victim, "crashed", "2")
    assert is_one_sentence(failure["reason"]) and "2.0 GiB" in failure["reason"]

    again = BatchProcess(
        cohort, out, *options, "--workers", "0", "--retry-failed", log=tmp_path / "log"
    )
    assert again.wait() == 0, again.said()
    assert read_csv_dicts(out / "failures.csv") == []


def test_ctrl_c_ends_a_batch_with_a_sentence_and_the_tables_of_what_is_finished(
    cohort: Path, options: list[str], tmp_path: Path
):
    out, log = tmp_path / "out", tmp_path / "log"
    batch = BatchProcess(cohort, out, *options, "--workers", "2", log=log)
    batch.wait_for_finished(2)
    workers = batch.workers()
    batch.interrupt()
    assert batch.wait(60) == 130, batch.said()
    for worker in workers:
        worker.wait(30)
    last = batch.said().splitlines()[-1].removeprefix(START)
    assert is_one_sentence(last) and last.startswith("Stopped; "), batch.said()
    assert "Traceback" not in batch.said()
    rows = read_csv_dicts(out / "cohort.csv")
    assert len(rows) == COUNT + 1
    states = [row["status"] for row in rows]
    assert states.count("finished") == finished_count(batch.places)
    assert "waiting" in states
    assert not batch.places.lock.exists()


def test_a_second_batch_on_one_output_is_refused(cohort: Path, options: list[str], tmp_path: Path):
    out = tmp_path / "out"
    first = BatchProcess(cohort, out, *options, "--workers", "0", log=tmp_path / "first")
    first.wait_for_finished(1)
    second = BatchProcess(cohort, out, *options, "--workers", "0", log=tmp_path / "second")
    assert second.wait() == 2
    last = second.said().splitlines()[-1].removeprefix(START)
    assert is_one_sentence(last), last
    assert f"process {first.process.pid} on this computer" in last
    assert first.process.poll() is None
    first.process.send_signal(signal.SIGTERM)
    assert first.wait(60) == 130


def test_a_scheduler_and_workers_that_others_have_started(
    cohort: Path, options: list[str], undisturbed: dict[str, bytes], tmp_path: Path
):
    out, log = tmp_path / "out", tmp_path / "log"
    address = f"tcp://127.0.0.1:{free_port()}"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2]]
    scheduler += ["--dashboard-address", "127.0.0.1:0"]
    worker = [*dask, "worker", address, "--host", "127.0.0.1", "--nthreads", "1"]
    worker += ["--no-dashboard", "--death-timeout", "30"]
    with started(scheduler, worker, worker, folder=tmp_path) as (boss, helper, _):
        batch = BatchProcess(cohort, out, *options, "--scheduler", address, log=log)
        batch.wait_for_finished(1)
        worker_processes(helper.pid)[0].kill()
        batch.wait_for_finished(3)
        boss.kill()
        assert batch.wait(120) == 3, batch.said()
        last = batch.said().splitlines()[-1].removeprefix(START)
        assert is_one_sentence(last) and "scheduler" in last, batch.said()
    assert finished_count(batch.places) < COUNT
    time.sleep(0.1)
    with started(scheduler, worker, worker, folder=tmp_path):
        again = BatchProcess(cohort, out, *options, "--scheduler", address, log=log)
        assert again.wait() == 2, again.said()
    assert tables_of(out) == undisturbed
