"""The parts of a model's card that come from tables: each function writes one section."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from CovidLungQuantLib.measures.against_reader import MINIMUM_EXTENT_PERCENT
from research.ablation import WHOLE_RECIPE
from research.false_positives import PLACES
from research.other_models import OTHER_MODELS, RETRAINED_MODELS, FormerModel
from research.robustness import UNCHANGED
from research.slice_figures import CLASSES, class_dice
from research.tables import with_enough

# Names of cases are text, all else numbers.
Row = dict[str, Any]
NAME_COLUMNS = ("case", "scan", "model")

# With fewer pairs a Wilcoxon test can show nothing at the 5 % level.
FEWEST_FOR_A_TEST = 6


def read_table(path: Path) -> list[Row]:
    """Rows of a table by case or scan; numbers as floats."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: value if key in NAME_COLUMNS else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def sources(rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of the first source, the second and both, of cases with enough lesion."""
    counted = [row for row in rows if row["reference_extent_percent"] > MINIMUM_EXTENT_PERCENT]
    first = [row for row in counted if row["case"] <= "covid07"]
    return first, [row for row in counted if row["case"] > "covid07"], counted


def mean_text(rows: Sequence[Row], column: str) -> str:
    """Mean of a column over the rows where it is known."""
    return number_text(float(np.nanmean([row[column] for row in rows])) if rows else math.nan)


def number_text(value: float) -> str:
    """Three decimals; a dash where it is not known."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def cross_validation_section(rows: Sequence[Row], others: str = "") -> str:
    """What the cross-validation's table says, by source, case and class.

    Args:
        rows: from `read_table`.
        others: sections on other models, to stand between.
    """
    correlation = stats.spearmanr(
        [row["reference_lesion_ml"] for row in rows], [row["lesion_ml"] for row in rows]
    ).statistic
    sure = [row for row in rows if row["sure_slices"] > 0]
    return f"""## Cross-validation

Three folds grouped by patient: every case was segmented by a network that never saw its patient. The
threshold column is smoothed HU above −650 inside the *reader's own* lungs; the network had no help from
the reader. Means are over cases with more than {MINIMUM_EXTENT_PERCENT} % lesion.

| cases | n | lesion Dice | threshold | lung Dice |
|---|---|---|---|---|
{_source_rows(rows)}

For scale, lesion Dice published on the 20 scans of which the second source is a part: 0.761 by a 3D U-Net
in five-fold cross-validation (Müller et al. 2021), 0.673 by nnU-Net trained on four of them (Ma et al. 2021).

{others}Lesion volume, Spearman correlation with the reader over {len(rows)} cases: {correlation:.3f}.

| case | lesion Dice | threshold | reader % | network % | reader mL | network mL | lung Dice |
|---|---|---|---|---|---|---|---|
{_case_rows(rows)}

Classes, only on the slices on which the reader stated them; in the last row only cases with more than
{MINIMUM_EXTENT_PERCENT} % of the lungs of that class, with their number. The first two columns tell GGO from high
opacity by density (above −350 HU, Pan et al. 2021); the columns "own" are the network's own classes.

| case | slices | GGO Dice | high opacity Dice | GGO own | high own | reader GGO mL | GGO mL | reader high mL | high mL |
|---|---|---|---|---|---|---|---|---|---|
{_class_rows(sure)}
{class_means(sure)}

Pixel spacing of these scans is nominal, so millilitres compare within a case only.

"""


def _source_rows(rows: Sequence[Row]) -> str:
    first, second, counted = sources(rows)
    by_source = {
        "first source (covid01…07)": first,
        "second source (covid08…13)": second,
        "all": counted,
    }
    return "\n".join(
        f"| {name} | {len(members)} | {mean_text(members, 'lesion_dice')} "
        f"| {mean_text(members, 'threshold_lesion_dice')} | {mean_text(members, 'lung_dice')} |"
        for name, members in by_source.items()
    )


def _case_rows(rows: Sequence[Row]) -> str:
    return "\n".join(
        f"| {row['case']} | {number_text(row['lesion_dice'])} "
        f"| {number_text(row['threshold_lesion_dice'])} "
        f"| {row['reference_extent_percent']:.1f} | {row['extent_percent']:.1f} "
        f"| {row['reference_lesion_ml']:.0f} | {row['lesion_ml']:.0f} "
        f"| {number_text(row['lung_dice'])} |"
        for row in rows
    )


def _class_rows(rows: Sequence[Row]) -> str:
    return "\n".join(
        f"| {row['case']} | {row['sure_slices']:.0f} | {number_text(row['ggo_dice'])} "
        f"| {number_text(row['high_opacity_dice'])} | {number_text(row['network_ggo_dice'])} "
        f"| {number_text(row['network_high_opacity_dice'])} | {row['reference_ggo_ml']:.0f} "
        f"| {row['ggo_ml']:.0f} | {row['reference_high_opacity_ml']:.0f} "
        f"| {row['high_opacity_ml']:.0f} |"
        for row in rows
    )


def class_means(rows: Sequence[Row]) -> str:
    """Mean Dice of the classes: over all cases, and over those with enough of the class.

    Enough is more than `MINIMUM_EXTENT_PERCENT` of the lungs, as for lesions of any class.
    """

    def mean(prefix: str, kind: str, minimum_percent: float) -> str:
        counted = with_enough(rows, kind, minimum_percent)
        return f"{mean_text(counted, f'{prefix}{kind}_dice')} ({len(counted)})"

    lines = []
    for name, minimum_percent in (("all", 0.0), ("enough", MINIMUM_EXTENT_PERCENT)):
        figures = [
            mean(prefix, kind, minimum_percent) for prefix in ("", "network_") for kind in CLASSES
        ]
        lines.append(f"| mean, {name} | | {' | '.join(figures)} | | | | |")
    return "\n".join(lines)


def other_models_section(
    tables: Sequence[Path], mine: Sequence[Row], former: Sequence[FormerModel] = ()
) -> str:
    """Lesion Dice of other models on the same folds.

    Args:
        tables: cross-validation tables; one may hold some of the folds only, and this model's mean
            over the same cases stands beside it.
        mine: rows of this model's table.
        former: models that are no longer offered; their figures are of all cases.
    """
    lines = []
    for table in tables:
        rows = read_table(table)
        first, second, counted = sources(rows)
        same = [row for row in mine if row["case"] in {row["case"] for row in counted}]
        name = table.name.split(".")[0]
        figures = [mean_text(group, "lesion_dice") for group in (first, second, counted, same)]
        figures.append(number_text(_paired_p(counted, same)))
        lines.append(f"| {name}: {OTHER_MODELS[name]} | {len(counted)} | {' | '.join(figures)} |")
    own = sources(mine)[2]
    for model in former:
        dice = (number_text(figure) for figure in (model.first, model.second, model.all))
        lines.append(
            f"| {model.name}: {model.what}; no longer offered | {len(own)} | {' | '.join(dice)} "
            f"| {mean_text(own, 'lesion_dice')} | {number_text(model.p)} |"
        )
    if not lines:
        return ""
    return (
        "Other models, cross-validated on the same folds; mean lesion Dice, and p of the paired "
        "Wilcoxon test against this model:\n\n"
        + _table(
            "| model | n | first source | second source | all | this model on these cases | p |",
            lines,
        )
    )


def _table(heading: str, lines: Sequence[str]) -> str:
    """A Markdown table and the empty line behind it."""
    return "\n".join([heading, f"|{'---|' * (heading.count('|') - 1)}", *lines]) + "\n\n"


def _paired_p(others: Sequence[Row], mine: Sequence[Row]) -> float:
    """P of the Wilcoxon test between lesion Dice of the same cases; NaN where they are too few."""
    if len(others) < FEWEST_FOR_A_TEST:
        return math.nan
    by_case = {row["case"]: row["lesion_dice"] for row in mine}
    pairs = [(row["lesion_dice"], by_case[row["case"]]) for row in others]
    return float(stats.wilcoxon(*zip(*pairs, strict=True)).pvalue)


def costs_section(table: Path | None) -> str:
    """What models cost, from the table of `Testing/Benchmarks/compare_models.py`."""
    if table is None:
        return ""
    with table.open(newline="", encoding="utf-8") as file:
        lines = [
            f"| {row['model']} | {int(row['parameters']):,} | {row['ratio']} | {row['peak_mib']} |"
            for row in csv.DictReader(file)
        ]
    return (
        "What they cost on one scan on a CPU, lungs found beforehand (time as a ratio to the first "
        "row):\n\n" + _table("| model | parameters | time | peak memory, MiB |", lines)
    )


def ablation_section(table: Path | None) -> str:
    """What each part of the recipe is worth on one fold, from the table of `research.ablation`."""
    if table is None:
        return ""
    rows = read_table(table)
    names = [name for name in rows[0] if name != "case"]
    cases = [str(row["case"]) for row in rows]
    lines = []
    for name in names:
        mean = float(np.mean([row[name] for row in rows]))
        change = mean - float(np.mean([row[WHOLE_RECIPE] for row in rows]))
        figures = " | ".join(number_text(float(row[name])) for row in rows)
        lines.append(f"| {name} | {figures} | {mean:.3f} | {change:+.3f} |")
    return (
        "## Ablation\n\nLesion Dice of the U-Net on the cases one fold left out, trained for 20 epochs "
        "with the whole recipe, without one part of it, or with one more (+). One training each: "
        "differences below about 0.02 are within what another seed does.\n\n"
        + _table(f"| left out, or added (+) | {' | '.join(cases)} | mean | change |", lines)
    )


def fine_tuning_section(comparisons: Sequence[Path]) -> str:
    """What one more case of a patient is worth, from the comparisons that fine-tuning wrote."""
    lines = []
    for path in comparisons:
        comparison = json.loads(path.read_text(encoding="utf-8"))
        for case in comparison["cases"]:
            figures = (case[which]["lesion_dice"] for which in ("old", "new"))
            lines.append(
                f"| {case['case']} | {len(comparison['trained_on'])} | "
                + " | ".join(number_text(figure) for figure in figures)
                + " |"
            )
    if not lines:
        return ""
    return (
        "## Fine-tuning with one more case\n\n`covidlungquant fine-tune`, begun from the network of "
        "the fold that left out covid02 and covid03 (one patient), on that fold's training cases and "
        "one of the two, compared on the other.\n\n"
        + _table("| held back | cases trained on | lesion Dice before | after |", lines)
    )


def robustness_section(table: Path | None) -> str:
    """How much the Dice of left-out cases falls when their scans are changed."""
    if table is None:
        return ""
    rows = read_table(table)
    names = [name for name in rows[0] if name not in ("case", UNCHANGED)]
    lines = []
    for name in names:
        falls = [row[UNCHANGED] - row[name] for row in rows]
        lines.append(f"| {name} | {np.nanmean(falls):.3f} | {np.nanmax(falls):.3f} |")
    return (
        f"## Robustness\n\nFall of lesion Dice on {len(rows)} left-out cases "
        f"({', '.join(str(row['case']) for row in rows)}) when the scan is changed.\n\n"
        + _table("| change | mean fall | largest fall |", lines)
    )


def false_positives_section(tables: Sequence[Path]) -> str:
    """What is marked in scans without pneumonia, from tables of `research.false_positives`."""
    rows = [row for table in tables for row in read_table(table)]
    if not rows:
        return ""
    keys = [name.replace(" ", "_") for name in PLACES]
    lines = [
        f"| {row['scan']} | {row['model']} | {row['extent_percent']:.2f} | {row['lesion_ml']:.1f} | "
        + " | ".join(f"{row[f'{key}_ml']:.1f}" for key in keys)
        + f" | {row['outside_lungs_ml']:.1f} |"
        for row in rows
    ]
    shares = " | ".join(
        f"{np.mean([row[f'{key}_lung_percent'] for row in rows]):.0f} %" for key in keys
    )
    lines.append(f"| *share of the lungs* | | | | {shares} | |")
    return (
        "## False positives\n\nWhat is marked in scans without COVID-19: per cent of the lungs, mL, "
        "and mL at each place (what is near two counts to the first). This network has seen "
        "normal_001, lidc_0001 and lidc_0002 as scans without lesion; `unet-without-this-scan` are "
        "U-Nets trained for 20 epochs on one fold with the other two. lung1_001 and lung1_002 are lung "
        "cancer with consolidation and effusion, which is not told from COVID-19.\n\n"
        + _table(
            f"| scan | network | % | mL | {' | '.join(PLACES)} | beyond the lungs |",
            lines,
        )
    )


def slices_section(table: Path | None) -> str:
    """Classes on single slices of other patients, from a table of `research.slice_figures`."""
    if table is None:
        return ""
    rows = read_table(table)
    lines = []
    for name, title in zip(CLASSES, ("GGO", "high opacity"), strict=True):
        count, by_density = class_dice(rows, name)
        _, by_network = class_dice(rows, name, "network_")
        lines.append(f"| {title} | {count} | {by_density:.3f} | {by_network:.3f} |")
    return (
        f"## Slices of other patients\n\n{len(rows)} single axial slices of more than 40 patients (MedSeg, "
        "Italian Society of Medical and Interventional Radiology; HU restored from 8-bit pictures, about "
        "±40 HU), of which the network saw none, inside the reader's lungs; mean Dice over slices with more "
        f"than {MINIMUM_EXTENT_PERCENT:g} % of the class "
        "(`python -m research.slice_figures MODEL SLICES`).\n\n"
        + _table("| class | slices | told apart by density | by the network |", lines)
    )


def retrained_section(results: Path | None) -> str:
    """What networks reach that learned from the rebuilt scans; `results` is the folder of tables."""
    if results is None:
        return ""
    lines = []
    for name, what in RETRAINED_MODELS.items():
        rows = read_table(results / f"{name}.cross-validation.csv")
        slices = read_table(results / f"{name}.slices.csv")
        figures = [mean_text(group, "lesion_dice") for group in sources(rows)[:2]]
        figures.append(mean_text(rows, "lung_dice"))
        figures += [number_text(class_dice(slices, kind)[1]) for kind in CLASSES]
        lines.append(f"| {name}: {what} | {' | '.join(figures)} |")
    return (
        "## Retrained on the rebuilt scans\n\nAfter this model was trained, covid08…13 were rebuilt, and "
        "covid14 and the single slices came. Networks trained on all of these, with lung without air and "
        "a smeared diaphragm painted into healthy scans, cross-validated in three folds with lung networks "
        "that had not seen the case either, do not find more, and are not shipped; mean Dice of lesions by "
        "source, of lungs over all 14 cases, and of the classes on the slices, for which the network (of "
        "the same recipe without a teacher) had all cases but no slice. The second source is not the "
        "copy that this model was measured on.\n\n"
        + _table(
            "| network | first source | second source | lungs | GGO, slices | high opacity, slices |",
            lines,
        )
    )


def pictures_section(picture: str) -> str:
    """Where the picture of the worst slices lies and what it shows; `picture` is its path there.

    A path and no link: the card is installed without the picture.
    """
    if not picture:
        return ""
    return (
        f"## Worst slices\n\nThe slice of each case with the most wrongly labelled area is drawn in "
        f"`{picture}` of the repository, without the CT: lungs grey, lesion found by both green, "
        "overlooked blue, wrongly marked red.\n\n"
    )
