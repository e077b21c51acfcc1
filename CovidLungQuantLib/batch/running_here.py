"""Scans one after the other in this process, without Dask: in Slicer, and for small batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from CovidLungQuantLib.batch.scan_task import Outcome, ScanTask, measure_scan
from CovidLungQuantLib.progress import ProgressCallback, no_progress

# Takes what came of a scan; returns what is to be tried again after all others.
Handle = Callable[[ScanTask, Outcome], ScanTask | None]


def run_here(
    tasks: Iterable[ScanTask], handle: Handle, progress: ProgressCallback = no_progress
) -> None:
    """Run tasks until none is left; raises what `handle` or `progress` raises."""
    waiting = deque(tasks)
    while waiting:
        task = waiting.popleft()
        again = handle(task, measure_scan(task, progress))
        if again is not None:
            waiting.append(again)
