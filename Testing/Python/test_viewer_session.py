"""A result in a reader's hands: labels and numbers stay together through every step."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_result import (
    DENSE,
    LOWER,
    MIXED,
    PENUMBRA,
    SPACING_MM,
    small_labels,
    write_small_result,
)

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.lesions.probability import DECISION_CODE, margin_of_code
from CovidLungQuantLib.measures.correction import correction_of
from CovidLungQuantLib.outputs.folder import check_output_folder
from CovidLungQuantLib.pipeline import measure
from CovidLungQuantLib.quantification import Quantification
from CovidLungQuantLib.viewer.opening import OpenedResult, measure_opened, open_result
from CovidLungQuantLib.viewer.painting import Stroke, voxels_of_stroke
from CovidLungQuantLib.viewer.saving import corrected_folder, save_corrected
from CovidLungQuantLib.viewer.session import LUNGS_CHANGED, Session
from CovidLungQuantLib.viewer.showing import correction_text, lesion_rows, table_of

AXIAL = np.array([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> tuple[Path, Path]:
    return write_small_result(tmp_path_factory.mktemp("viewer"))


def begun(result: tuple[Path, Path]) -> Session:
    opened = open_result(*result)
    return Session(opened, measure_opened(opened))


@pytest.fixture(scope="module")
def opened_and_measured(result) -> tuple[OpenedResult, Quantification]:
    opened = open_result(*result)
    return opened, measure_opened(opened)


@pytest.fixture
def session(opened_and_measured) -> Session:
    opened, measured = opened_and_measured
    return Session(replace(opened, labels=opened.labels.copy()), measured)


def stroke_at(session: Session, *voxels_zyx: tuple[int, int, int], radius_mm: float = 10.0):
    index = np.array([(*zyx[::-1], 1.0) for zyx in voxels_zyx])
    return Stroke((index @ session.ct.geometry.ijk_to_lps.T)[:, :3], radius_mm, AXIAL)


def assert_numbers_are_those_of_the_labels(session: Session) -> None:
    anew = measure(session.ct, session.labels.copy(), lobes=session.lobes)
    assert session.measurements.regions == anew.measurements.regions
    assert session.measurements.severity == anew.measurements.severity
    # As the page has them.
    assert table_of(session)[0]["extent"] == f"{anew.measurements.regions[0].lesion_percent:.1f}"


def test_it_begins_with_the_numbers_of_the_folder(session, result):
    stored = json.loads((result[0] / "result.json").read_text(encoding="utf-8"))
    for row, region in zip(stored["measurements"], session.measurements.regions, strict=True):
        assert row["region"] == region.region
        for name in ("volume_ml", "ggo_ml", "high_opacity_ml", "lesion_percent"):
            assert row[name] == getattr(region, name) or math.isnan(getattr(region, name))
    assert (session.changed_voxels, session.undoable, session.is_saved) == (0, None, True)
    assert [lesion.island.index for lesion in session.lesions] == [1, 2, 3, 4]
    assert len(table_of(session)) == 8


def test_a_disc_covers_the_voxels_whose_middle_it_covers_in_its_slice_alone(session):
    stroke = stroke_at(session, (8, 20, 20), radius_mm=4.5)
    voxels = np.unravel_index(voxels_of_stroke(stroke, session.ct.geometry), session.labels.shape)
    assert sorted(zip(*(index.tolist() for index in voxels), strict=True)) == [
        (8, 19, 20),
        (8, 20, 19),
        (8, 20, 20),
        (8, 20, 21),
        (8, 21, 20),
    ]


def test_a_ball_reaches_into_the_slices_around(session):
    disc = stroke_at(session, (8, 20, 20), radius_mm=6.0)
    ball = Stroke(disc.points_mm, 6.0)
    z, y, x = np.unravel_index(voxels_of_stroke(ball, session.ct.geometry), session.labels.shape)
    dz, dy, dx = (z - 8) * SPACING_MM[2], (y - 20) * SPACING_MM[1], (x - 20) * SPACING_MM[0]
    assert len(z) == 7
    assert (dz**2 + dy**2 + dx**2 <= 36.0).all()
    assert set(z) == {7, 8, 9}


def test_a_slice_between_two_voxels_belongs_to_one_of_them(session):
    stroke = stroke_at(session, (8, 20, 20), radius_mm=4.0)
    between = Stroke(np.add(stroke.points_mm, [0, 0, SPACING_MM[2] / 2]), 4.0, AXIAL)
    assert len(voxels_of_stroke(between, session.ct.geometry)) == 1


def test_a_stroke_outside_the_scan_covers_nothing(session):
    away = Stroke(np.array([[9000.0, 0.0, 0.0]]), 10.0, AXIAL)
    assert len(voxels_of_stroke(away, session.ct.geometry)) == 0


def test_strokes_are_counted_undone_and_done_again(session):
    before = session.labels.copy()
    count = session.paint(stroke_at(session, (24, 30, 20), (24, 30, 24)), 2)
    assert count == np.count_nonzero(session.labels != before) > 10
    painted = session.labels.copy()
    assert_numbers_are_those_of_the_labels(session)
    assert session.changed_voxels == count
    assert session.correction == correction_of(before, painted, session.ct.geometry.voxel_volume_ml)
    assert "lesion" in correction_text(session)
    session.paint(stroke_at(session, (24, 30, 20)), 3)
    assert session.undo() and session.undo() and not session.undo()
    assert np.array_equal(session.labels, before)
    assert_numbers_are_those_of_the_labels(session)
    assert session.redo()
    assert np.array_equal(session.labels, painted)
    assert_numbers_are_those_of_the_labels(session)


def test_strokes_keep_to_the_lungs_unless_they_may_leave_them(session):
    at_the_wall = stroke_at(session, (20, 18, 14))
    lung = session.labels > 0
    assert session.paint(at_the_wall, 2)
    assert np.array_equal(session.labels > 0, lung)
    assert session.paint(at_the_wall, 0) == 0
    assert not session.lungs_changed
    assert session.paint(at_the_wall, 2, may_leave_lungs=True)
    assert np.count_nonzero(session.labels) > np.count_nonzero(lung)
    assert LUNGS_CHANGED in session.warnings
    session.undo()
    assert np.array_equal(session.labels > 0, lung)
    assert LUNGS_CHANGED not in session.warnings


def test_lungs_are_never_erased_altogether(session):
    before = session.labels.copy()
    everything = np.arange(before.size)
    with pytest.raises(BadInputError, match="No lung would be left"):
        session.relabel(everything, np.zeros(before.size, np.uint8), "all")
    with pytest.raises(BadInputError, match="no such label"):
        session.relabel(everything[:1], np.array([7], np.uint8), "seven")
    assert np.array_equal(session.labels, before)
    assert session.undoable is None
    assert_numbers_are_those_of_the_labels(session)


def test_decisions_and_strokes_are_undone_in_their_order(session):
    before = session.labels.copy()
    session.reject(1, "vessel")
    assert (session.labels[MIXED] == 1).all()
    assert_numbers_are_those_of_the_labels(session)
    session.paint(stroke_at(session, (14, 35, 22)), 3)
    session.refresh_lesions()
    session.accept(2)
    assert [step["decision"] for step in session.review.record()] == ["rejected", "accepted"]
    assert session.undoable == "2 accepted"
    while session.undo():
        assert_numbers_are_those_of_the_labels(session)
    assert np.array_equal(session.labels, before)
    assert session.review.record() == []
    while session.redo():
        pass
    assert (session.labels[MIXED] != 2).all() and (session.labels[MIXED] == 3).any()
    assert [step["decision"] for step in session.review.record()] == ["rejected", "accepted"]
    assert_numbers_are_those_of_the_labels(session)


def test_the_list_says_when_it_is_older_than_the_labels(session):
    assert session.lesions_are_fresh
    session.accept(1)
    assert session.lesions_are_fresh
    session.paint(stroke_at(session, (30, 30, 20)), 2)
    assert not session.lesions_are_fresh
    session.refresh_lesions()
    assert len(session.lesions) == 5
    rows = lesion_rows(session)
    assert [row["state"] for row in rows if row["number"] == 1] == ["accepted"]
    assert len({row["number"] for row in rows}) == 5


def test_sensitivity_grows_and_shrinks_as_one_step(session):
    before = session.labels.copy()
    assert session.has_sensitivity
    session.set_sensitivity(DECISION_CODE - 30)
    assert (session.labels[PENUMBRA] == 2).all()
    assert_numbers_are_those_of_the_labels(session)
    session.set_sensitivity(DECISION_CODE - 25)
    assert session.margin_code() == DECISION_CODE - 25
    session.set_sensitivity(DECISION_CODE)
    assert np.array_equal(session.labels, before)
    session.set_sensitivity(DECISION_CODE - 30)
    assert session.undo()
    assert np.array_equal(session.labels, before)
    assert session.margin_code() == DECISION_CODE


def test_sensitivity_leaves_alone_what_was_decided_or_painted(session):
    session.paint(stroke_at(session, (8, 33, 51)), 3)
    painted = session.labels == 3
    session.accept(1)
    session.set_sensitivity(220)
    lesions_left = session.labels[MIXED]
    assert np.array_equal(lesions_left, small_labels()[MIXED])
    assert (session.labels[DENSE] == 1).all()
    assert (session.labels[8][painted[8]] == 3).all()
    assert_numbers_are_those_of_the_labels(session)


def test_sensitivity_of_one_lesion_changes_no_other(session):
    at_lower = next(lesion.island.index for lesion in session.lesions if lesion.island.box == LOWER)
    before = session.labels.copy()
    session.set_sensitivity(DECISION_CODE - 30, at_lower)
    assert (session.labels[PENUMBRA] == 2).all()
    outside = np.ones(before.shape, bool)
    outside[PENUMBRA] = False
    assert np.array_equal(session.labels[outside], before[outside])
    assert session.margin_code() == DECISION_CODE
    assert session.margin_code(at_lower) == DECISION_CODE - 30


def test_saving_writes_a_result_of_its_own_within_the_one_it_corrects(tmp_path):
    result = write_small_result(tmp_path)
    session = begun(result)
    kept = {file.name: file.read_bytes() for file in result[0].iterdir()}
    session.reject(1, "motion")
    session.paint(stroke_at(session, (20, 18, 14)), 2, may_leave_lungs=True)
    session.set_sensitivity(DECISION_CODE - 30)
    folder = corrected_folder(result[0], " A. Reader ")
    assert folder == result[0] / "corrected-by-A-Reader"
    assert not session.is_saved
    saved = save_corrected(session, session.labels.copy(), "A. Reader", folder)
    session.saved(saved)
    assert session.is_saved and not session.lungs_changed
    assert_numbers_are_those_of_the_labels(session)
    assert session.measurements.regions == saved.measurements.regions

    labels, _warnings = read_segmentation(folder / "segmentation.seg.nrrd", session.ct.geometry)
    assert np.array_equal(labels, session.labels)
    stored = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    both = saved.measurements.regions[0]
    assert stored["measurements"][0]["lesion_ml"] == both.lesion_ml
    provenance = stored["provenance"]
    assert provenance["corrected_by"] == "A. Reader"
    assert provenance["options"]["changed_voxels"] == session.changed_voxels
    assert provenance["model_name"] == "a model"
    assert provenance["lesion_margin"] == margin_of_code(DECISION_CODE - 30)
    assert [(step["decision"], step["reason"]) for step in provenance["review"]] == [
        ("rejected", "motion")
    ]
    assert "by A. Reader, " in (folder / "report.html").read_text(encoding="utf-8")
    assert {name: (result[0] / name).read_bytes() for name in kept} == kept

    # Nor does a later run take the folder with the correction in it.
    with pytest.raises(BadInputError, match="holds other files"):
        check_output_folder(result[0], overwrite=True)

    # Undone, the numbers go on with the lungs as they were saved.
    session.undo()
    assert not session.is_saved
    assert session.changed_voxels == np.count_nonzero(session.labels != small_labels())


def test_a_corrected_result_is_opened_with_what_was_decided(tmp_path):
    result, scan = write_small_result(tmp_path)
    session = begun((result, scan))
    session.reject(1, "motion")
    session.set_sensitivity(DECISION_CODE - 30)
    folder = corrected_folder(result, "AB")
    save_corrected(session, session.labels.copy(), "AB", folder)
    again = begun((folder, scan))
    assert np.array_equal(again.labels, session.labels)
    assert again.margin_code() == DECISION_CODE - 30
    # The machine's labels are those of the folder around it.
    changed = np.count_nonzero(session.labels != small_labels())
    assert again.changed_voxels == session.changed_voxels == changed > 500
    again.set_sensitivity(DECISION_CODE)
    assert again.changed_voxels == np.count_nonzero(small_labels()[MIXED])
    assert [step["decision"] for step in again.review.record()] == ["rejected"]
    assert corrected_folder(folder, "AB") == result / "corrected-by-AB-2"
    assert corrected_folder(folder, "AB", folder) == folder


@pytest.mark.parametrize("name", ["", "  ", "../..", "x" * 41])
def test_names_that_are_none_are_refused(result, name):
    with pytest.raises(BadInputError, match="Type who corrected it"):
        corrected_folder(result[0], name)


def test_names_never_lead_out_of_the_folder(result):
    assert corrected_folder(result[0], "../Ä/B").parent == result[0]
    assert corrected_folder(result[0], "../Ä/B").name == "corrected-by-Ä-B"


def test_labels_changed_while_they_were_saved_are_not_taken_for_saved(session):
    labels = session.labels.copy()
    measured = measure(session.ct, labels, lobes=session.lobes)
    session.paint(stroke_at(session, (24, 30, 20)), 2)
    with pytest.raises(BadInputError, match="changed meanwhile"):
        session.saved(measured)
    assert not session.is_saved


def test_without_the_machines_labels_changes_are_counted_from_those_opened(tmp_path):
    result, scan = write_small_result(tmp_path)
    file = result / "result.json"
    values = json.loads(file.read_text(encoding="utf-8"))
    values["provenance"] = None
    file.write_text(json.dumps(values), encoding="utf-8")
    session = begun((result, scan))
    assert session.correction is None and not session.has_sensitivity
    count = session.paint(stroke_at(session, (24, 30, 20)), 2)
    assert session.changed_voxels == count
    assert "→" not in correction_text(session)
    with pytest.raises(BadInputError, match="was not kept"):
        session.set_sensitivity(50)
    saved = save_corrected(session, session.labels.copy(), "AB", tmp_path / "saved")
    assert saved.provenance.options == {"changed_voxels": count}
    assert saved.provenance.corrected_by == "AB"
