"""What pages and scripts tell of a result in words: what made it, how it compares, its notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from CovidLungQuantLib.display.numbers import DASH, decimal_text
from CovidLungQuantLib.lesions.kinds import KIND_CHOICES
from CovidLungQuantLib.lesions.probability import LESION_MARGIN
from CovidLungQuantLib.measures.distribution import (
    NormalComparison,
    comparison_notes,
    shipped_reference,
)
from CovidLungQuantLib.measures.measurements import Measurements
from CovidLungQuantLib.measures.review import review_sentence
from CovidLungQuantLib.measures.severity import severity_notes
from CovidLungQuantLib.versions import software_versions

if TYPE_CHECKING:
    from CovidLungQuantLib.quantification import Provenance, Quantification


def warning_messages(quantification: Quantification) -> list[str]:
    """Return what the user should know before using the numbers, each once."""
    return list(dict.fromkeys(warning.message for warning in quantification.warnings))


def general_notes(measurements: Measurements) -> list[str]:
    """Return the notes that belong to no section of their own."""
    elsewhere = set(comparison_notes(shipped_reference()))
    if measurements.severity is not None:
        elsewhere |= set(severity_notes(measurements.severity.minimum_lesion_ml))
    return [note for note in measurements.notes if note not in elsewhere]


def comparison_facts(comparison: NormalComparison) -> list[tuple[str, str]]:
    """Return how the lungs differ from normal ones as (name, number)."""
    return [
        (
            "Hellinger distance from normal lungs",
            decimal_text(comparison.hellinger_distance, 2),
        ),
        (
            "Overlap with normal lungs (IoU)",
            decimal_text(comparison.intersection_over_union, 2),
        ),
        ("Relative density of lesions", decimal_text(comparison.lesion_relative_density, 1)),
    ]


def provenance_facts(quantification: Quantification) -> list[tuple[str, str]]:
    """Return what was measured, and what made the result, as (name, text)."""
    facts = [("Scan", _scan_text(quantification))]
    provenance = quantification.provenance
    if provenance is not None:
        if provenance.model_name is None:
            facts.append(("Segmentation", "given by the user; only measured here"))
        else:
            facts += _model_facts(provenance)
        if provenance.review:
            facts.append(("Reader", review_sentence(provenance.review)))
        if quantification.lobes is not None:
            facts.append(("Lobes", _lobes_text(provenance)))
        seconds = (f"{name} {value:.1f} s" for name, value in provenance.timings_s.items())
        facts.append(("Time", ", ".join(seconds)))
    return [*facts, ("Versions", versions_text())]


def versions_text() -> str:
    """Return the versions of the software and of what it builds on."""
    return ", ".join(f"{name} {version}" for name, version in software_versions().items())


def _scan_text(quantification: Quantification) -> str:
    geometry = quantification.ct.geometry
    size = " × ".join(str(length) for length in reversed(geometry.shape))
    spacing = " × ".join(f"{value:.4g}" for value in geometry.spacing_mm)
    return f"{quantification.ct.name}: {size} voxels of {spacing} mm"


def _model_facts(provenance: Provenance) -> list[tuple[str, str]]:
    kinds = KIND_CHOICES.get(str(provenance.options.get("kinds") or ""), DASH)
    facts = [
        ("Model", provenance.model_name or DASH),
        ("Model SHA-256", provenance.model_sha256 or DASH),
        ("Lungs", _lungs_text(provenance)),
        ("GGO and high opacity", f"told apart {kinds}"),
        ("Device", provenance.device or DASH),
    ]
    if provenance.lesion_margin is not None:
        facts.append(("Sensitivity", sensitivity_text(provenance.lesion_margin)))
    if provenance.changed_voxels or provenance.corrected_by:
        by = f"by {provenance.corrected_by}, " if provenance.corrected_by else ""
        facts.append(("Corrected by hand", f"{by}{provenance.changed_voxels} voxels changed"))
    return facts


def sensitivity_text(margin: float) -> str:
    """Return at what margin a voxel is lesion, and whether that is the default."""
    default = margin == LESION_MARGIN
    return (
        f"lesion where it is more than {margin:.2g} times as probable as background or normal lung"
        f"{'' if default else f'; changed by the user, the default is {LESION_MARGIN:g}'}"
    )


def _lungs_text(provenance: Provenance) -> str:
    if provenance.lung_model_name is None:
        return "by their air"
    return (
        f"by their air, joined with what the model {provenance.lung_model_name} sees, "
        f"SHA-256 {provenance.lung_model_sha256}"
    )


def _lobes_text(provenance: Provenance) -> str:
    if provenance.lobe_model_name is None:
        return "given by the user, cut to the lungs and filled up"
    return (
        f"by the shape of the lungs and visible fissures; model {provenance.lobe_model_name}, "
        f"SHA-256 {provenance.lobe_model_sha256}"
    )
