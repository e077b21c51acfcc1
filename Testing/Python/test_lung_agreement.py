"""The rule that joins lungs found by their air with those of the network, on boxes."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.anatomy.lung_agreement import JoinedLungs, join_lungs, removed_ml
from CovidLungQuantLib.anatomy.lung_network import (
    ELSEWHERE_CLASS,
    GAS_CLASS,
    GRID_MM,
    LUNG_NETWORK_CLASSES,
    PNEUMOTHORAX_CLASS,
)
from CovidLungQuantLib.anatomy.threshold_lungs import BodyAndAir
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE, SUSPECTED_LUNG

# Half the size of the grid's cells: two voxels a cell along each axis.
SPACING_MM = (GRID_MM / 2,) * 3
VOXEL_ML = (GRID_MM / 2) ** 3 / 1000
CELLS = (32, 32, 48)
RIGHT = np.s_[4:28, 6:26, 4:20]
LEFT = np.s_[4:28, 6:26, 28:44]


def classes() -> np.ndarray:
    """Two lungs as the network sees them, a class for each cell."""
    cells = np.zeros(CELLS, np.uint8)
    cells[RIGHT] = RIGHT_LUNG_VALUE
    cells[LEFT] = LEFT_LUNG_VALUE
    return cells


def shares_of(cells: np.ndarray) -> np.ndarray:
    values = np.arange(LUNG_NETWORK_CLASSES)[:, None, None, None]
    return (cells[None] == values).astype(np.float32)


def on_scan(cells: np.ndarray) -> np.ndarray:
    return np.kron(cells, np.ones((2, 2, 2), np.uint8))


def found_by_air(
    cells: np.ndarray, body: np.ndarray | None = None, airways: np.ndarray | None = None
) -> BodyAndAir:
    lungs = on_scan(cells)
    return BodyAndAir(
        lungs,
        np.ones(lungs.shape, bool) if body is None else body,
        np.zeros(lungs.shape, bool) if airways is None else airways,
    )


def join(found: BodyAndAir, shares: np.ndarray, dense_hu: int = 40) -> JoinedLungs:
    """In a scan where the network is right: lung with air, bare gas, and all else dense."""
    seen = on_scan(shares.argmax(axis=0).astype(np.uint8))
    hu = np.full(found.lungs.shape, dense_hu, np.int16)
    hu[(found.lungs > 0) & np.isin(seen, (LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE))] = -850
    hu[np.isin(seen, (GAS_CLASS, PNEUMOTHORAX_CLASS))] = -990
    return join_lungs(hu, found, shares, SPACING_MM)


def joined(found: np.ndarray, seen: np.ndarray) -> JoinedLungs:
    return join(found_by_air(found), shares_of(seen))


def test_where_both_agree_nothing_is_changed():
    result = joined(classes(), classes())
    np.testing.assert_array_equal(result.lungs, on_scan(classes()))
    assert not result.added.any() and not result.removed.any()


def test_a_thin_difference_is_left_to_the_border():
    wide = classes()
    wide[RIGHT[0], 26:28, RIGHT[2]] = RIGHT_LUNG_VALUE
    for found, seen in ((classes(), wide), (wide, classes())):
        result = joined(found, seen)
        np.testing.assert_array_equal(result.lungs, on_scan(found))


@pytest.mark.parametrize("side", ["right", "left"])
def test_dense_lung_that_only_the_network_sees_is_taken_in_on_its_side(side):
    box, value = (RIGHT, RIGHT_LUNG_VALUE) if side == "right" else (LEFT, LEFT_LUNG_VALUE)
    found = classes()
    found[box[0], 14:26, box[2]] = 0
    result = joined(found, classes())
    assert set(np.unique(result.lungs[result.added])) == {value}
    lost_ml = 24 * 12 * 16 * GRID_MM**3 / 1000
    assert result.added.sum() * VOXEL_ML == pytest.approx(lost_ml, rel=0.06)
    # Nothing outside of the lung, nothing lost.
    assert not result.lungs[on_scan(classes()) == 0].any()
    assert (result.lungs[on_scan(found) > 0] == on_scan(found)[on_scan(found) > 0]).all()


@pytest.mark.parametrize(("dense_hu", "is_taken_in"), [(-100, False), (0, True), (-850, True)])
def test_fat_is_not_taken_in(dense_hu, is_taken_in):
    found = classes()
    found[RIGHT[0], 14:26, RIGHT[2]] = 0
    assert join(found_by_air(found), shares_of(classes()), dense_hu).added.any() == is_taken_in


def test_a_whole_lung_that_only_the_network_sees_is_taken_in():
    found = np.where(classes() == LEFT_LUNG_VALUE, 0, classes())
    result = joined(found, classes())
    whole = on_scan(classes()) == LEFT_LUNG_VALUE
    assert (result.lungs[whole] == LEFT_LUNG_VALUE).mean() > 0.97


def test_of_a_small_part_to_take_out_the_network_must_be_surer():
    taken_out = {}
    for name, box in (("small", np.s_[4:12, 6:16, 30:40]), ("large", np.s_[4:16, 6:24, 30:42])):
        shares = shares_of(classes())
        shares[(LEFT_LUNG_VALUE, *box)], shares[(PNEUMOTHORAX_CLASS, *box)] = 0.15, 0.85
        taken_out[name] = join(found_by_air(classes()), shares).removed.any()
    assert taken_out == {"small": False, "large": True}


@pytest.mark.parametrize("what", [GAS_CLASS, PNEUMOTHORAX_CLASS, ELSEWHERE_CLASS])
def test_what_is_no_lung_is_taken_out_and_named(what):
    seen = classes()
    seen[10:18, 10:20, 32:40] = what
    result = joined(classes(), seen)
    taken_ml = 8 * 10 * 8 * GRID_MM**3 / 1000
    assert removed_ml(result, what, SPACING_MM) == pytest.approx(taken_ml, rel=0.12)
    assert (result.removed > 0).sum() * VOXEL_ML == pytest.approx(
        removed_ml(result, what, SPACING_MM), rel=1e-6
    )
    assert not result.lungs[result.removed > 0].any()
    assert not result.added.any()


def test_a_thin_part_far_from_any_lung_is_taken_out_and_what_is_near_is_a_border():
    strip = classes()
    # Two cells thin, from the right lung backwards and along the back of the body.
    strip[6:26, 26:32, 10:12] = RIGHT_LUNG_VALUE
    strip[6:26, 30:32, 12:40] = RIGHT_LUNG_VALUE
    result = joined(strip, classes())
    removed = result.removed > 0
    assert set(np.unique(result.removed)) == {0, ELSEWHERE_CLASS + 1}
    assert not removed[:, :52].any() and removed[12:52, 60:, 24:80].all()
    np.testing.assert_array_equal(result.lungs[:, :52], on_scan(strip)[:, :52])


def test_gas_goes_whole_where_a_part_of_it_was_told_and_lung_beside_it_stays():
    cells = classes()
    gas = (LEFT[0], np.s_[6:16], LEFT[2])
    seen = cells.copy()
    seen[LEFT[0], 6:12, LEFT[2]] = PNEUMOTHORAX_CLASS
    found = found_by_air(cells)
    for gas_hu, taken_rows in ((-990, 10), (-850, 6)):
        thin = np.zeros(CELLS, np.uint8)
        thin[gas] = 1
        hu = np.where(found.lungs > 0, np.where(on_scan(thin) > 0, gas_hu, -850), 40)
        hu[on_scan(seen) == PNEUMOTHORAX_CLASS] = -990
        result = join_lungs(hu.astype(np.int16), found, shares_of(seen), SPACING_MM)
        removed_cells = (result.removed > 0).sum() / 8
        # The cells where both meet hold some of either.
        assert removed_cells == pytest.approx(24 * taken_rows * 16, rel=0.1)
        assert (result.lungs[:, 34:][on_scan(cells)[:, 34:] > 0] > 0).all()


def test_no_sheet_is_left_between_what_is_taken_out_and_the_border():
    seen = classes()
    # Two cells, 6 mm, below the upper border of the lung.
    seen[10:20, 8:18, 32:40] = GAS_CLASS
    result = joined(classes(), seen)
    assert (result.removed[24:36, 12:34, 68:76] > 0).all()
    seen[10:20, 8:18, 32:40] = LEFT_LUNG_VALUE
    seen[10:20, 10:20, 32:40] = GAS_CLASS
    result = joined(classes(), seen)
    assert not (result.removed[24:36, 12:18, 68:76] > 0).any()


@pytest.mark.parametrize(
    ("part_hu", "trachea_hu", "is_taken_out"),
    [
        (-850, -1000, False),
        (-990, -1000, True),
        (-900, -950, True),
        (-880, -950, False),
        (40, -1000, True),
        (-600, -1000, False),
    ],
)
def test_what_is_as_dense_as_aerated_lung_is_never_taken_out(part_hu, trachea_hu, is_taken_out):
    seen = classes()
    part = np.s_[10:18, 10:20, 32:40]
    seen[part] = PNEUMOTHORAX_CLASS
    airways = np.zeros(on_scan(seen).shape, bool)
    airways[10:50, 20:30, 46:50] = True
    found = found_by_air(classes(), airways=airways)
    hu = np.where(found.lungs > 0, -850, 40).astype(np.int16)
    hu[airways] = trachea_hu
    hu[on_scan(seen) == PNEUMOTHORAX_CLASS] = part_hu
    result = join_lungs(hu, found, shares_of(seen), SPACING_MM)
    assert result.removed.any() == is_taken_out


def test_a_thin_edge_that_the_network_half_sees_is_kept():
    strip = classes()
    strip[6:26, 26:32, 10:12] = RIGHT_LUNG_VALUE
    shares = shares_of(classes())
    edge = np.s_[6:26, 26:32, 10:12]
    shares[(RIGHT_LUNG_VALUE, *edge)], shares[(ELSEWHERE_CLASS, *edge)] = 0.3, 0.7
    result = join(found_by_air(strip), shares)
    assert not result.removed.any()


def test_small_parts_and_doubtful_ones_are_left_alone():
    small = classes()
    small[10:14, 10:14, 32:35] = GAS_CLASS
    result = joined(classes(), small)
    assert not result.removed.any()
    shares = shares_of(classes())
    doubtful = np.s_[4:12, 6:16, 30:40]
    shares[(LEFT_LUNG_VALUE, *doubtful)], shares[(GAS_CLASS, *doubtful)] = 0.15, 0.85
    found = found_by_air(classes())
    assert not join(found, shares).removed.any()
    shares[(LEFT_LUNG_VALUE, *doubtful)], shares[(GAS_CLASS, *doubtful)] = 0.05, 0.95
    assert join(found, shares).removed.any()


def test_what_the_network_is_not_sure_of_is_suspected_and_not_counted():
    found = classes()
    found[RIGHT[0], 14:26, RIGHT[2]] = 0
    shares = shares_of(classes())
    doubtful = (RIGHT[0], np.s_[14:26], RIGHT[2])
    for share, added, suspected in ((0.9, True, False), (0.7, False, True), (0.6, False, False)):
        shares[(RIGHT_LUNG_VALUE, *doubtful)] = share
        shares[(ELSEWHERE_CLASS, *doubtful)] = 1 - share
        result = join(found_by_air(found), shares)
        assert (result.added.any(), result.suspected.any()) == (added, suspected)
    shares[(RIGHT_LUNG_VALUE, *doubtful)], shares[(ELSEWHERE_CLASS, *doubtful)] = 0.7, 0.3
    result = join(found_by_air(found), shares)
    np.testing.assert_array_equal(result.lungs, on_scan(found))
    assert set(np.unique(result.suspected)) == {0, RIGHT_LUNG_VALUE}
    lost_ml = 24 * 12 * 16 * GRID_MM**3 / 1000
    assert (result.suspected > 0).sum() * VOXEL_ML == pytest.approx(lost_ml, rel=0.06)
    assert result.decisions is not None
    np.testing.assert_array_equal(result.decisions == SUSPECTED_LUNG.value, result.suspected > 0)


def test_airways_are_never_taken_in():
    found = classes()
    found[RIGHT[0], 14:26, RIGHT[2]] = 0
    airways = np.zeros(on_scan(found).shape, bool)
    airways[:, 36:44, 16:24] = True
    result = join(found_by_air(found, airways=airways), shares_of(classes()))
    assert result.added.any()
    assert not result.lungs[airways & (on_scan(found) == 0)].any()


def test_nothing_outside_of_the_body_is_taken_in():
    found = classes()
    found[RIGHT[0], 14:26, RIGHT[2]] = 0
    body = np.ones(on_scan(found).shape, bool)
    body[:, 44:] = False
    result = join(found_by_air(found, body), shares_of(classes()))
    assert result.added.any() and not (result.added & ~body).any()
    body[:] = False
    assert not join(found_by_air(found, body), shares_of(classes())).added.any()


def test_the_border_of_what_is_taken_in_lies_where_the_network_is_undecided():
    found = classes()
    found[RIGHT[0], 14:26, RIGHT[2]] = 0
    shares = shares_of(classes())
    # The last row is three quarters lung: its border lies a quarter of a cell further in.
    shares[RIGHT_LUNG_VALUE, RIGHT[0], 25, RIGHT[2]] = 0.75
    shares[0, RIGHT[0], 25, RIGHT[2]] = 0.25
    full = joined(found, classes())
    partly = join(found_by_air(found), shares)
    assert partly.added.sum() <= full.added.sum()
    assert not (partly.added & ~full.added).any()
