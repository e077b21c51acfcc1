"""How a model was trained, in words, from the configuration saved with its run."""

from __future__ import annotations

from typing import Any

from CovidLungQuantLib.lesions.networks import config_from_values
from CovidLungQuantLib.lesions.probability import LESION_MARGIN


def recipe_text(config: dict[str, Any], main_branch: dict[str, Any] | None = None) -> str:
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


def _main_branch_text(config: dict[str, Any], main_branch: dict[str, Any] | None) -> str:
    if main_branch is not None:
        batch = main_branch["samples_per_batch"] * main_branch["targets_per_sample"]
        widths = config_from_values(main_branch["network"]).widths
        return (
            f"; before, the main branch, a U-Net of {widths}, learned alone in the same way: "
            f"{main_branch['epochs']} epochs of {main_branch['steps_per_epoch']} steps with {batch} "
            f"slices (recipe `unet`); beside the others its learning rate is "
            f"{config['main_branch_rate']:g} of theirs"
        )
    widths = config_from_values(config["network"]).widths
    if config["main_branch_epochs"]:
        return f", the first {config['main_branch_epochs']} on the main branch alone; {widths}"
    return f", {widths}"


def _fade_text(config: dict[str, Any]) -> str:
    return ", faded and denser lesions" if any(config["augmentation"]["lesion_fade"]) else ""
