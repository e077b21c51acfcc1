"""Lobes that were given are made to part the lungs of the scan."""

from __future__ import annotations

import numpy as np
import pytest
from small_lobes import SPACING_MM, lungs_of_lobes, small_lobes

from CovidLungQuantLib.anatomy.lobe_fitting import fit_lobes_to_lungs
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import RIGHT_LUNG_VALUE


@pytest.fixture(scope="module")
def lobes():
    return small_lobes()


def test_lobes_are_fitted_to_the_lungs_exactly(lobes):
    lungs = lungs_of_lobes(lobes)
    theirs = lobes.copy()
    theirs[:14] = 0
    theirs[lungs == 0] = 1
    fitted = fit_lobes_to_lungs(theirs, lungs, SPACING_MM)
    np.testing.assert_array_equal(fitted > 0, lungs > 0)
    np.testing.assert_array_equal(lungs_of_lobes(fitted), lungs)
    np.testing.assert_array_equal(fitted[14:], lobes[14:])
    # Below the cut each column goes on with what is above it, or near.
    assert set(np.unique(fitted[12][lungs[12] == RIGHT_LUNG_VALUE])) == {2, 3}


def test_lobes_of_another_patient_are_refused(lobes):
    lungs = lungs_of_lobes(lobes)
    theirs = np.roll(lobes, 30, axis=0)
    theirs[:30] = 0
    with pytest.raises(BadInputError, match="less than half of a lung"):
        fit_lobes_to_lungs(theirs, lungs, SPACING_MM)
