"""`covidlungquant lobes`: the five lobes of a CT, or of a lung mask."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.cli.arguments import given_path, scan_path
from CovidLungQuantLib.cli.options import (
    CT_HELP,
    add_debug_option,
    add_series_option,
    check_new_image,
)
from CovidLungQuantLib.cli.printing import print_warnings
from CovidLungQuantLib.cli.progress_bar import READ_UNTIL, WRITE_FROM, shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER, LOBES
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.ct import Geometry, ScanWarning


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "lobes", help="divide the lungs of a CT, or of a lung mask, into their five lobes"
    )
    parser.add_argument("ct", type=scan_path, nargs="?", metavar="CT", help=CT_HELP)
    parser.add_argument(
        "--lungs",
        type=given_path,
        metavar="MASK",
        help="instead of a CT, a label map of the lungs (left 1, right 2): lobes by shape alone",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="FILE",
        help="label map to write (1 RUL, 2 RML, 3 RLL, 4 LUL, 5 LLL), such as lobes.nrrd; must not "
        "exist yet",
    )
    add_series_option(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Find the lobes, write and print them."""
    if (chosen.ct is None) == (chosen.lungs is None):
        raise BadInputError("Give either a CT or, with --lungs, a label map of the lungs.")
    check_new_image(chosen.output)

    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.files.images import write_image
    from CovidLungQuantLib.files.lobes import read_lungs

    warnings: tuple[ScanWarning, ...] = ()
    with shown_progress() as progress:
        if chosen.lungs is not None:
            progress(0.0, "Reading the lungs")
            lungs, geometry = read_lungs(chosen.lungs)
            progress(READ_UNTIL, "Dividing the lungs by their shape")
            from CovidLungQuantLib.pipeline import lobes_of_lungs

            lobes = lobes_of_lungs(lungs, geometry)
        else:
            progress(0.0, "Reading the scan")
            ct = read_ct(chosen.ct, chosen.series)
            # PyTorch takes a while to load, mistakes should not.
            from CovidLungQuantLib.pipeline import find_lobes

            found = find_lobes(ct, subrange(progress, READ_UNTIL, WRITE_FROM))
            lobes, geometry, warnings = found.lobes, ct.geometry, found.warnings
        progress(WRITE_FROM, "Writing the lobes")
        write_image(chosen.output, lobes, geometry)
    print(_volumes_text(lobes, geometry))
    print_warnings(warning.message for warning in warnings)
    print(f"{DISCLAIMER}\nWritten to {printable(str(chosen.output))}")


def _volumes_text(lobes: np.ndarray, geometry: Geometry) -> str:
    """Volume and share of each lobe, one a line."""
    counts = np.bincount(lobes.ravel(), minlength=len(LOBES) + 1)
    lung_count = counts[1:].sum()
    return "\n".join(
        f"{lobe.name:<18} {counts[lobe.value] * geometry.voxel_volume_ml:7.1f} mL  "
        f"{100 * counts[lobe.value] / lung_count:5.1f} % of the lungs"
        for lobe in LOBES
    )
