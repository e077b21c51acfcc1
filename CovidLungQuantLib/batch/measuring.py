"""The scans of a batch, measured: who does it, and what becomes of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from CovidLungQuantLib.batch.batch import Batch, BatchResult, BatchStopped, Standing
from CovidLungQuantLib.batch.cluster import (
    Cluster,
    given_cluster,
    gpu_count,
    local_cluster,
    plan_workers,
)
from CovidLungQuantLib.batch.lock import BatchLock
from CovidLungQuantLib.batch.overview import write_overview
from CovidLungQuantLib.batch.places import BATCH_FILE, Places
from CovidLungQuantLib.batch.plan import Identified
from CovidLungQuantLib.batch.records import (
    CRASHED,
    MOST_ATTEMPTS,
    OUT_OF_MEMORY,
    Failure,
    count_crash,
    crashes_of,
    read_failures,
    write_failure,
)
from CovidLungQuantLib.batch.running_here import run_here
from CovidLungQuantLib.batch.running_on_dask import run_on_dask
from CovidLungQuantLib.batch.scan_task import (
    FINISHED,
    STOP,
    WORKER_LOST,
    Outcome,
    ScanTask,
    running_marker,
)
from CovidLungQuantLib.batch.tables import FAILED, CohortTables, read_tables, write_tables
from CovidLungQuantLib.batch.tables import FINISHED as FINISHED_STATUS
from CovidLungQuantLib.files.tables import write_study_json
from CovidLungQuantLib.lesions.lesion_model import LoadedModel
from CovidLungQuantLib.progress import ProgressCallback, no_progress

TABLES_EVERY_S = 300.0
# How often a scan is handed out again whose worker went before it had begun.
MOST_UNBEGUN = 20
# Longer than computers usually remember what a share's folder does not hold.
LONGEST_ON_SHARE_S = 90.0


class Measuring:
    """One run of a batch whose plan stands, with the lock held."""

    def __init__(
        self,
        batch: Batch,
        places: Places,
        identified: Identified,
        model: LoadedModel,
        root: Path,
        lock: BatchLock,
    ) -> None:
        self.batch, self.places, self.plan, self.lock = batch, places, identified.plan, lock
        self.tell: Callable[[Standing], None] = lambda standing: None
        self.say: Callable[[str], None] = lambda sentence: None
        self.progress: ProgressCallback = no_progress
        self.has_lost_lock: Callable[[], bool] = lambda: False
        set_aside = read_failures(places, [scan.scan_id for scan in self.plan.scans])
        finished = {s.scan_id for s in self.plan.scans if places.is_finished(s.scan_id)}
        self.finished, self.failed = len(finished), len(set_aside.keys() - finished)
        self.tasks = [
            ScanTask(
                scan_id=scan.scan_id,
                scan=identified.found[scan.scan_id],
                options=batch.options,
                model_sha256=model.sha256,
                threads=self.plan.settings["threads"],
                out=places.out,
                token=lock.token,
                root=root,
                attempt=crashes_of(places, scan.scan_id) + 1,
                keep_identifiers=batch.keep_identifiers,
                scene=batch.scene,
                pdf=batch.pdf,
            )
            for scan in self.plan.scans
            if scan.scan_id not in finished and scan.scan_id not in set_aside
        ]
        self.unbegun: dict[str, int] = {}
        self.memory_bytes = 0
        self.peak_mib = 0.0
        self.workers = 0
        self.tables_at = time.monotonic()

    def to_the_end(self) -> BatchResult:
        """Measure what is left; the tables are written however that ends."""
        try:
            if self.tasks:
                self._run()
        except BaseException:
            with suppress(Exception):
                self.write()
            raise
        return BatchResult(self.write(), self.places, self.peak_mib)

    def write(self) -> CohortTables:
        """Write tables, page and summary; raises OSError."""
        tables = read_tables(self.places, self.plan)
        write_tables(self.places, tables, parquet=find_spec("pyarrow") is not None)
        write_overview(self.places, self.plan, tables)
        file = self.places.out / BATCH_FILE
        partial = file.with_name(f".{file.name}.partial")
        write_study_json(
            partial,
            {
                "settings": self.plan.settings,
                "scans": len(self.plan.scans),
                "finished": tables.count(FINISHED_STATUS),
                "failed": tables.count(FAILED),
                "flagged": tables.flagged,
            },
        )
        partial.replace(file)
        self.tables_at = time.monotonic()
        return tables

    def _run(self) -> None:
        if self.batch.scheduler is None and self.batch.workers == 0:
            self.workers = 1
            self._tell()
            run_here(self.tasks, self._handle, self._show)
            return
        with ExitStack() as stack:
            cluster = self._cluster(stack)
            if cluster.dashboard:
                self.say(f"Dask's dashboard is at {cluster.dashboard}")
            try:
                run_on_dask(cluster.client, self.tasks, self._handle, self._look, cluster.is_local)
            except BaseException:
                self.lock.stop_workers()
                raise

    def _cluster(self, stack: ExitStack) -> Cluster:
        """The workers that are asked for, until the stack is closed."""
        if self.batch.scheduler is not None:
            return stack.enter_context(given_cluster(self.batch.scheduler))
        workers = plan_workers(
            self.batch.workers,
            self.batch.memory_bytes,
            len(self.tasks),
            gpu_count(self.batch.options.device),
            self.plan.settings["threads"],
        )
        self.memory_bytes = workers.memory_bytes
        threads = f"{workers.threads} thread{'s' if workers.threads > 1 else ''}"
        place = "a GPU of its own and " if workers.gpus else ""
        memory_gib = workers.memory_bytes / 2**30
        self.say(
            f"Workers: {workers.count}, each with at most {memory_gib:.1f} GiB of memory, "
            f"{place}{threads}."
        )
        return stack.enter_context(local_cluster(workers))

    def _show(self, fraction: float, message: str) -> None:
        self.progress(fraction, message)
        self._check_lock()

    def _look(self, workers: int) -> None:
        self.workers = workers
        self._check_lock()
        self._tell("" if workers else "Waiting for workers")
        if time.monotonic() - self.tables_at > TABLES_EVERY_S:
            self.write()

    def _check_lock(self) -> None:
        if self.has_lost_lock():
            raise BatchStopped(
                f"Another batch has taken the output folder {self.places.out.name}, as this one "
                "gave no sign of life for a while; let that one go on."
            )

    def _tell(self, message: str = "") -> None:
        self.tell(Standing(len(self.plan.scans), self.finished, self.failed, self.workers, message))

    def _handle(self, task: ScanTask, outcome: Outcome) -> ScanTask | None:
        """Note what came of a scan; returns what is to be tried again."""
        self.peak_mib = max(self.peak_mib, outcome.peak_mib)
        if outcome.kind == STOP:
            raise BatchStopped(outcome.sentence)
        if self._has_appeared(task.scan_id, outcome):
            self.finished += 1
        elif outcome.kind == WORKER_LOST:
            return self._after_lost_worker(task)
        elif outcome.kind == OUT_OF_MEMORY:
            return self._again_or_aside(task, outcome.kind, outcome.sentence)
        elif outcome.kind == FINISHED:
            raise BatchStopped(
                f"A worker has written a result that is not in {self.places.out.name}; give an "
                "output folder that lies on a share, at the same place on all computers."
            )
        else:
            self._set_aside(task, outcome.kind, outcome.sentence)
        self._tell()
        return None

    def _has_appeared(self, scan_id: str, outcome: Outcome) -> bool:
        """Whether a result is seen here; that of another computer may take a while on a share."""
        deadline = time.monotonic() + LONGEST_ON_SHARE_S
        while not self.places.is_finished(scan_id):
            if outcome.kind != FINISHED or time.monotonic() > deadline:
                return False
            time.sleep(0.5)
        return True

    def _after_lost_worker(self, task: ScanTask) -> ScanTask | None:
        marker = running_marker(self.places, task.scan_id, task.attempt)
        if marker.exists():
            marker.unlink(missing_ok=True)
            return self._again_or_aside(task, CRASHED, self._crash_sentence())
        # It was waiting on a worker that another scan took along, or that was ended.
        self.unbegun[task.scan_id] = self.unbegun.get(task.scan_id, 0) + 1
        if self.unbegun[task.scan_id] > MOST_UNBEGUN:
            raise BatchStopped(
                "Workers go before they have begun a scan, again and again; look at their logs, and"
                " start the batch again."
            )
        return task

    def _again_or_aside(self, task: ScanTask, kind: str, sentence: str) -> ScanTask | None:
        attempts = count_crash(self.places, task.scan_id)
        if attempts < MOST_ATTEMPTS:
            return replace(task, attempt=task.attempt + 1)
        self._set_aside(task, kind, sentence, attempts)
        self._tell()
        return None

    def _set_aside(self, task: ScanTask, kind: str, sentence: str, attempts: int = 1) -> None:
        write_failure(self.places, task.scan_id, Failure(kind, sentence, attempts))
        self.failed += 1

    def _crash_sentence(self) -> str:
        limit = f" (the limit was {self.memory_bytes / 2**30:.1f} GiB)" if self.memory_bytes else ""
        return (
            f"The worker died {MOST_ATTEMPTS} times in this scan, as where memory runs out{limit}; "
            "run the batch again with --retry-failed and fewer --workers or a higher "
            "--memory-limit."
        )
