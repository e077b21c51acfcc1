"""Compare what model files cost: time and memory of one scan, each in a process of its own.

    python Testing/Benchmarks/compare_models.py CT MODEL.pt MODEL.pt … -o costs.csv

Writes one row a model: parameters, seconds on the CPU, their ratio to the first model, and the peak
memory of the process. The lungs are found beforehand and not counted. Models take turns; the
shortest time counts.
"""

from __future__ import annotations

import argparse
import csv
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.lesions.inference import segment_lesions
from CovidLungQuantLib.lesions.lesion_model import load_model

ROUNDS = 2
COLUMNS = ("model", "architecture", "parameters", "seconds", "ratio", "peak_mib")


def peak_mib() -> float:
    """The most memory this process ever held; Linux counts in KiB, macOS in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def prepare(ct_path: Path, prepared: Path) -> None:
    """Write a scan and its lungs to a file that loads quickly."""
    upright, _ = lps_oriented(read_ct(ct_path))
    spacing_mm = upright.geometry.spacing_mm
    anatomy = segment_lungs(upright.hu, spacing_mm)
    np.savez(
        prepared,
        hu=upright.hu,
        spacing_mm=spacing_mm,
        lungs=anatomy.lungs,
        body=anatomy.body,
        airways=anatomy.airways,
    )


def measure_one(prepared: Path, model_path: Path) -> None:
    """Print architecture, parameters, seconds and peak memory in MiB of one model on one scan."""
    with np.load(prepared) as scan:
        hu, spacing_mm = scan["hu"], tuple(scan["spacing_mm"])
        anatomy = LungAnatomy(scan["lungs"], scan["body"], scan["airways"], ())
    model = load_model(str(model_path))
    start = time.perf_counter()
    segment_lesions(hu, spacing_mm, anatomy, model, "cpu")
    seconds = time.perf_counter() - start
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    print(type(model.network).__name__, parameters, seconds, peak_mib())


def measure_in_turns(prepared: Path, models: list[Path]) -> list[dict[str, object]]:
    """Rows of the table, in the order of `models`."""
    best: dict[Path, list[str]] = {}
    for _ in range(ROUNDS):
        for model in models:
            command = [sys.executable, __file__, str(prepared), str(model), "--one"]
            said = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
            figures = said.split()
            if model not in best or float(figures[2]) < float(best[model][2]):
                best[model] = figures
    first_seconds = float(best[models[0]][2])
    rows = []
    for model in models:
        architecture, parameters, seconds, memory = best[model]
        values = (
            model.stem,
            architecture,
            parameters,
            f"{float(seconds):.1f}",
            f"{float(seconds) / first_seconds:.2f}",
            f"{float(memory):.0f}",
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def main() -> None:
    """Command line of this benchmark."""
    parser = argparse.ArgumentParser(description="Compare time and memory of models on one scan.")
    parser.add_argument("ct", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, help="CSV file")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        measure_one(arguments.ct, arguments.models[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "scan.npz"
        prepare(arguments.ct, prepared)
        rows = measure_in_turns(prepared, arguments.models)
    for row in rows:
        print("  ".join(str(value) for value in row.values()))
    if arguments.output:
        with arguments.output.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
