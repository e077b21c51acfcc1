"""Severity scores at every edge of their bins."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from CovidLungQuantLib.labels import LOBES, LUNG_SEGMENTS
from CovidLungQuantLib.measures import score_bins
from CovidLungQuantLib.measures.score_bins import (
    CT_SCORE,
    CT_SEVERITY_SCORE,
    TOTAL_SEVERITY_SCORE,
    Edge,
    ct_score_table,
    ct_score_tip,
    score_notes,
    score_sums_tip,
)
from CovidLungQuantLib.measures.severity import (
    DEFAULT_MINIMUM_LESION_ML,
    Severity,
    score_severity,
    severity_notes,
)
from CovidLungQuantLib.measures.volumes import RegionMeasurement, label_histograms, measure_region

JUST_BELOW = {edge: math.nextafter(edge, 0.0) for edge in (5.0, 25.0, 50.0, 75.0, 100.0)}
JUST_ABOVE = {edge: math.nextafter(edge, 101.0) for edge in (0.0, 5.0, 25.0, 50.0, 75.0)}


def a_row(name: str, lesion_percent: float, volume_ml: float = 100.0) -> RegionMeasurement:
    """A row of lung with this lesion extent; the other numbers do not matter."""
    nothing = np.zeros((1, 1, 1), np.int16)
    histograms = label_histograms(nothing, nothing, nothing)
    return replace(
        measure_region(name, histograms, 1.0),
        volume_ml=volume_ml,
        lesion_ml=0.0 if math.isnan(lesion_percent) else volume_ml * lesion_percent / 100.0,
        lesion_percent=lesion_percent,
    )


def severity_of(
    lobe_percents: list[float],
    region_percents: list[float],
    minimum_lesion_ml: float = 0.0,
    volume_ml: float = 100.0,
) -> Severity:
    lobes = [a_row(lobe.name, p, volume_ml) for lobe, p in zip(LOBES, lobe_percents, strict=True)]
    regions = [
        a_row(segment.row_name, p, volume_ml)
        for segment, p in zip(LUNG_SEGMENTS, region_percents, strict=True)
    ]
    return score_severity(lobes, regions, minimum_lesion_ml)


@pytest.mark.parametrize(
    ("extent_percent", "score"),
    [
        (0.0, 0),
        (JUST_ABOVE[0.0], 1),
        (JUST_BELOW[5.0], 1),
        (5.0, 2),
        (JUST_ABOVE[5.0], 2),
        (JUST_BELOW[25.0], 2),
        (25.0, 2),
        (JUST_ABOVE[25.0], 3),
        (JUST_BELOW[50.0], 3),
        (50.0, 4),
        (JUST_ABOVE[50.0], 4),
        (JUST_BELOW[75.0], 4),
        (75.0, 4),
        (JUST_ABOVE[75.0], 5),
        (JUST_BELOW[100.0], 5),
        (100.0, 5),
    ],
)
def test_the_ct_score_of_a_lobe(extent_percent: float, score: int):
    assert CT_SCORE.score(extent_percent) == score


@pytest.mark.parametrize(
    ("extent_percent", "score"),
    [
        (0.0, 0),
        (JUST_ABOVE[0.0], 1),
        (25.0, 1),
        (JUST_ABOVE[25.0], 2),
        (50.0, 2),
        (JUST_ABOVE[50.0], 3),
        (75.0, 3),
        (JUST_ABOVE[75.0], 4),
        (100.0, 4),
    ],
)
def test_the_total_severity_score_of_a_lobe(extent_percent: float, score: int):
    assert TOTAL_SEVERITY_SCORE.score(extent_percent) == score


@pytest.mark.parametrize(
    ("extent_percent", "score"),
    [(0.0, 0), (JUST_ABOVE[0.0], 1), (JUST_BELOW[50.0], 1), (50.0, 2), (100.0, 2)],
)
def test_the_ct_ss_of_a_region(extent_percent: float, score: int):
    assert CT_SEVERITY_SCORE.score(extent_percent) == score


@pytest.mark.parametrize(
    "score", [CT_SCORE.score, TOTAL_SEVERITY_SCORE.score, CT_SEVERITY_SCORE.score]
)
@pytest.mark.parametrize("extent_percent", [math.nan, -0.1, 100.1])
def test_what_is_no_percentage_is_never_scored(score, extent_percent: float):
    with pytest.raises(ValueError, match="no extent"):
        score(extent_percent)


def test_the_sums_are_those_of_the_parts():
    severity = severity_of([0.0, 4.0, 25.0, 40.0, 80.0], [0.0] * 5 + [10.0] * 9 + [50.0] * 6)

    assert [lobe.ct_score for lobe in severity.lobes] == [0, 1, 2, 3, 5]
    assert severity.ct_score == 11
    assert severity.involved_lobes == 4
    assert [lobe.total_severity_score for lobe in severity.lobes] == [0, 1, 1, 2, 4]
    assert severity.total_severity_score == 8
    assert severity.ct_severity_score == 9 + 12


def test_the_highest_scores_are_25_20_and_40():
    severity = severity_of([100.0] * 5, [100.0] * 20)

    assert (severity.ct_score, severity.total_severity_score) == (25, 20)
    assert severity.ct_severity_score == 40


@pytest.mark.parametrize(("involved", "is_severe"), [(19, False), (20, True)])
def test_severe_is_above_19_5(involved: int, is_severe: bool):
    severity = severity_of([10.0] * 5, [10.0] * involved + [0.0] * (20 - involved))

    assert severity.ct_severity_score == involved
    assert severity.is_severe is is_severe


def test_a_few_stray_voxels_do_not_score():
    # 1 % of 100 mL is exactly the minimum, and only above it counts.
    at, above = 1.0, math.nextafter(1.0, 2.0)
    severity = severity_of([at] * 5, [at] * 20, DEFAULT_MINIMUM_LESION_ML)
    assert (severity.ct_score, severity.involved_lobes, severity.ct_severity_score) == (0, 0, 0)
    assert severity.total_severity_score == 0

    severity = severity_of([above] * 5, [above] * 20, DEFAULT_MINIMUM_LESION_ML)
    assert (severity.ct_score, severity.involved_lobes, severity.ct_severity_score) == (5, 5, 20)


def test_a_missing_lobe_is_unknown_and_so_are_the_sums():
    severity = severity_of([0.0, math.nan, 10.0, 10.0, 10.0], [10.0] * 20)

    middle = severity.lobes[1]
    assert (middle.involved, middle.ct_score, middle.total_severity_score) == (None, None, None)
    assert severity.lobes[2].ct_score == 2
    assert severity.ct_score is None
    assert severity.involved_lobes is None
    assert severity.total_severity_score is None
    assert severity.ct_severity_score == 20


def test_a_missing_region_leaves_the_ct_ss_unknown_even_if_all_others_are_clear():
    severity = severity_of([0.0] * 5, [0.0] * 19 + [math.nan])

    assert severity.ct_severity_score is None
    assert severity.is_severe is None
    assert severity.ct_score == 0


def test_rows_must_be_complete():
    with pytest.raises(ValueError, match="all lobes"):
        score_severity([a_row("x", 1.0)] * 4, [a_row("x", 1.0)] * 20)


def test_the_notes_print_the_bins_and_the_minimum():
    notes = " ".join(severity_notes(1.5))

    for part in ("1.5 mL", "5 to 25 %", "50 to 75 %", "19.5", "approximation", "unknown"):
        assert part in notes


def test_the_notes_are_made_from_the_bins():
    assert score_notes() == (
        "Lobe CT score, 0–25 (Pan F. 2020): each lobe by lesion extent p: 0 none; 1 under 5 %; 2 "
        "from 5 to 25 %; 3 above 25 and under 50 %; 4 from 50 to 75 %; 5 above 75 %.",
        "CT severity score (CT-SS), 0–40 (Yang 2020): each of 20 regions 0 none; 1 under 50 %; 2 "
        "from 50 %; severe above 19.5 (published sensitivity 83.3 %, specificity 94 %).",
        "Total severity score, 0–20 (Bernheim 2020): each lobe 0 none; 1 up to 25 %; 2 up to 50 %; "
        "3 up to 75 %; 4 above 75 %.",
    )


def test_panel_and_tutorial_say_the_bins():
    root = Path(__file__).resolve().parents[2]
    panel = {
        element.text
        for file in (root / "CovidLungQuant" / "Resources" / "UI").glob("*.ui")
        for element in ElementTree.parse(file).iter("string")
    }
    assert {ct_score_tip(), score_sums_tip()} <= panel
    assert ct_score_table() in (root / "Docs" / "tutorial.md").read_text(encoding="utf-8")


def test_a_changed_bin_changes_score_and_words(monkeypatch: pytest.MonkeyPatch):
    edges = (Edge(10.0, counts=False), *CT_SCORE.edges[1:])
    monkeypatch.setattr(score_bins, "CT_SCORE", replace(CT_SCORE, edges=edges))
    assert [score_bins.CT_SCORE.score(p) for p in (7.0, 10.0, 10.1)] == [1, 1, 2]
    assert "1 up to 10 %; 2 up to 25 %; 3 above 25" in score_notes()[0]
    assert "none, up to 10 %, up to 25 %, above 25" in ct_score_tip()
    assert "| up to 10 % | up to 25 % |" in ct_score_table()


def test_words_for_every_kind_of_bin():
    def words(*edges: Edge) -> tuple[str, ...]:
        return replace(CT_SCORE, edges=edges).bin_texts[1:]

    low, high = (5.0, 25.0)
    assert words() == ("any",)
    assert words(Edge(low, True)) == ("under 5 %", "from 5 %")
    assert words(Edge(low, True), Edge(high, True))[1] == "from 5 and under 25 %"
    assert words(Edge(low, True), Edge(high, False))[1] == "from 5 to 25 %"
    assert words(Edge(low, False), Edge(high, True))[1] == "above 5 and under 25 %"
    assert words(Edge(low, False), Edge(high, False))[1:] == ("up to 25 %", "above 25 %")
