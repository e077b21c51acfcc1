"""The display window in which lungs are read and annotated (Grodecki et al. 2021)."""

from __future__ import annotations

LUNG_WINDOW_LEVEL_HU = -400
LUNG_WINDOW_WIDTH_HU = 1500
