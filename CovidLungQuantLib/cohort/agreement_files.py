"""Evaluation and agreement as CSV, JSON and a page with figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from CovidLungQuantLib.cohort.agreement import PairedAgreement
from CovidLungQuantLib.cohort.agreement_overview import (
    COLUMNS as OVERVIEW_COLUMNS,
)
from CovidLungQuantLib.cohort.agreement_overview import (
    ICC_COLUMNS,
    icc_rows,
    overview,
    overview_rows,
)
from CovidLungQuantLib.cohort.evaluation import (
    ALL_CASES,
    SUMMARISED,
    AgreementRow,
    Evaluation,
    SummaryRow,
    paired_values,
)
from CovidLungQuantLib.cohort.figures import agreement_figure
from CovidLungQuantLib.cohort.observer_segmentations import ObserverSegmentations
from CovidLungQuantLib.cohort.published_agreement import SOURCE, YARDSTICKS
from CovidLungQuantLib.cohort.reader_tables import (
    AUTOMATIC,
    INTER_OBSERVER,
    INTRA_OBSERVER,
    Comparison,
    ReaderTable,
)
from CovidLungQuantLib.cohort.reliability import Reliability, reliabilities
from CovidLungQuantLib.display.numbers import decimal_text, p_text, significant_text
from CovidLungQuantLib.files.tables import write_csv, write_study_json
from CovidLungQuantLib.labels import UNCLASSIFIED_LESION_VALUE, UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.measures.against_reader import MEASURES, MEASURES_BY_KEY
from CovidLungQuantLib.measures.structures import STRUCTURES
from CovidLungQuantLib.pages.drawings import Figure, svg_figure
from CovidLungQuantLib.pages.rendering import render_page

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
OVERVIEW_FILE = "table2.csv"
ICC_FILE = "icc.csv"
AGREEMENT_FILES = (
    AGREEMENT_FILE,
    OVERVIEW_FILE,
    ICC_FILE,
    AGREEMENT_JSON_FILE,
    AGREEMENT_PAGE_FILE,
)
DICE_FILE = "dice.csv"
# Where segmentations are compared.
SEGMENTATION_AGREEMENT_FILES = (*AGREEMENT_FILES, DICE_FILE)

EVALUATION_TEMPLATE = "evaluation.html.j2"
AGREEMENT_TEMPLATE = "agreement.html.j2"
FIGURE_DESCRIPTION = "Scatter and Bland–Altman plot"
SHORT_KINDS = {
    AUTOMATIC: "software",
    INTER_OBSERVER: "inter-observer",
    INTRA_OBSERVER: "intra-observer",
}

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
OBSERVER_NOTES: tuple[str, ...] = (
    *STATISTICS_NOTES,
    "ICC: intraclass correlation of single ratings, with 95 % limits (pingouin), on the cases that "
    "all of the readings have; (2,1) is of agreement in the value with random readers, (3,1) of "
    "consistency with these readers, (1,1) with other readers for each case (Shrout and Fleiss "
    "1979).",
    f"{OVERVIEW_FILE} has the comparisons as numbers, with 95 % limits of each limit of agreement "
    "(exact for normal differences).",
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
    write_study_json(
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
    segmentations: ObserverSegmentations | None = None,
) -> list[str]:
    """Write `AGREEMENT_FILES` into `folder` and return their names.

    With segmentations `DICE_FILE` is written, too, and Dice stands in the overview.
    """
    rows = [_flat_comparison(comparison) for comparison in comparisons]
    found = [item for table in tables for item in reliabilities(table)]
    overlaps = segmentations.overlaps if segmentations else ()
    in_numbers = overview_rows(comparisons, found, overlaps)
    write_csv(folder / AGREEMENT_FILE, rows)
    write_csv(folder / OVERVIEW_FILE, in_numbers, OVERVIEW_COLUMNS)
    write_csv(folder / ICC_FILE, icc_rows(found), ICC_COLUMNS)
    if segmentations:
        write_csv(folder / DICE_FILE, map(asdict, segmentations.case_overlaps))
    write_study_json(
        folder / AGREEMENT_JSON_FILE,
        {
            "agreement": rows,
            "overview": in_numbers,
            "icc": icc_rows(found),
            "warnings": list(segmentations.warnings) if segmentations else [],
            "notes": list(OBSERVER_NOTES),
        },
    )
    page = agreement_page(tables, comparisons, with_figures, found, segmentations)
    (folder / AGREEMENT_PAGE_FILE).write_text(page, encoding="utf-8")
    return list(SEGMENTATION_AGREEMENT_FILES if segmentations else AGREEMENT_FILES)


def evaluation_page(evaluation: Evaluation, with_figures: bool) -> str:
    """Summary, agreement, figures and every case, as one HTML file without outside parts."""
    count = len(evaluation.cases)
    return render_page(
        EVALUATION_TEMPLATE,
        title=f"Agreement with the reader: {count} case{'s' if count != 1 else ''}",
        warnings=evaluation.warnings,
        summary_measures=SUMMARISED,
        summary_rows=_summaries(evaluation.summary),
        agreement_rows=[
            {"name": _agreement_name(row), **_shown_agreement(row.agreement)}
            for row in evaluation.agreement
        ],
        figures=_evaluation_figures(evaluation) if with_figures else [],
        case_measures=MEASURES,
        cases=evaluation.cases,
        yardsticks=YARDSTICKS,
        yardstick_source=SOURCE,
        notes=EVALUATION_NOTES,
    )


def agreement_page(
    tables: Sequence[ReaderTable],
    comparisons: Sequence[Comparison],
    with_figures: bool,
    found: Sequence[Reliability] = (),
    segmentations: ObserverSegmentations | None = None,
) -> str:
    """All comparisons in one table, then for each measure beside each other, with figures."""
    return render_page(
        AGREEMENT_TEMPLATE,
        title="Agreement of observers",
        warnings=segmentations.warnings if segmentations else (),
        overview=overview(comparisons, found, segmentations.overlaps if segmentations else ()),
        reliabilities=[
            {
                "measure": item.measure,
                "readings": f"{item.kind}: {', '.join(item.readings)}",
                "n": f"{item.n} ({item.missing} missing)" if item.missing else str(item.n),
                "texts": [
                    f"{decimal_text(icc.icc, 3)} ({decimal_text(icc.lower, 3)} to "
                    f"{decimal_text(icc.upper, 3)})"
                    for icc in item.correlations
                ],
                "reason": item.reason,
            }
            for item in found
        ],
        measures=[
            _shown_measure(
                table, [item for item in comparisons if item.measure == table.measure], with_figures
            )
            for table in tables
        ],
        yardsticks=YARDSTICKS,
        yardstick_source=SOURCE,
        notes=OBSERVER_NOTES,
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


def _summaries(rows: Sequence[SummaryRow]) -> list[dict[str, Any]]:
    """For each group of cases and structure the summaries of `SUMMARISED`; None where none is."""
    by_key = {(row.cases, row.structure, row.measure): row.summary for row in rows}
    return [
        {
            "name": structure if group == ALL_CASES else f"{structure} ({group})",
            "summaries": [by_key.get((group, structure, item.key)) for item in SUMMARISED],
        }
        for group in dict.fromkeys(row.cases for row in rows)
        for structure in STRUCTURES
    ]


def _agreement_name(row: AgreementRow) -> str:
    return f"{row.structure} {MEASURES_BY_KEY[row.measure].title} ({row.unit})"


def _shown_agreement(agreement: PairedAgreement) -> dict[str, Any]:
    """The statistics as texts, in the order of the tables, and why any is missing."""
    missing = f" ({agreement.missing} missing)" if agreement.missing else ""
    lower, upper = significant_text(agreement.lower_limit), significant_text(agreement.upper_limit)
    return {
        "statistics": [
            f"{agreement.n}{missing}",
            f"{significant_text(agreement.mean_absolute_error)} ± "
            f"{significant_text(agreement.sd_absolute_error)}",
            f"{significant_text(agreement.bias)} ± {significant_text(agreement.sd_difference)}",
            f"{lower} to {upper}",
            f"{decimal_text(agreement.pearson, 3)} ({p_text(agreement.pearson_p)})",
            f"{decimal_text(agreement.spearman, 3)} ({p_text(agreement.spearman_p)})",
            p_text(agreement.wilcoxon_p),
        ],
        "reason": agreement.reason,
    }


def _shown_measure(
    table: ReaderTable, comparisons: Sequence[Comparison], with_figures: bool
) -> dict[str, Any]:
    """One measure with its comparisons: software, inter- and intra-observer."""
    return {
        "name": table.measure,
        "case_count": len(table.cases),
        "comparisons": [
            {
                "kind": SHORT_KINDS[item.kind],
                "first": item.first,
                "second": item.second,
                **_shown_agreement(item.agreement),
            }
            for item in comparisons
        ],
        "figures": [
            _comparison_figure(table, item)
            for item in comparisons
            if with_figures and item.agreement.n
        ],
    }


def _evaluation_figures(evaluation: Evaluation) -> list[Figure]:
    figures = []
    for row in evaluation.agreement:
        values, reference = paired_values(evaluation.cases, row.structure, row.measure)
        if row.agreement.n:
            svg = agreement_figure(
                f"{row.structure} {MEASURES_BY_KEY[row.measure].title}",
                row.unit,
                ("software", "reader"),
                values,
                reference,
                row.agreement,
            )
            figures.append(svg_figure(svg, FIGURE_DESCRIPTION))
    return figures


def _comparison_figure(table: ReaderTable, comparison: Comparison) -> Figure:
    svg = agreement_figure(
        f"{table.measure}: {comparison.first} and {comparison.second}",
        "",
        (comparison.first, comparison.second),
        table.observers[comparison.first],
        table.observers[comparison.second],
        comparison.agreement,
    )
    return svg_figure(svg, FIGURE_DESCRIPTION)
