"""Refusing a training configuration that would train with something else than it says."""

from __future__ import annotations

import math
from dataclasses import fields
from numbers import Real
from typing import TYPE_CHECKING

from CovidLungQuantLib.errors import BadInputError

if TYPE_CHECKING:
    from CovidLungQuantLib.training.augmentation import AugmentationConfig
    from CovidLungQuantLib.training.config import TrainingConfig

SGD, ADAMW = OPTIMIZERS = ("sgd", "adamw")
PLATEAU, ONE_CYCLE = SCHEDULES = ("plateau", "one_cycle")

_CHOICES: dict[str, tuple[str, ...]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
_SMALLEST_WHOLE_NUMBERS: dict[str, int] = {
    "epochs": 1,
    "steps_per_epoch": 1,
    "samples_per_batch": 1,
    "targets_per_sample": 1,
    "main_branch_epochs": 0,
    "painted_variants": 0,
    "seed": 0,
}
# As PyTorch takes for a seed everywhere.
LARGEST_WHOLE_NUMBER = 2**32 - 1
_POSITIVE = ("learning_rate",)
_NOT_NEGATIVE = (
    "minimum_learning_rate",
    "weight_decay",
    "dice_weight",
    "branch_weight",
    "main_branch_rate",
)
_SHARES = (
    "rmi_weight",
    "distil_weight",
    "dense_share",
    "motion_share",
    "lesion_share",
    "single_slice_share",
)


def check_training(config: TrainingConfig) -> None:
    """Refuse values that nobody can train with.

    Raises:
        BadInputError: an unknown optimizer or schedule, or a number outside of what it may be.
    """
    for name, choices in _CHOICES.items():
        value = getattr(config, name)
        if value not in choices:
            raise BadInputError(
                f"“{value}” is no {name} of a training configuration; use {' or '.join(choices)}."
            )
    for name, smallest in _SMALLEST_WHOLE_NUMBERS.items():
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < smallest:
            raise _outside(name, value, f"a whole number of at least {smallest}")
        if value > LARGEST_WHOLE_NUMBER:
            raise _outside(name, value, f"a whole number of at most {LARGEST_WHOLE_NUMBER}")
    for name in _POSITIVE:
        if not (_is_number(value := getattr(config, name)) and value > 0):
            raise _outside(name, value, "a number above 0")
    for name in _NOT_NEGATIVE:
        if not (_is_number(value := getattr(config, name)) and value >= 0):
            raise _outside(name, value, "a number of at least 0")
    for name in _SHARES:
        if not (_is_number(value := getattr(config, name)) and 0 <= value <= 1):
            raise _outside(name, value, "a number from 0 to 1")
    _check_augmentation(config.augmentation)


def _check_augmentation(config: AugmentationConfig) -> None:
    for field in fields(config):
        value, example = getattr(config, field.name), field.default
        if field.name == "crop_size":
            if value is not None and (type(value) is not int or value < 1):
                raise _outside(field.name, value, "a whole number of at least 1, or null")
        elif isinstance(example, bool):
            if not isinstance(value, bool):
                raise _outside(field.name, value, "true or false")
        elif isinstance(example, tuple):
            if not isinstance(value, tuple) or len(value) != 2 or not all(map(_is_number, value)):
                raise _outside(field.name, value, "two numbers")
        elif not _is_number(value) or value < 0:
            raise _outside(field.name, value, "a number of at least 0")


def _is_number(value: object) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _outside(name: str, value: object, allowed: str) -> BadInputError:
    return BadInputError(
        f"A training configuration cannot have {value!s:.80} for {name}; give {allowed}."
    )
