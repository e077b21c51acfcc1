"""`covidlungquant segment`: lungs, lobes and lesions of a CT, measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import scan_path
from CovidLungQuantLib.cli.options import (
    CT_HELP,
    add_device_option,
    add_lobe_option,
    add_model_option,
    add_result_options,
    add_run_options,
)
from CovidLungQuantLib.cli.progress_bar import READ_UNTIL, WRITE_FROM, shown_progress
from CovidLungQuantLib.cli.results import (
    check_dicom,
    check_pdf,
    checked_for_dicom,
    given_lobes,
    print_result,
    run_options,
    write_result,
)
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("segment", help="segment lungs and lesions of a CT and measure")
    parser.add_argument("ct", type=scan_path, metavar="CT", help=CT_HELP)
    add_result_options(parser)
    add_device_option(parser, "where the network runs")
    add_model_option(parser)
    add_run_options(parser)
    add_lobe_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Segment, measure, write and print."""
    # Imported here: libraries take a while to load, help should not.
    from CovidLungQuantLib.ct import read_ct_and_files
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.quantification import check_choices

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    check_pdf(chosen)
    check_dicom(chosen)
    options = run_options(chosen)
    check_choices(options)
    if options.device != "auto":
        # Only PyTorch, which takes seconds to load, knows which devices there are.
        from CovidLungQuantLib.pipeline import check_options

        check_options(options)
    with shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct, dicom_files = read_ct_and_files(chosen.ct, chosen.series)
        ct = checked_for_dicom(chosen, ct, dicom_files)
        progress(READ_UNTIL, "Loading the model")
        from CovidLungQuantLib.pipeline import quantify

        quantification = quantify(
            ct,
            options,
            subrange(progress, READ_UNTIL, WRITE_FROM),
            given_lobes(chosen.lobes, ct),
        )
        files = write_result(chosen, quantification, progress, dicom_files)
    print_result(quantification, files)
