"""The page of a training set: what the last fine-tuning did, in figures and in a picture."""

from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from sentences import is_one_sentence
from small_chest import OBLIQUE, a_ct, a_label_map
from small_model import small_model

from CovidLungQuantLib.ct import lps_oriented
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import NORMAL_LUNG
from CovidLungQuantLib.measures.disagreement import Disagreement
from CovidLungQuantLib.pages.dumbbell_chart import BETTER, WORSE, Dumbbell, dumbbell_chart
from CovidLungQuantLib.pages.outlines import outline_svg
from CovidLungQuantLib.training.data import AnnotatedScan, read_case
from CovidLungQuantLib.training.evaluation import CaseAgreement
from CovidLungQuantLib.training.expected_gain import (
    CORRECTED,
    GAIN_DEFINITION,
    NOT_CORRECTED,
    RankedCase,
    ranked,
)
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.fine_tuning_effect import (
    changed_slice,
    effect_of,
    last_fine_tuning,
)
from CovidLungQuantLib.training.fine_tuning_runs import (
    CHANGED_SLICE_SUFFIX,
    COMPARED,
    FineTuning,
    FineTuningPlan,
)
from CovidLungQuantLib.training.model_comparison import (
    ModelComparison,
    comparison_values,
    most_changed_slice,
    write_most_changed_slice,
)
from CovidLungQuantLib.training.training_set_page import (
    NO_FINE_TUNING,
    effect_chart,
    training_set_page,
    write_training_set_page,
)

NEW_MODEL = "mine"
CASES = ranked(
    [RankedCase("case_0001", CORRECTED, 3.0, 10.0), RankedCase("case_0002", NOT_CORRECTED)],
    {
        "case_0001": Disagreement(0.91, 0.8, math.nan, 50.0, 60.0, 100.0, 20.0, 4),
        "case_0002": "The scan cannot be read; export it again.",
    },
)


def agreement(case: str, dice: float, lesion_ml: float, ggo_dice: float) -> CaseAgreement:
    values = {name: 0.0 for name in CaseAgreement.__annotations__ if name != "case"}
    values |= {"lesion_dice": dice, "lesion_ml": lesion_ml, "reference_lesion_ml": 100.0}
    values |= {"ggo_dice": ggo_dice, "high_opacity_dice": math.nan, "lung_dice": 0.97}
    return CaseAgreement(case, **values)


def label_maps(scan: AnnotatedScan) -> tuple[np.ndarray, np.ndarray]:
    """What an old and a new model make of it: the new one loses 12 voxels of slice 6."""
    new = scan.labels.copy()
    new[6][new[6] == 3] = NORMAL_LUNG.value
    return scan.labels, new


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for shift in (0, 1):
        ct = a_ct(OBLIQUE)
        ct = replace(ct, hu=ct.hu + np.int16(shift))
        export_training_case(tmp_path / "set", ct, a_label_map())
    return tmp_path / "set"


@pytest.fixture
def fine_tuning(dataset: Path, tmp_path: Path) -> FineTuning:
    """A finished one, as `fine_tune` leaves it."""
    models = tmp_path / "models"
    plan = FineTuningPlan(
        str(dataset), "old.pt", NEW_MODEL, str(models), "cpu", ["case_0001"], ["case_0002"], [], 1
    )
    folder = models / "fine-tuning" / NEW_MODEL
    folder.mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(asdict(plan)), encoding="utf-8")
    state = {"state": "done", "message": "Done.", "exit_code": 0}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    scan = read_case(dataset, "case_0001")
    changed = most_changed_slice("case_0001", scan, *label_maps(scan))
    write_most_changed_slice(models / f"{NEW_MODEL}{CHANGED_SLICE_SUFFIX}", changed)
    rows = [
        {"old": agreement("a", 0.5, 80.0, 0.25), "new": agreement("a", 0.75, 110.0, 0.5)},
        {"old": agreement("b", 0.9, 130.0, math.nan), "new": agreement("b", 0.8, 90.0, math.nan)},
    ]
    comparison = ModelComparison(rows, {"c": "No lungs were found in c."}, changed)
    values = comparison_values(plan, small_model(), small_model(1), comparison)
    (models / f"{NEW_MODEL}.comparison.json").write_text(json.dumps(values), encoding="utf-8")
    return FineTuning(folder)


def test_the_figures_before_and_after_by_hand(fine_tuning: FineTuning):
    effect = effect_of(fine_tuning.status().comparison_file)
    assert (effect.old_model, effect.new_model) == ("small", NEW_MODEL)
    assert [case.case for case in effect.rows] == ["a", "b", "mean"]
    first, second, mean = effect.rows
    assert (first.old.dice["lesion_dice"], first.new.dice["lesion_dice"]) == (0.5, 0.75)
    assert first.old.volume_error_ml["lesion_ml"] == -20.0
    assert second.old.volume_error_ml["lesion_ml"] == 30.0
    # Errors of opposite sign do not cancel; what is undefined counts nowhere.
    assert mean.old.volume_error_ml["lesion_ml"] == 25.0
    assert mean.new.volume_error_ml["lesion_ml"] == 10.0
    assert mean.old.dice["lesion_dice"] == pytest.approx(0.7)
    assert mean.old.dice["ggo_dice"] == 0.25 and math.isnan(mean.old.dice["high_opacity_dice"])
    assert set(mean.new.dice) == set(COMPARED)


def test_the_slice_that_changed_most_by_hand(fine_tuning: FineTuning, dataset: Path):
    changed = changed_slice(fine_tuning)
    scan = read_case(dataset, "case_0001")
    old, new = label_maps(scan)
    assert (changed.case, changed.number) == ("case_0001", 7)
    x_mm, y_mm, _ = scan.spacing_mm
    assert changed.changed_cm2 == pytest.approx(12 * x_mm * y_mm / 100, rel=1e-6)
    assert np.array_equal(changed.hu, lps_oriented(a_ct(OBLIQUE))[0].hu[6])
    assert np.array_equal(changed.reader, scan.labels[6])
    assert np.array_equal(changed.old, old[6]) and np.array_equal(changed.new, new[6])
    assert np.count_nonzero(changed.old != changed.new) == 12


def test_what_cannot_be_shown_is_said_in_one_sentence(fine_tuning: FineTuning, dataset: Path):
    ct = a_ct(OBLIQUE)
    export_training_case(dataset / "other", replace(ct, hu=ct.hu + np.int16(5)), a_label_map())
    (dataset / "other" / "case_0001" / "ct.nrrd").replace(dataset / "case_0001" / "ct.nrrd")
    with pytest.raises(BadInputError, match="as it was") as raised:
        changed_slice(fine_tuning)
    assert is_one_sentence(str(raised.value))
    assert str(raised.value).split(",")[0] in training_set_page(
        dataset, CASES, Path(fine_tuning.plan.models_folder)
    )
    file = fine_tuning.status().comparison_file
    values = json.loads(file.read_text(encoding="utf-8"))
    for kept, says in (({"most_changed_slice": None}, "same lesions"), ({}, "kept no picture")):
        rest = {name: value for name, value in values.items() if name != "most_changed_slice"}
        file.write_text(json.dumps(rest | kept), encoding="utf-8")
        with pytest.raises(BadInputError, match=says) as raised:
            changed_slice(fine_tuning)
        assert is_one_sentence(str(raised.value))
    file.write_text('{"cases": 1}', encoding="utf-8")
    with pytest.raises(BadInputError, match="fine-tune again") as raised:
        effect_of(file)
    assert is_one_sentence(str(raised.value))


def test_only_a_finished_fine_tuning_of_this_set_counts(fine_tuning: FineTuning, dataset: Path):
    models = Path(fine_tuning.plan.models_folder)
    assert last_fine_tuning(dataset, models) == fine_tuning
    assert last_fine_tuning(dataset.parent, models) is None
    (fine_tuning.run_folder / "state.json").unlink()
    assert last_fine_tuning(dataset, models) is None


def test_the_page_holds_all_and_loads_nothing(fine_tuning: FineTuning, dataset: Path):
    file = write_training_set_page(dataset, CASES, Path(fine_tuning.plan.models_folder))
    page = file.read_text(encoding="utf-8")
    assert file == dataset / "training-set.html"
    assert GAIN_DEFINITION in page and "The scan cannot be read; export it again." in page
    assert "Look again, most of it in axial slice 4" in page
    for text in ("0.500", "<b>0.750</b>", "−20.0", "Left out: c: No lungs were found in c."):
        assert text in page
    assert "case_0001, axial slice 7 counted upwards" in page
    assert page.count("<path ") == 6 and page.count("data:image/png") == 1
    assert not re.search(r'(href|src)="(?!data:|#)', page)
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert str(dataset.parent) not in page
    # Written again it is the same, and takes the place of the earlier one.
    models = Path(fine_tuning.plan.models_folder)
    write_training_set_page(dataset, CASES, models)
    assert file.read_text(encoding="utf-8") == page


def test_without_a_fine_tuning_the_page_says_so(dataset: Path, tmp_path: Path):
    page = training_set_page(dataset, CASES, tmp_path / "none")
    assert NO_FINE_TUNING in page and "<svg" not in page


def test_the_chart_shows_which_way_it_went(fine_tuning: FineTuning):
    chart = effect_chart(effect_of(fine_tuning.status().comparison_file))
    # Lesion of both cases and the mean, GGO of one and the mean; high opacity nowhere.
    assert chart.count("→") == 5 and "high opacity" not in chart
    assert "0.500 → 0.750" in chart and "0.900 → 0.800" in chart
    better = dumbbell_chart([Dumbbell("<b>", 0.0, 1.0)], "x")
    assert BETTER in better and WORSE not in better and "&lt;b&gt;" in better
    assert 'cx="190.0"' in better and 'cx="810.0"' in better
    assert WORSE in dumbbell_chart([Dumbbell("x", 0.6, 0.5)], "x")


def test_an_outline_runs_along_the_edges_of_pixels():
    mask = np.zeros((3, 4), bool)
    mask[1, 1:3] = True
    drawn = outline_svg(mask, (2.0, 0.5), "#123456", 1.0)
    (path,) = re.findall(r' d="([^"]*)"', drawn)
    assert path == "M2.00 0.50H6.00M2.00 1.00H6.00M2.00 0.50V1.00M6.00 0.50V1.00"
    assert 'd=""' in outline_svg(np.zeros((3, 4), bool), (1.0, 1.0), "#123456", 1.0)
    # A mask that fills the picture ends at its border.
    assert outline_svg(np.ones((1, 1), bool), (1.0, 1.0), "#123456", 1.0).count("M") == 4
