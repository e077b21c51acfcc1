"""Options and texts that several commands share; loads nothing heavy, so that help is quick."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import finite_number, given_path, given_text, name_or_path
from CovidLungQuantLib.errors import BadInputError

if TYPE_CHECKING:
    # What `add_subparsers` returns; its name is private.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


# Bytes; while it is written, its name is a little longer.
LONGEST_IMAGE_NAME = 240
IMAGE_SUFFIXES = (".nrrd", ".nii.gz", ".mha")


CT_HELP = "DICOM folder, or an NRRD, NIfTI or MetaImage file"


def add_series_option(parser: argparse.ArgumentParser) -> None:
    """Add --series."""
    parser.add_argument(
        "--series", metavar="UID", help="series to read where a DICOM folder holds several"
    )


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument(
        "--model",
        type=name_or_path,
        metavar="MODEL",
        help="name of a shipped model or path of a weights file",
    )


def add_device_option(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --device; `what` says what is done there."""
    parser.add_argument(
        "--device",
        default="auto",
        metavar="{auto,cpu,cuda,mps}",
        help=f"{what} (default: auto)",
    )


def add_cases_option(parser: argparse.ArgumentParser, flag: str, what: str) -> None:
    """Add an option that takes groups of cases, one group each time it is given."""
    parser.add_argument(
        flag,
        action="append",
        default=[],
        type=lambda text: given_text(text).split(","),
        metavar="CASE,CASE",
        help=f"{what}; may be given several times",
    )


def add_same_patient_option(parser: argparse.ArgumentParser) -> None:
    """Add --same-patient, wherever cases are split."""
    add_cases_option(
        parser,
        "--same-patient",
        "cases of one patient, kept in one fold, as those are that the manifest names",
    )


def add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    """Add --overwrite."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier run in OUT"
    )


def add_debug_option(parser: argparse.ArgumentParser) -> None:
    """Add --debug, which every command has."""
    parser.add_argument(
        "--debug", action="store_true", help="show where in the program an error arose"
    )


def add_result_options(parser: argparse.ArgumentParser) -> None:
    """Add what commands have that write the result of a scan."""
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="OUT",
        help="folder for the results; must not exist yet",
    )
    add_series_option(parser)
    add_overwrite_option(parser)
    parser.add_argument(
        "--scene", action="store_true", help="write scene.mrb for 3D Slicer too (needs slicer-core)"
    )
    parser.add_argument(
        "--pdf", action="store_true", help="write the report as PDF too (needs WeasyPrint)"
    )
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="write the result as DICOM too, segmentation and measurement report (TID 1500); only "
        "for a CT given as DICOM (needs highdicom)",
    )
    add_debug_option(parser)


def add_lobe_option(parser: argparse.ArgumentParser) -> None:
    """Add --lobes."""
    parser.add_argument(
        "--lobes",
        type=name_or_path,
        default="automatic",
        metavar="{automatic,none,FILE}",
        help="lobes for the scores: found (automatic, the default), left out (none), or a label "
        "map or .seg.nrrd of the five lobes from this or another tool",
    )


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Add what changes how a scan is segmented; `results.run_options` reads them."""
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


def add_study_options(parser: argparse.ArgumentParser) -> None:
    """Add what commands have that write a page about several scans."""
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="OUT",
        help="folder for the results; must not exist yet",
    )
    add_overwrite_option(parser)
    parser.add_argument(
        "--no-figures",
        dest="figures",
        action="store_false",
        help="leave the plots out of the page (they need matplotlib)",
    )
    add_debug_option(parser)


def check_new_image(file: Path) -> None:
    """Refuse what cannot be written before anything is computed.

    Raises:
        BadInputError: there is such a file, its name is no image's or too long, or nothing can be
            written where it should go.
    """
    if file.exists():
        raise BadInputError(f"{file.name} exists already; choose another name.")
    if not file.name.lower().endswith(IMAGE_SUFFIXES):
        raise BadInputError(
            f"{file.name} is no image file; choose a name ending in {', '.join(IMAGE_SUFFIXES)}."
        )
    if len(os.fsencode(file.name)) > LONGEST_IMAGE_NAME:
        raise BadInputError(f"The name {file.name[:20]}… is too long; choose a shorter one.")
    place = next(parent for parent in file.absolute().parents if parent.exists())
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise BadInputError(f"Nothing can be written in {place}; choose another folder.")
