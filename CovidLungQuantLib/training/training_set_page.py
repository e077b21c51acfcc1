"""The page of a training set: which case to correct next, and what the last fine-tuning did."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from CovidLungQuantLib.display.colors import INK
from CovidLungQuantLib.display.pictures import box_around_lungs
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.disk import writing_error
from CovidLungQuantLib.files.tables import replace_text
from CovidLungQuantLib.measures.structures import LESION, structure_mask
from CovidLungQuantLib.pages.drawings import Plane, Svg
from CovidLungQuantLib.pages.dumbbell_chart import BETTER, WORSE, Dumbbell, dumbbell_chart
from CovidLungQuantLib.pages.outlines import outline_svg
from CovidLungQuantLib.pages.rendering import render_page
from CovidLungQuantLib.training.expected_gain import CANDIDATE, GAIN_DEFINITION, RankedCase
from CovidLungQuantLib.training.fine_tuning_effect import (
    ChangedSlice,
    FineTuningEffect,
    changed_slice,
    effect_of,
    last_fine_tuning,
)
from CovidLungQuantLib.training.fine_tuning_runs import COMPARED, COMPARISON_SUFFIX

PAGE_FILE_NAME = "training-set.html"
TEMPLATE = "training_set.html.j2"

VOLUME_NAMES = {"lesion_ml": "lesion", "ggo_ml": "GGO", "high_opacity_ml": "high opacity"}
CHARTED = ("lesion_dice", "ggo_dice", "high_opacity_dice")
KINDS_NOTE = (
    "GGO and high opacity count only the slices on which the reader told every lesion's kind."
)
NOTES = (
    "Disputed: lesion to one of the shipped models that is none, or of another kind, to the other; "
    "“of the lesion”: of all that either calls lesion. Dice: between the two models, which are not "
    "compared with a reader here.",
    "Changed: lesion of the machine or the reader that has another label now. A case of which "
    "nothing was changed counts as not corrected, whether or not somebody looked at it; labels "
    "without the machine's beside them count as a reader's.",
    "Slices are counted upwards, from the feet.",
)
NO_FINE_TUNING = "No model was fine-tuned on this training set yet."

OLD_COLOR, NEW_COLOR, READER_COLOR = "#ffb000", "#35c4f0", "#e8e8e8"
LINE_MM = 0.9
PICTURE_MARGIN_MM = 12.0


def write_training_set_page(
    dataset: Path, cases: Sequence[RankedCase], models_folder: Path | None = None
) -> Path:
    """Write the page into the training set's folder, in the place of an earlier one.

    Args:
        dataset: folder of the training set.
        cases: as `expected_gain.ranked` orders them.
        models_folder: where fine-tuned models lie; None is the user's.

    Raises:
        BadInputError: it cannot be written, or the comparison of the last fine-tuning is damaged.
        OutOfResourcesError: the disk is full.
    """
    file = dataset / PAGE_FILE_NAME
    page = training_set_page(dataset, cases, models_folder)
    try:
        replace_text(file, page)
    except OSError as error:
        raise writing_error(error, dataset) from error
    return file


def training_set_page(
    dataset: Path, cases: Sequence[RankedCase], models_folder: Path | None = None
) -> str:
    """The page, self-contained; arguments and errors as of `write_training_set_page`."""
    run = last_fine_tuning(dataset, models_folder)
    effect, pictures, caption = None, [], ""
    if run is not None:
        folder = Path(run.plan.models_folder)
        effect = effect_of(folder / f"{run.plan.name}{COMPARISON_SUFFIX}.json")
        try:
            changed = changed_slice(run)
            pictures, caption = slice_pictures(changed), _caption(changed)
        except BadInputError as reason:
            caption = str(reason)
    gains_ml = [case.expected_gain_ml for case in cases]
    return render_page(
        TEMPLATE,
        title="Training set: what to do next",
        definition=GAIN_DEFINITION,
        cases=[_without_file_names(case) for case in cases],
        largest_gain_ml=max((gain for gain in gains_ml if not math.isnan(gain)), default=0.0),
        notes=NOTES,
        effect=effect,
        no_effect=NO_FINE_TUNING,
        dice_names=COMPARED,
        volume_names=VOLUME_NAMES,
        kinds_note=KINDS_NOTE,
        chart=None if effect is None else effect_chart(effect),
        better=BETTER,
        worse=WORSE,
        pictures=pictures,
        caption=caption,
        old_color=OLD_COLOR,
        new_color=NEW_COLOR,
        reader_color=INK,
    )


def _without_file_names(case: RankedCase) -> RankedCase:
    """A scan that is not in the set is named by its number only; reasons may tell its file."""
    if case.state == CANDIDATE and case.disagreement is None:
        return replace(case, next_step="It cannot be compared; the command says why.")
    return case


def effect_chart(effect: FineTuningEffect) -> Svg:
    """Dice of the old and the new model, a row a case and structure, then the mean."""
    rows = [
        Dumbbell(f"{case.case}, {COMPARED[name]}", case.old.dice[name], case.new.dice[name])
        for case in effect.rows
        for name in CHARTED
        if not (math.isnan(case.old.dice[name]) and math.isnan(case.new.dice[name]))
    ]
    return dumbbell_chart(rows, "Dice of the old and the new model")


def slice_pictures(changed: ChangedSlice) -> list[Svg]:
    """The slice with the outlines of the reader's lesion and the old's, the new's, and both."""
    labelled = (changed.reader > 0) | (changed.old > 0) | (changed.new > 0)
    spacing_mm = (*changed.pixel_mm, 1.0)
    _, rows, columns = box_around_lungs(labelled[None], spacing_mm, PICTURE_MARGIN_MM)
    x_mm, y_mm = changed.pixel_mm
    hu = changed.hu[rows, columns]
    plane = Plane("changed", hu.shape[1] * x_mm, hu.shape[0] * y_mm)
    reader, old, new = (
        outline_svg(
            structure_mask(labels, LESION)[rows, columns], changed.pixel_mm, color, LINE_MM, dashes
        )
        for labels, color, dashes in (
            (changed.reader, READER_COLOR, "1.5 2"),
            (changed.old, OLD_COLOR, ""),
            (changed.new, NEW_COLOR, ""),
        )
    )
    contents = {
        "CT with the old model's lesions and the reader's": plane.ct(hu) + old + reader,
        "CT with the new model's lesions and the reader's": plane.ct_again() + new + reader,
        "CT with both models' lesions": plane.ct_again() + old + new,
    }
    return [plane.svg(label, content) for label, content in contents.items()]


def _caption(changed: ChangedSlice) -> str:
    return (
        f"{changed.case}, axial slice {changed.number} counted upwards: "
        f"{changed.changed_cm2:.1f} cm² are lesion to one model only. Left: old model and reader; "
        "middle: new model and reader; right: both models."
    )
