"""Every figure of the table: one row each, from which all that shows or writes it is fed.

To add a figure of a region that follows from what is measured already, add its row to
`REGION_COLUMNS` below, with `derived` saying how. One that has to be measured also needs a field of
that name in `volumes.RegionMeasurement`, with `math.nan` as its default so that results of earlier
versions can still be read, and its computation in `volumes.measure_region`.

CSV, JSON, MRML table, clipboard, change table, DICOM report, printed text, report page and panel
follow: the row says which of them show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from CovidLungQuantLib.labels import NORMAL_LUNG, Code
from CovidLungQuantLib.measures.structures import (
    ALL_LESION,
    ALL_LUNG,
    DENSE,
    GROUND_GLASS,
    LESION_FIRST,
    LUNG_FIRST,
    NORMAL,
    Structure,
)

PERCENTAGE_POINTS = "percentage points"

# What has no code in the standard is coded privately, as DICOM provides for ("99…").
PRIVATE_SCHEME = "99CLQ"


@dataclass(frozen=True)
class Unit:
    """What a number is counted in.

    Attributes:
        text: as a reader sees it; empty for a plain number.
        suffix: what the name of a column in this unit ends in.
        change_text: unit of the difference of two such numbers.
        printed_decimals: on the command line.
        code: in UCUM, for DICOM; None where nothing in this unit goes there.
    """

    text: str
    suffix: str
    change_text: str
    printed_decimals: int
    code: Code | None = None


ML = Unit("mL", "_ml", "mL", 1, Code("UCUM", "mL", "milliliter"))
PERCENT = Unit("%", "_percent", PERCENTAGE_POINTS, 2, Code("UCUM", "%", "percent"))
HU = Unit("HU", "_hu", "HU", 0, Code("UCUM", "[hnsf'U]", "Hounsfield unit"))
NO_UNIT = Unit("", "", "", 0)


@dataclass(frozen=True)
class DicomMeasure:
    """What a number is in a DICOM measurement report; `derivation` as in "mean of"."""

    concept: Code
    derivation: Code | None = None


VOLUME = DicomMeasure(Code("SCT", "118565006", "Volume"))
EXTENT = DicomMeasure(
    Code(PRIVATE_SCHEME, "EXTENT", "Extent, share of the lung volume of the region")
)
MEAN_ATTENUATION = DicomMeasure(
    Code("DCM", "112031", "Attenuation Coefficient"), Code("SCT", "373098007", "Mean")
)


class Place(Enum):
    """Where chosen figures are shown; files hold all of them."""

    PANEL = auto()
    PANEL_LOBES = auto()
    PANEL_CHANGES = auto()
    PRINTED = auto()
    PRINTED_CHANGES = auto()
    REPORT = auto()
    REPORT_SEVERITY = auto()
    CHANGE_PAGE = auto()


# Where the figures of a structure stand together; elsewhere they stand as in the table.
ORDER_IN: dict[Place, tuple[Structure, ...]] = {
    Place.PANEL_CHANGES: LESION_FIRST,
    Place.PRINTED: LUNG_FIRST,
    Place.REPORT: LUNG_FIRST,
    Place.CHANGE_PAGE: LESION_FIRST,
}


@dataclass(frozen=True)
class Column:
    """One figure.

    Attributes:
        key: name of its column in files, with its unit; field of `RegionMeasurement`.
        heading: short title, without the unit.
        unit: what it is counted in.
        structure: what it is of; None for what is of the whole region.
        decimals: in the panel.
        shown_in: where it is shown; files hold all.
        followed: whether its change over time is computed.
        dicom: what it is in the DICOM report; None if it is not there.
        sd_of: key of the mean whose standard deviation this is.
        name: full title without the unit; empty if it is the heading.
        panel_title: title in the panel; empty if it is the name.
        tip: a sentence on what it is.
        in_files: False for what follows from other columns and stands only in the DICOM report.
        derived: how it follows from a region's other figures; None where it is a field of its own.
    """

    key: str
    heading: str
    unit: Unit
    structure: Structure | None = None
    decimals: int = 0
    shown_in: tuple[Place, ...] = ()
    followed: bool = False
    dicom: DicomMeasure | None = None
    sd_of: str = ""
    name: str = ""
    panel_title: str = ""
    tip: str = ""
    in_files: bool = True
    derived: Callable[[Any], float] | None = None

    def value(self, region: Any) -> Any:
        """Return the figure of a region, a `volumes.RegionMeasurement`."""
        return getattr(region, self.key) if self.derived is None else self.derived(region)

    @property
    def full_name(self) -> str:
        """Full title without the unit."""
        return self.name or self.heading

    @property
    def heading_with_unit(self) -> str:
        """Short title, such as "GGO (%)"."""
        return f"{self.heading} ({self.unit.text})" if self.unit.text else self.heading

    @property
    def panel_heading(self) -> str:
        """Title in the panel, with the unit."""
        return f"{self.panel_title or self.full_name} ({self.unit.text})"

    @property
    def narrow_heading(self) -> str:
        """Title where there is hardly room."""
        name = self.structure.narrow_name if self.structure else self.heading
        return f"{name} {self.unit.text}".strip()

    @property
    def printed_heading(self) -> str:
        """Short title in lower case, abbreviations left as they are."""
        is_abbreviation = self.heading[:2].isupper()
        return self.heading if is_abbreviation else self.heading[0].lower() + self.heading[1:]

    def printed(self, value: float) -> str:
        """Return a value as the command line prints it; a dash for NaN."""
        return "–" if math.isnan(value) else f"{value:.{self.unit.printed_decimals}f}"

    def shown(self, value: float) -> str:
        """Return a value as the panel shows it; a dash for NaN."""
        return "–" if math.isnan(value) else f"{value:.{self.decimals}f}"


# Where the main figures are shown.
TABLES = (Place.PANEL, Place.PRINTED, Place.REPORT)

# In the order of the table.
REGION_COLUMNS: tuple[Column, ...] = (
    Column("region", "Region", NO_UNIT),
    Column(
        "volume_ml",
        "Lung",
        ML,
        ALL_LUNG,
        shown_in=(*TABLES, Place.PANEL_LOBES, Place.CHANGE_PAGE),
        followed=True,
        dicom=VOLUME,
        panel_title="Lung volume",
        tip="Volume of the whole lung, lesions included.",
    ),
    Column(
        "normal_ml",
        "Normal",
        ML,
        NORMAL,
        shown_in=TABLES,
        followed=True,
        dicom=VOLUME,
        name=NORMAL_LUNG.name,
        tip="Volume of aerated lung without lesion.",
    ),
    Column(
        "ggo_ml",
        "GGO",
        ML,
        GROUND_GLASS,
        decimals=1,
        shown_in=(*TABLES, Place.PANEL_CHANGES, Place.CHANGE_PAGE),
        followed=True,
        dicom=VOLUME,
        tip="Volume of ground-glass opacity.",
    ),
    Column(
        "high_opacity_ml",
        "High opacity",
        ML,
        DENSE,
        decimals=1,
        shown_in=(*TABLES, Place.PANEL_CHANGES, Place.CHANGE_PAGE),
        followed=True,
        dicom=VOLUME,
        tip="Volume of high opacity: consolidation and other dense lesions.",
    ),
    Column(
        "lesion_ml",
        "Lesion",
        ML,
        ALL_LESION,
        decimals=1,
        shown_in=(
            *TABLES,
            Place.PANEL_CHANGES,
            Place.PRINTED_CHANGES,
            Place.REPORT_SEVERITY,
            Place.CHANGE_PAGE,
        ),
        followed=True,
        dicom=VOLUME,
        panel_title="Total lesion",
        tip="Volume of GGO and high opacity together.",
    ),
    Column("normal_percent", "Normal", PERCENT, NORMAL, dicom=EXTENT, in_files=False),
    Column(
        "ggo_percent",
        "GGO",
        PERCENT,
        GROUND_GLASS,
        decimals=1,
        shown_in=(*TABLES, Place.PANEL_LOBES, Place.CHANGE_PAGE),
        followed=True,
        dicom=EXTENT,
        tip="GGO as a share of the lung volume.",
    ),
    Column(
        "high_opacity_percent",
        "High opacity",
        PERCENT,
        DENSE,
        decimals=1,
        shown_in=(*TABLES, Place.PANEL_LOBES, Place.CHANGE_PAGE),
        followed=True,
        dicom=EXTENT,
        tip="High opacity as a share of the lung volume.",
    ),
    Column(
        "lesion_percent",
        "Lesion",
        PERCENT,
        ALL_LESION,
        decimals=1,
        shown_in=(
            *TABLES,
            Place.PANEL_LOBES,
            Place.PANEL_CHANGES,
            Place.PRINTED_CHANGES,
            Place.REPORT_SEVERITY,
            Place.CHANGE_PAGE,
        ),
        followed=True,
        dicom=EXTENT,
        panel_title="Total lesion",
        tip="GGO and high opacity together as a share of the lung volume (burden).",
    ),
    Column(
        "mean_hu",
        "Mean",
        HU,
        ALL_LUNG,
        shown_in=(Place.PANEL,),
        dicom=MEAN_ATTENUATION,
        tip="Mean CT density of the whole lung.",
    ),
    Column(
        "sd_hu",
        "SD",
        HU,
        ALL_LUNG,
        shown_in=(Place.PANEL,),
        sd_of="mean_hu",
        tip="Standard deviation of the CT density of the whole lung.",
    ),
    Column("normal_mean_hu", "Normal mean", HU, NORMAL, dicom=MEAN_ATTENUATION),
    Column("normal_sd_hu", "Normal SD", HU, NORMAL, sd_of="normal_mean_hu"),
    Column("ggo_mean_hu", "GGO mean", HU, GROUND_GLASS, dicom=MEAN_ATTENUATION),
    Column("ggo_sd_hu", "GGO SD", HU, GROUND_GLASS, sd_of="ggo_mean_hu"),
    Column("high_opacity_mean_hu", "High opacity mean", HU, DENSE, dicom=MEAN_ATTENUATION),
    Column("high_opacity_sd_hu", "High opacity SD", HU, DENSE, sd_of="high_opacity_mean_hu"),
    Column("lesion_mean_hu", "Lesion mean", HU, ALL_LESION, dicom=MEAN_ATTENUATION),
    Column("lesion_sd_hu", "Lesion SD", HU, ALL_LESION, sd_of="lesion_mean_hu"),
)

# Scores and comparisons, after the figures of the region. The row of both lungs holds the sums,
# those of lobes and regions their own parts; NaN where a score is unknown or there is none.
SCORE_COLUMNS: tuple[Column, ...] = (
    Column("ct_score", "CT score", NO_UNIT),
    Column("total_severity_score", "Total severity score", NO_UNIT),
    Column("ct_severity_score", "CT severity score", NO_UNIT),
    Column("involved_lobes", "Involved lobes", NO_UNIT),
    Column("hellinger_distance", "Hellinger distance", NO_UNIT),
    Column("intersection_over_union", "Intersection over union", NO_UNIT),
    Column("lesion_relative_density", "Lesion relative density", NO_UNIT),
)


def region_columns() -> tuple[Column, ...]:
    """Return what files hold of each region but the scores, in order."""
    return tuple(column for column in REGION_COLUMNS if column.in_files)


def table_columns() -> tuple[Column, ...]:
    """Return the columns of the table, in order."""
    return (*region_columns(), *SCORE_COLUMNS)


def column_keys() -> tuple[str, ...]:
    """Return the names of the table's columns, in order."""
    return tuple(column.key for column in table_columns())


def followed_columns() -> tuple[Column, ...]:
    """Return the figures whose change over time is computed."""
    return tuple(column for column in REGION_COLUMNS if column.followed)


def columns_in(place: Place) -> tuple[Column, ...]:
    """Return the figures shown in a place, in its order."""
    shown = [column for column in REGION_COLUMNS if place in column.shown_in]
    order = ORDER_IN.get(place)
    if order is not None:
        shown.sort(key=lambda column: order.index(column.structure) if column.structure else -1)
    return tuple(shown)


def dicom_columns(structure: Structure) -> tuple[tuple[Column, DicomMeasure, Code], ...]:
    """Return the figures of a structure in the DICOM report, what each is and its unit."""
    return tuple(
        (column, column.dicom, column.unit.code)
        for column in REGION_COLUMNS
        if column.structure is structure and column.dicom and column.unit.code
    )


def density_columns() -> tuple[tuple[Structure, Column, Column], ...]:
    """Return each structure with the columns of its mean and SD in HU, from whole to parts."""
    by_key = {column.key: column for column in REGION_COLUMNS}
    found = [
        (column.structure, by_key[column.sd_of], column)
        for column in REGION_COLUMNS
        if column.sd_of and column.structure is not None
    ]
    return tuple(sorted(found, key=lambda item: LUNG_FIRST.index(item[0])))
