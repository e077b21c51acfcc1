"""`python -m research.model_card MODEL.pt TABLE.csv --run RUN --folds RUN… …`: a model's card.

Every figure comes from the tables in `research/results` or the model file; none is typed by hand,
but for those of models that are no longer offered (`research/other_models.py`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.lesions.lesion_model import LoadedModel, load_model
from CovidLungQuantLib.training.config import CONFIG_FILE_NAME, read_config, training_values
from research.card_recipe import recipe_text
from research.card_sections import (
    Row,
    ablation_section,
    costs_section,
    cross_validation_section,
    false_positives_section,
    fine_tuning_section,
    other_models_section,
    pictures_section,
    read_table,
    retrained_section,
    robustness_section,
    slices_section,
)
from research.other_models import FORMER_MODELS

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
The copies of covid08…13 that they were made with have since been rebuilt with finer grey values and all
lung slices, and lungs were then found without the lung network; with those the figures come out otherwise
and have not been made anew.
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
    slices_table: Path | None = None,
    retrained: Path | None = None,
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
        pictures: path of the picture of the worst slices in the repository.
        ablations: table from `research.ablation`.
        false_positives: tables from `research.false_positives`.
        slices_table: from `research.slice_figures`.
        retrained: folder of the tables of `other_models.RETRAINED_MODELS`.
    """
    parameters = sum(parameter.numel() for parameter in model.network.parameters())
    others = other_models_section(other_tables, rows, FORMER_MODELS.get(model.name, ()))
    sections = (
        pictures_section(pictures),
        slices_section(slices_table),
        retrained_section(retrained),
        false_positives_section(false_positives),
        ablation_section(ablations),
        robustness_section(robustness_table),
        fine_tuning_section(fine_tunings),
    )
    return f"""# Model card: {model.name}

{DISCLAIMER}

{model.config.description} It labels each voxel of a chest CT background, normal lung, ground-glass opacity
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

{cross_validation_section(rows, f"{others}{costs_section(costs_table)}")}{"".join(sections)}{LIMITS_SECTION}"""


def _run_configuration(run: Path) -> dict[str, Any]:
    """Every value of a run's configuration, also those that it left at their defaults."""
    config = read_config(run / CONFIG_FILE_NAME)
    return training_values(config)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Write the card of a model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("table", type=Path, help="from research.cross_validation")
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
        help="tables from research.false_positives",
    )
    parser.add_argument("--ablations", type=Path, help="from research.ablation")
    parser.add_argument(
        "--main-branch-run", type=Path, help="run folder of the U-Net the training started from"
    )
    parser.add_argument("--slices", type=Path, help="from research.slice_figures")
    parser.add_argument(
        "--retrained", type=Path, help="folder of the tables of networks that were retrained"
    )
    parser.add_argument("--robustness", type=Path, help="from research.robustness")
    parser.add_argument(
        "--pictures", default="", help="path of the worst slices' picture in the repository"
    )
    return parser


def main() -> None:
    """Command line of this module."""
    arguments = _parser().parse_args()
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
        arguments.slices,
        arguments.retrained,
    )
    arguments.model.with_suffix(".md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
