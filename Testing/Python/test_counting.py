"""Numbers that are known are found again by counting; what does not fit them is told apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from small_chest import OBLIQUE
from small_result import DENSE, small_ct, small_labels, small_quantification

from CovidLungQuantLib.counting import count
from CovidLungQuantLib.labels import LOBES, NORMAL_LUNG
from CovidLungQuantLib.pipeline import measure


def test_counting_gives_what_measuring_gives() -> None:
    for oblique in (False, True):
        ct = small_ct()
        if oblique:
            ct = replace(ct, geometry=replace(ct.geometry, direction=OBLIQUE))
        measured = measure(ct, small_labels(), lobe_option="automatic")
        counted = count(ct, small_labels(), measured.lobes)
        assert counted is not None
        assert counted.measurements == measured.measurements
        np.testing.assert_array_equal(counted.lungs, measured.lungs)
        np.testing.assert_array_equal(counted.segments, measured.segments)


def test_so_it_does_without_lobes() -> None:
    measured = measure(small_ct(), small_labels())
    counted = count(small_ct(), small_labels(), None)
    assert counted is not None
    assert counted.measurements == measured.measurements
    np.testing.assert_array_equal(counted.lungs, measured.lungs)


def test_a_changed_label_map_has_other_numbers() -> None:
    run = small_quantification()
    labels = run.labels.copy()
    labels[DENSE] = NORMAL_LUNG.value
    counted = count(run.ct, labels, run.lobes)
    assert counted is not None
    assert counted.measurements.regions != run.measurements.regions


def test_lobes_that_are_not_the_lungs_are_not_counted_with() -> None:
    run = small_quantification()
    for value in (0, LOBES[0].value):
        lobes = run.lobes.copy()
        # A voxel of lung without a lobe, and a lobe beyond the lung.
        lobes[tuple(np.argwhere((lobes > 0) == (value == 0))[0])] = value
        assert count(run.ct, run.labels, lobes) is None
