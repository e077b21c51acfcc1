"""Where the slices of a stack lie: sorted by position along their normal, never by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from CovidLungQuantLib.ct.dicom.headers import SliceHeader, counted
from CovidLungQuantLib.ct.volume import Geometry
from CovidLungQuantLib.errors import BadInputError

# Positions are often written to 0.1 mm only.
ROUNDING_MM = 0.05
SAME_POSITION_MM = 0.01
STEP_TOLERANCE = 0.1
RUN_OF_WIDE_STEPS = 3
GRID_TOLERANCE = 0.5
# A straight stack may drift sideways by this much; 0.3° over its length.
SIDEWAYS_MM = 0.5
SIDEWAYS_SHARE = 0.005


def in_order(slices: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Sort parallel slices along their normal."""
    normal = slices[0].place.direction[:, 2]
    return sorted(slices, key=lambda item: float(item.place.position_mm @ normal))


def geometry_of_slices(slices: Sequence[SliceHeader], name: str) -> Geometry:
    """Return the geometry of the volume that slices in order make.

    Raises:
        BadInputError: slices are missing, at one place, unevenly spaced or not stacked straight.
    """
    first = slices[0]
    direction = first.place.direction
    positions_mm = np.array([item.place.position_mm for item in slices])
    along_mm = positions_mm @ direction[:, 2]
    _check_steps(along_mm, name)
    _check_straight(positions_mm, along_mm, direction[:, 2], name)
    columns, rows = first.columns_rows
    row_mm, column_mm = first.place.pixel_spacing_mm
    x_mm, y_mm, z_mm = first.place.position_mm.tolist()
    # Rounded far below any tolerance, so that 2 mm steps give 2 mm.
    slice_mm = round(float(along_mm[-1] - along_mm[0]) / (len(slices) - 1), 7)
    return Geometry(
        shape=(len(slices), rows, columns),
        spacing_mm=(float(column_mm), float(row_mm), slice_mm),
        origin_mm=(x_mm, y_mm, z_mm),
        direction=direction,
    )


def _check_steps(along_mm: np.ndarray, name: str) -> None:
    steps_mm = np.diff(along_mm)
    duplicate = steps_mm < SAME_POSITION_MM
    if duplicate.any():
        raise BadInputError(
            f'"{name}" holds {counted(int(duplicate.sum()), "duplicate slice")} at the place of'
            f" another (first at {along_mm[int(np.argmax(duplicate))]:.1f} mm); give one"
            " acquisition without duplicates."
        )
    step_mm = float(np.median(steps_mm))
    counts = np.rint(steps_mm / step_mm)
    deviations_mm = np.abs(steps_mm - counts * step_mm)
    uneven = (deviations_mm > STEP_TOLERANCE * step_mm + ROUNDING_MM) | (counts < 1)
    # A real gap is a whole number of steps wide, give or take the rounding of each.
    gaps = ~uneven & (counts > 1)
    if gaps.any() and not _has_run(gaps):
        missing = int((counts[gaps] - 1).sum())
        raise BadInputError(
            f'"{name}" lacks {counted(missing, "slice")} (first gap after'
            f" {along_mm[int(np.argmax(gaps))]:.1f} mm); copy the whole series again."
        )
    grid_mm = np.linspace(along_mm[0], along_mm[-1], along_mm.size)
    drifts = np.abs(along_mm - grid_mm).max() > GRID_TOLERANCE * step_mm
    if uneven.any() or gaps.any() or drifts:
        raise BadInputError(
            f'The slices of "{name}" are unevenly spaced ({steps_mm.min():.3g} to'
            f" {steps_mm.max():.3g} mm apart); choose a series with even spacing."
        )


def _has_run(gaps: np.ndarray) -> bool:
    """Tell whether wide steps follow each other: a part scanned with other steps, and no gaps."""
    return bool(
        np.convolve(gaps, np.ones(RUN_OF_WIDE_STEPS), "valid").max(initial=0) >= RUN_OF_WIDE_STEPS
    )


def _check_straight(
    positions_mm: np.ndarray, along_mm: np.ndarray, normal: np.ndarray, name: str
) -> None:
    """Refuse a tilted gantry: there the slices shift sideways from one to the next."""
    from_first_mm = positions_mm - positions_mm[0]
    length_mm = along_mm - along_mm[0]
    sideways_mm = np.linalg.norm(from_first_mm - np.outer(length_mm, normal), axis=1)
    if sideways_mm.max() > SIDEWAYS_MM + SIDEWAYS_SHARE * length_mm[-1]:
        worst = int(np.argmax(sideways_mm))
        angle = np.degrees(np.arctan2(sideways_mm[worst], length_mm[worst]))
        raise BadInputError(
            f'The slices of "{name}" are not stacked at right angles (gantry tilt of about'
            f" {angle:.0f}°); correct the tilt or resample the scan first."
        )
