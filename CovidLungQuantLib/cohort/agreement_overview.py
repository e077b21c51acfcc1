"""All comparisons of observers in one table, as Table 2 of Bartoli et al. 2022."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from CovidLungQuantLib.cohort.agreement import PairedAgreement
from CovidLungQuantLib.cohort.observer_segmentations import Overlap
from CovidLungQuantLib.cohort.reader_tables import Comparison
from CovidLungQuantLib.cohort.reliability import PAIR, Reliability, limits_of_limits
from CovidLungQuantLib.display.numbers import (
    DASH,
    decimal_text,
    mean_sd_text,
    p_text,
    significant_text,
)


@dataclass(frozen=True)
class OverviewRow:
    """One measure, or Dice of one structure, with a text for each comparison."""

    name: str
    statistic: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Overview:
    """The table: a column a comparison, as “reader2 − reader1”, a row a statistic."""

    comparisons: tuple[str, ...]
    rows: tuple[OverviewRow, ...]


def overview(
    comparisons: Sequence[Comparison],
    reliabilities: Sequence[Reliability],
    overlaps: Sequence[Overlap] = (),
) -> Overview:
    """Texts of all comparisons side by side."""
    pairs = list(
        dict.fromkeys(
            [(item.first, item.second) for item in overlaps]
            + [(item.first, item.second) for item in comparisons]
        )
    )
    rows = []
    for structure in dict.fromkeys(item.structure for item in overlaps):
        by_pair = {
            (item.first, item.second): item.summary
            for item in overlaps
            if item.structure == structure
        }
        texts = [
            mean_sd_text(by_pair[pair].mean, by_pair[pair].sd, 2) if pair in by_pair else DASH
            for pair in pairs
        ]
        rows.append(OverviewRow(structure, "Dice", tuple(texts)))
    icc = _pair_reliabilities(reliabilities)
    for measure in dict.fromkeys(item.measure for item in comparisons):
        agreements = {
            (item.first, item.second): item.agreement
            for item in comparisons
            if item.measure == measure
        }
        cells = [
            _statistics(agreements[pair], icc.get((measure, *pair)))
            if pair in agreements
            else dict.fromkeys(STATISTICS, DASH)
            for pair in pairs
        ]
        rows += [
            OverviewRow(measure, name, tuple(cell[name] for cell in cells)) for name in STATISTICS
        ]
    return Overview(tuple(f"{first} − {second}" for first, second in pairs), tuple(rows))


STATISTICS = ("MAE ± SD", "bias ± SD", "p", "correlation", "ICC(2,1)", "its 95 %")


def overview_rows(
    comparisons: Sequence[Comparison],
    reliabilities: Sequence[Reliability],
    overlaps: Sequence[Overlap] = (),
) -> list[dict[str, Any]]:
    """The same as numbers, one row a measure and comparison; Dice where there is."""
    icc = _pair_reliabilities(reliabilities)
    rows: list[dict[str, Any]] = [
        {
            **dict.fromkeys(COLUMNS, ""),
            "measure": f"{item.structure} Dice",
            "kind": item.kind,
            "first": item.first,
            "second": item.second,
            "n": item.summary.n,
            "dice": item.summary.mean,
            "dice_sd": item.summary.sd,
        }
        for item in overlaps
    ]
    for item in comparisons:
        agreement = item.agreement
        (low, low_upper), (high_lower, high) = limits_of_limits(agreement)
        found = icc.get((item.measure, item.first, item.second))
        rows.append(
            {
                **dict.fromkeys(COLUMNS, ""),
                "measure": item.measure,
                "kind": item.kind,
                "first": item.first,
                "second": item.second,
                "n": agreement.n,
                "mae": agreement.mean_absolute_error,
                "mae_sd": agreement.sd_absolute_error,
                "bias": agreement.bias,
                "bias_sd": agreement.sd_difference,
                "p": agreement.wilcoxon_p,
                "correlation": agreement.pearson,
                "lower_limit": agreement.lower_limit,
                "lower_limit_lower": low,
                "lower_limit_upper": low_upper,
                "upper_limit": agreement.upper_limit,
                "upper_limit_lower": high_lower,
                "upper_limit_upper": high,
            }
            | ({} if found is None else _icc_columns(found))
        )
    return rows


COLUMNS = (
    "measure",
    "kind",
    "first",
    "second",
    "n",
    "dice",
    "dice_sd",
    "mae",
    "mae_sd",
    "bias",
    "bias_sd",
    "p",
    "correlation",
    "icc",
    "icc_lower",
    "icc_upper",
    "lower_limit",
    "lower_limit_lower",
    "lower_limit_upper",
    "upper_limit",
    "upper_limit_lower",
    "upper_limit_upper",
)


def icc_rows(reliabilities: Sequence[Reliability]) -> list[dict[str, Any]]:
    """All intraclass correlations, one row each; one row with the reason where there is none."""
    rows = []
    for item in reliabilities:
        common = {
            "measure": item.measure,
            "kind": item.kind,
            "readings": ", ".join(item.readings),
            "n": item.n,
            "missing": item.missing,
        }
        found = [
            {
                **common,
                "type": icc.kind,
                "icc": icc.icc,
                "lower": icc.lower,
                "upper": icc.upper,
                "p": icc.p,
                "reason": "",
            }
            for icc in item.correlations
        ]
        empty = dict.fromkeys(("type", "icc", "lower", "upper", "p"), "")
        rows += found or [{**common, **empty, "reason": item.reason}]
    return rows


ICC_COLUMNS = (
    "measure",
    "kind",
    "readings",
    "n",
    "missing",
    "type",
    "icc",
    "lower",
    "upper",
    "p",
    "reason",
)


def icc_texts(item: Reliability | None) -> tuple[str, str]:
    """ICC(2,1) and its limits, dashes where undefined."""
    if item is None or not item.correlations:
        return DASH, DASH
    icc = item.absolute
    limits = f"{decimal_text(icc.lower, 3)} to {decimal_text(icc.upper, 3)}"
    return decimal_text(icc.icc, 3), limits


def _statistics(agreement: PairedAgreement, found: Reliability | None) -> dict[str, str]:
    texts = (
        f"{significant_text(agreement.mean_absolute_error)} ± "
        f"{significant_text(agreement.sd_absolute_error)}",
        f"{significant_text(agreement.bias)} ± {significant_text(agreement.sd_difference)}",
        p_text(agreement.wilcoxon_p),
        decimal_text(agreement.pearson, 3),
        *icc_texts(found),
    )
    return dict(zip(STATISTICS, texts, strict=True))


def _pair_reliabilities(
    reliabilities: Sequence[Reliability],
) -> dict[tuple[str, str, str], Reliability]:
    return {
        (item.measure, item.readings[0], item.readings[1]): item
        for item in reliabilities
        if item.kind == PAIR
    }


def _icc_columns(found: Reliability) -> dict[str, float]:
    icc = found.absolute
    return {"icc": icc.icc, "icc_lower": icc.lower, "icc_upper": icc.upper}
