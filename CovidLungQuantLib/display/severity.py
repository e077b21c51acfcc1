"""The severity scores of a scan in words."""

from __future__ import annotations

from dataclasses import dataclass

from CovidLungQuantLib.labels import APPROXIMATION, LOBES
from CovidLungQuantLib.measures.severity import (
    HIGHEST_CT_SCORE,
    HIGHEST_CT_SEVERITY_SCORE,
    HIGHEST_TOTAL_SEVERITY_SCORE,
    SEVERE_CT_SEVERITY_SCORE,
    Severity,
)


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
        _fact("Lobe CT score", severity.ct_score, HIGHEST_CT_SCORE, "five lobes of 0–5"),
        _fact("Involved lobes", severity.involved_lobes, len(LOBES), "with more than stray lesion"),
        _fact(
            f"CT-SS ({APPROXIMATION})",
            severity.ct_severity_score,
            HIGHEST_CT_SEVERITY_SCORE,
            severe,
        ),
        _fact(
            "Total severity score",
            severity.total_severity_score,
            HIGHEST_TOTAL_SEVERITY_SCORE,
            "five lobes of 0–4",
        ),
    ]


def _fact(name: str, value: int | None, highest: int, detail: str) -> ScoreFact:
    unknown = "unknown: a lobe or region is missing"
    return ScoreFact(name, value, highest, unknown if value is None else detail)
