"""Segment every chest CT of a folder in 3D Slicer, without its window.

    Slicer --no-main-window --python-script segment_folder.py -- INPUT OUTPUT [--model MODEL]
        [--device DEVICE] [--kinds KINDS]

INPUT holds the scans: image files (.nrrd, .nii, .nii.gz, .mha, ...) and folders of DICOM files.
Each scan gets a folder in OUTPUT with the segmentation, table, report and scene.mrb; all numbers of
the run stand in OUTPUT/cohort.csv. Scans that are finished already are skipped, so a run that was
stopped can be started again. A scan that fails costs one line on the console, and the run goes on.

Exit code: 0 if every scan is finished, 1 if some failed, 2 if nothing could be begun.
For research only; not a medical device.
"""

import argparse
import csv
import sys
from pathlib import Path

import slicer

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.ct.reading import IMAGE_SUFFIXES
from CovidLungQuantLib.errors import BadInputError, CovidLungQuantError
from CovidLungQuantLib.files.names import MEASUREMENTS_FILE, SCENE_FILE
from CovidLungQuantLib.mrml.table import record_from_node
from CovidLungQuantLib.mrml.volumes import ct_to_node

COHORT_FILE = "cohort.csv"


def main():
    """Segment the folder and return the exit code."""
    try:
        chosen = parse_arguments()
        cases = find_cases(chosen.input)
        chosen.output.mkdir(parents=True, exist_ok=True)
    except (CovidLungQuantError, OSError) as error:
        print(f"segment_folder: {error}", file=sys.stderr)
        return 2
    failed = 0
    for number, (name, path) in enumerate(cases.items(), start=1):
        title = f"[{number}/{len(cases)}] {name}"
        folder = chosen.output / name
        # The last file to be written.
        if (folder / SCENE_FILE).is_file():
            print(f"{title}: finished already", flush=True)
            continue
        try:
            segment_case(path, folder, chosen, title)
        except CovidLungQuantError as error:
            failed += 1
            print(f"{title}: {error}", file=sys.stderr, flush=True)
        except Exception as error:
            failed += 1
            reason = str(error).partition("\n")[0] or type(error).__name__
            print(f"{title}: unexpected error ({reason})", file=sys.stderr, flush=True)
        finally:
            slicer.mrmlScene.Clear(0)
    write_cohort(chosen.output, cases)
    print(f"{len(cases) - failed} of {len(cases)} scans are finished.", flush=True)
    return 1 if failed else 0


def parse_arguments():
    """Read the command line; a mistake in it raises BadInputError."""
    parser = argparse.ArgumentParser(prog="segment_folder", exit_on_error=False)
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", help="name of a model or path of a weights file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--kinds", default="density", help="how GGO is told from high opacity")
    arguments = sys.argv[1:]
    # Slicer may or may not keep what ends its own options.
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    try:
        return parser.parse_args(arguments)
    except (argparse.ArgumentError, SystemExit) as error:
        raise BadInputError("give the folder of the scans and that of the results.") from error


def find_cases(folder):
    """Return the scans of a folder, name -> path, sorted by name."""
    if not folder.is_dir():
        raise BadInputError(f"there is no folder {folder}.")
    paths = [
        path
        for path in sorted(folder.iterdir())
        if not path.name.startswith(".")
        and (path.is_dir() or path.name.lower().endswith(IMAGE_SUFFIXES))
    ]
    if not paths:
        raise BadInputError(f"{folder} holds no scans.")
    # With the suffix: scan.nrrd and scan.nii.gz may lie beside each other.
    return {path.name: path for path in paths}


def segment_case(path, folder, chosen, title):
    """Read, segment and write one scan."""
    logic = slicer.util.getModuleLogic("CovidLungQuant")
    volumeNode = ct_to_node(slicer.mrmlScene, read_ct(path))
    progress = Progress(title)
    nodes = logic.segment(
        volumeNode,
        model=chosen.model,
        device=chosen.device,
        kinds=chosen.kinds,
        progress=progress,
    )
    # What an interrupted run has left is replaced.
    logic.saveReport(volumeNode, *nodes, folder, overwrite=True, progress=progress)
    write_scene(folder)
    print(f"{title}: {summary(nodes[1])}", flush=True)


def write_scene(folder):
    """Write the scene; under another name until it is complete."""
    # Not hidden: a scene whose name begins with a dot cannot be written.
    unfinished = folder.with_name(f"unfinished-{folder.name}-{SCENE_FILE}")
    if not slicer.mrmlScene.WriteToMRB(str(unfinished)):
        unfinished.unlink(missing_ok=True)
        raise CovidLungQuantError("the scene could not be written; check the free space.")
    unfinished.rename(folder / SCENE_FILE)


def write_cohort(output, names):
    """Write one row a finished scan, those of earlier runs included: the numbers of both lungs."""
    rows = []
    for name in names:
        if (output / name / SCENE_FILE).is_file():
            with (output / name / MEASUREMENTS_FILE).open(encoding="utf-8", newline="") as file:
                rows.append({"case": name, **next(csv.DictReader(file))})
    if rows:
        with (output / COHORT_FILE).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)


class Progress:
    """Prints each new step once."""

    def __init__(self, title):
        self.title = title
        self.message = None

    def __call__(self, fraction, message):
        if message != self.message:
            self.message = message
            print(f"{self.title}: {100 * fraction:3.0f} % {message}", flush=True)


def summary(tableNode):
    """The lesion extent in one line."""
    both = record_from_node(tableNode).measurements.region("both lungs")
    return f"lesion {both.lesion_ml:.1f} mL, {both.lesion_percent:.1f} % of the lungs"


if __name__ == "__main__":
    slicer.util.exit(main())
