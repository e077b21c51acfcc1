"""One batch at a time in an output folder; one that was killed is no hindrance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from batch_runs import environment
from sentences import is_one_sentence

from CovidLungQuantLib.batch import lock as lock_module
from CovidLungQuantLib.batch.lock import DEAD_AFTER_S, BatchLock, holder, holds
from CovidLungQuantLib.errors import BadInputError

HOLD = """
import sys, time
from pathlib import Path
from CovidLungQuantLib.batch.lock import BatchLock
with BatchLock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "results" / ".batch"
    folder.mkdir(parents=True)
    return folder / "lock.json"


def test_a_living_process_is_respected_and_a_killed_one_is_not(file: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)], stdout=subprocess.PIPE, env=environment()
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        with pytest.raises(BadInputError) as refusal, BatchLock(file):
            pass
        assert is_one_sentence(str(refusal.value))
        assert "results" in str(refusal.value) and str(process.pid) in str(refusal.value)
    finally:
        process.kill()
        process.wait(30)
    assert file.exists()
    with BatchLock(file) as lock:
        assert holds(file, lock.token)
    assert not file.exists()
    assert list(file.parent.iterdir()) == []


def test_another_computer_is_alive_while_it_touches_its_lock(file: Path):
    file.write_text(
        json.dumps({"token": "x", "host": "elsewhere", "pid": 1, "began": "1"}), encoding="utf-8"
    )
    with pytest.raises(BadInputError, match="on elsewhere, which gave a sign of life 0 s ago"):
        BatchLock(file).__enter__()
    long_ago = time.time() - 2 * DEAD_AFTER_S
    os.utime(file, (long_ago, long_ago))
    with BatchLock(file) as lock:
        assert holds(file, lock.token)


def test_a_number_that_another_process_has_by_now_is_not_taken_for_the_batch(file: Path):
    held = {"token": "x", "host": lock_module.socket.gethostname(), "pid": os.getpid()}
    file.write_text(json.dumps({**held, "began": "another time"}), encoding="utf-8")
    with BatchLock(file) as lock:
        assert holds(file, lock.token)


def test_a_lock_cut_off_within_is_no_hindrance_once_it_is_old(file: Path):
    file.write_text('{"tok', encoding="utf-8")
    with pytest.raises(BadInputError):
        BatchLock(file).__enter__()
    os.utime(file, (1, 1))
    with BatchLock(file) as lock:
        assert holds(file, lock.token)


def test_the_lock_is_touched_and_its_loss_is_told(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lock_module, "BEAT_S", 0.05)
    lost: list[bool] = []
    with BatchLock(file, lambda: lost.append(True)):
        os.utime(file, (1, 1))
        deadline = time.monotonic() + 30
        while file.stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        file.write_text(json.dumps({"token": "another"}), encoding="utf-8")
        while not lost:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    # It is another's now.
    assert holder(file) == {"token": "another"}


def test_workers_see_that_a_batch_stops_and_others_still_see_it_alive(file: Path):
    with BatchLock(file) as lock:
        lock.stop_workers()
        assert not holds(file, lock.token)
        with pytest.raises(BadInputError):
            BatchLock(file).__enter__()
    assert not file.exists()
