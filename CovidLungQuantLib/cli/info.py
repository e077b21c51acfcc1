"""`covidlungquant info`: versions, devices and models."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.options import add_debug_option
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands

# PyTorch built for the CPU alone ends its version so.
CPU_BUILD = "+cpu"


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("info", help="show versions, devices and models")
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Print them."""
    from CovidLungQuantLib.models.registry import available_models

    versions = software_versions()
    for name, version in versions.items():
        print(f"{name:<15} {version}")
    devices = _devices(versions["torch"])
    print(f"{'devices':<15} {', '.join(devices)} (auto: {devices[-1]})")
    for name in available_models():
        print(f"{'model':<15} {printable(name)}  {_about_model(name)}")
    print(DISCLAIMER)


def _devices(torch_version: str) -> list[str]:
    """Devices networks can run on, the one that “auto” takes last."""
    if torch_version.endswith(CPU_BUILD):
        return ["cpu"]
    # Only PyTorch itself knows, and it takes seconds to load.
    from CovidLungQuantLib.lesions.inference import available_devices

    return available_devices()


def _about_model(name: str) -> str:
    """The SHA-256 of a model that can be loaded, or why it cannot be."""
    from CovidLungQuantLib.models.registry import SHIPPED_SHA256, model_path

    shipped = SHIPPED_SHA256.get(name)
    try:
        # What is byte by byte as it was shipped need not be loaded to be trusted.
        if shipped is not None and _is_as_shipped(model_path(name), shipped):
            return f"sha256 {shipped}"
        from CovidLungQuantLib.lesions.lesion_model import load_model

        return f"sha256 {load_model(name).sha256}"
    except BadInputError as error:
        return str(error)


def _is_as_shipped(file: Path, sha256: str) -> bool:
    """Whether a model file and the checksum beside it are those that were shipped."""
    from CovidLungQuantLib.models.registry import CHECKSUM_SUFFIX, MODEL_SUFFIX

    checksum = file.with_name(file.name.removesuffix(MODEL_SUFFIX) + CHECKSUM_SUFFIX)
    try:
        stated = checksum.read_text(encoding="ascii").split()[:1]
        return stated == [sha256] == [hashlib.sha256(file.read_bytes()).hexdigest()]
    except (OSError, UnicodeDecodeError):
        return False
