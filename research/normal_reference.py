"""The HU of normal lungs as a small file, from scans of normal lungs.

`python -m research.normal_reference NAME=SCAN... --origin NAME=TEXT... -o FILE`

The file holds counts of voxels by HU and where the scans come from, and nothing else of them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import CTVolume, lps_oriented, read_ct
from CovidLungQuantLib.labels import NORMAL_LUNG
from CovidLungQuantLib.measures.distribution import (
    BIN_WIDTH_HU,
    HIGHEST_BIN_HU,
    LOWEST_BIN_HU,
    bin_counts,
)
from CovidLungQuantLib.measures.volumes import label_histograms


def normal_lung_counts(ct: CTVolume) -> list[int]:
    """Return the lung voxels of a scan of normal lungs by bin of HU.

    Raises:
        BadInputError: there are no lungs in the scan.
    """
    upright, _ = lps_oriented(ct)
    lungs = segment_lungs(upright.hu, upright.geometry.spacing_mm).lungs
    labels = np.where(lungs > 0, np.uint8(NORMAL_LUNG.value), np.uint8(0))
    return bin_counts(label_histograms(upright.hu, labels, labels)).sum(axis=0).tolist()


def reference_dict(scans: dict[str, CTVolume], origins: dict[str, str]) -> dict:
    """Return what the file holds: bins, and for each scan its name, origin and counts."""
    return {
        "what": "Voxels of normal lungs by Hounsfield units; the first and the last bin hold what "
        "lies below and above.",
        "made_by": f"CovidLungQuant {__version__}, research.normal_reference",
        "lowest_bin_hu": LOWEST_BIN_HU,
        "highest_bin_hu": HIGHEST_BIN_HU,
        "bin_width_hu": BIN_WIDTH_HU,
        "scans": [
            {"name": name, "origin": origins[name], "voxels": normal_lung_counts(ct)}
            for name, ct in scans.items()
        ],
    }


def main() -> None:
    """Write the reference from scans given on the command line."""
    parser = argparse.ArgumentParser(description="Count the HU of normal lungs.")
    parser.add_argument("scans", nargs="+", metavar="NAME=SCAN", help="scans of normal lungs")
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        metavar="NAME=TEXT",
        help="where a scan comes from and its licence; once for each scan",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    paths = dict(item.split("=", 1) for item in arguments.scans)
    origins = dict(item.split("=", 1) for item in arguments.origin)
    if set(paths) != set(origins):
        parser.error("give one --origin NAME=TEXT for each scan")
    reference = reference_dict({name: read_ct(path) for name, path in paths.items()}, origins)
    text = json.dumps(reference, indent=1, ensure_ascii=False)
    arguments.output.write_text(_with_counts_on_one_line(text) + "\n", encoding="utf-8")


def _with_counts_on_one_line(text: str) -> str:
    """Indented JSON with each list of numbers on one line, so that it can be read."""
    lines: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.rstrip(",").isdigit() or (stripped.startswith("]") and lines[-1][-1].isdigit()):
            lines[-1] += (" " if lines[-1].endswith(",") else "") + stripped
        else:
            lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
