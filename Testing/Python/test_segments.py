"""The 20 regions of the CT severity score."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLungQuantLib.anatomy.segments import divide_into_segments
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, LOBES, LUNG_SEGMENTS

VALUES = {segment.short_name: segment.value for segment in LUNG_SEGMENTS}
# Parts of their lobe: subsegments over the lobe's subsegments.
SHARES = {
    "RUL": (1 / 3, 1 / 3, 1 / 3),
    "RML": (1 / 2, 1 / 2),
    "RLL": (3 / 12, 2 / 12, 2 / 12, 2 / 12, 3 / 12),
    "LUL": (1.5 / 10, 1.5 / 10, 3 / 10, 2 / 10, 2 / 10),
    "LLL": (3 / 10, 1 / 10, 1 / 10, 2 / 10, 3 / 10),
}


def boxes_of_lobes() -> np.ndarray:
    """Five boxes in their places; the patient's right is at small x."""
    lobes = np.zeros((44, 40, 60), np.uint8)
    lobes[24:42, 2:36, 2:26] = 1
    lobes[6:24, 2:18, 2:26] = 2
    lobes[2:24, 18:38, 2:26] = 3
    lobes[20:42, 2:36, 34:58] = 4
    lobes[2:20, 4:38, 34:58] = 5
    return lobes


@pytest.fixture(scope="module")
def expert_lobes(test_data: Path) -> list[np.ndarray]:
    """Four expert lobe masks at 4.5 mm, trachea removed."""
    files = sorted((test_data / "lobes").glob("*.nrrd"))[::10][:4]
    arrays = [sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[::3, ::3, ::3] for file in files]
    return [np.where(array <= len(LOBES), array, 0).astype(np.uint8) for array in arrays]


def centre(segments: np.ndarray, name: str) -> np.ndarray:
    """Centre of a region: up, back, left."""
    return np.array([axis.mean() for axis in np.nonzero(segments == VALUES[name])])


def assert_anatomical(segments: np.ndarray) -> None:
    def above(first: str, second: str) -> None:
        assert centre(segments, first)[0] > centre(segments, second)[0], (first, second)

    def behind(first: str, second: str) -> None:
        assert centre(segments, first)[1] > centre(segments, second)[1], (first, second)

    def outside(first: str, second: str) -> None:
        sign = 1 if first[0] == "L" else -1
        distance = centre(segments, first)[2] - centre(segments, second)[2]
        assert sign * distance > 0, (first, second)

    for lobe in ("RUL", "LUL"):
        above(f"{lobe} apical", f"{lobe} posterior")
        above(f"{lobe} apical", f"{lobe} anterior")
        behind(f"{lobe} posterior", f"{lobe} anterior")
    outside("RML lateral", "RML medial")
    above("LUL superior lingular", "LUL inferior lingular")
    above("LUL anterior", "LUL superior lingular")
    for lobe in ("RLL", "LLL"):
        for basal in ("medial", "anterior", "lateral", "posterior"):
            above(f"{lobe} superior", f"{lobe} {basal} basal")
        behind(f"{lobe} posterior basal", f"{lobe} lateral basal")
        behind(f"{lobe} lateral basal", f"{lobe} anterior basal")
        outside(f"{lobe} lateral basal", f"{lobe} medial basal")


def test_there_are_twenty_regions_in_the_order_of_the_score():
    assert [segment.value for segment in LUNG_SEGMENTS] == list(range(1, 21))
    assert list(VALUES)[:3] == ["RUL apical", "RUL posterior", "RUL anterior"]
    assert list(VALUES)[-1] == "LLL posterior basal"
    assert [sum(s.lobe is lobe for s in LUNG_SEGMENTS) for lobe in LOBES] == [3, 2, 5, 5, 5]
    assert sum(s.lobe.lung_value == LEFT_LUNG_VALUE for s in LUNG_SEGMENTS) == 10
    assert all("approximation" in segment.row_name for segment in LUNG_SEGMENTS)


def test_every_lobe_is_parted_exactly_into_its_own_regions():
    lobes = boxes_of_lobes()

    segments = divide_into_segments(lobes)

    assert segments.dtype == np.uint8
    lobe_of = np.zeros(21, np.uint8)
    for segment in LUNG_SEGMENTS:
        lobe_of[segment.value] = segment.lobe.value
    np.testing.assert_array_equal(lobe_of[segments], lobes)


def test_regions_lie_where_anatomy_has_them():
    assert_anatomical(divide_into_segments(boxes_of_lobes()))


def test_in_real_lobes_regions_lie_right_and_have_their_share(expert_lobes: list[np.ndarray]):
    for lobes in expert_lobes:
        segments = divide_into_segments(lobes)

        assert_anatomical(segments)
        for lobe in LOBES:
            volume = np.count_nonzero(lobes == lobe.value)
            parts = [s.value for s in LUNG_SEGMENTS if s.lobe is lobe]
            shares = [np.count_nonzero(segments == part) / volume for part in parts]
            assert shares == pytest.approx(SHARES[lobe.short_name], abs=0.01)


def test_the_spacing_does_not_matter():
    lobes = boxes_of_lobes()
    stretched = np.repeat(lobes, 3, axis=0)

    coarse, fine = divide_into_segments(lobes), divide_into_segments(stretched)

    # Planes are set by a sample of voxels, so a few at the borders may change sides.
    assert np.mean(fine[1::3] == coarse) > 0.99


def test_left_and_right_are_mirrored():
    lobes = np.zeros((20, 24, 44), np.uint8)
    lobes[:, :, 2:20] = 3
    lobes[:, :, 24:42] = 5

    segments = divide_into_segments(lobes)

    right, left = segments[:, :, 2:20], segments[:, :, 24:42][:, :, ::-1]
    overlap = (right == VALUES["RLL lateral basal"]) & (left == VALUES["LLL lateral basal"])
    # The left one is the larger: the medial and anterior basal segments share a part there.
    assert overlap.sum() > 0.9 * (right == VALUES["RLL lateral basal"]).sum()


def test_what_is_hardly_there_is_still_parted():
    lobes = np.zeros((3, 4, 5), np.uint8)
    lobes[1, 2, 3] = 1
    lobes[2, :, 0] = 5

    segments = divide_into_segments(lobes)

    np.testing.assert_array_equal(segments > 0, lobes > 0)
    assert not divide_into_segments(np.zeros_like(lobes)).any()


def test_the_input_is_not_changed_and_the_result_is_the_same_each_time():
    lobes = boxes_of_lobes()
    before = lobes.copy()

    first, second = divide_into_segments(lobes), divide_into_segments(lobes)

    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(lobes, before)
