"""What segment and measure share: lobes that are given, writing the result, printing it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.cli.printing import aligned, number_text, print_files, print_warnings
from CovidLungQuantLib.cli.progress_bar import WRITE_FROM
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import APPROXIMATION, LOBES
from CovidLungQuantLib.measures.columns import Place, columns_in
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
    SEVERE_CT_SEVERITY_SCORE,
)
from CovidLungQuantLib.printable import printable
from CovidLungQuantLib.progress import ProgressCallback, subrange

if TYPE_CHECKING:
    from CovidLungQuantLib.ct import CTVolume
    from CovidLungQuantLib.lesions.enhancement import Enhancement
    from CovidLungQuantLib.pipeline import Quantification
    from CovidLungQuantLib.quantification import Options


LOBE_OPTIONS = ("automatic", "none")


def lobe_option(lobes: str) -> str:
    """What to do about lobes where no file of them is given."""
    return lobes if lobes in LOBE_OPTIONS else LOBE_OPTIONS[0]


def run_options(chosen: argparse.Namespace) -> Options:
    """What `options.add_run_options` and those for device, model and lobes were given."""
    from CovidLungQuantLib.quantification import Options

    return Options(
        device=chosen.device,
        model=chosen.model,
        kinds=chosen.kinds,
        artery_hu=chosen.artery_hu,
        lobes=lobe_option(chosen.lobes),
        airways_and_vessels=chosen.airways_and_vessels,
        enhance=chosen.enhance,
        mirror=chosen.mirror,
        keep_probability=chosen.probability,
    )


def given_lobes(lobes: str, ct: CTVolume) -> np.ndarray | None:
    """The lobes in the file given, on the grid of the scan; None where none is."""
    if lobes in LOBE_OPTIONS:
        return None
    from CovidLungQuantLib.files.lobes import read_lobes

    return read_lobes(lobes, ct.geometry)


def check_pdf(chosen: argparse.Namespace) -> None:
    """Refuse --pdf where no PDF can be written, before any work."""
    if chosen.pdf:
        from CovidLungQuantLib.outputs.pdf import check_pdf_possible

        check_pdf_possible()


def check_dicom(chosen: argparse.Namespace) -> None:
    """Refuse early what --dicom cannot do: no highdicom, or a scan that is not DICOM."""
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


def checked_for_dicom(
    chosen: argparse.Namespace, ct: CTVolume, dicom_files: Sequence[Path]
) -> CTVolume:
    """The scan, with a warning for what DICOM results must fill in; refused if they cannot be."""
    if not chosen.dicom:
        return ct
    from CovidLungQuantLib.outputs.dicom_files import check_source

    return replace(ct, warnings=(*ct.warnings, *check_source(ct, dicom_files)))


def write_result(
    chosen: argparse.Namespace,
    quantification: Quantification,
    progress: ProgressCallback,
    dicom_files: Sequence[Path],
) -> list[Path]:
    """Write the result as the options say; returns the files."""
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


def print_result(quantification: Quantification, files: list[Path]) -> None:
    """Print the numbers, the warnings and what was written."""
    print(f"\n{printable(quantification.ct.name)}\n{_text_table(quantification)}")
    print(_scores_text(quantification))
    if quantification.airways_and_vessels is not None:
        print(_airways_and_vessels_line(quantification.airways_and_vessels, quantification))
    if quantification.enhancement is not None:
        facts, severities = enhancement_lines(quantification.enhancement)
        print("\n".join([*facts, *severities]))
    print_warnings(warning.message for warning in quantification.warnings)
    print_files(files[0].parent, [file.name for file in files])


def _text_table(quantification: Quantification) -> str:
    columns = columns_in(Place.PRINTED)
    rows = [
        ("", *(column.printed_heading for column in columns)),
        ("", *(column.unit.text for column in columns)),
    ]
    for region in quantification.measurements.regions:
        name = region.region.removesuffix(f" ({APPROXIMATION})")
        rows.append((name, *(column.printed(column.value(region)) for column in columns)))
    if quantification.measurements.segments:
        # One heading says for all 20 what each row would repeat.
        heading = (f"CT-SS regions ({APPROXIMATION})", *[""] * (len(rows[0]) - 1))
        rows.insert(len(rows) - len(quantification.measurements.segments), heading)
    return aligned(rows)


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
            "Against normal lungs   Hellinger distance "
            f"{number_text(comparison.hellinger_distance)}, "
            f"overlap {number_text(comparison.intersection_over_union)}"
        )
    return "\n".join(lines)


def _airways_and_vessels_line(
    airways_and_vessels: np.ndarray, quantification: Quantification
) -> str:
    from CovidLungQuantLib.measures.airways_and_vessels import measure_airways_and_vessels

    measured = measure_airways_and_vessels(
        airways_and_vessels,
        quantification.labels,
        quantification.ct.geometry.voxel_volume_ml,
    )
    return (
        f"Airways and vessels    {measured.airways_ml:.1f} mL with trachea; "
        f"{measured.vessels_ml:.1f} mL, {measured.vessels_percent:.1f} % of the lungs"
    )


def enhancement_lines(enhancement: Enhancement) -> tuple[list[str], list[str]]:
    """What is known of an enhanced scan and of its severity, one a line."""
    from CovidLungQuantLib.display.enhancement import enhancement_facts, enhancement_severities
    from CovidLungQuantLib.lesions.enhancement import SUB_VISUAL_RULE

    facts, severities = (
        [f"{name:<18} {text}" for name, text in lines]
        for lines in (enhancement_facts(enhancement), enhancement_severities(enhancement))
    )
    if enhancement.sub_visual is not None:
        severities.append(f"Sub-visual lesions are {SUB_VISUAL_RULE}.")
    return facts, severities


def _score(value: int | None) -> str:
    return "unknown" if value is None else str(value)
