"""Variables of a regression: columns of a table as columns of a design matrix.

A column of numbers is one column, standardised where asked for; a column of texts is one column of
0 and 1 for each of its values but the first, in the order of the alphabet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable

MOST_LEVELS = 10
INTERCEPT = "intercept"


@dataclass(frozen=True)
class Variable:
    """One column of the table.

    Attributes:
        column: its name.
        levels: values of a column of texts, the reference first; empty for numbers.
        mean: that is taken from numbers.
        sd: by which they are then divided.
        lowest: number the model has seen; `highest` likewise.
    """

    column: str
    levels: tuple[str, ...] = ()
    mean: float = 0.0
    sd: float = 1.0
    lowest: float = 0.0
    highest: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns in the design."""
        if self.levels:
            return tuple(f"{self.column}: {level}" for level in self.levels[1:])
        return (f"{self.column} (per SD)" if self.is_standardised else self.column,)

    @property
    def is_standardised(self) -> bool:
        """Whether coefficients are per standard deviation."""
        return (self.mean, self.sd) != (0.0, 1.0)

    def design(self, values: np.ndarray) -> np.ndarray:
        """Its columns of the design (n, names), from the table's values."""
        if self.levels:
            return np.stack([values == level for level in self.levels[1:]], axis=1).astype(float)
        return ((values.astype(float) - self.mean) / self.sd)[:, None]


@dataclass(frozen=True)
class Design:
    """The terms of one model: variables, and pairs of them whose product is a term, too."""

    variables: tuple[Variable, ...]
    interactions: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all coefficients, the intercept first."""
        by_column = {variable.column: variable for variable in self.variables}
        found = [INTERCEPT, *(name for variable in self.variables for name in variable.names)]
        for first, second in self.interactions:
            found += [
                f"{one} × {other}"
                for one in by_column[first].names
                for other in by_column[second].names
            ]
        return tuple(found)

    def matrix(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The design (n, coefficients), from complete values by column."""
        parts = {item.column: item.design(values[item.column]) for item in self.variables}
        length = len(next(iter(values.values())))
        blocks = [np.ones((length, 1)), *parts.values()]
        for first, second in self.interactions:
            one, other = parts[first], parts[second]
            blocks.append((one[:, :, None] * other[:, None, :]).reshape(length, -1))
        return np.concatenate(blocks, axis=1)

    def with_interaction(self, first: str, second: str) -> Design:
        """The design with one more product."""
        return Design(self.variables, (*self.interactions, (first, second)))


def column_values(table: CohortTable, column: str) -> np.ndarray:
    """A column as numbers, or as texts where it holds no numbers; NaN or None is missing.

    Raises:
        BadInputError: the column is not there, is empty, or mixes numbers and texts.
    """
    texts = table.texts(column)
    if texts.notna().sum() == 0:
        raise BadInputError(f"Column {column} of {table.name} is empty; fill it or leave it out.")
    if table.is_numeric(column):
        return table.numbers(column).to_numpy()
    numbers = texts.dropna().str.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
    if numbers.any() and numbers.mean() > 0.5:
        # Numbers but for a few entries: those are mistakes, which this names.
        table.numbers(column)
    return texts.to_numpy(object)


def is_missing(values: np.ndarray) -> np.ndarray:
    """Where a value is missing, bool (n,)."""
    if values.dtype == object:
        return np.array([value is None or value != value for value in values], bool)
    return np.isnan(values)


def make_variable(
    table: CohortTable, column: str, values: np.ndarray, standardised: bool
) -> Variable:
    """The variable of complete values.

    Raises:
        BadInputError: all values are the same, or a column of texts has too many.
    """
    if values.dtype == object:
        levels = tuple(sorted(set(values)))
        if len(levels) > MOST_LEVELS:
            raise BadInputError(
                f"Column {column} of {table.name} has {len(levels)} different texts; give a column "
                f"of numbers, or of at most {MOST_LEVELS} texts."
            )
        if len(levels) > 1:
            return Variable(column, levels)
    elif np.ptp(values) > 0:
        lowest, highest = float(values.min()), float(values.max())
        if standardised:
            mean, sd = float(values.mean()), float(values.std(ddof=1))
            return Variable(column, (), mean, sd, lowest, highest)
        return Variable(column, lowest=lowest, highest=highest)
    raise BadInputError(
        f"Column {column} of {table.name} is the same for all patients who are fitted; leave it "
        "out."
    )


def events_of(table: CohortTable, column: str, event: str | None) -> np.ndarray:
    """Whether each row had the event: float 1, 0 or NaN.

    Args:
        table: of the cohort.
        column: of the outcome: 0 and 1, or two texts.
        event: the value that is the event; None takes 1.

    Raises:
        BadInputError: the column has other values, or one is to be named.
    """
    texts = table.texts(column)
    values = sorted(set(texts.dropna()))
    wanted = "1" if event is None else event.strip()
    if event is None and not set(values) <= {"0", "1"}:
        shown = ", ".join(f"“{value}”" for value in values[:5])
        raise BadInputError(
            f"Column {column} of {table.name} holds {shown}, not 0 and 1; say with --event which "
            "value is the event."
        )
    if len(values) > 2 or wanted not in values:
        raise BadInputError(
            f"Column {column} of {table.name} must hold two values, one of them “{wanted}”, and "
            f"holds {len(values)}; give the right column or --event."
        )
    return np.array([np.nan if text is None else float(text == wanted) for text in texts])


def interaction_pairs(texts: Sequence[str], columns: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs such as “age:lesion_percent” of columns that are variables.

    Raises:
        BadInputError: a text is no such pair.
    """
    pairs = []
    for text in texts:
        first, colon, second = text.partition(":")
        if not colon or first == second or first not in columns or second not in columns:
            raise BadInputError(
                f"“{text}” is no pair of variables; give two of {', '.join(columns)}, parted by a "
                "colon."
            )
        pairs.append((first, second))
    return tuple(pairs)
