"""Scans on the workers of a Dask cluster, each of which has one at a time."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from CovidLungQuantLib.batch.running_here import Handle
from CovidLungQuantLib.batch.scan_task import STOP, WORKER_LOST, Outcome, ScanTask, measure_scan
from CovidLungQuantLib.errors import CovidLungQuantError

WAIT_S = 0.5
# Workers that a local cluster starts are there sooner.
LONGEST_WITHOUT_WORKERS_S = 120.0


class SchedulerLost(CovidLungQuantError):
    """The scheduler is gone, or no worker comes up; what is finished stays."""

    exit_code = 3


def run_on_dask(
    client: Any,
    tasks: Iterable[ScanTask],
    handle: Handle,
    look: Callable[[int], None] = lambda workers: None,
    is_local: bool = True,
) -> None:
    """Run tasks until none is left.

    Only as many are handed out as there are workers, so that a worker that dies takes one along.

    Args:
        client: `distributed.Client`.
        tasks: to run.
        handle: takes what came of each; what it returns is tried again after all others.
        look: called about twice a second with the number of workers; may raise to stop.
        is_local: whether this process started the workers, which then must come up.

    Raises:
        SchedulerLost: the scheduler is gone, or a local cluster has no workers.
    """
    waiting, flight = deque(tasks), dict[str, tuple[Any, ScanTask]]()
    ended: SimpleQueue[str] = SimpleQueue()
    numbers = itertools.count()
    workers_seen = time.monotonic()
    try:
        while waiting or flight:
            workers = _threads(client)
            look(workers)
            if workers:
                workers_seen = time.monotonic()
            elif is_local and time.monotonic() - workers_seen > LONGEST_WITHOUT_WORKERS_S:
                raise SchedulerLost(
                    "The workers do not start; look whether the memory limit is too low, and start "
                    "the batch again, which goes on where it was."
                )
            while waiting and len(flight) < workers:
                task = waiting.popleft()
                key = f"{task.scan_id}-{task.attempt}-{next(numbers)}-{task.token}"
                future = client.submit(measure_scan, task, key=key, pure=False)
                flight[key] = future, task
                future.add_done_callback(lambda done, key=key: ended.put(key))
            for key in _ended(ended):
                future, task = flight.pop(key)
                again = handle(task, outcome_of(future, client))
                if again is not None:
                    waiting.append(again)
    finally:
        if flight:
            with suppress(Exception):
                client.cancel([future for future, _ in flight.values()], force=True)


def outcome_of(future: Any, client: Any) -> Outcome:
    """Return what came of a task that has ended, however it did."""
    from distributed import KilledWorker

    if future.status == "finished":
        return future.result()
    if future.status in ("cancelled", "lost"):
        _check_scheduler(client)
        return Outcome(WORKER_LOST)
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Outcome(WORKER_LOST)
    return Outcome(
        STOP,
        f"A worker could not run a scan ({type(error).__name__}: {str(error).partition(chr(10))[0]}"
        "); install this software, in this version, on all computers.",
    )


def _ended(ended: SimpleQueue[str]) -> list[str]:
    """Keys of what has ended, after waiting a little for the first."""
    keys = []
    with suppress(Empty):
        keys.append(ended.get(timeout=WAIT_S))
        while True:
            keys.append(ended.get_nowait())
    return keys


def _threads(client: Any) -> int:
    """How many scans the workers take at a time; each has one thread for them."""
    _check_scheduler(client)
    try:
        return sum(client.nthreads().values())
    except OSError:
        # The connection was lost just now; the next look tells whether it comes back.
        return 0


def _check_scheduler(client: Any) -> None:
    """Wait while the client tries to connect again; raises SchedulerLost."""
    while client.status == "connecting":
        time.sleep(WAIT_S)
    if client.status != "running":
        raise SchedulerLost(
            "The connection to the scheduler is lost; start it and then the batch again, which goes"
            " on where it was."
        )
