"""The same cubic as a linear mixed model: each patient has terms of their own.

y = (a + u)·x + (b + v)·x² + c·x³ + e, with u and v of one patient drawn together from a normal
distribution. Where that does not converge, v is left out, which is said.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from CovidLungQuantLib.cohort.time_curve import POWERS, UNIT_DAYS, peak

OF_DAY_AND_SQUARE = "day and day²"
OF_DAY = "day"
# A richer model that is less likely by more than this was not fitted to its maximum.
LIKELIHOOD_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class MixedFit:
    """The fitted mixed model (REML); NaN where it could not be fitted, `reason` says why.

    Attributes:
        coefficients: (3,) a, b, c per day, day² and day³.
        limits: (2, 3), 95 %.
        peak_day: of the fixed effects; NaN without a peak up to the last day.
        peak_height: there.
        random_terms: which terms vary from patient to patient.
        residual_sd: of a scan around its patient's curve.
        reason: why nothing is given, or what was left out.
    """

    coefficients: np.ndarray
    limits: np.ndarray
    peak_day: float
    peak_height: float
    random_terms: str
    residual_sd: float
    reason: str = ""


def fit_mixed(days: np.ndarray, values: np.ndarray, patients: np.ndarray) -> MixedFit:
    """Fit the model to scans; arguments as of `time_curve.fit_cubic`."""
    design = _powers(days)
    unit = UNIT_DAYS**POWERS
    for terms, columns in ((OF_DAY_AND_SQUARE, 2), (OF_DAY, 1)):
        result = _fitted(values, design, patients, columns, reml=True)
        if result is None:
            continue
        coefficients = np.asarray(result.fe_params) / unit
        # Of the fixed effects; the variances of the random ones follow them.
        limits = np.asarray(result.conf_int())[:3].T / unit
        day, height = peak(coefficients, float(days.max()))
        reason = "" if columns == 2 else "a second random term did not converge and was left out"
        return MixedFit(
            coefficients,
            limits,
            float(day),
            float(height),
            terms,
            math.sqrt(float(result.scale)),
            reason,
        )
    return MixedFit(
        np.full(3, np.nan),
        np.full((2, 3), np.nan),
        math.nan,
        math.nan,
        "",
        math.nan,
        "the mixed model does not converge on these scans",
    )


def compare_groups(
    days: np.ndarray, values: np.ndarray, patients: np.ndarray, groups: np.ndarray
) -> tuple[float, int, float]:
    """Whether groups follow different curves: χ², degrees of freedom and p; NaN if undefined.

    Likelihood ratio (ML) of the mixed model with curves of their own against one with one curve.
    """
    names = np.unique(groups)
    one = _powers(days)
    own = np.concatenate([one * (groups == name)[:, None] for name in names], axis=1)
    freedom = own.shape[1] - one.shape[1]
    for columns in (2, 1):
        less = _fitted(values, one, patients, columns, reml=False)
        more = _fitted(values, own, patients, columns, reml=False, random_design=one[:, :columns])
        if less is not None and more is not None:
            chi2 = 2.0 * (float(more.llf) - float(less.llf))
            if chi2 > -LIKELIHOOD_TOLERANCE:
                return max(0.0, chi2), freedom, float(stats.chi2.sf(max(0.0, chi2), freedom))
    return math.nan, freedom, math.nan


def _powers(days: np.ndarray) -> np.ndarray:
    return (np.asarray(days, float) / UNIT_DAYS)[:, None] ** POWERS


def _fitted(
    values: np.ndarray,
    design: np.ndarray,
    patients: np.ndarray,
    random_columns: int,
    reml: bool,
    random_design: np.ndarray | None = None,
) -> Any | None:
    """The fit by statsmodels; None where it does not converge."""
    import statsmodels.api as sm

    if random_design is None:
        random_design = design[:, :random_columns]
    with warnings.catch_warnings():
        # What it warns of is read from the result.
        warnings.simplefilter("ignore")
        try:
            model = sm.MixedLM(values, design, groups=patients, exog_re=random_design)
            # Slower than the others, but these stop short of the maximum on such data.
            result = model.fit(reml=reml, method=["powell"])
        except (np.linalg.LinAlgError, ValueError):
            return None
    fixed_errors = np.asarray(result.bse)[: design.shape[1]]
    sound = bool(result.converged) and math.isfinite(result.llf)
    return result if sound and np.isfinite(fixed_errors).all() else None
