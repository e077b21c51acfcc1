"""The DICOM files of a volume's slices, and DICOM results that refer to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_series import chest_hu, write_series
from small_chest import OBLIQUE

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.mrml.dicom_source import INSTANCE_UIDS_ATTRIBUTE, source_files_of
from CovidLungQuantLib.mrml.volumes import ct_to_node

pytest.importorskip("slicer", reason="slicer-core is not installed")


class Database:
    """What Slicer's DICOM database answers, from the files themselves."""

    def __init__(self, files: list[Path]) -> None:
        self.files = {uid_of(file): str(file) for file in files}

    def file_of(self, uid: str) -> str:
        return self.files.get(uid, "")


def uid_of(file: Path) -> str:
    return pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Files in the order of the slices; names and instance numbers are in another."""
    return write_series(tmp_path / "series", chest_hu(), direction=OBLIQUE)


def loaded(scene: Any, files: list[Path]) -> Any:
    volume_node = ct_to_node(scene, read_ct(files[0].parent))
    uids = " ".join(uid_of(file) for file in sorted(files))
    volume_node.SetAttribute(INSTANCE_UIDS_ATTRIBUTE, uids)
    return volume_node


def test_files_come_in_the_order_of_the_slices(scene: Any, series: list[Path]) -> None:
    volume_node = loaded(scene, series)
    assert sorted(series) != series
    assert source_files_of(volume_node, Database(series).file_of) == tuple(series)


def test_a_volume_that_runs_the_other_way_gets_its_files_in_that_order(
    scene: Any, series: list[Path]
) -> None:
    volume_node = loaded(scene, series)
    ct = read_ct(series[0].parent)
    geometry = ct.geometry
    flipped = replace(
        ct,
        hu=np.ascontiguousarray(ct.hu[::-1]),
        geometry=replace(
            geometry,
            origin_mm=tuple((geometry.ijk_to_lps @ [0, 0, len(ct.hu) - 1, 1])[:3]),
            direction=geometry.direction * [1, 1, -1],
        ),
    )
    other_node = ct_to_node(scene, flipped)
    other_node.SetAttribute(
        INSTANCE_UIDS_ATTRIBUTE, volume_node.GetAttribute(INSTANCE_UIDS_ATTRIBUTE)
    )
    assert source_files_of(other_node, Database(series).file_of) == tuple(reversed(series))


def test_a_volume_that_is_not_from_dicom_is_refused(scene: Any, series: list[Path]) -> None:
    volume_node = ct_to_node(scene, read_ct(series[0].parent))
    with pytest.raises(BadInputError, match="not loaded from DICOM"):
        source_files_of(volume_node, Database(series).file_of)


def test_files_that_are_gone_are_refused(scene: Any, series: list[Path]) -> None:
    volume_node = loaded(scene, series)
    database = Database(series)
    series[3].unlink()
    with pytest.raises(BadInputError, match="no longer in Slicer's DICOM database"):
        source_files_of(volume_node, database.file_of)
    with pytest.raises(BadInputError, match="no longer in Slicer's DICOM database"):
        source_files_of(volume_node, lambda uid: "")


@pytest.mark.parametrize("change", ["cropped", "shifted", "resampled", "turned"])
def test_voxels_that_lie_elsewhere_are_refused(scene: Any, series: list[Path], change: str) -> None:
    ct = read_ct(series[0].parent)
    geometry = ct.geometry
    changed = {
        "cropped": lambda: replace(
            ct, hu=ct.hu[:, 1:], geometry=replace(geometry, shape=ct.hu[:, 1:].shape)
        ),
        "shifted": lambda: replace(
            ct,
            geometry=replace(geometry, origin_mm=tuple((geometry.ijk_to_lps @ [0, 0, 1, 1])[:3])),
        ),
        "resampled": lambda: replace(
            ct, geometry=replace(geometry, spacing_mm=(0.9, *geometry.spacing_mm[1:]))
        ),
        "turned": lambda: replace(
            ct, geometry=replace(geometry, direction=geometry.direction * [-1, 1, 1])
        ),
    }[change]()
    volume_node = ct_to_node(scene, changed)
    uids = " ".join(uid_of(file) for file in series)
    volume_node.SetAttribute(INSTANCE_UIDS_ATTRIBUTE, uids)
    with pytest.raises(BadInputError, match="do not lie on the slices"):
        source_files_of(volume_node, Database(series).file_of)
