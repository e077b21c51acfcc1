"""Facts in two of the project's own files agree, and links between its pages lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "research/README.md", "Docs/tutorial.md")
PAGES += ("Docs/scripting.md", "Docs/architecture.md", "Docs/checks.md", "Docs/batch.md")


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(name: str) -> dict[str, str]:
    """Package → pinned version of a requirements file; the first where Python decides."""
    found: dict[str, str] = {}
    for package, version in re.findall(r"^([\w.-]+)==([\w.]+)", text_of(name), re.MULTILINE):
        found.setdefault(package, version)
    return found


def test_the_lowest_versions_are_those_that_the_package_admits():
    dependencies = text_of("pyproject.toml").split("\ndependencies = [")[1].split("]")[0]
    lowest = pins("requirements/lowest.txt")
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', dependencies))
    assert set(bounds) <= set(lowest)
    for package, bound in bounds.items():
        assert f"{lowest[package]}.".startswith(f"{bound}."), package


def test_every_dependency_is_pinned():
    dependencies = text_of("pyproject.toml").split("\ndependencies = [")[1].split("]")[0]
    assert set(re.findall(r'"([\w-]+)>=', dependencies)) <= pins("requirements/demo.txt").keys()


def test_commits_are_checked_by_the_linter_of_the_tests():
    revision = re.search(r"ruff-pre-commit\n +rev: v(\S+)", text_of(".pre-commit-config.yaml"))
    assert revision is not None and revision[1] == pins("requirements/test.txt")["ruff"]


def test_the_change_log_knows_this_version():
    version = re.search(r'__version__ = "(.+)"', text_of("CovidLungQuantLib/__init__.py"))
    assert version is not None and f"\n## {version[1]} " in text_of("CHANGELOG.md")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
        if "://" not in link:
            assert (ROOT / page).parent.joinpath(link).exists(), link
