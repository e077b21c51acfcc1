"""The lung network's card and pictures: figures of the tables, and planes of a scan."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from CovidLungQuantLib.anatomy.lung_network import ChestNetwork, LungNetworkConfig
from CovidLungQuantLib.anatomy.lung_weights import LUNG_MODEL_FILE, load_lung_model, save_lung_model
from CovidLungQuantLib.anatomy.threshold_lungs import BodyAndAir
from CovidLungQuantLib.labels import AIRLESS_LUNG, LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from research import lung_card, lung_pictures
from research.lung_bank import KnownLungs
from research.lung_figures import COLUMNS
from research.lungs import LungTrainingConfig
from research.tables import write_rows

RESULTS = Path(lung_card.__file__).parent / "results"


def row(scan: str, change: str, **figures: float) -> dict[str, object]:
    return {**dict.fromkeys(COLUMNS, 0.0), "scan": scan, "change": change, **figures}


def a_run(folder: Path) -> tuple[Path, Path]:
    """A model file, and the run folder that says how it was made."""
    run = folder / "run"
    run.mkdir()
    config = {**asdict(LungTrainingConfig(steps=7)), "scans": {"lungs": ["one", "two"]}}
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = folder / "tiny.pt"
    save_lung_model(model, ChestNetwork(LungNetworkConfig(channels=(4, 4, 8, 8))))
    return model, run


def test_the_card_has_means_and_worst_of_each_change(tmp_path: Path, monkeypatch):
    model, run = a_run(tmp_path)
    rows = [
        row("one", "as it is", truth_ml=5000, threshold_dice=0.9, joined_dice=0.98, removed_ml=300),
        row("one", "45 % from behind", truth_ml=5000, threshold_ml=2500, joined_ml=4500)
        | {"dense_percent": 45, "threshold_dense_percent": 5, "joined_dense_percent": 41},
        row("two", "45 % from behind", truth_ml=4000, threshold_ml=2800, joined_ml=4200)
        | {"dense_percent": 45, "threshold_dense_percent": 7, "joined_dense_percent": 47},
        row("two", "left pneumothorax", air_ml=400, threshold_air_ml=400, joined_air_ml=30),
    ]
    write_rows(tmp_path / "fold0.csv", COLUMNS, rows)
    arguments = [
        "lung_card",
        str(model),
        "--run",
        str(run),
        "--tables",
        str(tmp_path / "fold0.csv"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    lung_card.main()
    card = model.with_suffix(".md").read_text(encoding="utf-8")
    assert "| one | 5000 | 0.900 | 0.980 | 0 | 300 | 0.0 |" in card
    assert "| 45 % from behind | 2 | 60 (50) | -39.0 (-40.0) | 98 (90) | -1.0 (-4.0) |" in card
    assert "| left pneumothorax | 1 | 400 | 400 (400) | 30 (30) |" in card
    assert "2 scans; 7 steps of 4 samples" in card
    sha256 = model.with_suffix(".pt.sha256").read_text(encoding="utf-8").split()[0]
    assert sha256 in card


def test_the_shipped_card_says_what_the_tables_say():
    card = LUNG_MODEL_FILE.with_suffix(".md").read_text(encoding="utf-8")
    rows = []
    for table in sorted(RESULTS.glob(f"{LUNG_MODEL_FILE.stem}-fold*.csv")):
        with table.open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file)
    figures = card.partition("## Figures")[2]
    config = {**asdict(LungTrainingConfig()), "steps": 2500}
    made = lung_card.lung_card(
        LUNG_MODEL_FILE.stem, "", load_lung_model(LUNG_MODEL_FILE), config, 0, rows
    )
    assert rows and figures == made.partition("## Figures")[2]


def test_planes_show_what_the_network_took_in(monkeypatch):
    lungs = np.zeros((20, 30, 40), np.uint8)
    lungs[2:18, 4:26, 3:17] = RIGHT_LUNG_VALUE
    lungs[2:18, 4:26, 23:37] = LEFT_LUNG_VALUE
    by_air = np.where(np.arange(30)[:, None] < 12, lungs, 0).astype(np.uint8)
    hu = np.where(by_air > 0, -850, 40).astype(np.int16)
    everywhere = np.ones(lungs.shape, bool)
    found = BodyAndAir(by_air, everywhere, ~everywhere)
    scan = KnownLungs(hu, lungs, everywhere, found, (3.0, 3.0, 3.0))
    monkeypatch.setattr(lung_pictures, "find_body_and_air", lambda hu, spacing_mm: found)
    shares = np.stack([(lungs == value).astype(np.float32) for value in range(6)])
    monkeypatch.setattr(lung_pictures, "class_shares", lambda hu, spacing_mm, network: shares)
    coronal_by_air, coronal, axial_by_air, axial = lung_pictures.planes(hu, scan, None)
    assert coronal.shape == (20, 40, 3) and axial.shape == (30, 40, 3)
    grey = lung_pictures.painted(np.full((1, 1), 40), [])[0, 0]
    orange = 0.55 * grey + 0.45 * 255 * np.array(AIRLESS_LUNG.color)
    np.testing.assert_allclose(axial[20, 10], orange, atol=1)
    np.testing.assert_array_equal(axial_by_air[20, 10], grey)
    np.testing.assert_array_equal(coronal_by_air[0, 0], coronal[0, 0])


def test_thick_slices_are_means_of_thin_ones():
    hu = np.arange(7, dtype=np.int16)[:, None, None] * np.ones((1, 2, 2), np.int16)
    lungs = np.zeros(hu.shape, np.uint8)
    lungs[1:] = LEFT_LUNG_VALUE
    nothing = np.zeros(hu.shape, bool)
    scan = KnownLungs(hu, lungs, ~nothing, BodyAndAir(lungs, ~nothing, nothing), (1.0, 1.0, 3.0))
    thick = lung_pictures.thick_slices(scan)
    assert thick.hu[:, 0, 0].tolist() == [1, 4]
    assert thick.lungs[:, 0, 0].tolist() == [LEFT_LUNG_VALUE] * 2
    assert thick.spacing_mm == (1.0, 1.0, 9.0)
