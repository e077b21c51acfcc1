"""`covidlungquant train`: a lesion network from annotated cases."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import (
    finite_number,
    given_path,
    model_file,
    name_or_path,
    text_file,
)
from CovidLungQuantLib.cli.options import (
    add_cases_option,
    add_debug_option,
    add_device_option,
    add_same_patient_option,
)
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.training.recipes import DEFAULT_RECIPE, RECIPES, recipe

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.training.config import TrainingConfig


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a lesion network on annotated cases",
        description="Train a lesion network. Goes on where the run folder's last epoch ended. On "
        "several GPUs: torchrun --nproc-per-node N -m CovidLungQuantLib.cli train …",
    )
    parser.add_argument(
        "dataset",
        type=given_path,
        help="folder with one folder for each case (ct.nrrd, labels.nrrd), or nnU-Net raw data",
    )
    parser.add_argument("-o", "--output", type=given_path, required=True, help="run folder")
    _add_configuration_options(parser)
    add_device_option(parser, "where to train")
    _add_start_options(parser)
    _add_scan_options(parser)
    parser.add_argument("--fold", type=int, help="leave out the cases of this fold, from 0")
    parser.add_argument("--folds", type=int, default=3, help="number of folds")
    add_cases_option(parser, "--leave-out", "cases not to train on")
    add_same_patient_option(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def _add_configuration_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        default=DEFAULT_RECIPE,
        help="; ".join(f"{name}: {each.about}" for name, each in RECIPES.items()),
    )
    parser.add_argument(
        "--config",
        type=text_file,
        help="config.json of a run, instead of a recipe; edit it at will",
    )
    parser.add_argument("--epochs", type=int, help="train this many instead of the recipe's")
    parser.add_argument("--learning-rate", type=finite_number, help="instead of the recipe's")
    parser.add_argument("--seed", type=int, help="of everything random")


def _add_start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start-from",
        type=name_or_path,
        metavar="MODEL",
        help="model name or file to go on from; a U-Net becomes the main branch of unet-attention, "
        "whose epochs on that branch alone are left out",
    )
    parser.add_argument(
        "--distil-from",
        action="append",
        default=[],
        type=name_or_path,
        metavar="MODEL",
        help="model name or file, larger as a rule, whose answers on the same slices are learned "
        "beside the labels, the mean of several if given several times; one that saw a left-out "
        "case spoils a comparison on it",
    )
    parser.add_argument(
        "--imagenet", type=model_file, help="DenseNet-121 weights to start the dense block from"
    )


def _add_scan_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--also",
        action="append",
        default=[],
        type=given_path,
        metavar="DATASET",
        help="another training set, such as single slices, all of which is trained on and none is "
        "left out by --fold; may be given several times",
    )
    parser.add_argument(
        "--healthy",
        action="append",
        default=[],
        type=given_path,
        metavar="CT",
        help="scan without lesions, to learn from as it is and with painted lesions; may be given "
        "several times",
    )
    parser.add_argument(
        "--unlabelled",
        action="append",
        default=[],
        type=given_path,
        metavar="CT",
        help="scan without labels, to learn from as the teachers see it; may be given several "
        "times",
    )
    parser.add_argument(
        "--teacher",
        action="append",
        default=[],
        type=name_or_path,
        metavar="MODEL",
        help="model name or file whose probabilities stand in for labels of those scans, the mean "
        "of several if given several times; one that saw a left-out case spoils a comparison on it",
    )


def run(chosen: argparse.Namespace) -> None:
    """Train and print where the model lies."""
    from CovidLungQuantLib.training.run import train_on_dataset

    saved = train_on_dataset(
        chosen.dataset,
        chosen.output,
        _configuration(chosen),
        device=chosen.device,
        start_from=chosen.start_from,
        imagenet=chosen.imagenet,
        also=chosen.also,
        healthy=chosen.healthy,
        unlabelled=chosen.unlabelled,
        teachers=chosen.teacher,
        distil_from=chosen.distil_from,
        fold=chosen.fold,
        folds=chosen.folds,
        leave_out=[name for names in chosen.leave_out for name in names],
        same_patient=chosen.same_patient,
    )
    if saved is not None:
        print(f"{saved.sha256}  {printable(str(saved.file))}")


def _configuration(chosen: argparse.Namespace) -> TrainingConfig:
    """The recipe or the file, with what the options change of it."""
    from CovidLungQuantLib.training.config import read_config

    config = read_config(chosen.config) if chosen.config else recipe(chosen.recipe)
    changes = {
        name: getattr(chosen, name)
        for name in ("epochs", "learning_rate", "seed")
        if getattr(chosen, name) is not None
    }
    return replace(config, **changes)
