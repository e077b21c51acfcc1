"""The cubic through the origin that Pan et al. 2021 fit to serial scans, with its uncertainty.

y = a·x + b·x² + c·x³, x in days from the onset of symptoms. Scans of one patient are not
independent: the standard errors of the band come from a bootstrap that draws whole patients; those
of coefficients and peak, and p, from the covariance robust against clusters of one patient. Limits
take Student's t of patients − 1 degrees of freedom.

Limits of the peak's day are the days at which the slope a + 2bx + 3cx² differs from zero no more
than chance allows (as Fieller's theorem has it for a ratio). Those of its height are of the curve
at that day: the slope there is zero, so that the day's own uncertainty does not count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

COEFFICIENTS = ("a", "b", "c")
POWERS = np.arange(1, 4)
DEFAULT_BOOTSTRAPS = 2000
CONFIDENCE_PERCENTILES = (2.5, 97.5)
FEWEST_SCANS = 8
FEWEST_PATIENTS = 4
# Points of the curve that is drawn and written.
CURVE_POINTS = 101
# Days at which the slope is tested for the limits of the peak.
LIMIT_POINTS = 2001
# In whose unit, days, the fit is computed, so that the powers are of similar size.
UNIT_DAYS = 10.0


@dataclass(frozen=True, eq=False)
class CubicFit:
    """A fitted curve; 95 % limits have the shape (2, …), lower first; NaN is undefined.

    Attributes:
        scans: fitted.
        patients: they come from.
        coefficients: a, b, c per day, day² and day³.
        standard_errors: robust against clusters.
        limits: (2, 3) of the coefficients.
        r2: 1 − Σ(y − ŷ)²/Σy², what SPSS gives for a curve without a constant.
        r2_about_mean: 1 − Σ(y − ŷ)²/Σ(y − ȳ)², negative where the mean alone is closer.
        p: of the F test that all coefficients are zero, as if scans were independent.
        p_clustered: of the Wald test robust against clusters.
        peak_day: where the curve is highest; NaN where it has no peak up to the last day.
        peak_height: there.
        peak_day_limits: (2,); one that is NaN lies before the first or after the last day.
        peak_height_limits: (2,).
        without_peak_percent: bootstrap draws without a peak up to the last day.
        days: (points,) from 0 to the last day.
        curve: (points,) there.
        band: (2, points), limits of the curve at each day by itself.
    """

    scans: int
    patients: int
    coefficients: np.ndarray
    standard_errors: np.ndarray
    limits: np.ndarray
    r2: float
    r2_about_mean: float
    p: float
    p_clustered: float
    peak_day: float
    peak_height: float
    peak_day_limits: np.ndarray
    peak_height_limits: np.ndarray
    without_peak_percent: float
    days: np.ndarray
    curve: np.ndarray
    band: np.ndarray


def cubic(coefficients: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Values of curves; coefficients (…, 3) at days (n,) give (…, n)."""
    return np.asarray(coefficients, float) @ _powers(np.asarray(days, float)).T


def peak(coefficients: np.ndarray, last_day: float) -> tuple[np.ndarray, np.ndarray]:
    """Day and height of the maximum of curves (…, 3) within 0 to `last_day`; NaN where none is.

    a + 2bx + 3cx² = 0 has the maximum at x = a / (−b + √(b² − 3ac)), also where c is zero.
    """
    a, b, c = np.moveaxis(np.asarray(coefficients, float), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(b**2 - 3 * a * c)
        day = a / (root - b)
        day = np.where((root > 0) & (day > 0) & (day <= last_day), day, np.nan)
        return day, a * day + b * day**2 + c * day**3


def fit_cubic(
    days: np.ndarray,
    values: np.ndarray,
    patients: np.ndarray,
    bootstraps: int = DEFAULT_BOOTSTRAPS,
    seed: int = 0,
) -> CubicFit:
    """Fit the curve to scans.

    Args:
        days: (scans,) from onset, 0 or more; three different ones above 0 at least.
        values: (scans,) without NaN.
        patients: (scans,) whose scan it is.
        bootstraps: draws of patients with replacement.
        seed: of the draws.
    """
    import statsmodels.api as sm

    names, patient_numbers = np.unique(patients, return_inverse=True)
    design = _powers(days / UNIT_DAYS)
    unit = UNIT_DAYS**POWERS
    plain = sm.OLS(values, design).fit()
    clustered = plain.get_robustcov_results(
        cov_type="cluster", groups=patient_numbers, use_t=True, use_correction=True
    )
    coefficients = plain.params / unit
    last_day = float(days.max())
    grid = np.linspace(0.0, last_day, CURVE_POINTS)
    drawn = _bootstrap(design, values, patient_numbers, len(names), bootstraps, seed) / unit
    peak_day, peak_height = (float(number) for number in peak(coefficients, last_day))
    covariance = clustered.cov_params() / np.outer(unit, unit)
    most_errors = float(stats.t.ppf(CONFIDENCE_PERCENTILES[1] / 100, len(names) - 1))
    residual = float(((values - plain.fittedvalues) ** 2).sum())
    about_mean = float(((values - values.mean()) ** 2).sum())
    return CubicFit(
        scans=len(values),
        patients=len(names),
        coefficients=coefficients,
        standard_errors=np.asarray(clustered.bse) / unit,
        limits=np.asarray(clustered.conf_int()).T / unit,
        r2=float(plain.rsquared),
        r2_about_mean=1.0 - residual / about_mean if about_mean > 0 else math.nan,
        p=float(plain.f_pvalue),
        p_clustered=float(clustered.f_pvalue),
        peak_day=peak_day,
        peak_height=peak_height,
        peak_day_limits=_peak_day_limits(coefficients, covariance, most_errors, peak_day, last_day),
        peak_height_limits=_peak_height_limits(covariance, most_errors, peak_day, peak_height),
        without_peak_percent=100.0 * float(np.isnan(peak(drawn, last_day)[0]).mean()),
        days=grid,
        curve=cubic(coefficients, grid),
        band=_band(coefficients, drawn, grid, most_errors, len(names)),
    )


def _powers(days: np.ndarray) -> np.ndarray:
    return np.asarray(days, float)[:, None] ** POWERS


def _bootstrap(
    design: np.ndarray,
    values: np.ndarray,
    patient_numbers: np.ndarray,
    patients: int,
    bootstraps: int,
    seed: int,
) -> np.ndarray:
    """Coefficients (bootstraps, 3) of draws of patients, from each patient's sums of products."""
    products = np.zeros((patients, 3, 3))
    np.add.at(products, patient_numbers, design[:, :, None] * design[:, None, :])
    moments = np.zeros((patients, 3))
    np.add.at(moments, patient_numbers, design * values[:, None])
    random = np.random.default_rng(seed)
    times = random.multinomial(patients, np.full(patients, 1 / patients), size=bootstraps)
    left = np.tensordot(times, products, axes=1)
    right = times @ moments
    # Draws of so few different days that they determine no cubic have the smallest solution.
    return np.einsum("bij,bj->bi", np.linalg.pinv(left, hermitian=True), right)


def _band(
    coefficients: np.ndarray,
    drawn: np.ndarray,
    days: np.ndarray,
    most_errors: float,
    patients: int,
) -> np.ndarray:
    """The curve ± t standard errors of the bootstrap, which divides by n instead of n − 1."""
    errors = cubic(drawn, days).std(axis=0, ddof=1) * math.sqrt(patients / (patients - 1))
    return cubic(coefficients, days) + np.outer([-most_errors, most_errors], errors)


def _peak_day_limits(
    coefficients: np.ndarray,
    covariance: np.ndarray,
    most_errors: float,
    peak_day: float,
    last_day: float,
) -> np.ndarray:
    """The days around the peak where the slope may be zero; NaN where that reaches an end."""
    limits = np.full(2, np.nan)
    if np.isnan(peak_day):
        return limits
    days = np.linspace(0.0, last_day, LIMIT_POINTS)
    slopes = np.stack([np.ones_like(days), 2 * days, 3 * days**2], axis=1)
    errors = np.sqrt(np.einsum("ni,ij,nj->n", slopes, covariance, slopes))
    slope = slopes @ coefficients
    rising = days[(days < peak_day) & (slope > most_errors * errors)]
    falling = days[(days > peak_day) & (slope < -most_errors * errors)]
    if len(rising):
        limits[0] = rising[-1]
    if len(falling):
        limits[1] = falling[0]
    return limits


def _peak_height_limits(
    covariance: np.ndarray, most_errors: float, peak_day: float, peak_height: float
) -> np.ndarray:
    if np.isnan(peak_day):
        return np.full(2, np.nan)
    powers = _powers(np.array([peak_day]))[0]
    half_width = most_errors * math.sqrt(float(powers @ covariance @ powers))
    return np.array([peak_height - half_width, peak_height + half_width])
