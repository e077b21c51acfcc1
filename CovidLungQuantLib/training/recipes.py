"""Recipes: training configurations by name. Importing this loads no PyTorch, so help is quick."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.models.network import LUNG_CROP
from CovidLungQuantLib.training.checks import ADAMW, ONE_CYCLE

if TYPE_CHECKING:
    from CovidLungQuantLib.training.config import TrainingConfig


class Recipe(NamedTuple):
    """What a recipe is, in a few words, and what makes its configuration."""

    about: str
    make: Callable[[], TrainingConfig]


def recipe(name: str) -> TrainingConfig:
    """The configuration of a recipe.

    Raises:
        BadInputError: there is no such recipe.
    """
    if name not in RECIPES:
        raise BadInputError(f"There is no recipe “{name}”; use one of {', '.join(RECIPES)}.")
    return RECIPES[name].make()


def _paper() -> TrainingConfig:
    from CovidLungQuantLib.training.config import TrainingConfig

    return TrainingConfig()


def _short() -> TrainingConfig:
    """For a hundredth of the paper's data and no GPU.

    A narrower dense block that sees a slice between its neighbours, a coarser working grid, soft
    Dice in place of RMI, an optimiser that converges in a few hundred steps, and a main branch that
    has seen many slices before the costly windows begin.
    """
    from CovidLungQuantLib.lesions.networks.convlstm_attention import NetworkConfig
    from CovidLungQuantLib.training.augmentation import AugmentationConfig
    from CovidLungQuantLib.training.config import TrainingConfig

    return TrainingConfig(
        network=NetworkConfig(
            working_size=192, context_slices=3, stem_channels=32, growth=16, bottleneck=64
        ),
        augmentation=AugmentationConfig(
            rotation_degrees=12.0, scale_range=(0.83, 1.18), hu_gain=0.1, lesion_fade=(-0.2, 0.3)
        ),
        optimizer=ADAMW,
        schedule=ONE_CYCLE,
        learning_rate=3e-3,
        weight_decay=1e-2,
        rmi_weight=0.0,
        dice_weight=1.0,
        branch_weight=0.25,
        epochs=55,
        main_branch_epochs=50,
        main_branch_rate=0.1,
        samples_per_batch=2,
        targets_per_sample=8,
        lesion_share=0.6,
    )


def _fine() -> TrainingConfig:
    """Finer edges from as many pixels: the box around the lungs, a level at full resolution."""
    short = _short()
    return replace(
        short,
        network=replace(short.network, crop=LUNG_CROP, full_channels=16),
        epochs=45,
        main_branch_epochs=40,
    )


def _unet() -> TrainingConfig:
    """The 2D U-Net on the same slices, cases and steps as the network of the short recipe."""
    from CovidLungQuantLib.lesions.networks.unet import UNetConfig

    return replace(
        _short(),
        network=UNetConfig(working_size=192, context_slices=3),
        main_branch_epochs=0,
        main_branch_rate=1.0,
        branch_weight=0.0,
        samples_per_batch=16,
        targets_per_sample=1,
    )


def _unet_attention() -> TrainingConfig:
    """That U-Net as the main branch, trained like it before the attention branch learns, too."""
    from CovidLungQuantLib.lesions.networks.convlstm_attention import UNET_BRANCH, NetworkConfig

    alone = _unet().epochs
    return replace(
        _short(),
        network=NetworkConfig(working_size=192, context_slices=3, main_branch=UNET_BRANCH),
        epochs=alone + 8,
        main_branch_epochs=alone,
    )


def _varied(config: TrainingConfig, alone: int) -> TrainingConfig:
    """For twice as long on samples changed further, for scans of other kinds.

    Some of them have lung without air or a smeared diaphragm. `alone`: epochs before the attention
    branch learns.
    """
    further = replace(
        config.augmentation,
        rotation_degrees=20.0,
        scale_range=(0.75, 1.3),
        hu_gain=0.15,
        hu_shift=0.04,
        noise=0.04,
        sharpness=1.0,
        thickness=0.5,
        contrast=0.3,
    )
    return replace(
        config,
        augmentation=further,
        epochs=config.epochs + alone,
        painted_variants=8,
        dense_share=0.3,
        motion_share=0.3,
    )


def _unet_varied() -> TrainingConfig:
    unet = _unet()
    return _varied(unet, unet.epochs)


def _unet_wide() -> TrainingConfig:
    """Nine times the work of the varied U-Net a slice, to distil from."""
    varied = _unet_varied()
    return replace(
        varied,
        network=replace(varied.network, base_channels=48),
        learning_rate=2e-3,
        epochs=2 * varied.epochs,
    )


def _attention_varied() -> TrainingConfig:
    """The varied U-Net as the main branch, on samples as varied."""
    attention = _unet_attention()
    alone = attention.main_branch_epochs
    return replace(_varied(attention, alone), main_branch_epochs=2 * alone)


# The first is the default.
RECIPES = {
    "paper": Recipe("Grodecki 2021", _paper),
    "short": Recipe("a narrower network and a schedule for one CPU", _short),
    "fine": Recipe("short on the box around the lungs, with a level at full resolution", _fine),
    "unet": Recipe("the network of COVID-Lesion Net, trained as short", _unet),
    "unet-attention": Recipe(
        "that U-Net as the main branch, as the shipped weights were trained", _unet_attention
    ),
    "unet-varied": Recipe("unet for twice as long, on samples changed further", _unet_varied),
    "unet-wide": Recipe("that, thrice as wide and for twice as long, to distil from", _unet_wide),
    "attention-varied": Recipe("that U-Net as the main branch, likewise", _attention_varied),
}
DEFAULT_RECIPE = next(iter(RECIPES))
