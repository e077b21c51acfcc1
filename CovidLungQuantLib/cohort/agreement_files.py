"""Evaluation and agreement as CSV, JSON and a page with figures."""

from __future__ import annotations

import csv
import json
import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from html import escape
from pathlib import Path
from typing import Any

from CovidLungQuantLib.cohort.agreement import PairedAgreement
from CovidLungQuantLib.cohort.evaluation import (
    ALL_CASES,
    PAIRED,
    SUMMARISED,
    AgreementRow,
    Evaluation,
    SummaryRow,
    paired_values,
)
from CovidLungQuantLib.cohort.figures import agreement_figure, correlation_text
from CovidLungQuantLib.cohort.reader_tables import (
    AUTOMATIC,
    INTER_OBSERVER,
    INTRA_OBSERVER,
    Comparison,
    ReaderTable,
)
from CovidLungQuantLib.cohort.yardsticks import SOURCE, YARDSTICKS
from CovidLungQuantLib.labels import DISCLAIMER, UNCLASSIFIED_LESION_VALUE
from CovidLungQuantLib.measures.comparison import STRUCTURES, StructureComparison
from CovidLungQuantLib.versions import software_versions

CASES_FILE = "cases.csv"
SUMMARY_FILE = "summary.csv"
AGREEMENT_FILE = "agreement.csv"
EVALUATION_JSON_FILE = "evaluation.json"
EVALUATION_PAGE_FILE = "evaluation.html"
EVALUATION_FILES = (
    CASES_FILE,
    SUMMARY_FILE,
    AGREEMENT_FILE,
    EVALUATION_JSON_FILE,
    EVALUATION_PAGE_FILE,
)
AGREEMENT_JSON_FILE = "agreement.json"
AGREEMENT_PAGE_FILE = "agreement.html"
AGREEMENT_FILES = (AGREEMENT_FILE, AGREEMENT_JSON_FILE, AGREEMENT_PAGE_FILE)

STATISTICS_NOTES: tuple[str, ...] = (
    "Differences are the first minus the second of a pair; for software and reader, software minus "
    "reader.",
    "MAE: mean absolute difference. Bias: mean difference, with 95 % limits of agreement, bias ± "
    "1.96 SD (Bland and Altman 1986). SD is the sample SD.",
    "r: Pearson. ρ: Spearman. W: smaller rank sum of the paired Wilcoxon signed-rank test, "
    "two-sided; pairs without difference are left out, and with fewer than 6 pairs p cannot fall "
    "below 0.05.",
    "A figure that is undefined is left blank with the reason, and is in no mean.",
)
EVALUATION_NOTES: tuple[str, ...] = (
    "Dice = 2·|A∩B| / (|A| + |B|); volume similarity = 1 − ||A| − |B|| / (|A| + |B|).",
    "Surface distances are between centres of surface voxels: 95 % Hausdorff, the larger of the "
    "two directed 95th percentiles, and the mean over the surface voxels of both.",
    "Lung = normal lung + lesion; lesion = GGO + high opacity; extents are of one's own lung.",
    f"Lesion of unknown class in a reference (value {UNCLASSIFIED_LESION_VALUE}, or slices listed "
    "under class_inferred_slices in case.json) counts for lesion and lung; slices that hold it are "
    "left out for GGO and high opacity, and class volumes are of the slices compared.",
    *STATISTICS_NOTES,
)

_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; max-width: 1240px; padding: 28px 32px; background: #fff; color: #1d2730;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 26px; margin: 2px 0 0; } h2 { font-size: 17px; margin: 34px 0 10px; }
.quiet, small { color: #5a6772; font-size: 13px; }
.warnings { margin: 20px 0 0; padding: 10px 16px; border-left: 5px solid #c77700;
  background: #fff6e6; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 5px 9px; border-bottom: 1px solid #dde3e7;
  white-space: nowrap; }
th { font-weight: 600; font-size: 13px; color: #3e4a54; vertical-align: bottom;
  white-space: normal; }
th:first-child, td:first-child { text-align: left; }
span.quiet { display: inline-block; min-width: 190px; white-space: normal; text-align: left; }
img { display: block; width: 100%; max-width: 980px; height: auto; margin: 6px 0 18px;
  break-inside: avoid; }
@media print { @page { size: A4 landscape; margin: 12mm; } body { padding: 0; max-width: none; } }
"""


def write_evaluation(folder: Path, evaluation: Evaluation, with_figures: bool) -> list[str]:
    """Write `EVALUATION_FILES` into `folder` and return their names."""
    _write_csv(
        folder / CASES_FILE,
        (
            {"case": case.case, **asdict(row)}
            for case in evaluation.cases
            for row in case.structures
        ),
    )
    _write_csv(folder / SUMMARY_FILE, map(_flat_summary, evaluation.summary))
    _write_csv(folder / AGREEMENT_FILE, map(_flat_agreement, evaluation.agreement))
    _write_json(
        folder / EVALUATION_JSON_FILE,
        {
            "cases": [asdict(case) for case in evaluation.cases],
            "summary": [_flat_summary(row) for row in evaluation.summary],
            "agreement": [_flat_agreement(row) for row in evaluation.agreement],
            "warnings": list(evaluation.warnings),
            "notes": list(EVALUATION_NOTES),
        },
    )
    page = evaluation_page(evaluation, with_figures)
    (folder / EVALUATION_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(EVALUATION_FILES)


def write_agreement(
    folder: Path,
    tables: Sequence[ReaderTable],
    comparisons: Sequence[Comparison],
    with_figures: bool,
) -> list[str]:
    """Write `AGREEMENT_FILES` into `folder` and return their names."""
    rows = [_flat_comparison(comparison) for comparison in comparisons]
    _write_csv(folder / AGREEMENT_FILE, rows)
    _write_json(folder / AGREEMENT_JSON_FILE, {"agreement": rows, "notes": list(STATISTICS_NOTES)})
    page = agreement_page(tables, comparisons, with_figures)
    (folder / AGREEMENT_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(AGREEMENT_FILES)


def evaluation_page(evaluation: Evaluation, with_figures: bool) -> str:
    """Summary, agreement, figures and every case, as one HTML file without outside parts."""
    count = len(evaluation.cases)
    return _page(
        f"Agreement with the reader: {count} case{'s' if count != 1 else ''}",
        [
            _warnings(evaluation.warnings),
            "<h2>Mean ± SD over cases</h2>",
            _summary_table(evaluation.summary),
            "<h2>Volumes and extents against the reader</h2>",
            _agreement_table(
                [
                    (f"{row.structure} {_measure_name(row.measure)}", row.unit, row.agreement)
                    for row in evaluation.agreement
                ]
            ),
            *(_evaluation_figures(evaluation) if with_figures else []),
            "<h2>Readers among themselves</h2>",
            _yardstick_table(),
            "<h2>Cases</h2>",
            _case_table(evaluation),
            _notes(EVALUATION_NOTES),
        ],
    )


def agreement_page(
    tables: Sequence[ReaderTable], comparisons: Sequence[Comparison], with_figures: bool
) -> str:
    """For each measure the comparisons beside each other, and their figures."""
    parts: list[str] = []
    for table in tables:
        members = [item for item in comparisons if item.measure == table.measure]
        parts += [
            f"<h2>{escape(table.measure)} ({len(table.cases)} cases)</h2>",
            _comparison_table(members),
        ]
        if with_figures:
            parts += [_comparison_figure(table, member) for member in members]
    return _page(
        "Agreement of observers",
        [
            *parts,
            "<h2>Readers in the literature</h2>",
            _yardstick_table(),
            _notes(STATISTICS_NOTES),
        ],
    )


def _flat_summary(row: SummaryRow) -> dict[str, Any]:
    return {
        "structure": row.structure,
        "cases": row.cases,
        "measure": row.measure,
        "unit": row.unit,
        **asdict(row.summary),
    }


def _flat_agreement(row: AgreementRow) -> dict[str, Any]:
    return {
        "structure": row.structure,
        "measure": row.measure,
        "unit": row.unit,
        **asdict(row.agreement),
    }


def _flat_comparison(row: Comparison) -> dict[str, Any]:
    return {
        "measure": row.measure,
        "kind": row.kind,
        "first": row.first,
        "second": row.second,
        **asdict(row.agreement),
    }


def _write_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {name: _blank_for_nan(value) for name, value in row.items()} for row in rows
        )


def _write_json(path: Path, content: dict[str, Any]) -> None:
    whole = {"disclaimer": DISCLAIMER, **content, "versions": software_versions()}
    text = json.dumps(_none_for_nan(whole), indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _blank_for_nan(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value


def _none_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _none_for_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_none_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _page(title: str, parts: Sequence[str]) -> str:
    body = "\n".join(part for part in parts if part)
    versions = ", ".join(f"{name} {version}" for name, version in software_versions().items())
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n<p class="quiet">{escape(DISCLAIMER)}</p>\n{body}\n'
        f'<p class="quiet">{escape(versions)}</p>\n</body>\n</html>\n'
    )


def _warnings(messages: Sequence[str]) -> str:
    if not messages:
        return ""
    items = "".join(f"<li>{escape(message)}</li>" for message in messages)
    return (
        '<div class="warnings"><strong>Read before using these numbers</strong>'
        f"<ul>{items}</ul></div>"
    )


def _summary_table(rows: Sequence[SummaryRow]) -> str:
    measures = list(SUMMARISED)
    groups = list(dict.fromkeys(row.cases for row in rows))
    by_key = {(row.structure, row.cases, row.measure): row.summary for row in rows}
    lines = []
    for group in groups:
        for structure in STRUCTURES:
            cells = []
            for measure in measures:
                summary = by_key.get((structure, group, measure))
                cells.append(
                    f"{_number(summary.mean)} ± {_number(summary.sd)}"
                    f"<br><small>median {_number(summary.median)}, n {summary.n}</small>"
                    if summary is not None and summary.n
                    else "–"
                )
            name = structure if group == ALL_CASES else f"{structure} ({group})"
            lines.append([escape(name), *cells])
    headings = [
        "Structure",
        *(
            f"{_measure_name(measure)}{f' ({unit})' if unit else ''}"
            for measure, unit in SUMMARISED.items()
        ),
    ]
    return _table(headings, lines)


def _agreement_table(rows: Sequence[tuple[str, str, PairedAgreement]]) -> str:
    headings = [
        "",
        "n",
        "MAE",
        "bias",
        "95 % limits of agreement",
        "r (p)",
        "ρ (p)",
        "Wilcoxon p",
        "not given",
    ]
    lines = []
    for name, unit, agreement in rows:
        title = escape(f"{name} ({unit})" if unit else name)
        lines.append([title, *_agreement_cells(agreement)])
    return _table(headings, lines)


def _agreement_cells(agreement: PairedAgreement) -> list[str]:
    return [
        str(agreement.n) + (f" ({agreement.missing} missing)" if agreement.missing else ""),
        f"{_number(agreement.mean_absolute_error)} ± {_number(agreement.sd_absolute_error)}",
        f"{_number(agreement.bias)} ± {_number(agreement.sd_difference)}",
        f"{_number(agreement.lower_limit)} to {_number(agreement.upper_limit)}",
        f"{correlation_text(agreement.pearson)} ({_p(agreement.pearson_p)})",
        f"{correlation_text(agreement.spearman)} ({_p(agreement.spearman_p)})",
        _p(agreement.wilcoxon_p),
        _quiet(agreement.reason),
    ]


def _comparison_table(comparisons: Sequence[Comparison]) -> str:
    """Statistics down, comparisons across: software, inter- and intra-observer columns."""
    short = {
        AUTOMATIC: "software",
        INTER_OBSERVER: "inter-observer",
        INTRA_OBSERVER: "intra-observer",
    }
    headings = [
        "",
        *(
            f"{short[item.kind]}<br>{escape(item.first)} − {escape(item.second)}"
            for item in comparisons
        ),
    ]
    names = ["n", "MAE ± SD", "bias ± SD", "95 % limits of agreement", "r (p)", "ρ (p)"]
    names += ["Wilcoxon p", "not given"]
    columns = [_agreement_cells(item.agreement) for item in comparisons]
    lines = [[name, *row] for name, row in zip(names, zip(*columns, strict=True), strict=True)]
    if not any(lines[-1][1:]):
        lines.pop()
    return _table(headings, lines)


def _yardstick_table() -> str:
    lines = [
        [
            escape(f"{row.structure}: {row.measure}{f' ({row.unit})' if row.unit else ''}"),
            row.inter_observer,
            row.inter_observer_second,
            row.intra_observer,
        ]
        for row in YARDSTICKS
    ]
    headings = ["", "inter-observer 1–2", "inter-observer 1–3", "intra-observer 1–1"]
    return _table(headings, lines) + f'<p class="quiet">{escape(SOURCE)}, mean ± SD.</p>'


def _case_table(evaluation: Evaluation) -> str:
    columns = [column.name for column in fields(StructureComparison) if column.type == "float"]
    lines = []
    for case in evaluation.cases:
        for row in case.structures:
            name = f"<b>{escape(case.case)}</b> {escape(row.structure)}"
            values = [_number(getattr(row, column)) for column in columns]
            lines.append([name, str(row.slices), *values, _quiet(row.reason)])
    headings = ["Case, structure", "slices", *map(_column_heading, columns), "not given"]
    return _table(headings, lines)


def _evaluation_figures(evaluation: Evaluation) -> list[str]:
    figures = []
    for row in evaluation.agreement:
        values, reference = paired_values(evaluation.cases, row.structure, row.measure)
        if row.agreement.n:
            figures.append(
                _image(
                    agreement_figure(
                        f"{row.structure} {_measure_name(row.measure)}",
                        row.unit,
                        ("software", "reader"),
                        values,
                        reference,
                        row.agreement,
                    )
                )
            )
    return ["<h2>Scatter and Bland–Altman plots</h2>", *figures] if figures else []


def _comparison_figure(table: ReaderTable, comparison: Comparison) -> str:
    if not comparison.agreement.n:
        return ""
    return _image(
        agreement_figure(
            f"{table.measure}: {comparison.first} and {comparison.second}",
            "",
            (comparison.first, comparison.second),
            table.observers[comparison.first],
            table.observers[comparison.second],
            comparison.agreement,
        )
    )


def _image(svg: str) -> str:
    # As an image of its own: ids inside several SVG would clash in one page.
    data = b64encode(svg.encode("utf-8")).decode("ascii")
    return f'<img alt="Scatter and Bland–Altman plot" src="data:image/svg+xml;base64,{data}">'


def _quiet(text: str) -> str:
    """A cell's content as small grey text over several lines."""
    return f'<span class="quiet">{escape(text)}</span>' if text else ""


def _table(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in line) + "</tr>" for line in lines
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _notes(notes: Sequence[str]) -> str:
    return f'<ul class="quiet">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>'


def _measure_name(measure: str) -> str:
    """`hausdorff95_mm` → "95 % Hausdorff"."""
    return {
        "dice": "Dice",
        "volume_similarity": "volume similarity",
        "hausdorff95_mm": "95 % Hausdorff",
        "mean_surface_distance_mm": "mean surface distance",
        "volume_error_ml": "volume error",
        "volume_error_percent": "volume error",
        "extent_error_points": "extent error",
        "volume_ml": "volume",
        "reference_volume_ml": "reader's volume",
        "extent_percent": "extent",
        "reference_extent_percent": "reader's extent",
    }[measure]


def _column_heading(column: str) -> str:
    unit = {**SUMMARISED, **PAIRED}.get(column.removeprefix("reference_"), "")
    unit = "points" if column == "extent_error_points" else unit
    return f"{_measure_name(column)}{f'<br>({unit})' if unit else ''}"


def _number(value: float) -> str:
    """Three significant digits, a true minus, a dash for what is undefined."""
    if math.isnan(value):
        return "–"
    size = abs(value)
    digits = 3 if size < 1 else 2 if size < 10 else 1 if size < 100 else 0
    return f"{value:.{digits}f}".replace("-", "−")


def _p(value: float) -> str:
    if math.isnan(value):
        return "–"
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
