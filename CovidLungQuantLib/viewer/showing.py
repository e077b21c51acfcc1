"""What the page says of a session, in texts: the table, the correction, the lesions."""

from __future__ import annotations

import math
from typing import Any

from CovidLungQuantLib.display.colors import css_color
from CovidLungQuantLib.display.numbers import DASH, decimal_text, percent_text, volume_text
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LOBES, NORMAL_LUNG
from CovidLungQuantLib.lesions.probability import DECISION_CODE, share_of_code
from CovidLungQuantLib.measures.review import OPEN, REJECTED, ReviewedLesion
from CovidLungQuantLib.measures.structures import LESION
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.viewer.session import Session

LUNG_NAMES = ("Both lungs", "Right", "Left")


def table_of(session: Session) -> list[dict[str, Any]]:
    """Return a row for each lung and lobe, as texts."""
    measurements = session.measurements
    lungs = [_row(name, row) for name, row in zip(LUNG_NAMES, measurements.lungs, strict=True)]
    lobes = [
        _row(lobe.short_name, row) for lobe, row in zip(LOBES, measurements.lobes, strict=False)
    ]
    return lungs + lobes


def _row(name: str, row: RegionMeasurement) -> dict[str, Any]:
    return {
        "name": name,
        "normal": volume_text(row.normal_ml),
        "ggo": volume_text(row.ggo_ml),
        "high_opacity": volume_text(row.high_opacity_ml),
        "ggo_percent": percent_text(row.ggo_percent),
        "high_opacity_percent": percent_text(row.high_opacity_percent),
        "extent": percent_text(row.lesion_percent),
    }


def correction_text(session: Session) -> str:
    """Return what was changed of the machine's labels, in one line."""
    if not session.changed_voxels:
        return "Nothing changed"
    text = f"{session.changed_voxels:,} voxels changed".replace(",", "\u202f")
    correction = session.correction
    if correction is None:
        return text
    lesion = next(row for row in correction.structures if row.structure == LESION)
    return (
        f"{text} ({volume_text(correction.changed_ml)} mL); lesion "
        f"{volume_text(lesion.machine_ml)} → {volume_text(lesion.corrected_ml)} mL"
    )


def legend() -> list[dict[str, Any]]:
    """Return name and colour of each label, as drawn."""
    return [
        {
            "name": label.name,
            "color": css_color(label.color),
        }
        for label in (NORMAL_LUNG, GGO, HIGH_OPACITY)
    ]


def tools() -> list[dict[str, str]]:
    """Return what the left button may do: name, text, title and colour of each."""
    return [
        {"name": "look", "text": "Look", "title": "Look only", "color": ""},
        *(
            {
                "name": name,
                "text": text,
                "title": f"Paint {label.name}",
                "color": css_color(label.color),
            }
            for name, text, label in (
                ("ggo", "GGO", GGO),
                ("high-opacity", "High opacity", HIGH_OPACITY),
            )
        ),
        {"name": "normal", "text": "Erase", "title": "Make lesion normal lung", "color": ""},
        {"name": "background", "text": "No lung", "title": "Take lung away", "color": ""},
    ]


def lesion_rows(session: Session, doubtful_first: bool = False) -> list[dict[str, Any]]:
    """Return a row for each lesion, as texts; largest first, or those most likely none."""
    lesions = session.lesions
    if doubtful_first:
        lesions = tuple(sorted(lesions, key=lambda lesion: -lesion.island.doubt))
    return [_lesion_row(lesion) for lesion in lesions]


def _lesion_row(lesion: ReviewedLesion) -> dict[str, Any]:
    island = lesion.island
    has_confidence = not math.isnan(island.confidence)
    return {
        "number": island.index,
        "lobe": DASH if island.lobe is None else island.lobe.short_name,
        "volume": f"{volume_text(island.volume_ml)} mL",
        "kind": island.kind.name,
        "color": css_color(island.kind.color),
        "hu": f"{decimal_text(island.mean_hu)} HU",
        "confidence": f"{100.0 * island.confidence:.0f} %" if has_confidence else DASH,
        "state": _state_text(lesion),
        "decision": lesion.state,
        "decided": lesion.is_decided,
    }


def _state_text(lesion: ReviewedLesion) -> str:
    if lesion.state == OPEN:
        return "kind changed" if lesion.kind_changed else ""
    if lesion.state == REJECTED:
        return lesion.reason or ""
    return lesion.state


def sensitivity_text(margin_code: int) -> str:
    """Return what a code means, beside its slider."""
    if margin_code == DECISION_CODE:
        return "default"
    text = f"lesion above {100.0 * share_of_code(margin_code):.0f} %"
    return f"{text} ({'more' if margin_code < DECISION_CODE else 'less'})"
