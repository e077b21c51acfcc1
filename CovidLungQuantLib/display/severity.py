"""The severity scores of a scan in words."""

from __future__ import annotations

from dataclasses import dataclass

from CovidLungQuantLib.labels import APPROXIMATION, LOBES
from CovidLungQuantLib.measures.score_bins import (
    CT_SCORE,
    CT_SEVERITY_SCORE,
    SEVERE_CT_SEVERITY_SCORE,
    TOTAL_SEVERITY_SCORE,
)
from CovidLungQuantLib.measures.severity import Severity


@dataclass(frozen=True)
class ScoreFact:
    """A score of the whole scan; `value` is None where it is unknown, `detail` says more."""

    name: str
    value: int | None
    highest: int
    detail: str


def score_facts(severity: Severity) -> list[ScoreFact]:
    """Return the scores of a scan, each with its highest value and a detail."""
    severe = (
        f"severe: above {SEVERE_CT_SEVERITY_SCORE}"
        if severity.is_severe
        else f"not above the mark of {SEVERE_CT_SEVERITY_SCORE}"
    )
    return [
        _fact(
            CT_SCORE.name,
            severity.ct_score,
            CT_SCORE.highest,
            f"five lobes of 0–{CT_SCORE.highest_of_part}",
        ),
        _fact("Involved lobes", severity.involved_lobes, len(LOBES), "with more than stray lesion"),
        _fact(
            f"CT-SS ({APPROXIMATION})",
            severity.ct_severity_score,
            CT_SEVERITY_SCORE.highest,
            severe,
        ),
        _fact(
            TOTAL_SEVERITY_SCORE.name,
            severity.total_severity_score,
            TOTAL_SEVERITY_SCORE.highest,
            f"five lobes of 0–{TOTAL_SEVERITY_SCORE.highest_of_part}",
        ),
    ]


def _fact(name: str, value: int | None, highest: int, detail: str) -> ScoreFact:
    unknown = "unknown: a lobe or region is missing"
    return ScoreFact(name, value, highest, unknown if value is None else detail)
