"""How time and memory grow with the slices of a scan, step by step, and beside others.

    python Testing/Benchmarks/scaling.py --slices 60 120 --output build/bench

Each measurement runs in a process of its own (`scaling_steps.py`), and all in one go, so that
ratios hold though seconds differ from machine to machine. Beside our own steps stand the lesion
network read literally, as the paper describes it, and, where they are installed, the networks of
others. Writes `performance.md` and `performance.png` into the output folder; `make bench` does so
for 60 and 120 slices in a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from scaling_page import Results, write_page

STEPS_FILE = Path(__file__).with_name("scaling_steps.py")
ROOT = STEPS_FILE.parents[2]
# Packages of others, by what measures them.
OTHERS = {"lungmask": "lungmask", "monai": "monai"}


def devices_here() -> list[str]:
    """The CPU, and CUDA where there is one."""
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def machine() -> dict[str, str]:
    """What the figures were measured on and with."""
    import torch

    from CovidLungQuantLib.versions import software_versions

    about = {
        "processor": _processor(),
        "cores": f"{os.cpu_count()}, PyTorch uses {torch.get_num_threads()}",
        "system": f"{platform.system()} {platform.machine()}",
        **software_versions(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        about["memory"] = f"{total / 2**30:.0f} GiB"
    if hasattr(os, "getloadavg"):
        about["busy with"] = f"{os.getloadavg()[0]:.1f} other processes, before the first run"
    if torch.cuda.is_available():
        about["GPU"] = torch.cuda.get_device_name()
        about["CUDA"] = str(torch.version.cuda)
    return about


def _processor() -> str:
    cpu_info = Path("/proc/cpuinfo")
    if cpu_info.is_file():
        for line in cpu_info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def what_to_measure(slice_counts: list[int], most_literal: int) -> list[tuple[str, int]]:
    """What is measured and with how many slices, in the order of the measurements."""
    wanted = [(what, count) for count in slice_counts for what in ("whole", "steps")]
    literal = [count for count in slice_counts if count <= most_literal]
    wanted += [("network", max(literal or [min(slice_counts)]))]
    wanted += [(what, max(slice_counts)) for what, package in OTHERS.items() if find_spec(package)]
    return wanted


def measure(
    slice_counts: list[int],
    devices: list[str],
    repeats: int,
    seconds_each: int,
    most_literal: int,
) -> Results:
    """Run all measurements; of several runs the one with the fewest CPU seconds counts."""
    results = Results()
    for _ in range(repeats):
        for device in devices:
            for what, count in what_to_measure(slice_counts, most_literal):
                print(f"{what}, {count} slices, {device} … ", end="", flush=True)
                try:
                    figures = measured_apart(what, count, device, seconds_each)
                except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                    print(f"left out: {error}")
                    continue
                for name, of_step in figures.items():
                    results.add(device, name, count, of_step)
                print(f"{sum(step['seconds'] for step in figures.values()):.1f} s")
    return results


def measured_apart(what: str, count: int, device: str, seconds_each: int) -> dict:
    """The figures of one measurement, from a process of its own."""
    done = subprocess.run(
        [sys.executable, str(STEPS_FILE), what, str(count), device],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=seconds_each,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description="Time and memory by the number of slices.")
    parser.add_argument("--slices", type=int, nargs="+", default=[60, 120], metavar="N")
    parser.add_argument("--devices", nargs="+", choices=["cpu", "cuda"], help="default: all here")
    parser.add_argument("--repeats", type=int, default=1, help="the best of so many runs counts")
    parser.add_argument("--seconds-each", type=int, default=1800, help="give up after so long")
    parser.add_argument(
        "--most-literal",
        type=int,
        default=120,
        metavar="N",
        help="read the network literally on at most N slices: it takes minutes on more, and its "
        "ratio hardly changes",
    )
    parser.add_argument("--output", type=Path, default=Path("build/bench"), metavar="FOLDER")
    chosen = parser.parse_args()
    counts = sorted(set(chosen.slices))
    if counts[0] < 20:
        parser.error("a chest has 20 slices or more")
    devices = chosen.devices or devices_here()
    about = machine()
    results = measure(counts, devices, chosen.repeats, chosen.seconds_each, chosen.most_literal)
    chosen.output.mkdir(parents=True, exist_ok=True)
    command = f'make bench SLICES="{" ".join(map(str, counts))}" REPEATS={chosen.repeats}'
    page = write_page(chosen.output, results, about, command)
    print(f"Written to {page}")


if __name__ == "__main__":
    main()
