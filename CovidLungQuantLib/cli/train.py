"""`covidlungquant train`: a lesion network from annotated cases."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.options import add_debug_option
from CovidLungQuantLib.training.options import add_options

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "train",
        help="train a lesion network on annotated cases",
        description="Train a lesion network. Goes on where the run folder's last epoch ended. On "
        "several GPUs: torchrun --nproc-per-node N -m CovidLungQuantLib.cli train …",
    )
    add_options(parser)
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Train and print where the model lies."""
    from CovidLungQuantLib.training import command

    command.run(chosen)
