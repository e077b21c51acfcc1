"""Batches in processes of their own, on many small scans, to be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from small_model import small_model

from CovidLungQuantLib.batch.places import (
    COHORT_FILE,
    COHORT_PARQUET_FILE,
    FAILURES_FILE,
    REGIONS_FILE,
    REGIONS_PARQUET_FILE,
    Places,
)
from CovidLungQuantLib.ct import CTVolume
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.phantom import chest_phantom

if TYPE_CHECKING:
    import psutil

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "CovidLungQuantLib.cli", "batch"]
TABLES = (
    COHORT_FILE,
    COHORT_PARQUET_FILE,
    REGIONS_FILE,
    REGIONS_PARQUET_FILE,
    FAILURES_FILE,
)
PATIENCE_S = 240.0
COARSE = (30, 48, 60), (6.5, 6.5, 10.0)


def small_chest(seed: int = 0) -> CTVolume:
    """Return a drawn chest that takes a second, with noise of its own."""
    ct = chest_phantom(*COARSE).ct
    noise = np.random.default_rng(seed).integers(-15, 16, ct.hu.shape)
    return CTVolume((ct.hu + noise).astype(np.int16), ct.geometry, ct.name)


def write_small_model(folder: Path) -> Path:
    """Write weights of a small random network."""
    path = folder / "small.pt"
    save_model(path, small_model().network)
    return path


def write_cohort(folder: Path, count: int) -> Path:
    """Write drawn chests as image files."""
    folder.mkdir()
    for number in range(count):
        ct = small_chest(number)
        write_image(folder / f"Secret-Person-{number:03d}.nrrd", ct.hu, ct.geometry)
    return folder


def _heeding_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class BatchProcess:
    """`covidlungquant batch` in a process group of its own.

    Args:
        source: input.
        out: output folder.
        options: further arguments.
        log: file for what it says.
    """

    def __init__(self, source: Path, out: Path, *options: str | Path, log: Path) -> None:
        self.places = Places(out)
        self.log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [*COMMAND, str(source), "-o", str(out), *map(str, options)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                # Ctrl-C arrives also where the tests run in the background of a shell.
                preexec_fn=_heeding_interrupts,
                cwd=ROOT,
                env=environment(),
                start_new_session=True,
            )

    def wait(self, seconds: float = PATIENCE_S) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def wait_for_finished(self, count: int) -> None:
        """Wait until so many scans have their result."""
        self.wait_until(lambda: finished_count(self.places) >= count, f"{count} finished")

    def wait_until(self, is_so: Callable[[], object], what: str) -> None:
        """Wait until something is so, or the process has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert self.process.poll() is None, f"ended before {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"not yet {what}:\n{self.said()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """Kill the process with its scheduler, at once; workers notice."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)

    def interrupt(self) -> None:
        """Do as Ctrl-C in a terminal does: all processes of the group are told."""
        os.killpg(self.process.pid, signal.SIGINT)

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, in which scans are measured."""
        return worker_processes(self.process.pid)

    def said(self) -> str:
        """What it has printed."""
        return self.log.read_text(encoding="utf-8")


def environment() -> dict[str, str]:
    """The environment in which other processes find this library."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def worker_processes(pid: int) -> list[psutil.Process]:
    """Processes below another one that run scans."""
    import psutil

    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    found = []
    for child in children:
        try:
            line = " ".join(child.cmdline())
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
        if "spawn_main" in line and "resource_tracker" not in line:
            found.append(child)
    return found


def running_scans(places: Places) -> set[str]:
    """Scans that a worker has begun."""
    if not places.running.is_dir():
        return set()
    return {file.name for file in places.running.iterdir()}


def finished_count(places: Places) -> int:
    """How many scans have their result."""
    if not places.scans.is_dir():
        return 0
    names = [entry.name for entry in places.scans.iterdir()]
    return sum(not name.startswith(".") and places.is_finished(name) for name in names)


def tables_of(out: Path) -> dict[str, bytes]:
    """The tables, byte by byte."""
    return {name: (out / name).read_bytes() for name in TABLES}


@contextmanager
def started(*commands: Sequence[str], folder: Path) -> Iterator[list[subprocess.Popen]]:
    """Run commands beside, and end them."""
    processes = []
    try:
        for number, command in enumerate(commands):
            with (folder / f"process-{number}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen(
                        list(command),
                        stdout=log,
                        stderr=subprocess.STDOUT,
                        cwd=folder,
                        env=environment(),
                    )
                )
        yield processes
    finally:
        for process in processes:
            for child in _descendants(process.pid):
                child.kill()
            process.kill()
            process.wait(PATIENCE_S)


def _descendants(pid: int) -> list[psutil.Process]:
    import psutil

    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
