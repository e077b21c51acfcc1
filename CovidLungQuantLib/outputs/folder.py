"""The output folder of one scan: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import writing_error
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.names import (
    AIRWAYS_AND_VESSELS_FILE,
    ENHANCED_FILE,
    LESIONS_FILE,
    LOBES_FILE,
    MEASUREMENTS_FILE,
    OUTPUT_FILES,
    PDF_FILE,
    PROBABILITY_FILE,
    REPORT_FILE,
    RESULT_FILE,
    SCENE_FILE,
    SEGMENTATION_FILE,
    SUB_VISUAL_FILE,
)
from CovidLungQuantLib.files.segmentation_writing import (
    write_airways_and_vessels,
    write_lobes,
    write_segmentation,
    write_sub_visual,
)
from CovidLungQuantLib.lesions.airways_and_vessels import METHOD_NAME as AIRWAYS_AND_VESSELS_METHOD
from CovidLungQuantLib.lesions.enhancement import METHOD_NAME as ENHANCEMENT_METHOD
from CovidLungQuantLib.outputs.dicom_files import write_dicom
from CovidLungQuantLib.outputs.lesion_list import write_lesions_csv
from CovidLungQuantLib.outputs.pdf import write_pdf
from CovidLungQuantLib.outputs.replacing import (
    UNFINISHED,
    beside,
    put_in_place,
    recover,
    remove_empty,
    unfinished_folder,
)
from CovidLungQuantLib.outputs.report import write_report
from CovidLungQuantLib.outputs.table import write_measurements_csv, write_result_json
from CovidLungQuantLib.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Quantification

# Of a file or folder, in the file systems that people use.
LONGEST_NAME_BYTES = 255


def check_output_folder(
    folder: Path | str,
    overwrite: bool = False,
    scene: bool = False,
    files: tuple[str, ...] = OUTPUT_FILES,
) -> None:
    """Refuse what cannot be written, before anything is computed.

    What a killed run left beside the folder is removed, or put back if it was the result.
    An empty folder may be given. With `overwrite` a folder may be replaced that holds nothing but
    results of an earlier run (`files`); a folder with anything else in it is never touched.

    Raises:
        BadInputError: with what is in the way, or if a scene is wanted and slicer-core is missing.
    """
    if scene:
        check_scene_possible()
    folder = Path(folder).absolute()
    _check_name(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BadInputError(
            f"The output {folder.name} exists and is not a folder; choose another name."
        )
    recover(folder, (*files, *OUTPUT_FILES))
    present = _names_in(folder)
    foreign = [name for name in present if name not in files]
    if foreign:
        raise BadInputError(
            f"The output folder {folder.name} holds other files ({foreign[0]}"
            f"{', …' if len(foreign) > 1 else ''}) and is left alone; choose a new folder."
        )
    if folder.exists() and _is_needed(folder):
        raise BadInputError(
            f"The output folder {folder.name} is the one this runs in, or a disk, and cannot be "
            "exchanged; give a new folder in it."
        )
    if present and not overwrite:
        raise BadInputError(
            f"The output folder {folder.name} already holds results; choose a new folder or add "
            "--overwrite."
        )
    existing_parent = next(parent for parent in folder.parents if parent.exists())
    if not existing_parent.is_dir() or not os.access(existing_parent, os.W_OK | os.X_OK):
        raise BadInputError(
            f"Nothing can be written in {existing_parent}; choose an output folder elsewhere."
        )


def check_scene_possible() -> None:
    """Refuse a scene where slicer-core is missing; raises BadInputError."""
    if find_spec("slicer") is None:
        raise BadInputError(
            "A scene file needs the package slicer-core; install it with "
            "“pip install slicer-core” or leave --scene out."
        )


def _check_name(folder: Path) -> None:
    """Refuse what is no name, or is too long for the folder or the hidden one it is written as."""
    if folder.name in ("", ".."):
        raise BadInputError(f"The output {folder} is no new folder; give it a name.")
    names = (*folder.parts, beside(folder, UNFINISHED).name)
    if max(len(os.fsencode(name)) for name in names) > LONGEST_NAME_BYTES:
        raise BadInputError(
            f"The name of the output folder ({folder.name[:20]}…) is too long; choose a shorter "
            "one."
        )


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir()) if folder.exists() else []
    except OSError as error:
        raise BadInputError(
            f"The output folder {folder.name} cannot be looked into ({error.strerror}); choose "
            "another."
        ) from error


def _is_needed(folder: Path) -> bool:
    """Whether a folder cannot be renamed without harm: this process runs in it, or it is a disk."""
    return Path.cwd().is_relative_to(folder.resolve()) or folder.is_mount()


def write_results(
    folder: Path | str,
    quantification: Quantification,
    overwrite: bool = False,
    scene: bool = False,
    progress: ProgressCallback = no_progress,
    dicom_source: Sequence[Path] = (),
    pdf: bool = False,
    further: Callable[[Path], Sequence[str]] = lambda folder: (),
) -> list[Path]:
    """Write what a run found, its table, result and report (and the scene) into `folder`.

    Everything is written into a hidden folder beside it, which takes the name once it is complete.
    If anything fails, also `progress` raising `Cancelled`, `folder` stays as it was.

    Args:
        folder: must not exist, or be empty; see `check_output_folder`.
        quantification: what to write.
        overwrite: replace the results of an earlier run.
        scene: write scene.mrb too; needs the package slicer-core.
        progress: progress callback.
        dicom_source: DICOM files of the scan's slices in their order; where given, the result is
            written as DICOM SEG and SR too, which needs highdicom.
        pdf: write the report as PDF too; needs WeasyPrint.
        further: writes further files of `files.names.OUTPUT_FILES` into the folder it is given and
            returns their names.

    Returns:
        the paths of the files.

    Raises:
        BadInputError: the folder cannot be used or written.
        OutOfResourcesError: the disk is full.
    """
    check_output_folder(folder, overwrite, scene)
    with filled_folder(folder, overwrite) as unfinished:
        names = _write_files(unfinished, quantification, scene, progress, dicom_source, pdf)
        names += further(unfinished)
    return [Path(folder).absolute() / name for name in names]


@contextmanager
def filled_folder(
    folder: Path | str, overwrite: bool = False, files: tuple[str, ...] = OUTPUT_FILES
) -> Iterator[Path]:
    """Give a hidden folder to write into; it takes the name of `folder` once all is written.

    If anything fails, `folder` stays as it was and nothing else is left behind.

    Args:
        folder: must not exist, or be empty; see `check_output_folder`.
        overwrite: replace the results of an earlier run.
        files: names of the files such a run may leave.

    Raises:
        BadInputError: the folder cannot be used or written.
        OutOfResourcesError: the disk is full.
    """
    folder = Path(folder).absolute()
    check_output_folder(folder, overwrite, files=files)
    missing_parents = [parent for parent in folder.parents if not parent.exists()]
    try:
        with unfinished_folder(folder) as unfinished:
            yield unfinished
            check_output_folder(folder, overwrite, files=files)
            put_in_place(unfinished, folder)
    except OSError as error:
        raise writing_error(error, folder) from error
    finally:
        if not folder.exists():
            remove_empty(missing_parents)


def _write_files(
    folder: Path,
    quantification: Quantification,
    scene: bool,
    progress: ProgressCallback,
    dicom_source: Sequence[Path],
    pdf: bool,
) -> list[str]:
    provenance = quantification.provenance
    progress(0.0, "Writing the segmentation")
    write_segmentation(
        folder / SEGMENTATION_FILE,
        quantification.labels,
        quantification.ct.geometry,
        provenance.model_name if provenance is not None and provenance.is_automatic else None,
    )
    names = [SEGMENTATION_FILE]
    if quantification.lobes is not None:
        write_lobes(
            folder / LOBES_FILE,
            quantification.lobes,
            quantification.ct.geometry,
            provenance.lobe_model_name if provenance is not None else None,
        )
        names.append(LOBES_FILE)
    names += _write_extras(folder, quantification)
    progress(0.3, "Writing the table")
    write_measurements_csv(folder / MEASUREMENTS_FILE, quantification)
    write_lesions_csv(folder / LESIONS_FILE, quantification)
    write_result_json(folder / RESULT_FILE, quantification)
    progress(0.4, "Writing the report")
    write_report(folder / REPORT_FILE, quantification)
    names += [MEASUREMENTS_FILE, LESIONS_FILE, RESULT_FILE, REPORT_FILE]
    if pdf:
        progress(0.5, "Writing the report as PDF")
        write_pdf(folder / PDF_FILE, (folder / REPORT_FILE).read_text(encoding="utf-8"))
        names.append(PDF_FILE)
    if scene:
        # Only here: the scene needs slicer-core, everything else runs without.
        from CovidLungQuantLib.mrml.scene_file import write_scene

        progress(0.6, "Writing the scene")
        write_scene(folder / SCENE_FILE, quantification)
        names.append(SCENE_FILE)
    if dicom_source:
        progress(0.8, "Writing DICOM")
        names += write_dicom(folder, quantification, dicom_source)
    progress(1.0, "Written")
    return names


def _write_extras(folder: Path, quantification: Quantification) -> list[str]:
    """Write what is found on request only."""
    geometry, enhancement = quantification.ct.geometry, quantification.enhancement
    names = []
    if quantification.airways_and_vessels is not None:
        write_airways_and_vessels(
            folder / AIRWAYS_AND_VESSELS_FILE,
            quantification.airways_and_vessels,
            geometry,
            AIRWAYS_AND_VESSELS_METHOD,
        )
        names.append(AIRWAYS_AND_VESSELS_FILE)
    if enhancement is not None:
        write_image(folder / ENHANCED_FILE, enhancement.enhanced_hu, geometry)
        names.append(ENHANCED_FILE)
        if enhancement.sub_visual is not None:
            write_sub_visual(
                folder / SUB_VISUAL_FILE, enhancement.sub_visual, geometry, ENHANCEMENT_METHOD
            )
            names.append(SUB_VISUAL_FILE)
    if quantification.lesion_probability is not None:
        write_image(folder / PROBABILITY_FILE, quantification.lesion_probability, geometry)
        names.append(PROBABILITY_FILE)
    return names
