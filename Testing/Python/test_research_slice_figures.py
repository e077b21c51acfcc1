"""Classes on single slices: joined with the reader's lungs, and means over enough of a class."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from small_model import small_model

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY, NORMAL_LUNG, UNKNOWN_LUNG_VALUE
from CovidLungQuantLib.lesions.lesion_model import save_model
from research import slice_figures
from research.slice_figures import class_dice, readers_anatomy, slice_scan


def a_slice() -> tuple[np.ndarray, np.ndarray]:
    """HU and labels of two lungs with GGO and high opacity, cropped to the lungs."""
    hu = np.full((60, 100), 40, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    for columns in (np.s_[5:45], np.s_[55:95]):
        hu[5:55, columns] = -850
        labels[5:55, columns] = NORMAL_LUNG.value
    hu[10:30, 10:30], labels[10:30, 10:30] = -550, GGO.value
    hu[40:55, 60:80], labels[40:55, 60:80] = 20, HIGH_OPACITY.value
    return hu, labels


def test_lungs_are_the_readers_and_the_frame_is_unknown_tissue():
    hu, labels = a_slice()
    scan = slice_scan("one", hu, labels)
    anatomy = readers_anatomy(scan)
    assert scan.hu.shape == scan.labels.shape == (1, 78, 130)
    assert (scan.hu[0, :9] == 30).all() and (scan.labels[0, :9] == UNKNOWN_LUNG_VALUE).all()
    assert (anatomy.lungs > 0).sum() == 2 * 50 * 40
    assert set(np.unique(anatomy.lungs[..., :65])) == {0, 2}


def test_a_mean_is_over_slices_with_enough_of_the_class():
    row = {"reference_lesion_ml": 10.0, "reference_extent_percent": 10.0}
    rows = [
        {**row, "reference_ggo_ml": 0.6, "ggo_dice": 0.5, "network_ggo_dice": 0.25},
        {**row, "reference_ggo_ml": 0.4, "ggo_dice": 0.0, "network_ggo_dice": 0.0},
        {**row, "reference_ggo_ml": 9.0, "ggo_dice": 0.9, "network_ggo_dice": 0.75},
        {
            "reference_lesion_ml": 0.0,
            "reference_extent_percent": 0.0,
            "reference_ggo_ml": 0.0,
            "ggo_dice": float("nan"),
        },
    ]
    assert class_dice(rows, "ggo") == (2, pytest.approx(0.7))
    assert class_dice(rows, "ggo", "network_") == (2, pytest.approx(0.5))


def test_every_slice_has_its_row(tmp_path: Path, monkeypatch, capsys):
    hu, labels = a_slice()
    for name in ("one", "two"):
        np.savez(tmp_path / f"{name}.npz", hu=hu, labels=labels)
    save_model(tmp_path / "small.pt", small_model().network)
    arguments = ["slice_figures", str(tmp_path / "small.pt"), str(tmp_path)]
    monkeypatch.setattr("sys.argv", [*arguments, "-o", str(tmp_path / "table.csv")])
    slice_figures.main()
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["case"], second["case"]) == ("one", "two")
    assert first["ggo_dice"] == second["ggo_dice"]
    assert float(first["lesion_inside_lungs_percent"]) == 100.0
    assert float(first["reference_ggo_ml"]) == pytest.approx(400 * 0.8 * 0.8 * 3 / 1000)
    assert "on 2 slices" in capsys.readouterr().out
