"""Changes over time as a table and a page with curves."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from CovidLungQuantLib.cohort.figures import DRAWING_STYLE
from CovidLungQuantLib.cohort.follow_up import CHANGE_NOTES, FollowUp, TimePoint
from CovidLungQuantLib.display.colors import INK, QUIET_INK
from CovidLungQuantLib.display.numbers import DASH, decimal_text, difference_text
from CovidLungQuantLib.files.tables import write_csv, write_study_json
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION, GGO, HIGH_OPACITY, LOBES
from CovidLungQuantLib.measures.change import Change, change_row
from CovidLungQuantLib.measures.columns import PERCENTAGE_POINTS, Column, Place, columns_in
from CovidLungQuantLib.measures.measurements import LUNG_REGIONS
from CovidLungQuantLib.pages.drawings import svg_figure
from CovidLungQuantLib.pages.rendering import render_page

CHANGE_TABLE_FILE = "change.csv"
CHANGE_JSON_FILE = "change.json"
CHANGE_PAGE_FILE = "change.html"
CHANGE_FILES = (CHANGE_TABLE_FILE, CHANGE_JSON_FILE, CHANGE_PAGE_FILE)

TEMPLATE = "change.html.j2"
FIGURE_INCHES = (9.0, 3.6)


@dataclass(frozen=True)
class _ShownChange:
    """A figure of a region as a row of the page."""

    column: Column
    change: Change

    @property
    def steps(self) -> tuple[float, ...]:
        """The changes in the order of `_steps`."""
        change = self.change
        first_to_last = (change.from_first,) if len(change.values) > 2 else ()
        return (*change.from_previous, *first_to_last)

    @property
    def step_unit(self) -> str:
        """What stands behind a change; the unit of volumes is that of the row."""
        return "pp" if self.change.change_unit == PERCENTAGE_POINTS else ""


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
    return render_page(
        TEMPLATE,
        title="Change of COVID-19 pneumonia over time",
        warnings=found.warnings,
        time_points=[_shown_time_point(point) for point in found.time_points],
        figures=[svg_figure(change_figure(found), "Extents over time")] if with_figures else [],
        steps=_steps(len(found.time_points)),
        regions=[
            {
                "name": region,
                "changes": [
                    _ShownChange(column, found.change(region, column.key))
                    for column in columns_in(Place.CHANGE_PAGE)
                ],
            }
            for region in found.regions
        ],
        notes=CHANGE_NOTES,
    )


def change_figure(found: FollowUp) -> str:
    """Extents of both lungs, and lesion extent of each lobe or lung, over time, as SVG."""
    import matplotlib
    from matplotlib.figure import Figure

    x, x_label = _time_axis(found)
    lobes = [lobe for lobe in LOBES if lobe.name.lower() in found.regions]
    parts: list[tuple[str, str, Any, str]] = [
        (lobe.short_name, lobe.name.lower(), lobe.color, "-") for lobe in lobes
    ] or [
        (name.capitalize(), name, color, line)
        for name, color, line in zip(
            list(LUNG_REGIONS)[1:], (INK, QUIET_INK), ("-", "--"), strict=True
        )
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


def _shown_time_point(point: TimePoint) -> dict[str, str]:
    options = point.provenance.get("options") or {}
    return {
        "name": point.name,
        "day": DASH if point.day is None else f"{point.day:g}",
        "model": point.provenance.get("model_name") or "given by a person",
        "kinds": str(options.get("kinds") or DASH),
        "software": str(point.provenance.get("software_version") or DASH),
    }


def _steps(count: int) -> list[tuple[int, int]]:
    """Between which time points changes are shown: each and the next, and the first and last."""
    steps = [(number, number + 1) for number in range(1, count)]
    return [*steps, (1, count)] if count > 2 else steps


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
            for text in (
                " → ".join(decimal_text(value, 1) for value in item.values),
                difference_text(item.from_first),
            )
        ]
        rows.append((region, *cells))
    return rows


def _printed_headings(column: Column) -> tuple[str, str]:
    in_points = " pp" if column.unit.change_text == PERCENTAGE_POINTS else ""
    return f"{column.printed_heading} {column.unit.text}", f"change{in_points}"
