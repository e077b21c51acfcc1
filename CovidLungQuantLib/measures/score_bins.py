"""The bins of the severity scores: the one place to change one.

From them come the scores, the notes under a table, the edges in the report's chart, and the
sentences in the panel and the tutorial.
"""

from __future__ import annotations

from dataclasses import dataclass

from CovidLungQuantLib.labels import LOBES, LUNG_SEGMENTS


@dataclass(frozen=True)
class Edge:
    """Lesion extent at which one more point is given; `counts` if already exactly at it."""

    percent: float
    counts: bool


@dataclass(frozen=True)
class Scale:
    """Points of a part of the lungs by its lesion extent, and their sum.

    No lesion is 0 points, any lesion 1, and each edge passed one more.

    Attributes:
        name: of the sum.
        source: who published it.
        part: what is scored, "lobe" or "region".
        parts: how many there are.
        edges: rising.
    """

    name: str
    source: str
    part: str
    parts: int
    edges: tuple[Edge, ...]

    @property
    def highest_of_part(self) -> int:
        """Highest score of one part."""
        return 1 + len(self.edges)

    @property
    def highest(self) -> int:
        """Highest sum."""
        return self.parts * self.highest_of_part

    def score(self, extent_percent: float) -> int:
        """Return the score of a part with this lesion extent.

        Raises:
            ValueError: the extent is no percentage.
        """
        if not 0.0 <= extent_percent <= 100.0:
            raise ValueError(f"{extent_percent} is no extent in per cent")
        passed = [
            extent_percent >= edge.percent if edge.counts else extent_percent > edge.percent
            for edge in (Edge(0.0, counts=False), *self.edges)
        ]
        return sum(passed)

    @property
    def bin_texts(self) -> tuple[str, ...]:
        """The extents of each score in words, from "none" on; a bin goes on from the one before."""
        pairs = zip((None, *self.edges), (*self.edges, None), strict=True)
        return ("none", *(_bin_text(lower, upper) for lower, upper in pairs))

    @property
    def bins_text(self) -> str:
        """The bins in one line: "0 none; 1 under 5 %; …"."""
        return "; ".join(f"{score} {text}" for score, text in enumerate(self.bin_texts))


def _bin_text(lower: Edge | None, upper: Edge | None) -> str:
    if upper is None:
        if lower is None:
            return "any"
        return f"{'from' if lower.counts else 'above'} {lower.percent:g} %"
    if lower is not None and lower.counts:
        to = "and under" if upper.counts else "to"
        return f"from {lower.percent:g} {to} {upper.percent:g} %"
    if not upper.counts:
        return f"up to {upper.percent:g} %"
    above = "" if lower is None else f"above {lower.percent:g} and "
    return f"{above}under {upper.percent:g} %"


# Pan F. et al., Radiology 2020. The published bins (none, under 5 %, 5–25 %, 26–49 %, 50–75 %, over
# 75 %) leave gaps.
CT_SCORE = Scale(
    name="Lobe CT score",
    source="Pan F. 2020",
    part="lobe",
    parts=len(LOBES),
    edges=(
        Edge(5.0, counts=True),
        Edge(25.0, counts=False),
        Edge(50.0, counts=True),
        Edge(75.0, counts=False),
    ),
)
# Yang R. et al., Radiol Cardiothorac Imaging 2020.
CT_SEVERITY_SCORE = Scale(
    name="CT severity score (CT-SS)",
    source="Yang 2020",
    part="region",
    parts=len(LUNG_SEGMENTS),
    edges=(Edge(50.0, counts=True),),
)
SEVERE_CT_SEVERITY_SCORE = 19.5
# Bernheim et al., Radiology 2020: none, 1–25 %, 26–50 %, 51–75 %, 76–100 %.
TOTAL_SEVERITY_SCORE = Scale(
    name="Total severity score",
    source="Bernheim 2020",
    part="lobe",
    parts=len(LOBES),
    edges=(Edge(25.0, counts=False), Edge(50.0, counts=False), Edge(75.0, counts=False)),
)

# Edges of the lobe CT score's bins, for a chart of lobes.
CT_SCORE_EDGES_PERCENT = tuple(edge.percent for edge in CT_SCORE.edges)


def ct_score_tip() -> str:
    """What the panel says of a lobe's CT score."""
    return (
        f"CT score of the lobe, 0 to {CT_SCORE.highest_of_part}: {', '.join(CT_SCORE.bin_texts)}."
    )


def score_sums_tip() -> str:
    """What the panel says of the three sums."""
    return (
        f"Lobe CT score (sum of the five lobes, 0 to {CT_SCORE.highest}), total severity score "
        f"(0 to {TOTAL_SEVERITY_SCORE.highest}) and CT severity score of {CT_SEVERITY_SCORE.parts} "
        f"regions (CT-SS, 0 to {CT_SEVERITY_SCORE.highest}; severe above "
        f"{SEVERE_CT_SEVERITY_SCORE:g})."
    )


def ct_score_table() -> str:
    """The bins of the lobe CT score as the tutorial's table, in Markdown."""
    head = " | ".join(("lesion in the lobe", *CT_SCORE.bin_texts))
    rule = "|".join(["---"] * (CT_SCORE.highest_of_part + 2))
    scores = " | ".join(("score", *map(str, range(CT_SCORE.highest_of_part + 1))))
    return f"| {head} |\n|{rule}|\n| {scores} |"


def score_notes() -> tuple[str, str, str]:
    """What each score is, with its bins; a sentence each."""
    ct, ss, total = CT_SCORE, CT_SEVERITY_SCORE, TOTAL_SEVERITY_SCORE
    return (
        f"{ct.name}, 0–{ct.highest} ({ct.source}): each {ct.part} by lesion extent p: "
        f"{ct.bins_text}.",
        f"{ss.name}, 0–{ss.highest} ({ss.source}): each of {ss.parts} {ss.part}s {ss.bins_text}; "
        f"severe above {SEVERE_CT_SEVERITY_SCORE} (published sensitivity 83.3 %, specificity "
        "94 %).",
        f"{total.name}, 0–{total.highest} ({total.source}): each {total.part} {total.bins_text}.",
    )
