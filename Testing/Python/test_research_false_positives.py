"""What a model marks in scans without pneumonia, and where."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from small_model import small_model

from CovidLungQuantLib.labels import LEFT_LUNG_VALUE, RIGHT_LUNG_VALUE
from CovidLungQuantLib.lesions.lesion_model import save_model
from research import false_positives
from research.false_positives import PLACES, places_in_lungs

SPACING_MM = (8.0, 8.0, 8.0)


def test_every_voxel_counts_to_the_first_place_it_is_near():
    # Two boxes of 5×5×5 voxels with one voxel between them; z 1…5, y 1…5, x 1…5 and 7…11.
    lungs = np.zeros((7, 7, 13), np.uint8)
    lungs[1:6, 1:6, 1:6] = RIGHT_LUNG_VALUE
    lungs[1:6, 1:6, 7:12] = LEFT_LUNG_VALUE
    lobes = np.where(lungs == LEFT_LUNG_VALUE, 4, lungs // 2).astype(np.uint8)
    lobes[1:6, 1:6, 1] = 3
    vessels = np.zeros(lungs.shape, bool)
    vessels[4, 3, 4] = vessels[1, 3, 2] = True
    places = places_in_lungs(lungs, lobes, vessels, SPACING_MM)
    expected = {
        (4, 3, 4): "vessels",
        (1, 3, 2): "vessels",
        (4, 3, 1): "fissures",
        (4, 3, 2): "fissures",
        (1, 3, 3): "lower edge",
        (2, 3, 3): "lower edge",
        (4, 3, 5): "mediastinum",
        (4, 3, 7): "mediastinum",
        (4, 1, 3): "chest wall",
        (5, 3, 3): "chest wall",
        (4, 3, 11): "chest wall",
        (3, 3, 3): "elsewhere",
        (3, 3, 8): "elsewhere",
    }
    assert {voxel: PLACES[places[voxel] - 1] for voxel in expected} == expected
    assert np.array_equal(places > 0, lungs > 0)
    # The other lung's lobes are no fissure, however near.
    assert not (places[:, :, 6:] == PLACES.index("fissures") + 1).any()


def test_the_table_parts_what_is_marked_still_and_breathing(
    tmp_path, coarse_phantom, monkeypatch, capsys
):
    save_model(tmp_path / "model.pt", small_model().network)
    arguments = ["false_positives", str(tmp_path / "model.pt"), str(coarse_phantom)]
    monkeypatch.setattr("sys.argv", [*arguments, "-o", str(tmp_path / "table.csv")])
    false_positives.main()
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    still, moved = rows
    assert moved["scan"] == f"{still['scan']}, breathing"
    assert moved["lesion_ml"] != still["lesion_ml"]
    keys = [name.replace(" ", "_") for name in PLACES]
    printed = capsys.readouterr().out
    for row in rows:
        assert sum(float(row[f"{key}_lung_percent"]) for key in keys) == pytest.approx(100.0)
        parts_ml = sum(float(row[f"{key}_ml"]) for key in keys) + float(row["outside_lungs_ml"])
        assert parts_ml == pytest.approx(float(row["lesion_ml"]))
        assert float(row["lesion_ml"]) > 0
        assert f"{row['scan']}: {float(row['extent_percent']):.2f} %" in printed
