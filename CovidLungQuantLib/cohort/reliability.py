"""Intraclass correlations of any number of readings, and limits of the limits of agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from scipy import stats

from CovidLungQuantLib.cohort.agreement import LIMITS_OF_AGREEMENT_SD, PairedAgreement
from CovidLungQuantLib.cohort.pingouin_results import (
    IntraclassCorrelation,
    intraclass_correlations,
)
from CovidLungQuantLib.cohort.reader_tables import (
    AUTOMATIC_COLUMN,
    ReaderTable,
    observer_pairs,
    reader_and_session,
    sessions_of,
)

FEWEST_CASES = 3
ALL_READERS = "all readers"
SOFTWARE_AND_READERS = "software and readers"
ALL_SESSIONS = "all sessions of"
PAIR = "pair"


@dataclass(frozen=True)
class Reliability:
    """ICC of some readings of one measure, on the cases that all of them have.

    Attributes:
        measure: of the table.
        kind: `ALL_READERS`, `SOFTWARE_AND_READERS`, `ALL_SESSIONS` with a name, or `PAIR`.
        readings: whose.
        n: cases with a value of each; `missing` without.
        missing: see above.
        correlations: ICC(1,1), ICC(2,1), ICC(3,1); empty where undefined, `reason` says why.
    """

    measure: str
    kind: str
    readings: tuple[str, ...]
    n: int
    missing: int
    correlations: tuple[IntraclassCorrelation, ...]
    reason: str = ""

    @property
    def absolute(self) -> IntraclassCorrelation:
        """ICC(2,1), single ratings of random raters: agreement in the value itself."""
        if not self.correlations:
            return IntraclassCorrelation("ICC(2,1)", *[math.nan] * 4)
        return self.correlations[1]


def reliabilities(table: ReaderTable) -> list[Reliability]:
    """ICC of all readers, of the software with them, of each one's sessions, and of each pair."""
    names = list(table.observers)
    first = [name for name in names if reader_and_session(name)[1] == 1]
    readers = [name for name in first if name != AUTOMATIC_COLUMN]
    wanted: list[tuple[str, Sequence[str]]] = []
    if len(readers) > 2:
        wanted.append((ALL_READERS, readers))
    if AUTOMATIC_COLUMN in first and len(readers) > 1:
        wanted.append((SOFTWARE_AND_READERS, first))
    for reader in first:
        sessions = sessions_of(reader, names)
        if len(sessions) > 2:
            wanted.append((f"{ALL_SESSIONS} {reader}", sessions))
    wanted += [(PAIR, (one, other)) for _, one, other in observer_pairs(names)]
    return [_reliability(table, kind, readings) for kind, readings in wanted]


def _reliability(table: ReaderTable, kind: str, readings: Sequence[str]) -> Reliability:
    ratings = np.array([table.observers[name] for name in readings], float).T
    known = ratings[~np.isnan(ratings).any(axis=1)]
    reason = ""
    if find_spec("pingouin") is None:
        reason = "the ICC needs pingouin: pip install covidlungquant[cohort]"
    elif len(known) < FEWEST_CASES:
        reason = f"the ICC needs {FEWEST_CASES} cases that all have read"
    elif np.ptp(known.mean(axis=1)) == 0:
        reason = "no ICC of cases that are all the same"
    elif not np.ptp(known, axis=1).any():
        reason = "all readings are the same, so that the ICC is 1 and has no limits"
    correlations = () if reason else intraclass_correlations(known)
    return Reliability(
        table.measure,
        kind,
        tuple(readings),
        len(known),
        len(ratings) - len(known),
        correlations,
        reason,
    )


def limits_of_limits(
    agreement: PairedAgreement,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % limits of the lower and of the upper limit of agreement; NaN where undefined.

    Exact for normal differences: (mean ± 1.96 SD) follows a noncentral t (Carkeet 2015).
    """
    n, sd = agreement.n, agreement.sd_difference
    undefined = (math.nan, math.nan)
    if n < 2 or math.isnan(sd):
        return undefined, undefined
    if sd == 0:
        return (agreement.bias, agreement.bias), (agreement.bias, agreement.bias)
    shift = LIMITS_OF_AGREEMENT_SD * math.sqrt(n)
    low, high = (
        float(value) * sd / math.sqrt(n)
        for value in stats.nct.ppf((0.025, 0.975), df=n - 1, nc=shift)
    )
    bias = agreement.bias
    return (bias - high, bias - low), (bias + low, bias + high)
