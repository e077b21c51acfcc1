"""Results of one patient over time: reading them, judging whether they compare, and the changes."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import Field, dataclass, fields
from pathlib import Path
from typing import Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import RESULT_FILE
from CovidLungQuantLib.labels import BOTH_LUNGS_REGION
from CovidLungQuantLib.lesions.probability import LESION_MARGIN
from CovidLungQuantLib.measures.change import Change, changes
from CovidLungQuantLib.measures.measurements import LOBE_REGIONS
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.vetting import read_json
from CovidLungQuantLib.vetting.problems import NOT_AS_WRITTEN_ERRORS

# Extents change with the depth of inspiration alone; beyond this the reader is told.
LARGEST_LUNG_CHANGE_PERCENT = 20.0
# Options that change no number, or are judged by themselves.
CORRECTION_OPTION = "changed_voxels"
OPTIONS_LEFT_OUT = (
    "device",
    "model",
    "artery_hu",
    "lobes",
    "kinds",
    "keep_probability",
    CORRECTION_OPTION,
)
_PROVENANCE_TEXTS = (
    "software_version",
    "model_name",
    "model_sha256",
    "lung_model_name",
    "lung_model_sha256",
    "lobe_model_name",
    "lobe_model_sha256",
)
CHANGE_NOTES: tuple[str, ...] = (
    "A change is the later value minus the earlier one; changes of extents are percentage points "
    "(pp).",
    "Extents are of the region's lung volume, which changes with the depth of inspiration; a "
    f"change of the lung volume above {LARGEST_LUNG_CHANGE_PERCENT:g} % is warned of.",
    "Results hold no patient data: whoever compares sees to it that they are of one patient.",
)


@dataclass(frozen=True)
class TimePoint:
    """One result.

    Attributes:
        name: of its folder.
        day: since an event of the user's choice; None where not given.
        regions: its table.
        provenance: what made it, as in `result.json`; empty where that is not known.
        warnings: of the scan and the run.
    """

    name: str
    day: float | None
    regions: tuple[RegionMeasurement, ...]
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class FollowUp:
    """Time points in order, what changed between them, and what to know before trusting it."""

    time_points: tuple[TimePoint, ...]
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]

    def change(self, region: str, measure: str) -> Change:
        """One change; raises KeyError where there is none."""
        for item in self.changes:
            if (item.region, item.measure) == (region, measure):
                return item
        raise KeyError((region, measure))

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions that were followed, in order."""
        return tuple(dict.fromkeys(item.region for item in self.changes))


def follow_up(
    folders: Sequence[Path], days: Sequence[float] | None = None, anyway: bool = False
) -> FollowUp:
    """Read results in order of time and compute the changes.

    Args:
        folders: written by `segment` or `measure`.
        days: day of each, rising.
        anyway: compare also what was made by different rules; a warning says so.

    Raises:
        BadInputError: a folder holds no result, days do not fit, or the numbers do not compare.
    """
    if days is not None and len(days) != len(folders):
        raise BadInputError(
            f"{len(days)} days are given for {len(folders)} results; give one day for each."
        )
    return compare_time_points(
        [
            read_time_point(folder, None if days is None else days[index])
            for index, folder in enumerate(folders)
        ],
        anyway,
        "segment all with the same --kinds, or add --anyway",
    )


def compare_time_points(
    time_points: Sequence[TimePoint],
    anyway: bool = False,
    remedy: str = "segment all by the same rule, or ask to compare anyway",
) -> FollowUp:
    """Compute the changes between time points in order, and say what to know about them.

    Args:
        time_points: two or more; their days rise, or none has one.
        anyway: compare also what was made by different rules; a warning says so.
        remedy: what the user can do about different rules, the end of the error's sentence.

    Raises:
        BadInputError: days do not fit, or the numbers do not compare.
    """
    time_points = tuple(time_points)
    _check_days([point.day for point in time_points])
    found = changes([point.regions for point in time_points])
    hindrance = _different_kinds(time_points)
    if hindrance and not anyway:
        raise BadInputError(f"{hindrance}; {remedy}.")
    return FollowUp(
        time_points=time_points,
        changes=found,
        warnings=(
            *(
                [f"{hindrance}: their changes in GGO and high opacity mean little."]
                * bool(hindrance)
            ),
            *_differences(time_points),
            *_inspiration(time_points),
            *(f"{point.name}: {text}" for point in time_points for text in point.warnings),
        ),
    )


def _check_days(days: Sequence[float | None]) -> None:
    known = [day for day in days if day is not None]
    if known and len(known) < len(days):
        raise BadInputError("Some scans have a day and some have none; give a day for each.")
    if any(later <= earlier for earlier, later in itertools.pairwise(known)):
        raise BadInputError("The days do not rise; give the results in order of time.")


def read_time_point(folder: Path, day: float | None = None) -> TimePoint:
    """Read one folder of results.

    Raises:
        BadInputError: it is none.
    """
    file = Path(folder) / RESULT_FILE
    try:
        result = read_json(file)
        regions = tuple(_region(row) for row in result["measurements"])
        if BOTH_LUNGS_REGION not in [row.region for row in regions]:
            raise ValueError(BOTH_LUNGS_REGION)
        return TimePoint(
            name=Path(folder).resolve().name,
            day=day,
            regions=regions,
            provenance=_provenance(result["provenance"]),
            warnings=tuple(_text(warning["message"]) for warning in result["warnings"]),
        )
    except NOT_AS_WRITTEN_ERRORS as error:
        raise BadInputError(
            f"{Path(folder).name} holds no result of this software ({RESULT_FILE}); give folders "
            "that segment or measure wrote."
        ) from error


def _region(row: dict[str, Any]) -> RegionMeasurement:
    """A row of a result; a figure that earlier versions did not know has NaN as its default."""
    known = [field for field in fields(RegionMeasurement) if field.name in row]
    figures: dict[str, Any] = {field.name: _figure(field, row[field.name]) for field in known}
    return RegionMeasurement(**figures)


def _figure(field: Field[Any], value: object) -> Any:
    """A cell of a row; raises TypeError where it is text for a number, or the other way round."""
    if value is None:
        return math.nan
    if field.type in ("str", str):
        return _text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{field.name}: {value!r}")
    if math.isinf(number := float(value)):
        raise ValueError(f"{field.name}: {value!r}")
    return number


def _provenance(values: Any) -> dict[str, Any]:
    """What made a result; raises TypeError where it is none."""
    if values is None:
        return {}
    if not isinstance(values, dict) or not isinstance(values.get("options") or {}, dict):
        raise TypeError("provenance")
    texts = [values.get(name) for name in _PROVENANCE_TEXTS]
    for value in (*texts, (values.get("options") or {}).get("kinds")):
        if value is not None:
            _text(value)
    return values


def _text(value: object) -> str:
    """A text, as which it was read; raises TypeError for anything else."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _options(point: TimePoint) -> dict[str, Any]:
    return point.provenance.get("options") or {}


def _different_kinds(time_points: Sequence[TimePoint]) -> str:
    """Say so where GGO was told from high opacity by different rules."""
    known = [(point, _options(point).get("kinds")) for point in time_points]
    known = [(point, kinds) for point, kinds in known if kinds]
    if len({kinds for _, kinds in known}) < 2:
        return ""
    listed = ", ".join(f"{point.name} by {kinds}" for point, kinds in known)
    return f"GGO was told from high opacity by different rules ({listed})"


def _differences(time_points: Sequence[TimePoint]) -> list[str]:
    """Whatever else made the results differently."""
    warnings = []
    for title, key in (
        ("software versions", "software_version"),
        ("models", "model_sha256"),
        ("models of the lungs", "lung_model_sha256"),
        ("models of the lobes", "lobe_model_sha256"),
    ):
        shown = "model_name" if key == "model_sha256" else key
        values = [point.provenance.get(key) for point in time_points]
        if len(set(values)) > 1:
            listed = ", ".join(
                f"{point.name}: {(point.provenance.get(shown) or 'given by a person')!s:.24}"
                for point in time_points
            )
            warnings.append(
                f"Different {title} made these results ({listed}), so part of a change may be "
                "theirs; segment the scans with the same one to be sure."
            )
    names = sorted({name for point in time_points for name in _options(point)})
    for name in names:
        chosen = [json.dumps(_options(point).get(name)) for point in time_points]
        segmented = [point for point in time_points if point.provenance.get("model_sha256")]
        if name in OPTIONS_LEFT_OUT or len(segmented) < len(time_points):
            continue
        if len(set(chosen)) > 1:
            warnings.append(
                f"The option {name} differs ({', '.join(chosen)}), so part of a change may be its."
            )
    # Results of earlier versions do not say it; it was the default.
    margins = [
        json.dumps(point.provenance.get("lesion_margin") or LESION_MARGIN)
        for point in time_points
        if point.provenance.get("model_sha256")
    ]
    if len(set(margins)) > 1:
        warnings.append(
            f"The sensitivity to lesions differs (margins {', '.join(margins)}), so part of a "
            "change may be its."
        )
    corrected = [point.name for point in time_points if _options(point).get(CORRECTION_OPTION)]
    if 0 < len(corrected) < len(time_points):
        warnings.append(
            f"Corrected by hand: {', '.join(corrected)}, but not the others, so part of a change "
            "may be the correction; look at the others, too."
        )
    lobes = [any(row.region in LOBE_REGIONS for row in point.regions) for point in time_points]
    if any(lobes) and not all(lobes):
        without = [point.name for point, has in zip(time_points, lobes, strict=True) if not has]
        warnings.append(
            f"{', '.join(without)} has no lobes, so lobes are not compared; measure it again with "
            "lobes to do so."
        )
    return warnings


def _inspiration(time_points: Sequence[TimePoint]) -> list[str]:
    """Warn where the lungs are so much larger or smaller that extents change by that alone."""
    warnings = []
    for earlier, later in itertools.pairwise(time_points):
        before_ml, after_ml = (
            next(row.volume_ml for row in point.regions if row.region == BOTH_LUNGS_REGION)
            for point in (earlier, later)
        )
        change_percent = 100.0 * (after_ml - before_ml) / before_ml if before_ml else math.inf
        if abs(change_percent) > LARGEST_LUNG_CHANGE_PERCENT:
            warnings.append(
                f"The lung volume changes by {change_percent:+.0f} % from {earlier.name} to "
                f"{later.name}; another depth of inspiration, effusion or collapse changes extents "
                "by itself: look at both scans, and at mL beside %."
            )
    return warnings
