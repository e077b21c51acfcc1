"""Workers of this computer, or those of a scheduler that runs already."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from CovidLungQuantLib.errors import BadInputError

LOOPBACK = "127.0.0.1"
DASHBOARD_PORT = 8787
CONNECT_S = 20.0
# What a scan of 512 × 512 × 300 voxels may take.
USUAL_MEMORY_BYTES = 4 << 30
QUIET_WORKER = "CovidLungQuantLib.batch.quiet_worker"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)


@dataclass(frozen=True)
class Workers:
    """Local workers.

    Attributes:
        count: of processes.
        threads: that each computes with.
        memory_bytes: that each may use before it is ended.
        gpus: indices, one a worker; empty where the CPU computes.
    """

    count: int
    threads: int
    memory_bytes: int
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cluster:
    """A cluster to run on.

    Attributes:
        client: `distributed.Client`.
        dashboard: address of Dask's dashboard; None where there is none.
        is_local: whether this process started the workers.
    """

    client: Any
    dashboard: str | None
    is_local: bool


def check_dask() -> None:
    """Refuse to begin where Dask is missing; raises BadInputError."""
    if find_spec("distributed") is None:
        raise BadInputError(
            "A batch on several workers needs Dask; install it with “pip install "
            "covidlungquant[cohort]”, or use --workers 0 to measure one scan after the other."
        )


def plan_workers(
    count: int | None,
    memory_bytes: int | None,
    scan_count: int,
    gpu_count: int = 0,
    threads: int | None = None,
    cores: int | None = None,
    total_bytes: int | None = None,
) -> Workers:
    """Decide how many workers there are, and what each may use.

    Args:
        count: as the user wishes; None takes one a GPU, or as many as cores and memory allow.
        memory_bytes: limit of a worker; None shares what there is.
        scan_count: more workers than scans are of no use.
        gpu_count: 0 where the CPU computes.
        threads: of a worker; None shares the cores.
        cores: of the processor; None looks.
        total_bytes: of memory; None looks.

    Raises:
        BadInputError: more workers than GPUs.
    """
    cores = cores or available_cores()
    total_bytes = total_bytes or _total_memory()
    if count is None:
        by_memory = total_bytes // (memory_bytes or USUAL_MEMORY_BYTES)
        by_cores = cores // (threads or 1)
        count = gpu_count or max(1, min(by_cores, by_memory))
        count = max(1, min(count, scan_count))
    if gpu_count and count > gpu_count:
        raise BadInputError(
            f"This computer has {gpu_count} GPU{'s' if gpu_count > 1 else ''}, and each takes one "
            "worker; give a lower number of --workers, or --device cpu."
        )
    return Workers(
        count=count,
        threads=threads or max(1, cores // count),
        memory_bytes=memory_bytes or total_bytes // count,
        gpus=_visible_gpus()[:count] if gpu_count else (),
    )


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def local_cluster(workers: Workers) -> Iterator[Cluster]:
    """Start workers of this computer, which only this computer can reach, and end them again."""
    import dask
    from distributed import Client, Nanny, Scheduler, SpecCluster

    threads = {name: str(workers.threads) for name in THREAD_VARIABLES}
    settings = {
        # A scan that takes a worker along is tried again here, not there and then.
        "distributed.scheduler.allowed-failures": 0,
        "distributed.nanny.pre-spawn-environ": {**threads, "MALLOC_TRIM_THRESHOLD_": 65536},
        # A scan holds its memory until it is done: waiting or writing to disk would not help.
        "distributed.worker.memory.target": False,
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.pause": False,
        "distributed.admin.tick.limit": "1h",
    }
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(settings))
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="covidlungquant-", ignore_cleanup_errors=True)
        )
        quiet_dask()
        specification = {
            index: {
                "cls": Nanny,
                "options": {
                    "host": LOOPBACK,
                    "nthreads": 1,
                    "memory_limit": workers.memory_bytes,
                    "local_directory": folder,
                    "dashboard": False,
                    "preload": [QUIET_WORKER],
                    "silence_logs": logging.CRITICAL,
                    "env": {**threads, **_gpu_environment(workers, index)},
                },
            }
            for index in range(workers.count)
        }
        scheduler = {
            "cls": Scheduler,
            "options": {
                "host": LOOPBACK,
                "port": 0,
                "dashboard": True,
                "dashboard_address": f"{LOOPBACK}:{_free_port(DASHBOARD_PORT)}",
            },
        }
        cluster = stack.enter_context(
            SpecCluster(scheduler=scheduler, workers=specification, silence_logs=logging.CRITICAL)
        )
        client = stack.enter_context(Client(cluster, timeout=CONNECT_S, set_as_default=False))
        yield Cluster(client, client.dashboard_link or None, is_local=True)


@contextmanager
def given_cluster(address: str) -> Iterator[Cluster]:
    """Connect to a scheduler that runs already; its workers stay.

    Raises:
        BadInputError: there is none at the address.
    """
    from distributed import Client

    quiet_dask()
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(
            f"There is no scheduler at {address}; start one with “dask scheduler”, and give the "
            "address that it prints."
        ) from error
    try:
        yield Cluster(client, client.dashboard_link or None, is_local=False)
    finally:
        with suppress(Exception):
            client.close(timeout=5)


def quiet_dask() -> None:
    """Keep Dask's own messages off the terminal: what matters is said in sentences."""
    for name in ("distributed", "tornado", "asyncio", "bokeh"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def gpu_count(device: str) -> int:
    """Return how many GPUs a device choice uses; 0 where it does not use CUDA."""
    if device not in ("auto", "cuda"):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _visible_gpus() -> tuple[int, ...]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    if named and all(part.strip().isdigit() for part in named.split(",")):
        return tuple(int(part) for part in named.split(","))
    import torch

    return tuple(range(torch.cuda.device_count()))


def _gpu_environment(workers: Workers, index: int) -> dict[str, str]:
    """The one GPU that a worker sees."""
    return {"CUDA_VISIBLE_DEVICES": str(workers.gpus[index])} if workers.gpus else {}


def _total_memory() -> int:
    """The memory of this computer, or what its container may have."""
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)


def _free_port(wanted: int) -> int:
    """The port that is wanted, or 0, for any, where another program has it."""
    import socket

    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, wanted))
        except OSError:
            return 0
    return wanted
