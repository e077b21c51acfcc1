"""Annotated cases for training: reading a dataset folder and drawing samples from it.

A dataset is a folder with one folder a case: `ct.nrrd` (HU), `labels.nrrd` (values of `labels.py`;
4 = lesion whose class the reader did not state, 255 = lung or not is unknown, but no lesion) and
optionally `case.json`, whose `class_inferred_slices` lists slices on which the class was not the
reader's own. A dataset in the raw layout of nnU-Net is read as well (`nnunet.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.cohort.evaluation import forget_inferred_classes
from CovidLungQuantLib.ct import CTVolume, Geometry, lps_oriented, orient_like, read_ct
from CovidLungQuantLib.ct.orientation import orientation_of, oriented_geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.grids import is_same_grid
from CovidLungQuantLib.files.images import read_image, read_label_file
from CovidLungQuantLib.files.names import CASE_CT_FILE, CASE_LABELS_FILE
from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    CLASS_COUNT,
    GGO,
    NORMAL_LUNG,
    UNCLASSIFIED_LESION_VALUE,
    UNKNOWN_LUNG_VALUE,
)
from CovidLungQuantLib.lesions.preprocessing import (
    InPlaneBox,
    context_indices,
    group_bounds,
    in_plane_box,
    resize_plane,
    slices_per_group,
    window_indices,
    working_slice,
    working_step_mm,
)
from CovidLungQuantLib.measures.structures import LUNG, structure_mask
from CovidLungQuantLib.models.network import LesionNetworkConfig
from CovidLungQuantLib.training.dataset import case_names, patient_groups
from CovidLungQuantLib.training.nnunet import is_nnunet_dataset, nnunet_case
from CovidLungQuantLib.training.synthetic_lesions import LesionRanges, paint_lesions

# What a target channel is the share of: the four classes, lesion of unknown class, and voxels of
# which lung or not is unknown.
TARGET_VALUES = (*range(CLASS_COUNT), UNCLASSIFIED_LESION_VALUE, UNKNOWN_LUNG_VALUE)
TARGET_CHANNELS = len(TARGET_VALUES)
UNKNOWN_LUNG_CHANNEL = TARGET_VALUES.index(UNKNOWN_LUNG_VALUE)
LESION_CHANNELS = slice(GGO.value, UNKNOWN_LUNG_CHANNEL)


@dataclass(frozen=True, eq=False)
class AnnotatedScan:
    """A case as it lies on disk.

    Attributes:
        name: of the case folder.
        hu: int16 (z, y, x).
        labels: uint8 (z, y, x); on slices whose class was inferred, lesions carry
            `UNCLASSIFIED_LESION_VALUE`; `UNKNOWN_LUNG_VALUE` may occur.
        spacing_mm: voxel size (x, y, z).
    """

    name: str
    hu: np.ndarray
    labels: np.ndarray
    spacing_mm: tuple[float, float, float]

    def class_shares(self, bounds: tuple[int, int], box: InPlaneBox) -> np.ndarray:
        """Share of each class in the mean of some slices, float32 (TARGET_CHANNELS, y, x)."""
        rows, columns = box.slices
        labels = self.labels[slice(*bounds), rows, columns]
        return np.stack(
            [(labels == value).astype(np.float32).mean(axis=0) for value in TARGET_VALUES]
        )


@dataclass(frozen=True, eq=False)
class TaughtScan:
    """A scan without a reader's labels, as other networks see it; see `self_training`.

    Attributes:
        name: of the scan.
        hu: int16 (z, y, x).
        labels: uint8 (z, y, x), the class they find.
        probabilities: float16 (z, CLASS_COUNT, y, x), their mean.
        spacing_mm: voxel size (x, y, z).
    """

    name: str
    hu: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    spacing_mm: tuple[float, float, float]

    def class_shares(self, bounds: tuple[int, int], box: InPlaneBox) -> np.ndarray:
        """As of an `AnnotatedScan`, with probabilities for shares."""
        rows, columns = box.slices
        shares = self.probabilities[slice(*bounds), :, rows, columns].mean(0, dtype=np.float32)
        return np.pad(shares, [(0, TARGET_CHANNELS - CLASS_COUNT), (0, 0), (0, 0)])


@dataclass(frozen=True, eq=False)
class HealthyScan:
    """A scan without lesions, into which lesions are painted; fields as in `AnnotatedScan`.

    `lungs` and `airways` are those found by `segment_lungs`.
    """

    name: str
    hu: np.ndarray
    lungs: np.ndarray
    airways: np.ndarray
    spacing_mm: tuple[float, float, float]

    def annotated(self) -> AnnotatedScan:
        """The scan as it is: normal lung wherever there is lung."""
        labels = np.where(self.lungs > 0, NORMAL_LUNG.value, 0).astype(np.uint8)
        return AnnotatedScan(self.name, self.hu, labels, self.spacing_mm)

    def painted(
        self, random: np.random.Generator, ranges: LesionRanges | None = None
    ) -> AnnotatedScan:
        """The scan with lesions of its own."""
        hu, labels = paint_lesions(
            self.hu, self.lungs, self.airways, self.spacing_mm, random, ranges
        )
        return AnnotatedScan(self.name, hu, labels, self.spacing_mm)


def read_scan_and_lungs(path: Path) -> tuple[CTVolume, LungAnatomy]:
    """Read a scan without labels, upright, and find its lungs.

    A file named as in a case folder is named after the folder.

    Raises:
        BadInputError: it cannot be read, or no lungs were found.
    """
    scan, _ = lps_oriented(read_ct(path))
    if Path(path).name == CASE_CT_FILE:
        scan = replace(scan, name=Path(path).absolute().parent.name)
    return scan, segment_lungs(scan.hu, scan.geometry.spacing_mm)


def read_healthy_scan(path: Path) -> HealthyScan:
    """Read a scan without lesions; raises as `read_scan_and_lungs`."""
    scan, anatomy = read_scan_and_lungs(path)
    return HealthyScan(scan.name, scan.hu, anatomy.lungs, anatomy.airways, scan.geometry.spacing_mm)


@dataclass(frozen=True, eq=False)
class TrainingCase:
    """A case on the network's grid.

    Attributes:
        name: of the case.
        slices: float16 (working slices, size, size), scaled HU.
        targets: float16 (working slices, TARGET_CHANNELS, size, size), share of each class.
        windows: int64 (working slices, window_length).
        contexts: int64 (working slices, context_slices).
        lesion_slices: indices of the working slices that hold lesion.
    """

    name: str
    slices: np.ndarray
    targets: np.ndarray
    windows: np.ndarray
    contexts: np.ndarray
    lesion_slices: np.ndarray


def read_case(dataset: Path, name: str) -> AnnotatedScan:
    """Read one case of a dataset of either layout; raises as `read_annotated_scan`."""
    if is_nnunet_dataset(dataset):
        files = nnunet_case(dataset, name)
        hu, labels, geometry = _read_pair(name, files.ct, files.labels)
        return _annotated_scan(name, hu, files.translate(labels), geometry)
    return read_annotated_scan(Path(dataset) / name)


def labels_file(dataset: Path, name: str) -> Path:
    """The label map of a case of a dataset of either layout."""
    if is_nnunet_dataset(dataset):
        return nnunet_case(dataset, name).labels
    return Path(dataset) / name / CASE_LABELS_FILE


def read_annotated_scan(folder: Path) -> AnnotatedScan:
    """Read one case folder; the arrays are turned upright.

    Raises:
        BadInputError: a file cannot be read, or CT and labels do not lie on the same grid.
    """
    folder = Path(folder)
    hu, labels, geometry = _read_pair(folder.name, folder / CASE_CT_FILE, folder / CASE_LABELS_FILE)
    labels = labels.astype(np.uint8)
    # `case.json` counts the slices in the order of the file.
    forget_inferred_classes(labels, folder / CASE_LABELS_FILE)
    return _annotated_scan(folder.name, hu, labels, geometry)


def _read_pair(
    name: str, ct_file: Path, labels_file: Path
) -> tuple[np.ndarray, np.ndarray, Geometry]:
    """CT and labels (z, y, x) as stored, and their grid."""
    try:
        hu, geometry = read_image(ct_file)
        labels = read_label_file(labels_file)
    except BadInputError as error:
        raise BadInputError(
            f"CT or labels of case {name} cannot be read; export the case again."
        ) from error
    if not is_same_grid(labels.geometry, geometry):
        raise BadInputError(
            f"CT and labels of case {name} do not lie on the same grid; export them on one grid."
        )
    return hu, labels.layers[..., 0], geometry


def _annotated_scan(
    name: str, hu: np.ndarray, labels: np.ndarray, geometry: Geometry
) -> AnnotatedScan:
    """The scan turned upright; arrays on one grid."""
    if not labels.any():
        raise BadInputError(
            f"The labels of case {name} are empty, they mark not even lung; export the case again."
        )
    orientation = orientation_of(geometry)
    return AnnotatedScan(
        name,
        np.clip(orient_like(hu, orientation), -32768, 32767).astype(np.int16),
        orient_like(labels, orientation),
        oriented_geometry(geometry, orientation).spacing_mm,
    )


def training_case(
    scan: AnnotatedScan | TaughtScan, config: LesionNetworkConfig, first_slice: int = 0
) -> TrainingCase:
    """Bring a scan to the network's grid by the rules of inference.

    Args:
        scan: the annotated or taught scan.
        config: of the network.
        first_slice: where grouping thin slices starts; training varies it.
    """
    box = in_plane_box(scan.hu, structure_mask(scan.labels, LUNG), scan.spacing_mm, config)
    group = slices_per_group(scan.spacing_mm[2], config)
    bounds = [
        (first_slice + start, first_slice + stop)
        for start, stop in group_bounds(len(scan.hu) - first_slice, group)
    ]
    hu = torch.from_numpy(np.ascontiguousarray(scan.hu))
    targets = np.stack([_target_shares(scan, bound, box, config) for bound in bounds])
    step_mm = working_step_mm(scan.spacing_mm[2], config)
    lesion_share = targets[:, LESION_CHANNELS].sum(axis=1)
    return TrainingCase(
        name=scan.name,
        slices=np.stack([working_slice(hu, bound, box, config) for bound in bounds]).astype(
            np.float16
        ),
        targets=targets,
        windows=window_indices(len(bounds), step_mm, config),
        contexts=context_indices(len(bounds), step_mm, config),
        lesion_slices=np.flatnonzero((lesion_share > 0.5).any(axis=(1, 2))),
    )


def _target_shares(
    scan: AnnotatedScan | TaughtScan,
    bounds: tuple[int, int],
    box: InPlaneBox,
    config: LesionNetworkConfig,
) -> np.ndarray:
    shares = torch.from_numpy(scan.class_shares(bounds, box))
    return resize_plane(shares, (config.working_size, config.working_size)).half().numpy()


def patients(names: Sequence[str], same_patient: Sequence[Sequence[str]] = ()) -> list[list[str]]:
    """Group case names by patient; cases not named in `same_patient` are a patient each."""
    remaining = sorted(names)
    grouped: list[list[str]] = []
    for name in sorted(names):
        if name not in remaining:
            continue
        group = next((list(group) for group in same_patient if name in group), [name])
        members = [member for member in remaining if member in group]
        grouped.append(members)
        remaining = [member for member in remaining if member not in members]
    return grouped


def fold_names(
    names: Sequence[str], fold: int, fold_count: int, same_patient: Sequence[Sequence[str]] = ()
) -> tuple[list[str], list[str]]:
    """Training and test cases of one fold; a patient is never in both.

    Patients are dealt out in order of name, one to each fold in turn.
    """
    groups = patients(names, same_patient)
    test = [name for group in groups[fold::fold_count] for name in group]
    return [name for name in sorted(names) if name not in test], test


def fold_of_dataset(
    dataset: Path, fold: int, fold_count: int, same_patient: Sequence[Sequence[str]] = ()
) -> tuple[list[str], list[str]]:
    """Training and test cases of one fold of a dataset, as `fold_names`.

    Cases are of one patient if `same_patient` or the dataset's manifest says so.
    """
    return fold_names(case_names(dataset), fold, fold_count, patient_groups(dataset, same_patient))


@dataclass(frozen=True, eq=False)
class Sample:
    """Neighbouring targets of one case with every slice their windows need.

    Attributes:
        slices: float32 (slices, context_slices, size, size).
        targets: float32 (windows, TARGET_CHANNELS, size, size).
        lesions: float32, shape of `slices`, share of lesion of any kind.
        windows: int64 (windows, window_length), indices into `slices`.
    """

    slices: Tensor
    targets: Tensor
    lesions: Tensor
    windows: Tensor


def draw_sample(
    case: TrainingCase,
    target_count: int,
    lesion_share: float,
    random: np.random.Generator,
    device: torch.device | None = None,
) -> Sample:
    """Draw `target_count` neighbouring targets, around a lesion with chance `lesion_share`.

    The sample lies on `device`, by default the CPU.
    """
    count = len(case.slices)
    middle = _draw_index(case, lesion_share, random)
    start = int(np.clip(middle - random.integers(target_count), 0, max(0, count - target_count)))
    targets = np.arange(start, min(start + target_count, count))
    needed, positions = np.unique(case.windows[targets], return_inverse=True)
    return _sample(case, needed, targets, positions.reshape(len(targets), -1), device)


def draw_slice(
    case: TrainingCase,
    lesion_share: float,
    random: np.random.Generator,
    device: torch.device | None = None,
) -> Sample:
    """One slice as a sample whose window is the slice alone; `device` as in `draw_sample`."""
    index = _draw_index(case, lesion_share, random)
    alone = np.array([index])
    return _sample(case, alone, alone, np.zeros((1, 1), np.int64), device)


def _sample(
    case: TrainingCase,
    slices: np.ndarray,
    targets: np.ndarray,
    windows: np.ndarray,
    device: torch.device | None,
) -> Sample:
    """The slices and targets of these indices; `windows` are indices into `slices`."""
    contexts = case.contexts[slices]

    def moved(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values).to(device).float()

    return Sample(
        slices=moved(case.slices[contexts]),
        targets=moved(case.targets[targets]),
        lesions=moved(case.targets[contexts, LESION_CHANNELS]).sum(dim=2),
        windows=torch.from_numpy(windows).to(device),
    )


def _draw_index(case: TrainingCase, lesion_share: float, random: np.random.Generator) -> int:
    """A working slice, with chance `lesion_share` one that holds lesion (where there is one)."""
    if len(case.lesion_slices) and random.random() < lesion_share:
        return int(random.choice(case.lesion_slices))
    return int(random.integers(len(case.slices)))


assert BACKGROUND_VALUE == 0 and UNCLASSIFIED_LESION_VALUE == CLASS_COUNT  # channel = value
