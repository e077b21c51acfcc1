"""A corrected result, as a folder of its own within the folder it was corrected from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import SCENE_FILE
from CovidLungQuantLib.lesions.probability import code_of_margin, margin_of_code
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.progress import ProgressCallback, no_progress, subrange
from CovidLungQuantLib.quantification import Provenance, Quantification
from CovidLungQuantLib.viewer.opening import is_result
from CovidLungQuantLib.viewer.session import Session

CORRECTED_PREFIX = "corrected-by-"
LONGEST_READER_NAME = 40

_UNSAFE = re.compile(r"[^\w]+")


def corrected_folder(result: Path, reader: str, saved: Path | None = None) -> Path:
    """Return the folder for a reader's correction of a result; what others saved is never taken.

    Args:
        result: the folder that was opened.
        reader: who corrected it.
        saved: what this session has saved before, and may replace.

    Raises:
        BadInputError: the name holds nothing that a folder could be named by, or is too long.
    """
    reader = reader.strip()
    name = _UNSAFE.sub("-", reader).strip("-")
    if not name or len(reader) > LONGEST_READER_NAME:
        raise BadInputError(
            f"Type who corrected it, in letters and figures, {LONGEST_READER_NAME} at most; the "
            "name is saved with the result."
        )
    if result.name.startswith(CORRECTED_PREFIX) and is_result(result.parent):
        # Of a correction of a correction the machine's result is the origin, too.
        result = result.parent
    folder = result / f"{CORRECTED_PREFIX}{name}"
    number = 1
    while folder.exists() and folder != saved:
        number += 1
        folder = result / f"{CORRECTED_PREFIX}{name}-{number}"
    return folder


def corrected_quantification(
    session: Session,
    labels: np.ndarray,
    reader: str,
    progress: ProgressCallback = no_progress,
) -> Quantification:
    """Measure corrected labels anew, and say who corrected how much of them.

    Args:
        session: not changed.
        labels: a copy of its labels, as they are to be saved.
        reader: who corrected them.
        progress: progress callback.

    Raises:
        BadInputError: as `pipeline.measure`.
    """
    from CovidLungQuantLib.pipeline import measure

    provenance = _corrected(session, reader)
    measured = measure(session.ct, labels, progress, session.lobes)
    return replace(
        measured,
        lesion_probability=session.opened.probability,
        measurements=replace(
            measured.measurements, notes=(*measured.measurements.notes, *session.run_notes)
        ),
        warnings=(*measured.warnings, *session.run_warnings),
        provenance=provenance,
    )


def save_corrected(
    session: Session,
    labels: np.ndarray,
    reader: str,
    folder: Path,
    overwrite: bool = False,
    progress: ProgressCallback = no_progress,
) -> Quantification:
    """Measure corrected labels anew and write them with all files of a result; return what was.

    Args:
        session: not changed.
        labels: a copy of its labels.
        reader: who corrected them.
        folder: as `corrected_folder` says.
        overwrite: whether this session has written it before.
        progress: progress callback.

    Raises:
        BadInputError: as `pipeline.measure`, or the folder cannot be written.
        OutOfResourcesError: the disk is full.
    """
    quantification = corrected_quantification(session, labels, reader, subrange(progress, 0.0, 0.4))
    has_scene = (session.opened.folder / SCENE_FILE).is_file()
    write_results(folder, quantification, overwrite, has_scene, subrange(progress, 0.4, 1.0))
    return quantification


def _corrected(session: Session, reader: str) -> Provenance:
    """What made a corrected result: what made the one before, who changed it, and how."""
    earlier = session.opened.provenance
    if earlier is None:
        earlier = Provenance(__version__, None, None, None, {}, {})
    margin_code = session.margin_code()
    unchanged = margin_code == code_of_margin(earlier.lesion_margin)
    return replace(
        earlier,
        software_version=__version__,
        lesion_margin=earlier.lesion_margin if unchanged else margin_of_code(margin_code),
        review=session.review.record() or None,
        corrected_by=reader.strip(),
        options={**earlier.options, "changed_voxels": session.changed_voxels},
    )
