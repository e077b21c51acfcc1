"""The door for Slicer segmentations: label maps with segments in their headers."""

from __future__ import annotations

import gzip
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from CovidLungQuantLib.ct import Geometry, ScanWarning
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from Testing.Robustness.door import IN_BARE_VOXELS, OTHER, SAME, WARNED, Door, Seed

SHAPE = (12, 16, 20)
GEOMETRY = Geometry(SHAPE, (0.7, 0.8, 2.5), (-10.5, 20.25, -301.5), np.eye(3))
PACKED, PLAIN = b"encoding: gzip", b"encoding: raw"


@dataclass(frozen=True, eq=False)
class _Read:
    labels: np.ndarray
    warnings: tuple[ScanWarning, ...]


def segmentation_door() -> Door:
    """One of our own, packed and not."""
    random = np.random.default_rng(1)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3:9, 4:12, 5:15] = random.integers(1, 4, (6, 8, 10))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.seg.nrrd"
        write_segmentation(file, labels, GEOMETRY)
        packed = file.read_bytes()
    head, _, body = packed.partition(b"\n\n")
    plain = head.replace(PACKED, PLAIN) + b"\n\n" + gzip.decompress(body)
    return Door("seg", [Seed(file.name, content, _read) for content in (packed, plain)], judge)


def judge(seed: Seed, path: Path, before: _Read, after: _Read) -> str:
    """Same labels, but where the damage lies in unpacked voxels or a warning tells."""
    if np.array_equal(before.labels, after.labels):
        return SAME
    if PLAIN in seed.content:
        at = seed.content.index(b"\n\n") + 2
        content = path.read_bytes()
        there = path.with_name("grafted.seg.nrrd")
        there.write_bytes(seed.content[:at] + content[at - len(seed.content) :])
        if np.array_equal(_read(there).labels, after.labels):
            return IN_BARE_VOXELS
    return WARNED if set(after.warnings) - set(before.warnings) else OTHER


def _read(path: Path) -> _Read:
    return _Read(*read_segmentation(path, GEOMETRY))
