"""`covidlungquant segment`: lungs, lobes and lesions of a CT, measured."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import finite_number, scan_path
from CovidLungQuantLib.cli.options import (
    CT_HELP,
    add_device_option,
    add_lobe_option,
    add_model_option,
    add_result_options,
)
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
    parser = commands.add_parser("segment", help="segment lungs and lesions of a CT and measure")
    parser.add_argument("ct", type=scan_path, metavar="CT", help=CT_HELP)
    add_result_options(parser)
    add_device_option(parser, "where the network runs")
    add_model_option(parser)
    parser.add_argument(
        "--kinds",
        default="density",
        metavar="{density,thresholds,artery,network}",
        help="how GGO is told from high opacity inside lesions: density (high opacity above "
        "−350 HU), thresholds (Pan et al. 2021: also normal lung below −750 HU), artery (relative "
        "to the pulmonary artery, Bartoli et al. 2022), network (its own classes); default density",
    )
    parser.add_argument(
        "--artery-hu",
        type=finite_number,
        metavar="HU",
        help="density of the pulmonary artery for --kinds artery (default: measured)",
    )
    add_lobe_option(parser)
    parser.add_argument(
        "--airways-and-vessels",
        "--vessels",
        default="none",
        metavar="{none,find,remove}",
        help="find airways and vessels as segments of their own; remove also takes those in normal "
        "lung out of GGO and high opacity, while a vessel inside a lesion belongs to it (default: "
        "none)",
    )
    parser.add_argument(
        "--enhance",
        action="store_true",
        help="enhance the lung, as the command enhance does, with sub-visual lesions apart; finds "
        "airways and vessels, too",
    )
    parser.add_argument(
        "--mirror",
        action="store_true",
        help="show the network the mirror image, too, and take the mean; takes twice its time",
    )
    parser.add_argument(
        "--probability",
        action="store_true",
        help="also write the network's lesion probability as probability.nrrd, codes 0 to 255: "
        "lesion against the likelier of background and normal lung, 0 outside the lungs",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Segment, measure, write and print."""
    # Imported here: libraries take a while to load, help should not.
    from CovidLungQuantLib.ct import read_ct_and_files
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.quantification import Options, check_choices

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    check_pdf(chosen)
    check_dicom(chosen)
    options = Options(
        device=chosen.device,
        model=chosen.model,
        kinds=chosen.kinds,
        artery_hu=chosen.artery_hu,
        lobes=lobe_option(chosen.lobes),
        airways_and_vessels=chosen.airways_and_vessels,
        enhance=chosen.enhance,
        mirror=chosen.mirror,
        keep_probability=chosen.probability,
    )
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
