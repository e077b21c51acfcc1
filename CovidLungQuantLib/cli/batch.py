"""`covidlungquant batch`: every scan of a cohort, on one computer or a cluster."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path, memory_size, scan_path
from CovidLungQuantLib.cli.options import (
    add_debug_option,
    add_device_option,
    add_model_option,
    add_run_options,
)
from CovidLungQuantLib.cli.printing import print_files
from CovidLungQuantLib.cli.progress_bar import CountedScans, shown_progress
from CovidLungQuantLib.cli.results import run_options
from CovidLungQuantLib.errors import BadInputError, Cancelled
from CovidLungQuantLib.printable import printable

if TYPE_CHECKING:
    from CovidLungQuantLib.batch.run import Batch, BatchResult, Standing
    from CovidLungQuantLib.cli.options import Commands

EPILOG = """\
A batch that was stopped or killed goes on when the same command is given again. Scans and patients
are called by keyed hashes: the key and the list of who is who lie beside OUT, not in it. A list
(CSV) has the column path, and patient, series, study_date and onset_date if you like; every other
column goes into the tables.
"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "batch", help="segment and measure every scan of a cohort", epilog=EPILOG
    )
    parser.add_argument(
        "input",
        type=scan_path,
        metavar="INPUT",
        help="folder of DICOM studies or of NRRD, NIfTI or MetaImage files, or a list (CSV)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="OUT",
        help="folder for the results; a new one, or that of a batch that is to go on",
    )
    add_device_option(parser, "where the networks run; one worker a GPU with CUDA")
    add_model_option(parser)
    add_run_options(parser)
    parser.add_argument(
        "--lobes",
        default="automatic",
        metavar="{automatic,none}",
        help="lobes for the scores: found (the default) or left out",
    )
    parser.add_argument(
        "--scene", action="store_true", help="write scene.mrb for 3D Slicer too (needs slicer-core)"
    )
    parser.add_argument(
        "--pdf", action="store_true", help="write the reports as PDF too (needs WeasyPrint)"
    )
    _add_cluster_options(parser)
    _add_identifier_options(parser)
    parser.add_argument(
        "--retry-failed", action="store_true", help="try scans again that have failed before"
    )
    add_debug_option(parser)
    parser.set_defaults(run=run)


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="processes that measure one scan at a time each; 0 measures in this one, without Dask "
        "(default: one a GPU, or as many as cores and memory allow)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="that each worker computes with (default: the cores shared by the workers, one with "
        "--scheduler; kept when the batch goes on, as figures may depend on it in the last digit)",
    )
    parser.add_argument(
        "--memory-limit",
        type=memory_size,
        metavar="SIZE",
        help="memory of a worker, such as 4GiB, beyond which it is ended (default: an equal share)",
    )
    parser.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="use the workers of a Dask scheduler that runs already; INPUT and OUT must be at the "
        "same place on all computers",
    )


def _add_identifier_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--id-column",
        metavar="COLUMN",
        help="column of the list whose text names the patient in all output (default: a keyed "
        "hash)",
    )
    parser.add_argument(
        "--key",
        type=given_path,
        metavar="FILE",
        help="key of the hashes, made where there is none (default: OUT.key, beside OUT)",
    )
    parser.add_argument(
        "--keep-identifiers",
        action="store_true",
        help="leave patients' identifiers, study dates and names of files in the output",
    )


def run(chosen: argparse.Namespace) -> None:
    """Measure all scans and print what came of them."""
    # Imported here: the network's libraries take seconds to load, help and mistakes should not.
    from CovidLungQuantLib.batch.run import Batch

    batch = Batch(
        source=chosen.input,
        out=chosen.output,
        options=run_options(_checked(chosen)),
        workers=chosen.workers,
        threads=chosen.threads,
        memory_bytes=chosen.memory_limit,
        scheduler=chosen.scheduler,
        key=chosen.key,
        id_column=chosen.id_column,
        keep_identifiers=chosen.keep_identifiers,
        retry_failed=chosen.retry_failed,
        scene=chosen.scene,
        pdf=chosen.pdf,
    )
    _print_result(_run(batch))


def _checked(chosen: argparse.Namespace) -> argparse.Namespace:
    if chosen.lobes not in ("automatic", "none"):
        raise BadInputError(
            f"“{chosen.lobes}” is no way to come by the lobes of many scans; use automatic or none."
        )
    if chosen.workers is not None and chosen.workers < 0:
        raise BadInputError("The number of --workers is below 0; give 0 or more.")
    if chosen.threads is not None and chosen.threads < 1:
        raise BadInputError("The number of --threads is below 1; give 1 or more.")
    return chosen


def _run(batch: Batch) -> BatchResult:
    """Run it under a bar; Ctrl-C says how to go on."""
    from CovidLungQuantLib.batch.run import run_batch

    last: list[Standing] = []
    said: list[str] = []
    with ExitStack() as looking, CountedScans() as counted:
        progress = looking.enter_context(shown_progress())

        def tell(standing: Standing) -> None:
            looking.close()
            last[:] = [standing]
            counted.show(standing.finished + standing.failed, standing.total, _notes(standing))

        def say(sentence: str) -> None:
            # Above the bar, not within it.
            looking.close()
            said.append(sentence)
            print(printable(sentence), flush=True)

        try:
            return run_batch(
                batch, tell, say, lambda fraction, text: None if last else progress(fraction, text)
            )
        except KeyboardInterrupt:
            if not last and not said:
                # Scans were looked for, and nothing was written yet.
                raise
            done = f"{last[0].finished} of {last[0].total} scans are" if last else "no scan is"
            raise Cancelled(f"Stopped; {done} finished, and the same command goes on.") from None


def _notes(standing: Standing) -> str:
    """What stands behind the count."""
    failed = f"{standing.failed} failed" if standing.failed else ""
    return ", ".join(text for text in (failed, standing.message) if text)


def _print_result(result: BatchResult) -> None:
    from CovidLungQuantLib.batch.places import SCANS_FOLDER, TABLE_FILES
    from CovidLungQuantLib.batch.tables import FAILED, FINISHED

    tables = result.tables
    failed = tables.count(FAILED)
    print(
        f"Measured {tables.count(FINISHED)} of {len(tables.scans)} scans; {tables.flagged} with a "
        "warning."
    )
    if result.peak_mib:
        print(f"The most memory that a worker had: {result.peak_mib:.0f} MiB.")
    out = result.places.out
    print_files(out, [*(name for name in TABLE_FILES if (out / name).exists()), SCANS_FOLDER])
    if failed:
        raise BadInputError(
            f"Of {len(tables.scans)} scans {failed} could not be measured; failures.csv says why, "
            "and --retry-failed tries them again."
        )
