"""The result as DICOM: a segmentation (SEG) and a measurement report (SR, TID 1500).

Both refer to the slices of the source series, carry its patient and study, and belong into the same
archive. Needs highdicom, which is an optional extra.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from CovidLungQuantLib import __version__
from CovidLungQuantLib.ct import CTVolume, ScanWarning
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.names import DICOM_MEASUREMENTS_FILE, DICOM_SEGMENTATION_FILE
from CovidLungQuantLib.files.segments import SOFTWARE_NAME
from CovidLungQuantLib.labels import (
    BOTH_LUNGS_REGION,
    LABELS,
    LEFT,
    LEFT_LUNG_REGION,
    LOBES,
    LUNG,
    MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    RIGHT,
    RIGHT_LUNG_REGION,
    RIGHT_LUNG_VALUE,
    Code,
    Label,
)
from CovidLungQuantLib.measures.columns import PRIVATE_SCHEME, dicom_columns
from CovidLungQuantLib.measures.measurements import measure_lungs
from CovidLungQuantLib.measures.structures import LESION_FIRST, Structure
from CovidLungQuantLib.measures.volumes import RegionMeasurement
from CovidLungQuantLib.outputs.dicom_source import read_source
from CovidLungQuantLib.quantification import Quantification

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription
    from highdicom.sr import (
        CodedConcept,
        Comprehensive3DSR,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )
    from pydicom import Dataset

    from CovidLungQuantLib.quantification import Provenance

    MeasurementGroup = (
        MeasurementsAndQualitativeEvaluations | VolumetricROIMeasurementsAndQualitativeEvaluations
    )


# At most 64 characters, as DICOM's long strings are.
DISCLAIMER_TEXT = "For research use only; not a medical device"
SEGMENTATION_SERIES_NUMBER = 9001
MEASUREMENTS_SERIES_NUMBER = 9002

CT_CHEST = Code("LN", "24627-2", "CT Chest")
ARTIFICIAL_INTELLIGENCE = Code("DCM", "123110", "Artificial Intelligence")
DEVICE = Code("DCM", "121007", "Device")


def check_dicom_possible() -> None:
    """Refuse to begin where highdicom is missing.

    Raises:
        BadInputError: with what to do.
    """
    if find_spec("highdicom") is None:
        raise BadInputError(
            "DICOM results need highdicom; install it with “pip install covidlungquant[dicom]” or "
            "leave DICOM out."
        )


def check_source(ct: CTVolume, source_files: Sequence[Path]) -> tuple[ScanWarning, ...]:
    """Make the DICOM results of a label map of three voxels, and forget them.

    So whatever the series lacks is known before hours of work, not after.

    Args:
        ct: the scan read from `source_files`.
        source_files: see `write_dicom`.

    Returns:
        what is filled in because the series does not state it.

    Raises:
        BadInputError: highdicom is missing, or the series lacks what a DICOM reference needs.
    """
    check_dicom_possible()
    labels = np.zeros(ct.hu.shape, np.uint8)
    labels[len(labels) // 2].reshape(-1)[: len(LABELS)] = [label.value for label in LABELS]
    lungs = np.where(labels > 0, np.uint8(RIGHT_LUNG_VALUE), np.uint8(0))
    measurements = measure_lungs(ct.hu, labels, lungs, ct.geometry.voxel_volume_ml)
    trial = Quantification(ct=ct, labels=labels, lungs=lungs, measurements=measurements)
    source, warnings = read_source(source_files, ct.geometry.spacing_mm[2])
    for dataset in _results(trial, source):
        _check_can_be_written(dataset)
    return warnings


def write_dicom(
    folder: Path, quantification: Quantification, source_files: Sequence[Path]
) -> list[str]:
    """Write segmentation and measurement report into a folder; returns the names of the files.

    Args:
        folder: must exist.
        quantification: of the scan read from `source_files`.
        source_files: DICOM files of the slices, in the order of the scan's slices; see
            `ct.read_ct_and_files`.

    Raises:
        BadInputError: highdicom is missing, or the series lacks what a DICOM reference needs.
        OSError: a file cannot be written.
    """
    check_dicom_possible()
    source, _ = read_source(source_files, quantification.ct.geometry.spacing_mm[2])
    names = (DICOM_SEGMENTATION_FILE, DICOM_MEASUREMENTS_FILE)
    for dataset, name in zip(_results(quantification, source), names, strict=True):
        dataset.save_as(folder / name)
        _check_reads_back(folder / name, dataset)
    return list(names)


def _results(
    quantification: Quantification, source: Sequence[Dataset]
) -> tuple[Segmentation, Comprehensive3DSR]:
    if len(source) != len(quantification.labels):
        raise BadInputError(
            f"The scan has {len(quantification.labels)} slices and {len(source)} DICOM files; "
            "DICOM results refer to one file for each slice, so leave DICOM out."
        )
    try:
        segmentation = dicom_segmentation(quantification, source)
        return segmentation, dicom_report(quantification, source, segmentation)
    except (AttributeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise _cannot_be_referred_to(error) from error


def _cannot_be_referred_to(error: Exception) -> BadInputError:
    what = str(error).strip().partition("\n")[0].rstrip(".")
    return BadInputError(
        f"The source series cannot be referred to in DICOM ({what}); export the original series "
        "again or leave DICOM out."
    )


def _check_can_be_written(dataset: Dataset) -> None:
    """Refuse what pydicom cannot put into a file, such as a header of its source."""
    try:
        dataset.save_as(io.BytesIO())
    except (AttributeError, ValueError, TypeError, KeyError, OverflowError, struct.error) as error:
        raise _cannot_be_referred_to(error) from error


def _check_reads_back(file: Path, written: Dataset) -> None:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        found = dcmread(file)
        is_same = (
            found.SOPInstanceUID == written.SOPInstanceUID
            and found.get("PixelData") == written.get("PixelData")
            and len(found) == len(written)
        )
    except (InvalidDicomError, AttributeError, ValueError, TypeError, KeyError):
        is_same = False
    if not is_same:
        raise BadInputError(
            f"{file.name} cannot be read back as it was written; leave DICOM out, or export the "
            "original series again."
        )


def dicom_segmentation(quantification: Quantification, source: Sequence[Dataset]) -> Segmentation:
    """The label map as DICOM SEG: one binary segment a label, on the slices of the series.

    Args:
        quantification: of the scan.
        source: headers of its slices, in the order of its label map.
    """
    from highdicom import UID
    from highdicom.seg import Segmentation

    return Segmentation(
        source_images=list(source),
        pixel_array=np.ascontiguousarray(quantification.labels, dtype=np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment_description(label, quantification.provenance) for label in LABELS
        ],
        series_instance_uid=UID(),
        series_number=SEGMENTATION_SERIES_NUMBER,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=SOFTWARE_NAME,
        manufacturer_model_name=SOFTWARE_NAME,
        software_versions=__version__,
        device_serial_number=__version__,
        content_label="LUNG_LESIONS",
        content_description=DISCLAIMER_TEXT,
        series_description=f"{SOFTWARE_NAME} segmentation",
    )


def dicom_report(
    quantification: Quantification, source: Sequence[Dataset], segmentation: Segmentation
) -> Comprehensive3DSR:
    """Volumes, extents and densities of lungs and lobes as a TID 1500 measurement report.

    Those of both lungs refer to the segments; where a number cannot be computed there is none.

    Args:
        quantification: of the scan.
        source: headers of its slices.
        segmentation: from `dicom_segmentation`.
    """
    from highdicom import UID
    from highdicom.sr import (
        Comprehensive3DSR,
        DeviceObserverIdentifyingAttributes,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
    )

    observer = ObserverContext(
        observer_type=_coded(DEVICE),
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=UID(),
            name=SOFTWARE_NAME,
            manufacturer_name=SOFTWARE_NAME,
            model_name=f"{SOFTWARE_NAME} {__version__}: {DISCLAIMER_TEXT}",
        ),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=_coded(CT_CHEST),
        imaging_measurements=_groups(quantification, segmentation),
        referenced_images=list(source),
    )
    document = Comprehensive3DSR(
        evidence=[*source, segmentation],
        content=report,
        series_instance_uid=UID(),
        series_number=MEASUREMENTS_SERIES_NUMBER,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=SOFTWARE_NAME,
        # Nothing is missing, but nobody has verified it: it stays preliminary and unverified.
        is_complete=True,
        series_description=f"{SOFTWARE_NAME} measurements",
    )
    document.CodingSchemeIdentificationSequence = [_private_scheme()]
    return document


def _private_scheme() -> Dataset:
    """Who answers for the private codes, as DICOM asks wherever one is used."""
    from pydicom import Dataset

    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE_SCHEME
    scheme.CodingSchemeName = f"{SOFTWARE_NAME} private codes"
    scheme.CodingSchemeVersion = __version__
    scheme.CodingSchemeResponsibleOrganization = SOFTWARE_NAME
    return scheme


def _coded(code: Code) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _algorithm_name(provenance: Provenance | None) -> str:
    return (provenance and provenance.model_name) or SOFTWARE_NAME


def _is_automatic(provenance: Provenance | None) -> bool:
    return provenance is not None and provenance.is_automatic


def _segment_description(label: Label, provenance: Provenance | None) -> SegmentDescription:
    from highdicom import UID, AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    algorithm = AlgorithmIdentificationSequence(
        name=_algorithm_name(provenance),
        family=_coded(ARTIFICIAL_INTELLIGENCE),
        version=__version__,
        source=SOFTWARE_NAME,
        parameters=_parameters(provenance),
    )
    return SegmentDescription(
        segment_number=label.value,
        segment_label=label.name,
        segmented_property_category=_coded(label.category),
        segmented_property_type=_coded(label.type),
        algorithm_type="AUTOMATIC" if _is_automatic(provenance) else "SEMIAUTOMATIC",
        algorithm_identification=algorithm,
        tracking_uid=UID(),
        tracking_id=_tracking_name(label.name, BOTH_LUNGS_REGION),
        anatomic_regions=None if label.region is None else [_coded(label.region)],
        display_color=CIELabColor.from_rgb(*(round(255 * part) for part in label.color)),
    )


def _tracking_name(finding: str, region: str) -> str:
    """What a finding is followed by; the same in segmentation and report."""
    return f"{finding}, {region}"


def _parameters(provenance: Provenance | None) -> dict[str, str] | None:
    if provenance is None or provenance.model_sha256 is None:
        return None
    parameters = {"model SHA-256": provenance.model_sha256}
    if provenance.lung_model_name is not None and provenance.lung_model_sha256 is not None:
        parameters["lung model"] = provenance.lung_model_name
        parameters["lung model SHA-256"] = provenance.lung_model_sha256
    return parameters


def _groups(quantification: Quantification, segmentation: Segmentation) -> list[MeasurementGroup]:
    """Measurement groups: of each region the lung, its lesions together, and each label."""
    measurements = quantification.measurements
    return [
        _group(
            quantification,
            _tracking_name(structure.name, row.region),
            row.region,
            structure.finding,
            _figures(row, structure),
            # The segments hold both lungs, so only their numbers are those of a segment.
            (segmentation, structure.label)
            if structure.label is not None and row.region == BOTH_LUNGS_REGION
            else None,
        )
        for row in (*measurements.lungs, *measurements.lobes)
        for structure in LESION_FIRST
    ]


def _group(
    quantification: Quantification,
    name: str,
    region: str,
    finding: Code,
    measurements: list[Measurement],
    segment: tuple[Segmentation, Label] | None = None,
) -> MeasurementGroup:
    from highdicom import UID
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        ReferencedSegment,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    site, laterality = _site(region)
    provenance = quantification.provenance
    parameters = _parameters(provenance) or {}
    tracked = None if segment is None else segment[0].get_segment_description(segment[1].value)
    uid = UID() if tracked is None else tracked.tracking_uid
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=uid, identifier=name),
        "finding_type": _coded(finding),
        "finding_category": (
            None if finding == LUNG else _coded(MORPHOLOGICALLY_ABNORMAL_STRUCTURE)
        ),
        "finding_sites": [
            FindingSite(_coded(site), None if laterality is None else _coded(laterality))
        ],
        "algorithm_id": AlgorithmIdentification(
            name=_algorithm_name(provenance),
            version=__version__,
            parameters=[f"{key}: {value}" for key, value in parameters.items()] or None,
        ),
        "measurements": measurements,
    }
    if segment is None:
        return MeasurementsAndQualitativeEvaluations(**content)
    segmentation, label = segment
    if not np.any(quantification.labels == label.value):
        # An empty segment has no frame to refer to.
        return MeasurementsAndQualitativeEvaluations(**content)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=ReferencedSegment.from_segmentation(segmentation, label.value),
        **content,
    )


def _site(region: str) -> tuple[Code, Code | None]:
    """Anatomic site and laterality of a region of the table."""
    lungs = {
        BOTH_LUNGS_REGION: (LUNG, None),
        RIGHT_LUNG_REGION: (LUNG, RIGHT),
        LEFT_LUNG_REGION: (LUNG, LEFT),
    }
    lobes = {lobe.name.lower(): (lobe.type, lobe.type_modifier) for lobe in LOBES}
    return {**lungs, **lobes}[region]


def _figures(row: RegionMeasurement, structure: Structure) -> list[Measurement]:
    """The numbers of a structure in a region; where one cannot be computed there is none."""
    from highdicom.sr import Measurement

    found = []
    for column, measure, unit in dicom_columns(structure):
        value = column.value(row)
        if not math.isnan(value):
            found.append(
                Measurement(
                    name=_coded(measure.concept),
                    value=value,
                    unit=_coded(unit),
                    derivation=None if measure.derivation is None else _coded(measure.derivation),
                )
            )
    return found
