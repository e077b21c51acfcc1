"""NaN outside the scan circle is padding; anywhere else it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLungQuantLib.ct import Geometry, read_ct
from CovidLungQuantLib.ct.unmeasured import UNMEASURED_HU, unmeasured_as_padding
from CovidLungQuantLib.errors import BadInputError
from Testing.Python.dicom_series import chest_hu

SHAPE = (12, 32, 32)


def hu_with(is_nan: np.ndarray, value: float = np.nan) -> np.ndarray:
    hu = chest_hu(SHAPE).astype(np.float32)
    hu[np.broadcast_to(is_nan, SHAPE)] = value
    return hu


def outside_circle(radius: float = 16) -> np.ndarray:
    y, x = np.indices(SHAPE[1:]) - 15.5
    return x * x + y * y > radius * radius


def written(path: Path, hu: np.ndarray, order: tuple[int, int, int] = (0, 1, 2)) -> Path:
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((0.8, 0.8, 2.5))
    sitk.WriteImage(sitk.PermuteAxes(image, order), str(path))
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_nan_outside_the_circle_is_padding(tmp_path: Path, suffix: str, order) -> None:
    hu = hu_with(outside_circle())
    ct = read_ct(written(tmp_path / f"a{suffix}", hu, order))
    assert "padding" in [warning.code for warning in ct.warnings]
    expected = np.where(np.isnan(hu), -1024, hu).astype(np.int16)
    axes = {(0, 1, 2): (0, 1, 2), (2, 0, 1): (1, 2, 0)}[order]
    np.testing.assert_array_equal(ct.hu, expected.transpose(axes))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_nan_within_the_scan_is_refused(tmp_path: Path, suffix: str) -> None:
    hu = hu_with(outside_circle())
    hu[3, 16, 16] = np.nan
    with pytest.raises(BadInputError, match="1 voxels within the scan"):
        read_ct(written(tmp_path / f"a{suffix}", hu))


def test_a_slice_of_nan_and_infinity_are_refused() -> None:
    geometry = Geometry(SHAPE, (1, 1, 1), (0, 0, 0), np.eye(3))
    for hu in (
        hu_with((np.arange(12) == 4)[:, np.newaxis, np.newaxis]),
        hu_with(outside_circle(), np.inf),
        hu_with(outside_circle(6)),
    ):
        with pytest.raises(BadInputError, match="not finite"):
            unmeasured_as_padding(hu, geometry, "scan")


def test_other_values_stay_as_they_are() -> None:
    geometry = Geometry(SHAPE, (1, 1, 1), (0, 0, 0), np.eye(3))
    whole = chest_hu(SHAPE)
    assert unmeasured_as_padding(whole, geometry, "scan") is whole
    floats = whole.astype(np.float32)
    assert unmeasured_as_padding(floats, geometry, "scan") is floats
    padded = unmeasured_as_padding(hu_with(outside_circle()), geometry, "scan")
    assert padded.dtype == np.float32 and padded[0, 0, 0] == UNMEASURED_HU
