"""Evaluation and agreement as CSV, JSON and a page with figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
from CovidLungQuantLib.cohort.published_agreement import SOURCE, YARDSTICKS
from CovidLungQuantLib.cohort.reader_tables import (
    AUTOMATIC,
    INTER_OBSERVER,
    INTRA_OBSERVER,
    Comparison,
    ReaderTable,
)
from CovidLungQuantLib.cohort.study_page import (
    notes_list,
    quiet,
    study_page,
    study_table,
    svg_image,
    write_csv,
    write_json,
)
from CovidLungQuantLib.labels import UNCLASSIFIED_LESION_VALUE, UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.measures.comparison import STRUCTURES, StructureComparison
from CovidLungQuantLib.outputs.page import warnings_box

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
    f"Voxels of which lung or not is unknown in a reference (value {UNKNOWN_LUNG_VALUE}) are no "
    "lesion, and are left out of lung, normal lung and extents on both sides.",
    *STATISTICS_NOTES,
)


def write_evaluation(folder: Path, evaluation: Evaluation, with_figures: bool) -> list[str]:
    """Write `EVALUATION_FILES` into `folder` and return their names."""
    write_csv(
        folder / CASES_FILE,
        (
            {"case": case.case, **asdict(row)}
            for case in evaluation.cases
            for row in case.structures
        ),
    )
    write_csv(folder / SUMMARY_FILE, map(_flat_summary, evaluation.summary))
    write_csv(folder / AGREEMENT_FILE, map(_flat_agreement, evaluation.agreement))
    write_json(
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
    write_csv(folder / AGREEMENT_FILE, rows)
    write_json(folder / AGREEMENT_JSON_FILE, {"agreement": rows, "notes": list(STATISTICS_NOTES)})
    page = agreement_page(tables, comparisons, with_figures)
    (folder / AGREEMENT_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(AGREEMENT_FILES)


def evaluation_page(evaluation: Evaluation, with_figures: bool) -> str:
    """Summary, agreement, figures and every case, as one HTML file without outside parts."""
    count = len(evaluation.cases)
    return study_page(
        f"Agreement with the reader: {count} case{'s' if count != 1 else ''}",
        [
            warnings_box(evaluation.warnings),
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
            notes_list(EVALUATION_NOTES),
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
    return study_page(
        "Agreement of observers",
        [
            *parts,
            "<h2>Readers in the literature</h2>",
            _yardstick_table(),
            notes_list(STATISTICS_NOTES),
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
    return study_table(headings, lines)


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
    return study_table(headings, lines)


def _agreement_cells(agreement: PairedAgreement) -> list[str]:
    return [
        str(agreement.n) + (f" ({agreement.missing} missing)" if agreement.missing else ""),
        f"{_number(agreement.mean_absolute_error)} ± {_number(agreement.sd_absolute_error)}",
        f"{_number(agreement.bias)} ± {_number(agreement.sd_difference)}",
        f"{_number(agreement.lower_limit)} to {_number(agreement.upper_limit)}",
        f"{correlation_text(agreement.pearson)} ({_p(agreement.pearson_p)})",
        f"{correlation_text(agreement.spearman)} ({_p(agreement.spearman_p)})",
        _p(agreement.wilcoxon_p),
        quiet(agreement.reason),
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
    return study_table(headings, lines)


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
    return study_table(headings, lines) + f'<p class="quiet">{escape(SOURCE)}, mean ± SD.</p>'


def _case_table(evaluation: Evaluation) -> str:
    columns = [column.name for column in fields(StructureComparison) if column.type == "float"]
    lines = []
    for case in evaluation.cases:
        for row in case.structures:
            name = f"<b>{escape(case.case)}</b> {escape(row.structure)}"
            values = [_number(getattr(row, column)) for column in columns]
            lines.append([name, str(row.slices), *values, quiet(row.reason)])
    headings = ["Case, structure", "slices", *map(_column_heading, columns), "not given"]
    return study_table(headings, lines)


def _evaluation_figures(evaluation: Evaluation) -> list[str]:
    figures = []
    for row in evaluation.agreement:
        values, reference = paired_values(evaluation.cases, row.structure, row.measure)
        if row.agreement.n:
            figures.append(
                svg_image(
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
    return svg_image(
        agreement_figure(
            f"{table.measure}: {comparison.first} and {comparison.second}",
            "",
            (comparison.first, comparison.second),
            table.observers[comparison.first],
            table.observers[comparison.second],
            comparison.agreement,
        )
    )


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
