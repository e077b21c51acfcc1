"""Which case to correct next: cases of a training set, and scans not yet in it, by expected gain.

The expected gain of a case is an estimate, in millilitres:

    expected gain = max(0, disputed − changed)

- disputed: lesion of either shipped model that the other calls no lesion, or another kind;
- changed: lesion of the machine or the reader that the reader gave another label. It is nothing
  for a case that nobody has corrected.

Where two networks disagree at least one is wrong, and a reader's answer teaches it; what the reader
changed already has been answered. It cannot see what both networks get wrong in the same way, and
says nothing about how a network will do after fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.measures.correction import Correction, StructureCorrection
from CovidLungQuantLib.measures.disagreement import Disagreement
from CovidLungQuantLib.measures.structures import STRUCTURES
from CovidLungQuantLib.training.dataset import (
    CASE_COLUMN,
    MANIFEST_FILE_NAME,
    case_ct_file,
    case_names,
)
from CovidLungQuantLib.training.disagreement_cache import DisagreementCache
from CovidLungQuantLib.vetting import read_csv_dicts

GAIN_DEFINITION = (
    "Expected gain = mL of lesion on which the shipped models disagree, less the mL of lesion that "
    "the reader changed. It is an estimate: where two networks disagree at least one is wrong, but "
    "what both get wrong in the same way does not show."
)

# What is known of the labels of a case.
NOT_CORRECTED = "not corrected"
CORRECTED = "corrected"
GIVEN = "labels given, changes not known"
CANDIDATE = "not in the set"

# A case is worth a second look where the reader changed less than this share of what is disputed.
LOOK_AGAIN_SHARE = 0.5
NOT_COMPARED = "The models were not compared on it yet."


@dataclass(frozen=True)
class RankedCase:
    """A case of a training set, or a scan that could become one.

    Attributes:
        name: of the case.
        state: one of `NOT_CORRECTED`, `CORRECTED`, `GIVEN` and `CANDIDATE`.
        changed_ml: lesion of the machine or the reader that has another label now; NaN if unknown.
        changed_percent: that, of all that either calls lesion; NaN if unknown.
        disagreement: of the shipped models; None where it is not known.
        reason: a sentence why it is not known, otherwise empty.
        next_step: what to do with it, filled in by `ranked`.
    """

    name: str
    state: str
    changed_ml: float = math.nan
    changed_percent: float = math.nan
    disagreement: Disagreement | None = None
    reason: str = ""
    next_step: str = ""

    @property
    def disputed_ml(self) -> float:
        """Lesion on which the models disagree; NaN where it is not known."""
        return math.nan if self.disagreement is None else self.disagreement.disputed_ml

    @property
    def expected_gain_ml(self) -> float:
        """See the top of this file; NaN where it cannot be told."""
        if self.disagreement is None or self.state == GIVEN:
            return math.nan
        changed_ml = self.changed_ml if self.state == CORRECTED else 0.0
        return max(0.0, self.disputed_ml - changed_ml)

    @property
    def is_open(self) -> bool:
        """Whether nobody has corrected it."""
        return self.state in (NOT_CORRECTED, CANDIDATE)


def training_set_cases(dataset: Path) -> list[RankedCase]:
    """The cases of a training set with what its manifest says was corrected, by name.

    Works for sets of any version of this software; without a manifest no change is known.

    Raises:
        BadInputError: the folder holds no case, or its manifest cannot be understood.
    """
    names = case_names(dataset)
    rows = _newest_rows(dataset)
    try:
        return [_case(name, rows.get(name)) for name in names]
    except (ValueError, KeyError) as error:
        raise _foreign_manifest(dataset) from error


def ranked(
    cases: Iterable[RankedCase], disagreements: Mapping[str, Disagreement | str | None]
) -> list[RankedCase]:
    """Cases by expected gain, largest first, then by name; those without one come last.

    Args:
        cases: from `training_set_cases`, and candidates.
        disagreements: by the name of the case: of the shipped models, or a sentence why it is not
            known; None or missing where the models were not compared yet.
    """
    compared = [_with_disagreement(case, disagreements.get(case.name)) for case in cases]
    in_order = sorted(compared, key=_place)
    next_up = next((case for case in in_order if case.is_open and case.expected_gain_ml > 0), None)
    return [replace(case, next_step=_next_step(case, case is next_up)) for case in in_order]


def ranked_by_what_is_known(dataset: Path, models: Sequence[str] | None = None) -> list[RankedCase]:
    """Rank the cases of a training set without running a model; raises as `training_set_cases`.

    Only figures of `disagreement_cache` are used, by the looks of the files: quick enough to be
    asked whenever a window is shown.
    """
    cases, cache = training_set_cases(dataset), DisagreementCache(dataset, models)
    known = {case.name: cache.known(case_ct_file(dataset, case.name)) for case in cases}
    return ranked(cases, known)


def _place(case: RankedCase) -> tuple[float, str]:
    gain_ml = case.expected_gain_ml
    return (math.inf if math.isnan(gain_ml) else -gain_ml, case.name)


def _with_disagreement(case: RankedCase, found: Disagreement | str | None) -> RankedCase:
    if isinstance(found, Disagreement):
        return replace(case, disagreement=found)
    return replace(case, reason=found or NOT_COMPARED)


def _next_step(case: RankedCase, is_next: bool) -> str:
    if case.disagreement is None:
        return case.reason
    if case.state == GIVEN:
        return "Nothing: its labels count as a reader's."
    if case.state == CORRECTED:
        settled_ml = LOOK_AGAIN_SHARE * case.disputed_ml
        if case.expected_gain_ml > settled_ml:
            return f"Look again{_where(case)}: little was changed where the models disagree."
        return "Done."
    if case.expected_gain_ml == 0:
        return "The models agree; others teach more."
    verb = "Correct" if case.state == NOT_CORRECTED else "Segment, correct and add"
    return f"{verb} this one next{_where(case)}." if is_next else f"{verb} it."


def _where(case: RankedCase) -> str:
    assert case.disagreement is not None
    return f", most of it in axial slice {case.disagreement.most_disputed_slice}"


def _newest_rows(dataset: Path) -> dict[str, dict[str, str]]:
    """Case → the manifest's row of its newest version; empty without a manifest."""
    file = dataset / MANIFEST_FILE_NAME
    if not file.exists():
        return {}
    try:
        return {row[CASE_COLUMN]: row for row in read_csv_dicts(file)}
    except (BadInputError, KeyError) as error:
        raise _foreign_manifest(dataset) from error


def _foreign_manifest(dataset: Path) -> BadInputError:
    return BadInputError(
        f"{MANIFEST_FILE_NAME} of {dataset.name} was not written by this software or was changed; "
        "correct it or choose another training set."
    )


def _case(name: str, row: dict[str, str] | None) -> RankedCase:
    """Raises ValueError or KeyError where the row is none of the manifest's."""
    if row is None:
        return RankedCase(name, GIVEN)
    if row["changed_voxels"] == "":
        # Without labels to begin with, a model's name says that a model made those that are there.
        return RankedCase(name, NOT_CORRECTED if row["model_name"] else GIVEN)
    if int(row["changed_voxels"]) == 0:
        return RankedCase(name, NOT_CORRECTED, 0.0, 0.0)
    correction = Correction(
        int(row["changed_voxels"]),
        float(row["changed_ml"]),
        tuple(_structure(structure, row) for structure in STRUCTURES),
    )
    return RankedCase(
        name, CORRECTED, correction.lesion_changed_ml, correction.lesion_changed_percent
    )


def _structure(structure: str, row: dict[str, str]) -> StructureCorrection:
    column = structure.lower().replace(" ", "_")
    values: Sequence[str] = (row[f"{column}_machine_ml"], row[f"{column}_ml"])
    machine_ml, corrected_ml = map(float, values)
    overlap = row[f"{column}_dice"]
    return StructureCorrection(
        structure, machine_ml, corrected_ml, float(overlap) if overlap else math.nan
    )
