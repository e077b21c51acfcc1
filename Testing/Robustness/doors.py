"""The doors that files from outside come through, each with small valid files."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from CovidLungQuantLib.cohort.evaluation import forget_inferred_classes
from CovidLungQuantLib.cohort.follow_up import read_time_point
from CovidLungQuantLib.cohort.reader_tables import read_reader_tables
from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.files.segmentation_reading import read_label_map
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.training.dataset import patient_groups
from CovidLungQuantLib.training.export_list import read_list
from CovidLungQuantLib.training.fine_tuning_runs import FineTuning
from CovidLungQuantLib.training.nnunet import nnunet_case
from CovidLungQuantLib.vetting import vet_image
from CovidLungQuantLib.vetting.payload import GZIP_START
from CovidLungQuantLib.vetting.stored_image import RAW
from Testing.Robustness.dicom_door import dicom_door
from Testing.Robustness.door import IN_BARE_VOXELS, OTHER, SAME, Door, Seed
from Testing.Robustness.model_door import model_door
from Testing.Robustness.segmentation_door import segmentation_door

SHAPE = (12, 16, 20)
NIFTI_VOXELS_AT = 352
# Data type, slope and intercept of a NIfTI header: what they change is what they say.
NIFTI_VALUE_FIELDS = ((70, 72), (112, 120))


def all_doors() -> dict[str, Door]:
    """Every door by its name."""
    doors = (
        Door("nrrd", _image_seeds((".nrrd", ".nhdr")), same_voxels),
        Door("nifti", _image_seeds((".nii", ".nii.gz")), same_voxels),
        Door("metaimage", _image_seeds((".mha", ".mhd")), same_voxels),
        Door("tables", _table_seeds(), anything_read),
        Door("json", _json_seeds(), anything_read),
        dicom_door(),
        model_door(),
        segmentation_door(),
    )
    return {door.name: door for door in doors}


def anything_read(seed: Seed, path: Path, before: Any, after: Any) -> str:
    """Text is its own content: whatever is read from it stands, if it is read without harm."""
    return SAME


def same_voxels(seed: Seed, path: Path, before: np.ndarray, after: np.ndarray) -> str:
    """Same voxels, but where the damage lies in unpacked voxels or in what tells their value."""
    if _equal(before, after):
        return SAME
    original, content = _unpacked(seed.content), _unpacked(path.read_bytes())
    if _has_bare_voxels(path):
        # What the valid header makes of the voxels that are there now.
        at = _voxels_at(original, path)
        header = bytearray(original[:at])
        if ".nii" in path.name:
            for start, end in NIFTI_VALUE_FIELDS:
                header[start:end] = content[start:end]
        there = path.with_name(path.name.removesuffix(".gz"))
        there.write_bytes(header + content[at - len(original) :])
        if _equal(seed.read(there), after):
            return IN_BARE_VOXELS
    # Else the type said otherwise: the same bytes in the same places.
    is_same = before.shape == after.shape and before.tobytes() == after.tobytes()
    return SAME if is_same else OTHER


def _has_bare_voxels(path: Path) -> bool:
    """Whether voxels may change unseen; NIfTI files are repacked with a checksum of their own."""
    if path.suffix in (".nhdr", ".mhd"):
        return False
    return ".nii" in path.name or vet_image(path).payload.packing == RAW


def _unpacked(content: bytes) -> bytes:
    return gzip.decompress(content) if content.startswith(GZIP_START) else content


def _equal(before: np.ndarray, after: np.ndarray) -> bool:
    return before.dtype == after.dtype and np.array_equal(before, after, equal_nan=False)


def _voxels_at(original: bytes, path: Path) -> int:
    if ".nii" in path.name:
        return NIFTI_VOXELS_AT
    mark = b"LOCAL\n" if path.suffix == ".mha" else b"\n\n"
    return original.index(mark) + len(mark)


def _ct_voxels(path: Path) -> np.ndarray:
    return read_ct(path).hu


def _label_voxels(path: Path) -> np.ndarray:
    return read_label_file(path).layers


def _image_seeds(suffixes: Sequence[str]) -> list[Seed]:
    random = np.random.default_rng(0)
    hu = random.integers(0, 80, SHAPE).astype(np.int16)
    hu[:, 4:-4, 4:-4] = random.integers(-900, -800, hu[:, 4:-4, 4:-4].shape)
    arrays = (
        (hu, _ct_voxels),
        (hu.astype(np.float32), _ct_voxels),
        (_label_array(), _label_voxels),
    )
    return [
        _image_seed(array, suffix, packed, read)
        for array, read in arrays
        for suffix in suffixes
        for packed in (False, True)
    ]


def _image_seed(array: np.ndarray, suffix: str, packed: bool, read: Callable[[Path], Any]) -> Seed:
    files = _written(array, suffix, packed)
    file_name = f"image{suffix}"
    return Seed(file_name, files.pop(file_name), read, files)


def _label_array() -> np.ndarray:
    random = np.random.default_rng(1)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 4:12, 5:15] = random.integers(1, 4, (6, 8, 10))
    return labels


def _written(array: np.ndarray, suffix: str, packed: bool) -> dict[str, bytes]:
    """The file, and that of the voxels where they are apart, by name."""
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((0.8, 0.7, 2.5))
    image.SetOrigin((-10.5, 20.25, -301.5))
    with tempfile.TemporaryDirectory() as folder:
        sitk.WriteImage(image, str(Path(folder) / f"image{suffix}"), useCompression=packed)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def _csv_seed(file_name: str, rows: Sequence[str], read: Callable[[Path], Any]) -> Seed:
    return Seed(file_name, "".join(f"{row}\n" for row in rows).encode(), read)


def _table_seeds() -> list[Seed]:
    readers = ["case,measure,automatic,reader1,reader1_repeat"]
    readers += [f"case{index},extent,{index},{index + 0.5},{index}" for index in range(6)]
    manifest = ["case,ct_voxels_sha256,patient_group,exported"]
    manifest += [f"case{index},{index:064x},patient{index // 2},2024" for index in range(6)]
    scans = ["ct,segmentation,reader", "a.nrrd,b.nrrd,someone", "c.nrrd,d.nrrd,"]
    return [
        _csv_seed("readers.csv", readers, read_reader_tables),
        _csv_seed("manifest.csv", manifest, lambda path: patient_groups(path.parent)),
        _csv_seed("scans.csv", scans, read_list),
    ]


def _json_seed(
    file_name: str,
    content: Any,
    read: Callable[[Path], Any],
    beside: Mapping[str, bytes] | None = None,
) -> Seed:
    return Seed(file_name, json.dumps(content, indent=1).encode(), read, beside or {})


def _json_seeds() -> list[Seed]:
    figures = {item.name: 1.5 for item in fields(RegionMeasurement)} | {"region": "both lungs"}
    result = {
        "measurements": [figures, figures | {"region": "left lung", "mean_hu": None}],
        "provenance": {"software_version": "1", "options": {"kinds": "hu"}},
        "warnings": [{"code": "a", "message": "b"}],
    }
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "normal lung": 1, "GGO": 2, "high opacity": 3},
        "file_ending": ".nii.gz",
        "numTraining": 3,
    }
    plan = {
        "dataset": "set", "start_from": "model.pt", "name": "new", "models_folder": "models",
        "device": "cpu", "held_back": ["a"], "trained_on": ["b", "c"], "same_patient": [["b", "c"]],
        "epochs": 4,
    }  # fmt: skip
    state = {"state": "training", "message": "Training", "exit_code": 0}
    case = {"class_inferred_slices": [3, 4], "case": "a", "reader": None}
    label_map = _written(_label_array(), ".nrrd", True)["image.nrrd"]
    plan_bytes = json.dumps(plan).encode()
    return [
        _json_seed("result.json", result, lambda path: read_time_point(path.parent)),
        _json_seed("dataset.json", dataset, lambda path: nnunet_case(path.parent, "a")),
        _json_seed("plan.json", plan, lambda path: FineTuning(path.parent).status()),
        _json_seed(
            "state.json", state, lambda path: FineTuning(path.parent).status(),
            {"plan.json": plan_bytes},
        ),
        _json_seed("case.json", case, _evaluated_case, {"labels.nrrd": label_map}),
    ]  # fmt: skip


def _evaluated_case(path: Path) -> Any:
    labels_file = path.with_name("labels.nrrd")
    labels = read_label_map(labels_file).labels
    forget_inferred_classes(labels, labels_file)
    return labels
