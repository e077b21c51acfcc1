"""What the page shows before anything is read: every name that its template knows."""

from __future__ import annotations

from typing import Any

from CovidLungQuantLib.display.windows import (
    LUNG_WINDOW_LEVEL_HU,
    LUNG_WINDOW_WIDTH_HU,
    TISSUE_WINDOW_LEVEL_HU,
    TISSUE_WINDOW_WIDTH_HU,
    lung_window_text,
    tissue_window_text,
)
from CovidLungQuantLib.labels import BACKGROUND_VALUE, DISCLAIMER, GGO, HIGH_OPACITY, NORMAL_LUNG
from CovidLungQuantLib.lesions.probability import DECISION_CODE
from CovidLungQuantLib.measures.review import REASONS
from CovidLungQuantLib.viewer.showing import legend, tools

# As Slicer calls them, and so the scene.
SLICE_VIEWS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}
WINDOWS = {
    "Lung": (LUNG_WINDOW_LEVEL_HU, LUNG_WINDOW_WIDTH_HU, lung_window_text()),
    "Mediastinum": (TISSUE_WINDOW_LEVEL_HU, TISSUE_WINDOW_WIDTH_HU, tissue_window_text()),
}
LOOK = "look"
BRUSH_VALUES = {
    "ggo": GGO.value,
    "high-opacity": HIGH_OPACITY.value,
    "normal": NORMAL_LUNG.value,
    "background": BACKGROUND_VALUE,
}


def first_state(scan: str) -> dict[str, Any]:
    """What the page shows before anything is read; every name of the template is here."""
    return {
        "trame__title": "CovidLungQuant viewer",
        "trame__favicon": "data:,",
        "scan": scan,
        "presets": [{"name": name, "title": text} for name, (_, _, text) in WINDOWS.items()],
        "window_name": "Lung",
        "opacity": 100,
        "outline": False,
        "legend": legend(),
        "slice_texts": dict.fromkeys(SLICE_VIEWS, ""),
        "slice_number": 1,
        "slice_count": 1,
        "busy": "Opening",
        "progress_percent": 0,
        "ready": False,
        "table": [],
        "correction": "",
        "warnings": [],
        "tools": tools(),
        "tool": LOOK,
        "brush_mm": 12,
        "ball": False,
        "may_leave_lungs": False,
        "undoable": "",
        "redoable": "",
        "lesions": [],
        "lesions_fresh": False,
        "lesion_number": 0,
        "lesions_left": 0,
        "doubtful_first": False,
        "reasons": list(REASONS),
        "reason": REASONS[-1],
        "has_sensitivity": False,
        "margin_code": DECISION_CODE,
        "margin_text": "",
        "lesion_margin_code": DECISION_CODE,
        "lesion_margin_text": "",
        "reader": "",
        "unsaved": False,
        "message": "",
        "message_kind": "",
        "disclaimer": DISCLAIMER,
    }
