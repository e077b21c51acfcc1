"""Enhanced parenchyma: exact numbers on drawn scans, steadiness on a real one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from CovidLungQuantLib.ct import CTVolume, Geometry, lps_oriented, read_ct
from CovidLungQuantLib.display.pictures import enhanced_grey
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    BACKGROUND_VALUE,
    GGO,
    HIGH_OPACITY,
    NORMAL_LUNG,
    UNKNOWN_LUNG_VALUE,
)
from CovidLungQuantLib.lesions.enhancement import (
    HISTOGRAM,
    RINGS,
    enhance_parenchyma,
    low_side_centre,
    nearest_diameter_mm,
    optimal_width_hu,
    rings_around,
    trimmed_median,
)
from CovidLungQuantLib.pipeline import EnhancedScan, enhance

SPACING_MM = (1.0, 1.0, 1.0)
SHAPE = (30, 60, 60)
PARENCHYMA_HU = -840
VESSEL = (slice(2, 28), slice(10, 14), slice(10, 50))
LESION = (slice(10, 20), slice(30, 40), slice(30, 40))


def a_scan() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return HU, labels, airways and vessels: even lung, one vessel of 4 mm, a GGO of 1 mL."""
    hu = np.full(SHAPE, 40, np.int16)
    labels = np.zeros(SHAPE, np.uint8)
    lung = (slice(2, 28), slice(2, 58), slice(2, 58))
    hu[lung], labels[lung] = PARENCHYMA_HU, NORMAL_LUNG.value
    vessels = np.zeros(SHAPE, bool)
    vessels[VESSEL], hu[VESSEL] = True, 30
    hu[LESION], labels[LESION] = PARENCHYMA_HU + 300, GGO.value
    return hu, labels, np.zeros(SHAPE, bool), vessels


def test_baseline_bias_and_enhanced_density_are_exact():
    hu, labels, airways, vessels = a_scan()
    hu[5, 50, 50] = PARENCHYMA_HU + 900
    hu[5, 52, 52] = PARENCHYMA_HU - 150
    result = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM)
    assert (result.baseline, result.baseline_hu, result.bias_hu) == (RINGS, PARENCHYMA_HU, 10.0)
    assert result.window_width_hu == 1.0
    assert result.sub_visual is None
    assert result.warnings == ()
    enhanced = result.enhanced_hu
    assert enhanced.dtype == np.int16
    assert (enhanced[labels == 0] == -80).all()
    assert (enhanced[LESION] == 300).all()
    assert (enhanced[VESSEL] == 0).all()
    assert (enhanced[5, 50, 50], enhanced[5, 52, 52], enhanced[5, 50, 45]) == (400, -80, 0)
    assert np.array_equal(result.airways_and_vessels, vessels)


def test_severity_is_the_mean_over_the_lungs_in_bands_of_the_nearest_vessel():
    hu, labels, airways, vessels = a_scan()
    severity = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM).severities[0]
    lung_voxels = 26 * 56 * 56
    assert severity.volume_ml == pytest.approx(1.0)
    assert severity.hu == pytest.approx(1000 * 300 / lung_voxels)
    # The only vessel is 4 mm wide: the middle band.
    assert severity.bands_hu == (0.0, pytest.approx(severity.hu), 0.0)
    vessels[:] = False
    vessels[2:5, 10:14, 10:14] = True
    vessels[20:28, 8:18, 8:56] = True
    severity = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM).severities[0]
    assert severity.no_vessel_hu == pytest.approx(severity.hu)


def test_bands_and_the_rest_make_up_the_sum():
    hu, labels, airways, vessels = a_scan()
    vessels[15:18, 45:47, 30:32] = True
    vessels[12, :, :] = False
    severity = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM).severities[0]
    assert sum(severity.bands_hu) + severity.no_vessel_hu == pytest.approx(severity.hu)
    assert all(value > 0 for value in (*severity.bands_hu[:2], severity.no_vessel_hu))


def test_a_ring_keeps_its_distance_and_has_the_width_stated():
    airways_and_vessels = np.zeros((1, 61, 61), bool)
    airways_and_vessels[0, 30, :] = True
    ring = rings_around(airways_and_vessels, SPACING_MM)
    # Gap 1 mm, width 1.5 mm: rows 2 mm away, above and below.
    assert np.flatnonzero(ring[0, :, 30]).tolist() == [28, 32]
    airways_and_vessels[0, 10:51, :] = True
    ring = rings_around(airways_and_vessels, SPACING_MM)
    # 41 mm wide: gap and width 2.05 mm each.
    assert np.flatnonzero(ring[0, :, 30]).tolist() == [6, 7, 53, 54]


def test_the_diameter_is_that_of_the_nearest_vessel():
    vessels = np.zeros((2, 40, 40), bool)
    vessels[0, 5:8, :] = True
    vessels[0, 30:31, :] = True
    diameters_mm = nearest_diameter_mm(vessels, SPACING_MM)
    assert diameters_mm[0, 0, 0] == pytest.approx(3.0)
    assert diameters_mm[0, 39, 0] == pytest.approx(1.0)
    assert np.isnan(diameters_mm[1]).all()


def test_the_trimmed_median_forgets_what_is_far_above():
    random = np.random.default_rng(0)
    parenchyma = random.normal(-850, 30, 7000)
    lesions = random.normal(-400, 100, 3000)
    values = np.concatenate([parenchyma, lesions])
    assert abs(trimmed_median(values) + 850) < 4
    assert np.median(values) + 850 > 15
    assert trimmed_median(np.array([3, 3, 3])) == 3.0


def test_the_low_side_has_a_gaussian_of_known_centre():
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(-860, 40, 40000), random.uniform(-820, 0, 20000)])
    assert low_side_centre(np.rint(values)) == pytest.approx(-860, abs=3)
    assert low_side_centre(np.full(100, -900)) == -900


def test_the_window_is_one_and_a_half_sd_of_the_middle():
    values = np.arange(101)
    assert optimal_width_hu(values) == pytest.approx(1.5 * np.arange(10, 91).std())


def test_the_histogram_gives_a_baseline_on_request_and_where_vessels_are_few():
    hu, labels, airways, vessels = a_scan()
    chosen = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM, HISTOGRAM)
    assert (chosen.baseline, chosen.baseline_hu, chosen.warnings) == (HISTOGRAM, PARENCHYMA_HU, ())
    forced = enhance_parenchyma(hu, labels, airways, np.zeros_like(vessels), SPACING_MM)
    assert (forced.baseline, forced.baseline_hu) == (HISTOGRAM, PARENCHYMA_HU)
    assert [warning.code for warning in forced.warnings] == ["few_rings"]


def test_what_only_the_enhanced_volume_shows_is_found_on_request():
    hu, labels, airways, vessels = a_scan()
    faint = (slice(8, 22), slice(38, 52), slice(10, 24))
    hu[faint] = PARENCHYMA_HU + 150
    result = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM, find_sub_visual=True)
    found = result.sub_visual
    assert found[faint].sum() > 0.4 * 14**3
    assert not (found & ~ndimage.binary_dilation(hu == PARENCHYMA_HU + 150, iterations=2)).any()
    assert not (found & (labels == GGO.value)).any()
    assert [severity.name for severity in result.severities] == ["lesions", "sub-visual lesions"]
    assert result.severities[1].volume_ml == pytest.approx(found.sum() / 1000)


def test_a_faint_patch_below_half_a_millilitre_or_at_the_pleura_is_not():
    hu, labels, airways, vessels = a_scan()
    hu[8:13, 45:50, 12:17] = PARENCHYMA_HU + 150
    hu[:, 2:5, 20:50] = np.where(labels[:, 2:5, 20:50] > 0, PARENCHYMA_HU + 150, 40)
    result = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM, find_sub_visual=True)
    assert not result.sub_visual.any()


def test_what_cannot_be_enhanced_is_said():
    hu, labels, airways, vessels = a_scan()
    with pytest.raises(BadInputError, match="rings or histogram"):
        enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM, "mean")
    with pytest.raises(BadInputError, match="no lung"):
        enhance_parenchyma(hu, np.zeros_like(labels), airways, vessels, SPACING_MM)
    all_ill = np.where(labels > 0, HIGH_OPACITY.value, 0).astype(np.uint8)
    with pytest.raises(BadInputError, match="Too little lung"):
        enhance_parenchyma(hu, all_ill, airways, vessels, SPACING_MM)


def test_the_picture_has_white_lesion_grey_parenchyma_and_black_outside():
    hu, labels, airways, vessels = a_scan()
    result = enhance_parenchyma(hu, labels, airways, vessels, SPACING_MM)
    picture = enhanced_grey(result.enhanced_hu[15], labels[15] > 0, (1.0, 1.0), 200.0)
    assert picture.shape == (60, 60) and picture.dtype == np.uint8
    assert (picture[35, 35], picture[50, 15], picture[0, 0]) == (255, 128, 0)


@lru_cache(maxsize=2)
def enhanced_covid(folder: Path) -> tuple[CTVolume, np.ndarray, EnhancedScan]:
    """Return a scan with the reader's lesions, enhanced."""
    ct = read_ct(folder / "ct.nrrd")
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nrrd")))
    # Lesion of unknown class is lesion; what may be lung or not is left out.
    labels = np.minimum(truth, HIGH_OPACITY.value).astype(np.uint8)
    labels[truth == UNKNOWN_LUNG_VALUE] = BACKGROUND_VALUE
    return ct, labels, enhance(ct, labels)


@pytest.fixture(scope="module")
def reader_covid13(test_data: Path) -> tuple[CTVolume, np.ndarray, EnhancedScan]:
    return enhanced_covid(test_data / "labelled" / "covid13")


def test_the_baseline_stays_when_noise_of_a_quarter_dose_is_added(reader_covid13):
    ct, labels, result = reader_covid13
    upright, _ = lps_oriented(ct)
    hu = upright.hu
    means, squares = (
        ndimage.uniform_filter(hu.astype(np.float32) ** power, (1, 5, 5)) for power in (1, 2)
    )
    tissue = ndimage.binary_erosion((hu > 0) & (hu < 80), iterations=2)
    noise_hu = math.sqrt(float(np.median((squares - means**2)[tissue])))
    # A quarter of the dose doubles the noise: three times the variance comes on top.
    added = np.random.default_rng(0).normal(0, math.sqrt(3) * noise_hu, ct.hu.shape)
    noisy = CTVolume(
        np.clip(ct.hu + added, -1024, 3071).astype(np.int16), ct.geometry, ct.name, ct.warnings
    )
    assert noise_hu > 5
    again = enhance(noisy, labels)
    assert abs(again.enhancement.baseline_hu - result.enhancement.baseline_hu) <= 10


# Both scans are rounded to 8 HU, so that is the step of a median. What goes unmarked is then a 15th
# of the lung in covid08. In covid13 it is an 11th, and a fifth of the rings that the baseline is
# taken from: two steps (13 HU to 15 HU with the rounding undone by noise of one step).
@pytest.mark.parametrize(("case", "most_hu"), [("covid08", 10), ("covid13", 16)])
def test_the_baseline_stays_when_half_of_the_lesion_is_not_known(case, most_hu, test_data):
    ct, labels, result = enhanced_covid(test_data / "labelled" / case)
    args = (ct.hu, result.airways, result.vessels, ct.geometry.spacing_mm)
    # Every other stripe of 28 mm: whole parts of lesions go unmarked.
    x_mm = np.arange(labels.shape[2]) * ct.geometry.spacing_mm[0]
    stripes = (x_mm % 56 < 28) & (labels >= GGO.value)
    scattered = (np.random.default_rng(0).random(labels.shape) < 0.5) & (labels >= GGO.value)
    for hidden in (stripes, scattered):
        known = np.where(hidden, NORMAL_LUNG.value, labels).astype(np.uint8)
        assert 0.4 < hidden.sum() / (labels >= GGO.value).sum() < 0.6
        again = enhance_parenchyma(args[0], known, *args[1:])
        assert abs(again.baseline_hu - result.enhancement.baseline_hu) <= most_hu


def test_an_enhanced_scan_lies_on_the_grid_of_the_scan(reader_covid13):
    ct, labels, result = reader_covid13
    assert result.enhancement.enhanced_hu.shape == ct.hu.shape
    assert not (result.vessels & (labels == 0)).any()
    assert -920 < result.enhancement.baseline_hu < -750
    turned = CTVolume(
        np.ascontiguousarray(ct.hu[::-1]), flipped_upside_down(ct), ct.name, ct.warnings
    )
    again = enhance(turned, np.ascontiguousarray(labels[::-1]))
    assert again.enhancement.baseline_hu == result.enhancement.baseline_hu
    assert np.array_equal(again.enhancement.enhanced_hu[::-1], result.enhancement.enhanced_hu)
    assert np.array_equal(again.airways[::-1], result.airways)


def flipped_upside_down(ct: CTVolume) -> Geometry:
    direction = ct.geometry.direction.copy()
    last = ct.geometry.ijk_to_lps @ [0, 0, ct.hu.shape[0] - 1, 1]
    direction[:, 2] *= -1
    return replace(ct.geometry, direction=direction, origin_mm=tuple(last[:3].tolist()))
