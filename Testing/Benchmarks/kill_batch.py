"""A cohort of small scans made from real ones, measured while workers and scheduler are killed.

    python Testing/Benchmarks/kill_batch.py DATA [--count 200] [--ratio]

DATA is the folder of real scans (`COVIDLUNGQUANT_TEST_DATA`). Each scan is a coarse copy of one of
them: cropped, half of them mirrored, with noise. The cohort is measured undisturbed, then while
three workers and the scheduler with its process are killed; the tables must be the same, byte by
byte. `--ratio` also measures with one worker of one thread, and says how much faster two are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "Python")]

from batch_runs import (  # noqa: E402
    BatchProcess,
    finished_count,
    running_scans,
    tables_of,
    write_small_model,
)

from CovidLungQuantLib.ct import CTVolume, Geometry, lps_oriented, read_ct  # noqa: E402
from CovidLungQuantLib.files.images import write_image  # noqa: E402
from CovidLungQuantLib.vetting import read_csv_dicts  # noqa: E402

COARSE_MM = 6.5
SOURCES = ("labelled/*/ct.nrrd", "unlabelled/*/ct.nrrd")
WORKER_KILLS = 3


def coarse(ct: CTVolume) -> CTVolume:
    """Return the scan upright, with voxels of 6.5 mm."""
    upright, _ = lps_oriented(ct)
    spacing_mm = np.array(upright.geometry.spacing_mm[::-1])
    hu = ndimage.zoom(upright.hu.astype(np.float32), spacing_mm / COARSE_MM, order=1)
    shape = (int(hu.shape[0]), int(hu.shape[1]), int(hu.shape[2]))
    geometry = Geometry(shape, (COARSE_MM,) * 3, (0.0, 0.0, 0.0), np.eye(3))
    return CTVolume(np.rint(hu).astype(np.int16), geometry, ct.name)


def varied(ct: CTVolume, number: int) -> CTVolume:
    """Return the scan cropped by up to two voxels a side, perhaps mirrored, with noise."""
    random = np.random.default_rng(number)
    before, after = random.integers(0, 3, (2, 3))
    box = tuple(
        slice(int(first), size - int(last))
        for first, last, size in zip(before, after, ct.hu.shape, strict=True)
    )
    hu = ct.hu[box]
    if number % 2:
        hu = hu[:, :, ::-1]
    hu = np.clip(hu + random.normal(0, 12, hu.shape), -1024, 3000).astype(np.int16)
    shape = (hu.shape[0], hu.shape[1], hu.shape[2])
    return CTVolume(hu, Geometry(shape, (COARSE_MM,) * 3, (0.0, 0.0, 0.0), np.eye(3)), ct.name)


def write_cohort(folder: Path, data: Path, count: int) -> Path:
    """Write the scans and a list of them, five of each patient; returns the list."""
    folder.mkdir()
    files = [file for pattern in SOURCES for file in sorted(data.glob(pattern))]
    sources = [coarse(read_ct(file)) for file in files]
    lines = ["path,patient,days_from_first_scan,group"]
    for number in range(count):
        ct = varied(sources[number % len(sources)], number)
        write_image(folder / f"{number:03d}.nrrd", ct.hu, ct.geometry)
        lines.append(f"{number:03d}.nrrd,patient {number // 5},{7 * (number % 5)},{number % 2}")
    file = folder / "cohort.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def timed_run(source: Path, out: Path, options: list[str]) -> float:
    """Measure the cohort without a disturbance; returns the seconds."""
    begun = time.monotonic()
    process = BatchProcess(source, out, *options, log=out.with_suffix(".log"))
    code = process.wait(3600)
    assert code in (0, 2), process.said()
    return time.monotonic() - begun


def disturbed_run(source: Path, out: Path, options: list[str], count: int) -> dict[str, int]:
    """Measure the cohort while workers and the whole batch are killed."""
    log = out.with_suffix(".log")
    batch = BatchProcess(source, out, *options, log=log)
    for kill in range(1, WORKER_KILLS + 1):
        batch.wait_for_finished(kill * count // 6)
        batch.wait_until(lambda: running_scans(batch.places), "running")
        batch.workers()[kill % 2].kill()
    batch.wait_for_finished(4 * count // 6)
    batch.kill()
    before = finished_count(batch.places)
    again = BatchProcess(source, out, *options, log=log)
    assert again.wait(3600) in (0, 2), again.said()
    return {"worker kills": WORKER_KILLS, "scheduler kills": 1, "finished before it": before}


def main() -> None:
    """Run it and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--ratio", action="store_true")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_cohort(folder / "in", chosen.data, chosen.count)
        shared = ["--model", str(write_small_model(folder)), "--device", "cpu", "--lobes", "none"]
        shared += ["--key", str(folder / "cohort.key"), "--memory-limit", "2GiB"]
        shared += ["--threads", "1"]
        two = [*shared, "--workers", "2"]
        found: dict[str, object] = {"scans": chosen.count, "load before": os.getloadavg()[0]}
        seconds = timed_run(source, folder / "two", two)
        found["seconds of two workers"] = round(seconds)
        if chosen.ratio:
            one = timed_run(source, folder / "one", [*shared, "--workers", "1"])
            found["seconds of one worker"] = round(one)
            found["two are faster by"] = round(one / seconds, 2)
            assert tables_of(folder / "one") == tables_of(folder / "two")
        found |= disturbed_run(source, folder / "killed", two, chosen.count)
        assert tables_of(folder / "killed") == tables_of(folder / "two")
        rows = read_csv_dicts(folder / "killed" / "cohort.csv")
        states = [row["status"] for row in rows]
        found |= {state: states.count(state) for state in sorted(set(states))}
        found["rows"] = len(rows)
        found["different scans"] = len({row["scan_id"] for row in rows})
        said = (folder / "killed.log").read_text(encoding="utf-8").splitlines()
        found["said"] = [line for line in said if "memory" in line]
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
