"""The command line: `covidlungquant segment | measure | phantom | info`.

Exit codes: 0 done, 2 bad input, 3 out of memory or disk, 130 cancelled, 1 an unexpected error.
"""

from __future__ import annotations

import argparse
import math
import re
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from CovidLungQuantLib import __version__
from CovidLungQuantLib.errors import (
    BadInputError,
    Cancelled,
    CovidLungQuantError,
    OutOfResourcesError,
)
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.progress import ProgressCallback, subrange
from CovidLungQuantLib.training.options import add_options
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.pipeline import Quantification

PROGRAM = "covidlungquant"
IMAGE_SUFFIXES = (".nrrd", ".nii.gz", ".mha")
# Part of the progress bar at which reading ends and writing begins.
READ_UNTIL = 0.05
WRITE_FROM = 0.9


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors go to stderr as one sentence."""
    chosen = _parser().parse_args(arguments)
    try:
        with _termination_cancels():
            chosen.run(chosen)
    except Exception as error:
        if chosen.debug:
            raise
        return _explain(error)
    except KeyboardInterrupt:
        return _explain(Cancelled("Cancelled; nothing was written."))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Quantify COVID-19 pneumonia on chest CT.",
        epilog=DISCLAIMER,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    segment = commands.add_parser("segment", help="segment lungs and lesions of a CT and measure")
    segment.add_argument("ct", type=Path, metavar="CT", help=_CT_HELP)
    _add_common_options(segment)
    segment.add_argument(
        "--device",
        default="auto",
        metavar="{auto,cpu,cuda,mps}",
        help="where the network runs (default: auto)",
    )
    segment.add_argument(
        "--model", metavar="MODEL", help="name of a shipped model or path of a weights file"
    )
    segment.add_argument(
        "--kinds",
        default="density",
        metavar="{density,thresholds,artery,network}",
        help="how GGO is told from high opacity inside lesions: density (high opacity above "
        "−350 HU), thresholds (Pan et al. 2021: also normal lung below −750 HU), artery (relative "
        "to the pulmonary artery, Bartoli et al. 2022), network (its own classes); default density",
    )
    segment.add_argument(
        "--artery-hu",
        type=float,
        metavar="HU",
        help="density of the pulmonary artery for --kinds artery (default: measured)",
    )
    segment.set_defaults(run=_segment)

    measure = commands.add_parser("measure", help="measure a segmentation that exists")
    measure.add_argument("ct", type=Path, metavar="CT", help=_CT_HELP)
    measure.add_argument(
        "segmentation",
        type=Path,
        metavar="SEGMENTATION",
        help=".seg.nrrd, or a label map of 0 background, 1 normal lung, 2 GGO, 3 high opacity",
    )
    _add_common_options(measure)
    measure.set_defaults(run=_measure)

    phantom = commands.add_parser("phantom", help="write a synthetic chest CT to try this with")
    phantom.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="image file to write, such as phantom.nrrd; must not exist yet",
    )
    phantom.add_argument("--debug", action="store_true", help=_DEBUG_HELP)
    phantom.set_defaults(run=_phantom)

    train = commands.add_parser(
        "train",
        help="train a lesion network on annotated cases",
        description="Train a lesion network. Goes on where the run folder's last epoch ended. On "
        "several GPUs: torchrun --nproc-per-node N -m CovidLungQuantLib.cli train …",
    )
    add_options(train)
    train.add_argument("--debug", action="store_true", help=_DEBUG_HELP)
    train.set_defaults(run=_train)

    info = commands.add_parser("info", help="show versions, devices and models")
    info.add_argument("--debug", action="store_true", help=_DEBUG_HELP)
    info.set_defaults(run=_info)
    return parser


_CT_HELP = "DICOM folder, or an NRRD, NIfTI or MetaImage file"
_DEBUG_HELP = "show where in the program an error arose"


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder for the results; must not exist yet",
    )
    parser.add_argument(
        "--series", metavar="UID", help="series to read where a DICOM folder holds several"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier run in OUT"
    )
    parser.add_argument(
        "--scene", action="store_true", help="write scene.mrb for 3D Slicer too (needs slicer-core)"
    )
    parser.add_argument("--debug", action="store_true", help=_DEBUG_HELP)


def _segment(chosen: argparse.Namespace) -> None:
    # Imported here: the network's libraries take seconds to load, help and mistakes should not.
    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.pipeline import Options, check_options, quantify

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    options = Options(chosen.device, chosen.model, chosen.kinds, chosen.artery_hu)
    check_options(options)
    with _shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct = read_ct(chosen.ct, chosen.series)
        quantification = quantify(ct, options, subrange(progress, READ_UNTIL, WRITE_FROM))
        files = _write(chosen, quantification, progress)
    _print_result(quantification, files)


def _measure(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.outputs.segmentation import read_segmentation
    from CovidLungQuantLib.pipeline import measure

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    with _shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct = read_ct(chosen.ct, chosen.series)
        labels, warnings = read_segmentation(chosen.segmentation, ct.geometry)
        ct = replace(ct, warnings=(*ct.warnings, *warnings))
        quantification = measure(ct, labels, subrange(progress, READ_UNTIL, WRITE_FROM))
        files = _write(chosen, quantification, progress)
    _print_result(quantification, files)


def _phantom(chosen: argparse.Namespace) -> None:
    import SimpleITK as sitk

    from CovidLungQuantLib.phantom import chest_phantom

    file = chosen.output
    if file.exists():
        raise BadInputError(f"{file.name} exists already; choose another name.")
    if not file.name.lower().endswith(IMAGE_SUFFIXES):
        raise BadInputError(
            f"{file.name} is no image file; choose a name ending in {', '.join(IMAGE_SUFFIXES)}."
        )
    ct = chest_phantom().ct
    image = sitk.GetImageFromArray(ct.hu)
    image.SetSpacing(ct.geometry.spacing_mm)
    image.SetOrigin(ct.geometry.origin_mm)
    image.SetDirection(ct.geometry.direction.reshape(-1).tolist())
    # Under another name until it is complete; the suffix, which says the format, is kept.
    unfinished = file.with_name(f".unfinished-{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(unfinished), useCompression=True)
        unfinished.rename(file)
    except (OSError, RuntimeError) as error:
        raise BadInputError(
            f"{file.name} cannot be written there; choose another folder or free some space."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _train(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.training import command

    command.run(chosen)


def _info(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.lesions.inference import available_devices, choose_device
    from CovidLungQuantLib.lesions.models import available_models
    from CovidLungQuantLib.lesions.weights import load_model

    for name, version in software_versions().items():
        print(f"{name:<15} {version}")
    print(f"{'devices':<15} {', '.join(available_devices())} (auto: {choose_device('auto')})")
    for name in available_models():
        print(f"{'model':<15} {name}  sha256 {load_model(name).sha256}")
    print(DISCLAIMER)


def _write(
    chosen: argparse.Namespace, quantification: Quantification, progress: ProgressCallback
) -> list[Path]:
    from CovidLungQuantLib.outputs.folder import write_results

    return write_results(
        chosen.output,
        quantification,
        chosen.overwrite,
        chosen.scene,
        subrange(progress, WRITE_FROM, 1.0),
    )


def _print_result(quantification: Quantification, files: list[Path]) -> None:
    print(f"\n{quantification.ct.name}\n{_text_table(quantification)}")
    for message in dict.fromkeys(warning.message for warning in quantification.warnings):
        print(f"Warning: {message}")
    print(f"{DISCLAIMER}\nWritten to {files[0].parent}:")
    for file in files:
        print(f"  {file.name}")


def _text_table(quantification: Quantification) -> str:
    rows = [
        ("", "lung", "normal", "GGO", "GGO", "high opacity", "high opacity", "lesion", "lesion"),
        ("", "mL", "mL", "mL", "%", "mL", "%", "mL", "%"),
    ]
    for region in quantification.measurements.regions:
        rows.append(
            (
                region.region,
                f"{region.volume_ml:.1f}",
                f"{region.normal_ml:.1f}",
                f"{region.ggo_ml:.1f}",
                _percent(region.ggo_percent),
                f"{region.high_opacity_ml:.1f}",
                _percent(region.high_opacity_percent),
                f"{region.lesion_ml:.1f}",
                _percent(region.lesion_percent),
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


@contextmanager
def _shown_progress() -> Iterator[ProgressCallback]:
    """A progress bar where stderr is a terminal, one line for each new message elsewhere."""
    if not sys.stderr.isatty():
        yield _LineProgress()
        return
    with tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed}", leave=False) as bar:

        def show(fraction: float, message: str) -> None:
            bar.set_description(message, refresh=False)
            bar.n = round(100 * min(max(fraction, 0.0), 1.0))
            bar.refresh()

        yield show


class _LineProgress:
    """Prints a line when a new step begins, and within a long one every tenth of the way."""

    def __init__(self) -> None:
        self._last: tuple[str, int] | None = None

    def __call__(self, fraction: float, message: str) -> None:
        step_without_counts = re.sub(r"\d+", "", message)
        current = (step_without_counts, int(10 * fraction))
        if current != self._last:
            print(f"{100 * fraction:3.0f} %  {message}", file=sys.stderr, flush=True)
            self._last = current


@contextmanager
def _termination_cancels() -> Iterator[None]:
    """Let SIGTERM end a run as Ctrl-C does, with its cleaning up."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        earlier = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:
        # Not in the main thread, where no signal arrives.
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _explain(error: BaseException) -> int:
    """Print what went wrong as one sentence and return the exit code."""
    if _is_out_of_memory(error):
        error = OutOfResourcesError(
            "The memory ran out; close other programs or use a machine with more memory."
        )
    if isinstance(error, CovidLungQuantError):
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{PROGRAM}: unexpected error ({type(error).__name__}: {_first_line(error)}); run again "
        "with --debug and report it.",
        file=sys.stderr,
    )
    return CovidLungQuantError.exit_code


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # ITK and torch raise RuntimeError where C++ cannot allocate.
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "bad_alloc" in text or "bad allocation" in text or "can't allocate memory" in text
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
