"""A CT score against the burden (Pan et al. 2021): rank correlation, linear and quadratic fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from CovidLungQuantLib.cohort.pingouin_results import Correlation, partial_spearman
from CovidLungQuantLib.cohort.published_cohorts import PAN_BURDEN_OF_SCORE_QUADRATIC
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable

if TYPE_CHECKING:
    import pandas as pd

FEWEST_SCANS = 10
FEWEST_SCORES = 4
DEFAULT_BOOTSTRAPS = 1000
PLAIN, FOR_TIME, FOR_PATIENT, FOR_BOTH = "none", "time", "patient", "time and patient"
LINEAR, QUADRATIC = "linear", "quadratic"
CURVE_POINTS = 101
CT_SCORE = "ct_score"


@dataclass(frozen=True)
class ScoreBurdenOptions:
    """By which columns; None for days or patient leaves out what needs them."""

    score: str = CT_SCORE
    burden: str = "lesion_percent"
    days: str | None = None
    patient: str | None = None
    group: str | None = None
    bootstraps: int = DEFAULT_BOOTSTRAPS
    seed: int = 0


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's ρ of score and burden.

    Attributes:
        group: whose scans; empty for all.
        controlled_for: `PLAIN`, `FOR_TIME`, `FOR_PATIENT` or `FOR_BOTH`.
        correlation: NaN where undefined, `reason` says why.
        bootstrap_lower: 95 % limits of a bootstrap by patient, of the plain one only.
        bootstrap_upper: likewise.
    """

    group: str
    controlled_for: str
    correlation: Correlation
    bootstrap_lower: float = math.nan
    bootstrap_upper: float = math.nan
    reason: str = ""


@dataclass(frozen=True, eq=False)
class PolynomialFit:
    """Burden as a polynomial of the score by least squares.

    Attributes:
        kind: `LINEAR` or `QUADRATIC`.
        coefficients: constant first.
        limits: (2, coefficients), 95 %; robust against clusters where patients are known.
        r2: about the mean.
        r2_adjusted: for the number of coefficients.
        p: of the F test that all but the constant are zero.
        aic: Akaike's criterion; the lower the better.
        scores: (points,) from the lowest to the highest score.
        curve: (points,) burden there.
    """

    kind: str
    coefficients: np.ndarray
    limits: np.ndarray
    r2: float
    r2_adjusted: float
    p: float
    aic: float
    scores: np.ndarray
    curve: np.ndarray


@dataclass(frozen=True, eq=False)
class ScoreBurden:
    """Everything `score_burden` found.

    Attributes:
        options: asked for.
        scores: (scans,) of the scans with both values.
        burden: (scans,) likewise.
        groups: (scans,) likewise; all empty without groups.
        correlations: of all scans, then of each group.
        fits: linear, quadratic.
        p_of_square: of the F test that the square improves the fit.
        away_from_published: mean and SD of burden minus the published curve, for the CT score;
            NaN for others.
        warnings: what to know before these are used.
    """

    options: ScoreBurdenOptions
    scores: np.ndarray
    burden: np.ndarray
    groups: np.ndarray
    correlations: tuple[RankCorrelation, ...]
    fits: tuple[PolynomialFit, ...]
    p_of_square: float
    away_from_published: tuple[float, float]
    warnings: tuple[str, ...]


def score_burden(table: CohortTable, options: ScoreBurdenOptions) -> ScoreBurden:
    """Compare a score with the burden.

    Raises:
        BadInputError: a column is missing, an entry is no number, or there are too few scans.
    """
    import pandas as pd

    columns = {"score": table.numbers(options.score), "burden": table.numbers(options.burden)}
    if options.days is not None:
        columns["days"] = table.numbers(options.days)
    if options.patient is not None:
        columns["patient"] = table.texts(options.patient)
    if options.group is not None:
        columns["group"] = table.texts(options.group)
    frame = pd.DataFrame(columns)
    known = frame.dropna()
    warnings = _left_out(table, len(frame) - len(known), len(frame))
    scores, burden = known["score"].to_numpy(), known["burden"].to_numpy()
    _check_enough(table, options, scores, burden)
    groups = known["group"].to_numpy(str) if "group" in known else np.full(len(known), "")
    correlations = [
        found
        for group in ("", *sorted(set(groups.tolist()) - {""}))
        for found in _correlations(known[groups == group] if group else known, group, options)
    ]
    patients = known["patient"].to_numpy(str) if "patient" in known else None
    linear, quadratic, p_of_square = _fits(scores, burden, patients)
    away = (math.nan, math.nan)
    if options.score == CT_SCORE:
        difference = burden - np.polynomial.polynomial.polyval(
            scores, PAN_BURDEN_OF_SCORE_QUADRATIC
        )
        away = (float(difference.mean()), float(difference.std(ddof=1)))
    return ScoreBurden(
        options=options,
        scores=scores,
        burden=burden,
        groups=groups,
        correlations=tuple(correlations),
        fits=(linear, quadratic),
        p_of_square=p_of_square,
        away_from_published=away,
        warnings=tuple(warnings),
    )


def _left_out(table: CohortTable, missing: int, rows: int) -> list[str]:
    found = []
    if table.left_out:
        found.append(f"{table.left_out} rows were left out, since their scan was not measured.")
    if missing:
        found.append(f"{missing} of {rows} scans lack a value and are left out.")
    return found


def _check_enough(
    table: CohortTable, options: ScoreBurdenOptions, scores: np.ndarray, burden: np.ndarray
) -> None:
    if len(scores) < FEWEST_SCANS:
        raise BadInputError(
            f"{table.name} has {len(scores)} scans with {options.score} and {options.burden}; "
            f"{FEWEST_SCANS} are needed."
        )
    if len(set(scores)) < FEWEST_SCORES or np.ptp(burden) == 0:
        raise BadInputError(
            f"The scans of {table.name} have fewer than {FEWEST_SCORES} different values of "
            f"{options.score}, or all the same {options.burden}, to which no curve can be fitted; "
            "check the columns."
        )


def _correlations(
    frame: pd.DataFrame, group: str, options: ScoreBurdenOptions
) -> list[RankCorrelation]:
    """Plain, and partial for what the frame has."""
    import pandas as pd

    data = frame[["score", "burden"]].copy()
    for_time: list[str] = []
    for_patient: list[str] = []
    if "days" in frame:
        data["days"] = frame["days"]
        for_time = ["days"]
    if "patient" in frame and 1 < frame["patient"].nunique() < len(frame):
        # One column of 0 and 1 for each patient but the first.
        dummies = pd.get_dummies(frame["patient"], drop_first=True, dtype=float)
        dummies.columns = [f"patient {number}" for number in range(dummies.shape[1])]
        data = data.join(dummies)
        for_patient = list(dummies.columns)
    wanted: list[tuple[str, list[str]]] = [(PLAIN, [])]
    wanted += [(FOR_TIME, for_time)] if for_time else []
    wanted += [(FOR_PATIENT, for_patient)] if for_patient else []
    wanted += [(FOR_BOTH, for_time + for_patient)] if for_time and for_patient else []
    found = []
    for controlled_for, covariates in wanted:
        row = _rank_correlation(data, group, controlled_for, covariates)
        if controlled_for == PLAIN and not row.reason:
            patients = frame["patient"] if "patient" in frame else pd.Series(range(len(frame)))
            lower, upper = _bootstrap(frame, patients.to_numpy(), options)
            row = RankCorrelation(group, controlled_for, row.correlation, lower, upper)
        found.append(row)
    return found


def _rank_correlation(
    data: pd.DataFrame, group: str, controlled_for: str, covariates: Sequence[str]
) -> RankCorrelation:
    reason = ""
    if data["score"].nunique() < 2 or data["burden"].nunique() < 2:
        reason = "values that are all the same"
    elif len(data) < len(covariates) + 4:
        reason = "too few scans for so many patients"
    if reason:
        undefined = Correlation(len(data), *[math.nan] * 4)
        return RankCorrelation(group, controlled_for, undefined, reason=reason)
    found = partial_spearman(data, "score", "burden", covariates)
    return RankCorrelation(group, controlled_for, found)


def _bootstrap(
    frame: pd.DataFrame, patients: np.ndarray, options: ScoreBurdenOptions
) -> tuple[float, float]:
    """95 % limits of the plain ρ when patients are drawn with replacement."""
    import pandas as pd
    from scipy import stats

    values = frame[["score", "burden"]].to_numpy()
    numbers = pd.factorize(patients)[0]
    rows_of = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
    random = np.random.default_rng(options.seed)
    drawn = []
    for _ in range(options.bootstraps):
        rows = np.concatenate([rows_of[i] for i in random.integers(0, len(rows_of), len(rows_of))])
        score, burden = values[rows].T
        if np.ptp(score) and np.ptp(burden):
            drawn.append(float(stats.spearmanr(score, burden).statistic))
    lower, upper = np.percentile(drawn, (2.5, 97.5))
    return float(lower), float(upper)


def _fits(
    scores: np.ndarray, burden: np.ndarray, patients: np.ndarray | None
) -> tuple[PolynomialFit, PolynomialFit, float]:
    import statsmodels.api as sm

    grid = np.linspace(scores.min(), scores.max(), CURVE_POINTS)
    fitted, found = [], []
    for kind, degree in ((LINEAR, 1), (QUADRATIC, 2)):
        plain = sm.OLS(burden, np.vander(scores, degree + 1, increasing=True)).fit()
        limits = plain.conf_int()
        if patients is not None and len(set(patients)) > 1:
            numbers = np.unique(patients, return_inverse=True)[1]
            limits = plain.get_robustcov_results("cluster", groups=numbers, use_t=True).conf_int()
        fitted.append(plain)
        found.append(
            PolynomialFit(
                kind,
                np.asarray(plain.params),
                np.asarray(limits).T,
                float(plain.rsquared),
                float(plain.rsquared_adj),
                float(plain.f_pvalue),
                float(plain.aic),
                grid,
                np.polynomial.polynomial.polyval(grid, plain.params),
            )
        )
    p_of_square = float(fitted[1].compare_f_test(fitted[0])[1])
    return found[0], found[1], p_of_square
