"""What lies outside the round field of view of a scanner: paint, not measured."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def connected_to_edge(mask: np.ndarray) -> np.ndarray:
    """Return the parts of a slice's mask (y, x) that touch an edge of the slice."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    at_edge = np.zeros(count + 1, dtype=bool)
    for line in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        at_edge[line] = True
    at_edge[0] = False
    return at_edge[labels]
