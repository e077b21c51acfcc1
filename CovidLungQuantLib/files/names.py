"""What the files of a result, and of an annotated case, are called."""

from __future__ import annotations

# A result, as `outputs.folder` writes it.
SEGMENTATION_FILE = "segmentation.seg.nrrd"
MEASUREMENTS_FILE = "measurements.csv"
LOBES_FILE = "lobes.seg.nrrd"
AIRWAYS_AND_VESSELS_FILE = "airways-and-vessels.seg.nrrd"
ENHANCED_FILE = "enhanced.nrrd"
SUB_VISUAL_FILE = "sub-visual-lesions.seg.nrrd"
LESIONS_FILE = "lesions.csv"
PROBABILITY_FILE = "probability.nrrd"
RESULT_FILE = "result.json"
REPORT_FILE = "report.html"
PDF_FILE = "report.pdf"
SCENE_FILE = "scene.mrb"
DICOM_SEGMENTATION_FILE = "segmentation.dcm"
DICOM_MEASUREMENTS_FILE = "measurements.dcm"
# In the results of a batch.
THUMBNAIL_FILE = "thumbnail.png"
OUTPUT_FILES = (
    SEGMENTATION_FILE,
    LOBES_FILE,
    AIRWAYS_AND_VESSELS_FILE,
    ENHANCED_FILE,
    SUB_VISUAL_FILE,
    PROBABILITY_FILE,
    LESIONS_FILE,
    MEASUREMENTS_FILE,
    RESULT_FILE,
    REPORT_FILE,
    PDF_FILE,
    SCENE_FILE,
    DICOM_SEGMENTATION_FILE,
    DICOM_MEASUREMENTS_FILE,
    THUMBNAIL_FILE,
)

# An annotated case: one folder with the scan, the reader's labels and what is known about them.
CASE_CT_FILE = "ct.nrrd"
CASE_LABELS_FILE = "labels.nrrd"
CASE_FILE = "case.json"
