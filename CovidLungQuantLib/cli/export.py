"""`covidlungquant export`: corrected scans into a training set."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path, scan_path, text_file
from CovidLungQuantLib.cli.options import CT_HELP, add_debug_option, add_series_option
from CovidLungQuantLib.cli.progress_bar import shown_progress
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.training.export_list import ExportItem


EPILOG = f"""\
A list has one line a scan; paths are taken from the folder of the list, the last four columns may
be left out. Scans of one patient share any word in the last one, which is not copied:

  ct,segmentation,machine,reader,series,patient
  scans/a,corrected/a.seg.nrrd,results/a,AB,,1
  scans/b.nrrd,corrected/b.seg.nrrd,results/b,AB,,1

Cases are numbered (case_0001, …). They hold voxels, geometry and labels only: no name, id, date,
UID or path of the scan is copied. manifest.csv says for each when, who, which model with its
SHA-256, how much was changed (voxels, mL, Dice), which cases are of one patient, and the SHA-256 of
the files. A scan that is there already is refused, unless --new-version is given. Nothing is
overwritten.

{DISCLAIMER}"""


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "export",
        help="add a corrected scan, or many, to a training set",
        description="Add scans with their segmentations to a training set, which `train` reads.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ct", type=scan_path, nargs="?", metavar="CT", help=CT_HELP)
    parser.add_argument(
        "segmentation",
        type=given_path,
        nargs="?",
        metavar="SEGMENTATION",
        help="the reader's, as for measure, or a folder that segment or measure wrote",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="DATASET",
        help="folder of the training set; made where there is none",
    )
    parser.add_argument(
        "--machine",
        type=given_path,
        metavar="SEGMENTATION",
        help="what the reader began with, likewise; the manifest then says what was changed",
    )
    parser.add_argument("--reader", metavar="NAME", help="who corrected, for the manifest")
    parser.add_argument(
        "--same-patient-as",
        metavar="CASE",
        help="a case of the training set that is of the same patient (default: a new patient); "
        "train and fine-tune never part them",
    )
    parser.add_argument(
        "--list", type=text_file, metavar="CASES.csv", help="instead of one scan, a list; see below"
    )
    parser.add_argument(
        "--layout",
        metavar="{covidlungquant,nnunet}",
        help="one folder a case, or nnU-Net raw data (default: that of the training set, and "
        "covidlungquant for a new one)",
    )
    parser.add_argument(
        "--new-version",
        action="store_true",
        help="add scans that are there already again; their earlier version is moved to the folder "
        "earlier",
    )
    add_series_option(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Add the scans and print their names."""
    from CovidLungQuantLib.training.export_list import ExportedScan, export_scans

    def tell(scan: ExportedScan) -> None:
        name = printable(scan.item.ct.name)
        print(f"{scan.case}  {name}" if scan.case else f"Left out: {name}: {scan.reason}")

    items = _items(chosen)
    with shown_progress() as progress:
        exported = export_scans(
            items,
            chosen.output,
            layout=chosen.layout,
            new_version=chosen.new_version,
            same_patient_as=chosen.same_patient_as,
            leave_out=chosen.list is not None,
            tell=tell,
            progress=progress,
        )
    cases = [scan.case for scan in exported if scan.case]
    if len(cases) < len(items):
        raise BadInputError(
            f"{len(items) - len(cases)} of {len(items)} scans were left out, for the reasons "
            "above; correct the list and run it again with the scans left out."
        )
    print(f"{DISCLAIMER}\nAdded to {printable(str(chosen.output.absolute()))}: {', '.join(cases)}")


def _items(chosen: argparse.Namespace) -> list[ExportItem]:
    """The scan, or those of the list."""
    from CovidLungQuantLib.training.export_list import ExportItem, read_list

    if chosen.list is None:
        if chosen.ct is None or chosen.segmentation is None:
            raise BadInputError("Give CT and SEGMENTATION, or a list of them with --list.")
        return [
            ExportItem(chosen.ct, chosen.segmentation, chosen.machine, chosen.reader, chosen.series)
        ]
    for_one = (chosen.ct, chosen.machine, chosen.series, chosen.same_patient_as)
    if any(given is not None for given in for_one):
        raise BadInputError(
            "With --list, scans, segmentations, series and patients stand in the list; leave them "
            "out of the command."
        )
    items = read_list(chosen.list)
    return [replace(item, reader=item.reader or chosen.reader) for item in items]
