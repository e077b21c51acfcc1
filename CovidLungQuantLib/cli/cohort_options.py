"""Options that the commands on tables of a cohort share; loads nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib.util import find_spec

from CovidLungQuantLib.cli.arguments import given_text
from CovidLungQuantLib.errors import BadInputError

# What the extra `cohort` brings for statistics.
PACKAGES = ("pandas", "statsmodels", "pingouin", "pyarrow", "matplotlib")

TABLE_HELP = (
    "CSV or Parquet with one row a scan, such as cohort.csv of the command batch; scans whose "
    "status says that they were not measured are left out"
)


def check_cohort_extra() -> None:
    """Refuse to begin where a package of the extra is missing.

    Raises:
        BadInputError: with what to do.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            raise BadInputError(
                f"Statistics of cohorts need the package {package}; install it with "
                "“pip install covidlungquant[cohort]”."
            )


def add_column_option(
    parser: argparse.ArgumentParser, flag: str, default: str | None, what: str
) -> None:
    """Add an option that names a column of the table."""
    shown = "" if default is None else f" (default: {default})"
    parser.add_argument(flag, default=default, metavar="COLUMN", help=f"column of {what}{shown}")


def columns_list(text: str) -> tuple[str, ...]:
    """Names of columns parted by commas.

    Raises:
        BadInputError: one is named twice or empty.
    """
    names = tuple(part.strip() for part in given_text(text).split(","))
    for name in names:
        if not name or names.count(name) > 1:
            raise BadInputError(
                f"“{text}” names a column twice or none; give each once, parted by commas."
            )
    return names


def whole_number_from(least: int) -> Callable[[str], int]:
    """A type of arguments: whole numbers from `least` on."""

    def whole_number(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if number < least:
            raise BadInputError(f"“{text}” is no whole number from {least} on; give one.")
        return number

    return whole_number
