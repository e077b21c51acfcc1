"""`covidlungquant view`: a result in the browser, to be looked at and corrected."""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLungQuantLib.cli.arguments import given_path
from CovidLungQuantLib.cli.options import (
    add_debug_option,
    add_device_option,
    add_model_option,
    add_series_option,
)
from CovidLungQuantLib.errors import BadInputError

if TYPE_CHECKING:
    from CovidLungQuantLib.cli.options import Commands
    from CovidLungQuantLib.viewer.opening import Opener

HIGHEST_PORT = 65535


def add_parser(commands: Commands) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("view", help="look at a result in the browser and correct it")
    parser.add_argument(
        "what",
        type=given_path,
        metavar="OUT|CT",
        help="folder of results of segment or measure; or a CT, which is segmented into --output "
        "first",
    )
    parser.add_argument(
        "--ct",
        type=given_path,
        metavar="CT",
        help="the scan of the results, where they were made without --scene",
    )
    parser.add_argument(
        "-o", "--output", type=given_path, metavar="OUT", help="where a CT is segmented to"
    )
    add_series_option(parser)
    add_device_option(parser, "where the network runs on a CT")
    add_model_option(parser)
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="port on 127.0.0.1 to listen on (default: any that is free)",
    )
    parser.add_argument(
        "--no-browser",
        dest="browser",
        action="store_false",
        help="print the address only and open no browser",
    )
    add_debug_option(parser)
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> None:
    """Show the page until Ctrl-C."""
    started = time.monotonic()
    from CovidLungQuantLib.viewer.access import check_port, new_token, page_address

    opener = opener_of(chosen)
    if find_spec("trame_slicer") is None:
        raise BadInputError(
            "The viewer needs trame-slicer, which comes with a slicer-core of its own; type “make "
            "viewer” and then “.venv-viewer/bin/covidlungquant view …”."
        )
    if not 0 <= chosen.port <= HIGHEST_PORT:
        raise BadInputError(f"{chosen.port} is no port; give one from 1 to {HIGHEST_PORT}.")
    check_port(chosen.port)
    from CovidLungQuantLib.viewer.opening import begun

    opener = begun(opener)
    # Only here: it loads Slicer.
    from CovidLungQuantLib.viewer.page import Page

    token = new_token()

    def announce(port: int) -> None:
        address = page_address(port, token)
        print(f"The viewer is at {address}\nCtrl-C ends it.", flush=True)
        if chosen.browser:
            import webbrowser

            webbrowser.open(address)

    def ready() -> None:
        seconds = time.monotonic() - started
        print(f"Ready after {seconds:.1f} s{memory_text()}.", flush=True)

    page = Page(opener, chosen.what.resolve().name, token, chosen.port)
    page.run(announce, ready)
    if page.has_unsaved_changes:
        print("What was changed since it was last saved is lost.", flush=True)


def memory_text() -> str:
    """Return the most memory that this process had; nothing where the system does not say."""
    try:
        import resource
    except ImportError:
        return ""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS counts bytes.
    gigabytes = kilobytes / (1e9 if sys.platform == "darwin" else 1e6)
    return f", {gigabytes:.1f} GB of memory"


def opener_of(chosen: argparse.Namespace) -> Opener:
    """Return what opens the folder or scan that was given.

    Raises:
        BadInputError: it is neither, or something is missing.
    """
    from CovidLungQuantLib.viewer.opening import check_has_ct, is_result, open_result, segment_first

    what: Path = chosen.what
    if is_result(what):
        if chosen.output is not None:
            raise BadInputError(
                f"{what.name} holds results already; leave --output out, corrections are saved "
                "within it."
            )
        check_has_ct(what, chosen.ct)
        return partial(open_result, what, chosen.ct)
    if chosen.ct is not None:
        raise BadInputError(
            f"{what.name} holds no result (result.json and segmentation.seg.nrrd) that --ct could "
            "belong to; give a folder that segment or measure wrote."
        )
    if not what.exists():
        raise BadInputError(f"{what} does not exist; give a folder of results, or a CT.")
    if chosen.output is None:
        raise BadInputError(
            f"{what.name} holds no result; give a folder that segment or measure wrote, or, if it "
            "is a CT, a folder to segment it into with --output."
        )
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.pipeline import check_options
    from CovidLungQuantLib.quantification import Options

    check_output_folder(chosen.output, scene=True)
    options = Options(device=chosen.device, model=chosen.model, keep_probability=True)
    check_options(options)
    return partial(segment_first, what, chosen.output, options, chosen.series)
