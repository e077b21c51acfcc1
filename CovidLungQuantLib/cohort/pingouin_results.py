"""Results of pingouin, in full precision, whatever its version calls the columns."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Correlation:
    """A correlation with its 95 % limits and two-sided p."""

    n: int
    r: float
    lower: float
    upper: float
    p: float


@dataclass(frozen=True)
class IntraclassCorrelation:
    """One ICC of single ratings with its 95 % limits; `kind` as Shrout and Fleiss 1979 call it."""

    kind: str
    icc: float
    lower: float
    upper: float
    p: float


# In the order of pingouin's rows: single ratings, of one-way, random and fixed raters.
ICC_KINDS = ("ICC(1,1)", "ICC(2,1)", "ICC(3,1)")


def partial_spearman(frame: pd.DataFrame, x: str, y: str, covariates: Sequence[str]) -> Correlation:
    """Spearman's correlation of two columns, partial for others; plain without any."""
    import pingouin as pg

    with _full_precision():
        if covariates:
            table = pg.partial_corr(frame, x=x, y=y, covar=list(covariates), method="spearman")
        else:
            table = pg.corr(frame[x], frame[y], method="spearman")
    row = table.iloc[0]
    lower, upper = np.asarray(_entry(row, "CI95"), float)
    return Correlation(int(row["n"]), float(row["r"]), float(lower), float(upper), _p(row))


def intraclass_correlations(ratings: np.ndarray) -> tuple[IntraclassCorrelation, ...]:
    """The three ICC of single ratings.

    Args:
        ratings: (cases, raters) without NaN; five cases and two raters at least.
    """
    import pandas as pd
    import pingouin as pg

    cases, raters = ratings.shape
    frame = pd.DataFrame(
        {
            "case": np.repeat(np.arange(cases), raters),
            "rater": np.tile(np.arange(raters), cases),
            "rating": ratings.ravel(),
        }
    )
    with _full_precision():
        table = pg.intraclass_corr(frame, targets="case", raters="rater", ratings="rating")
    found = []
    for kind, (_, row) in zip(ICC_KINDS, table.iterrows(), strict=False):
        lower, upper = np.asarray(_entry(row, "CI95"), float)
        found.append(
            IntraclassCorrelation(kind, float(row["ICC"]), float(lower), float(upper), _p(row))
        )
    return tuple(found)


def _entry(row: pd.Series, start: str) -> Any:
    return row[next(name for name in row.index if str(name).startswith(start))]


def _p(row: pd.Series) -> float:
    return float(row[next(name for name in row.index if name in ("pval", "p_val", "p-val"))])


@contextmanager
def _full_precision() -> Iterator[None]:
    """Without the rounding of limits to two decimals that pingouin is set to."""
    import pingouin as pg

    earlier = dict(pg.options)
    for name in [name for name in pg.options if name.startswith("round.")]:
        del pg.options[name]
    try:
        with warnings.catch_warnings():
            # Of what pandas will change, and of divisions whose result is seen to be NaN.
            warnings.simplefilter("ignore")
            yield
    finally:
        pg.options.clear()
        pg.options.update(earlier)
