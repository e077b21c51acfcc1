"""What every CT must pass, wherever it came from: array, geometry and Hounsfield units."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from CovidLungQuantLib.ct.contrast import looks_contrast_enhanced
from CovidLungQuantLib.ct.field_of_view import PADDING_BELOW_HU, connected_to_edge, painted_outside
from CovidLungQuantLib.ct.hounsfield import LARGE_SIDE, check_hounsfield_scale
from CovidLungQuantLib.ct.orientation import (
    lps_oriented,
    orient_like,
    orientation_of,
    oriented_geometry,
)
from CovidLungQuantLib.ct.volume import CTVolume, Geometry, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.printable import printable

AIR_HU = -1024
HIGHEST_USUAL_HU = 3071
HIGHEST_POSSIBLE_HU = int(np.iinfo(np.int16).max)

# Every chest in HU holds air and soft tissue. In the real scans tried, air makes up at least
# 40 % and soft tissue at least 18 % of the voxels; a CT whose rescale was left out or done twice
# has next to nothing in one of the two ranges.
AIR_RANGE_HU = (PADDING_BELOW_HU, -200)
SMALLEST_AIR_SHARE = 0.005
SOFT_TISSUE_RANGE_HU = (-200, 200)
SMALLEST_SOFT_TISSUE_SHARE = 0.02

# Streaks beside metal may reach so low, in few voxels.
LARGEST_INNER_PADDING_SHARE = 0.005

SMALLEST_SPACING_MM = 0.1
LARGEST_IN_PLANE_SPACING_MM = 10.0
LARGEST_SLICE_SPACING_MM = 20.0
DIRECTION_TOLERANCE = 1e-3

# The network looks at this many slices at once.
USUAL_SLICE_COUNT = 11
THICK_SLICE_MM = 5.0
THICKNESS_TOLERANCE_MM = 0.01


def check_ct(hu_array: np.ndarray, geometry: Geometry, name: str = "CT") -> CTVolume:
    """Check an array of Hounsfield units and return it as a CT.

    Float values are rounded; padding (below −1500 HU, or NaN or one value that fills the corners of
    the slices) becomes −1024, air; anything else stays as it is, metal above 3071 HU included. The
    given array is not changed, and not copied where it needs no change.

    Args:
        hu_array: Hounsfield units (z, y, x), integer or float.
        geometry: of the array.
        name: what to call the scan in messages and tables.

    Raises:
        BadInputError: the array is not a volume, not in Hounsfield units or not of a chest, or its
            geometry makes no sense.
    """
    _check_array(hu_array, geometry, name)
    check_geometry(geometry, name)
    body_axis = orientation_of(geometry).axes[0]
    painted = painted_outside(np.moveaxis(hu_array, body_axis, 0))
    if painted is not None:
        painted = np.moveaxis(painted, 0, body_axis)
    _check_finite(hu_array, painted, name)
    hu, padding = _as_int16(hu_array, painted, name)
    _check_hounsfield_units(hu, painted, padding, name)
    ct = CTVolume(hu, geometry, printable(name))
    upright, orientation = lps_oriented(ct)
    padding_count = 0
    if padding is not None:
        padding_count = int(np.count_nonzero(padding))
        padding = orient_like(padding, orientation)
        _check_padding_place(padding, name)
    check_hounsfield_scale(upright.hu, padding, name)
    warnings = [
        *_value_warnings(hu, padding_count),
        *_slice_warnings(upright.geometry),
    ]
    if looks_contrast_enhanced(upright.hu, upright.geometry.spacing_mm):
        warnings.append(contrast_warning("blood is as bright as contrast medium makes it"))
    return replace(ct, warnings=tuple(warnings))


def check_geometry(geometry: Geometry, name: str) -> None:
    """Check spacing, origin and directions.

    Raises:
        BadInputError: one of them is missing, not finite or out of range, or the axes are skewed.
    """
    numbers = [*geometry.spacing_mm, *geometry.origin_mm, *np.ravel(geometry.direction)]
    if not np.isfinite(numbers).all():
        raise BadInputError(
            f'The header of "{name}" gives a position or voxel size that is not a number; export'
            " the scan again."
        )
    direction = np.asarray(geometry.direction, dtype=float)
    if not np.allclose(direction.T @ direction, np.eye(3), rtol=0, atol=DIRECTION_TOLERANCE):
        raise BadInputError(
            f'The axes of "{name}" are not at right angles (a tilted gantry, perhaps); resample'
            " the scan to a straight grid first."
        )
    _check_spacing(geometry, name)


def thick_slices_warning(thickness_mm: float) -> ScanWarning | None:
    """Return a warning where slices are thicker than lesions are measured well on."""
    if thickness_mm <= THICK_SLICE_MM + THICKNESS_TOLERANCE_MM:
        return None
    return ScanWarning(
        "thick_slices",
        f"Slices are {thickness_mm:.3g} mm thick (more than {THICK_SLICE_MM:g} mm); small lesions"
        " may be missed and volumes are less exact.",
    )


def contrast_warning(reason: str) -> ScanWarning:
    """Return the warning that contrast medium was probably given."""
    return ScanWarning(
        "contrast_suspected",
        f"The scan is probably contrast-enhanced ({reason}); vessels may be taken for lesions and"
        " mean HU are higher.",
    )


def _check_array(hu_array: np.ndarray, geometry: Geometry, name: str) -> None:
    if hu_array.ndim == 2 or (hu_array.ndim == 3 and min(hu_array.shape) == 1):
        raise BadInputError(f'"{name}" is a single 2D image; a whole CT volume is needed.')
    if hu_array.ndim != 3:
        raise BadInputError(
            f'"{name}" has {hu_array.ndim} dimensions (a colour image or a time series, perhaps);'
            " give one CT volume."
        )
    if hu_array.size == 0:
        raise BadInputError(f'"{name}" holds no voxels; load the CT again.')
    if tuple(hu_array.shape) != tuple(geometry.shape):
        raise BadInputError(
            f'The voxels of "{name}" and its geometry have different sizes'
            f" ({hu_array.shape} and {tuple(geometry.shape)}); load the CT again."
        )
    if hu_array.dtype.kind not in "iuf":
        raise BadInputError(f'"{name}" does not hold plain numbers; give a CT in Hounsfield units.')
    if hu_array.dtype.itemsize == 1:
        raise BadInputError(not_hounsfield_message(name, "it has only 8 bits per voxel"))


def _check_finite(hu_array: np.ndarray, painted: np.ndarray | None, name: str) -> None:
    if hu_array.dtype.kind != "f":
        return
    is_bad = ~np.isfinite(hu_array)
    if painted is not None:
        is_bad &= ~painted
    bad_count = int(np.count_nonzero(is_bad))
    if bad_count:
        raise BadInputError(
            f'"{name}" holds {bad_count} voxels that are not finite numbers (NaN or infinite);'
            " export the scan again."
        )


def not_hounsfield_message(name: str, reason: str) -> str:
    """Return the sentence that refuses values that are not Hounsfield units."""
    return (
        f'"{name}" is not in Hounsfield units ({reason}); export the original CT with its rescale'
        " slope and intercept applied."
    )


def _check_spacing(geometry: Geometry, name: str) -> None:
    upright = oriented_geometry(geometry, orientation_of(geometry))
    x_mm, y_mm, slice_mm = upright.spacing_mm
    is_sensible = (
        min(x_mm, y_mm, slice_mm) >= SMALLEST_SPACING_MM
        and max(x_mm, y_mm) <= LARGEST_IN_PLANE_SPACING_MM
        and slice_mm <= LARGEST_SLICE_SPACING_MM
    )
    if not is_sensible:
        raise BadInputError(
            f'The voxels of "{name}" measure {x_mm:.4g} × {y_mm:.4g} × {slice_mm:.4g} mm, which no'
            " chest CT has; check the voxel size in its header."
        )


def _as_int16(
    hu_array: np.ndarray, painted: np.ndarray | None, name: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the array as int16 with padding turned into air, and where that was, if anywhere."""
    is_padding = hu_array < PADDING_BELOW_HU
    if painted is not None:
        is_padding |= painted
    has_padding = bool(is_padding.any())
    if has_padding:
        hu_array = np.where(is_padding, hu_array.dtype.type(AIR_HU), hu_array)
    highest = float(hu_array.max())
    if highest > HIGHEST_POSSIBLE_HU:
        raise BadInputError(not_hounsfield_message(name, f"values reach {highest:.6g}"))
    if hu_array.dtype.kind == "f":
        hu_array = np.rint(hu_array)
    return hu_array.astype(np.int16, copy=False), is_padding if has_padding else None


def _check_padding_place(padding: np.ndarray, name: str) -> None:
    """Refuse values below any air inside the body: there they were measured, and scaled."""
    step = 2 if min(padding.shape[1:]) >= LARGE_SIDE else 1
    inside_count = 0
    for plane in padding[:, ::step, ::step]:
        if plane.any():
            inside_count += int(np.count_nonzero(plane & ~connected_to_edge(plane)))
    share = inside_count / padding[:, ::step, ::step].size
    if share > LARGEST_INNER_PADDING_SHARE:
        raise BadInputError(
            not_hounsfield_message(name, f"values inside the body lie below {PADDING_BELOW_HU}")
        )


def _check_hounsfield_units(
    hu: np.ndarray, painted: np.ndarray | None, padding: np.ndarray | None, name: str
) -> None:
    lowest = int(hu.min() if painted is None else hu[~painted].min())
    highest = int(hu.max())
    padding_count = 0 if padding is None else int(np.count_nonzero(padding))
    if lowest >= 0:
        raise BadInputError(not_hounsfield_message(name, "it has no values below 0"))
    # Padding is air by now, but no scanner measured it.
    measured_count = max(hu.size - padding_count, 1)
    air_share = (_count_within(hu, AIR_RANGE_HU) - padding_count) / measured_count
    soft_tissue_share = _count_within(hu, SOFT_TISSUE_RANGE_HU) / measured_count
    if air_share < SMALLEST_AIR_SHARE or soft_tissue_share < SMALLEST_SOFT_TISSUE_SHARE:
        raise BadInputError(
            f'"{name}" is not a chest in Hounsfield units (values run from {lowest} to {highest},'
            f" {air_share:.0%} of them like air and {soft_tissue_share:.0%} like soft tissue);"
            " export the original CT with its rescale slope and intercept applied."
        )


def _count_within(hu: np.ndarray, limits_hu: tuple[int, int]) -> int:
    return int(np.count_nonzero((hu >= limits_hu[0]) & (hu <= limits_hu[1])))


def _value_warnings(hu: np.ndarray, padding_count: int) -> list[ScanWarning]:
    warnings = []
    if padding_count:
        warnings.append(
            ScanWarning(
                "padding",
                f"{padding_count / hu.size:.1%} of the voxels lie outside the scanner's field of"
                f" view (padding values); they are taken as air, {AIR_HU} HU.",
            )
        )
    metal_count = int(np.count_nonzero(hu > HIGHEST_USUAL_HU))
    if metal_count:
        warnings.append(
            ScanWarning(
                "values_above_range",
                f"{metal_count} voxels lie above {HIGHEST_USUAL_HU} HU (metal, perhaps); look for"
                " streaks near them.",
            )
        )
    return warnings


def _slice_warnings(upright: Geometry) -> list[ScanWarning]:
    slice_count, slice_mm = upright.shape[0], upright.spacing_mm[2]
    warnings = []
    if slice_count < USUAL_SLICE_COUNT:
        warnings.append(
            ScanWarning(
                "few_slices",
                f"The scan has only {slice_count} slices, fewer than the {USUAL_SLICE_COUNT} the"
                " network looks at together; the result is less sure.",
            )
        )
    thick = thick_slices_warning(slice_mm)
    return [*warnings, thick] if thick else warnings
