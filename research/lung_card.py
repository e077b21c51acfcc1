"""`python -m research.lung_card MODEL.pt --run RUN --tables TABLE.csv …`: the lung network's card.

Every figure in it comes from the run's configuration and from tables of `research.lung_figures`, by
networks that did not see the scan.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from CovidLungQuantLib.anatomy.lung_agreement import (
    SMALL_PART_ML,
    SMALLEST_ADDED_ML,
    SMALLEST_REMOVED_ML,
    SURE_OF_SMALL_SHARE,
    SURE_SHARE,
    THICKNESS_MM,
)
from CovidLungQuantLib.anatomy.lung_network import GRID_MM, ChestNetwork
from CovidLungQuantLib.anatomy.lung_weights import load_lung_model
from CovidLungQuantLib.labels import DISCLAIMER
from CovidLungQuantLib.models.registry import CHECKSUM_SUFFIX
from CovidLungQuantLib.training.config import CONFIG_FILE_NAME, SCANS_KEY
from CovidLungQuantLib.vetting import read_json
from research.lung_figures import AS_IT_IS, BOWEL, CHANGES, PNEUMOTHORAX

Row = dict[str, str]

DATA = """| scans | source | lungs | licence as stated by the publisher |
|---|---|---|---|
| covid01…07 | MedSeg, 9 volumes from Radiopaedia (7 used; HU recovered from 8-bit pictures) | radiologist | masks CC0, images for research |
| covid08…14 | COVID-19-CT-Seg, 6 coronacases and one Radiopaedia case (HU recovered) | radiologist | research, non-commercial |
| lung1_001, lung1_002 | NSCLC-Radiomics | radiotherapy contours; the tumour teaches nothing | CC BY-NC 3.0 |
| normal_001, covid_P001 | COVID-CT-MD | by threshold, looked at | research |
| lidc_0001, lidc_0002 | LIDC-IDRI | by threshold, looked at | CC BY 3.0 |"""


def lung_card(
    name: str, sha256: str, network: ChestNetwork, config: dict, scans: int, rows: Sequence[Row]
) -> str:
    """The card as Markdown.

    Args:
        name: of the model.
        sha256: of its file.
        network: that was saved.
        config: of the run that made it, as its file holds it.
        scans: how many it learned from.
        rows: of the tables, each by a network that did not see the scan.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    samples = config["samples"]
    channels = "-".join(map(str, network.config.channels))
    return f"""# Model card: {name}

{DISCLAIMER}

A 3D U-Net ({channels} channels, {parameters:,} parameters) that sees the whole chest at once, on a
grid of {GRID_MM:g} mm: left lung, right lung, large airways, pneumothorax, gas of stomach and bowel,
and the rest. The lungs of a result are those found by their air, with borders on the scan's own
grid; this network decides only where the two differ by a part thicker than {THICKNESS_MM:g} mm of which it
is sure (mean share {SURE_SHARE:g}; {SURE_OF_SMALL_SHARE:g} where less than {SMALL_PART_ML:g} mL would be taken out): at least {SMALLEST_ADDED_ML:g} mL are
taken in, at least {SMALLEST_REMOVED_ML:g} mL taken out (`anatomy/lung_agreement.py`). Every such decision is a
warning with its millilitres, and is drawn in the report.

SHA-256 of `{name}.pt`: `{sha256}`

## Use

Finding lungs that hold no air in parts, and keeping bowel gas, pneumothorax and chest wall out, in adults,
for research, with every result looked at. It does not tell consolidation, collapse, tumour and effusion
apart. Not for children, not after removal of a lung.

## Data and licence

{DATA}

covid02 and covid03 look like one patient and are kept in one fold. In covid_P001 the threshold takes 25 mL of
colon below the left dome for lung; the shipped network learned it so and leaves them, the one that had not seen
this scan takes them out. Trained partly on non-commercial data,
the weights are for **non-commercial research use only**.

## Training

{scans} scans; {config["steps"]} steps of {config["batch"]} samples, AdamW with a one-cycle schedule up to learning rate
{config["learning_rate"]:g}, weight decay {config["weight_decay"]:g}; loss {config["entropy_weight"]:g}·cross-entropy + soft Dice on shares of cells; seed
{config["seed"]}. Samples are turned, stretched, sheared and bent, {_percent(samples["dense_share"])} have dense disease painted in (behind a
front, below one, at the pleura, in patches, a whole lung, fluid with a level), {_percent(samples["gas_share"])} gas in the abdomen,
{_percent(samples["pneumothorax_share"])} a pneumothorax, {_percent(samples["blur_share"])} thick slices or a diaphragm that moved, {_percent(samples["cut_share"])} a cut field of
view; HU are shifted (±{samples["hu_shift"]:g}), narrowed and made noisy. The shipped weights saw all scans.

    python -m research.lungs SCANS --same-patient covid02,covid03 --steps {config["steps"]} --device cuda -o {name}

## Figures

On scans that the network did not see ({len({row["scan"] for row in rows})} of them; a fold left them out of a training of its own, otherwise
the same): `python -m research.lung_figures FOLD_MODEL SCANS --fold K --same-patient covid02,covid03`. *By air*
is the threshold alone, *joined* what a result has.

Scans as they are; Dice against the known lungs:

{_dice_table([row for row in rows if row["change"] == AS_IT_IS])}

Where the lungs are by threshold, the Dice by air is 1 by definition: there the row shows only what the network
changed.

The same scans with lung made as dense as tissue (30 HU), lung volume in per cent of the true one, dense share
of the lungs in points from the true one; means, in brackets the worst:

{_dense_table(rows)}

With air that is no lung; how much of it counts as lung:

{_air_table(rows)}

What it looks like is drawn in `research/results/{name}.pictures.png` of the repository, on lidc_0001 (LIDC-IDRI,
Armato et al. 2011, CC BY 3.0; changed as named there), a scan that the shipped weights have seen.
"""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _dice_table(rows: Sequence[Row]) -> str:
    lines = [
        f"| {row['scan']} | {float(row['truth_ml']):.0f} | {float(row['threshold_dice']):.3f} | "
        f"{float(row['joined_dice']):.3f} | {float(row['added_ml']):.0f} | "
        f"{float(row['removed_ml']):.0f} | {float(row['wrong_side_ml']):.1f} |"
        for row in rows
    ]
    heading = "| scan | lungs mL | Dice by air | Dice joined | taken in mL | taken out mL | wrong side mL |"
    return "\n".join([heading, "|---|---|---|---|---|---|---|", *lines])


def _dense_table(rows: Sequence[Row]) -> str:
    lines = []
    for change, *_ in CHANGES:
        here = [row for row in rows if row["change"] == change]
        if change in (AS_IT_IS, BOWEL, PNEUMOTHORAX) or not here:
            continue
        cells = []
        for kind in ("threshold", "joined"):
            volumes = [100 * float(row[f"{kind}_ml"]) / float(row["truth_ml"]) for row in here]
            points = [
                float(row[f"{kind}_dense_percent"]) - float(row["dense_percent"]) for row in here
            ]
            worst_volume = max(volumes, key=lambda volume: abs(volume - 100))
            worst_points = max(points, key=abs)
            cells.append(f"{mean(volumes):.0f} ({worst_volume:.0f})")
            cells.append(f"{mean(points):+.1f} ({worst_points:+.1f})")
        lines.append(f"| {change} | {len(here)} | {' | '.join(cells)} |")
    heading = "| change | scans | volume by air | dense share by air | volume joined | dense share joined |"
    return "\n".join([heading, "|---|---|---|---|---|---|", *lines])


def _air_table(rows: Sequence[Row]) -> str:
    lines = []
    for change in (BOWEL, PNEUMOTHORAX):
        here = [row for row in rows if row["change"] == change and float(row["air_ml"]) > 0]
        if not here:
            continue
        air, by_air, joined = (
            [float(row[key]) for row in here]
            for key in ("air_ml", "threshold_air_ml", "joined_air_ml")
        )
        lines.append(
            f"| {change} | {len(here)} | {mean(air):.0f} | {mean(by_air):.0f} ({max(by_air):.0f}) | "
            f"{mean(joined):.0f} ({max(joined):.0f}) |"
        )
    heading = "| air | scans | mL | counted by air mL (worst) | counted joined mL (worst) |"
    return "\n".join([heading, "|---|---|---|---|---|", *lines])


def main() -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(description="Write the card of the lung network.")
    parser.add_argument("model", type=Path, help="model file; the card is written beside it")
    parser.add_argument("--run", type=Path, required=True, help="run folder that made the model")
    parser.add_argument("--tables", type=Path, nargs="+", required=True)
    arguments = parser.parse_args()
    model = arguments.model
    sha256 = model.with_name(model.stem + CHECKSUM_SUFFIX).read_text(encoding="utf-8").split()[0]
    config = read_json(arguments.run / CONFIG_FILE_NAME)
    rows: list[Row] = []
    for table in arguments.tables:
        with table.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    scans = len(config[SCANS_KEY]["lungs"])
    card = lung_card(model.stem, sha256, load_lung_model(model), config, scans, rows)
    model.with_suffix(".md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
