"""Severity scores of lobes and lung regions, from their lesion extent in per cent.

- Lobe CT score, 0–25: five lobes of 0–5 (Pan F. et al., Radiology 2020).
- CT severity score (CT-SS), 0–40: 20 regions of 0–2 (Yang R. et al., Radiol Cardiothorac Imaging
  2020).
- Total severity score, 0–20: five lobes of 0–4 (Bernheim et al., Radiology 2020).

Their bins are in `score_bins`.

A lobe or region counts as involved, and scores, only if its lesion is larger than a stated volume,
so that a few stray voxels do not score. One without lung in the scan has no score (None), and then
neither has the sum: unknown is never zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from CovidLungQuantLib.labels import LOBES, LUNG_SEGMENTS
from CovidLungQuantLib.measures.score_bins import (
    CT_SCORE,
    CT_SEVERITY_SCORE,
    SEVERE_CT_SEVERITY_SCORE,
    TOTAL_SEVERITY_SCORE,
    Scale,
    score_notes,
)
from CovidLungQuantLib.measures.volumes import RegionMeasurement

# The volume of a ball of 12 mm; smaller finds are as likely vessels or dependent density.
DEFAULT_MINIMUM_LESION_ML = 1.0

HIGHEST_CT_SCORE = CT_SCORE.highest
HIGHEST_TOTAL_SEVERITY_SCORE = TOTAL_SEVERITY_SCORE.highest
HIGHEST_CT_SEVERITY_SCORE = CT_SEVERITY_SCORE.highest


@dataclass(frozen=True)
class LobeSeverity:
    """Scores of one lobe; None where the lobe holds no lung.

    `region` is the name of its row in the table.
    """

    region: str
    involved: bool | None
    ct_score: int | None
    total_severity_score: int | None


@dataclass(frozen=True)
class RegionSeverity:
    """Score of one of the 20 regions; None where it holds no lung."""

    region: str
    ct_severity_score: int | None


@dataclass(frozen=True)
class Severity:
    """Scores by lobe and by region, and their sums; a sum with an unknown part is None."""

    lobes: tuple[LobeSeverity, ...]
    regions: tuple[RegionSeverity, ...]
    minimum_lesion_ml: float

    @property
    def ct_score(self) -> int | None:
        """Lobe CT score, 0–25."""
        return _sum(lobe.ct_score for lobe in self.lobes)

    @property
    def involved_lobes(self) -> int | None:
        """Number of lobes with lesion."""
        return _sum(lobe.involved for lobe in self.lobes)

    @property
    def total_severity_score(self) -> int | None:
        """Total severity score, 0–20."""
        return _sum(lobe.total_severity_score for lobe in self.lobes)

    @property
    def ct_severity_score(self) -> int | None:
        """CT severity score (CT-SS), 0–40."""
        return _sum(region.ct_severity_score for region in self.regions)

    @property
    def is_severe(self) -> bool | None:
        """Whether the CT-SS lies above its mark, `SEVERE_CT_SEVERITY_SCORE`."""
        score = self.ct_severity_score
        return None if score is None else score > SEVERE_CT_SEVERITY_SCORE


def score_severity(
    lobes: Sequence[RegionMeasurement],
    regions: Sequence[RegionMeasurement],
    minimum_lesion_ml: float = DEFAULT_MINIMUM_LESION_ML,
) -> Severity:
    """Score the five lobes and the 20 regions.

    Args:
        lobes: rows of the table, in the order of `labels.LOBES`.
        regions: rows of the table, in the order of `labels.LUNG_SEGMENTS`.
        minimum_lesion_ml: lesion up to this volume counts as none.
    """
    if (len(lobes), len(regions)) != (len(LOBES), len(LUNG_SEGMENTS)):
        raise ValueError("severity needs all lobes and all regions")

    def scored(row: RegionMeasurement, scale: Scale) -> int | None:
        if math.isnan(row.lesion_percent):
            return None
        return scale.score(row.lesion_percent if row.lesion_ml > minimum_lesion_ml else 0.0)

    return Severity(
        lobes=tuple(
            LobeSeverity(
                region=row.region,
                involved=None
                if math.isnan(row.lesion_percent)
                else row.lesion_ml > minimum_lesion_ml,
                ct_score=scored(row, CT_SCORE),
                total_severity_score=scored(row, TOTAL_SEVERITY_SCORE),
            )
            for row in lobes
        ),
        regions=tuple(
            RegionSeverity(row.region, scored(row, CT_SEVERITY_SCORE)) for row in regions
        ),
        minimum_lesion_ml=minimum_lesion_ml,
    )


def severity_notes(minimum_lesion_ml: float) -> tuple[str, ...]:
    """Return the notes under a table with scores: what each score is, with its bins."""
    return (
        *score_notes(),
        "A lobe or region counts as involved, and scores, if its lesion is larger than "
        f"{minimum_lesion_ml:g} mL. Where a lobe or region is missing, the score is unknown and "
        "left empty.",
        "The 20 regions are an approximation: each lobe is cut by planes across stated anatomic "
        "directions into parts whose volumes are to each other as the numbers of their "
        "subsegments; bronchi are not followed.",
    )


def _sum(parts: Iterable[int | None]) -> int | None:
    total = 0
    for part in parts:
        if part is None:
            return None
        total += part
    return total
