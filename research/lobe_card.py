"""The card of the lobe network; every figure in it comes from the run that made the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from CovidLungQuantLib.anatomy.lobe_network import LobeNetwork
from CovidLungQuantLib.labels import DISCLAIMER, LOBES


def lobe_card(
    name: str,
    sha256: str,
    network: LobeNetwork,
    recipe: str,
    masks: Sequence[str],
    dice: np.ndarray,
    folds: int,
    average: np.ndarray,
    plausible: Sequence[bool],
) -> str:
    """The card as Markdown.

    Args:
        name: of the model.
        sha256: of its file.
        network: that was saved.
        recipe: how it was trained, one sentence.
        masks: names of the masks.
        dice: cross-validated, (mask, lobe in the order of `LOBES`).
        folds: of the cross-validation.
        average: the same by `research.lobe_average`, the average of the other folds' masks.
        plausible: for each mask, whether its middle lobe lies in front of the upper lobe.
    """
    doubtful = [
        mask for mask, is_plausible in zip(masks, plausible, strict=True) if not is_plausible
    ]
    parameters = sum(parameter.numel() for parameter in network.parameters())
    grid = "×".join(map(str, network.config.grid))
    return f"""# Model card: {name}

{DISCLAIMER}

Two small 3D U-Nets, one for each lung ({parameters:,} parameters together), that draw the fissures
of a lung from its shape alone: the lung in its bounding box on a grid of {grid} cells
(z, y, x), with place and size as further input. Where a CT is given, the fissures that can be seen
in it correct what the network expects (`anatomy/fissures.py`).

SHA-256 of `{name}.pt`: `{sha256}`

## Use

Dividing lungs into lobes to report findings by lobe, for research, with every result looked at. By
shape alone the place of the horizontal fissure can be told only roughly: give a CT where there is
one. Not for lungs after lobectomy, nor for collapsed lobes.

## Data and licence

{len(masks)} lobe masks drawn by radiologists on CTs of LUNA16 (deep-voxel), **CC BY-NC-SA 4.0**.
Trained on non-commercial data, the weights are for **non-commercial research use only**, under the
same licence.

## Training

{recipe}

## Cross-validation

Dice by shape alone, {folds} folds; each mask was divided by a network that did not see it. The
shipped weights saw all masks. Weights and figures are made by

    python -m research.lobes DATASET --folds {folds} -o {name}.pt

{_doubtful_text(doubtful)}For comparison, the last row divides each lung as the other folds' masks
are on average in their lung's bounding box
(`python -m research.lobe_average DATASET --folds {folds}`).

{_dice_table(_summary(dice, average, plausible))}

Each mask:

{_dice_table(dict(zip(masks, dice, strict=True)))}
"""


def _summary(
    dice: np.ndarray, average: np.ndarray, plausible: Sequence[bool]
) -> dict[str, np.ndarray]:
    return {
        "mean": dice.mean(axis=0),
        "median": np.median(dice, axis=0),
        "worst": dice.min(axis=0),
        "mean of the plausible": dice[np.array(plausible)].mean(axis=0),
        "mean of the average mask": average.mean(axis=0),
    }


def _dice_table(rows: Mapping[str, np.ndarray]) -> str:
    """Dice of each lobe and their mean, a row a name."""
    heading = " | ".join(lobe.short_name for lobe in LOBES)
    lines = [
        f"| {name} | {' | '.join(f'{value:.3f}' for value in (*values, np.mean(values)))} |"
        for name, values in rows.items()
    ]
    return "\n".join([f"| mask | {heading} | all |", "|---|---|---|---|---|---|---|", *lines])


def _doubtful_text(doubtful: Sequence[str]) -> str:
    if not doubtful:
        return ""
    count = f"{len(doubtful)} mask{'s' if len(doubtful) > 1 else ''}"
    return (
        f"In {count} ({', '.join(doubtful)}) the middle lobe lies behind the upper lobe, as it "
        "does in no lung: nothing that knows lungs can agree with that. The others are the "
        "plausible ones.\n\n"
    )
