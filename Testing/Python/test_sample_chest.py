"""The chest to try the module on: small, attributed, as its pages say, and made by its script."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from CovidLungQuantLib.ct import CTVolume, Geometry, read_ct
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.measures.overlap import dice
from CovidLungQuantLib.pipeline import Options, quantify
from research import sample_chest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "CovidLungQuant" / "Resources" / "SampleData"
CT_FILE = FOLDER / sample_chest.CT_FILE
TRUTH_FILE = FOLDER / sample_chest.TRUTH_FILE
LARGEST_SUM_BYTES = 6_000_000
DOI = "10.7937/K9/TCIA.2015.LO9QL9SX"
LICENCE = "https://creativecommons.org/licenses/by/3.0/"


@pytest.fixture(scope="module")
def ct() -> CTVolume:
    return read_ct(CT_FILE)


@pytest.fixture(scope="module")
def truth(ct: CTVolume) -> np.ndarray:
    return read_segmentation(TRUTH_FILE, ct.geometry)[0]


def test_it_is_small_and_its_header_holds_geometry_only() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) <= LARGEST_SUM_BYTES
    header = CT_FILE.read_bytes().split(b"\n\n")[0].decode("ascii")
    fields = {line.split(":")[0] for line in header.splitlines()[1:] if not line.startswith("#")}
    assert fields == {
        "type",
        "dimension",
        "space",
        "sizes",
        "space directions",
        "kinds",
        "endian",
        "encoding",
        "space origin",
    }


@pytest.mark.parametrize("page", [FOLDER / "README.md", ROOT / "README.md"])
def test_source_and_licence_stand_beside_it_and_in_the_readme(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "Armato" in text and DOI in text and LICENCE in text


def test_lesions_lie_in_both_lungs_as_its_page_says(ct: CTVolume, truth: np.ndarray) -> None:
    volumes_ml = np.bincount(truth.ravel())[1:] * ct.geometry.voxel_volume_ml
    percent = 100.0 * volumes_ml[1:].sum() / volumes_ml.sum()
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    said = [float(number) for number in re.findall(r"\((\d+) mL\)", text)]
    assert said == [round(volume) for volume in volumes_ml]
    assert f"{percent:.1f} % of the lungs are lesion" in text
    middle = truth.shape[2] // 2
    for half in (truth[:, :, :middle], truth[:, :, middle:]):
        assert 0.15 < (half > 1).sum() / (half > 0).sum() < 0.25


@pytest.mark.slow
def test_it_is_found_as_the_readme_says(ct: CTVolume, truth: np.ndarray) -> None:
    labels = quantify(ct, Options(device="cpu")).labels
    masks = {
        "total lesion": (labels >= GGO.value, truth >= GGO.value),
        "GGO": (labels == GGO.value, truth == GGO.value),
        "high opacity": (labels == HIGH_OPACITY.value, truth == HIGH_OPACITY.value),
        "lungs": (labels > 0, truth > 0),
    }
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, (found, painted) in masks.items():
        row = re.search(rf"^\| {name} \| (\d+) mL.* \| (\d+) mL.* \| ([\d.]+) \|$", text, re.M)
        assert row is not None, name
        painted_ml, found_ml = (
            mask.sum() * ct.geometry.voxel_volume_ml for mask in (painted, found)
        )
        assert float(row[1]) == round(painted_ml)
        # Machines differ in the last bits of what a network computes.
        assert float(row[2]) == pytest.approx(found_ml, rel=0.01)
        assert float(row[3]) == pytest.approx(dice(found, painted), abs=0.005)


@pytest.mark.slow
def test_the_script_makes_it_again(test_data: Path, ct: CTVolume, truth: np.ndarray) -> None:
    scan = read_ct(test_data / "unlabelled" / "lidc_0001" / "ct.nrrd")
    made, labels = sample_chest.sample_chest(scan)
    assert np.array_equal(made.hu, ct.hu)
    assert np.array_equal(labels, truth)
    assert made.geometry.origin_mm == pytest.approx(ct.geometry.origin_mm)


def test_what_is_cut_off_leaves_every_voxel_where_it_was() -> None:
    hu = np.random.default_rng(0).integers(-2000, 2000, (133, 256, 8)).astype(np.int16)
    geometry = Geometry(hu.shape, (1.5, 1.5, 2.5), (-10.0, -20.0, -30.0), np.eye(3))
    part = sample_chest.cropped(CTVolume(hu, geometry))
    assert part.geometry.origin_mm == (-10.0, -20.0 + 30 * 1.5, -30.0 + 8 * 2.5)
    assert part.hu.shape == part.geometry.shape == (123, 206, 8)
    assert part.hu[0, 0, 3] == np.clip(hu[8, 30, 3], -1024, 600)


def test_lesions_begin_by_the_chest_wall_and_rather_low_and_at_the_back() -> None:
    lungs = np.zeros((30, 40, 60), np.uint8)
    lungs[2:28, 5:35, 5:27] = RIGHT_LUNG_VALUE
    lungs[2:28, 5:35, 33:55] = LEFT_LUNG_VALUE
    chances = sample_chest.chances_of_lesions(lungs, (3.0, 3.0, 3.0))
    assert not chances[lungs == 0].any()
    assert not chances[:, :, 24:36].any()
    low_back, high_back, low_front = chances[4, 30, 6], chances[25, 30, 6], chances[4, 9, 6]
    assert low_back > 2 * high_back and low_back > 2 * low_front
    assert chances[15, 20, 6] > 3 * chances[15, 20, 12] > 0


def test_painted_lesions_get_the_noise_of_soft_tissue() -> None:
    random = np.random.default_rng(1)
    hu = np.full((6, 60, 60), 50, np.int16)
    hu += np.rint(random.normal(0.0, 12.0, hu.shape)).astype(np.int16)
    hu[:, 20:40, 20:40] = -550
    lesions = np.zeros(hu.shape, bool)
    lesions[:, 20:40, 20:40] = True
    noisy = sample_chest.with_noise(hu, lesions, random)
    assert noisy[2:4, 25:35, 25:35].std() == pytest.approx(11.0, rel=0.2)
    assert np.array_equal(noisy[:, :10], hu[:, :10])
