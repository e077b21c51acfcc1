"""What is warned of and what is accepted as it is, for `Docs/checks.md`.

Every code of a `ScanWarning` stands here once. What is refused is told by the sentences of the code
itself, which that page lists.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WarningCode:
    """A warning, as tables and `result.json` name it.

    Attributes:
        code: in the column `warnings`.
        meaning: what was found.
        remedy: what to do about it.
    """

    code: str
    meaning: str
    remedy: str


WARNINGS: dict[str, tuple[WarningCode, ...]] = {
    "The scan as it is read": (
        WarningCode(
            "series_chosen",
            "the folder holds several series, or some that cannot be read; one was taken",
            "see that it is the right one, or name another with `--series`",
        ),
        WarningCode(
            "slices_left_out",
            "images of another size or orientation are in the series, such as a scout",
            "see that no slice of the scan is missing",
        ),
        WarningCode(
            "copies_dropped",
            "slices are there twice, alike in every voxel",
            "nothing, or remove the copies",
        ),
        WarningCode(
            "instance_uids_repeated",
            "different slices have one SOPInstanceUID",
            "export the scan again if you want DICOM results",
        ),
        WarningCode(
            "acquisitions_joined",
            "the series is made of several acquisitions, or instance numbers occur twice",
            "see that it is one scan of one breath",
        ),
        WarningCode(
            "slice_gaps",
            "slices are thinner than their distance",
            "take volumes as estimates",
        ),
        WarningCode(
            "gantry_tilt",
            "a tilt is stated, but the slices lie straight",
            "nothing; if the chest looks skewed, export the scan again",
        ),
        WarningCode(
            "lossy_compression",
            "the voxels were compressed with loss",
            "use the uncompressed scan where there is one",
        ),
        WarningCode(
            "rescale_missing",
            "the header gives no rescale slope and intercept; values look like HU",
            "compare air and muscle with −1000 and 50 HU",
        ),
        WarningCode(
            "conversion_differs",
            "slices are stored in different ways, each converted by its own header",
            "look for slices that are brighter or darker",
        ),
        WarningCode(
            "orientation_unknown",
            "the file does not say which way the patient lies",
            "check left and right",
        ),
        WarningCode(
            "padding",
            "voxels outside the scanner's field of view were taken as air",
            "nothing, unless lung is cut off there",
        ),
        WarningCode(
            "values_above_range", "voxels are denser than bone, as metal is", "look for streaks"
        ),
        WarningCode(
            "few_slices",
            "the scan has fewer slices than the network looks at together",
            "take the result as less sure",
        ),
        WarningCode(
            "thick_slices",
            "slices are thick",
            "use the thin series where there is one",
        ),
        WarningCode(
            "contrast_suspected",
            "contrast medium was given, it seems",
            "look for vessels taken for lesions",
        ),
        WarningCode(
            "transform_left_out",
            "in Slicer, the volume is under a transform that turns it by more than 45°",
            "harden the transform, or check left and right",
        ),
    ),
    "Whether it looks like a chest": (
        WarningCode(
            "sides_exchanged",
            "the heart lies to the right",
            "check the orientation, or whether the organs are mirrored",
        ),
        WarningCode(
            "front_and_back_exchanged",
            "the chest looks as if it lay front to back",
            "check the orientation",
        ),
        WarningCode(
            "upside_down", "the chest looks as if it lay upside down", "check the orientation"
        ),
        WarningCode("lungs_cut", "the scan ends within the lungs", "trust percentages only"),
        WarningCode(
            "airless_lung_counted",
            "lung without air counts as lung and as high opacity",
            "see in the report whether it is lung",
        ),
        WarningCode(
            "lung_added",
            "lung that the threshold had missed counts as lung",
            "see in the report whether it is lung",
        ),
        WarningCode(
            "fluid_counted_as_lung",
            "what looks like a pleural effusion counts as lung and as high opacity",
            "take it out if it is not to count, then measure again",
        ),
        WarningCode(
            "dense_lung_suspected",
            "what may be lung without air is not counted, as the lung network is not sure",
            "see in the report whether it is lung, and add it by hand if it is",
        ),
        WarningCode(
            "gas_left_out",
            "what looks like gas of stomach or bowel is not counted as lung",
            "see that it is no lung",
        ),
        WarningCode(
            "pneumothorax_left_out",
            "what looks like a pneumothorax is not counted as lung",
            "see that it is no lung",
        ),
        WarningCode(
            "tissue_left_out",
            "dense parts that the lungs had reached into are not counted as lung",
            "see that they are no lung",
        ),
        WarningCode(
            "airway_left_out",
            "large airways that the lungs had reached into are not counted as lung",
            "see that they are no lung",
        ),
        WarningCode(
            "dense_lung_lost",
            "dense lung or effusion is not counted as lung, it seems",
            "add what is lung by hand, then measure again",
        ),
        WarningCode(
            "gas_in_lungs",
            "bare gas is counted as lung: pneumothorax, bulla, bowel",
            "take out what is no lung, then measure again",
        ),
    ),
    "The segmentation that is measured": (
        WarningCode(
            "segment_ignored",
            "a segment is none of those that are measured",
            "rename it if it is one of them",
        ),
        WarningCode(
            "segment_missing", "a kind of lesion has no segment", "nothing if there is none of it"
        ),
        WarningCode(
            "segments_overlap", "segments overlap", "see the message for which of them counts"
        ),
        WarningCode(
            "segment_retagged",
            "the terminology of a segment was changed, and does not fit what it was made as",
            "give a segment of your own a new one",
        ),
        WarningCode(
            "segment_outside_volume", "a part of a segment lies outside the scan", "look at it"
        ),
        WarningCode(
            "voxels_without_segment",
            "the file holds voxels that are of none of its segments",
            "look whether its segments are whole",
        ),
        WarningCode(
            "segmentation_resampled",
            "the segmentation lies on other voxels than the volume",
            "draw on the volume's own voxels to lose nothing",
        ),
        WarningCode(
            "normal_lung_on_tissue",
            "what is labelled as normal lung is as dense as soft tissue",
            "see that the segmentation belongs to the scan and its labels are not exchanged",
        ),
        WarningCode(
            "lungs_changed_by_hand",
            "the lungs were changed by hand, and sides and lobes are those of before",
            "measure again to divide them anew",
        ),
    ),
    "The numbers": (
        WarningCode("no_lung", "nothing is labelled as lung", "check the segmentation"),
        WarningCode("one_lung", "one of the lungs was not found", "check the segmentation"),
        WarningCode(
            "lung_volume_implausible",
            "the lungs are smaller or larger than lungs are",
            "check the segmentation, and that the scan shows whole lungs",
        ),
        WarningCode(
            "right_left_share_implausible",
            "one lung is far larger than the other",
            "check that both are complete",
        ),
        WarningCode(
            "normal_lung_hu_implausible",
            "normal lung is too dense or too thin",
            "check that the scan is in HU and in inspiration",
        ),
        WarningCode("ggo_hu_implausible", "GGO is too dense or too thin", "check what it covers"),
        WarningCode("lobe_missing", "a lobe was not found", "check the lobes"),
        WarningCode(
            "lobe_share_implausible", "a lobe is too small or too large", "check the lobes"
        ),
        WarningCode("scores_unknown", "a lobe without voxels has no score", "check the lobes"),
        WarningCode(
            "artery_not_found",
            "the density of the pulmonary artery was assumed",
            "give it with `--artery-hu`",
        ),
        WarningCode(
            "artery_enhanced",
            "blood is as dense as with contrast medium",
            "use `--kinds density`",
        ),
        WarningCode(
            "artery_hu_unusual", "blood is denser or thinner than usual", "check the calibration"
        ),
        WarningCode("no_airways", "no trachea was found", "take their 0 mL as unknown"),
        WarningCode("no_vessels", "no vessels were found", "take their 0 mL as unknown"),
        WarningCode(
            "few_rings",
            "too few vessels for the baseline, which is from the histogram",
            "check the vessels",
        ),
        WarningCode(
            "not_enhanced", "the scan could not be enhanced; the rest is whole", "see the message"
        ),
    ),
    "The DICOM results": (
        WarningCode(
            "dicom_slice_thickness",
            "the series states no slice thickness; the results give the distance of its slices",
            "nothing, unless the slices are thinner than their distance",
        ),
        WarningCode(
            "dicom_frame_of_reference",
            "the series names no frame of reference; the results have one of their own",
            "do not expect viewers to lay them over other series",
        ),
        WarningCode(
            "dicom_patient_and_study",
            "headers of patient or study hold values that DICOM does not allow; they are left out",
            "check the results before they go into an archive",
        ),
    ),
    "The computer": (
        WarningCode("smaller_batches", "memory was short and was used in smaller parts", "nothing"),
        WarningCode("cpu_fallback", "the GPU ran out of memory; the CPU was used", "nothing"),
    ),
}

ACCEPTED: tuple[str, ...] = (
    "DICOM series, with or without suffix and preamble, in linked folders and sub-folders; NRRD, "
    "NIfTI and MetaImage files.",
    "Any orientation that the header states, any voxel size that a chest scan has, slices in any "
    "order.",
    "Label maps that are cropped, flipped or permuted against the scan but share its voxels.",
    "Slicer segmentations with segments of any order, values and layers.",
    "Label maps stored as floating point, where the numbers are whole.",
    "An output folder that does not exist yet or is empty, also within another; with `--overwrite` "
    "one that holds nothing but results.",
    "A terminal of any encoding; letters it lacks are written with others.",
    "A closed pipe (`| head`): the result is whole, and the exit code 0. A full disk where the "
    "printed text goes: the result is whole, and the exit code 3.",
    "Ctrl-C, SIGTERM or a closed terminal at any time: a sentence, exit code 130, no half result.",
)
