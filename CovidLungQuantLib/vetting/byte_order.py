"""A byte order that its header has wrong."""

from __future__ import annotations

import numpy as np

# Neighbouring voxels differ by little. With exchanged bytes they differ by thousands.
TIMES_SMOOTHER = 8.0
MOST_PLANES = 4


def looks_byte_swapped(voxels: np.ndarray) -> bool:
    """Tell whether whole numbers would be far smoother with their bytes exchanged.

    Args:
        voxels: (z, y, x) or more axes; types other than whole numbers of 16 and 32 bits pass.
    """
    if voxels.dtype.kind not in "iu" or voxels.dtype.itemsize not in (2, 4) or voxels.ndim < 2:
        return False
    step = max(voxels.shape[0] // MOST_PLANES, 1)
    planes = voxels[::step]
    return _roughness(planes) > TIMES_SMOOTHER * _roughness(planes.byteswap())


def _roughness(planes: np.ndarray) -> float:
    differences = np.diff(planes.astype(np.float64), axis=1)
    return float(np.abs(differences).mean()) if differences.size else 0.0
