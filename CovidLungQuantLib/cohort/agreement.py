"""How well two series of numbers on the same cases agree, as a reviewer asks for it.

NaN stands where a figure is undefined; `reason` then says why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

# Bland and Altman, Lancet 1986: bias ± 1.96 SD holds 95 % of the differences.
LIMITS_OF_AGREEMENT_SD = 1.96
FEWEST_FOR_CORRELATION = 3


@dataclass(frozen=True)
class Summary:
    """One figure over cases; SD is the sample SD (divided by n − 1).

    Attributes:
        n: cases with a value.
        undefined: cases without one.
        mean: and the others, over the cases with a value.
    """

    n: int
    undefined: int
    mean: float
    sd: float
    median: float
    minimum: float
    maximum: float


@dataclass(frozen=True)
class PairedAgreement:
    """Two series of one quantity in its own unit; differences are values − reference.

    Attributes:
        n: pairs with both values.
        missing: pairs without.
        mean_absolute_error: mean of |difference|, with its sample SD.
        bias: mean difference, with the sample SD of the differences.
        lower_limit: 95 % limits of agreement, bias ± 1.96 SD; `upper_limit` likewise.
        pearson: r and its two-sided p; `spearman` likewise, ties by mean ranks.
        wilcoxon_w: smaller rank sum of the paired Wilcoxon signed-rank test and its two-sided p;
            pairs without difference are left out.
        reason: why figures are missing; empty if none is.
    """

    n: int
    missing: int
    mean_absolute_error: float = math.nan
    sd_absolute_error: float = math.nan
    bias: float = math.nan
    sd_difference: float = math.nan
    lower_limit: float = math.nan
    upper_limit: float = math.nan
    pearson: float = math.nan
    pearson_p: float = math.nan
    spearman: float = math.nan
    spearman_p: float = math.nan
    wilcoxon_w: float = math.nan
    wilcoxon_p: float = math.nan
    reason: str = ""


def summarise(values: Sequence[float]) -> Summary:
    """Mean, SD, median and range of the values that are not NaN."""
    known = np.array([value for value in values if not math.isnan(value)], float)
    undefined = len(values) - len(known)
    if not len(known):
        return Summary(0, undefined, *[math.nan] * 5)
    return Summary(
        n=len(known),
        undefined=undefined,
        mean=float(known.mean()),
        sd=_sample_sd(known),
        median=float(np.median(known)),
        minimum=float(known.min()),
        maximum=float(known.max()),
    )


def paired_agreement(values: Sequence[float], reference: Sequence[float]) -> PairedAgreement:
    """Agreement of two series; pairs in which either is NaN are left out and counted.

    Raises:
        ValueError: the series differ in length.
    """
    pairs = np.array(list(zip(values, reference, strict=True)), float).reshape(-1, 2)
    known = pairs[~np.isnan(pairs).any(axis=1)]
    missing = len(pairs) - len(known)
    if not len(known):
        return PairedAgreement(0, missing, reason="no pair has both values")
    first, second = known[:, 0], known[:, 1]
    differences = first - second
    bias, sd = float(differences.mean()), _sample_sd(differences)
    reasons = ["one pair alone has no SD"] if len(known) == 1 else []
    (pearson, pearson_p), (spearman, spearman_p) = _correlations(first, second, reasons)
    wilcoxon_w, wilcoxon_p = _wilcoxon(differences, reasons)
    return PairedAgreement(
        n=len(known),
        missing=missing,
        mean_absolute_error=float(np.abs(differences).mean()),
        sd_absolute_error=_sample_sd(np.abs(differences)),
        bias=bias,
        sd_difference=sd,
        lower_limit=bias - LIMITS_OF_AGREEMENT_SD * sd,
        upper_limit=bias + LIMITS_OF_AGREEMENT_SD * sd,
        pearson=pearson,
        pearson_p=pearson_p,
        spearman=spearman,
        spearman_p=spearman_p,
        wilcoxon_w=wilcoxon_w,
        wilcoxon_p=wilcoxon_p,
        reason="; ".join(reasons),
    )


def _correlations(
    first: np.ndarray, second: np.ndarray, reasons: list[str]
) -> tuple[tuple[float, float], tuple[float, float]]:
    undefined = (math.nan, math.nan)
    if len(first) < FEWEST_FOR_CORRELATION:
        reasons.append(f"correlation needs {FEWEST_FOR_CORRELATION} pairs")
        return undefined, undefined
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        reasons.append("no correlation with values that are all the same")
        return undefined, undefined
    pearson, spearman = stats.pearsonr(first, second), stats.spearmanr(first, second)
    return (
        (float(pearson.statistic), float(pearson.pvalue)),
        (float(spearman.statistic), float(spearman.pvalue)),
    )


def _wilcoxon(differences: np.ndarray, reasons: list[str]) -> tuple[float, float]:
    differing = differences[differences != 0]
    if not len(differing):
        reasons.append("no pair differs, so there is nothing to test")
        return math.nan, math.nan
    test = stats.wilcoxon(differing)
    return float(test.statistic), float(test.pvalue)


def _sample_sd(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
