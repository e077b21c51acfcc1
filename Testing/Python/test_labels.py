"""What of a label map is lung, what lesion."""

from __future__ import annotations

import numpy as np
import pytest

from CovidLungQuantLib.labels import (
    LABELS,
    LESION_LABELS,
    UNCLASSIFIED_LESION_VALUE,
    has_stated_class,
    is_lesion,
    is_lung,
)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_lung_lesion_and_lesion_of_a_stated_class(dtype: type) -> None:
    labels = np.arange(UNCLASSIFIED_LESION_VALUE + 1, dtype=dtype).reshape(1, 1, -1)
    found = [test(labels) for test in (is_lung, is_lesion, has_stated_class)]
    assert all(mask.dtype == bool and mask.shape == labels.shape for mask in found)
    lung, lesion, stated = (set(labels[mask].tolist()) for mask in found)
    assert lung == {*(label.value for label in LABELS), UNCLASSIFIED_LESION_VALUE}
    assert stated == {label.value for label in LESION_LABELS}
    assert lesion == {*stated, UNCLASSIFIED_LESION_VALUE}
