"""What a label map must be before anything is measured on it."""

from __future__ import annotations

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import BACKGROUND_VALUE, CLASS_COUNT, UNCLASSIFIED_LESION_VALUE


def check_labels(labels: np.ndarray, shape: tuple[int, int, int]) -> None:
    """Refuse a label map that cannot be measured on a scan of array shape `shape` (z, y, x).

    Raises:
        BadInputError: another shape, values that are not whole numbers, or values other than 0…3.
    """
    if labels.shape != tuple(shape):
        raise BadInputError(
            f"The segmentation has {_size(labels.shape)} voxels but the scan has {_size(shape)}; "
            "give the segmentation that belongs to this scan."
        )
    if labels.dtype.kind not in "biu":
        raise BadInputError(
            f"The segmentation holds {labels.dtype} values; save it as a label map of whole "
            "numbers (0 background, 1 normal lung, 2 GGO, 3 high opacity)."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest >= BACKGROUND_VALUE and highest < CLASS_COUNT:
        return
    # Only looked for once the map is known to be refused: np.unique is slow on a whole scan.
    unknown = sorted({int(v) for v in np.unique(labels)} - set(range(CLASS_COUNT)))
    if unknown == [UNCLASSIFIED_LESION_VALUE]:
        raise BadInputError(
            f"The segmentation holds lesion of no stated class (value {UNCLASSIFIED_LESION_VALUE})"
            "; relabel it as GGO (2) or high opacity (3) before measuring."
        )
    listed = ", ".join(map(str, unknown[:5])) + (", …" if len(unknown) > 5 else "")
    raise BadInputError(
        f"The segmentation holds values that are no label ({listed}); allowed are 0 background, "
        "1 normal lung, 2 GGO and 3 high opacity."
    )


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(str(length) for length in reversed(shape))
