"""Changes over time as a table and a page with curves."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from CovidLungQuantLib.cohort.figures import DRAWING_STYLE, INK, QUIET
from CovidLungQuantLib.cohort.follow_up import LARGEST_LUNG_CHANGE_PERCENT, FollowUp
from CovidLungQuantLib.cohort.study_page import (
    notes_list,
    study_page,
    study_table,
    svg_image,
)
from CovidLungQuantLib.files.tables import write_csv, write_study_json
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, HIGH_OPACITY, LOBES
from CovidLungQuantLib.measures.change import Change
from CovidLungQuantLib.measures.columns import (
    PERCENTAGE_POINTS,
    Column,
    Place,
    columns_in,
)
from CovidLungQuantLib.measures.measurements import LUNG_REGIONS
from CovidLungQuantLib.outputs.page import warnings_box

CHANGE_TABLE_FILE = "change.csv"
CHANGE_JSON_FILE = "change.json"
CHANGE_PAGE_FILE = "change.html"
CHANGE_FILES = (CHANGE_TABLE_FILE, CHANGE_JSON_FILE, CHANGE_PAGE_FILE)

CHANGE_NOTES: tuple[str, ...] = (
    "A change is the later value minus the earlier one; changes of extents are percentage points "
    "(pp).",
    "Extents are of the region's lung volume, which changes with the depth of inspiration; a "
    f"change of the lung volume above {LARGEST_LUNG_CHANGE_PERCENT:g} % is warned of.",
    "Results hold no patient data: whoever compares sees to it that they are of one patient.",
)
FIGURE_INCHES = (9.0, 3.6)


def write_follow_up(folder: Path, found: FollowUp, with_figures: bool) -> list[str]:
    """Write `CHANGE_FILES` into `folder` and return their names.

    Args:
        folder: must exist.
        found: from `follow_up`.
        with_figures: draw the curves too, which needs matplotlib.
    """
    rows = [change_row(item) for item in found.changes]
    write_csv(folder / CHANGE_TABLE_FILE, rows)
    write_study_json(
        folder / CHANGE_JSON_FILE,
        {
            "time_points": [
                {"name": point.name, "day": point.day, "provenance": point.provenance}
                for point in found.time_points
            ],
            "changes": [asdict(item) for item in found.changes],
            "warnings": list(found.warnings),
            "notes": list(CHANGE_NOTES),
        },
    )
    page = follow_up_page(found, with_figures)
    (folder / CHANGE_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(CHANGE_FILES)


def follow_up_page(found: FollowUp, with_figures: bool) -> str:
    """The changes as one self-contained page."""
    figures = svg_image(change_figure(found), "Extents over time") if with_figures else ""
    return study_page(
        "Change of COVID-19 pneumonia over time",
        [
            warnings_box(found.warnings),
            "<h2>Time points</h2>",
            _time_point_table(found),
            figures,
            "<h2>Changes</h2>",
            _change_table(found),
            notes_list(CHANGE_NOTES),
        ],
    )


def change_figure(found: FollowUp) -> str:
    """Extents of both lungs, and lesion extent of each lobe or lung, over time, as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    x, x_label = _time_axis(found)
    lobes = [lobe for lobe in LOBES if lobe.name.lower() in found.regions]
    parts = [(lobe.short_name, lobe.name.lower(), lobe.color, "-") for lobe in lobes] or [
        (name.capitalize(), name, color, line)
        for name, color, line in zip(list(LUNG_REGIONS)[1:], (INK, QUIET), ("-", "--"), strict=True)
    ]
    with matplotlib.rc_context(DRAWING_STYLE):
        figure = Figure(figsize=FIGURE_INCHES, layout="constrained")
        both, by_part = figure.subplots(1, 2, sharey=False)
        for name, measure, color in (
            ("Lesion", "lesion_percent", INK),
            ("GGO", "ggo_percent", GGO.color),
            ("High opacity", "high_opacity_percent", HIGH_OPACITY.color),
        ):
            values = found.change(BOTH_LUNGS_REGION, measure).values
            both.plot(x, values, marker="o", color=color, label=name, clip_on=False)
        for name, region, color, line in parts:
            values = found.change(region, "lesion_percent").values
            by_part.plot(
                x, values, marker="o", color=color, linestyle=line, label=name, clip_on=False
            )
        for axes, title in (
            (both, "Both lungs"),
            (by_part, "Lesion by lobe" if lobes else "Lesion by lung"),
        ):
            axes.set_title(title, fontsize=10, loc="left", fontweight="bold")
            axes.set(xlabel=x_label, ylabel="extent (% of the lung volume)")
            axes.set_xticks(x)
            axes.margins(y=0.1)
            axes.set_ylim(bottom=0.0)
            axes.legend(frameon=False, fontsize=8)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _time_axis(found: FollowUp) -> tuple[list[float], str]:
    days = [point.day for point in found.time_points]
    if None in days:
        return [float(number) for number in range(1, len(days) + 1)], "time point"
    return [float(day) for day in days if day is not None], "day"


def change_row(item: Change) -> dict[str, Any]:
    """A change as a row of the table, by column."""
    values = {f"time_point_{number}": value for number, value in enumerate(item.values, start=1)}
    steps = {
        f"change_{number}_to_{number + 1}": value
        for number, value in enumerate(item.from_previous, start=1)
    }
    return {
        "region": item.region,
        "measure": item.measure,
        "unit": item.unit,
        **values,
        "change_unit": item.change_unit,
        **steps,
        "change_first_to_last": item.from_first,
    }


def _time_point_table(found: FollowUp) -> str:
    lines = [
        [
            str(number),
            escape(point.name),
            "–" if point.day is None else f"{point.day:g}",
            escape(point.provenance.get("model_name") or "given by a person"),
            escape(str((point.provenance.get("options") or {}).get("kinds") or "–")),
            escape(str(point.provenance.get("software_version") or "–")),
        ]
        for number, point in enumerate(found.time_points, start=1)
    ]
    return study_table(["", "Result", "Day", "Model", "Kinds by", "Software"], lines)


def _change_table(found: FollowUp) -> str:
    numbers = range(1, len(found.time_points) + 1)
    steps = [f"Change {number} → {number + 1}" for number in numbers[:-1]]
    first_to_last = [f"Change 1 → {numbers[-1]}"] if len(numbers) > 2 else []
    headings = ["", *map(str, numbers), *steps, *first_to_last]
    lines = []
    for region in found.regions:
        lines.append([f"<strong>{escape(region.capitalize())}</strong>", *[""] * len(headings[1:])])
        for column in columns_in(Place.CHANGE_PAGE):
            item = found.change(region, column.key)
            steps_of_item = [*item.from_previous, *([item.from_first] if first_to_last else [])]
            unit = " pp" if item.change_unit == PERCENTAGE_POINTS else ""
            lines.append(
                [
                    f"{column.full_name} <small>{item.unit}</small>",
                    *(_value(value) for value in item.values),
                    *(f"{_signed(value)}{unit}" for value in steps_of_item),
                ]
            )
    return study_table(headings, lines)


def change_text(found: FollowUp) -> Sequence[tuple[str, ...]]:
    """Rows for the terminal: figures of each region, and their change from the first."""
    shown = columns_in(Place.PRINTED_CHANGES)
    headings = [text for column in shown for text in _printed_headings(column)]
    rows = [("", *headings)]
    for region in found.regions:
        items = [found.change(region, column.key) for column in shown]
        cells = [
            text
            for item in items
            for text in (" → ".join(map(_value, item.values)), _signed(item.from_first))
        ]
        rows.append((region, *cells))
    return rows


def _printed_headings(column: Column) -> tuple[str, str]:
    in_points = " pp" if column.unit.change_text == PERCENTAGE_POINTS else ""
    return f"{column.printed_heading} {column.unit.text}", f"change{in_points}"


def _value(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _signed(value: float) -> str:
    """One decimal with its sign; what rounds to nothing has none."""
    if math.isnan(value):
        return "–"
    text = f"{value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")
