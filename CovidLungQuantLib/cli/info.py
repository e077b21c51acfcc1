"""`covidlungquant info`: versions, devices and models."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.options import add_debug_option
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("info", help="show versions, devices and models")
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print them."""
    from CovidLungQuantLib.lesions.inference import available_devices, choose_device
    from CovidLungQuantLib.lesions.lesion_model import load_model
    from CovidLungQuantLib.models.registry import available_models

    for name, version in software_versions().items():
        print(f"{name:<15} {version}")
    print(f"{'devices':<15} {', '.join(available_devices())} (auto: {choose_device('auto')})")
    for name in available_models():
        try:
            about = f"sha256 {load_model(name).sha256}"
        except BadInputError as error:
            about = str(error)
        print(f"{'model':<15} {printable(name)}  {about}")
    print(DISCLAIMER)
