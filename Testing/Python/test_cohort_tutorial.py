"""Docs/cohort-tutorial.md: its commands are those of `make cohort-tutorial`, and they run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from CovidLungQuantLib import cli
from CovidLungQuantLib.cohort.simulated_files import SIMULATED_FILES

pytest.importorskip("pingouin", reason="the extra cohort is not installed")

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "Docs" / "cohort-tutorial.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^covidlungquant (.+)$", TUTORIAL, re.MULTILINE)
PAGES = (
    "timecourse/timecourse.html",
    "score-burden/score-burden.html",
    "agreement/agreement.html",
    "prognosis/prognosis.html",
    "applied/applied.html",
    "features/signal_to_bias.html",
)


def test_make_runs_what_the_tutorial_says():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    target = makefile.partition("\ncohort-tutorial:")[2].partition("\n\n")[0]
    lines = re.findall(r"\$\(BIN\)/covidlungquant (.+)", target)
    assert [line.replace("$(COHORT)", "cohort-tutorial") for line in lines] == COMMANDS


@pytest.mark.slow
def test_the_tutorial_runs_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        arguments = shlex.split(command)
        # The mixed models alone take most of the time; they have tests of their own.
        quick = ["--no-mixed"] if arguments[0] == "timecourse" else []
        assert cli.main([*arguments, *quick]) == 0, command
    folder = tmp_path / "cohort-tutorial"
    assert sorted(path.name for path in (folder / "tables").iterdir()) == sorted(SIMULATED_FILES)
    for page in PAGES:
        text = (folder / page).read_text(encoding="utf-8")
        assert text.count("<svg") + text.count("data:image/svg+xml") > 0, page
    mentioned = set(re.findall(r"`([a-z_]+\.(?:html|csv|json))`", TUTORIAL))
    written = {path.name for path in folder.rglob("*") if path.is_file()}
    assert mentioned - written == {"cohort.csv"}


def test_links_lead_somewhere():
    for name in ("cohort-tutorial.md", "methods.md"):
        text = (ROOT / "Docs" / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
            if not link.startswith("http"):
                assert (ROOT / "Docs" / link).resolve().exists(), link
