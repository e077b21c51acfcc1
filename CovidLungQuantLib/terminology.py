"""The labels as Slicer terminology: the tag of a segment, and the term list Slicer can load."""

from __future__ import annotations

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LABELS, Code, Label

TERM_LIST_NAME = "CovidLungQuant"
ANATOMIC_TERM_LIST_NAME = "Anatomic codes - DICOM master list"
TERM_FILE_SCHEMA = (
    "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"
)

# Other names under which people draw these classes; compared in lower case, hyphens as spaces.
NAMES_OF_LABELS: dict[str, Label] = {
    **{name.lower(): label for label in LABELS for name in (label.name, label.segment_id)},
    "ground glass opacity": GGO,
    "consolidation": HIGH_OPACITY,
}


def terminology_entry(label: Label) -> str:
    """Return the value of a segment's `TerminologyEntry` tag.

    Slicer's order, parted by "~": term list, category, type, type modifier, anatomic term list,
    region, region modifier; each code is scheme^value^meaning, empty where there is none.
    """
    return "~".join(
        [
            TERM_LIST_NAME,
            _triplet(label.category),
            _triplet(label.type),
            _triplet(label.type_modifier),
            ANATOMIC_TERM_LIST_NAME,
            _triplet(label.region),
            _triplet(None),
        ]
    )


def label_of_terminology_entry(entry: str) -> Label | None:
    """Return the label whose type code a `TerminologyEntry` tag holds, whatever its term list."""
    parts = entry.split("~")
    if len(parts) < 3:
        return None
    scheme_and_value = parts[2].split("^")[:2]
    for label in LABELS:
        if scheme_and_value == [label.type.scheme, label.type.value]:
            return label
    return None


def label_of_segment(segment_id: str, entry: str, name: str) -> Label | None:
    """Return which label a segment stands for: by its id, else its terminology, else its name.

    Args:
        segment_id: as in the scene or file.
        entry: the segment's `TerminologyEntry` tag, empty if it has none.
        name: what the user sees.
    """
    for label in LABELS:
        if segment_id == label.segment_id:
            return label
    by_terminology = label_of_terminology_entry(entry)
    if by_terminology is not None:
        return by_terminology
    return NAMES_OF_LABELS.get(name.strip().lower().replace("-", " "))


def term_list() -> dict:
    """Return what the shipped `resources/CovidLungQuant.term.json` holds (dcmqi's schema)."""
    categories = list(dict.fromkeys(label.category for label in LABELS))
    return {
        "SegmentationCategoryTypeContextName": TERM_LIST_NAME,
        "@schema": TERM_FILE_SCHEMA,
        "SegmentationCodes": {
            "Category": [
                {
                    **_code_fields(category),
                    "showAnatomy": any(
                        label.region for label in LABELS if label.category == category
                    ),
                    "Type": [
                        {
                            **_code_fields(label.type),
                            "recommendedDisplayRGBValue": [round(255 * c) for c in label.color],
                        }
                        for label in LABELS
                        if label.category == category
                    ],
                }
                for category in categories
            ]
        },
    }


def _triplet(code: Code | None) -> str:
    return "^^" if code is None else f"{code.scheme}^{code.value}^{code.meaning}"


def _code_fields(code: Code) -> dict[str, str]:
    return {
        "CodingSchemeDesignator": code.scheme,
        "CodeValue": code.value,
        "CodeMeaning": code.meaning,
    }
