"""Does a feature show disease, or how the scan was made? The check of DLPE (Zhou et al. 2022).

Parenchyma without disease should have the same value of a feature in every scan. What it differs
there is bias of the scan (dose, kernel, depth of breath, contrast), and the same bias lies on the
lesions. With Rᵢ of parenchyma and Lᵢ of lesions of scan i:

    bias   bᵢ = Rᵢ − mean(R)
    signal sᵢ = Lᵢ − Rᵢ

A feature is the more useful, the larger the SD of the signal is against that of the bias, and the
closer the plain Lᵢ follows the signal (r²). Where the bias is the larger, Lᵢ − Rᵢ is to be used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.cohort_tables import CohortTable

FEWEST_SCANS = 10
BOOTSTRAPS = 1000
# Columns of PyRadiomics' table and of its input that are no features.
NO_FEATURES = ("image", "mask", "label", "volume_ml", "scan_id", "patient_id", "region", "id")
NO_FEATURE_PREFIX = "diagnostics_"


@dataclass(frozen=True)
class BiasOptions:
    """By which columns and regions."""

    scan: str = "scan_id"
    region: str = "region"
    lesion: str = "lesion"
    parenchyma: str = "parenchyma"
    features: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class FeatureBias:
    """One feature; NaN where undefined, `reason` says why.

    Attributes:
        feature: its column.
        scans: with both regions.
        lesion_mean: of the plain feature in lesions; `lesion_sd` its sample SD.
        parenchyma_mean: of it in parenchyma.
        bias_sd: SD of the feature in parenchyma, from scan to scan.
        signal_mean: of lesion minus parenchyma.
        signal_sd: SD of that.
        signal_to_bias: signal_sd / bias_sd, with 95 % limits of a bootstrap of scans.
        r2: of the plain feature with the signal, the share of it that is signal.
    """

    feature: str
    scans: int
    lesion_mean: float = math.nan
    lesion_sd: float = math.nan
    parenchyma_mean: float = math.nan
    bias_sd: float = math.nan
    signal_mean: float = math.nan
    signal_sd: float = math.nan
    signal_to_bias: float = math.nan
    lower: float = math.nan
    upper: float = math.nan
    r2: float = math.nan
    reason: str = ""

    @property
    def verdict(self) -> str:
        """What it means in words."""
        if math.isnan(self.signal_to_bias):
            return self.reason
        if self.lower > 1:
            return "signal exceeds the scan's bias"
        if self.upper < 1:
            return "bias conceals the signal: subtract the parenchyma"
        return "undecided"


def feature_biases(table: CohortTable, options: BiasOptions) -> tuple[FeatureBias, ...]:
    """Check all features of a table with one row a scan and region.

    Raises:
        BadInputError: a column is missing, a scan has a region twice, or there are too few scans.
    """
    scans, regions = table.texts(options.scan), table.texts(options.region)
    features = options.features or tuple(
        column for column in map(str, table.frame.columns) if _is_feature(table, column)
    )
    if not features:
        raise BadInputError(
            f"{table.name} has no column of numbers that could be a feature; give the table that "
            "PyRadiomics wrote."
        )
    places: dict[str, dict[str, int]] = {options.lesion: {}, options.parenchyma: {}}
    for index, scan, region in zip(scans.index, scans, regions, strict=True):
        if region not in places:
            continue
        if scan is None:
            raise table.refuse(index, "the scan is missing; add it or remove the row")
        if scan in places[region]:
            raise table.refuse(
                index, f"scan {scan} has the region {region} a second time; keep one of them"
            )
        places[region][scan] = index
    common = [scan for scan in places[options.lesion] if scan in places[options.parenchyma]]
    if len(common) < FEWEST_SCANS:
        raise BadInputError(
            f"{table.name} has {len(common)} scans with both “{options.lesion}” and "
            f"“{options.parenchyma}” in column {options.region}; {FEWEST_SCANS} are needed."
        )
    lesion_rows, parenchyma_rows = (
        [places[region][scan] for scan in common] for region in (options.lesion, options.parenchyma)
    )
    found = []
    for feature in features:
        values = table.numbers(feature)
        lesion, parenchyma = values[lesion_rows].to_numpy(), values[parenchyma_rows].to_numpy()
        found.append(feature_bias(feature, lesion, parenchyma, options.seed))
    return tuple(found)


def feature_bias(
    feature: str, lesion: np.ndarray, parenchyma: np.ndarray, seed: int = 0
) -> FeatureBias:
    """Check one feature from its values (scans,) in lesion and parenchyma of the same scans."""
    known = ~(np.isnan(lesion) | np.isnan(parenchyma))
    lesion, parenchyma = lesion[known], parenchyma[known]
    if len(lesion) < FEWEST_SCANS:
        return FeatureBias(feature, len(lesion), reason=f"fewer than {FEWEST_SCANS} scans")
    signal = lesion - parenchyma
    bias_sd, signal_sd = float(parenchyma.std(ddof=1)), float(signal.std(ddof=1))
    found = FeatureBias(
        feature,
        len(lesion),
        lesion_mean=float(lesion.mean()),
        lesion_sd=float(lesion.std(ddof=1)),
        parenchyma_mean=float(parenchyma.mean()),
        bias_sd=bias_sd,
        signal_mean=float(signal.mean()),
        signal_sd=signal_sd,
    )
    if bias_sd == 0 or signal_sd == 0 or np.ptp(lesion) == 0:
        return replace(found, reason="the same in all scans")
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(lesion), (BOOTSTRAPS, len(lesion)))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = signal[drawn].std(axis=1, ddof=1) / parenchyma[drawn].std(axis=1, ddof=1)
    lower, upper = np.percentile(ratios[np.isfinite(ratios)], (2.5, 97.5))
    return replace(
        found,
        signal_to_bias=signal_sd / bias_sd,
        lower=float(lower),
        upper=float(upper),
        r2=float(np.corrcoef(lesion, signal)[0, 1] ** 2),
    )


def _is_feature(table: CohortTable, column: str) -> bool:
    name = column.lower()
    if name in NO_FEATURES or name.startswith(NO_FEATURE_PREFIX):
        return False
    return table.is_numeric(column)
