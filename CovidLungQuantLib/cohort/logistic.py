"""Logistic regression: by statsmodels, with a check for separation, or penalised as Firth 1993.

Separation: a weighted sum of the variables parts those with the event from those without, wholly
or up to ties. The most likely odds ratio is then infinite and what a plain fit prints means
nothing. It is found by linear programming (Konis 2007). Firth's penalty, half the logarithm of the
determinant of the information, keeps estimates finite (Heinze and Schemper 2002).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import optimize, stats

from CovidLungQuantLib.errors import BadInputError

MOST_STEPS = 200
TOLERANCE = 1e-9
LARGEST_STEP = 5.0
# Standard error of the log odds over a variable's range beyond which separation is looked for.
SUSPECT_ERROR = 5.0


@dataclass(frozen=True, eq=False)
class LogisticFit:
    """A fitted model.

    Attributes:
        names: of the coefficients, the intercept first.
        coefficients: log odds.
        covariance: of them.
        log_likelihood: penalised where `penalised`.
        penalised: whether Firth's penalty was used.
        patients: fitted.
        events: among them.
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    covariance: np.ndarray
    log_likelihood: float
    penalised: bool
    patients: int
    events: int

    @property
    def standard_errors(self) -> np.ndarray:
        """Of the coefficients."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def limits(self) -> np.ndarray:
        """95 % limits (Wald), (2, coefficients)."""
        half = float(stats.norm.ppf(0.975)) * self.standard_errors
        return np.stack([self.coefficients - half, self.coefficients + half])

    @property
    def p(self) -> np.ndarray:
        """Two-sided p of each coefficient (Wald)."""
        return np.asarray(2 * stats.norm.sf(np.abs(self.coefficients / self.standard_errors)))

    def log_odds(self, design: np.ndarray) -> np.ndarray:
        """Of patients, from their design (n, coefficients)."""
        return np.asarray(design @ self.coefficients)


@dataclass(frozen=True)
class LikelihoodRatio:
    """Test of a model against one nested in it; NaN where undefined, `reason` says why."""

    chi2: float
    degrees_of_freedom: int
    p: float
    reason: str = ""


def fit_logistic(
    events: np.ndarray, design: np.ndarray, names: Sequence[str], penalised: bool = False
) -> LogisticFit:
    """Fit a model.

    Args:
        events: bool (n,).
        design: (n, coefficients), the first column being 1.
        names: of the columns.
        penalised: use Firth's penalty.

    Raises:
        BadInputError: a column follows from others, or the plain fit has no maximum.
    """
    events = np.asarray(events, float)
    check_independent(design, names)
    if penalised:
        free = np.ones(design.shape[1], bool)
        coefficients, log_likelihood = _firth(events, design, free)
        covariance = np.linalg.inv(_information(design, coefficients))
        return _fit(names, coefficients, covariance, log_likelihood, True, events)
    result = _most_likely(events, design)
    if result is None:
        _refuse_separated(events, design, names)
        raise BadInputError(
            "The logistic regression does not converge; add --penalised, or give fewer variables."
        )
    return _fit(
        names,
        np.asarray(result.params),
        np.asarray(result.cov_params()),
        float(result.llf),
        False,
        events,
    )


def _most_likely(events: np.ndarray, design: np.ndarray) -> Any | None:
    """The fit by statsmodels; None where it has not converged, or patients are separated.

    Where they are, each step goes further and standard errors grow beyond all bounds.
    """
    import statsmodels.api as sm
    from statsmodels.tools.sm_exceptions import PerfectSeparationError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = sm.Logit(events, design).fit(disp=False, maxiter=MOST_STEPS)
        except (np.linalg.LinAlgError, PerfectSeparationError):
            return None
    if not result.mle_retvals["converged"] or not np.isfinite(result.bse).all():
        return None
    least_sure = np.asarray(result.bse)[1:] * np.ptp(design[:, 1:], axis=0)
    if least_sure.max(initial=0.0) > SUSPECT_ERROR and separated_by(events, design, ()):
        return None
    return result


def _refuse_separated(events: np.ndarray, design: np.ndarray, names: Sequence[str]) -> None:
    apart = separated_by(events, design, names)
    if apart:
        shown = ", ".join(f"“{name}”" for name in apart)
        raise BadInputError(
            f"Patients with and without the event are parted by {shown} alone, so no odds ratio "
            "can be estimated; add --penalised, or leave that out."
        )


def likelihood_ratio(
    events: np.ndarray, design: np.ndarray, full: LogisticFit, nested: Sequence[int]
) -> LikelihoodRatio:
    """Test the full model against the one of its columns `nested`.

    With Firth's penalty the nested model keeps the penalty of the full one, its other coefficients
    being held at zero.
    """
    events = np.asarray(events, float)
    free = np.zeros(design.shape[1], bool)
    free[list(nested)] = True
    freedom = int((~free).sum())
    if full.penalised:
        log_likelihood = _firth(events, design, free)[1]
    else:
        names = [full.names[index] for index in nested]
        log_likelihood = fit_logistic(events, design[:, free], names).log_likelihood
    chi2 = max(0.0, 2 * (full.log_likelihood - log_likelihood))
    return LikelihoodRatio(chi2, freedom, float(stats.chi2.sf(chi2, freedom)))


def separated_by(events: np.ndarray, design: np.ndarray, names: Sequence[str]) -> tuple[str, ...]:
    """Names of the variables that part the patients by their event; none if they do not.

    Args:
        events: bool (n,).
        design: (n, coefficients), the first column being 1.
        names: of the columns; may be left empty to ask only whether.
    """
    signs = np.where(np.asarray(events, bool), 1.0, -1.0)
    # Columns of like size, so that one tolerance does for all.
    scale = np.abs(design).max(axis=0)
    signed = signs[:, None] * design / np.where(scale > 0, scale, 1.0)
    found = optimize.linprog(
        -signed.sum(axis=0),
        A_ub=-signed,
        b_ub=np.zeros(len(signed)),
        bounds=(-1.0, 1.0),
        method="highs",
    )
    if found.status != 0 or -found.fun < 1e-6:
        return ()
    parting = (np.flatnonzero(np.abs(found.x[1:]) > 1e-6) + 1).tolist()
    return tuple(names[index] if names else str(index) for index in parting)


def check_independent(design: np.ndarray, names: Sequence[str]) -> None:
    """Refuse a column that follows from those before it.

    Raises:
        BadInputError: with its name.
    """
    scale = np.linalg.norm(design, axis=0)
    scaled = design / np.where(scale > 0, scale, 1.0)
    if np.linalg.matrix_rank(scaled, tol=1e-8) == design.shape[1]:
        return
    for count in range(2, design.shape[1] + 1):
        if np.linalg.matrix_rank(scaled[:, :count], tol=1e-8) < count:
            raise BadInputError(
                f"“{names[count - 1]}” is the same for all patients, or follows from the other "
                "variables; leave it out."
            )


def _fit(
    names: Sequence[str],
    coefficients: np.ndarray,
    covariance: np.ndarray,
    log_likelihood: float,
    penalised: bool,
    events: np.ndarray,
) -> LogisticFit:
    return LogisticFit(
        tuple(names),
        coefficients,
        covariance,
        log_likelihood,
        penalised,
        len(events),
        int(events.sum()),
    )


def _information(design: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    probability = 1 / (1 + np.exp(-(design @ coefficients)))
    return np.asarray(design.T @ (design * (probability * (1 - probability))[:, None]))


def _penalised_log_likelihood(
    events: np.ndarray, design: np.ndarray, coefficients: np.ndarray
) -> float:
    log_odds = design @ coefficients
    likelihood = float((events * log_odds - np.logaddexp(0, log_odds)).sum())
    sign, determinant = np.linalg.slogdet(_information(design, coefficients))
    return likelihood + 0.5 * float(determinant) if sign > 0 else -math.inf


def _firth(events: np.ndarray, design: np.ndarray, free: np.ndarray) -> tuple[np.ndarray, float]:
    """Maximum of the penalised likelihood over the free coefficients, the others being zero.

    Raises:
        BadInputError: it does not converge.
    """
    coefficients = np.zeros(design.shape[1])
    value = _penalised_log_likelihood(events, design, coefficients)
    for _ in range(MOST_STEPS):
        probability = 1 / (1 + np.exp(-(design @ coefficients)))
        weights = probability * (1 - probability)
        information = design.T @ (design * weights[:, None])
        inverse = np.linalg.inv(information)
        leverage = weights * np.einsum("ij,jk,ik->i", design, inverse, design)
        gradient = design.T @ (events - probability + leverage * (0.5 - probability))
        step = np.zeros_like(coefficients)
        step[free] = np.linalg.solve(information[np.ix_(free, free)], gradient[free])
        step *= min(1.0, LARGEST_STEP / max(float(np.abs(step).max()), LARGEST_STEP))
        for _halving in range(30):
            moved = _penalised_log_likelihood(events, design, coefficients + step)
            if moved >= value - TOLERANCE:
                break
            step /= 2
        coefficients = coefficients + step
        value = moved
        if float(np.abs(step).max()) < TOLERANCE * 10 or not free.any():
            return coefficients, value
    raise BadInputError(
        "The penalised logistic regression does not converge; give fewer variables."
    )
