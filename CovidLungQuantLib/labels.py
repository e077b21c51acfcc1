"""The label schema: value, name, colour and code of everything a label map can hold.

The only place where these are written down. Definitions follow Grodecki et al. 2021; codes are
SNOMED CT (SCT) and DICOM (DCM).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Code:
    """A coded concept: coding scheme, value and meaning."""

    scheme: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Label:
    """One class of the label map.

    `color` is RGB in 0…1, `opacity` the default overlay opacity in slice views.
    `region` is the anatomic region of a finding, None for anatomy itself. `type_modifier` narrows
    `type`, as laterality does.
    """

    value: int
    segment_id: str
    name: str
    color: tuple[float, float, float]
    opacity: float
    category: Code
    type: Code
    region: Code | None
    type_modifier: Code | None = None


@dataclass(frozen=True, kw_only=True)
class Lobe(Label):
    """One lobe of a lobe label map.

    `short_name` is what readers write, `lung_value` the lung it lies in (`LEFT_LUNG_VALUE` or
    `RIGHT_LUNG_VALUE`).
    """

    short_name: str
    lung_value: int


@dataclass(frozen=True)
class LungSegment:
    """One of the 20 lung regions of the CT severity score (Yang et al. 2020).

    `short_name` is lobe and segment as readers write them. The regions are found by a geometric
    rule (`anatomy.segments`), not by following bronchi: where one is shown, its `row_name` says so.
    """

    value: int
    short_name: str
    lobe: Lobe

    @property
    def row_name(self) -> str:
        """What the region is called in a table."""
        return f"{self.short_name} ({APPROXIMATION})"


APPROXIMATION = "approximation"

ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("SCT", "49755003", "Morphologically Abnormal Structure")
LUNG = Code("SCT", "39607008", "Lung")
LESION = Code("SCT", "52988006", "Lesion")
UPPER_LOBE = Code("SCT", "45653009", "Upper lobe of lung")
MIDDLE_LOBE = Code("SCT", "72481006", "Middle lobe of right lung")
LOWER_LOBE = Code("SCT", "90572001", "Lower lobe of lung")
TISSUE = Code("SCT", "85756007", "Tissue")
RIGHT = Code("SCT", "24028007", "Right")
LEFT = Code("SCT", "7771000", "Left")

BACKGROUND_VALUE = 0

# Colours keep apart under the common colour-vision deficiencies (blue against orange); normal lung
# is a quiet grey-green, drawn faintly so that it never hides the CT.
NORMAL_LUNG = Label(
    value=1,
    segment_id="NormalLung",
    name="Normal lung",
    color=(0.56, 0.65, 0.58),
    opacity=0.15,
    category=ANATOMICAL_STRUCTURE,
    type=LUNG,
    region=None,
)
GGO = Label(
    value=2,
    segment_id="GGO",
    name="GGO",
    color=(0.16, 0.47, 0.90),
    opacity=0.5,
    category=MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    type=Code("DCM", "112120", "Ground glass opacity"),
    region=LUNG,
)
HIGH_OPACITY = Label(
    value=3,
    segment_id="HighOpacity",
    name="High opacity",
    color=(1.00, 0.68, 0.10),
    opacity=0.5,
    category=MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    type=Code("DCM", "112001", "Opacity"),
    region=LUNG,
)
LABELS: tuple[Label, ...] = (NORMAL_LUNG, GGO, HIGH_OPACITY)
LESION_LABELS: tuple[Label, ...] = (GGO, HIGH_OPACITY)
CLASS_COUNT = 1 + len(LABELS)

# Reference annotations only: lesion whose class the reader did not state. Never a result.
UNCLASSIFIED_LESION_VALUE = 4
# Reference annotations only: lung or not is unknown, but surely no lesion. Never a result.
UNKNOWN_LUNG_VALUE = 255


def is_lung(labels: np.ndarray) -> np.ndarray:
    """Return where a result's label map of any shape holds lung, normal or not, as bool.

    For references, whose readers may leave more open, see `measures.structures.structure_mask`.
    """
    return labels != BACKGROUND_VALUE


def is_lesion(labels: np.ndarray) -> np.ndarray:
    """Return where a result's label map of any shape holds lesion of any class, as bool.

    For references see `measures.structures.structure_mask`.
    """
    return labels >= GGO.value


def has_stated_class(labels: np.ndarray) -> np.ndarray:
    """Return where a result or a reference holds lesion of a stated class, as bool."""
    return (labels >= GGO.value) & (labels <= HIGH_OPACITY.value)


# Values of a lung label map (which lung a voxel belongs to). Left and right are the patient's.
LEFT_LUNG_VALUE = 1
RIGHT_LUNG_VALUE = 2

BOTH_LUNGS_REGION = "both lungs"
RIGHT_LUNG_REGION = "right lung"
LEFT_LUNG_REGION = "left lung"
LUNG_REGIONS = {RIGHT_LUNG_VALUE: RIGHT_LUNG_REGION, LEFT_LUNG_VALUE: LEFT_LUNG_REGION}

# Values of a lobe label map. Colours by Okabe and Ito, which the colour-blind can tell apart.
RIGHT_UPPER_LOBE = Lobe(
    value=1,
    segment_id="RightUpperLobe",
    name="Right upper lobe",
    short_name="RUL",
    color=(0.00, 0.62, 0.45),
    opacity=0.3,
    category=ANATOMICAL_STRUCTURE,
    type=UPPER_LOBE,
    type_modifier=RIGHT,
    region=None,
    lung_value=RIGHT_LUNG_VALUE,
)
RIGHT_MIDDLE_LOBE = Lobe(
    value=2,
    segment_id="RightMiddleLobe",
    name="Right middle lobe",
    short_name="RML",
    color=(0.94, 0.89, 0.26),
    opacity=0.3,
    category=ANATOMICAL_STRUCTURE,
    # The code says right already.
    type=MIDDLE_LOBE,
    type_modifier=None,
    region=None,
    lung_value=RIGHT_LUNG_VALUE,
)
RIGHT_LOWER_LOBE = Lobe(
    value=3,
    segment_id="RightLowerLobe",
    name="Right lower lobe",
    short_name="RLL",
    color=(0.80, 0.47, 0.65),
    opacity=0.3,
    category=ANATOMICAL_STRUCTURE,
    type=LOWER_LOBE,
    type_modifier=RIGHT,
    region=None,
    lung_value=RIGHT_LUNG_VALUE,
)
LEFT_UPPER_LOBE = Lobe(
    value=4,
    segment_id="LeftUpperLobe",
    name="Left upper lobe",
    short_name="LUL",
    color=(0.34, 0.71, 0.91),
    opacity=0.3,
    category=ANATOMICAL_STRUCTURE,
    type=UPPER_LOBE,
    type_modifier=LEFT,
    region=None,
    lung_value=LEFT_LUNG_VALUE,
)
LEFT_LOWER_LOBE = Lobe(
    value=5,
    segment_id="LeftLowerLobe",
    name="Left lower lobe",
    short_name="LLL",
    color=(0.84, 0.37, 0.00),
    opacity=0.3,
    category=ANATOMICAL_STRUCTURE,
    type=LOWER_LOBE,
    type_modifier=LEFT,
    region=None,
    lung_value=LEFT_LUNG_VALUE,
)
LOBES: tuple[Lobe, ...] = (
    RIGHT_UPPER_LOBE,
    RIGHT_MIDDLE_LOBE,
    RIGHT_LOWER_LOBE,
    LEFT_UPPER_LOBE,
    LEFT_LOWER_LOBE,
)

# Values of a map of airways and vessels. Greenish cyan and dark red keep apart from each other and
# from the lesions' blue and orange.
AIRWAYS = Label(
    value=1,
    segment_id="Airways",
    name="Airways",
    color=(0.40, 0.85, 0.80),
    opacity=0.5,
    category=ANATOMICAL_STRUCTURE,
    type=Code("SCT", "110726009", "Trachea and bronchus"),
    region=None,
)
VESSELS = Label(
    value=2,
    segment_id="Vessels",
    name="Vessels",
    color=(0.70, 0.15, 0.25),
    opacity=0.5,
    category=TISSUE,
    type=Code("SCT", "59820001", "Blood vessel"),
    region=LUNG,
)
AIRWAYS_AND_VESSELS: tuple[Label, ...] = (AIRWAYS, VESSELS)

# What only the enhanced scan shows. Coded as a lesion of no kind, so that nobody's GGO it becomes.
SUB_VISUAL_LESION = Label(
    value=1,
    segment_id="SubVisualLesions",
    name="Sub-visual lesions",
    color=(0.62, 0.44, 0.86),
    opacity=0.5,
    category=MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    type=LESION,
    region=LUNG,
)

# Where the lung network differs from the lungs found by their air, and what came of it.
# Consolidation, collapse, effusion and tumour are not told apart: coded as a lesion of no kind.
AIRLESS_LUNG = Label(
    value=1,
    segment_id="AirlessLung",
    name="Lung without air, counted",
    color=(0.84, 0.33, 0.16),
    opacity=0.5,
    category=MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    type=LESION,
    region=LUNG,
)
LEFT_OUT = Label(
    value=2,
    segment_id="LeftOutOfLungs",
    name="Left out of the lungs",
    color=(0.10, 0.62, 0.58),
    opacity=0.5,
    category=TISSUE,
    type=TISSUE,
    region=None,
)
SUSPECTED_LUNG = Label(
    value=3,
    segment_id="SuspectedLung",
    name="Perhaps lung without air, not counted",
    color=(0.90, 0.75, 0.20),
    opacity=0.5,
    category=MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    type=LESION,
    region=LUNG,
)
LUNG_DECISIONS: tuple[Label, ...] = (AIRLESS_LUNG, LEFT_OUT, SUSPECTED_LUNG)

# The 18 segments become 20 regions because the left apicoposterior and the left anteromedial basal
# segments are each split (Yang et al. 2020).
_SEGMENT_NAMES: tuple[tuple[Lobe, tuple[str, ...]], ...] = (
    (RIGHT_UPPER_LOBE, ("apical", "posterior", "anterior")),
    (RIGHT_MIDDLE_LOBE, ("lateral", "medial")),
    (
        RIGHT_LOWER_LOBE,
        ("superior", "medial basal", "anterior basal", "lateral basal", "posterior basal"),
    ),
    (
        LEFT_UPPER_LOBE,
        ("apical", "posterior", "anterior", "superior lingular", "inferior lingular"),
    ),
    (
        LEFT_LOWER_LOBE,
        ("superior", "anterior basal", "medial basal", "lateral basal", "posterior basal"),
    ),
)
LUNG_SEGMENTS: tuple[LungSegment, ...] = tuple(
    LungSegment(value, f"{lobe.short_name} {name}", lobe)
    for value, (lobe, name) in enumerate(
        ((lobe, name) for lobe, names in _SEGMENT_NAMES for name in names), start=1
    )
)

DISCLAIMER = "For research use only. Not a medical device; not for clinical decisions."
