"""Options of the training commands; loads no PyTorch, so that asking for help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path

from CovidLungQuantLib.cli.options import add_device_option

RECIPE_NAMES = ("paper", "short", "fine", "unet", "unet-attention")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `train`."""
    parser.add_argument(
        "dataset",
        type=Path,
        help="folder with one folder for each case (ct.nrrd, labels.nrrd), or nnU-Net raw data",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder")
    parser.add_argument(
        "--recipe",
        choices=RECIPE_NAMES,
        default="paper",
        help="paper: Grodecki 2021; short: a narrower network and a schedule for one CPU; fine: "
        "short on the box around the lungs, with a level at full resolution; unet: the network of "
        "COVID-Lesion Net, trained as short; unet-attention: that U-Net as the main branch, as the "
        "shipped weights were trained",
    )
    parser.add_argument(
        "--config", type=Path, help="config.json of a run, instead of a recipe; edit it at will"
    )
    parser.add_argument("--epochs", type=int, help="train this many instead of the recipe's")
    parser.add_argument("--learning-rate", type=float, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="of everything random")
    add_device_option(parser, "where to train")
    parser.add_argument(
        "--start-from",
        metavar="MODEL",
        help="model name or file to go on from; a U-Net becomes the main branch of unet-attention, "
        "whose epochs on that branch alone are left out",
    )
    parser.add_argument(
        "--imagenet", type=Path, help="DenseNet-121 weights to start the dense block from"
    )
    parser.add_argument(
        "--healthy",
        action="append",
        default=[],
        type=Path,
        metavar="CT",
        help="scan without lesions, to learn from as it is and with painted lesions; may be given "
        "several times",
    )
    parser.add_argument(
        "--unlabelled",
        action="append",
        default=[],
        type=Path,
        metavar="CT",
        help="scan without labels, to learn from as the teachers see it; may be given several "
        "times",
    )
    parser.add_argument(
        "--teacher",
        action="append",
        default=[],
        metavar="MODEL",
        help="model name or file whose probabilities stand in for labels of those scans, the mean "
        "of several if given several times; one that saw a left-out case spoils a comparison on it",
    )
    parser.add_argument("--fold", type=int, help="leave out the cases of this fold, from 0")
    parser.add_argument("--folds", type=int, default=3, help="number of folds")
    _add_cases_option(parser, "--leave-out", "cases not to train on")
    add_same_patient_option(parser)


def add_same_patient_option(parser: argparse.ArgumentParser) -> None:
    """Add `--same-patient`, wherever cases are split."""
    _add_cases_option(
        parser,
        "--same-patient",
        "cases of one patient, kept in one fold, as those are that the manifest names",
    )


def add_fine_tuning_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `fine-tune`."""
    parser.add_argument(
        "dataset",
        type=Path,
        nargs="?",
        metavar="DATASET",
        help="folder of the training set, as export writes it and train reads it",
    )
    parser.add_argument(
        "--model", metavar="MODEL", help="model name or file to go on from (default: the shipped)"
    )
    parser.add_argument(
        "--name", metavar="NEW", help="name of the new model (default: made from the old one's)"
    )
    parser.add_argument(
        "--epochs", type=int, metavar="N", help="how long to train (default: a few epochs)"
    )
    add_device_option(parser, "where to train")
    _add_cases_option(
        parser,
        "--hold-back",
        "cases to compare old and new model on, not trained on, with all of their patient "
        "(default: every fifth patient)",
    )
    add_same_patient_option(parser)
    parser.add_argument(
        "--background", action="store_true", help="start it and return; see --status and --cancel"
    )
    parser.add_argument(
        "--status", action="store_true", help="instead, tell how far each fine-tuning is"
    )
    parser.add_argument("--cancel", metavar="NEW", help="instead, stop the one of this name")


def _add_cases_option(parser: argparse.ArgumentParser, flag: str, what: str) -> None:
    parser.add_argument(
        flag,
        action="append",
        default=[],
        type=lambda text: text.split(","),
        metavar="CASE,CASE",
        help=f"{what}; may be given several times",
    )
