"""A random walker with priors on a small grid (Grady 2005): a field smoothed within its edges.

The field x minimises Σ w (x_i − x_j)² + Σ (x_i − prior_i)² / length², with w = 1 / step² where the
image is even and less across its edges. Solved by conjugate gradients; deterministic.
"""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.anatomy.morphology import Spacing

# Relative to the prior; the field is cut at 0.5.
_TOLERANCE = 1e-3
_MOST_STEPS = 300


def random_walk(
    prior: np.ndarray,
    inside: np.ndarray,
    fixed: np.ndarray,
    image: np.ndarray,
    edge: float,
    length_mm: float,
    spacing_mm: Spacing,
) -> np.ndarray:
    """Return the smoothed field, float64 (z, y, x), 0 outside.

    Args:
        prior: what the field would be without neighbours, 0…1.
        inside: bool, where there is a field; nothing passes elsewhere.
        fixed: bool, where the field is the prior.
        image: whose edges hinder.
        edge: the difference of `image` between neighbours that lets 1/e pass.
        length_mm: how far a voxel makes itself felt where the image is even.
        spacing_mm: (x, y, z).
    """
    system = _System(inside, fixed, image, edge, length_mm, spacing_mm)
    field = np.where(inside, prior, 0.0).astype(np.float64)
    # Conjugate gradients with the diagonal as preconditioner.
    residual = (system.pull * field - system.times(field)) * system.free
    target = _TOLERANCE * np.linalg.norm(system.pull * field)
    step = residual / system.diagonal
    product = float(np.vdot(residual, step))
    for _ in range(_MOST_STEPS):
        if np.linalg.norm(residual) <= target:
            break
        image_of_step = system.times(step) * system.free
        size = product / float(np.vdot(step, image_of_step))
        field += size * step
        residual -= size * image_of_step
        scaled = residual / system.diagonal
        before, product = product, float(np.vdot(residual, scaled))
        step = scaled + (product / before) * step
    return field


class _System:
    """The equations: ties between neighbours, and the pull of each voxel towards its prior."""

    def __init__(
        self,
        inside: np.ndarray,
        fixed: np.ndarray,
        image: np.ndarray,
        edge: float,
        length_mm: float,
        spacing_mm: Spacing,
    ) -> None:
        self.free = inside & ~fixed
        self.pull = np.where(inside, length_mm**-2, 0.0)
        self.diagonal = np.where(inside, self.pull, 1.0)
        self._ties = []
        for axis, step_mm in enumerate(reversed(spacing_mm)):
            lower, upper = _neighbours(axis)
            passes = np.exp(-np.abs(image[lower] - image[upper]) / edge) / step_mm**2
            tie = np.where(inside[lower] & inside[upper], passes, 0.0)
            self.diagonal[lower] += tie
            self.diagonal[upper] += tie
            self._ties.append((lower, upper, tie))

    def times(self, field: np.ndarray) -> np.ndarray:
        """The left side of the equations for a field."""
        result = self.pull * field
        for lower, upper, tie in self._ties:
            flow = tie * (field[lower] - field[upper])
            result[lower] += flow
            result[upper] -= flow
        return result


def _neighbours(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices that pair each voxel with the next along an axis of three."""
    lower, upper = [slice(None)] * 3, [slice(None)] * 3
    lower[axis], upper[axis] = slice(None, -1), slice(1, None)
    return tuple(lower), tuple(upper)
