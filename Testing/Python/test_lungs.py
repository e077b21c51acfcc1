"""Finding the lungs: exact on hand-made masks, close to the readers' on real scans."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLungQuantLib.anatomy.lung_anatomy import LungAnatomy
from CovidLungQuantLib.anatomy.lungs import segment_lungs, split_left_right
from CovidLungQuantLib.errors import BadInputError, Cancelled
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE, UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.measures.structures import LESION, LUNG, structure_mask
from CovidLungQuantLib.phantom import PhantomCase, chest_phantom

SIDES = (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE)
PHANTOM_SHAPE = (75, 128, 128)
PHANTOM_SPACING_MM = (2.8, 2.8, 4.0)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def read(path: Path) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Return the array (z, y, x) and spacing (x, y, z) of an image whose axes run along LPS."""
    image = sitk.ReadImage(str(path))
    assert np.allclose(image.GetDirection(), np.eye(3).ravel(), atol=1e-3)
    return sitk.GetArrayFromImage(image), image.GetSpacing()


def warning_codes(anatomy: LungAnatomy) -> set[str]:
    return {warning.code for warning in anatomy.warnings}


def two_touching_lungs() -> tuple[np.ndarray, np.ndarray]:
    """Return a mask of two ellipsoids joined by a bridge 5 voxels wide, and its true sides."""
    z, y, x = np.mgrid[:40, :60, :100]
    mask = np.zeros((40, 60, 100), bool)
    for centre in (25, 74):
        mask |= ((z - 20) / 16) ** 2 + ((y - 30) / 24) ** 2 + ((x - centre) / 20) ** 2 <= 1
    mask[18:23, 28:33, 40:60] = True
    truth = np.where(x < 50, RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE) * mask
    return mask, truth.astype(np.uint8)


@pytest.fixture(scope="module")
def phantom() -> PhantomCase:
    return chest_phantom(PHANTOM_SHAPE, PHANTOM_SPACING_MM)


@pytest.fixture(scope="module")
def phantom_anatomy(phantom: PhantomCase) -> LungAnatomy:
    return segment_lungs(phantom.ct.hu, PHANTOM_SPACING_MM)


# Left and right ---------------------------------------------------------------------------------


def test_touching_lungs_part_in_the_middle_of_the_bridge() -> None:
    mask, truth = two_touching_lungs()
    sides = split_left_right(mask, (2.0, 2.0, 2.0))
    assert sides.dtype == np.uint8
    assert ((sides > 0) == mask).all()
    wrong = np.argwhere(sides != truth)
    assert (np.abs(wrong[:, 2] - 49.5) <= 3).all()


def test_lungs_apart_are_told_apart_exactly() -> None:
    mask, truth = two_touching_lungs()
    mask[:, :, 45:55] = False
    assert (split_left_right(mask, (2.0, 2.0, 2.0)) == truth * mask).all()


def test_islands_go_to_the_nearest_lung() -> None:
    mask, _ = two_touching_lungs()
    mask[:, :, 45:55] = False
    mask[0, 0, 20] = mask[39, 59, 80] = True
    sides = split_left_right(mask, (2.0, 2.0, 2.0))
    assert sides[0, 0, 20] == RIGHT_LUNG_VALUE
    assert sides[39, 59, 80] == LEFT_LUNG_VALUE
    assert ((sides > 0) == mask).all()


def test_one_lung_is_named_by_its_place() -> None:
    mask, _ = two_touching_lungs()
    mask[:, :, 45:] = False
    assert set(np.unique(split_left_right(mask, (2.0, 2.0, 2.0)))) == {0, RIGHT_LUNG_VALUE}
    flipped = mask[:, :, ::-1]
    assert set(np.unique(split_left_right(flipped, (2.0, 2.0, 2.0)))) == {0, LEFT_LUNG_VALUE}


def test_a_mirrored_mask_gives_mirrored_sides() -> None:
    mask, _ = two_touching_lungs()
    mask[:, :, 45:55] = False
    sides = split_left_right(mask, (2.0, 2.0, 2.0))
    mirrored = split_left_right(np.ascontiguousarray(mask[:, :, ::-1]), (2.0, 2.0, 2.0))
    swapped = np.array([0, RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE], np.uint8)[mirrored[:, :, ::-1]]
    assert (sides == swapped).all()


def test_an_empty_mask_has_no_sides() -> None:
    assert not split_left_right(np.zeros((3, 4, 5), bool), (1.0, 1.0, 1.0)).any()


def test_a_single_voxel_gets_a_side() -> None:
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 2, 4] = True
    assert split_left_right(mask, (1.0, 1.0, 1.0))[1, 2, 4] == LEFT_LUNG_VALUE


def test_readers_lobes_are_put_on_the_right_side(test_data: Path) -> None:
    paths = sorted((test_data / "lobes").glob("*.nrrd"))[:6]
    assert paths
    for path in paths:
        lobes, spacing_mm = read(path)
        truth = np.select(
            [np.isin(lobes, (1, 2, 3)), np.isin(lobes, (4, 5))],
            [RIGHT_LUNG_VALUE, LEFT_LUNG_VALUE],
        )
        sides = split_left_right(truth > 0, spacing_mm)
        assert (sides != truth).sum() / (truth > 0).sum() < 0.003, path.name


# Lungs of the synthetic chest -------------------------------------------------------------------


def test_phantom_lungs_are_found(phantom: PhantomCase, phantom_anatomy: LungAnatomy) -> None:
    for side in SIDES:
        assert dice(phantom_anatomy.lungs == side, phantom.lungs == side) > 0.97
    assert phantom_anatomy.lungs.dtype == np.uint8
    assert not phantom_anatomy.warnings


def test_phantom_lesions_are_inside_the_lungs(
    phantom: PhantomCase, phantom_anatomy: LungAnatomy
) -> None:
    lesion = phantom.labels > 1
    assert (phantom_anatomy.lungs[lesion] > 0).mean() > 0.95


def test_body_holds_the_lungs_but_not_the_table(
    phantom: PhantomCase, phantom_anatomy: LungAnatomy
) -> None:
    assert phantom_anatomy.body[phantom.lungs > 0].mean() > 0.999
    below_the_back = round(64 + 123 / 2.8)
    assert not phantom_anatomy.body[:, below_the_back:].any()


def test_trachea_is_airway_and_not_lung(phantom_anatomy: LungAnatomy) -> None:
    trachea = np.s_[50:60, 66, 63:65]
    assert phantom_anatomy.airways[trachea].all()
    assert not phantom_anatomy.lungs[trachea].any()
    assert not (phantom_anatomy.airways & (phantom_anatomy.lungs > 0)).any()


def test_stomach_gas_is_no_lung(phantom_anatomy: LungAnatomy) -> None:
    # The middle of the gas bubble: x = 60, y = −62, z = 24 mm.
    assert not phantom_anatomy.lungs[6, 41, 85].any()


def test_same_scan_gives_the_same_bytes(phantom: PhantomCase, phantom_anatomy: LungAnatomy) -> None:
    again = segment_lungs(phantom.ct.hu, PHANTOM_SPACING_MM)
    assert again.lungs.tobytes() == phantom_anatomy.lungs.tobytes()


def test_constant_outside_and_clipped_hu_change_nothing_much(
    phantom: PhantomCase, phantom_anatomy: LungAnatomy
) -> None:
    hu = np.where(phantom_anatomy.body, np.minimum(phantom.ct.hu, 400), -1024).astype(np.int16)
    lungs = segment_lungs(hu, PHANTOM_SPACING_MM).lungs
    assert dice(lungs > 0, phantom_anatomy.lungs > 0) > 0.995


@pytest.mark.parametrize("step", [1, 2])
def test_slices_of_4_and_8_mm_agree(
    phantom: PhantomCase, phantom_anatomy: LungAnatomy, step: int
) -> None:
    spacing_mm = (2.8, 2.8, 4.0 * step)
    lungs = segment_lungs(np.ascontiguousarray(phantom.ct.hu[::step]), spacing_mm).lungs
    assert dice(lungs > 0, phantom.lungs[::step] > 0) > 0.97


def test_part_of_the_chest_is_accepted_with_a_warning(phantom: PhantomCase) -> None:
    part = slice(25, 50)
    anatomy = segment_lungs(phantom.ct.hu[part], PHANTOM_SPACING_MM)
    assert dice(anatomy.lungs > 0, phantom.lungs[part] > 0) > 0.95
    assert "lungs_cut" in warning_codes(anatomy)


def test_lungs_cut_at_the_side_are_accepted_with_a_warning(phantom: PhantomCase) -> None:
    part = np.s_[:, :, 30:98]
    anatomy = segment_lungs(np.ascontiguousarray(phantom.ct.hu[part]), PHANTOM_SPACING_MM)
    assert dice(anatomy.lungs > 0, phantom.lungs[part] > 0) > 0.95
    assert "lungs_cut" in warning_codes(anatomy)


def test_a_lung_without_any_air_is_found_and_named(phantom: PhantomCase) -> None:
    hu = phantom.ct.hu.copy()
    hu[phantom.lungs == LEFT_LUNG_VALUE] = 30
    anatomy = segment_lungs(hu, PHANTOM_SPACING_MM)
    assert dice(anatomy.lungs == RIGHT_LUNG_VALUE, phantom.lungs == RIGHT_LUNG_VALUE) > 0.95
    assert dice(anatomy.lungs == LEFT_LUNG_VALUE, phantom.lungs == LEFT_LUNG_VALUE) > 0.75
    (message,) = (
        warning.message for warning in anatomy.warnings if "hold no air" in warning.message
    )
    assert "left lung" in message


# No lungs ---------------------------------------------------------------------------------------


def water_phantom() -> np.ndarray:
    y, x = np.mgrid[-64:64, -64:64]
    plane = np.where(x**2 + y**2 < 50**2, 0, -1000)
    return np.broadcast_to(plane, (40, 128, 128)).astype(np.int16)


def head() -> np.ndarray:
    """Return a skull with brain, and sinuses of 60 mL."""
    z, y, x = np.mgrid[-40:40, -64:64, -64:64] * 2
    radius = np.sqrt((x / 75) ** 2 + (y / 95) ** 2 + (z / 110) ** 2)
    hu = np.where(radius < 1, 35, -1000)
    hu[(radius > 0.9) & (radius < 0.97)] = 900
    hu[(np.abs(x) < 20) & (np.abs(y + 60) < 12) & (np.abs(z) < 16)] = -990
    return hu.astype(np.int16)


@pytest.mark.parametrize(
    "hu",
    [
        pytest.param(np.full((20, 64, 64), -1000, np.int16), id="air"),
        pytest.param(np.full((20, 64, 64), 40, np.int16), id="tissue"),
        pytest.param(np.full((20, 64, 64), -850, np.int16), id="lung everywhere"),
        pytest.param(water_phantom(), id="water phantom"),
        pytest.param(head(), id="head"),
    ],
)
def test_a_scan_without_lungs_is_refused(hu: np.ndarray) -> None:
    with pytest.raises(BadInputError, match="No lungs were found"):
        segment_lungs(hu, (2.0, 2.0, 2.0))


def test_an_abdomen_with_gas_is_refused(test_data: Path) -> None:
    hu, spacing_mm = read(test_data / "unlabelled" / "lidc_0001" / "ct.nrrd")
    with pytest.raises(BadInputError, match="No lungs were found"):
        segment_lungs(hu[:20], spacing_mm)


def test_cancelling_stops_the_search(phantom: PhantomCase) -> None:
    def cancel(fraction: float, message: str) -> None:
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        segment_lungs(phantom.ct.hu, PHANTOM_SPACING_MM, cancel)


# Real scans -------------------------------------------------------------------------------------


# Dice of both lungs, and the share of the readers' lesion inside the lungs. covid03 and covid12
# hold solid consolidation that reaches past what the shape of the rib cage gives away; in covid09
# and covid12 the readers draw consolidation up to the pleura behind, of which the 1 to 3 mm that
# are as dense as the chest wall are not found.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "least_dice", "least_lesion_share"),
    [
        ("covid01", 0.975, 0.90),
        ("covid03", 0.985, 0.84),
        ("covid07", 0.975, 0.985),
        ("covid09", 0.97, 0.95),
        ("covid12", 0.975, 0.90),
    ],
)
def test_covid_lungs_match_the_readers(
    test_data: Path, case: str, least_dice: float, least_lesion_share: float
) -> None:
    hu, spacing_mm = read(test_data / "labelled" / case / "ct.nrrd")
    labels, _ = read(test_data / "labelled" / case / "labels.nrrd")
    lungs = segment_lungs(hu, spacing_mm).lungs
    drawn = drawn_by_readers(test_data / "labelled" / case, labels)
    reader = structure_mask(labels, LUNG)
    assert dice((lungs > 0) & drawn, reader & drawn) >= least_dice
    assert (lungs[structure_mask(labels, LESION)] > 0).mean() >= least_lesion_share


def drawn_by_readers(folder: Path, labels: np.ndarray) -> np.ndarray:
    """Voxels where the readers said lung or not; on some slices only a threshold did."""
    case = json.loads((folder / "case.json").read_text(encoding="utf-8"))
    drawn = labels != UNKNOWN_LUNG_VALUE
    drawn[case.get("lungs_by_threshold_slices", [])] = False
    return drawn


def contours_without_holes(contours: np.ndarray, side: int) -> np.ndarray:
    """Return the slices in which a lung was contoured; some are missing between others."""
    area = (contours == side).sum(axis=(1, 2))
    neighbours = np.maximum(np.roll(area, 1), np.roll(area, -1))
    return area >= 0.2 * neighbours


@pytest.mark.parametrize("case", ["lung1_001", "lung1_002"])
def test_lungs_match_radiotherapy_contours(test_data: Path, case: str) -> None:
    hu, spacing_mm = read(test_data / "lungs" / case / "ct.nrrd")
    contours, _ = read(test_data / "lungs" / case / "lungs_left1_right2_tumour3.nrrd")
    lungs = segment_lungs(hu, spacing_mm).lungs
    tumour = contours == 3
    for side in SIDES:
        drawn = contours_without_holes(contours, side)[:, None, None]
        found = (lungs == side) & ~tumour & drawn
        assert dice(found, (contours == side) & drawn) >= 0.94
        other = (contours > 0) & (contours != side) & ~tumour
        assert (found & other).sum() <= 0.005 * found.sum()


def test_a_chest_of_64_voxels_is_enough(test_data: Path) -> None:
    hu, spacing_mm = read(test_data / "tiny" / "ct-64.nrrd")
    reference, _ = read(test_data / "tiny" / "lm-64.nrrd")
    lungs = segment_lungs(hu, spacing_mm).lungs
    # Regions 9…11 are thirds of the left lung, 12…14 of the right.
    region = reference & 255
    truth = np.select(
        [(region >= 9) & (region <= 11), (region >= 12) & (region <= 14)],
        [LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE],
    )
    for side in SIDES:
        assert dice(lungs == side, truth == side) > 0.93
    assert not (lungs > 0)[:, :, [0, -1]].any()


def test_trachea_and_main_bronchi_of_a_real_scan(test_data: Path) -> None:
    hu, spacing_mm = read(test_data / "unlabelled" / "lidc_0002" / "ct.nrrd")
    anatomy = segment_lungs(hu, spacing_mm)
    airways_ml = anatomy.airways.sum() * np.prod(spacing_mm) / 1000
    assert 20 < airways_ml < 80
    assert np.median(hu[anatomy.airways]) < -930
    slices = np.flatnonzero(anatomy.airways.any(axis=(1, 2)))
    assert (slices[-1] - slices[0]) * spacing_mm[2] > 120
