"""Whether a scan lies as its header says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.chest_orientation import (
    AS_IT_IS,
    GRID_SIZE,
    average_chest,
    check_chest_orientation,
    chest_fit,
)
from CovidLungQuantLib.ct import CTVolume, lps_oriented, read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.phantom import chest_phantom

REAL_SCANS = (
    "labelled/covid01",
    "labelled/covid07",
    "labelled/covid14",
    "dicom/covid_P001",
    "unlabelled/lidc_0001",
    "unlabelled/normal_001",
    "lungs/lung1_002",
)


@pytest.fixture(scope="module")
def phantom() -> CTVolume:
    return chest_phantom((60, 96, 128), (3.5, 3.5, 5.0)).ct


@pytest.fixture(params=REAL_SCANS)
def real_scan(request: pytest.FixtureRequest, test_data: Path) -> CTVolume:
    folder = test_data / request.param
    file = folder / "ct.nrrd"
    return lps_oriented(read_ct(file if file.exists() else folder))[0]


def test_the_average_turns_with_every_axis():
    average = average_chest()
    assert average.shape == (GRID_SIZE,) * 3
    for axis in range(3):
        assert np.abs(average - np.flip(average, axis)).mean() > 50


def test_a_chest_that_lies_right_is_accepted(phantom: CTVolume):
    fit = chest_fit(phantom.hu, phantom.geometry.spacing_mm)
    assert fit is not None
    assert fit.best == AS_IT_IS
    assert min(fit.signs) > 0
    assert check_chest_orientation(phantom.hu, phantom.geometry.spacing_mm) == ()


def test_exchanged_sides_are_warned_of(phantom: CTVolume):
    mirrored = np.ascontiguousarray(phantom.hu[:, :, ::-1])
    (warning,) = check_chest_orientation(mirrored, phantom.geometry.spacing_mm)
    assert warning.code == "sides_exchanged"


def test_mirroring_turns_the_sign_of_its_axis(phantom: CTVolume):
    spacing_mm = phantom.geometry.spacing_mm
    as_it_is = chest_fit(phantom.hu, spacing_mm)
    assert as_it_is is not None
    for axis in range(3):
        mirrored = chest_fit(np.flip(phantom.hu, axis), spacing_mm)
        assert mirrored is not None
        assert mirrored.signs[axis] == pytest.approx(-as_it_is.signs[axis], abs=1e-4)


def test_too_little_lung_is_not_judged(phantom: CTVolume):
    without_lungs = np.where(phantom.hu < -500, 40, phantom.hu).astype(np.int16)
    without_lungs[:, :5] = -1000
    assert chest_fit(without_lungs, phantom.geometry.spacing_mm) is None
    assert check_chest_orientation(without_lungs, phantom.geometry.spacing_mm) == ()


def test_real_scans_lie_right(real_scan: CTVolume):
    assert check_chest_orientation(real_scan.hu, real_scan.geometry.spacing_mm) == ()


def test_real_scans_turned_over_are_noticed_by_name(real_scan: CTVolume):
    spacing_mm = real_scan.geometry.spacing_mm
    codes_of_axes = {0: "upside down", 1: "front and back", 2: "left and right"}
    for axis, words in codes_of_axes.items():
        turned = np.ascontiguousarray(np.flip(real_scan.hu, axis))
        try:
            warnings = check_chest_orientation(turned, spacing_mm)
        except BadInputError as error:
            message = str(error)
        else:
            message = " ".join(warning.message for warning in warnings)
        assert words in message


def test_exchanged_axes_of_a_real_scan_are_refused(test_data: Path):
    ct, _ = lps_oriented(read_ct(test_data / "dicom" / "covid_P001"))
    x_mm, y_mm, z_mm = ct.geometry.spacing_mm
    on_its_side = np.ascontiguousarray(ct.hu.transpose(1, 0, 2))
    with pytest.raises(BadInputError, match="axes of this scan are exchanged"):
        check_chest_orientation(on_its_side, (x_mm, z_mm, y_mm))
