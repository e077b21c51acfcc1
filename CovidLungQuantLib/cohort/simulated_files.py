"""A simulated cohort as tables, with its truth beside them."""

from __future__ import annotations

from pathlib import Path

from CovidLungQuantLib.cohort.simulated_cohort import (
    GROUP_SIZES,
    feature_values,
    outcome_truth,
    patients_with_outcome,
    reader_values,
    serial_scans,
    true_curves,
)
from CovidLungQuantLib.files.tables import write_csv, write_study_json

SERIAL_FILE = "serial.csv"
PATIENTS_FILE = "patients.csv"
READERS_FILE = "readers.csv"
FEATURES_FILE = "features.csv"
TRUTH_FILE = "truth.json"
SIMULATED_FILES = (SERIAL_FILE, PATIENTS_FILE, READERS_FILE, FEATURES_FILE, TRUTH_FILE)


def write_simulated_cohort(folder: Path, seed: int) -> list[str]:
    """Write `SIMULATED_FILES` into `folder` and return their names."""
    truth = outcome_truth()
    write_csv(folder / SERIAL_FILE, serial_scans(seed))
    write_csv(folder / PATIENTS_FILE, patients_with_outcome(seed, truth))
    write_csv(folder / READERS_FILE, reader_values(seed))
    write_csv(folder / FEATURES_FILE, feature_values(seed))
    write_study_json(
        folder / TRUTH_FILE,
        {
            "seed": seed,
            "curves": {group: true_curves(group) for group in GROUP_SIZES},
            "log_odds_ratios": dict(truth.log_odds),
            "intercept": truth.intercept,
            "c_statistic": truth.c_statistic,
        },
    )
    return list(SIMULATED_FILES)
