"""Voxels that a file calls no number (NaN): the corners outside the scan circle, or damage."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.ct.field_of_view import PADDING_BELOW_HU, connected_to_edge
from CovidLungQuantLib.ct.orientation import orient_like, orientation_of
from CovidLungQuantLib.ct.volume import Geometry
from CovidLungQuantLib.errors import BadInputError

UNMEASURED_HU = PADDING_BELOW_HU - 500
# A circle touching the sides of its square leaves 21.5 % out, smaller ones more.
LARGEST_UNMEASURED_SHARE = 0.6


def unmeasured_as_padding(values: np.ndarray, geometry: Geometry, name: str) -> np.ndarray:
    """Return values with NaN outside the scan circle as padding, which `check_ct` takes as air.

    Some converters write NaN where the scanner measured nothing. That is believed where, in each
    axial slice, all NaN hangs together with the edge of the slice and leaves much of it.

    Args:
        values: (z, y, x); whole numbers are returned as they are.
        geometry: of the values.
        name: of the scan, for messages.

    Raises:
        BadInputError: a value is infinite, or NaN lies within the scan.
    """
    if values.dtype.kind != "f":
        return values
    is_finite = np.isfinite(values)
    if is_finite.all():
        return values
    is_nan = np.isnan(values)
    within = int(np.count_nonzero(~is_finite & ~is_nan))
    for slice_nan in orient_like(is_nan, orientation_of(geometry)):
        within += _count_within(slice_nan)
    if within:
        raise BadInputError(
            f'"{name}" holds {within} voxels within the scan that are not finite numbers (NaN or'
            " infinite); export the scan again."
        )
    return np.where(is_nan, values.dtype.type(UNMEASURED_HU), values)


def _count_within(is_nan: np.ndarray) -> int:
    """NaN of a slice that is not explained by the edge of the scan circle."""
    count = int(np.count_nonzero(is_nan))
    if count == 0 or count > LARGEST_UNMEASURED_SHARE * is_nan.size:
        return count
    return count - int(np.count_nonzero(connected_to_edge(is_nan)))
