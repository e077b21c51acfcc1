"""Cohorts drawn at random whose truth is known: to try the commands, and to test what they recover.

Serial scans follow the curves of Pan et al. 2021, outcomes the odds ratios of Bartoli et al. 2022.
Nobody's data are in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.published_cohorts import (
    BARTOLI_EVENT_SHARE,
    BARTOLI_ODDS_RATIOS,
    BARTOLI_SHARES,
    MODERATE,
    PAN_BURDEN_OF_SCORE_QUADRATIC,
    PAN_CURVES,
    SEVERE,
)
from CovidLungQuantLib.cohort.time_curve import cubic

Row = dict[str, Any]

GROUP_SIZES = {MODERATE: 61, SEVERE: 34}
# Up to which day the published curves of a group stay above zero.
LAST_DAYS = {MODERATE: 43.0, SEVERE: 60.0}
SCANS_OF_A_PATIENT = 5
# Shapes of the gamma factors, of mean 1, of a patient and of a scan.
PATIENT_SHAPE, SCAN_SHAPE = 12.0, 16.0
SCORE_NOISE = 0.7
HIGHEST_CT_SCORE, HIGHEST_SEVERITY_SCORE = 25, 40

BARTOLI_PATIENTS = 1621
# Of the extent in per cent: gamma, with mean 4 and SD 5.
EXTENT_SHAPE, EXTENT_SCALE = 0.64, 6.25
EXTENT_SD = EXTENT_SCALE * EXTENT_SHAPE**0.5
EXTENT_MEAN = EXTENT_SCALE * EXTENT_SHAPE
POPULATION = 400_000
OLD, MIDDLE = (65.0, 90.0), (45.0, 65.0)


@dataclass(frozen=True)
class Truth:
    """What a cohort of outcomes was drawn from.

    Attributes:
        log_odds: of each variable, the extent per percentage point.
        intercept: log odds where all are zero.
        c_statistic: of the true log odds in the whole population.
    """

    log_odds: Mapping[str, float]
    intercept: float
    c_statistic: float


def true_curves(group: str) -> dict[str, tuple[float, float, float]]:
    """Coefficients that scans of a group are drawn from; the burden is GGO and high opacity."""
    ggo = PAN_CURVES["ggo_percent"][group]
    high_opacity = PAN_CURVES["high_opacity_percent"][group]
    return {
        "ggo_percent": ggo,
        "high_opacity_percent": high_opacity,
        "lesion_percent": tuple(map(sum, zip(ggo, high_opacity, strict=True))),  # type: ignore[dict-item]
    }


def serial_scans(seed: int, sizes: Mapping[str, int] = GROUP_SIZES) -> list[Row]:
    """Serial scans of patients in groups: the true curve times a patient's and a scan's factor."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for group, patients in sizes.items():
        for patient in range(1, patients + 1):
            rows += _scans_of_patient(f"{group[0]}{patient:03d}", group, random)
    return rows


def _scans_of_patient(patient: str, group: str, random: np.random.Generator) -> list[Row]:
    steps = random.uniform(4.0, 10.0, SCANS_OF_A_PATIENT)
    steps[0] = random.uniform(1.0, 12.0)
    days = np.unique(np.minimum(np.cumsum(steps).round(), LAST_DAYS[group]))
    factor = random.gamma(PATIENT_SHAPE, 1 / PATIENT_SHAPE)
    noise = random.gamma(SCAN_SHAPE, 1 / SCAN_SHAPE, (2, len(days)))
    truth = true_curves(group)
    parts = cubic(np.array([truth["ggo_percent"], truth["high_opacity_percent"]]), days)
    ggo, high_opacity = parts * factor * noise
    scores = _scores_of_burden(ggo + high_opacity, random)
    return [
        {
            "scan_id": f"{patient}-{number + 1}",
            "patient_id": patient,
            "days_from_onset": float(days[number]),
            "group": group,
            "ct_score": int(scores[number]),
            "lesion_percent": float(ggo[number] + high_opacity[number]),
            "ggo_percent": float(ggo[number]),
            "high_opacity_percent": float(high_opacity[number]),
            "warnings": "",
            "status": "done",
        }
        for number in range(len(days))
    ]


def _scores_of_burden(lesion_percent: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The CT scores whose published burden is the given one, give or take."""
    constant, linear, square = PAN_BURDEN_OF_SCORE_QUADRATIC
    root = np.maximum(linear**2 - 4 * square * (constant - lesion_percent), 0.0)
    scores = (np.sqrt(root) - linear) / (2 * square)
    scores += random.normal(0.0, SCORE_NOISE, len(scores))
    return np.clip(scores.round(), 0, HIGHEST_CT_SCORE)


def outcome_truth() -> Truth:
    """The odds ratios of model C of Bartoli et al., with the intercept that gives their events."""
    from scipy import optimize

    log_odds = {name: float(np.log(value)) for name, value in BARTOLI_ODDS_RATIOS.items()}
    log_odds["lesion_percent"] /= EXTENT_SD
    variables = _variables(np.random.default_rng(0), POPULATION)
    score = sum(log_odds[name] * values for name, values in variables.items() if name in log_odds)

    def too_many(intercept: float) -> float:
        return float((1 / (1 + np.exp(-(intercept + score)))).mean()) - BARTOLI_EVENT_SHARE

    intercept = float(optimize.brentq(too_many, -15.0, 5.0))
    probability = 1 / (1 + np.exp(-(intercept + score)))
    return Truth(log_odds, intercept, _c_statistic_of(probability))


def _c_statistic_of(probability: np.ndarray) -> float:
    """C-statistic of true probabilities: over pairs of one with and one without the event."""
    probability = np.sort(probability)
    without_below = np.concatenate([[0.0], np.cumsum(1 - probability)[:-1]])
    concordant = float((probability * without_below).sum())
    return concordant / float(probability.sum() * (1 - probability).sum())


def outcome_columns(seed: int, truth: Truth, patients: int) -> dict[str, np.ndarray]:
    """Clinical variables, CT-SS, extent, and an outcome drawn from the truth; each (patients,)."""
    random = np.random.default_rng(seed)
    columns = _variables(random, patients)
    score = truth.intercept + sum(
        truth.log_odds[name] * values for name, values in columns.items() if name in truth.log_odds
    )
    outcome = random.random(patients) < 1 / (1 + np.exp(-score))
    severity = np.sqrt(columns["lesion_percent"]) * 4 + random.normal(0.0, 2.0, patients)
    columns["ct_severity_score"] = np.clip(severity.round(), 0, HIGHEST_SEVERITY_SCORE)
    columns["outcome"] = outcome.astype(float)
    return columns


def patients_with_outcome(seed: int, truth: Truth, patients: int = BARTOLI_PATIENTS) -> list[Row]:
    """The columns of `outcome_columns` as one row a patient."""
    columns = outcome_columns(seed, truth, patients)
    return [
        {
            "scan_id": f"s{number + 1:04d}",
            "patient_id": f"p{number + 1:04d}",
            **{name: _plain(values[number]) for name, values in columns.items()},
            "status": "done",
        }
        for number in range(patients)
    ]


def _variables(random: np.random.Generator, patients: int) -> dict[str, np.ndarray]:
    """Variables of patients, independent of each other but for the bands of age."""
    found: dict[str, np.ndarray] = {}
    age_draw = random.random(patients)
    older = BARTOLI_SHARES["age_over_64"]
    found["age_over_64"] = (age_draw < older).astype(float)
    found["age_45_64"] = (
        (age_draw >= older) & (age_draw < older + BARTOLI_SHARES["age_45_64"])
    ).astype(float)
    for name, share in BARTOLI_SHARES.items():
        if name not in found:
            found[name] = (random.random(patients) < share).astype(float)
    found["lesion_percent"] = random.gamma(EXTENT_SHAPE, EXTENT_SCALE, patients)
    return found


def _plain(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(value)


def reader_values(
    seed: int, cases: int = 30, readers: int = 3, bias: float = 0.8, sd: float = 1.5
) -> list[Row]:
    """The software's, several readers' and a repeated reading's lesion extent on the same cases.

    Reader 2 reads `bias` more than reader 1; differences of any two have the SD `sd`.
    """
    random = np.random.default_rng(seed)
    truth = random.gamma(2.0, 6.0, cases) + 4 * sd
    names = [
        "automatic",
        *(f"reader{number}" for number in range(1, readers + 1)),
        "reader1_repeat",
    ]
    values = {name: truth + random.normal(0.0, sd / 2**0.5, cases) for name in names}
    values["reader2"] = values["reader2"] + bias
    return [
        {
            "case": f"case{case + 1:02d}",
            "measure": "lesion extent (%)",
            **{name: float(column[case]) for name, column in values.items()},
        }
        for case in range(cases)
    ]


def feature_values(seed: int, scans: int = 60) -> list[Row]:
    """Features of lesion and parenchyma of scans: two of them mostly signal, one mostly bias."""
    random = np.random.default_rng(seed)
    rows: list[Row] = []
    for scan in range(1, scans + 1):
        bias_hu = random.normal(0.0, 25.0)
        severity_hu = random.gamma(6.0, 60.0)
        for region, mean_hu in (("lesion", -860 + severity_hu), ("parenchyma", -860.0)):
            is_lesion = region == "lesion"
            rows.append(
                {
                    "scan_id": f"s{scan:03d}",
                    "region": region,
                    "firstorder_Mean": mean_hu + bias_hu + random.normal(0.0, 4.0),
                    "glcm_Contrast": (12.0 if is_lesion else 4.0) * random.gamma(20.0, 0.05),
                    "firstorder_Minimum": -1000 + 3 * bias_hu + 0.02 * mean_hu,
                }
            )
    return rows
