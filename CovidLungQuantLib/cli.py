"""The command line: `covidlungquant COMMAND`, such as segment, measure, lobes or evaluate.

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

import numpy as np
from tqdm import tqdm

from CovidLungQuantLib import __version__
from CovidLungQuantLib.errors import (
    BadInputError,
    Cancelled,
    CovidLungQuantError,
    OutOfResourcesError,
)
from CovidLungQuantLib.labels import APPROXIMATION, DISCLAIMER, LOBES
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
    SEVERE_CT_SEVERITY_SCORE,
)
from CovidLungQuantLib.progress import ProgressCallback, subrange
from CovidLungQuantLib.training.options import (
    add_device_option,
    add_fine_tuning_options,
    add_options,
)
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.cohort.evaluation import Evaluation
    from CovidLungQuantLib.cohort.reader_tables import Comparison
    from CovidLungQuantLib.ct import CTVolume, Geometry, ScanWarning
    from CovidLungQuantLib.lesions.enhancement import Enhancement
    from CovidLungQuantLib.pipeline import EnhancedScan, Quantification

PROGRAM = "covidlungquant"
LOBE_OPTIONS = ("automatic", "none")
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
    add_device_option(segment, "where the network runs")
    _add_model_option(segment)
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
    _add_lobe_option(segment)
    segment.add_argument(
        "--vessels",
        default="none",
        metavar="{none,find,remove}",
        help="find airways and vessels as segments of their own; remove also takes those in normal "
        "lung out of GGO and high opacity, while a vessel inside a lesion belongs to it (default: "
        "none)",
    )
    segment.add_argument(
        "--enhance",
        action="store_true",
        help="enhance the lung, as the command enhance does, with sub-visual lesions apart; finds "
        "airways and vessels, too",
    )
    segment.add_argument(
        "--mirror",
        action="store_true",
        help="show the network the mirror image, too, and take the mean; takes twice its time",
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
    _add_lobe_option(measure)
    measure.set_defaults(run=_measure)

    evaluate = commands.add_parser(
        "evaluate",
        help="compare label maps with a reader's",
        description="Compare label maps with a reader's: Dice, volume similarity, surface "
        "distances, volumes and extents for each case, summed up with limits of agreement and "
        "correlations.",
        epilog=_EVALUATE_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evaluate.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PRED REF",
        help="segmentation and reference, as many pairs as you like: two label maps, or two "
        "folders whose label maps are matched by name",
    )
    _add_study_options(evaluate)
    evaluate.set_defaults(run=_evaluate)

    agreement = commands.add_parser(
        "agreement",
        help="agreement of the software and readers, from tables of their numbers",
        description="Compare the software with readers, readers with each other and repeated "
        "readings: MAE, bias with limits of agreement, correlations, paired Wilcoxon test.",
        epilog=_AGREEMENT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    agreement.add_argument("tables", type=Path, nargs="+", metavar="TABLE.csv", help="see below")
    _add_study_options(agreement)
    agreement.set_defaults(run=_agreement)

    compare = commands.add_parser(
        "compare",
        help="changes from scan to scan of one patient, from their results",
        description="Compare results of one patient in the order of time: changes in mL and "
        "percentage points for each lung and lobe, with a curve.",
        epilog=DISCLAIMER,
    )
    compare.add_argument(
        "results", type=Path, nargs="+", metavar="OUT", help="folders of segment or measure"
    )
    compare.add_argument(
        "--days", type=_days, metavar="0,7,21", help="day of each, for the curve (default: 1, 2, …)"
    )
    compare.add_argument(
        "--anyway",
        action="store_true",
        help="compare results whose GGO and high opacity were told apart by different rules",
    )
    _add_study_options(compare)
    compare.set_defaults(run=_compare)

    lobes = commands.add_parser(
        "lobes", help="divide the lungs of a CT, or of a lung mask, into their five lobes"
    )
    lobes.add_argument("ct", type=Path, nargs="?", metavar="CT", help=_CT_HELP)
    lobes.add_argument(
        "--lungs",
        type=Path,
        metavar="MASK",
        help="instead of a CT, a label map of the lungs (left 1, right 2): lobes by shape alone",
    )
    lobes.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="label map to write (1 RUL, 2 RML, 3 RLL, 4 LUL, 5 LLL), such as lobes.nrrd; must not "
        "exist yet",
    )
    _add_series_option(lobes)
    _add_debug_option(lobes)
    lobes.set_defaults(run=_lobes)

    enhance = commands.add_parser(
        "enhance",
        help="enhance the lung of a CT: vessels and airways out, the scan's own baseline off",
        epilog=DISCLAIMER,
    )
    enhance.add_argument("ct", type=Path, metavar="CT", help=_CT_HELP)
    enhance.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="enhanced volume to write, such as enhanced.nrrd; must not exist yet",
    )
    enhance.add_argument(
        "--segmentation",
        type=Path,
        metavar="FILE",
        help="lungs and lesions where there are some already; otherwise the network finds them",
    )
    enhance.add_argument(
        "--baseline",
        default="rings",
        metavar="{rings,histogram}",
        help="where the baseline is taken: lung around vessels and airways (rings, the default), "
        "or the low side of the lungs' histogram",
    )
    for name, what in (
        ("airways", "airways found"),
        ("vessels", "vessels found"),
        ("sub-visual", "lesions that only the enhanced volume shows"),
    ):
        enhance.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=f"also write the {what}, as 0 and 1"
        )
    _add_series_option(enhance)
    add_device_option(enhance, "where the network runs")
    _add_model_option(enhance)
    _add_debug_option(enhance)
    enhance.set_defaults(run=_enhance)

    phantom = commands.add_parser("phantom", help="write a synthetic chest CT to try this with")
    phantom.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="image file to write, such as phantom.nrrd; must not exist yet",
    )
    _add_debug_option(phantom)
    phantom.set_defaults(run=_phantom)

    export = commands.add_parser(
        "export",
        help="add a corrected scan, or many, to a training set",
        description="Add scans with their segmentations to a training set, which `train` reads.",
        epilog=_EXPORT_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    export.add_argument("ct", type=Path, nargs="?", metavar="CT", help=_CT_HELP)
    export.add_argument(
        "segmentation",
        type=Path,
        nargs="?",
        metavar="SEGMENTATION",
        help="the reader's, as for measure, or a folder that segment or measure wrote",
    )
    export.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="DATASET",
        help="folder of the training set; made where there is none",
    )
    export.add_argument(
        "--machine",
        type=Path,
        metavar="SEGMENTATION",
        help="what the reader began with, likewise; the manifest then says what was changed",
    )
    export.add_argument("--reader", metavar="NAME", help="who corrected, for the manifest")
    export.add_argument(
        "--same-patient-as",
        metavar="CASE",
        help="a case of the training set that is of the same patient (default: a new patient); "
        "train and fine-tune never part them",
    )
    export.add_argument(
        "--list", type=Path, metavar="CASES.csv", help="instead of one scan, a list; see below"
    )
    export.add_argument(
        "--layout",
        metavar="{covidlungquant,nnunet}",
        help="one folder a case, or nnU-Net raw data (default: that of the training set, and "
        "covidlungquant for a new one)",
    )
    export.add_argument(
        "--new-version",
        action="store_true",
        help="add scans that are there already again; their earlier version is moved to the folder "
        "earlier",
    )
    _add_series_option(export)
    _add_debug_option(export)
    export.set_defaults(run=_export)

    train = commands.add_parser(
        "train",
        help="train a lesion network on annotated cases",
        description="Train a lesion network. Goes on where the run folder's last epoch ended. On "
        "several GPUs: torchrun --nproc-per-node N -m CovidLungQuantLib.cli train …",
    )
    add_options(train)
    _add_debug_option(train)
    train.set_defaults(run=_train)

    fine_tune = commands.add_parser(
        "fine-tune",
        help="let a model go on learning from your training set",
        description="Train a model a little further on a training set, compare it with the old one "
        "on patients held back, and put it beside your other models. The old one stays. Ctrl-C "
        "stops it, and nothing of it is left.",
        epilog=DISCLAIMER,
    )
    add_fine_tuning_options(fine_tune)
    _add_debug_option(fine_tune)
    fine_tune.set_defaults(run=_fine_tune)

    info = commands.add_parser("info", help="show versions, devices and models")
    _add_debug_option(info)
    info.set_defaults(run=_info)
    return parser


_EVALUATE_EPILOG = f"""\
Label maps (.seg.nrrd, .nrrd, .nii.gz, .nii, .mha) hold 0 background, 1 normal lung, 2 GGO,
3 high opacity; a reference may also hold 4, lesion of unknown class, which counts for the total
lesion only, and 255, lung or not is unknown, which is no lesion and is left out of the lung. In a
folder a case is a file NAME.nrrd or a folder NAME with labels.nrrd (and case.json, whose
class_inferred_slices count for the total lesion only) or segmentation.seg.nrrd.

OUT holds cases.csv (one row a case and structure), summary.csv (mean, SD, median, n),
agreement.csv (MAE, bias, limits of agreement, correlations), evaluation.json and evaluation.html.
What is undefined, such as Dice where the reference is empty, is left blank with the reason.

{DISCLAIMER}"""

_AGREEMENT_EPILOG = f"""\
A table has one line a case and one column an observer:

  case,measure,automatic,reader1,reader2,reader1_repeat
  p01,lesion extent (%),12.1,11.8,13.0,12.4
  p02,lesion extent (%),3.4,2.9,,3.0

"automatic" is the software, any other column a reader, NAME_repeat the second reading of NAME.
"measure" may be left out; the file's name then names the measure. Empty cells are missing values.
Commas, semicolons or tabs part the columns.

OUT holds agreement.csv (one row a pair of observers), agreement.json and agreement.html.

{DISCLAIMER}"""

_EXPORT_EPILOG = f"""\
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

_CT_HELP = "DICOM folder, or an NRRD, NIfTI or MetaImage file"


def _add_series_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--series", metavar="UID", help="series to read where a DICOM folder holds several"
    )


def _add_model_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", metavar="MODEL", help="name of a shipped model or path of a weights file"
    )


def _add_overwrite_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the results of an earlier run in OUT"
    )


def _add_debug_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debug", action="store_true", help="show where in the program an error arose"
    )


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder for the results; must not exist yet",
    )
    _add_series_option(parser)
    _add_overwrite_option(parser)
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
    _add_debug_option(parser)


def _add_lobe_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--lobes",
        default="automatic",
        metavar="{automatic,none,FILE}",
        help="lobes for the scores: found (automatic, the default), left out (none), or a label "
        "map or .seg.nrrd of the five lobes from this or another tool",
    )


def _add_study_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="OUT",
        help="folder for the results; must not exist yet",
    )
    _add_overwrite_option(parser)
    parser.add_argument(
        "--no-figures",
        dest="figures",
        action="store_false",
        help="leave the plots out of the page (they need matplotlib)",
    )
    _add_debug_option(parser)


def _segment(chosen: argparse.Namespace) -> None:
    # Imported here: the network's libraries take seconds to load, help and mistakes should not.
    from CovidLungQuantLib.ct import read_ct_and_files
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.pipeline import Options, check_options, quantify

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    _check_pdf(chosen)
    _check_dicom(chosen)
    options = Options(
        device=chosen.device,
        model=chosen.model,
        kinds=chosen.kinds,
        artery_hu=chosen.artery_hu,
        lobes=_lobe_option(chosen.lobes),
        airways_and_vessels=chosen.vessels,
        enhance=chosen.enhance,
        mirror=chosen.mirror,
    )
    check_options(options)
    with _shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct, dicom_files = read_ct_and_files(chosen.ct, chosen.series)
        quantification = quantify(
            ct,
            options,
            subrange(progress, READ_UNTIL, WRITE_FROM),
            _given_lobes(chosen.lobes, ct),
        )
        files = _write(chosen, quantification, progress, dicom_files)
    _print_result(quantification, files)


def _measure(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.ct import read_ct_and_files
    from CovidLungQuantLib.files.segmentation import read_segmentation
    from CovidLungQuantLib.outputs.folder import check_output_folder
    from CovidLungQuantLib.pipeline import measure

    check_output_folder(chosen.output, chosen.overwrite, chosen.scene)
    _check_pdf(chosen)
    _check_dicom(chosen)
    with _shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct, dicom_files = read_ct_and_files(chosen.ct, chosen.series)
        labels, warnings = read_segmentation(chosen.segmentation, ct.geometry)
        ct = replace(ct, warnings=(*ct.warnings, *warnings))
        quantification = measure(
            ct,
            labels,
            subrange(progress, READ_UNTIL, WRITE_FROM),
            _given_lobes(chosen.lobes, ct),
            _lobe_option(chosen.lobes),
        )
        files = _write(chosen, quantification, progress, dicom_files)
    _print_result(quantification, files)


def _lobe_option(lobes: str) -> str:
    """What to do about lobes where no file of them is given."""
    return lobes if lobes in LOBE_OPTIONS else LOBE_OPTIONS[0]


def _given_lobes(lobes: str, ct: CTVolume) -> np.ndarray | None:
    """The lobes in the file given, on the grid of the scan; None where none is."""
    if lobes in LOBE_OPTIONS:
        return None
    from CovidLungQuantLib.files.lobes import read_lobes

    return read_lobes(lobes, ct.geometry)


def _evaluate(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.cohort.agreement_files import (
        EVALUATION_FILES,
        write_evaluation,
    )
    from CovidLungQuantLib.cohort.evaluation import evaluate, find_pairs
    from CovidLungQuantLib.cohort.figures import check_figures_possible
    from CovidLungQuantLib.cohort.published_agreement import lesion_yardstick
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=EVALUATION_FILES)
    if chosen.figures:
        check_figures_possible()
    pairs, warnings = find_pairs(chosen.paths)
    with _shown_progress() as progress:
        evaluation = evaluate(pairs, warnings, subrange(progress, 0.0, WRITE_FROM))
        progress(WRITE_FROM, "Writing the page")
        with filled_folder(chosen.output, chosen.overwrite, EVALUATION_FILES) as folder:
            names = write_evaluation(folder, evaluation, chosen.figures)
    print(f"\n{_evaluation_table(evaluation)}\n{lesion_yardstick()}")
    for message in evaluation.warnings:
        print(f"Warning: {message}")
    _print_files(chosen.output, names)


def _agreement(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.cohort.agreement_files import (
        AGREEMENT_FILES,
        write_agreement,
    )
    from CovidLungQuantLib.cohort.figures import check_figures_possible
    from CovidLungQuantLib.cohort.published_agreement import lesion_yardstick
    from CovidLungQuantLib.cohort.reader_tables import compare_observers, tables_of_files
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=AGREEMENT_FILES)
    if chosen.figures:
        check_figures_possible()
    tables = tables_of_files(chosen.tables)
    comparisons = [comparison for table in tables for comparison in compare_observers(table)]
    with filled_folder(chosen.output, chosen.overwrite, AGREEMENT_FILES) as folder:
        names = write_agreement(folder, tables, comparisons, chosen.figures)
    print(f"{_comparison_table(comparisons)}\n{lesion_yardstick()}")
    _print_files(chosen.output, names)


def _days(text: str) -> list[float]:
    """Numbers parted by commas; argparse turns the error into its own."""
    return [float(part) for part in text.split(",")]


def _compare(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.cohort.figures import check_figures_possible
    from CovidLungQuantLib.cohort.follow_up import follow_up
    from CovidLungQuantLib.cohort.follow_up_files import (
        CHANGE_FILES,
        change_text,
        write_follow_up,
    )
    from CovidLungQuantLib.outputs.folder import check_output_folder, filled_folder

    check_output_folder(chosen.output, chosen.overwrite, files=CHANGE_FILES)
    if chosen.figures:
        check_figures_possible()
    found = follow_up(chosen.results, chosen.days, chosen.anyway)
    with filled_folder(chosen.output, chosen.overwrite, CHANGE_FILES) as folder:
        names = write_follow_up(folder, found, chosen.figures)
    print(_aligned(change_text(found)))
    for message in found.warnings:
        print(f"Warning: {message}")
    _print_files(chosen.output, names)


def _lobes(chosen: argparse.Namespace) -> None:
    if (chosen.ct is None) == (chosen.lungs is None):
        raise BadInputError("Give either a CT or, with --lungs, a label map of the lungs.")
    _check_new_image(chosen.output)

    from CovidLungQuantLib.ct.images import write_image

    with _shown_progress() as progress:
        if chosen.lungs is not None:
            lobes, geometry, warnings = _lobes_of_mask(chosen.lungs, progress)
        else:
            lobes, geometry, warnings = _lobes_of_ct(chosen.ct, chosen.series, progress)
        progress(WRITE_FROM, "Writing the lobes")
        write_image(chosen.output, lobes, geometry)
    counts = np.bincount(lobes.ravel(), minlength=len(LOBES) + 1)
    lung_count = counts[1:].sum()
    for lobe in LOBES:
        volume_ml = counts[lobe.value] * geometry.voxel_volume_ml
        share = 100 * counts[lobe.value] / lung_count
        print(f"{lobe.name:<18} {volume_ml:7.1f} mL  {share:5.1f} % of the lungs")
    for warning in warnings:
        print(f"Warning: {warning.message}")
    print(f"{DISCLAIMER}\nWritten to {chosen.output}")


def _lobes_of_mask(
    file: Path, progress: ProgressCallback
) -> tuple[np.ndarray, Geometry, tuple[ScanWarning, ...]]:
    from CovidLungQuantLib.anatomy.lobes import lobes_from_lungs
    from CovidLungQuantLib.ct import orient_like, restore_orientation
    from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
    from CovidLungQuantLib.files.lobes import read_lungs

    progress(0.0, "Reading the lungs")
    lungs, geometry = read_lungs(file)
    orientation = orientation_of(geometry)
    progress(READ_UNTIL, "Dividing the lungs by their shape")
    upright = lobes_from_lungs(
        orient_like(lungs, orientation), oriented_geometry(geometry, orientation).spacing_mm
    )
    return restore_orientation(upright, orientation), geometry, ()


def _lobes_of_ct(
    path: Path, series: str | None, progress: ProgressCallback
) -> tuple[np.ndarray, Geometry, tuple[ScanWarning, ...]]:
    from CovidLungQuantLib.anatomy.lobes import segment_lobes
    from CovidLungQuantLib.anatomy.lungs import segment_lungs
    from CovidLungQuantLib.ct import lps_oriented, read_ct, restore_orientation

    progress(0.0, "Reading the scan")
    ct = read_ct(path, series)
    upright, orientation = lps_oriented(ct)
    spacing_mm = upright.geometry.spacing_mm
    anatomy = segment_lungs(upright.hu, spacing_mm, subrange(progress, READ_UNTIL, 0.5))
    found = segment_lobes(
        upright.hu, anatomy.lungs, spacing_mm, subrange(progress, 0.5, WRITE_FROM)
    )
    warnings = (*ct.warnings, *anatomy.warnings, *found.warnings)
    return restore_orientation(found.lobes, orientation), ct.geometry, warnings


def _enhance(chosen: argparse.Namespace) -> None:
    files = [chosen.output, chosen.airways, chosen.vessels, chosen.sub_visual]
    wanted = [file for file in files if file is not None]
    for file in wanted:
        _check_new_image(file)
    if len({file.absolute() for file in wanted}) < len(wanted):
        raise BadInputError("Two results would go into one file; give each its own name.")

    from CovidLungQuantLib.ct import read_ct
    from CovidLungQuantLib.ct.images import write_image
    from CovidLungQuantLib.files.segmentation import read_segmentation
    from CovidLungQuantLib.lesions.enhancement import check_baseline
    from CovidLungQuantLib.pipeline import NO_LOBES, Options, check_options, enhance, quantify

    check_baseline(chosen.baseline)
    options = Options(chosen.device, chosen.model, lobes=NO_LOBES)
    check_options(options)
    with _shown_progress() as progress:
        progress(0.0, "Reading the scan")
        ct = read_ct(chosen.ct, chosen.series)
        if chosen.segmentation is not None:
            labels, warnings = read_segmentation(chosen.segmentation, ct.geometry)
            ct = replace(ct, warnings=(*ct.warnings, *warnings))
        else:
            found = quantify(ct, options, subrange(progress, READ_UNTIL, 0.5))
            labels, ct = found.labels, replace(ct, warnings=found.warnings)
        scan = enhance(
            ct,
            labels,
            chosen.baseline,
            chosen.sub_visual is not None,
            subrange(progress, 0.5, WRITE_FROM),
        )
        progress(WRITE_FROM, "Writing the enhanced volume")
        arrays = [
            scan.enhancement.enhanced_hu,
            scan.airways,
            scan.vessels,
            scan.enhancement.sub_visual,
        ]
        for file, array in zip(files, arrays, strict=True):
            if file is not None:
                stored = array.astype(np.uint8) if array.dtype == bool else array
                write_image(file, stored, ct.geometry)
    print(f"\n{ct.name}\n{_enhancement_text(scan)}")
    for message in dict.fromkeys(warning.message for warning in scan.warnings):
        print(f"Warning: {message}")
    print(f"{DISCLAIMER}\nWritten:")
    for file in wanted:
        print(f"  {file.absolute()}")


def _enhancement_text(scan: EnhancedScan) -> str:
    """Baseline, window, bias, volumes and severity sums of an enhanced scan, one a line."""
    voxel_ml = scan.ct.geometry.voxel_volume_ml
    airways_ml, vessels_ml, lung_ml = (
        np.count_nonzero(array) * voxel_ml for array in (scan.airways, scan.vessels, scan.labels)
    )
    share = f"{100 * vessels_ml / lung_ml:.1f} % of the lungs"
    facts, severities = _enhancement_lines(scan.enhancement)
    return "\n".join(
        [
            *facts,
            f"airways            {airways_ml:.1f} mL with trachea",
            f"vessels            {vessels_ml:.1f} mL, {share}",
            *severities,
        ]
    )


def _enhancement_lines(enhancement: Enhancement) -> tuple[list[str], list[str]]:
    """What is known of an enhanced scan and of its severity, one a line."""
    from CovidLungQuantLib.lesions.enhancement import SUB_VISUAL_RULE
    from CovidLungQuantLib.outputs.enhancement_section import (
        enhancement_facts,
        enhancement_severities,
    )

    facts, severities = (
        [f"{name:<18} {text}" for name, text in lines]
        for lines in (enhancement_facts(enhancement), enhancement_severities(enhancement))
    )
    if enhancement.sub_visual is not None:
        severities.append(f"Sub-visual lesions are {SUB_VISUAL_RULE}.")
    return facts, severities


def _phantom(chosen: argparse.Namespace) -> None:
    _check_new_image(chosen.output)

    from CovidLungQuantLib.ct.images import write_image
    from CovidLungQuantLib.phantom import chest_phantom

    ct = chest_phantom().ct
    write_image(chosen.output, ct.hu, ct.geometry)


def _check_new_image(file: Path) -> None:
    if file.exists():
        raise BadInputError(f"{file.name} exists already; choose another name.")
    if not file.name.lower().endswith(IMAGE_SUFFIXES):
        raise BadInputError(
            f"{file.name} is no image file; choose a name ending in {', '.join(IMAGE_SUFFIXES)}."
        )


def _export(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.training import export_command

    with _shown_progress() as progress:
        names = export_command.run(chosen, progress)
    print(f"{DISCLAIMER}\nAdded to {chosen.output.absolute()}: {', '.join(names)}")


def _train(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.training import command

    command.run(chosen)


def _fine_tune(chosen: argparse.Namespace) -> None:
    from CovidLungQuantLib.training import fine_tune_command

    fine_tune_command.check_options(chosen)
    if chosen.status:
        print("\n".join(fine_tune_command.status_lines()))
        return
    if chosen.cancel is not None:
        print(fine_tune_command.cancel(chosen.cancel))
        return
    run = fine_tune_command.start(chosen)
    if chosen.background:
        name = run.plan.name
        print(
            f"Fine-tuning {name} has begun; see {PROGRAM} fine-tune --status, and --cancel {name}."
        )
        return
    with _shown_progress() as progress:
        status = fine_tune_command.watch(run, progress)
    print(f"\n{_aligned(fine_tune_command.comparison_rows(status.comparison_file))}")
    print("\n".join(fine_tune_command.comparison_notes(status.comparison_file)))
    print(f"{DISCLAIMER}\n{status.message}\n  {status.model_file}\n  {status.comparison_file}")


def _info(chosen: argparse.Namespace) -> None:
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
        print(f"{'model':<15} {name}  {about}")
    print(DISCLAIMER)


def _check_pdf(chosen: argparse.Namespace) -> None:
    if chosen.pdf:
        from CovidLungQuantLib.outputs.pdf import check_pdf_possible

        check_pdf_possible()


def _check_dicom(chosen: argparse.Namespace) -> None:
    """Refuse early what `--dicom` cannot do: no highdicom, or a scan that is not DICOM."""
    if not chosen.dicom:
        return
    from CovidLungQuantLib.ct.dicom import is_dicom
    from CovidLungQuantLib.outputs.dicom_files import check_dicom_possible

    check_dicom_possible()
    if chosen.ct.is_file() and not is_dicom(chosen.ct):
        raise BadInputError(
            f"DICOM results refer to a DICOM series, and {chosen.ct.name} is none; give the DICOM "
            "folder of the scan or leave --dicom out."
        )


def _write(
    chosen: argparse.Namespace,
    quantification: Quantification,
    progress: ProgressCallback,
    dicom_files: Sequence[Path],
) -> list[Path]:
    from CovidLungQuantLib.outputs.folder import write_results

    return write_results(
        chosen.output,
        quantification,
        chosen.overwrite,
        chosen.scene,
        subrange(progress, WRITE_FROM, 1.0),
        dicom_files if chosen.dicom else (),
        chosen.pdf,
    )


def _print_result(quantification: Quantification, files: list[Path]) -> None:
    print(f"\n{quantification.ct.name}\n{_text_table(quantification)}")
    print(_scores_text(quantification))
    if quantification.airways_and_vessels is not None:
        print(_tube_line(quantification))
    if quantification.enhancement is not None:
        facts, severities = _enhancement_lines(quantification.enhancement)
        print("\n".join([*facts, *severities]))
    for message in dict.fromkeys(warning.message for warning in quantification.warnings):
        print(f"Warning: {message}")
    _print_files(files[0].parent, [file.name for file in files])


def _print_files(folder: Path, names: Sequence[str]) -> None:
    print(f"{DISCLAIMER}\nWritten to {folder.absolute()}:")
    for name in names:
        print(f"  {name}")


def _text_table(quantification: Quantification) -> str:
    rows = [
        ("", "lung", "normal", "GGO", "GGO", "high opacity", "high opacity", "lesion", "lesion"),
        ("", "mL", "mL", "mL", "%", "mL", "%", "mL", "%"),
    ]
    for region in quantification.measurements.regions:
        rows.append(
            (
                region.region.removesuffix(f" ({APPROXIMATION})"),
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
    if quantification.measurements.segments:
        # One heading says for all 20 what each row would repeat.
        heading = (f"CT-SS regions ({APPROXIMATION})", *[""] * (len(rows[0]) - 1))
        rows.insert(len(rows) - len(quantification.measurements.segments), heading)
    return _aligned(rows)


def _scores_text(quantification: Quantification) -> str:
    """The scores and the comparison with normal lungs, a line each."""
    measurements = quantification.measurements
    lines = []
    severity = measurements.severity
    if severity is not None:
        by_lobe = ", ".join(
            f"{lobe.short_name} {_score(scored.ct_score)}"
            for lobe, scored in zip(LOBES, severity.lobes, strict=True)
        )
        lines += [
            f"Lobe CT score          {_score(severity.ct_score)} of {HIGHEST_CT_SCORE} ({by_lobe})",
            f"Involved lobes         {_score(severity.involved_lobes)} of {len(LOBES)}, with more "
            f"than {severity.minimum_lesion_ml:g} mL of lesion",
            f"CT-SS (approximation)  {_score(severity.ct_severity_score)} of "
            f"{HIGHEST_CT_SEVERITY_SCORE}; severe above {SEVERE_CT_SEVERITY_SCORE}",
            f"Total severity score   {_score(severity.total_severity_score)} of "
            f"{HIGHEST_TOTAL_SEVERITY_SCORE}",
        ]
    comparison = measurements.comparison
    if comparison is not None:
        lines.append(
            f"Against normal lungs   Hellinger distance {_number(comparison.hellinger_distance)}, "
            f"overlap {_number(comparison.intersection_over_union)}"
        )
    return "\n".join(lines)


def _tube_line(quantification: Quantification) -> str:
    from CovidLungQuantLib.measures.airways_and_vessels import measure_airways_and_vessels

    measured = measure_airways_and_vessels(
        quantification.airways_and_vessels,
        quantification.labels,
        quantification.ct.geometry.voxel_volume_ml,
    )
    return (
        f"Airways and vessels    {measured.airways_ml:.1f} mL with trachea; "
        f"{measured.vessels_ml:.1f} mL, {measured.vessels_percent:.1f} % of the lungs"
    )


def _score(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _evaluation_table(evaluation: Evaluation) -> str:
    """Mean ± SD (number of cases) of the usual figures; the files hold the others."""
    shown = {
        "dice": "Dice",
        "volume_similarity": "volume similarity",
        "hausdorff95_mm": "95 % Hausdorff mm",
        "mean_surface_distance_mm": "surface distance mm",
        "volume_error_ml": "volume error mL",
    }
    lines: dict[tuple[str, str], list[str]] = {}
    for row in evaluation.summary:
        if row.measure in shown:
            mean, sd = _number(row.summary.mean), _number(row.summary.sd)
            cells = lines.setdefault((row.structure, row.cases), [])
            cells.append(f"{mean} ± {sd} ({row.summary.n})" if row.summary.n else "–")
    rows = [("mean ± SD (n)", "", *shown.values())]
    return _aligned([*rows, *((*title, *cells) for title, cells in lines.items())])


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    rows = [("", "", "n", "MAE", "bias", "limits of", "agreement", "r", "rho", "Wilcoxon p")]
    for item in comparisons:
        agreement = item.agreement
        numbers = (
            agreement.mean_absolute_error,
            agreement.bias,
            agreement.lower_limit,
            agreement.upper_limit,
            agreement.pearson,
            agreement.spearman,
            agreement.wilcoxon_p,
        )
        rows.append(
            (
                f"{item.measure}: {item.first} - {item.second}",
                item.kind,
                str(agreement.n),
                *(_number(value) for value in numbers),
            )
        )
    return _aligned(rows)


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as text with the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        f"{row[0]:<{widths[0]}}  "
        + "  ".join(f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


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
