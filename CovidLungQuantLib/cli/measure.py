"""`covidlungquant measure`: a segmentation that exists, measured."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path, scan_path
from CovidLungQuantLib.cli.options import CT_HELP, add_lobe_option, add_result_options
from CovidLungQuantLib.cli.progress_bar import READ_UNTIL, WRITE_FROM, shown_progress
from CovidLungQuantLib.cli.results import (
    check_dicom,
    check_pdf,
    checked_for_dicom,
    given_lobes,
    lobe_option,
    print_result,
    write_result,
)
from CovidLungQuantLib.progress import subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("measure", help="measure a segmentation that exists")
    parser.add_argument("ct", type=scan_path, metavar="CT", help=CT_HELP)
    parser.add_argument(
        "segmentation",
        type=given_path,
        metavar="SEGMENTATION",
        help=".seg.nrrd, or a label map of 0 background, 1 normal lung, 2 GGO, 3 high opacity",
    )
    add_result_options(parser)
    add_lobe_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Measure, write and print."""
    from CovidLungQuantLib.ct import read_ct_and_files
    from CovidLungQuantLib.files.segmentation_reading import read_segmentation
    from CovidLungQuantLib.outputs.folder import check_output_folder

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    check_pdf(chosen)
    check_dicom(chosen)
    with shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct, dicom_files = read_ct_and_files(chosen.ct, chosen.series)
        ct = checked_for_dicom(chosen, ct, dicom_files)
        labels, warnings = read_segmentation(chosen.segmentation, ct.geometry)
        ct = replace(ct, warnings=(*ct.warnings, *warnings))
        # PyTorch takes a while to load, mistakes should not.
        from CovidLungQuantLib.pipeline import measure

        quantification = measure(
            ct,
            labels,
            subrange(progress, READ_UNTIL, WRITE_FROM),
            given_lobes(chosen.lobes, ct),
            lobe_option(chosen.lobes),
        )
        files = write_result(chosen, quantification, progress, dicom_files)
    print_result(quantification, files)
