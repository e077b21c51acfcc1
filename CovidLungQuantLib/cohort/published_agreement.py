"""How well human readers agree with each other: published figures to print beside ours.

Bartoli et al. 2022, Table 2: 30 low-dose CT of COVID-19, reader 1 against readers 2 and 3 and
against a second reading of the same reader; mean ± SD over scans, the correlation without SD.
"""

from __future__ import annotations

from dataclasses import dataclass

from CovidLungQuantLib.labels import GGO, HIGH_OPACITY
from CovidLungQuantLib.measures.structures import LESION

SOURCE = "Bartoli et al. 2022, Table 2 (30 low-dose CT)"


@dataclass(frozen=True)
class Yardstick:
    """One figure: reader 1 against reader 2, against reader 3, and against the same reader again.

    Texts as they are printed.
    """

    structure: str
    measure: str
    unit: str
    inter_observer: str
    inter_observer_second: str
    intra_observer: str


YARDSTICKS: tuple[Yardstick, ...] = (
    Yardstick(LESION, "Dice", "", "0.70 ± 0.08", "0.70 ± 0.10", "0.72 ± 0.09"),
    Yardstick(GGO.name, "Dice", "", "0.64 ± 0.15", "0.63 ± 0.15", "0.62 ± 0.14"),
    Yardstick(HIGH_OPACITY.name, "Dice", "", "0.54 ± 0.19", "0.64 ± 0.12", "0.57 ± 0.17"),
    Yardstick(LESION, "MAE of volume", "mL", "105 ± 103", "123 ± 105", "117 ± 83"),
    Yardstick(GGO.name, "MAE of volume", "mL", "140 ± 126", "117 ± 107", "101 ± 73"),
    Yardstick(HIGH_OPACITY.name, "MAE of volume", "mL", "63 ± 82", "29 ± 32", "68 ± 58"),
    Yardstick(LESION, "MAE of extent", "%", "3.1 ± 2.9", "3.9 ± 3.7", "3.5 ± 2.7"),
    Yardstick(GGO.name, "MAE of extent", "%", "4.3 ± 3.8", "3.8 ± 4.0", "3.3 ± 2.7"),
    Yardstick(HIGH_OPACITY.name, "MAE of extent", "%", "2.1 ± 2.8", "1.0 ± 1.1", "2.2 ± 1.9"),
    Yardstick(LESION, "correlation of extent", "", "0.91", "0.87", "0.92"),
    Yardstick(GGO.name, "correlation of extent", "", "0.77", "0.82", "0.88"),
    Yardstick(HIGH_OPACITY.name, "correlation of extent", "", "0.75", "0.93", "0.67"),
)


def lesion_yardstick() -> str:
    """How well readers agree on lesions, in one sentence."""
    by_measure = {row.measure: row for row in YARDSTICKS if row.structure == LESION}
    overlap, extent = by_measure["Dice"], by_measure["MAE of extent"]
    return (
        f"Readers among themselves: lesion Dice {overlap.inter_observer} (inter-observer) and "
        f"{overlap.intra_observer} (intra-observer), MAE of lesion extent {extent.inter_observer} "
        f"and {extent.intra_observer} % ({SOURCE})."
    )
