"""Regions of measured scans as images and masks for PyRadiomics.

For each scan its CT and a mask of 0 and 1 for each region, and a table of them all that PyRadiomics
takes as it is: `cd OUT && pyradiomics pyradiomics.csv -o features.csv -f csv --param
pyradiomics.yaml`. Among the regions is parenchyma without disease, which tells how much a feature
differs from scan to scan where there is nothing to be seen; see `scan_bias`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLungQuantLib.cohort.follow_up import read_time_point
from CovidLungQuantLib.ct import CTVolume, read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable
from CovidLungQuantLib.files.images import read_label_file, write_image
from CovidLungQuantLib.files.lobes import read_lobes
from CovidLungQuantLib.files.names import (
    AIRWAYS_AND_VESSELS_FILE,
    LOBES_FILE,
    SCENE_FILE,
    SEGMENTATION_FILE,
)
from CovidLungQuantLib.files.scenes import read_ct_of_scene
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.files.tables import write_csv
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    GGO,
    HIGH_OPACITY,
    LOBES,
    is_lesion,
    is_lung,
)
from CovidLungQuantLib.lesions.enhancement import assumed_parenchyma
from CovidLungQuantLib.progress import ProgressCallback, no_progress

INPUT_FILE = "pyradiomics.csv"
SETTINGS_FILE = "pyradiomics.yaml"
LEFT_OUT_FILE = "left_out.csv"
SCANS_FOLDER = "scans"
EXPORT_FILES = (INPUT_FILE, SETTINGS_FILE, LEFT_OUT_FILE, SCANS_FOLDER)
IMAGE_FILE = "ct.nrrd"
PARENCHYMA = "parenchyma"
LESION_REGION = "lesion"
# Below this, features of texture mean little.
SMALLEST_ML = 0.1
# Means of the same voxels differ by rounding only.
SAME_MEAN_HU = 0.01
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]")

INPUT_COLUMNS = ("scan_id", "patient_id", "region", "volume_ml", "Image", "Mask", "Label")
LEFT_OUT_COLUMNS = ("scan_id", "region", "reason")
# Every setting that changes numbers; PyRadiomics has defaults for the others.
SETTINGS = """\
# Settings for PyRadiomics 3: what it computes of each region of each scan.
imageType:
  Original: {}
featureClass:
  shape:
  firstorder:
  glcm:
  glrlm:
  glszm:
  gldm:
  ngtdm:
setting:
  binWidth: 25
  voxelArrayShift: 1024
  resampledPixelSpacing: [1, 1, 1]
  interpolator: sitkBSpline
  label: 1
"""


@dataclass(frozen=True)
class ExportOptions:
    """By which columns of the table.

    Attributes:
        ct: column of the CT's path, as seen from the table; where the table has none, the scene in
            the result folder holds the CT.
        folder: column of the result folder, likewise.
        scan: column of the scan's name.
        patient: column of the patient; empty cells where the table has none.
    """

    ct: str = "ct"
    folder: str = "result_folder"
    scan: str = "scan_id"
    patient: str = "patient_id"


@dataclass(frozen=True)
class _Row:
    scan: str
    patient: str
    folder: Path
    ct: Path | None


def export_regions(
    out: Path,
    table: CohortTable,
    base: Path,
    options: ExportOptions,
    tell: Callable[[str], None] = lambda _: None,
    progress: ProgressCallback = no_progress,
) -> tuple[int, int]:
    """Write `EXPORT_FILES` into `out`.

    A scan that cannot be read is left out, with the reason in `LEFT_OUT_FILE`.

    Args:
        out: a folder that is there.
        table: one row a scan.
        base: folder that paths of the table are seen from.
        options: columns.
        tell: is told each scan that is left out, and why.
        progress: progress callback; may raise `Cancelled`.

    Returns:
        scans written, and left out.

    Raises:
        BadInputError: a column is missing, a scan comes twice, or no scan can be exported.
    """
    rows = _rows(table, base, options)
    written: list[dict[str, object]] = []
    left_out: list[dict[str, object]] = []
    failed = 0
    for index, row in enumerate(rows):
        progress(index / len(rows), f"Exporting {row.scan}")
        try:
            of_scan, without = _export_scan(out, row, f"{index + 1:04d}-{_safe(row.scan)}")
        except BadInputError as error:
            failed += 1
            left_out.append({"scan_id": row.scan, "region": "", "reason": str(error)})
            tell(f"{row.scan}: {error}")
            continue
        written += of_scan
        left_out += without
    if not written:
        raise BadInputError(
            f"No scan of {table.name} can be exported (the first: "
            f"{str(left_out[0]['reason']).rstrip('.')}); correct the table."
        )
    write_csv(out / INPUT_FILE, written, INPUT_COLUMNS)
    write_csv(out / LEFT_OUT_FILE, left_out, LEFT_OUT_COLUMNS)
    (out / SETTINGS_FILE).write_text(SETTINGS, encoding="utf-8")
    progress(1.0, "Exported")
    return len(rows) - failed, failed


def region_masks(
    labels: np.ndarray,
    spacing_mm: tuple[float, float, float],
    lobes: np.ndarray | None = None,
    airways_and_vessels: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The regions of a scan, bool (z, y, x), by name.

    Args:
        labels: uint8 (z, y, x), values of `labels.py`.
        spacing_mm: voxel size (x, y, z).
        lobes: uint8 (z, y, x), values of `labels.LOBES`; None leaves them out.
        airways_and_vessels: bool (z, y, x), taken out of the parenchyma; None takes none out.
    """
    lungs, lesion = is_lung(labels), is_lesion(labels)
    if airways_and_vessels is None:
        airways_and_vessels = np.zeros(labels.shape, bool)
    masks = {
        "lungs": lungs,
        LESION_REGION: lesion,
        "ggo": labels == GGO.value,
        "high_opacity": labels == HIGH_OPACITY.value,
        PARENCHYMA: assumed_parenchyma(lungs, lesion, airways_and_vessels, spacing_mm),
    }
    if lobes is not None:
        for lobe in LOBES:
            masks[f"{lobe.name.lower().replace(' ', '_')}_lesion"] = lesion & (lobes == lobe.value)
    return masks


def _rows(table: CohortTable, base: Path, options: ExportOptions) -> list[_Row]:
    table.require([options.scan, options.folder])
    scans, folders = table.texts(options.scan), table.texts(options.folder)
    has = table.frame.columns
    patients = table.texts(options.patient) if options.patient in has else None
    cts = table.texts(options.ct) if options.ct in has else None
    rows = []
    for index in table.frame.index:
        if scans[index] is None or folders[index] is None:
            raise table.refuse(
                index, f"{options.scan} or {options.folder} is missing; add it or remove the row"
            )
        ct = None if cts is None or cts[index] is None else base / cts[index]
        patient = "" if patients is None else patients[index] or ""
        rows.append(_Row(scans[index], patient, base / folders[index], ct))
    names = [row.scan for row in rows]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise BadInputError(f"{table.name} names scan {repeated[0]} twice; keep one row a scan.")
    return rows


def _export_scan(
    out: Path, row: _Row, name: str
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Write one scan; the rows of its regions, and of those left out."""
    ct = _read_scan(row)
    labels, _ = read_segmentation(row.folder / SEGMENTATION_FILE, ct.geometry)
    _check_is_measured_scan(ct, labels, row.folder)
    lobes_file = row.folder / LOBES_FILE
    lobes = read_lobes(lobes_file, ct.geometry) if lobes_file.is_file() else None
    masks = region_masks(
        labels, ct.geometry.spacing_mm, lobes, _airways_and_vessels(row.folder, labels.shape)
    )
    folder = out / SCANS_FOLDER / name
    written: list[dict[str, object]] = []
    left_out: list[dict[str, object]] = []
    for region, mask in masks.items():
        volume_ml = np.count_nonzero(mask) * ct.geometry.voxel_volume_ml
        if volume_ml < SMALLEST_ML:
            reason = f"{volume_ml:.3f} mL, less than {SMALLEST_ML:g} mL"
            left_out.append({"scan_id": row.scan, "region": region, "reason": reason})
            continue
        write_image(folder / f"{region}.nrrd", mask.astype(np.uint8), ct.geometry)
        written.append(
            {
                "scan_id": row.scan,
                "patient_id": row.patient,
                "region": region,
                "volume_ml": float(volume_ml),
                "Image": f"{SCANS_FOLDER}/{name}/{IMAGE_FILE}",
                "Mask": f"{SCANS_FOLDER}/{name}/{region}.nrrd",
                "Label": 1,
            }
        )
    if written:
        write_image(folder / IMAGE_FILE, ct.hu, ct.geometry)
    return written, left_out


def _read_scan(row: _Row) -> CTVolume:
    if row.ct is not None:
        return read_ct(row.ct)
    scene = row.folder / SCENE_FILE
    if not scene.is_file():
        raise BadInputError(
            f"{row.folder.name} does not hold the scan itself; add a column with the path of each "
            "CT and name it with --ct-column."
        )
    return read_ct_of_scene(scene)


def _check_is_measured_scan(ct: CTVolume, labels: np.ndarray, folder: Path) -> None:
    """Refuse another scan on the same voxels, such as another reconstruction of it."""
    regions = read_time_point(folder).regions
    both = next(region for region in regions if region.region == BOTH_LUNGS_REGION)
    mean_hu = float(ct.hu[is_lung(labels)].mean(dtype=np.float64))
    if abs(mean_hu - both.mean_hu) > SAME_MEAN_HU:
        raise BadInputError(
            f"The lungs of this scan have {mean_hu:.2f} HU on average where {folder.name} says "
            f"{both.mean_hu:.2f}; give the scan it was measured on."
        )


def _airways_and_vessels(folder: Path, shape: Sequence[int]) -> np.ndarray | None:
    """Airways and vessels of a result that has them on the scan's grid, bool (z, y, x)."""
    file = folder / AIRWAYS_AND_VESSELS_FILE
    if not file.is_file():
        return None
    layers = read_label_file(file).layers
    if layers.shape[:3] != tuple(shape):
        return None
    return np.asarray((layers != 0).any(axis=-1))


def _safe(name: str) -> str:
    """A name that any file system takes, not longer than 60 characters."""
    return _UNSAFE.sub("_", name)[:60].strip(".") or "scan"
