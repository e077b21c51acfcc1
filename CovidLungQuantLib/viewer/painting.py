"""Which voxels a stroke of a brush covers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from CovidLungQuantLib.ct import Geometry


@dataclass(frozen=True, eq=False)
class Stroke:
    """The way of a brush.

    Attributes:
        points_mm: (n, 3), where its middle was, in LPS millimetres.
        radius_mm: of the brush.
        normal: unit vector (LPS) that stands on the slice it was drawn in: the brush is a disc in
            that slice; None makes it a ball.
    """

    points_mm: np.ndarray
    radius_mm: float
    normal: np.ndarray | None = None


def voxels_of_stroke(stroke: Stroke, geometry: Geometry) -> np.ndarray:
    """Return the flat indices of the voxels whose middle a stroke covers, rising, each once."""
    to_mm = geometry.ijk_to_lps
    to_index = np.linalg.inv(to_mm)
    points = np.asarray(stroke.points_mm, float) @ to_index[:3, :3].T + to_index[:3, 3]
    half_depth_mm = None
    reach_mm = stroke.radius_mm
    if stroke.normal is not None:
        half_depth_mm = float(np.abs(stroke.normal @ to_mm[:3, :3]).max()) / 2.0
        reach_mm = float(np.hypot(stroke.radius_mm, half_depth_mm))
    # How far along each index (x, y, z) the brush can reach, whatever way the axes lie.
    reach = reach_mm * np.linalg.norm(to_index[:3, :3], axis=1)
    size_xyz = np.array(geometry.shape[::-1])
    found = [np.zeros(0, np.intp)]
    for point in points:
        first = np.maximum(np.ceil(point - reach), 0).astype(int)
        last = np.minimum(np.floor(point + reach), size_xyz - 1).astype(int)
        if (first > last).any():
            continue
        found.append(
            _covered(point, first, last, to_mm[:3, :3], stroke, half_depth_mm, geometry.shape)
        )
    return np.unique(np.concatenate(found))


def _covered(
    point: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
    index_to_mm: np.ndarray,
    stroke: Stroke,
    half_depth_mm: float | None,
    shape: tuple[int, int, int],
) -> np.ndarray:
    """Flat indices of the voxels first…last (x, y, z) that the brush covers at one point."""
    x, y, z = np.meshgrid(
        *(np.arange(low, high + 1) for low, high in zip(first, last, strict=True)), indexing="ij"
    )
    index = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    offset_mm = (index - point) @ index_to_mm.T
    squared = (offset_mm**2).sum(axis=1)
    if stroke.normal is None or half_depth_mm is None:
        covered = squared <= stroke.radius_mm**2
    else:
        depth = offset_mm @ stroke.normal
        # Half open, so that a slice between two voxels still belongs to one of them.
        tolerance = 1e-6 * half_depth_mm
        in_slice = (depth > tolerance - half_depth_mm) & (depth <= tolerance + half_depth_mm)
        covered = in_slice & (squared - depth**2 <= stroke.radius_mm**2)
    x, y, z = index[covered].T
    return np.ravel_multi_index((z, y, x), shape)
