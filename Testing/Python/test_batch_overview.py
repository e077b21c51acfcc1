"""The page of a cohort in a real Chromium: pictures, order, search, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from small_result import small_quantification

from CovidLungQuantLib.batch.overview import overview_html, write_overview
from CovidLungQuantLib.batch.places import Places
from CovidLungQuantLib.batch.plan import Plan, PlannedScan
from CovidLungQuantLib.batch.records import REFUSED, Failure, write_failure
from CovidLungQuantLib.batch.tables import read_tables, write_tables
from CovidLungQuantLib.batch.thumbnail import LONGEST_SIDE, thumbnail, write_thumbnail
from CovidLungQuantLib.ct import ScanWarning
from CovidLungQuantLib.files.names import THUMBNAIL_FILE
from CovidLungQuantLib.labels import DISCLAIMER, GGO
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.pipeline import measure

WARNINGS = {
    "thick": (ScanWarning("thick_slices", "Slices are thick."),),
    "twice": (
        ScanWarning("thick_slices", "Slices are thick."),
        ScanWarning("lungs_cut", "The lungs are cut."),
    ),
}


def with_lesion(rows: int) -> object:
    """A finished run with more or less lesion."""
    quantification = small_quantification()
    labels = np.where(quantification.labels > 0, 1, 0).astype(np.uint8)
    labels[10:20, 20 : 20 + rows, 18:28] = 2
    measured = measure(quantification.ct, labels)
    return replace(measured, provenance=quantification.provenance, warnings=())


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, Plan]:
    """Five results, two of them warned of, and a scan that has failed."""
    places = Places(tmp_path_factory.mktemp("cohort") / "out")
    rows = {"little": 2, "much": 20, "some": 8, "thick": 4, "twice": 1}
    scans = []
    for name, lesion_rows in rows.items():
        quantification = replace(with_lesion(lesion_rows), warnings=WARNINGS.get(name, ()))

        def picture(folder: Path, quantification=quantification) -> list[str]:
            write_thumbnail(folder / THUMBNAIL_FILE, quantification)
            return [THUMBNAIL_FILE]

        write_results(places.result(name), quantification, further=picture)
        group = "ICU" if name in ("much", "twice") else "ward"
        scans.append(
            PlannedScan(name, f"P-{len(scans)}", str(7 * len(scans)), "", {"group": group})
        )
    scans.append(PlannedScan("broken", "P-9", "", "", {"group": "<b>ward</b>"}))
    write_failure(places, "broken", Failure(REFUSED, "It is no CT; give another."))
    plan = Plan({"model": "a model"}, "0", tuple(scans))
    tables = read_tables(places, plan)
    write_tables(places, tables, parquet=False)
    write_overview(places, plan, tables)
    return places, plan


def test_the_page_escapes_what_it_is_given_and_names_what_it_is_not(cohort: tuple[Places, Plan]):
    places, plan = cohort
    page = overview_html(plan, read_tables(places, plan))
    assert DISCLAIMER in page
    assert "<b>ward</b>" not in page and "&lt;b&gt;ward" in page
    assert "http://" not in page and "https://" not in page


def test_a_thumbnail_shows_the_lesion_in_its_colour():
    quantification = small_quantification()
    picture = thumbnail(quantification)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    assert 0 < max(picture.shape[:2]) <= LONGEST_SIDE
    colored = np.ptp(picture.astype(int), axis=2) > 40
    red, green, blue = picture[colored].mean(axis=0)
    assert colored.any()
    assert np.argmax(GGO.color) == np.argmax([red, green, blue])


@pytest.fixture
def page(cohort: tuple[Places, Plan]) -> Iterator[Chromium]:
    if find_chromium() is None:
        pytest.skip("Chromium is not installed")
    with Chromium() as chromium:
        chromium.open((cohort[0].out / "overview.html").as_uri())
        chromium.wait_for("document.readyState === 'complete'")
        yield chromium
        assert chromium.errors == []
        assert all(url.startswith("file://") for url in chromium.requests)


SHOWN = """[...document.querySelectorAll("#scans tbody tr")].filter(row => !row.hidden)
  .map(row => row.cells[1].textContent.trim())"""


def heading(page: Chromium, title: str) -> None:
    """Click a heading of the table."""
    page.evaluate(
        "[...document.querySelectorAll('#scans th button')]"
        f".find(button => button.textContent === {title!r}).click()"
    )


def enter(page: Chromium, field: str, value: str) -> None:
    """Type into a field, or choose."""
    page.evaluate(
        f"(() => {{ const field = document.getElementById({field!r}); field.value = {value!r};"
        " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
    )


def test_the_worst_come_first_and_every_column_sorts(page: Chromium):
    assert page.evaluate(SHOWN) == ["broken", "twice", "thick", "much", "some", "little"]
    heading(page, "Lesion %")
    by_burden = ["much", "some", "thick", "little", "twice"]
    # What is not known comes last either way.
    assert page.evaluate(SHOWN) == [*by_burden, "broken"]
    heading(page, "Lesion %")
    assert page.evaluate(SHOWN) == [*reversed(by_burden), "broken"]
    heading(page, "Scan")
    names = ["broken", "little", "much", "some", "thick", "twice"]
    assert page.evaluate(SHOWN) == names
    heading(page, "Day")
    assert page.evaluate(SHOWN) == ["little", "much", "some", "thick", "twice", "broken"]
    heading(page, "Remarks")
    assert page.evaluate(SHOWN)[:3] == ["broken", "twice", "thick"]


def test_scans_are_found_by_words_state_and_burden(page: Chromium):
    enter(page, "text", "icu")
    assert page.evaluate(SHOWN) == ["twice", "much"]
    assert page.text("#count") == "2 of 6 scans"
    enter(page, "state", "flagged")
    assert page.evaluate(SHOWN) == ["twice"]
    enter(page, "text", "")
    assert page.evaluate(SHOWN) == ["twice", "thick"]
    enter(page, "state", "failed")
    assert page.evaluate(SHOWN) == ["broken"]
    enter(page, "state", "")
    enter(page, "lowest", "2")
    assert page.evaluate(SHOWN) == ["much", "some"]
    enter(page, "highest", "4")
    assert page.evaluate(SHOWN) == ["some"]


def test_every_result_shows_its_picture_and_leads_to_its_report(
    page: Chromium, cohort: tuple[Places, Plan]
):
    page.wait_for("[...document.images].every(image => image.complete && image.naturalWidth > 20)")
    assert page.evaluate("document.images.length") == 5
    links = page.evaluate("[...document.querySelectorAll('#scans td a')].map(a => a.href)")
    assert len(set(links)) == 5
    assert all(Path(link.removeprefix("file://")).is_file() for link in links)
