"""How well probabilities tell those with an event from those without, and how true they are.

C-statistic with the variance of DeLong et al. 1988 (computed from mid-ranks), Youden's cut-off,
calibration, Brier score and decision curve (Vickers and Elkin 2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

NORMAL_95 = float(stats.norm.ppf(0.975))
CALIBRATION_GROUPS = 10
FEWEST_IN_GROUP = 5
# Thresholds of the decision curve: probabilities at which one would act.
THRESHOLDS = np.round(np.arange(0.01, 0.61, 0.01), 2)


@dataclass(frozen=True)
class CStatistic:
    """Area under the ROC curve with its standard error and 95 % limits, within 0 to 1."""

    c: float
    se: float
    lower: float
    upper: float


@dataclass(frozen=True)
class CComparison:
    """Two C-statistics on the same patients: difference, limits, z and two-sided p (DeLong)."""

    difference: float
    lower: float
    upper: float
    z: float
    p: float


@dataclass(frozen=True)
class Share:
    """A share of patients with its 95 % limits (Wilson)."""

    share: float
    lower: float
    upper: float
    count: int
    of: int


@dataclass(frozen=True)
class CutOff:
    """A cut-off, at or above which a patient counts as at risk."""

    value: float
    sensitivity: Share
    specificity: Share

    @property
    def youden(self) -> float:
        """Sensitivity + specificity − 1."""
        return self.sensitivity.share + self.specificity.share - 1.0


@dataclass(frozen=True)
class CalibrationGroup:
    """Patients of similar predicted probability: its mean, and the share with the event."""

    predicted: float
    observed: Share


@dataclass(frozen=True)
class Calibration:
    """How true probabilities are; NaN where it cannot be estimated.

    Attributes:
        intercept: of logit(p) as an offset; 0 if on the whole as many events come as predicted.
        slope: of logit(p); below 1 where predictions are too extreme.
        intercept_limits: 95 %; `slope_limits` likewise.
        brier: mean squared difference of probability and event.
        scaled_brier: 1 − Brier / that of predicting the share of events for all.
        groups: by quantiles of the probability.
    """

    intercept: float
    intercept_limits: tuple[float, float]
    slope: float
    slope_limits: tuple[float, float]
    brier: float
    scaled_brier: float
    groups: tuple[CalibrationGroup, ...]


def c_statistics(events: np.ndarray, scores: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """C-statistics (k,) of k scores on the same patients, and their covariance (k, k).

    Args:
        events: bool (n,), two with and two without at least.
        scores: each (n,), higher for more risk.
    """
    events = np.asarray(events, bool)
    count, others = int(events.sum()), int((~events).sum())
    areas, of_events, of_others = [], [], []
    for score in scores:
        with_event, without = np.asarray(score, float)[events], np.asarray(score, float)[~events]
        ranks = stats.rankdata(np.concatenate([with_event, without]))
        placed = (ranks[:count] - stats.rankdata(with_event)) / others
        areas.append(float(placed.mean()))
        of_events.append(placed)
        of_others.append(1.0 - (ranks[count:] - stats.rankdata(without)) / count)
    covariance = np.atleast_2d(np.cov(np.stack(of_events))) / count
    covariance = covariance + np.atleast_2d(np.cov(np.stack(of_others))) / others
    return np.array(areas), covariance


def c_statistic(events: np.ndarray, score: np.ndarray) -> CStatistic:
    """C-statistic of one score; limits are c ± 1.96 standard errors."""
    areas, covariance = c_statistics(events, [score])
    c, se = float(areas[0]), math.sqrt(max(0.0, float(covariance[0, 0])))
    return CStatistic(c, se, max(0.0, c - NORMAL_95 * se), min(1.0, c + NORMAL_95 * se))


def compare_c(events: np.ndarray, first: np.ndarray, second: np.ndarray) -> CComparison:
    """C-statistic of the first score minus that of the second."""
    areas, covariance = c_statistics(events, [first, second])
    difference = float(areas[0] - areas[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if variance <= 1e-15:
        return CComparison(difference, difference, difference, math.nan, math.nan)
    se = math.sqrt(variance)
    z = difference / se
    return CComparison(
        difference,
        difference - NORMAL_95 * se,
        difference + NORMAL_95 * se,
        z,
        float(2 * stats.norm.sf(abs(z))),
    )


def roc_curve(events: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut-offs from high to low, with sensitivity and 1 − specificity; none reaches the first."""
    events = np.asarray(events, bool)
    cuts = np.unique(score)[::-1]
    reached = np.asarray(score)[None, :] >= cuts[:, None]
    sensitivity = (reached & events).sum(axis=1) / events.sum()
    false_positive = (reached & ~events).sum(axis=1) / (~events).sum()
    return (
        np.concatenate([[np.inf], cuts]),
        np.concatenate([[0.0], sensitivity]),
        np.concatenate([[0.0], false_positive]),
    )


def youden_cut_off(events: np.ndarray, score: np.ndarray) -> CutOff:
    """The cut-off where sensitivity + specificity is greatest; of several the highest."""
    cuts, sensitivity, false_positive = roc_curve(events, score)
    best = int(np.argmax((sensitivity - false_positive)[1:])) + 1
    return judge_cut_off(events, score, float(cuts[best]))


def judge_cut_off(events: np.ndarray, score: np.ndarray, value: float) -> CutOff:
    """A given cut-off on patients."""
    events, reached = np.asarray(events, bool), np.asarray(score) >= value
    return CutOff(
        value,
        share_of(int((reached & events).sum()), int(events.sum())),
        share_of(int((~reached & ~events).sum()), int((~events).sum())),
    )


def share_of(count: int, of: int) -> Share:
    """A share with Wilson's limits; NaN of none."""
    from statsmodels.stats.proportion import proportion_confint

    if not of:
        return Share(math.nan, math.nan, math.nan, count, of)
    lower, upper = proportion_confint(count, of, method="wilson")
    return Share(count / of, float(lower), float(upper), count, of)


def calibration(events: np.ndarray, probability: np.ndarray) -> Calibration:
    """Judge probabilities, strictly between 0 and 1, by what happened."""
    import statsmodels.api as sm

    events = np.asarray(events, float)
    probability = np.clip(probability, 1e-9, 1 - 1e-9)
    log_odds = np.log(probability / (1 - probability))
    large = sm.GLM(
        events, np.ones((len(events), 1)), family=sm.families.Binomial(), offset=log_odds
    ).fit()
    lower, upper = np.asarray(large.conf_int())[0]
    slope, slope_limits = math.nan, (math.nan, math.nan)
    if np.ptp(log_odds) > 1e-9 and not _are_apart(log_odds, events):
        fit = sm.GLM(events, sm.add_constant(log_odds), family=sm.families.Binomial()).fit()
        slope = float(fit.params[1])
        slope_limits = tuple(map(float, np.asarray(fit.conf_int())[1]))  # type: ignore[assignment]
    brier = float(np.mean((probability - events) ** 2))
    share = float(events.mean())
    return Calibration(
        intercept=float(large.params[0]),
        intercept_limits=(float(lower), float(upper)),
        slope=slope,
        slope_limits=slope_limits,
        brier=brier,
        scaled_brier=1.0 - brier / (share * (1 - share)),
        groups=_calibration_groups(events.astype(bool), probability),
    )


def _are_apart(log_odds: np.ndarray, events: np.ndarray) -> bool:
    """Whether a cut parts patients with and without the event, so that no slope is finite."""
    with_event, without = log_odds[events == 1], log_odds[events == 0]
    return bool(with_event.min() >= without.max() or with_event.max() <= without.min())


def _calibration_groups(
    events: np.ndarray, probability: np.ndarray
) -> tuple[CalibrationGroup, ...]:
    """Groups of equal size by rank, fewer where there are few patients."""
    count = max(1, min(CALIBRATION_GROUPS, len(events) // FEWEST_IN_GROUP))
    order = np.argsort(probability, kind="stable")
    return tuple(
        CalibrationGroup(
            float(probability[part].mean()), share_of(int(events[part].sum()), len(part))
        )
        for part in np.array_split(order, count)
    )


def net_benefit(
    events: np.ndarray, probability: np.ndarray, thresholds: np.ndarray = THRESHOLDS
) -> np.ndarray:
    """True positives less weighted false positives, per patient, at each threshold t.

    TP/n − FP/n · t/(1 − t), for those whose probability is t or more.
    """
    events = np.asarray(events, bool)
    positive = np.asarray(probability)[None, :] >= thresholds[:, None]
    true_positive = (positive & events).mean(axis=1)
    false_positive = (positive & ~events).mean(axis=1)
    return np.asarray(true_positive - false_positive * thresholds / (1 - thresholds))


def net_benefit_of_all(events: np.ndarray, thresholds: np.ndarray = THRESHOLDS) -> np.ndarray:
    """Net benefit of taking every patient as at risk."""
    return net_benefit(events, np.ones(len(events)), thresholds)
