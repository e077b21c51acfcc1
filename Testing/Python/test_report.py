"""The report page and its pictures."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from markupsafe import escape
from small_chest import MODEL_NAME, SHAPE, a_ct, a_label_map, a_quantification

from CovidLungQuantLib.ct import CTVolume, Geometry, lps_oriented, orient_like, restore_orientation
from CovidLungQuantLib.display.density import density_colors, density_picture
from CovidLungQuantLib.display.pictures import (
    box_around_lungs,
    choose_axial_slices,
    choose_coronal_plane,
    encode_grey_png,
    encode_labels_png,
    encode_palette_png,
    window_grey,
)
from CovidLungQuantLib.labels import DISCLAIMER, LABELS, LUNG_DECISIONS, LUNG_SEGMENTS
from CovidLungQuantLib.measures.severity import severity_notes
from CovidLungQuantLib.outputs.report import report_html

PNG_URI = re.compile(r'<image ([^>]*)href="data:image/png;base64,([^"]+)"')


def read_png(content: bytes, folder: Path) -> np.ndarray:
    (folder / "picture.png").write_bytes(content)
    return sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "picture.png")))


class OpenTags(HTMLParser):
    """Collects tags that are not closed in order."""

    VOID = ("meta", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        """Closed at once."""

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_the_window_goes_from_black_to_white():
    hu = np.array([[-3000, -1150, -400, 350, 3000]], dtype=np.int16)

    assert window_grey(hu).tolist() == [[0, 0, 128, 255, 255]]


def test_a_grey_png_holds_the_picture(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 13)).astype(np.uint8)

    np.testing.assert_array_equal(read_png(encode_grey_png(picture), tmp_path), picture)


def test_a_label_png_holds_the_labels_colours_and_opacities(tmp_path: Path):
    picture = np.array([[0, 1], [2, 3]], dtype=np.uint8)

    rgba = read_png(encode_labels_png(picture), tmp_path)

    assert rgba[0, 0, 3] == 0
    for label, pixel in zip(LABELS, (rgba[0, 1], rgba[1, 0], rgba[1, 1]), strict=True):
        expected = [round(255 * part) for part in (*label.color, label.opacity)]
        assert pixel.tolist() == expected


def test_slices_are_spread_evenly_and_show_the_largest_lesion_of_their_stretch():
    labels = np.zeros((60, 4, 4), dtype=np.uint8)
    labels[10:50] = 1
    labels[12, 0, 0] = 2
    labels[14, 0, :3] = 3
    labels[39, 0, 0] = 2

    assert choose_axial_slices(labels, 4) == [14, 24, 39, 44]


def test_fewer_slices_than_asked_are_all_shown_and_none_for_an_empty_map():
    labels = np.zeros((9, 2, 2), dtype=np.uint8)
    assert choose_axial_slices(labels, 6) == []
    labels[3:6] = 1
    assert choose_axial_slices(labels, 6) == [3, 4, 5]


def test_the_coronal_plane_shows_most_lesion_else_most_lung():
    labels = np.zeros((4, 9, 4), dtype=np.uint8)
    labels[:2, 2:8] = 1
    labels[:, 5] = 1
    assert choose_coronal_plane(labels) == 5
    labels[0, 7, :2] = 2
    assert choose_coronal_plane(labels) == 7


def test_the_box_is_the_lungs_with_a_margin_in_millimetres():
    labels = np.zeros((20, 30, 40), dtype=np.uint8)
    labels[5:8, 10:12, 1:39] = 1

    box = box_around_lungs(labels, (1.0, 2.0, 5.0), 10.0)

    assert box == (slice(3, 10), slice(5, 17), slice(0, 40))
    everything = box_around_lungs(np.zeros_like(labels), (1.0, 2.0, 5.0), 10.0)
    assert everything == (slice(0, 20), slice(0, 30), slice(0, 40))


def test_the_page_is_self_contained_and_well_formed():
    page = report_html(a_quantification())

    assert not re.search(r'(href|src)="(?!data:|#)', page)
    assert "http" not in page and "<script" not in page and "@import" not in page
    tags = OpenTags()
    tags.feed(page)
    assert (tags.open, tags.wrong) == ([], [])


def test_the_page_says_what_it_must():
    quantification = a_quantification()
    page = report_html(quantification)
    both = quantification.measurements.regions[0]

    assert DISCLAIMER in page
    assert "Slices are 6 mm thick – &#34;blurred&#34;; see a:b." in page
    assert MODEL_NAME in page and "ab" * 32 in page
    assert f'<span class="number">{both.lesion_percent:.1f} <small>%' in page
    assert "pleural effusion" in page
    for region in ("Both lungs", "Right lung", "Left lung"):
        assert f"<td>{region}</td>" in page


def test_what_the_lung_network_decided_is_drawn_where_most_of_it_lies(tmp_path: Path):
    quantification = a_quantification()
    assert "lung network sees other lungs" not in report_html(quantification)
    orientation = lps_oriented(quantification.ct)[1]
    upright = np.zeros_like(orient_like(quantification.labels, orientation))
    z, y, x = np.argwhere(orient_like(quantification.labels, orientation) > 0)[0]
    upright[z, y, x : x + 3] = [label.value for label in LUNG_DECISIONS]
    decisions = restore_orientation(upright, orientation)
    page = report_html(replace(quantification, lung_decisions=decisions))
    part = page.split("Where the lung network sees other lungs")[1].split("<h2>")[0]
    assert f"Axial slice {z + 1} of" in part and f"Coronal plane {y + 1} of" in part
    pictures = [read_png(b64decode(uri), tmp_path) for _, uri in PNG_URI.findall(part)]
    overlays = [picture for picture in pictures if picture.ndim == 3]
    assert len(overlays) == 2
    for overlay in overlays:
        shown = {tuple(colour[:3]) for colour in overlay[overlay[..., 3] > 0].tolist()}
        assert shown == {
            tuple(round(255 * share) for share in label.color) for label in LUNG_DECISIONS
        }


def test_names_cannot_break_the_page():
    page = report_html(a_quantification(a_ct(name='<img src=x>&"')))

    assert "<img" not in page
    assert "&lt;img src=x&gt;&amp;&#34;" in page


def test_no_warnings_no_box():
    page = report_html(replace(a_quantification(), warnings=()))

    assert 'class="warnings"' not in page


def test_the_same_quantification_gives_the_same_page():
    assert report_html(a_quantification()) == report_html(a_quantification())


def test_pictures_keep_true_proportions_and_come_in_pairs(tmp_path: Path):
    page = report_html(a_quantification(a_ct(np.eye(3))))
    pictures = PNG_URI.findall(page)

    # Six axial slices and a coronal plane: the CT once, the labels once. Then, over the CT of
    # three of the slices and the coronal plane, the density of the lesions.
    assert len(pictures) == 2 * 7 + 4
    for attributes, uri in pictures[: 2 * 7 : 2]:
        grey = read_png(b64decode(uri), tmp_path)
        width_mm = float(re.search(r'width="([\d.]+)"', attributes)[1])
        height_mm = float(re.search(r'height="([\d.]+)"', attributes)[1])
        row_mm = 2.1 if 'id="coronal' in attributes else 0.71
        assert width_mm == round(grey.shape[1] * 0.7, 2)
        assert height_mm == round(grey.shape[0] * row_mm, 2)


def test_a_flipped_scan_gives_the_pictures_of_the_upright_one():
    upright = a_quantification(a_ct(np.eye(3)))
    geometry = upright.ct.geometry
    last = geometry.ijk_to_lps @ [SHAPE[2] - 1, SHAPE[1] - 1, SHAPE[0] - 1, 1.0]
    turned_geometry = Geometry(SHAPE, geometry.spacing_mm, tuple(last[:3]), -np.eye(3))
    turned_ct = CTVolume(np.ascontiguousarray(upright.ct.hu[::-1, ::-1, ::-1]), turned_geometry)
    turned = replace(
        upright,
        ct=turned_ct,
        labels=upright.labels[::-1, ::-1, ::-1],
        lungs=upright.lungs[::-1, ::-1, ::-1],
    )

    assert PNG_URI.findall(report_html(turned)) == PNG_URI.findall(report_html(upright))


def test_the_patients_right_is_on_the_left_of_the_picture_and_the_front_on_top(tmp_path: Path):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[4, 5, 4:20] = 1
    # In LPS a small x is the patient's right, a small y the front.
    labels[4, 5, 4] = 2
    page = report_html(a_quantification(a_ct(np.eye(3)), labels))

    rgba = read_png(b64decode(PNG_URI.findall(page)[1][1]), tmp_path)

    blue = [round(255 * part) for part in LABELS[1].color]
    rows, columns = np.nonzero((rgba[..., :3] == blue).all(axis=-1))
    assert columns.tolist() == [4] and rgba.shape[1] == SHAPE[2]
    assert rows.tolist() == [5] and rgba.shape[0] == SHAPE[1]


def test_a_scan_without_labels_still_gives_a_page():
    page = report_html(a_quantification(labels=np.zeros_like(a_label_map())))

    assert '<span class="number">– <small>%' in page
    assert len(PNG_URI.findall(page)) == 2


def test_severity_stands_in_the_page_with_its_bins():
    quantification = a_quantification(lobes=True)
    page = report_html(quantification)
    severity = quantification.measurements.severity

    for name, score, highest in (
        ("Lobe CT score", severity.ct_score, 25),
        ("CT-SS (approximation)", severity.ct_severity_score, 40),
        ("Total severity score", severity.total_severity_score, 20),
    ):
        tile = f'<span class="name">{name}</span><br><span class="number">{score} <small>'
        assert tile + f"of {highest}</small>" in page
    for note in severity_notes(severity.minimum_lesion_ml):
        assert page.count(escape(note)) == 1
    for segment in LUNG_SEGMENTS:
        assert segment.short_name in page
    for lobe in ("Right upper lobe", "Left lower lobe"):
        assert f"<td>{lobe}</td>" in page


def test_a_page_with_severity_is_well_formed_and_names_each_picture_once():
    page = report_html(a_quantification(lobes=True))

    tags = OpenTags()
    tags.feed(page)
    assert (tags.open, tags.wrong) == ([], [])
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<use href="#([^"]+)"', page)) <= set(ids)


def test_without_lobes_there_is_no_severity_in_the_page():
    page = report_html(a_quantification())

    assert "Severity" not in page and "CT-SS" not in page


def test_an_unknown_score_is_a_dash_and_never_zero():
    quantification = a_quantification(lobes=True)
    severity = quantification.measurements.severity
    unknown = replace(severity.lobes[1], involved=None, ct_score=None, total_severity_score=None)
    severity = replace(severity, lobes=(severity.lobes[0], unknown, *severity.lobes[2:]))
    measurements = replace(quantification.measurements, severity=severity)

    page = report_html(replace(quantification, measurements=measurements))

    tile = '<span class="name">Lobe CT score</span><br><span class="number">– <small>of 25'
    assert tile in page
    assert "unknown: a lobe or region is missing" in page


def test_the_comparison_with_normal_lungs_stands_in_the_page():
    quantification = a_quantification()
    page = report_html(quantification)

    distance = quantification.measurements.comparison.hellinger_distance
    assert f"<td>Hellinger distance from normal lungs</td><td>{distance:.2f}</td>" in page
    assert "normal_001" in page


def test_density_goes_from_cold_to_warm():
    hu = np.array([[-2000, -800, -771, -770, 69, 71, 3000, 0]], dtype=np.int16)
    lesion = np.array([[True] * 7 + [False]])

    picture = density_picture(hu, lesion)

    assert picture.tolist() == [[1, 1, 1, 2, 29, 30, 30, 0]]
    colors = density_colors()
    assert len(colors) == 30
    assert colors[0][2] > colors[0][0] and colors[-1][0] > colors[-1][2]


def test_a_palette_png_has_the_colours_asked_for(tmp_path: Path):
    picture = np.array([[0, 2, 1]], dtype=np.uint8)

    rgba = read_png(
        encode_palette_png(picture, [(1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 0.2)]), tmp_path
    )

    assert rgba[0, 0, 3] == 0
    assert rgba[0, 1:].tolist() == [[0, 0, 255, 51], [255, 0, 0, 255]]
