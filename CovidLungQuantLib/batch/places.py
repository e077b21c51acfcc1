"""Where a batch keeps what: names within its output folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from CovidLungQuantLib.files.names import RESULT_FILE

SCANS_FOLDER = "scans"
COHORT_FILE = "cohort.csv"
COHORT_PARQUET_FILE = "cohort.parquet"
REGIONS_FILE = "cohort-regions.csv"
REGIONS_PARQUET_FILE = "cohort-regions.parquet"
FAILURES_FILE = "failures.csv"
OVERVIEW_FILE = "overview.html"
BATCH_FILE = "batch.json"
TABLE_FILES = (
    COHORT_FILE,
    COHORT_PARQUET_FILE,
    REGIONS_FILE,
    REGIONS_PARQUET_FILE,
    FAILURES_FILE,
    OVERVIEW_FILE,
    BATCH_FILE,
)
# Beside the output folder, so that the folder can be passed on.
KEY_SUFFIX = ".key"
WHO_IS_WHO_SUFFIX = ".who-is-who.csv"


@dataclass(frozen=True)
class Places:
    """The output folder of a batch.

    Attributes:
        out: absolute path.
    """

    out: Path

    @property
    def scans(self) -> Path:
        """One result folder a scan."""
        return self.out / SCANS_FOLDER

    @property
    def own(self) -> Path:
        """What the batch remembers."""
        return self.out / ".batch"

    @property
    def plan(self) -> Path:
        return self.own / "plan.json"

    @property
    def lock(self) -> Path:
        return self.own / "lock.json"

    @property
    def failures(self) -> Path:
        """A file for each scan that is set aside."""
        return self.own / "failures"

    @property
    def crashes(self) -> Path:
        """A file for each scan in which a worker died, with how often."""
        return self.own / "crashes"

    @property
    def running(self) -> Path:
        """A file for each scan that a worker has begun and not ended."""
        return self.own / "running"

    @property
    def key(self) -> Path:
        """Where the key lies if no other place was named."""
        return self.out.with_name(self.out.name + KEY_SUFFIX)

    @property
    def who_is_who(self) -> Path:
        """The user's own list of what is behind the identifiers."""
        return self.out.with_name(self.out.name + WHO_IS_WHO_SUFFIX)

    def result(self, scan_id: str) -> Path:
        """The result folder of a scan."""
        return self.scans / scan_id

    def is_finished(self, scan_id: str) -> bool:
        """Tell whether a scan has its result: a folder takes its name when all is in it."""
        return (self.result(scan_id) / RESULT_FILE).is_file()
