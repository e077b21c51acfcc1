"""What is known of how far the shipped models disagree on scans, kept with a training set.

A figure is used again only for the very same voxels, weights and version of this software. The
file names neither patient nor path: it holds hashes, file sizes and figures. Needs no PyTorch.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from CovidLungQuantLib import __version__
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import writing_error
from CovidLungQuantLib.files.tables import none_for_nan, replace_text
from CovidLungQuantLib.measures.disagreement import Disagreement
from CovidLungQuantLib.models.registry import DEFAULT_MODEL_NAME, model_path
from CovidLungQuantLib.vetting import check_regular_file, read_json
from CovidLungQuantLib.vetting.problems import NOT_AS_WRITTEN_ERRORS

CACHE_FILE_NAME = "model-disagreement.json"
# Two networks of different build that were trained on the same scans.
COMPARED_MODELS = (DEFAULT_MODEL_NAME, "unet-1")
WHOLE_NUMBER_FIELD = "most_disputed_slice"


class DisagreementCache:
    """The file of one training set; written anew with each scan that is added.

    Attributes:
        model_names: of the models that are compared, or their files.
        models: name and SHA-256 of each.
    """

    def __init__(self, dataset: Path, model_names: Sequence[str] | None = None) -> None:
        """Read it; the models are the shipped ones unless others are named.

        Raises:
            BadInputError: there is a file of this name that was written by another or damaged, or
                there is no such model.
        """
        self._dataset = dataset
        self.model_names = tuple(model_names or COMPARED_MODELS)
        self.models = [[Path(name).stem, _sha256(model_path(name))] for name in self.model_names]
        made_by = {"models": self.models, "software_version": __version__}
        self._entries = [
            entry
            for entry in _entries(dataset / CACHE_FILE_NAME)
            if {key: entry[key] for key in made_by} == made_by
        ]

    def known(self, ct_file: Path) -> Disagreement | None:
        """What is known of a case by the looks of its file: place, size and time of change."""
        seen = self._seen(ct_file)
        for entry in self._entries:
            if seen is not None and entry["file"] == seen:
                return _disagreement(entry)
        return None

    def of_scan(self, scan_sha256: str, spacing_mm: tuple[float, ...]) -> Disagreement | None:
        """What is known of a scan, by `dataset.voxels_sha256` and its voxel size (x, y, z)."""
        entry = self._entry(scan_sha256, spacing_mm)
        return None if entry is None else _disagreement(entry)

    def keep(
        self,
        ct_file: Path,
        scan_sha256: str,
        spacing_mm: tuple[float, ...],
        disagreement: Disagreement,
    ) -> None:
        """Remember the figures of a scan, and write the file where that is news.

        Raises:
            BadInputError: it cannot be written.
            OutOfResourcesError: the disk is full.
        """
        entry, seen = self._entry(scan_sha256, spacing_mm), self._seen(ct_file)
        if entry is not None:
            if seen is None or entry["file"] == seen:
                return
            self._entries.remove(entry)
        self._entries.append(
            {
                "ct_voxels_sha256": scan_sha256,
                "spacing_mm": list(spacing_mm),
                "models": self.models,
                "software_version": __version__,
                "file": seen,
                "disagreement": none_for_nan(asdict(disagreement)),
            }
        )
        try:
            replace_text(
                self._dataset / CACHE_FILE_NAME,
                json.dumps({"scans": self._entries}, indent=2, allow_nan=False) + "\n",
            )
        except OSError as error:
            raise writing_error(error, self._dataset) from error

    def _entry(self, scan_sha256: str, spacing_mm: tuple[float, ...]) -> dict[str, Any] | None:
        for entry in self._entries:
            is_scan = entry["ct_voxels_sha256"] == scan_sha256
            if is_scan and entry["spacing_mm"] == list(spacing_mm):
                return entry
        return None

    def _seen(self, ct_file: Path) -> dict[str, Any] | None:
        """Looks of a file of the training set; None for another, whose name is not to be kept."""
        try:
            status = ct_file.stat()
            place = ct_file.relative_to(self._dataset).as_posix()
        except (OSError, ValueError):
            return None
        return {"place": place, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}


def _entries(file: Path) -> list[dict[str, Any]]:
    """What the file holds, each entry as `keep` makes it."""
    if not file.exists():
        return []
    try:
        entries = read_json(file)["scans"]
        for entry in entries:
            _check(entry)
    except NOT_AS_WRITTEN_ERRORS as error:
        raise BadInputError(
            f"{CACHE_FILE_NAME} of {file.parent.name} was not written by this software or is "
            "damaged; delete it, and the models are compared again."
        ) from error
    return list(entries)


def _check(entry: dict[str, Any]) -> None:
    """Raise one of `NOT_AS_WRITTEN_ERRORS` where an entry is none."""
    sizes_mm = entry["spacing_mm"]
    if not all(isinstance(size, float) for size in sizes_mm) or len(sizes_mm) != 3:
        raise ValueError(sizes_mm)
    if not all(len(model) == 2 for model in entry["models"]):
        raise ValueError(entry["models"])
    if not all(isinstance(entry[key], str) for key in ("ct_voxels_sha256", "software_version")):
        raise TypeError(entry)
    _ = entry["file"]
    _disagreement(entry)


def _disagreement(entry: dict[str, Any]) -> Disagreement:
    values = entry["disagreement"]
    if set(values) != {item.name for item in fields(Disagreement)}:
        raise KeyError("disagreement")
    figures = {name: value for name, value in values.items() if name != WHOLE_NUMBER_FIELD}
    slice_number = values[WHOLE_NUMBER_FIELD]
    if slice_number is not None and type(slice_number) is not int:
        raise TypeError(slice_number)
    numbers = {name: math.nan if value is None else float(value) for name, value in figures.items()}
    return Disagreement(**numbers, most_disputed_slice=slice_number)


def _sha256(file: Path) -> str:
    check_regular_file(file, "model file")
    return hashlib.sha256(file.read_bytes()).hexdigest()
