"""Label maps of many cases against a reader's: pairs of files, grids, sums, files written."""

from __future__ import annotations

import csv
import json
import math
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import SimpleITK as sitk

from CovidLungQuantLib.cohort.agreement import paired_agreement
from CovidLungQuantLib.cohort.agreement_files import (
    EVALUATION_FILES,
    evaluation_page,
    write_evaluation,
)
from CovidLungQuantLib.cohort.evaluation import (
    ALL_CASES,
    ENOUGH_LESION,
    CasePair,
    Evaluation,
    evaluate,
    evaluate_pair,
    find_pairs,
)
from CovidLungQuantLib.cohort.figures import agreement_figure, check_figures_possible
from CovidLungQuantLib.ct import Geometry
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.segmentation_writing import write_segmentation
from CovidLungQuantLib.labels import DISCLAIMER

SPACING_MM = (1.0, 2.0, 5.0)


def a_reader(lesion_voxels: int = 20) -> np.ndarray:
    """Return 4 slices of 100 lung voxels, `lesion_voxels` of GGO and 2 of high opacity."""
    labels = np.zeros((4, 12, 12), np.uint8)
    labels[:, 1:11, 1:11] = 1
    flat = labels[0, 1:11, 1:11].reshape(-1)
    flat[:lesion_voxels] = 2
    labels[0, 1:11, 1:11] = flat.reshape(10, 10)
    labels[2, 5, 5:7] = 3
    return labels


def write_map(
    labels: np.ndarray, path: Path, origin: tuple[float, float, float] = (3.0, -7.0, 11.0)
) -> Path:
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(SPACING_MM)
    image.SetOrigin(origin)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


@pytest.fixture
def cohort(tmp_path: Path) -> tuple[Path, Path]:
    """Return folders of predictions and references of four cases of rising extent."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for index, voxels in enumerate((0, 10, 20, 40)):
        write_map(a_reader(voxels), references / f"case{index}.nrrd")
        write_map(a_reader(voxels + 2 + index), predictions / f"case{index}.nii.gz")
    return predictions, references


def evaluated(cohort: tuple[Path, Path]) -> Evaluation:
    return evaluate(*find_pairs(cohort))


def test_pairs_of_files_keep_their_order(tmp_path: Path):
    paths = [write_map(a_reader(), tmp_path / name) for name in ("b.nrrd", "b_ref.nii.gz")]
    paths += [write_map(a_reader(), tmp_path / name) for name in ("a.mha", "a_ref.nrrd")]
    pairs, warnings = find_pairs(paths)
    assert [pair.case for pair in pairs] == ["b_ref", "a_ref"]
    assert [pair.prediction.name for pair in pairs] == ["b.nrrd", "a.mha"]
    assert warnings == []


def test_folders_are_matched_by_name_and_what_is_alone_is_said(tmp_path: Path):
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    write_map(a_reader(), predictions / "one.nii.gz")
    write_map(a_reader(), predictions / "two" / "segmentation.seg.nrrd")
    write_map(a_reader(), predictions / "extra.nrrd")
    write_map(a_reader(), references / "one.seg.nrrd")
    write_map(a_reader(), references / "two" / "labels.nrrd")
    write_map(a_reader(), references / "three" / "labels.nrrd")
    (references / "notes.txt").write_text("not a label map")
    pairs, warnings = find_pairs([predictions, references])
    assert [pair.case for pair in pairs] == ["one", "two"]
    assert pairs[1].reference == references / "two" / "labels.nrrd"
    assert warnings == [
        "Left out, since there is no segmentation: three.",
        "Left out, since there is no reference: extra.",
    ]


def test_a_result_folder_and_a_case_folder_are_one_pair(tmp_path: Path):
    write_map(a_reader(), tmp_path / "result" / "segmentation.seg.nrrd")
    write_map(a_reader(), tmp_path / "covid99" / "labels.nrrd")
    pairs, _ = find_pairs([tmp_path / "result", tmp_path / "covid99"])
    assert [pair.case for pair in pairs] == ["covid99"]


def test_cases_of_one_name_are_told_apart(tmp_path: Path):
    first = [write_map(a_reader(), tmp_path / name / "x.nrrd") for name in "ab"]
    pairs, _ = find_pairs([*first, *first])
    assert [pair.case for pair in pairs] == ["x", "x (2)"]


@pytest.mark.parametrize(
    ("paths", "part"),
    [
        ([], "come in pairs"),
        (["full/x.nrrd"], "come in pairs"),
        (["full/x.nrrd", "absent.nrrd"], "There is no absent.nrrd"),
        (["full/x.nrrd", "full"], "give two label maps or two folders"),
        (["full", "other"], "has the name of one in other"),
        (["twice", "full"], "several label maps called x"),
    ],
)
def test_what_cannot_be_paired_is_refused(tmp_path: Path, paths: list[str], part: str):
    for name in ("full/x.nrrd", "other/y.nrrd", "twice/x.nrrd", "twice/x.nii.gz"):
        write_map(a_reader(), tmp_path / name)
    with pytest.raises(BadInputError, match=part):
        find_pairs([tmp_path / path for path in paths])


def test_summaries_and_agreement_are_those_of_the_cases(cohort: tuple[Path, Path]):
    evaluation = evaluated(cohort)
    ggo = [case.structure("GGO") for case in evaluation.cases]
    # The first case has no GGO in its reference; the others have 3, 4 and 5 voxels too many.
    assert math.isnan(ggo[0].dice) and ggo[0].reason == "the reference has no GGO"
    dices = [2 * n / (2 * n + extra) for n, extra in ((10, 3), (20, 4), (40, 5))]
    assert [row.dice for row in ggo[1:]] == pytest.approx(dices)

    summary = {(row.structure, row.cases, row.measure): row.summary for row in evaluation.summary}
    assert summary["GGO", ALL_CASES, "dice"].mean == pytest.approx(np.mean(dices))
    assert summary["GGO", ALL_CASES, "dice"].sd == pytest.approx(np.std(dices, ddof=1))
    assert (summary["GGO", ALL_CASES, "dice"].n, summary["GGO", ALL_CASES, "dice"].undefined) == (
        3,
        1,
    )
    # Two voxels of 400 are the first case's 0.5 %, which is not above it.
    assert summary["Lesion", ALL_CASES, "dice"].n == 4
    assert summary["Lesion", ENOUGH_LESION, "dice"].n == 3

    agreement = {(row.structure, row.measure): row.agreement for row in evaluation.agreement}
    volume = agreement["GGO", "volume_ml"]
    assert volume.n == 4
    assert volume.bias == pytest.approx(0.01 * (2 + 3 + 4 + 5) / 4)
    assert volume.mean_absolute_error == pytest.approx(volume.bias)
    assert volume.spearman == 1.0
    assert agreement["Lesion", "extent_percent"].bias == pytest.approx(3.5 / 4)
    assert ("Lung", "extent_percent") not in agreement


def test_a_turned_grid_of_the_same_voxels_is_the_same(tmp_path: Path):
    reference = write_map(a_reader(), tmp_path / "reference.nrrd")
    turned = sitk.Flip(sitk.ReadImage(str(reference)), (True, False, True))
    turned = sitk.PermuteAxes(turned, (2, 0, 1))
    sitk.WriteImage(turned, str(tmp_path / "turned.nrrd"))
    evaluation = evaluate(*find_pairs([tmp_path / "turned.nrrd", reference]))
    assert [row.dice for row in evaluation.cases[0].structures] == [1.0] * 5


def moved(image: sitk.Image) -> sitk.Image:
    image.SetOrigin((3.5, -7.0, 11.0))
    return image


def rescaled(image: sitk.Image) -> sitk.Image:
    image.SetSpacing((1.0, 2.0, 2.5))
    return image


@pytest.mark.parametrize(
    "change", [moved, rescaled, lambda image: image[:, :, 1:], lambda image: image[:, :, ::2]]
)
def test_another_grid_is_refused_in_one_sentence(
    tmp_path: Path, change: Callable[[sitk.Image], sitk.Image]
):
    reference = write_map(a_reader(), tmp_path / "reference.nrrd")
    other = tmp_path / "other.nrrd"
    sitk.WriteImage(change(sitk.ReadImage(str(reference))), str(other))
    for pair in (CasePair("p01", other, reference), CasePair("p01", reference, other)):
        with pytest.raises(BadInputError, match=r"case p01 .* do not lie on the same voxels") as e:
            evaluate_pair(pair)
        assert str(e.value).count(".nrrd") == 2 and str(e.value).endswith(".")


def test_a_segmentation_cropped_by_slicer_is_put_where_it_belongs(tmp_path: Path):
    reader = a_reader()
    reference = write_map(reader, tmp_path / "reference.nrrd", (0.0, 0.0, 0.0))
    part = np.s_[:3, 1:11, 1:11]
    cropped = Geometry(reader[part].shape, SPACING_MM, (1.0, 2.0, 0.0), np.eye(3))
    write_segmentation(tmp_path / "cropped.seg.nrrd", reader[part], cropped)
    case = evaluate_pair(CasePair("p01", tmp_path / "cropped.seg.nrrd", reference))
    assert case.structure("Lesion").dice == 1.0
    assert case.structure("Lung").dice == pytest.approx(2 * 300 / 700)
    assert case.structure("Lung").slices == 4


def test_classes_that_were_inferred_count_for_the_total_lesion_only(tmp_path: Path):
    prediction = write_map(a_reader(), tmp_path / "prediction.nrrd")
    reference = write_map(a_reader(), tmp_path / "p01" / "labels.nrrd")
    (tmp_path / "p01" / "case.json").write_text(json.dumps({"class_inferred_slices": [2]}))
    case = evaluate_pair(CasePair("p01", prediction, reference))
    assert case.structure("Lesion").dice == 1.0
    assert case.structure("GGO").slices == 3
    assert case.structure("GGO").dice == 1.0
    assert math.isnan(case.structure("High opacity").dice)


@pytest.mark.parametrize("text", ["{", "[]", '{"class_inferred_slices": [99]}'])
def test_a_broken_case_file_is_refused(tmp_path: Path, text: str):
    prediction = write_map(a_reader(), tmp_path / "prediction.nrrd")
    reference = write_map(a_reader(), tmp_path / "p01" / "labels.nrrd")
    (tmp_path / "p01" / "case.json").write_text(text)
    with pytest.raises(BadInputError, match="class_inferred_slices"):
        evaluate_pair(CasePair("p01", prediction, reference))


def test_only_a_reference_may_hold_lesion_of_unknown_class(tmp_path: Path):
    labels = a_reader()
    labels[labels == 3] = 4
    unknown = write_map(labels, tmp_path / "unknown.nrrd")
    known = write_map(a_reader(), tmp_path / "known.nrrd")
    assert evaluate_pair(CasePair("p01", known, unknown)).structure("Lesion").dice == 1.0
    with pytest.raises(BadInputError, match="only a reference may"):
        evaluate_pair(CasePair("p01", unknown, known))


def test_the_files_hold_every_case_blank_where_undefined(cohort: tuple[Path, Path], tmp_path: Path):
    evaluation = evaluated(cohort)
    (tmp_path / "out").mkdir()
    names = write_evaluation(tmp_path / "out", evaluation, with_figures=False)
    assert sorted(names) == sorted(EVALUATION_FILES)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == sorted(names)

    with (tmp_path / "out" / "cases.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 5
    first = next(row for row in rows if (row["case"], row["structure"]) == ("case0", "GGO"))
    assert first["dice"] == "" and first["reason"] == "the reference has no GGO"
    assert float(first["volume_error_ml"]) == pytest.approx(0.02)

    result = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert result["disclaimer"] == DISCLAIMER
    assert result["cases"][0]["structures"][3]["dice"] is None
    assert result["agreement"][0]["structure"] == "Lung"
    assert str(tmp_path) not in json.dumps(result)
    page = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert DISCLAIMER in page and "0.70 ± 0.08" in page and "<img" not in page


def test_the_page_has_a_figure_for_each_agreement(cohort: tuple[Path, Path]):
    pytest.importorskip("matplotlib")
    evaluation = evaluated(cohort)
    page = evaluation_page(evaluation, with_figures=True)
    figures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', page)
    assert len(figures) == len(evaluation.agreement) == 7
    lesion = b64decode(figures[1]).decode("utf-8")
    ElementTree.fromstring(lesion)
    assert "Lesion volume" in lesion and "software − reader (mL)" in lesion
    assert "n = 4" in lesion and "bias 0.035" in lesion


def test_the_same_numbers_give_the_same_figure():
    pytest.importorskip("matplotlib")
    values, reference = [1.0, 2.0, 4.0], [1.5, 2.0, 3.0]
    first, second = (
        agreement_figure(
            "volume", "mL", ("a", "b"), values, reference, paired_agreement(values, reference)
        )
        for _ in range(2)
    )
    assert first == second


def test_without_matplotlib_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("CovidLungQuantLib.cohort.figures.find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=r"covidlungquant\[study\].*--no-figures"):
        check_figures_possible()


def test_where_lung_is_unknown_lung_is_not_compared_and_lesion_is_wrong(tmp_path: Path):
    reference = a_reader(20)
    reference[3, 1:11, 1:11] = 255
    found = a_reader(20)
    found[3, 1:3, 1:11] = 2
    found[3, 3:5, 1:11] = 0
    pair = CasePair(
        "a", write_map(found, tmp_path / "a.nrrd"), write_map(reference, tmp_path / "b.nii.gz")
    )
    case = evaluate_pair(pair)
    for name in ("Lung", "Normal lung"):
        structure = case.structure(name)
        assert (structure.dice, structure.mean_surface_distance_mm) == (1.0, 0.0)
        assert structure.volume_ml == structure.reference_volume_ml
    assert case.structure("Lung").volume_ml == pytest.approx(300 * 0.01)
    # 22 voxels in both, 20 more in the segmentation.
    lesion = case.structure("Lesion")
    assert lesion.dice == pytest.approx(2 * 22 / (22 + 42))
    assert lesion.volume_error_ml == pytest.approx(20 * 0.01)
    # Of the lung that is known.
    assert lesion.extent_percent == lesion.reference_extent_percent == pytest.approx(22 / 3)


def test_a_segmentation_leaves_nothing_open(tmp_path: Path):
    found = a_reader()
    found[3, 5, 5] = 255
    files = write_map(found, tmp_path / "a.nrrd"), write_map(a_reader(), tmp_path / "b.nrrd")
    with pytest.raises(BadInputError, match=r"lung or not is unknown \(value 255\), which only a"):
        evaluate_pair(CasePair("a", *files))


def test_a_real_annotation_moved_by_a_slice(test_data: Path, tmp_path: Path):
    reference = test_data / "labelled" / "covid11" / "labels.nrrd"
    image = sitk.ReadImage(str(reference))
    voxels = sitk.GetArrayFromImage(image)
    shifted = np.zeros_like(voxels)
    shifted[1:] = voxels[:-1]
    # The reader stated no class and left open whether some voxels are lung; a segmentation must
    # say both.
    shifted[shifted == 4] = 2
    shifted[shifted == 255] = 0
    moved_image = sitk.GetImageFromArray(shifted)
    moved_image.CopyInformation(image)
    sitk.WriteImage(moved_image, str(tmp_path / "moved.nrrd"))
    case = evaluate_pair(CasePair("covid11", tmp_path / "moved.nrrd", reference))
    lesion, lung, ggo = (case.structure(name) for name in ("Lesion", "Lung", "GGO"))
    # The slices are 2 mm thick, and so is the step: patches a few slices high lose a sixth.
    assert 0.8 < lesion.dice < 1 and 0.95 < lung.dice < 1
    assert 0 < lesion.mean_surface_distance_mm <= image.GetSpacing()[2]
    assert lesion.hausdorff95_mm <= image.GetSpacing()[2]
    assert ggo.reason == "the reference states no class of lesion"
