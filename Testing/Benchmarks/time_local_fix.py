"""Time deciding anew around one click on a scan of 512×512 at 0.7 mm, with 1 and 5 mm slices.

    python Testing/Benchmarks/time_local_fix.py

Prints seconds, the best of three clicks, for lesion that was missed and for a vessel.
"""

from __future__ import annotations

import time

import numpy as np
from time_parts import REPEATS

from CovidLungQuantLib.labels import GGO, NORMAL_LUNG
from CovidLungQuantLib.lesions.local_fix import fix_locally

HEIGHT_MM, STEP_MM = 300.0, 0.7
LUNG_HU, LESION_HU, VESSEL_HU, NOISE_HU = -850, -550, 30, 40


def main() -> None:
    """Click a ball of lesion in lung that is not labelled, then a labelled vessel."""
    for slice_mm in (1.0, 5.0):
        shape = (int(HEIGHT_MM / slice_mm), 512, 512)
        spacing_mm = (STEP_MM, STEP_MM, slice_mm)
        z, y, x = (size // 2 for size in shape)
        noise = np.random.default_rng(0).normal(LUNG_HU, NOISE_HU, shape)
        hu = noise.astype(np.int16)
        steps = np.ogrid[tuple(slice(-size // 2, size - size // 2) for size in shape)]
        ball = sum((step * mm) ** 2 for step, mm in zip(steps, spacing_mm[::-1], strict=True))
        hu[ball <= 15.0**2] += LESION_HU - LUNG_HU
        vessel = (slice(z, z + 1), slice(y + 60, y + 65), slice(x - 60, x + 60))
        hu[vessel] += VESSEL_HU - LUNG_HU
        labels = np.full(shape, NORMAL_LUNG.value, np.uint8)
        labels[vessel] = GGO.value
        probability = np.where(labels == GGO.value, 120, 5).astype(np.uint8)
        for what, place, is_missed in (
            ("missed lesion", (z, y, x), True),
            ("vessel", (z, y + 62, x), False),
        ):
            marks = [np.zeros(shape, bool), np.zeros(shape, bool)]
            marks[0 if is_missed else 1][place] = True
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                fix = fix_locally(labels, probability, hu, labels, spacing_mm, *marks)
                seconds.append(time.perf_counter() - start)
            changed_ml = fix.changed.sum() * np.prod(spacing_mm) / 1000.0
            print(f"{slice_mm:g} mm, {what:14s} {changed_ml:6.1f} mL changed {min(seconds):6.2f}")


if __name__ == "__main__":
    main()
