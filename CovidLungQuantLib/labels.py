"""The label schema: value, name, colour and code of everything a label map can hold.

The only place where these are written down. Definitions follow Grodecki et al. 2021; codes are
SNOMED CT (SCT) and DICOM (DCM).
"""

from __future__ import annotations

from dataclasses import dataclass


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
    `region` is the anatomic region of a finding, None for anatomy itself.
    """

    value: int
    segment_id: str
    name: str
    color: tuple[float, float, float]
    opacity: float
    category: Code
    type: Code
    region: Code | None


ANATOMICAL_STRUCTURE = Code("SCT", "123037004", "Anatomical Structure")
MORPHOLOGICALLY_ABNORMAL_STRUCTURE = Code("SCT", "49755003", "Morphologically Abnormal Structure")
LUNG = Code("SCT", "39607008", "Lung")

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

# Values of a lung label map (which lung a voxel belongs to). Left and right are the patient's.
LEFT_LUNG_VALUE = 1
RIGHT_LUNG_VALUE = 2

BOTH_LUNGS_REGION = "both lungs"
RIGHT_LUNG_REGION = "right lung"
LEFT_LUNG_REGION = "left lung"

DISCLAIMER = "For research use only. Not a medical device; not for clinical decisions."
