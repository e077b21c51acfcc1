"""Runs killed with kill −9: never no result, never half a one, no litter after the next run.

`killed_runs.py --count 100` does many more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from killed_runs import KilledRuns, kill_at_every_step

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
# Where a lock cannot be held, or names not exchanged, other tests show what is done instead.
WAYS = {"names exchanged": True, "in two steps": False}


@pytest.mark.parametrize("exchange", WAYS.values(), ids=WAYS.keys())
def test_a_run_may_die_before_every_step_of_putting_in_place(tmp_path: Path, exchange: bool):
    runs = KilledRuns(tmp_path, exchange=exchange, only_writing=True)
    steps = kill_at_every_step(runs)
    # Making the folder, syncing its files, exchanging or renaming, removing the earlier one.
    assert steps > 10


def test_a_whole_run_may_die_at_any_moment(tmp_path: Path):
    """In a process of its own: a fork of one whose libraries have started threads may hang."""
    code = "import sys; from pathlib import Path; from killed_runs import KilledRuns, kill_many; "
    code += "print(kill_many(KilledRuns(Path(sys.argv[1])), count=8, seed=12)['killed'])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path(__file__).parent,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        encoding="utf-8",
        timeout=500,
    )
    assert done.stdout == "8\n", done.stderr
