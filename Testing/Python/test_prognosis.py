"""`covidlungquant prognosis`: models, their judgement, the saved model; tables it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from CovidLungQuantLib import cli
from CovidLungQuantLib.cohort.prognosis import prognosis
from CovidLungQuantLib.cohort.prognosis_files import APPLIED_FILES, MODEL_FILE, PROGNOSIS_FILES
from CovidLungQuantLib.cohort.prognosis_model import apply_model, read_model, write_model
from CovidLungQuantLib.cohort.prognosis_patients import (
    CROSS_VALIDATED,
    PrognosisOptions,
    divided,
    one_row_a_patient,
)
from CovidLungQuantLib.cohort.simulated_cohort import outcome_truth, patients_with_outcome
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import read_cohort_table
from CovidLungQuantLib.files.tables import write_csv

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

CLINICAL = ("sex", "age_over_64")
OPTIONS = PrognosisOptions(clinical=CLINICAL)


def rows_of(count: int = 500) -> list[dict[str, Any]]:
    return patients_with_outcome(3, outcome_truth(), count)


def table_of(folder: Path, rows: list[dict[str, Any]]):
    path = folder / "patients.csv"
    write_csv(path, rows)
    return read_cohort_table(path)


def test_models_are_nested_and_judged_on_others(tmp_path: Path):
    found = prognosis(table_of(tmp_path, rows_of()), OPTIONS)
    assert [model.name for model in found.models] == ["A", "B", "C"]
    assert [model.fit.names for model in found.models] == [
        ("intercept", *CLINICAL),
        ("intercept", *CLINICAL, "ct_severity_score (per SD)"),
        ("intercept", *CLINICAL, "lesion_percent (per SD)"),
    ]
    assert found.training + len(found.judged_events) == found.patients == 500
    assert len(found.judged_events) == pytest.approx(150, abs=1)
    # As many events in either part.
    assert found.judged_events.mean() == pytest.approx(found.events / 500, abs=0.005)
    a, _, c = found.models
    assert a.against_a is None and c.against_a.degrees_of_freedom == 1
    assert c.against_a.p < 0.001 and c.c.c > a.c.c
    assert c.against_a.chi2 == pytest.approx(2 * (c.fit.log_likelihood - a.fit.log_likelihood))
    rarer = min(found.training_events, found.training - found.training_events)
    assert c.events_per_variable == pytest.approx(rarer / 3)


def test_odds_ratios_are_per_sd_of_the_patients_fitted_or_per_unit(tmp_path: Path):
    table = table_of(tmp_path, rows_of())
    per_sd = prognosis(table, OPTIONS).models[-1]
    per_unit = prognosis(table, PrognosisOptions(clinical=CLINICAL, per_unit=True)).models[-1]
    sd = per_sd.design.variables[-1].sd
    assert per_unit.fit.names[-1] == "lesion_percent"
    assert per_sd.fit.coefficients[-1] == pytest.approx(per_unit.fit.coefficients[-1] * sd)
    assert per_sd.probability == pytest.approx(per_unit.probability)


def test_cross_validation_judges_everybody_by_models_that_have_not_seen_them(tmp_path: Path):
    options = PrognosisOptions(clinical=CLINICAL, validation=CROSS_VALIDATED, repeats=2)
    found = prognosis(table_of(tmp_path, rows_of()), options)
    assert found.training == len(found.judged_events) == 500
    model = found.models[-1]
    assert model.c.c < model.training_c
    assert any("flatters" in text for text in found.warnings)


def test_chance_is_found_to_be_chance(tmp_path: Path):
    random = np.random.default_rng(0)
    rows = rows_of()
    for row in rows:
        row["outcome"] = int(random.random() < 0.3)
    options = PrognosisOptions(clinical=CLINICAL, validation=CROSS_VALIDATED, repeats=3)
    found = prognosis(table_of(tmp_path, rows), options)
    for model in found.models:
        assert model.c.lower < 0.5
    assert found.models[-1].against_a.p > 0.01


def test_texts_become_one_variable_for_each_value_but_the_first(tmp_path: Path):
    rows = rows_of()
    for index, row in enumerate(rows):
        row["ward"] = ("east", "north", "west")[index % 3]
    found = prognosis(
        table_of(tmp_path, rows),
        PrognosisOptions(clinical=("ward",), interactions=("ward:lesion_percent",)),
    )
    assert found.models[0].fit.names == ("intercept", "ward: north", "ward: west")
    assert found.models[-1].fit.names[-2:] == (
        "ward: north × lesion_percent (per SD)",
        "ward: west × lesion_percent (per SD)",
    )
    # What is in the model is not tested again.
    assert [(test.model, test.second) for test in found.interactions] == [("B", "ward")]
    assert found.interactions[0].test.degrees_of_freedom == 2


def test_a_text_that_only_patients_held_out_have_is_not_taken_for_another(tmp_path: Path):
    rows = rows_of()
    plain = prognosis(table_of(tmp_path, rows), OPTIONS)
    random = np.random.default_rng(0)
    for row in rows:
        row["ward"] = ("east", "north")[random.integers(2)]
    held_out = [row for row, out in zip(rows, held_out_rows(rows), strict=True) if out]
    assert len(held_out) == len(plain.judged_events)
    held_out[0]["ward"] = "south"
    with pytest.raises(BadInputError, match="“ward: south” is the same for all patients"):
        prognosis(table_of(tmp_path, rows), PrognosisOptions(clinical=("ward",)))


def held_out_rows(rows: list[dict[str, Any]]) -> np.ndarray:
    """Which patients the default options hold out, bool."""
    events = np.array([row["outcome"] == 1 for row in rows])
    return divided({}, events, PrognosisOptions(), "patients").judged


def test_missing_values_are_counted_by_outcome_and_left_out(tmp_path: Path):
    rows = rows_of()
    with_event = [row for row in rows if row["outcome"] == 1]
    without = [row for row in rows if row["outcome"] == 0]
    for row in (*with_event[:2], *without[:5]):
        row["lesion_percent"] = ""
    without[9]["outcome"] = "NA"
    found = prognosis(table_of(tmp_path, rows), OPTIONS)
    by_column = {row.column: row for row in found.missing}
    burden = by_column["lesion_percent"]
    assert (burden.missing, burden.missing_with_event, burden.missing_without_event) == (7, 2, 5)
    assert by_column["outcome"].missing == 1 and found.patients == 492
    assert any(text.startswith("8 of 500 patients lack a value") for text in found.warnings)


def test_few_events_for_each_variable_are_warned_of(tmp_path: Path):
    rows = rows_of(240)
    found = prognosis(
        table_of(tmp_path, rows), PrognosisOptions(clinical=("sex", "hypertension", "over_7_days"))
    )
    assert found.models[-1].events_per_variable < 10
    assert any("events for each variable" in text for text in found.warnings)


def test_outcomes_in_words_need_the_event_named(tmp_path: Path):
    rows = rows_of()
    for row in rows:
        row["outcome"] = "died" if row["outcome"] else "well"
    table = table_of(tmp_path, rows)
    with pytest.raises(BadInputError, match="holds “died”, “well”, not 0 and 1; say with --event"):
        prognosis(table, OPTIONS)
    found = prognosis(table, PrognosisOptions(clinical=CLINICAL, event="died"))
    assert found.events == sum(row["outcome"] == "died" for row in rows)
    with pytest.raises(BadInputError, match="must hold two values, one of them “gone”"):
        prognosis(table, PrognosisOptions(event="gone"))


def test_one_scan_of_a_patient_counts(tmp_path: Path):
    rows = rows_of()
    for row in rows:
        row["days_from_onset"] = 5
    rows.append({**rows[0], "scan_id": "again", "days_from_onset": 9, "lesion_percent": 77.0})
    table = table_of(tmp_path, rows)
    with pytest.raises(BadInputError, match=r"In line 502 .* patient p0001 comes a second time"):
        prognosis(table, OPTIONS)
    for scan, burden in (("first", rows[0]["lesion_percent"]), ("last", 77.0)):
        kept = one_row_a_patient(table, PrognosisOptions(scan=scan))
        assert len(kept.frame) == 500
        of_first = kept.frame["patient_id"] == "p0001"
        assert kept.numbers("lesion_percent")[of_first].tolist() == [burden]


def test_separation_is_refused_and_the_penalised_fit_is_given(tmp_path: Path):
    rows = rows_of()
    for row in rows:
        row["intubated"] = int(row["outcome"] == 1 and row["lesion_percent"] > 8)
    table = table_of(tmp_path, rows)
    options = {"clinical": ("sex", "intubated")}
    with pytest.raises(BadInputError, match="parted by “intubated” alone"):
        prognosis(table, PrognosisOptions(**options))
    found = prognosis(table, PrognosisOptions(**options, penalised=True))
    fit = found.models[0].fit
    assert fit.penalised and np.isfinite(fit.limits).all() and fit.coefficients[-1] > 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"clinical": ("weight",)}, "no column “weight”"),
        ({"outcome": "sex", "clinical": ("sex",)}, "cannot predict itself"),
        ({"score": None, "burden": None}, "Neither a score nor a burden"),
        ({"clinical": ("patient_id",)}, "different texts; give a column"),
        ({"clinical": ("status",)}, "is the same for all patients who are fitted"),
        ({"clinical": CLINICAL, "interactions": ("sex",)}, "“sex” is no pair of variables"),
        ({"outcome": "lesion_percent", "burden": None}, "not 0 and 1"),
    ],
)
def test_options_that_cannot_be_used(tmp_path: Path, options: dict[str, Any], part: str):
    with pytest.raises(BadInputError, match=part):
        prognosis(table_of(tmp_path, rows_of()), PrognosisOptions(**options))


def test_too_few_events_are_refused(tmp_path: Path):
    rows = rows_of(60)
    for index, row in enumerate(rows):
        row["outcome"] = int(index < 9)
    with pytest.raises(BadInputError, match="9 with the event and 51 without; 10 of each"):
        prognosis(table_of(tmp_path, rows), OPTIONS)
    for index, row in enumerate(rows):
        row["outcome"] = int(index < 12)
    with pytest.raises(BadInputError, match=r"held-out part .* 4 events .*use --validation cross"):
        prognosis(table_of(tmp_path, rows), OPTIONS)


def test_a_word_among_numbers_is_no_category(tmp_path: Path):
    rows = rows_of()
    rows[4]["lesion_percent"] = "about 12"
    with pytest.raises(BadInputError, match="“about 12” in line 6, column lesion_percent"):
        prognosis(table_of(tmp_path, rows), OPTIONS)


def test_a_saved_model_predicts_as_the_fitted_one(tmp_path: Path):
    rows = rows_of()
    table = table_of(tmp_path, rows)
    found = prognosis(
        table, PrognosisOptions(clinical=CLINICAL, validation=CROSS_VALIDATED, repeats=1)
    )
    model = found.models[-1]
    write_model(tmp_path / "model.json", found, model)
    applied = apply_model(read_model(tmp_path / "model.json"), table)
    values = {
        column: np.array([row[column] for row in rows], float)
        for column in (*CLINICAL, "lesion_percent")
    }
    expected = 1 / (1 + np.exp(-model.fit.log_odds(model.design.matrix(values))))
    probability = np.array([row.probability for row in applied.predictions])
    assert probability == pytest.approx(expected, abs=1e-12)
    assert all(row.lower < row.probability < row.upper for row in applied.predictions)
    assert applied.c is not None and applied.c.c == pytest.approx(model.training_c)
    assert applied.calibration.slope == pytest.approx(1.0, abs=1e-6)


def test_rows_without_a_prediction_say_why_and_rows_outside_are_named(tmp_path: Path):
    rows = rows_of()
    for index, row in enumerate(rows):
        row["ward"] = ("east", "north")[index % 2]
    options = PrognosisOptions(clinical=("ward",), score=None)
    found = prognosis(table_of(tmp_path, rows), options)
    write_model(tmp_path / "model.json", found, found.models[-1])
    others = [dict(row) for row in rows[:4]]
    others[0]["lesion_percent"] = ""
    others[1]["ward"] = "south"
    others[2]["lesion_percent"] = 99.0
    for row in others:
        del row["outcome"]
    applied = apply_model(read_model(tmp_path / "model.json"), table_of(tmp_path, others))
    first, second, third, fourth = applied.predictions
    assert first.reason == "lesion_percent is missing" and np.isnan(first.probability)
    assert second.reason == "ward is not one of east, north"
    assert third.outside == "lesion_percent" and third.at_risk == 1
    assert (fourth.reason, fourth.outside, fourth.place) == ("", "", 5)
    assert applied.c is None and len(applied.warnings) == 2


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("kind", "something else", "is no model"),
        ("format", 2, "is no model"),
        ("variables", None, "damaged"),
        ("coefficients", [1.0], "damaged or was changed by hand"),
        ("coefficients", ["x"] * 4, "damaged"),
        ("terms", ["intercept"], "damaged"),
        ("variables", [{}], "damaged"),
        ("cut_off", None, "damaged"),
    ],
)
def test_a_model_file_that_was_changed_is_refused(
    tmp_path: Path, key: str, value: object, part: str
):
    found = prognosis(table_of(tmp_path, rows_of()), OPTIONS)
    write_model(tmp_path / "model.json", found, found.models[-1])
    content = json.loads((tmp_path / "model.json").read_text())
    (tmp_path / "model.json").write_text(json.dumps({**content, key: value}))
    with pytest.raises(BadInputError, match=part):
        read_model(tmp_path / "model.json")


def test_the_command_and_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    table_of(tmp_path, rows_of())
    table, out, applied = (str(tmp_path / name) for name in ("patients.csv", "out", "applied"))
    assert cli.main(["prognosis", table, "--clinical", ",".join(CLINICAL), "-o", out]) == 0
    assert sorted(path.name for path in Path(out).iterdir()) == sorted(PROGNOSIS_FILES)
    assert "model C" in capsys.readouterr().out
    page = (Path(out) / "prognosis.html").read_text(encoding="utf-8")
    assert page.count("data:image/svg+xml") == 4 and "predict nothing of a patient" in page
    with (Path(out) / "odds_ratios.csv").open(newline="", encoding="utf-8") as file:
        odds = {(row["model"], row["term"]): row for row in csv.DictReader(file)}
    row = odds["C", "lesion_percent (per SD)"]
    assert float(row["odds_ratio"]) == pytest.approx(np.exp(float(row["log_odds"])))
    model = str(Path(out) / MODEL_FILE)
    assert cli.main(["prognosis", table, "--apply", model, "-o", applied]) == 0
    assert sorted(path.name for path in Path(applied).iterdir()) == sorted(APPLIED_FILES)
    with (Path(applied) / "predictions.csv").open(newline="", encoding="utf-8") as file:
        predictions = list(csv.DictReader(file))
    assert len(predictions) == 500 and predictions[0]["scan_id"] == "s0001"
