"""What stands beside a model in its card: other networks and trainings on the same folds."""

from __future__ import annotations

from dataclasses import dataclass

# How they differ, by the name of their cross-validation table in `research/results`.
OTHER_MODELS = {
    "convlstm-attention-4": "the same U-Net as the main branch beside the ConvLSTM (recipe "
    "`unet-attention`)",
    "convlstm-attention-4-mirror": "this network with `--mirror`, in twice the time",
    "convlstm-attention-4-seed-1": "this recipe with another seed after the U-Net",
    "unet-1": "the 2D U-Net of COVID-Lesion Net (Pan 2021), which also stands for Bartoli 2022 "
    "(recipe `unet`)",
}

# Networks that learned from the rebuilt scans and found no more; by the name of their tables.
RETRAINED_MODELS = {
    "unet-distilled": "the U-Net (recipe `unet-varied`, 90 epochs, 12 painted copies), distilled "
    "from one of 48 channels (`unet-wide`, 100 epochs)",
    "convlstm-attention-distilled": "that U-Net as the main branch (recipe `attention-varied`, "
    "14 epochs), distilled from the same",
}


@dataclass(frozen=True)
class FormerModel:
    """A model that is no longer offered, by what was measured of it.

    Attributes:
        name, what: of the model, and how it differs.
        first, second, all: cross-validated mean lesion Dice of the first source, the second and
            both, over the same cases as the present model's.
        p: of the paired Wilcoxon test against the present default model.
    """

    name: str
    what: str
    first: float
    second: float
    all: float
    p: float


# Compared with convlstm-attention-4, on whose card they keep a line.
FORMER_MODELS = {
    "convlstm-attention-4": (
        FormerModel(
            "convlstm-attention-3",
            "the dense main branch of the paper instead of a U-Net (recipe `short`)",
            first=0.790,
            second=0.718,
            all=0.754,
            p=0.424,
        ),
        FormerModel(
            "fine-1",
            "the box around the lungs at 192×192 pixels, a level at full resolution, 45 epochs "
            "(recipe `fine`)",
            first=0.790,
            second=0.725,
            all=0.757,
            p=0.301,
        ),
        FormerModel(
            "convlstm-attention-2",
            "one slice at 256×256 pixels, crops, half RMI in the loss, no scans without COVID-19",
            first=0.784,
            second=0.692,
            all=0.738,
            p=0.204,
        ),
    ),
}
