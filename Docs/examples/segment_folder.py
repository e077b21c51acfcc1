"""Segment every chest CT of a folder in 3D Slicer, without its window.

    Slicer --no-main-window --python-script segment_folder.py -- INPUT OUTPUT [--model MODEL]
        [--device DEVICE] [--kinds KINDS] [--keep-identifiers]

INPUT holds the scans: a folder tree of DICOM studies or of image files, or a CSV list of them. Each
scan gets a folder in OUTPUT/scans with the segmentation, table, report and scene.mrb; all numbers
stand in OUTPUT/cohort.csv, a page to look through in OUTPUT/overview.html, and what failed in
OUTPUT/failures.csv. Scans are called by keyed hashes; OUTPUT.who-is-who.csv, beside OUTPUT, says
which is which. A run that was stopped can be started again. It is the command “covidlungquant
batch” in Slicer's own process; Docs/batch.md describes it.

Exit code: 0 if every scan is finished, 1 if some failed, 2 if nothing could be begun or the run had
to stop. For research only; not a medical device.
"""

import argparse
import sys
from pathlib import Path

import slicer

from CovidLungQuantLib.batch.batch import Batch
from CovidLungQuantLib.batch.run import run_batch
from CovidLungQuantLib.errors import BadInputError, CovidLungQuantError
from CovidLungQuantLib.quantification import Options


def main():
    """Segment the folder and return the exit code."""
    try:
        chosen = parse_arguments()
        options = Options(device=chosen.device, model=chosen.model, kinds=chosen.kinds)
        batch = Batch(
            chosen.input,
            chosen.output,
            options,
            # Workers would need a Python of their own, which Slicer is not.
            workers=0,
            keep_identifiers=chosen.keep_identifiers,
            scene=True,
        )
        tables = run_batch(batch, tell=Counter(), say=show).tables
    except CovidLungQuantError as error:
        print(f"segment_folder: {error}", file=sys.stderr)
        return 2
    for scan_id, failure in tables.failures.items():
        print(f"{scan_id}: {failure.reason}", file=sys.stderr)
    show(f"{tables.count('finished')} of {len(tables.scans)} scans are finished.")
    return 1 if tables.failures else 0


def parse_arguments():
    """Read the command line; a mistake in it raises BadInputError."""
    parser = argparse.ArgumentParser(prog="segment_folder", exit_on_error=False)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", help="name of a model or path of a weights file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--kinds", default="density", help="how GGO is told from high opacity")
    parser.add_argument("--keep-identifiers", action="store_true", help="name scans as INPUT does")
    arguments = sys.argv[1:]
    # Slicer may or may not keep what ends its own options.
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    try:
        return parser.parse_args(arguments)
    except (argparse.ArgumentError, SystemExit) as error:
        raise BadInputError("give the folder of the scans and that of the results.") from error


def show(sentence):
    """Print at once: Slicer's console is often a file."""
    print(sentence, flush=True)


class Counter:
    """Prints a line whenever a scan is done."""

    def __init__(self):
        self.done = None

    def __call__(self, standing):
        done = standing.finished + standing.failed
        if done != self.done:
            self.done = done
            show(f"{done} of {standing.total} scans, {standing.failed} failed")


if __name__ == "__main__":
    slicer.util.exit(main())
