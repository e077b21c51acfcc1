"""Dense lesions at the chest wall, taken back into a lung found by its air.

Consolidation and effusion have the HU of the chest wall, so shape decides: the inside of the rib
cage is convex in axial slices and changes slowly from slice to slice. Arrays are (z, y, x) and
upright.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from CovidLungQuantLib.anatomy.morphology import bounding_box, close, dilate, erode
from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.progress import Poll, no_poll

Spacing = tuple[float, float, float]

ANGLE_STEP = 3
ANGLE_COUNT = 360 // ANGLE_STEP
# Angles from straight to the side of the lung, positive to the back: the costal surface. Further
# to the front comes the mediastinum, further to the back the spine, and on the left the aorta.
COSTAL_ANGLES = {RIGHT_LUNG_VALUE: (-50.0, 125.0), LEFT_LUNG_VALUE: (-50.0, 112.0)}
CENTRE_FROM_FRONT = 0.45
BONE_HU = 150.0
SHELL_SLICES_MM = 60.0
SHELL_ANGLE = 24.0
THINNEST_GAP_MM = 5.0
# Near the shell also holes up to twice this wide are lesion; deeper ones may be vessels or liver.
SHELL_DEPTH_MM = 35.0
LESION_CLOSING_MM = 12.0


def dense_costal_lung(
    hu: np.ndarray,
    lung: np.ndarray,
    side: int,
    middle_x: float,
    spacing_mm: Spacing,
    poll: Poll = no_poll,
) -> np.ndarray:
    """Dense lung between the aerated lung and the ribs, bool.

    Seen from the middle of one half of the chest, the outermost lung in each direction makes a map
    of radii, (slice, angle). Its convex hull in each slice, closed from slice to slice, is the
    inside of the rib cage. What lies between that shell and the lung further in is lesion or
    effusion. Directions without any lung hold liver, heart or spine and are left alone.

    Args:
        hu: Hounsfield units on the same grid.
        lung: one lung, bool, as far as it was found by its air.
        side: `LEFT_LUNG_VALUE` or `RIGHT_LUNG_VALUE`.
        middle_x: column of the body's midline.
        spacing_mm: voxel size (x, y, z).
        poll: called between the steps; may raise `Cancelled`.
    """
    angles, radius_mm = _polar_about_half_chest(lung, side, middle_x, spacing_mm)
    is_costal = _is_costal(angles, side)
    outer_mm = _outermost(lung, angles, radius_mm)
    poll()
    shell_mm = _shell(outer_mm, spacing_mm)
    slices = np.arange(lung.shape[0])[:, None, None]
    outer_here, shell_here = outer_mm[slices, angles], shell_mm[slices, angles]
    within = is_costal & (outer_here > 0) & (radius_mm <= shell_here) & (hu < BONE_HU)
    gaps = within & (radius_mm > outer_here) & ~lung
    poll()
    core = erode(gaps, THINNEST_GAP_MM / 2, spacing_mm)
    poll()
    found = dilate(core, THINNEST_GAP_MM / 2, spacing_mm) & gaps
    poll()
    near_shell = within & (radius_mm > shell_here - SHELL_DEPTH_MM)
    found |= close(lung | found, LESION_CLOSING_MM, spacing_mm, poll) & near_shell & ~lung
    return found


def _polar_about_half_chest(
    lung: np.ndarray, side: int, middle_x: float, spacing_mm: Spacing
) -> tuple[np.ndarray, np.ndarray]:
    """Angle index and radius in mm of every pixel (y, x) about the middle of one half of the chest.

    Index `ANGLE_COUNT / 2` is straight to the side, larger ones turn to the back; the seam looks
    at the mediastinum.
    """
    _, rows, columns = bounding_box(lung)
    centre_y = rows.start + CENTRE_FROM_FRONT * (rows.stop - rows.start)
    far_x = columns.stop if side == LEFT_LUNG_VALUE else columns.start
    centre_x = (middle_x + far_x) / 2
    y_mm = (np.arange(lung.shape[1])[:, None] - centre_y) * spacing_mm[1]
    x_mm = (np.arange(lung.shape[2])[None, :] - centre_x) * spacing_mm[0]
    outward_mm = x_mm if side == LEFT_LUNG_VALUE else -x_mm
    degrees = np.degrees(np.arctan2(y_mm, outward_mm))
    angles = np.rint((degrees + 180.0) / ANGLE_STEP).astype(int) % ANGLE_COUNT
    return angles, np.hypot(y_mm, outward_mm)


def _is_costal(angles: np.ndarray, side: int) -> np.ndarray:
    degrees = angles * ANGLE_STEP - 180.0
    front, back = COSTAL_ANGLES[side]
    return (degrees >= front) & (degrees <= back)


def _outermost(lung: np.ndarray, angles: np.ndarray, radius_mm: np.ndarray) -> np.ndarray:
    """Largest radius of the lung in each slice and direction; 0 where there is no lung."""
    outer_mm = np.zeros((lung.shape[0], ANGLE_COUNT), np.float32)
    slices, rows, columns = np.nonzero(lung)
    np.maximum.at(outer_mm, (slices, angles[rows, columns]), radius_mm[rows, columns])
    return outer_mm


def _shell(outer_mm: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Inside of the rib cage in each slice and direction, never inside `outer_mm`."""
    hull_mm = np.stack([_hull_radii(radii_mm) for radii_mm in outer_mm])
    slices = max(1, round(SHELL_SLICES_MM / 2 / spacing_mm[2]))
    turns = round(SHELL_ANGLE / 2 / ANGLE_STEP)
    # Beyond the scan nothing is known: zeros there keep the closing from widening the last slices.
    padded = np.pad(hull_mm, ((2 * slices, 2 * slices), (0, 0)))
    padded = np.pad(padded, ((0, 0), (2 * turns, 2 * turns)), mode="wrap")
    closed = ndimage.grey_closing(padded, size=(2 * slices + 1, 1))
    closed = np.maximum(closed, ndimage.grey_closing(padded, size=(1, 2 * turns + 1)))
    inner = closed[2 * slices : closed.shape[0] - 2 * slices, 2 * turns : -2 * turns]
    return np.maximum(inner, outer_mm)


def _hull_radii(radii_mm: np.ndarray) -> np.ndarray:
    """Radius of the convex hull of one slice's outermost points, in every direction."""
    used = np.flatnonzero(radii_mm)
    if used.size < 3:
        return radii_mm
    direction = np.radians(np.arange(ANGLE_COUNT) * ANGLE_STEP)
    unit = np.stack([np.cos(direction), np.sin(direction)], axis=1)
    try:
        equations = ConvexHull(unit[used] * radii_mm[used, None]).equations
    except QhullError:
        return radii_mm
    if (equations[:, 2] > 0).any():
        # The centre lies outside this small or crescent-shaped section; its hull says nothing.
        return radii_mm
    facing = unit @ equations[:, :2].T
    reach = np.where(facing > 1e-6, -equations[:, 2] / np.maximum(facing, 1e-6), np.inf)
    return reach.min(axis=1).astype(np.float32)
