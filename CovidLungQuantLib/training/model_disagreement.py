"""Running the shipped models on scans to see where they disagree; what is known is not run again.

Label maps are those of `pipeline.quantify` with its default options, so that the figures tell of
what a reader would be shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import CTVolume, lps_oriented, read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.lesions.inference import choose_device, segment_lesions
from CovidLungQuantLib.lesions.kinds import classify_by_density
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.measures.disagreement import Disagreement, disagreement_of
from CovidLungQuantLib.progress import ProgressCallback, no_progress, subrange
from CovidLungQuantLib.training.dataset import case_ct_file, voxels_sha256
from CovidLungQuantLib.training.disagreement_cache import DisagreementCache
from CovidLungQuantLib.training.expected_gain import (
    CANDIDATE,
    RankedCase,
    ranked,
    training_set_cases,
)

LUNGS_SHARE = 0.2


@dataclass(frozen=True)
class ComparedScan:
    """What two models make of a scan.

    Attributes:
        scan_sha256: see `dataset.voxels_sha256`; empty where the scan cannot be read.
        found: the disagreement, or the sentence that says why there is none.
    """

    scan_sha256: str
    found: Disagreement | str

    def is_in(self, scans_sha256: set[str]) -> bool:
        """Whether it is one of these scans; not where it cannot be read."""
        return bool(self.scan_sha256) and self.scan_sha256 in scans_sha256


def rank_training_set(
    dataset: Path,
    candidates: Sequence[Path] = (),
    device: str = "auto",
    progress: ProgressCallback = no_progress,
    models: Sequence[str] | None = None,
) -> list[RankedCase]:
    """Rank the cases of a training set, and scans that are not in it, by expected gain.

    Args:
        dataset: folder of the training set.
        candidates: files or DICOM folders; those that are cases already are left out. They are
            named "scan 1", "scan 2", … in their order, never by their files.
        device: as of `find_disagreements`, which says what may be raised besides.
        progress: likewise.
        models: likewise.

    Raises:
        BadInputError: the folder is no training set, or its manifest cannot be understood.
    """
    cases = training_set_cases(dataset)
    files = {case.name: case_ct_file(dataset, case.name) for case in cases}
    files |= {f"scan {number}": path for number, path in enumerate(candidates, start=1)}
    compared = find_disagreements(dataset, list(files.values()), device, progress, models)
    in_set = {compared[files[case.name]].scan_sha256 for case in cases}
    new = [name for name in list(files)[len(cases) :] if not compared[files[name]].is_in(in_set)]
    return ranked(
        [*cases, *(RankedCase(name, CANDIDATE) for name in new)],
        {name: compared[path].found for name, path in files.items()},
    )


def find_disagreements(
    dataset: Path,
    scans: Sequence[Path],
    device: str = "auto",
    progress: ProgressCallback = no_progress,
    models: Sequence[str] | None = None,
) -> dict[Path, ComparedScan]:
    """Compare two models on scans; those the training set's cache knows are only read.

    Each scan is kept in the cache as soon as it is done, so nothing is lost where `progress` ends
    it early.

    Args:
        dataset: folder of the training set, which keeps the figures.
        scans: files or DICOM folders, as for `read_ct`.
        device: where the networks run.
        progress: may raise `Cancelled`.
        models: names or files of the two; None is the shipped ones.

    Returns:
        what they make of each scan.

    Raises:
        BadInputError: no such device or model, a damaged cache, or it cannot be written.
        OutOfResourcesError: memory or disk are full.
        Cancelled: `progress` raised it.
    """
    choose_device(device)
    cache = DisagreementCache(dataset, models)
    loaded: list[LoadedModel] = []
    compared: dict[Path, ComparedScan] = {}
    for index, path in enumerate(scans):
        step = subrange(progress, index / len(scans), (index + 1) / len(scans))
        said = _prefixed(step, f"Scan {index + 1} of {len(scans)}: ")
        said(0.0, "Reading")
        scan_sha256 = ""
        try:
            upright, _ = lps_oriented(read_ct(path))
            spacing_mm = upright.geometry.spacing_mm
            scan_sha256 = voxels_sha256(upright.hu)
            disagreement = cache.of_scan(scan_sha256, spacing_mm)
            if disagreement is None:
                loaded = loaded or [load_model(name) for name in cache.model_names]
                disagreement = compare_on_scan(upright, loaded, device, said)
        except BadInputError as error:
            compared[path] = ComparedScan(scan_sha256, str(error))
            continue
        cache.keep(path, scan_sha256, spacing_mm, disagreement)
        compared[path] = ComparedScan(scan_sha256, disagreement)
    progress(1.0, "Compared")
    return compared


def compare_on_scan(
    upright: CTVolume,
    models: Sequence[LoadedModel],
    device: str = "auto",
    progress: ProgressCallback = no_progress,
) -> Disagreement:
    """Run two models on a scan that lies upright, and compare their label maps.

    Raises:
        BadInputError: no lungs found, or no such device.
    """
    hu, spacing_mm = upright.hu, upright.geometry.spacing_mm
    anatomy = segment_lungs(hu, spacing_mm, subrange(progress, 0.0, LUNGS_SHARE))
    share = (1.0 - LUNGS_SHARE) / len(models)
    label_maps = []
    for number, model in enumerate(models):
        start = LUNGS_SHARE + number * share
        report = subrange(progress, start, start + share)
        labels = segment_lesions(hu, spacing_mm, anatomy, model, device, report).labels
        label_maps.append(classify_by_density(labels, hu, spacing_mm))
    first, second = label_maps
    return disagreement_of(first, second, upright.geometry.voxel_volume_ml)


def _prefixed(progress: ProgressCallback, text: str) -> ProgressCallback:
    def said(fraction: float, message: str) -> None:
        progress(fraction, f"{text}{message[:1].lower()}{message[1:]}")

    return said
