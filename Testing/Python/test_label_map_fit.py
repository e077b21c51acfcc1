"""Whether a label map lies on the lungs of its scan and means what its values should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.label_map_fit import TURNED_OVER, check_label_map
from CovidLungQuantLib.anatomy.lungs import segment_lungs
from CovidLungQuantLib.ct import lps_oriented, read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.phantom import PhantomCase, chest_phantom


@pytest.fixture(scope="module")
def phantom() -> PhantomCase:
    return chest_phantom((60, 96, 128), (3.5, 3.5, 5.0))


def labels_of(phantom: PhantomCase) -> np.ndarray:
    return phantom.labels


def test_the_right_label_map_is_accepted(phantom: PhantomCase):
    spacing_mm = phantom.ct.geometry.spacing_mm
    assert check_label_map(phantom.ct.hu, labels_of(phantom), spacing_mm) == ()
    assert check_label_map(phantom.ct.hu, np.zeros_like(labels_of(phantom)), spacing_mm) == ()


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_label_map_that_was_turned_over_is_refused_by_name(phantom: PhantomCase, axes):
    turned = np.flip(labels_of(phantom), axes)
    with pytest.raises(BadInputError, match=TURNED_OVER[axes]):
        check_label_map(phantom.ct.hu, turned, phantom.ct.geometry.spacing_mm)


def test_a_map_of_the_two_lungs_is_refused(phantom: PhantomCase):
    lungs = (labels_of(phantom) > 0).astype(np.uint8)
    lungs[:, :, 64:] *= 2
    with pytest.raises(BadInputError, match="holds the two lungs"):
        check_label_map(phantom.ct.hu, lungs, phantom.ct.geometry.spacing_mm)
    swapped = np.where(lungs > 0, 3 - lungs, 0).astype(np.uint8)
    with pytest.raises(BadInputError, match="holds the two lungs"):
        check_label_map(phantom.ct.hu, swapped, phantom.ct.geometry.spacing_mm)


def test_ggo_of_one_whole_side_is_no_lung_mask(phantom: PhantomCase):
    labels = (labels_of(phantom) > 0).astype(np.uint8) * NORMAL_LUNG.value
    labels[:, :, 64:][labels[:, :, 64:] > 0] = GGO.value
    hu = np.where(labels == GGO.value, -550, phantom.ct.hu).astype(np.int16)
    assert check_label_map(hu, labels, phantom.ct.geometry.spacing_mm) == ()


def test_normal_lung_on_soft_tissue_is_warned_of(phantom: PhantomCase):
    labels = labels_of(phantom).copy()
    tissue = (phantom.ct.hu > 0) & (phantom.ct.hu < 80)
    labels[20:40][tissue[20:40]] = NORMAL_LUNG.value
    (warning,) = check_label_map(phantom.ct.hu, labels, phantom.ct.geometry.spacing_mm)
    assert warning.code == "normal_lung_on_tissue"


@pytest.mark.parametrize("case", ["labelled/covid07", "labelled/covid14", "dicom/covid_P001"])
def test_lungs_of_real_scans_fit_and_turned_over_do_not(test_data: Path, case: str):
    folder = test_data / case
    file = folder / "ct.nrrd"
    ct, _ = lps_oriented(read_ct(file if file.exists() else folder))
    spacing_mm = ct.geometry.spacing_mm
    labels = (segment_lungs(ct.hu, spacing_mm).lungs > 0).astype(np.uint8)
    assert check_label_map(ct.hu, labels, spacing_mm) == ()
    for axis in range(3):
        with pytest.raises(BadInputError, match=TURNED_OVER[(axis,)]):
            check_label_map(ct.hu, np.flip(labels, axis), spacing_mm)
