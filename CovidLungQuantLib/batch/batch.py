"""What a batch is asked for, how far it is, and what it has come to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from CovidLungQuantLib.batch.places import Places
from CovidLungQuantLib.batch.tables import CohortTables
from CovidLungQuantLib.errors import CovidLungQuantError
from CovidLungQuantLib.quantification import Options


@dataclass(frozen=True)
class Batch:
    """What is asked for.

    Attributes:
        source: folder of scans, or a CSV list.
        out: output folder: new, empty, or of a batch that goes on.
        options: of every run.
        workers: processes; 0 measures in this one, without Dask; None decides by the computer.
        memory_bytes: limit of a worker; None shares what there is.
        threads: that each worker computes with; None goes on as the batch was begun, or shares the
            cores (one with a scheduler).
        scheduler: address of a Dask scheduler that runs already; None starts workers here.
        key: file of the key of the identifiers; None is beside the output folder.
        id_column: column of the list whose text identifies patients in all output.
        keep_identifiers: leave names, dates and paths as the input has them.
        retry_failed: try scans again that are set aside.
        scene: write scene.mrb for each, too.
        pdf: write the report as PDF, too.
    """

    source: Path
    out: Path
    options: Options = field(default_factory=Options)
    workers: int | None = None
    memory_bytes: int | None = None
    threads: int | None = None
    scheduler: str | None = None
    key: Path | None = None
    id_column: str | None = None
    keep_identifiers: bool = False
    retry_failed: bool = False
    scene: bool = False
    pdf: bool = False


@dataclass(frozen=True)
class Standing:
    """How far a batch is; `workers` is 0 while none is there."""

    total: int
    finished: int
    failed: int
    workers: int
    message: str = ""


@dataclass(frozen=True)
class BatchResult:
    """What a batch has come to.

    Attributes:
        tables: of the cohort.
        places: where everything lies.
        peak_mib: the most memory a worker has had; 0 where nothing was measured.
    """

    tables: CohortTables
    places: Places
    peak_mib: float


class BatchStopped(CovidLungQuantError):
    """Something that would befall every scan; what is finished stays, and the batch can go on."""

    exit_code = 3
