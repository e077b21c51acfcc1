"""Damaged files from the field: each read rightly or refused in one sentence that names why."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLungQuantLib.cohort.reader_tables import read_reader_tables
from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.vetting import read_json

IMAGES = {
    "ct-one-byte-changed.mha": "checksum",
    "ct-one-byte-changed.nrrd": "checksum",
    "detached-data-elsewhere.nhdr": "not in its own folder",
    "labels-half.nii.gz": "end too early",
    "long-kinds.nrrd": "characters long",
    "ndims.mha": "-1 dimensions",
    "no-dimsize.mha": 'does not give "DimSize"',
    "vox-offset-nan.nii": "voxels at byte nan",
    "meta-572/b.mha": "name of a file of voxels",
}


@pytest.fixture(scope="module")
def damaged(test_data: Path) -> Path:
    folder = test_data.parent / "cases" / "damaged"
    if not folder.is_dir():
        pytest.skip("no damaged files here")
    return folder


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("read", [read_ct, read_label_file])
def test_damaged_images_are_refused(damaged: Path, name: str, read) -> None:
    with pytest.raises(BadInputError) as refused:
        read(damaged / name)
    assert IMAGES[name] in str(refused.value) and "\n" not in str(refused.value)


def test_the_sound_ones_hold_the_same_scan(damaged: Path) -> None:
    scans = [read_ct(damaged / name) for name in ("ct.nrrd", "ct.mha", "ct.nii", "r.mha")]
    for scan in scans:
        np.testing.assert_array_equal(scan.hu, scans[0].hu)
        np.testing.assert_allclose(
            scan.geometry.ijk_to_lps, scans[0].geometry.ijk_to_lps, atol=1e-4
        )


def test_half_a_label_map_is_refused_packed_or_not(damaged: Path, tmp_path: Path) -> None:
    whole = gzip.decompress((damaged / "labels.nii.gz").read_bytes())
    (tmp_path / "whole.nii").write_bytes(whole)
    (tmp_path / "half.nii").write_bytes(whole[: len(whole) // 2])
    np.testing.assert_array_equal(
        read_label_file(tmp_path / "whole.nii").layers,
        read_label_file(damaged / "labels.nii.gz").layers,
    )
    with pytest.raises(BadInputError, match="bytes of voxels"):
        read_label_file(tmp_path / "half.nii")


@pytest.mark.parametrize("name", ["layer.seg.nrrd", "layer7.seg.nrrd"])
def test_segments_in_layers_that_are_not_there_are_refused(damaged: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="layer"):
        read_label_file(damaged / name)


def test_tables_and_json_are_refused(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be read"):
        read_reader_tables(damaged / "wide.csv")
    shutil.copy(damaged / "deep.json", tmp_path)
    with pytest.raises(BadInputError, match="levels deep"):
        read_json(tmp_path / "deep.json")


@pytest.mark.parametrize("suffix", [".nrrd", ".nii", ".nii.gz", ".mha"])
def test_pixels_of_8_bits_are_no_ct_but_may_be_labels(tmp_path: Path, suffix: str) -> None:
    for dtype in (np.int8, np.uint8):
        labels = np.random.default_rng(0).integers(0, 5, (12, 16, 20)).astype(dtype)
        path = tmp_path / f"a{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(labels), str(path))
        with pytest.raises(BadInputError, match="8 bits"):
            read_ct(path)
        np.testing.assert_array_equal(read_label_file(path).layers[..., 0], labels)
