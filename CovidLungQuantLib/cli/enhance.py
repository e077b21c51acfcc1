"""`covidlungquant enhance`: vessels and airways out, the baseline off."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.cli.arguments import given_path, scan_path
from CovidLungQuantLib.cli.options import (
    CT_HELP,
    add_debug_option,
    add_device_option,
    add_model_option,
    add_series_option,
    check_new_image,
)
from CovidLungQuantLib.cli.printing import print_warnings
from CovidLungQuantLib.cli.progress_bar import READ_UNTIL, WRITE_FROM, shown_progress
from CovidLungQuantLib.cli.results import enhancement_lines
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.pipeline import EnhancedScan


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "enhance",
        help="enhance the lung of a CT: vessels and airways out, the scan's own baseline off",
        epilog=DISCLAIMER,
    )
    parser.add_argument("ct", type=scan_path, metavar="CT", help=CT_HELP)
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="FILE",
        help="enhanced volume to write, such as enhanced.nrrd; must not exist yet",
    )
    parser.add_argument(
        "--segmentation",
        type=given_path,
        metavar="FILE",
        help="lungs and lesions where there are some already; otherwise the network finds them",
    )
    parser.add_argument(
        "--baseline",
        default="rings",
        metavar="{rings,histogram}",
        help="where the baseline is taken: lung around vessels and airways (rings, the default), "
        "or the low side of the lungs' histogram",
    )
    for name, what in (
        ("airways", "airways found"),
        ("vessels", "vessels found"),
        ("sub-visual", "lesions that only the enhanced volume shows"),
    ):
        parser.add_argument(
            f"--{name}", type=given_path, metavar="FILE", help=f"also write the {what}, as 0 and 1"
        )
    add_series_option(parser)
    add_device_option(parser, "where the network runs")
    add_model_option(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Enhance, write and print."""
    files = [chosen.output, chosen.airways, chosen.vessels, chosen.sub_visual]
    wanted = [file for file in files if file is not None]
    for file in wanted:
        check_new_image(file)
    if len({file.absolute() for file in wanted}) < len(wanted):
        raise BadInputError("Two results would go into one file; give each its own name.")

    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.files.images import write_image
    from CovidLungQuantLib.files.segmentation_reading import read_segmentation
    from CovidLungQuantLib.lesions.enhancement import check_baseline
    from CovidLungQuantLib.pipeline import check_options, enhance, quantify
    from CovidLungQuantLib.quantification import NO_LOBES, Options

    check_baseline(chosen.baseline)
    options = Options(chosen.device, chosen.model, lobes=NO_LOBES)
    check_options(options)
    with shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct = read_ct(chosen.ct, chosen.series)
        if chosen.segmentation is not None:
            labels, warnings = read_segmentation(chosen.segmentation, ct.geometry)
            ct = replace(ct, warnings=(*ct.warnings, *warnings))
        else:
            found = quantify(ct, options, subrange(progress, READ_UNTIL, 0.5))
            labels, ct = found.labels, replace(ct, warnings=found.warnings)
        scan = enhance(
            ct,
            labels,
            chosen.baseline,
            chosen.sub_visual is not None,
            subrange(progress, 0.5, WRITE_FROM),
        )
        progress(WRITE_FROM, "Writing the enhanced volume")
        arrays = [
            scan.enhancement.enhanced_hu,
            scan.airways,
            scan.vessels,
            scan.enhancement.sub_visual,
        ]
        for file, array in zip(files, arrays, strict=True):
            if file is not None and array is not None:
                stored = array.astype(np.uint8) if array.dtype == bool else array
                write_image(file, stored, ct.geometry)
    print(f"\n{printable(ct.name)}\n{_enhancement_text(scan)}")
    print_warnings(warning.message for warning in scan.warnings)
    print(f"{DISCLAIMER}\nWritten:")
    for file in wanted:
        print(f"  {printable(str(file.absolute()))}")


def _enhancement_text(scan: EnhancedScan) -> str:
    """Baseline, window, bias, volumes and severity sums of an enhanced scan, one a line."""
    voxel_ml = scan.ct.geometry.voxel_volume_ml
    airways_ml, vessels_ml, lung_ml = (
        np.count_nonzero(array) * voxel_ml for array in (scan.airways, scan.vessels, scan.labels)
    )
    share = f"{100 * vessels_ml / lung_ml:.1f} % of the lungs"
    facts, severities = enhancement_lines(scan.enhancement)
    return "\n".join(
        [
            *facts,
            f"airways            {airways_ml:.1f} mL with trachea",
            f"vessels            {vessels_ml:.1f} mL, {share}",
            *severities,
        ]
    )
