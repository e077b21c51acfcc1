"""Label maps of many scans against a reader's: finding the pairs, comparing, summing up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLungQuantLib.cohort.agreement import PairedAgreement, Summary, paired_agreement, summarise
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.grids import place_labels
from CovidLungQuantLib.files.images import LABEL_MAP_SUFFIXES
from CovidLungQuantLib.files.names import CASE_FILE, CASE_LABELS_FILE, SEGMENTATION_FILE
from CovidLungQuantLib.files.segmentation_reading import LabelMap, read_label_map
from CovidLungQuantLib.labels import (
    GGO,
    HIGH_OPACITY,
    UNCLASSIFIED_LESION_VALUE,
    UNKNOWN_LUNG_VALUE,
    has_stated_class,
)
from CovidLungQuantLib.measures.against_reader import (
    MEASURES_BY_KEY,
    MINIMUM_EXTENT_PERCENT,
    ComparisonMeasure,
    StructureComparison,
    compare_label_maps,
)
from CovidLungQuantLib.measures.structures import LESION, LUNG, STRUCTURES
from CovidLungQuantLib.progress import ProgressCallback, no_progress
from CovidLungQuantLib.vetting import read_json

# Files that stand for the folder they lie in: an annotated case, a result of `segment`.
CASE_FOLDER_FILES = (CASE_LABELS_FILE, SEGMENTATION_FILE)

ALL_CASES = "all cases"
ENOUGH_LESION = f"reader's extent above {MINIMUM_EXTENT_PERCENT:g} %"
# What is summed up over cases; then what is compared as paired series.
SUMMARISED: tuple[ComparisonMeasure, ...] = tuple(
    MEASURES_BY_KEY[key]
    for key in (
        "dice",
        "volume_similarity",
        "hausdorff95_mm",
        "mean_surface_distance_mm",
        "volume_error_ml",
        "volume_error_percent",
        "extent_error_points",
    )
)
PAIRED: tuple[ComparisonMeasure, ...] = tuple(
    MEASURES_BY_KEY[key] for key in ("volume_ml", "extent_percent")
)
PAIRED_STRUCTURES = (LUNG, LESION, GGO.name, HIGH_OPACITY.name)

# What a reader may leave open and a segmentation may not.
REFERENCE_ONLY: dict[int, str] = {
    UNCLASSIFIED_LESION_VALUE: "lesion of unknown class",
    UNKNOWN_LUNG_VALUE: "voxels of which lung or not is unknown",
}


@dataclass(frozen=True)
class CasePair:
    """Files to compare: a segmentation and its reference, under one name."""

    case: str
    prediction: Path
    reference: Path


@dataclass(frozen=True)
class CaseEvaluation:
    """One case: its name, the names of its files, and a row for each structure."""

    case: str
    prediction_file: str
    reference_file: str
    structures: tuple[StructureComparison, ...]
    warnings: tuple[str, ...]

    def structure(self, name: str) -> StructureComparison:
        """Row of a structure; raises KeyError for an unknown one."""
        return dict(zip(STRUCTURES, self.structures, strict=True))[name]


@dataclass(frozen=True)
class SummaryRow:
    """One figure of one structure over a group of cases (`ALL_CASES` or `ENOUGH_LESION`)."""

    structure: str
    cases: str
    measure: str
    unit: str
    summary: Summary


@dataclass(frozen=True)
class AgreementRow:
    """Volumes or extents of one structure against the reader's."""

    structure: str
    measure: str
    unit: str
    agreement: PairedAgreement


@dataclass(frozen=True)
class Evaluation:
    """Everything `evaluate` reports."""

    cases: tuple[CaseEvaluation, ...]
    summary: tuple[SummaryRow, ...]
    agreement: tuple[AgreementRow, ...]
    warnings: tuple[str, ...]


def find_pairs(paths: Sequence[Path]) -> tuple[list[CasePair], list[str]]:
    """Pair segmentations with references.

    Args:
        paths: PRED REF [PRED REF …], each two files, two case folders, or two folders whose label
            maps (`NAME.nrrd`, `NAME.nii.gz`, …) and case folders (`NAME/labels.nrrd`,
            `NAME/segmentation.seg.nrrd`) are matched by name.

    Returns:
        pairs: sorted by folder as given, then by name; names are unique.
        warnings: what has no counterpart and is left out.

    Raises:
        BadInputError: an odd number of paths, a path that is absent, or nothing to compare.
    """
    if not paths or len(paths) % 2:
        raise BadInputError(
            "Segmentations and references come in pairs; give PRED REF, or PRED REF PRED REF ….",
        )
    pairs: list[CasePair] = []
    warnings: list[str] = []
    for prediction, reference in zip(paths[::2], paths[1::2], strict=True):
        for path in (prediction, reference):
            if not path.exists():
                raise BadInputError(f"There is no {path.name or path}; check the path.")
        found, expected = _label_map_in(prediction), _label_map_in(reference)
        if found is not None and expected is not None:
            pairs.append(CasePair(_case_name(expected), found, expected))
        elif found is not None or expected is not None:
            raise BadInputError(
                f"{prediction.name} and {reference.name} are a label map and a folder of many; "
                "give two label maps or two folders."
            )
        else:
            pairs += _pairs_of_folders(prediction, reference, warnings)
    return _uniquely_named(pairs), warnings


def evaluate(
    pairs: Sequence[CasePair],
    warnings: Sequence[str] = (),
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """Compare all pairs and sum up.

    Raises:
        BadInputError: a file cannot be read, or two label maps do not lie on the same voxels.
        Cancelled: `progress` raised it.
    """
    cases = []
    for index, pair in enumerate(pairs):
        progress(index / len(pairs), f"Comparing {pair.case}")
        cases.append(evaluate_pair(pair))
    progress(1.0, "Compared")
    return Evaluation(
        cases=tuple(cases),
        summary=tuple(summary_rows(cases)),
        agreement=tuple(agreement_rows(cases)),
        warnings=(
            *warnings,
            *(f"{case.case}: {warning}" for case in cases for warning in case.warnings),
        ),
    )


def evaluate_pair(pair: CasePair) -> CaseEvaluation:
    """Read and compare one pair."""
    prediction = read_label_map(pair.prediction)
    for value, meaning in REFERENCE_ONLY.items():
        if (prediction.labels == value).any():
            raise BadInputError(
                f"{pair.prediction.name} of case {pair.case} holds {meaning} (value {value}), "
                "which only a reference may; give it as the reference."
            )
    reference = read_label_map(pair.reference)
    forget_inferred_classes(reference.labels, pair.reference)
    labels, reference_labels, spacing_mm = _on_one_grid(pair, prediction, reference)
    messages = [warning.message for warning in (*prediction.warnings, *reference.warnings)]
    return CaseEvaluation(
        case=pair.case,
        prediction_file=pair.prediction.name,
        reference_file=pair.reference.name,
        structures=compare_label_maps(labels, reference_labels, spacing_mm),
        warnings=tuple(dict.fromkeys(messages)),
    )


def forget_inferred_classes(labels: np.ndarray, file: Path) -> None:
    """Mark lesions as of unknown class where the case says that their class was inferred.

    Args:
        labels: of `file`, uint8 (z, y, x) in the order of the file; changed in place.
        file: the case's `labels.nrrd`; other files have no `case.json` and stay as they are.

    Raises:
        BadInputError: `case.json` cannot be read or names slices that are not there.
    """
    case_file = file.parent / CASE_FILE
    if file.name != CASE_LABELS_FILE or not case_file.exists():
        return
    try:
        inferred = list(read_json(case_file).get("class_inferred_slices", []))
        if not all(type(index) is int for index in inferred):
            raise TypeError("a slice is no whole number")
        slices = labels[inferred]
    except (BadInputError, ValueError, IndexError, TypeError, OverflowError) as error:
        raise BadInputError(
            f"{CASE_FILE} of {file.parent.name} does not list slices of its label map under "
            "class_inferred_slices; correct or remove it."
        ) from error
    slices[has_stated_class(slices)] = UNCLASSIFIED_LESION_VALUE
    labels[inferred] = slices


def summary_rows(cases: Sequence[CaseEvaluation]) -> list[SummaryRow]:
    """Each figure of each structure over all cases, and over those with enough lesion."""
    with_lesion = [
        case
        for case in cases
        if case.structure(LESION).reference_extent_percent > MINIMUM_EXTENT_PERCENT
    ]
    groups = {ALL_CASES: list(cases)}
    if 0 < len(with_lesion) < len(cases):
        groups[ENOUGH_LESION] = with_lesion
    return [
        SummaryRow(
            structure,
            group,
            measure.key,
            measure.unit,
            summarise([getattr(case.structure(structure), measure.key) for case in members]),
        )
        for structure in STRUCTURES
        for measure in SUMMARISED
        for group, members in groups.items()
        # The lung is all of itself.
        if (structure, measure.key) != (LUNG, "extent_error_points")
    ]


def agreement_rows(cases: Sequence[CaseEvaluation]) -> list[AgreementRow]:
    """Volumes and extents against the reader's."""
    rows = []
    for structure in PAIRED_STRUCTURES:
        for measure in PAIRED:
            if (structure, measure.key) == (LUNG, "extent_percent"):
                continue
            values, reference = paired_values(cases, structure, measure.key)
            agreement = paired_agreement(values, reference)
            rows.append(AgreementRow(structure, measure.key, measure.unit, agreement))
    return rows


def paired_values(
    cases: Sequence[CaseEvaluation], structure: str, measure: str
) -> tuple[list[float], list[float]]:
    """The cases' values of a measure in `PAIRED`, and the reader's."""
    rows = [case.structure(structure) for case in cases]
    return (
        [getattr(row, measure) for row in rows],
        [getattr(row, f"reference_{measure}") for row in rows],
    )


def _label_map_in(path: Path) -> Path | None:
    """The label map a path stands for: a file, or that of a case folder; None for other folders."""
    if path.is_file():
        return path
    return next((path / name for name in CASE_FOLDER_FILES if (path / name).is_file()), None)


def _case_name(label_map: Path) -> str:
    if label_map.name in CASE_FOLDER_FILES:
        return label_map.absolute().parent.name
    suffix = next((end for end in LABEL_MAP_SUFFIXES if label_map.name.lower().endswith(end)), "")
    return label_map.name[: len(label_map.name) - len(suffix)]


def _label_maps_by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in sorted(folder.iterdir()):
        label_map = _label_map_in(entry)
        if label_map is None or not label_map.name.lower().endswith(LABEL_MAP_SUFFIXES):
            continue
        name = _case_name(label_map)
        if name in found:
            raise BadInputError(
                f"{folder.name} holds several label maps called {name}; leave one of them there."
            )
        found[name] = label_map
    return found


def _pairs_of_folders(
    prediction_folder: Path, reference_folder: Path, warnings: list[str]
) -> list[CasePair]:
    predictions = _label_maps_by_name(prediction_folder)
    references = _label_maps_by_name(reference_folder)
    common = [name for name in predictions if name in references]
    if not common:
        raise BadInputError(
            f"No label map in {prediction_folder.name} has the name of one in "
            f"{reference_folder.name}; name segmentations as their references."
        )
    for title, first, second in (
        ("segmentation", references, predictions),
        ("reference", predictions, references),
    ):
        alone = [name for name in first if name not in second]
        if alone:
            warnings.append(f"Left out, since there is no {title}: {', '.join(alone)}.")
    return [CasePair(name, predictions[name], references[name]) for name in common]


def _uniquely_named(pairs: list[CasePair]) -> list[CasePair]:
    seen: dict[str, int] = {}
    named = []
    for pair in pairs:
        seen[pair.case] = seen.get(pair.case, 0) + 1
        count = seen[pair.case]
        name = pair.case if count == 1 else f"{pair.case} ({count})"
        named.append(CasePair(name, pair.prediction, pair.reference))
    return named


def _on_one_grid(
    pair: CasePair, prediction: LabelMap, reference: LabelMap
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Both label maps on one grid, and its spacing (x, y, z).

    Plain label maps must cover the same voxels, in whatever order of axes. A segmentation may be
    cropped, as Slicer saves it; then the larger grid is the one.
    """
    try:
        if math.prod(prediction.geometry.shape) > math.prod(reference.geometry.shape):
            placed = _placed(reference, prediction, pair.reference.name)
            labels, reference_labels, grid = prediction.labels, placed, prediction.geometry
        else:
            placed = _placed(prediction, reference, pair.prediction.name)
            labels, reference_labels, grid = placed, reference.labels, reference.geometry
    except BadInputError:
        raise BadInputError(
            f"The two label maps of case {pair.case} ({pair.prediction.name} and "
            f"{pair.reference.name}) do not lie on the same voxels: size, position, spacing or "
            "direction differ; give both on the grid of one scan."
        ) from None
    return labels, reference_labels, grid.spacing_mm


def _placed(smaller: LabelMap, larger: LabelMap, file_name: str) -> np.ndarray:
    if not smaller.is_segmentation:
        # Placing finds a smaller plain map somewhere inside; where its slices were taken from is
        # not known for sure, so only a map of the very same voxels is accepted.
        everywhere = np.ones(smaller.geometry.shape, np.uint8)
        if not place_labels(everywhere, smaller.geometry, larger.geometry, file_name).all():
            raise BadInputError(f"{file_name} covers only a part of the other label map.")
    return place_labels(smaller.labels, smaller.geometry, larger.geometry, file_name)
