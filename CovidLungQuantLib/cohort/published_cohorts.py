"""What Pan et al. 2021 and Bartoli et al. 2022 published of their cohorts, to compare with.

Pan et al., Scientific Reports 2021 (95 patients, 465 scans): Figures 2 and 3. The printed formula
of GGO in severe patients begins with 3.30·x; with it the curve has no peak. With 2.30 it peaks as
their text says (day 23, 23.03 %), and GGO and consolidation add up to the burden, so 2.30 it is.

The text gives days 18 and 23 for the peaks of the burden; the printed coefficients, rounded, give
18.2 and 22.4, on a curve so flat there that the height at either day is the same to 0.02 %.

Bartoli et al., Diagn Interv Imaging 2022 (1621 patients, 227 events): Table 3.
"""

from __future__ import annotations

PAN = "Pan et al. 2021"
BARTOLI = "Bartoli et al. 2022"

MODERATE, SEVERE = "moderate", "severe"
# Figure → group → a, b, c of a·x + b·x² + c·x³, x in days from the onset of symptoms.
PAN_CURVES: dict[str, dict[str, tuple[float, float, float]]] = {
    "lesion_percent": {
        MODERATE: (0.413, -0.0148, 0.000127),
        SEVERE: (2.89, -0.0912, 0.000794),
    },
    "ggo_percent": {
        MODERATE: (0.321, -0.0114, 0.0000977),
        SEVERE: (2.30, -0.0704, 0.000606),
    },
    "high_opacity_percent": {
        MODERATE: (0.0911, -0.00338, 0.0000297),
        SEVERE: (0.590, -0.0208, 0.000188),
    },
    "ct_score": {
        MODERATE: (0.460, -0.0156, 0.000128),
        SEVERE: (1.41, -0.0448, 0.000389),
    },
}
# Burden in per cent as a polynomial of the CT score, constant first, with r².
PAN_BURDEN_OF_SCORE_LINEAR = (-3.89, 2.4)
PAN_BURDEN_OF_SCORE_QUADRATIC = (-0.27, 0.37, 0.13)
PAN_SPEARMAN = 0.920

# Model C of Table 3: odds ratios, adjusted for each other.
BARTOLI_ODDS_RATIOS: dict[str, float] = {
    "sex": 1.00,
    "age_45_64": 2.35,
    "age_over_64": 6.85,
    "hypertension": 1.94,
    "diabetes": 0.97,
    "cancer": 2.34,
    "respiratory_disease": 0.99,
    "cardiac_disease": 1.52,
    "over_7_days": 0.86,
    "lesion_percent": 3.86,
}
# How common these are in the 1621 patients (Table 1).
BARTOLI_SHARES: dict[str, float] = {
    "sex": 0.479,
    "age_45_64": 0.468,
    "age_over_64": 0.172,
    "hypertension": 0.205,
    "diabetes": 0.118,
    "cancer": 0.046,
    "respiratory_disease": 0.119,
    "cardiac_disease": 0.083,
    "over_7_days": 0.348,
}
BARTOLI_EVENT_SHARE = 0.14
