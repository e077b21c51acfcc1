"""The check of features against the scan's bias as a table, JSON and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from CovidLungQuantLib.cohort.cohort_texts import (
    GROUP_COLORS,
    LONGEST_NAME,
    closing_notes,
    estimate_text,
    exponent_text,
)
from CovidLungQuantLib.cohort.figures import drawn_svg
from CovidLungQuantLib.cohort.scan_bias import FeatureBias
from CovidLungQuantLib.display.colors import INK
from CovidLungQuantLib.display.numbers import decimal_text
from CovidLungQuantLib.files.tables import write_csv, write_study_json
from CovidLungQuantLib.pages.drawings import svg_figure
from CovidLungQuantLib.pages.sections import Section, ShownTable, sections_page
from CovidLungQuantLib.printable import shortened

BIAS_FILE = "signal_to_bias.csv"
BIAS_JSON_FILE = "signal_to_bias.json"
BIAS_PAGE_FILE = "signal_to_bias.html"
BIAS_FILES = (BIAS_FILE, BIAS_JSON_FILE, BIAS_PAGE_FILE)
MOST_DRAWN = 40

NOTES: tuple[str, ...] = (
    "Bias: SD of the feature in parenchyma without disease, from scan to scan. Signal: SD of "
    "lesion minus parenchyma of the same scan (after Zhou et al. 2022). Limits: 1000 bootstraps of "
    "scans.",
    "r²: of the plain feature in lesions with the signal; the rest is bias.",
    *closing_notes(),
)


def write_biases(folder: Path, found: Sequence[FeatureBias], with_figures: bool) -> list[str]:
    """Write `BIAS_FILES` into `folder` and return their names; the best feature stands first."""
    ordered = sorted(found, key=lambda item: -np.nan_to_num(item.signal_to_bias, nan=-1.0))
    rows = [{**asdict(item), "verdict": item.verdict} for item in ordered]
    write_csv(folder / BIAS_FILE, rows)
    write_study_json(folder / BIAS_JSON_FILE, {"features": rows, "notes": list(NOTES)})
    figures = (
        [svg_figure(bias_figure(ordered), "Signal against bias by feature")] if with_figures else []
    )
    table = ShownTable(
        ("feature", "scans", "bias SD", "signal SD", "signal / bias (95 %)", "r²", ""),
        [
            (
                shortened(item.feature, LONGEST_NAME),
                str(item.scans),
                exponent_text(item.bias_sd),
                exponent_text(item.signal_sd),
                estimate_text(item.signal_to_bias, (item.lower, item.upper)),
                decimal_text(item.r2, 3),
                item.verdict,
            )
            for item in ordered
        ],
    )
    page = sections_page(
        f"Signal of {len(ordered)} features against the scans' bias",
        [Section("Features", figures=figures, tables=[table])],
        notes=NOTES,
    )
    (folder / BIAS_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(BIAS_FILES)


def bias_figure(ordered: Sequence[FeatureBias]) -> str:
    """Ratio with its limits for each feature, the best above; at most `MOST_DRAWN`."""
    known = [item for item in ordered if item.signal_to_bias > 0][:MOST_DRAWN]

    def draw(figure: Any) -> None:
        from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

        axes = figure.subplots()
        axes.axvline(1.0, color=INK, linewidth=1, linestyle="--")
        for row, item in enumerate(known):
            color = GROUP_COLORS[0] if item.lower > 1 else GROUP_COLORS[1]
            axes.plot([item.lower, item.upper], [row, row], color=color, linewidth=1.4)
            axes.plot(item.signal_to_bias, row, "o", color=color, markersize=5)
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_yticks(
            range(len(known)), [shortened(item.feature, LONGEST_NAME) for item in known]
        )
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set_xlabel("SD of the signal / SD of the scans' bias")

    return drawn_svg((9.0, 1.2 + 0.24 * max(4, len(known))), draw)


def biases_text(found: Sequence[FeatureBias]) -> list[tuple[str, ...]]:
    """Rows for the terminal, at most 20."""
    rows: list[tuple[str, ...]] = [("", "scans", "signal/bias (95 %)", "r²", "")]
    for item in found[:20]:
        rows.append(
            (
                shortened(item.feature, LONGEST_NAME),
                str(item.scans),
                estimate_text(item.signal_to_bias, (item.lower, item.upper)),
                decimal_text(item.r2, 3),
                item.verdict,
            )
        )
    return rows
