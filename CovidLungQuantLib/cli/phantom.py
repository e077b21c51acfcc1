"""`covidlungquant phantom`: a synthetic chest CT to try this with."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path
from CovidLungQuantLib.cli.options import add_debug_option, check_new_image

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("phantom", help="write a synthetic chest CT to try this with")
    parser.add_argument(
        "-o",
        "--output",
        type=given_path,
        required=True,
        metavar="FILE",
        help="image file to write, such as phantom.nrrd; must not exist yet",
    )
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Write the phantom."""
    check_new_image(chosen.output)

    from CovidLungQuantLib.files.images import write_image
    from CovidLungQuantLib.phantom import chest_phantom

    ct = chest_phantom().ct
    write_image(chosen.output, ct.hu, ct.geometry)
