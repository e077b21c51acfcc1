"""How the lungs of one patient change from scan to scan.

A change is the later value minus the earlier one: of volumes in mL, of extents in percentage points
(never in per cent of a per cent).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.measures.columns import Column, followed_columns
from CovidLungQuantLib.measures.measurements import LOBE_REGIONS, LUNG_REGIONS
from CovidLungQuantLib.measures.volumes import RegionMeasurement

# The 20 regions of the lobes are an approximation, too coarse to follow.
FOLLOWED_REGIONS = (*LUNG_REGIONS, *LOBE_REGIONS)


@dataclass(frozen=True)
class Change:
    """One figure of one region over time; NaN where a scan has none.

    Attributes:
        region: such as "both lungs".
        measure: key of one of `columns.followed_columns`.
        unit: of `values`.
        change_unit: of the changes.
        values: one a time point.
        from_previous: one less; the first is from the first to the second time point.
        from_first: from the first to the last time point.
    """

    region: str
    measure: str
    unit: str
    change_unit: str
    values: tuple[float, ...]
    from_previous: tuple[float, ...]
    from_first: float


def changes(time_points: Sequence[Sequence[RegionMeasurement]]) -> tuple[Change, ...]:
    """Changes of every region in `FOLLOWED_REGIONS` that all time points have.

    Args:
        time_points: table of each scan, in order of time.

    Raises:
        BadInputError: fewer than two time points, or no region in common.
    """
    if len(time_points) < 2:
        raise BadInputError("A change needs at least two time points; give two results or more.")
    tables = [{row.region: row for row in rows} for rows in time_points]
    regions = [name for name in FOLLOWED_REGIONS if all(name in table for table in tables)]
    if not regions:
        raise BadInputError("The results have no region in common; measure the scans again.")
    return tuple(
        _change(region, column, [column.value(table[region]) for table in tables])
        for region in regions
        for column in followed_columns()
    )


def change_row(item: Change) -> dict[str, Any]:
    """A change as a row of the table, by column."""
    values = {f"time_point_{number}": value for number, value in enumerate(item.values, start=1)}
    steps = {
        f"change_{number}_to_{number + 1}": value
        for number, value in enumerate(item.from_previous, start=1)
    }
    return {
        "region": item.region,
        "measure": item.measure,
        "unit": item.unit,
        **values,
        "change_unit": item.change_unit,
        **steps,
        "change_first_to_last": item.from_first,
    }


def _change(region: str, column: Column, values: Sequence[float]) -> Change:
    return Change(
        region=region,
        measure=column.key,
        unit=column.unit.text,
        change_unit=column.unit.change_text,
        values=tuple(values),
        from_previous=tuple(later - earlier for earlier, later in itertools.pairwise(values)),
        from_first=values[-1] - values[0],
    )
