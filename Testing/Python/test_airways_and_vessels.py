"""Airways, vessels and the enhanced scan in a run: numbers, files and the page."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from small_airways_and_vessels import AIRWAY, PARENCHYMA_HU, VESSEL, an_enhanced_quantification
from small_model import small_model

from CovidLungQuantLib.display.enhancement import enhancement_facts, vessel_band_names
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.labels import (
    AIRWAYS,
    AIRWAYS_AND_VESSELS,
    GGO,
    HIGH_OPACITY,
    NORMAL_LUNG,
    SUB_VISUAL_LESION,
    VESSELS,
)
from CovidLungQuantLib.lesions.airways_and_vessels import (
    FIND_AIRWAYS_AND_VESSELS,
    REMOVE_AIRWAYS_AND_VESSELS,
)
from CovidLungQuantLib.lesions.enhancement import VESSEL_BANDS_MM
from CovidLungQuantLib.lesions.kinds import THRESHOLDS
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.measures.airways_and_vessels import (
    measure_airways_and_vessels,
    missing_airways_or_vessels,
    removal_note,
    volumes_note,
)
from CovidLungQuantLib.outputs.folder import check_output_folder, write_results
from CovidLungQuantLib.outputs.report import report_html
from CovidLungQuantLib.outputs.table import result_dict
from CovidLungQuantLib.phantom import chest_phantom
from CovidLungQuantLib.pipeline import (
    NO_LOBES,
    Options,
    Quantification,
    check_options,
    enhance,
    measure,
    quantify,
)
from CovidLungQuantLib.terminology import label_of_segment, terminology_entry


@pytest.fixture(scope="module")
def run() -> Quantification:
    return an_enhanced_quantification()


def test_volumes_and_the_share_of_the_lungs_are_exact():
    airways_and_vessels, labels = np.zeros((10, 10, 10), np.uint8), np.zeros((10, 10, 10), np.uint8)
    labels[:, :, :5] = NORMAL_LUNG.value
    airways_and_vessels[0, 0, :4], airways_and_vessels[1, :2, :5] = AIRWAYS.value, VESSELS.value

    measured = measure_airways_and_vessels(airways_and_vessels, labels, 0.5)

    assert (measured.airways_ml, measured.vessels_ml, measured.vessels_percent) == (2.0, 5.0, 2.0)
    note = volumes_note(measured)
    assert "Airways: 2.0 mL" in note and "Vessels: 5.0 mL" in note and "2.0 % of the lung" in note


def test_without_lungs_the_share_is_unknown():
    nothing = np.zeros((4, 4, 4), np.uint8)
    assert math.isnan(measure_airways_and_vessels(nothing, nothing, 1.0).vessels_percent)


def test_what_was_removed_is_said_class_by_class():
    before = np.full((4, 4, 4), NORMAL_LUNG.value, np.uint8)
    before[0], before[1] = GGO.value, HIGH_OPACITY.value
    after = before.copy()
    after[0, 0], after[1, 0, 0] = NORMAL_LUNG.value, NORMAL_LUNG.value
    note = removal_note(before, after, 0.5)
    assert "2.0 mL of GGO and 0.5 mL of high opacity" in note


def test_what_was_not_found_is_no_silent_zero():
    some, none = np.ones((1, 1, 1), bool), np.zeros((1, 1, 1), bool)
    assert missing_airways_or_vessels(some, some) == ()
    assert [w.code for w in missing_airways_or_vessels(none, none)] == ["no_airways", "no_vessels"]


@pytest.mark.parametrize("label", [*AIRWAYS_AND_VESSELS, SUB_VISUAL_LESION])
def test_none_of_them_is_ever_taken_for_a_label_that_is_measured(label):
    assert label_of_segment(label.segment_id, terminology_entry(label), label.name) is None


def test_the_files_hold_what_was_found(run: Quantification, tmp_path: Path):
    write_results(tmp_path / "out", run)

    airways_and_vessels = sitk.ReadImage(str(tmp_path / "out" / "airways-and-vessels.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(airways_and_vessels), run.airways_and_vessels)
    for index, label in enumerate(AIRWAYS_AND_VESSELS):
        assert airways_and_vessels.GetMetaData(f"Segment{index}_ID") == label.segment_id
        assert airways_and_vessels.GetMetaData(f"Segment{index}_LabelValue") == str(label.value)
        assert terminology_entry(label) in airways_and_vessels.GetMetaData(f"Segment{index}_Tags")
    enhanced = sitk.ReadImage(str(tmp_path / "out" / "enhanced.nrrd"))
    assert enhanced.GetOrigin() == run.ct.geometry.origin_mm
    array = sitk.GetArrayFromImage(enhanced)
    assert array.dtype == np.int16 and np.array_equal(array, run.enhancement.enhanced_hu)
    sub_visual = sitk.ReadImage(str(tmp_path / "out" / "sub-visual-lesions.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(sub_visual) > 0, run.enhancement.sub_visual)
    # The label map keeps its one layer of 1, 2, 3.
    labels = sitk.ReadImage(str(tmp_path / "out" / "segmentation.seg.nrrd"))
    assert np.array_equal(sitk.GetArrayFromImage(labels), run.labels)
    check_output_folder(tmp_path / "out", overwrite=True)


def test_the_result_holds_the_numbers(run: Quantification):
    stored = json.loads(json.dumps(result_dict(run), allow_nan=False))

    lung_ml = np.count_nonzero(run.labels) / 1000
    vessel_ml = np.count_nonzero(run.airways_and_vessels == VESSELS.value) / 1000
    assert stored["airways_and_vessels"] == {
        "airways_ml": pytest.approx(18 * 4 * 4 / 1000),
        "vessels_ml": pytest.approx(vessel_ml),
        "vessels_percent": pytest.approx(100 * vessel_ml / lung_ml),
    }
    enhancement = stored["enhancement"]
    assert enhancement["baseline_hu"] == PARENCHYMA_HU
    assert enhancement["bias_hu"] == PARENCHYMA_HU + 850
    assert enhancement["vessel_bands_mm"][-1] == [VESSEL_BANDS_MM[-1][0], None]
    assert [row["name"] for row in enhancement["severities"]] == ["lesions", "sub-visual lesions"]
    assert len(enhancement["severities"][0]["bands_hu"]) == len(VESSEL_BANDS_MM)
    assert stored["provenance"]["options"]["enhance"] is True


def test_a_run_without_them_says_so(run: Quantification):
    plain = replace(run, airways_and_vessels=None, enhancement=None)
    stored = result_dict(plain)
    assert stored["airways_and_vessels"] is None and stored["enhancement"] is None
    assert "Enhanced lung" not in report_html(plain)


class _Ids(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.defined: list[str] = []
        self.used: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.defined.append(values["id"])
        if tag == "use":
            self.used.append(values["href"].removeprefix("#"))


def test_the_page_shows_the_enhanced_scan_with_bias_window_and_sums(run: Quantification):
    page = report_html(run)

    assert "Enhanced lung" in page and "+10.0 HU against −850 HU" in page
    for name, text in enhancement_facts(run.enhancement):
        assert name.capitalize() in page and text.replace("-8", "−8") in page
    for name in vessel_band_names():
        assert name in page
    width_hu = 4 * run.enhancement.window_width_hu
    assert re.search(rf"width {width_hu:.0f} HU, 4 times the optimal window", page)
    assert "Sub-visual lesions are" in page
    ids = _Ids()
    ids.feed(page)
    assert len(set(ids.defined)) == len(ids.defined)
    assert set(ids.used) <= set(ids.defined)


def test_a_flipped_scan_shows_the_same_enhanced_pictures(run: Quantification):
    def pictures(quantification: Quantification) -> list[str]:
        section = report_html(quantification).split("Enhanced lung")[1].split("<h2>")[0]
        return re.findall(r'href="(data:[^"]+)"', section)

    shown = pictures(run)
    assert len(shown) == 3
    assert pictures(an_enhanced_quantification(np.diag([-1.0, 1.0, -1.0]))) == shown


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model") / "small.pt"
    save_model(path, small_model().network)
    return str(path)


@pytest.fixture(scope="module")
def phantom_run(model_path: str) -> tuple[Quantification, Quantification]:
    """Return a run with everything and one with nothing of it, of a coarse chest."""
    ct = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5)).ct
    # The small network calls everything lesion; by its density most of it is normal lung again.
    plain = Options("cpu", model_path, THRESHOLDS, lobes=NO_LOBES)
    everything = replace(plain, airways_and_vessels=REMOVE_AIRWAYS_AND_VESSELS, enhance=True)
    return quantify(ct, everything), quantify(ct, plain)


def test_a_run_takes_vessels_in_normal_lung_out_and_changes_nothing_else(phantom_run):
    run, plain = phantom_run
    assert plain.airways_and_vessels is None and plain.enhancement is None
    changed = run.labels != plain.labels
    assert changed.any()
    assert (run.labels[changed] == NORMAL_LUNG.value).all()
    assert np.array_equal(run.lungs, plain.lungs)
    airways_and_vessels = run.airways_and_vessels
    assert set(np.unique(airways_and_vessels)) == {0, AIRWAYS.value, VESSELS.value}
    assert (run.labels[airways_and_vessels == VESSELS.value] > 0).all()
    notes = run.measurements.notes
    measured = measure_airways_and_vessels(
        airways_and_vessels, run.labels, run.ct.geometry.voxel_volume_ml
    )
    assert volumes_note(measured) in notes
    assert notes[-1] == removal_note(plain.labels, run.labels, run.ct.geometry.voxel_volume_ml)
    assert run.provenance.options["airways_and_vessels"] == REMOVE_AIRWAYS_AND_VESSELS
    assert run.provenance.options["enhance"] is True


def test_measuring_again_keeps_them_and_gives_the_same_numbers(phantom_run):
    run, _ = phantom_run
    again = measure(run.ct, run.labels, airways_and_vessels=run.airways_and_vessels)
    assert again.measurements.regions == run.measurements.regions
    assert again.airways_and_vessels is run.airways_and_vessels
    volumes = [note for note in run.measurements.notes if note.startswith("Airways: ")]
    assert again.measurements.notes[-1:] == tuple(volumes)
    with pytest.raises(BadInputError, match="do not lie on the voxels"):
        measure(run.ct, run.labels, airways_and_vessels=run.airways_and_vessels[1:])


def test_a_run_enhances_as_the_command_does(phantom_run):
    run, _ = phantom_run
    again = enhance(run.ct, run.labels, find_sub_visual=True)
    assert np.array_equal(again.airways, run.airways_and_vessels == AIRWAYS.value)
    assert again.enhancement.baseline_hu == run.enhancement.baseline_hu
    assert again.enhancement.severities == run.enhancement.severities
    assert np.array_equal(again.enhancement.enhanced_hu, run.enhancement.enhanced_hu)


def test_what_cannot_be_enhanced_is_still_quantified(
    model_path: str, monkeypatch: pytest.MonkeyPatch
):
    ct = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5)).ct
    # No lung can hold as much parenchyma as this.
    monkeypatch.setattr("CovidLungQuantLib.lesions.enhancement.SMALLEST_PARENCHYMA_ML", 1e6)
    run = quantify(ct, Options("cpu", model_path, THRESHOLDS, lobes=NO_LOBES, enhance=True))
    assert run.enhancement is None and run.airways_and_vessels is not None
    assert "not_enhanced" in [warning.code for warning in run.warnings]


def test_an_unknown_way_with_vessels_is_refused():
    with pytest.raises(BadInputError, match="none, find or remove"):
        check_options(Options("cpu", airways_and_vessels="eat"))
    check_options(Options("cpu", airways_and_vessels=FIND_AIRWAYS_AND_VESSELS))


def test_the_drawn_scan_is_what_it_says(run: Quantification):
    assert (run.enhancement.enhanced_hu[VESSEL] == 0).all()
    assert (run.airways_and_vessels[AIRWAY] == AIRWAYS.value).all()
