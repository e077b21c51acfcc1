"""`python -m research.model_card MODEL.pt TABLE.csv --run RUN`: a model's card.

Every figure comes from the cross-validation table or the model file; none is typed by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import stats

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.lesions.inference import LESION_MARGIN
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.lesions.networks.convlstm_attention import UNET_BRANCH
from CovidLungQuantLib.lesions.networks.unet import UNetConfig
from CovidLungQuantLib.measures.comparison import MINIMUM_EXTENT_PERCENT
from CovidLungQuantLib.training.command import read_config
from CovidLungQuantLib.training.trainer import CONFIG_FILE_NAME, training_values
from research.ablation import WHOLE_RECIPE
from research.false_positives import PLACES
from research.robustness import UNCHANGED

Row = dict[str, str | float]
NAME_COLUMNS = ("case", "scan", "model")

DATA_SECTION = """## Data and licence

| cases | source | annotation | licence as stated by the publisher |
|---|---|---|---|
| covid01…07 | MedSeg, 9 volumes from Radiopaedia (7 used; HU recovered from 8-bit pictures, about ±30 HU) \
| lungs, GGO, consolidation and effusion; class sure on some slices only | masks CC0, images for \
research |
| covid08…13 | COVID-19-CT-Seg, coronacases (6 used; HU restored, within about 50 HU) \
| lungs and lesions without class | research, non-commercial |
| normal_001 | COVID-CT-MD, one scan without lesion | none needed | research |
| lidc_0001, lidc_0002 | LIDC-IDRI, nodules but no COVID-19 | none | CC BY 3.0 |

covid02 and covid03 look like one patient and are kept in one fold: 13 scans of 12 patients. The three
scans without COVID-19 were shown to every network as they are, as lung without lesion, and with
painted lesions; they are not cases of the cross-validation. Trained partly on non-commercial data, the weights are for **non-commercial research use only**.
The figures below come from these recovered scans, not from original DICOM.
"""

LIMITS_SECTION = """## Limits

- Twelve patients from two sources are few. Expect less on other scanners, protocols and patients.
- GGO and high opacity were told apart from the slices of five scans; treat their split with more
  care than the total.
- Small and faint lesions (extent under 1 %) are the weakest: see the cases above.
- Pleural effusion counts as high opacity by definition but hardly occurs in the training data.
- Tumours, atelectasis and other pneumonia are not distinguished from COVID-19 lesions; fibrosis and
  emphysema are not lesions but may be marked.
"""


# With fewer pairs a Wilcoxon test can show nothing at the 5 % level.
FEWEST_FOR_A_TEST = 6

# How the other models differ; their cross-validation tables lie beside the cards.
OTHER_MODELS = {
    "convlstm-attention-2": "one slice at 256×256 pixels, crops, half RMI in the loss, no scans "
    "without COVID-19",
    "fine-1": "the box around the lungs at 192×192 pixels, a level at full resolution, 45 epochs "
    "(recipe `fine`)",
    "convlstm-attention-3": "the dense main branch of the paper instead of a U-Net (recipe `short`)",
    "convlstm-attention-4": "the same U-Net as the main branch beside the ConvLSTM (recipe "
    "`unet-attention`)",
    "convlstm-attention-4-mirror": "this network with `--mirror`, in twice the time",
    "convlstm-attention-4-seed-1": "this recipe with another seed after the U-Net",
    "unet-1": "the 2D U-Net of COVID-Lesion Net (Pan 2021), which also stands for Bartoli 2022 "
    "(recipe `unet`)",
}


def read_table(path: Path) -> list[Row]:
    """Rows of a table by case or scan; numbers as floats."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: value if key in NAME_COLUMNS else float(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def recipe_text(config: dict, main_branch: dict | None = None) -> str:
    """How the weights were trained, from the configuration saved with the run.

    `main_branch` is that of the U-Net the training started from.
    """
    batch = config["samples_per_batch"] * config["targets_per_sample"]
    return (
        f"{config['optimizer']}, {config['schedule']} schedule up to learning rate "
        f"{config['learning_rate']:g}, weight decay {config['weight_decay']:g}, "
        f"{config['epochs']} epochs of {config['steps_per_epoch']} steps with {batch} target slices "
        f"each{_main_branch_text(config, main_branch)}; loss {1 - config['rmi_weight']:g}·BCE + {config['rmi_weight']:g}·RMI + "
        f"{config['dice_weight']:g}·Dice, and {config['branch_weight']:g} of the same on each branch; "
        f"rotation, translation, scale, {'crop, ' if config['augmentation']['crop_size'] else ''}"
        f"mirror, HU shift and gain, noise, sharpness{_fade_text(config)} as augmentation; "
        f"seed {config['seed']}; started from He initialisation, no ImageNet weights. "
        "No case was used to choose when to stop. The shipped weights saw all cases; those of each "
        "fold were trained the same way without the fold's cases.\n\n"
        f"The margin at which a voxel is lesion ({LESION_MARGIN:g} of its rivals' probability) and the "
        "rule that adds dense lung beside lesions were set on cases below with an earlier network, and "
        "the number of slices the main branch sees, the working grid and the loss were compared on one "
        "fold of them, kinds of networks on all. This makes these figures a little better than what new scans will see.\n\n"
        "This is a short schedule for two CPU cores. The paper's (SGD, plateau, stop at a learning "
        "rate of 1e-7) is the default of the training code and was not run to its end here."
    )


def _main_branch_text(config: dict, main_branch: dict | None) -> str:
    network = config["network"]
    if main_branch is not None:
        batch = main_branch["samples_per_batch"] * main_branch["targets_per_sample"]
        return (
            f"; before, the main branch, a U-Net of {network['base_channels']} channels at the finest "
            f"level, learned alone in the same way: {main_branch['epochs']} epochs of "
            f"{main_branch['steps_per_epoch']} steps with {batch} slices (recipe `unet`); beside the "
            f"others its learning rate is {config['main_branch_rate']:g} of theirs"
        )
    if network["architecture"] == "unet":
        return f", {network['base_channels']} channels at the finest level"
    full = network.get("full_channels", 0)
    return (
        f", the first {config['main_branch_epochs']} on the main branch alone; dense block of "
        f"growth {network['growth']} and bottleneck {network['bottleneck']} (DenseNet-121: 32 and "
        f"128)" + (f", {full} channels at full resolution" if full else "")
    )


def _fade_text(config: dict) -> str:
    return ", faded and denser lesions" if any(config["augmentation"]["lesion_fade"]) else ""


def other_models_section(tables: Sequence[Path], mine: Sequence[Row]) -> str:
    """Lesion Dice of other models on the same folds, from their cross-validation tables.

    A table may hold some of the folds only; this model's mean over the same cases stands beside it.
    """
    lines = []
    for table in tables:
        rows = read_table(table)
        first, second, counted = _sources(rows)
        same = [row for row in mine if row["case"] in {row["case"] for row in counted}]
        name = table.name.split(".")[0]
        figures = [_mean(group, "lesion_dice") for group in (first, second, counted, same)]
        figures.append(_number(_paired_p(counted, same)))
        lines.append(f"| {name}: {OTHER_MODELS[name]} | {len(counted)} | {' | '.join(figures)} |")
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
        figures = " | ".join(_number(float(row[name])) for row in rows)
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
                + " | ".join(_number(figure) for figure in figures)
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


def _sources(rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[Row]]:
    """Rows of the first source, the second and both, of cases with enough lesion."""
    counted = [row for row in rows if row["reference_extent_percent"] > MINIMUM_EXTENT_PERCENT]
    first = [row for row in counted if row["case"] <= "covid07"]
    return first, [row for row in counted if row["case"] > "covid07"], counted


def model_card(
    model: LoadedModel,
    rows: Sequence[Row],
    recipe: str,
    other_tables: Sequence[Path] = (),
    costs_table: Path | None = None,
    robustness_table: Path | None = None,
    fine_tunings: Sequence[Path] = (),
    pictures: str = "",
    ablations: Path | None = None,
    false_positives: Sequence[Path] = (),
) -> str:
    """The card as Markdown.

    Args:
        model: the shipped model.
        rows: from `read_table`.
        recipe: how the weights were trained, from `recipe_text`.
        other_tables: cross-validation tables of other models on the same folds.
        costs_table: from `Testing/Benchmarks/compare_models.py`.
        robustness_table: from `research.robustness`.
        fine_tunings: comparisons written by `covidlungquant fine-tune`.
        pictures: name of the picture of the worst slices, beside the card.
        ablations: table from `research.ablation`.
        false_positives: tables from `research.false_positives`.
    """
    first, second, counted = _sources(rows)
    sources = {
        "first source (covid01…07)": first,
        "second source (covid08…13)": second,
        "all": counted,
    }
    summary = "\n".join(
        f"| {name} | {len(members)} | {_mean(members, 'lesion_dice')} "
        f"| {_mean(members, 'threshold_lesion_dice')} | {_mean(members, 'lung_dice')} |"
        for name, members in sources.items()
    )
    cases = "\n".join(
        f"| {row['case']} | {_number(row['lesion_dice'])} | {_number(row['threshold_lesion_dice'])} "
        f"| {row['reference_extent_percent']:.1f} | {row['extent_percent']:.1f} "
        f"| {row['reference_lesion_ml']:.0f} | {row['lesion_ml']:.0f} | {_number(row['lung_dice'])} |"
        for row in rows
    )
    sure = [row for row in rows if row["sure_slices"] > 0]
    classes = "\n".join(
        f"| {row['case']} | {row['sure_slices']:.0f} | {_number(row['ggo_dice'])} "
        f"| {_number(row['high_opacity_dice'])} | {_number(row['network_ggo_dice'])} "
        f"| {_number(row['network_high_opacity_dice'])} | {row['reference_ggo_ml']:.0f} | {row['ggo_ml']:.0f} "
        f"| {row['reference_high_opacity_ml']:.0f} | {row['high_opacity_ml']:.0f} |"
        for row in sure
    )
    correlation = stats.spearmanr(
        [row["reference_lesion_ml"] for row in rows], [row["lesion_ml"] for row in rows]
    ).statistic
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    return f"""# Model card: {model.name}

{DISCLAIMER}

{_network_text(model)} It labels each voxel of a chest CT background, normal lung, ground-glass opacity
(GGO) or high opacity (consolidation and pleural effusion). {parameters:,} parameters;
{model.config.working_size}×{model.config.working_size} working grid of the box around the
{model.config.crop}.

SHA-256 of `{model.name}.pt`: `{model.sha256}`

## Use

Measuring the extent of pneumonia in adults with known or suspected COVID-19 on chest CT, for research,
with every result looked at and corrected by a reader. Not for diagnosis, not for triage.

{DATA_SECTION}
## Training

{recipe}

## Cross-validation

Three folds grouped by patient: every case was segmented by a network that never saw its patient. The
threshold column is smoothed HU above −650 inside the *reader's own* lungs; the network had no help from
the reader. Means are over cases with more than {MINIMUM_EXTENT_PERCENT} % lesion.

| cases | n | lesion Dice | threshold | lung Dice |
|---|---|---|---|---|
{summary}

For scale, lesion Dice published on the 20 scans of which the second source is a part: 0.761 by a 3D U-Net
in five-fold cross-validation (Müller et al. 2021), 0.673 by nnU-Net trained on four of them (Ma et al. 2021).

{other_models_section(other_tables, rows)}{costs_section(costs_table)}Lesion volume, Spearman correlation with the reader over {len(rows)} cases: {correlation:.3f}.

| case | lesion Dice | threshold | reader % | network % | reader mL | network mL | lung Dice |
|---|---|---|---|---|---|---|---|
{cases}

Classes, only on the slices on which the reader stated them; in the last row only cases with more than
{MINIMUM_EXTENT_PERCENT} % of the lungs of that class, with their number. The first two columns tell GGO from high
opacity by density (above −350 HU, Pan et al. 2021); the columns "own" are the network's own classes.

| case | slices | GGO Dice | high opacity Dice | GGO own | high own | reader GGO mL | GGO mL | reader high mL | high mL |
|---|---|---|---|---|---|---|---|---|---|
{classes}
{class_means(sure)}

Pixel spacing of these scans is nominal, so millilitres compare within a case only.

{_pictures_section(pictures)}{false_positives_section(false_positives)}{ablation_section(ablations)}{robustness_section(robustness_table)}{fine_tuning_section(fine_tunings)}{LIMITS_SECTION}"""


def _network_text(model: LoadedModel) -> str:
    config = model.config
    slices = (
        f"{config.context_slices} neighbouring slices, about {config.window_step_mm:g} mm apart,"
    )
    if isinstance(config, UNetConfig):
        return (
            "The 2D U-Net of COVID-Lesion Net (Pan et al. 2021), which also stands for the slice "
            f"network of Bartoli et al. 2022; it sees {slices} as channels."
        )
    main_branch = (
        "a U-Net, as in COVID-Lesion Net (Pan et al. 2021),"
        if (config.main_branch == UNET_BRANCH)
        else "the stem and first dense block of DenseNet-121 with coarser levels below,"
    )
    return (
        "A ConvLSTM-attention network after Grodecki, Killekar et al. 2021: the main branch, "
        f"{main_branch} sees {slices} as channels; the attention branch runs a convolutional LSTM "
        f"through what it made of {config.window_length} slices, and an attention head blends both."
    )


def class_means(rows: Sequence[Row]) -> str:
    """Mean Dice of the classes: over all cases, and over those with enough of the class.

    Enough is more than `MINIMUM_EXTENT_PERCENT` of the lungs, as for lesions of any class.
    """

    def lung_ml(row: Row) -> float:
        return 100.0 * row["reference_lesion_ml"] / row["reference_extent_percent"]

    def mean(column: str, reference: str, minimum_percent: float) -> str:
        counted = [row for row in rows if 100.0 * row[reference] / lung_ml(row) > minimum_percent]
        return f"{_mean(counted, column)} ({len(counted)})"

    lines = []
    for name, minimum_percent in (("all", 0.0), ("enough", MINIMUM_EXTENT_PERCENT)):
        figures = [
            mean(f"{prefix}{kind}_dice", f"reference_{kind}_ml", minimum_percent)
            for prefix in ("", "network_")
            for kind in ("ggo", "high_opacity")
        ]
        lines.append(f"| mean, {name} | | {' | '.join(figures)} | | | | |")
    return "\n".join(lines)


def _pictures_section(name: str) -> str:
    if not name:
        return ""
    return (
        f"## Worst slices\n\n![Worst slice of each case]({name})\n\nThe slice of each case with the "
        "most wrongly labelled area, drawn without the CT: lungs grey, lesion found by both green, "
        "overlooked blue, wrongly marked red.\n\n"
    )


def _mean(rows: Sequence[Row], column: str) -> str:
    return _number(float(np.nanmean([row[column] for row in rows])) if rows else math.nan)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _run_configuration(run: Path) -> dict:
    """Every value of a run's configuration, also those that it left at their defaults."""
    config = read_config(run / CONFIG_FILE_NAME)
    return training_values(config)


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Write the card of a model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("table", type=Path, help="from training.cross_validation")
    parser.add_argument("--run", type=Path, required=True, help="run folder of the training")
    parser.add_argument(
        "--folds", nargs="+", type=Path, required=True, help="run folders of fold 0, fold 1, …"
    )
    parser.add_argument(
        "--others",
        nargs="+",
        type=Path,
        default=[],
        help="cross-validation tables of other models",
    )
    parser.add_argument("--costs", type=Path, help="from Testing/Benchmarks/compare_models.py")
    parser.add_argument(
        "--fine-tunings",
        nargs="+",
        type=Path,
        default=[],
        help="comparisons written by covidlungquant fine-tune",
    )
    parser.add_argument(
        "--false-positives",
        nargs="+",
        type=Path,
        default=[],
        help="tables from training.false_positives",
    )
    parser.add_argument("--ablations", type=Path, help="from training.ablation")
    parser.add_argument(
        "--main-branch-run", type=Path, help="run folder of the U-Net the training started from"
    )
    parser.add_argument("--robustness", type=Path, help="from training.robustness")
    parser.add_argument("--pictures", default="", help="file name of the worst slices' picture")
    arguments = parser.parse_args()
    config = _run_configuration(arguments.run)
    for fold in arguments.folds:
        if _run_configuration(fold) != config:
            raise BadInputError(f"{fold} was trained in another way than {arguments.run}.")
    card = model_card(
        load_model(str(arguments.model)),
        read_table(arguments.table),
        recipe_text(
            config,
            _run_configuration(arguments.main_branch_run) if arguments.main_branch_run else None,
        ),
        arguments.others,
        arguments.costs,
        arguments.robustness,
        arguments.fine_tunings,
        arguments.pictures,
        arguments.ablations,
        arguments.false_positives,
    )
    arguments.model.with_suffix(".md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
