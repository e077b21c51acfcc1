"""The viewer in a real Chromium: seen, scrolled, painted, decided, undone and saved.

Needs Chromium and the viewer's own environment (`make viewer`).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import Chromium, find_chromium
from sentences import is_one_sentence
from small_result import MIXED, UPPER, small_ct, small_labels, write_small_result

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.display.numbers import percent_text, volume_text
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.lobes import read_lobes
from CovidLungQuantLib.files.segmentation_reading import read_segmentation
from CovidLungQuantLib.pipeline import measure

PROJECT_ROOT = Path(__file__).resolve().parents[2]
VIEWER_PYTHON_VARIABLE = "COVIDLUNGQUANT_VIEWER_PYTHON"
VIEWER_PYTHON = Path(
    os.environ.get(VIEWER_PYTHON_VARIABLE, PROJECT_ROOT / ".venv-viewer" / "bin" / "python")
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROJECT_ROOT)}
COMMAND = (VIEWER_PYTHON, "-m", "CovidLungQuantLib.cli", "view")
SLOW_S = 300.0
# What a view shows, without what is written over it.
CANVAS = """selector => {
  const image = document.querySelector(selector), canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas;
}"""
PICTURE = f"selector => ({CANVAS})(selector).toDataURL()"
# Of its red, 0…255; 0 where there is no picture yet.
BRIGHTEST = f"""selector => {{
  const image = document.querySelector(selector);
  if (!image || !image.naturalWidth) return 0;
  const canvas = ({CANVAS})(selector);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.reduce((most, value, at) => at % 4 ? most : Math.max(most, value), 0);
}}"""

if find_chromium() is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)
if not VIEWER_PYTHON.exists():
    pytest.skip("the viewer's environment is not there: make viewer", allow_module_level=True)


class Viewer:
    """The command running, and a browser that looks at it."""

    def __init__(self, browser: Chromium, *arguments: object) -> None:
        self.browser = browser
        browser.requests.clear()
        browser.errors.clear()
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments), "--no-browser"],
            cwd=PROJECT_ROOT,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )
        line = self.process.stdout.readline()
        if not line:
            pytest.fail(self.process.communicate()[1])
        self.address = line.split()[-1]

    def open(self) -> None:
        """Open the page and wait until there are numbers."""
        self.browser.open(self.address)
        self.browser.wait_for(f"({BRIGHTEST})('.axial img') > 200", SLOW_S)
        self.first_picture_s = time.monotonic() - self.started
        self.browser.wait_for(
            "!document.querySelector('#accept').disabled || "
            "document.querySelectorAll('#numbers tbody tr').length === 8",
            SLOW_S,
        )
        self.browser.wait_for("!document.querySelector('.busy')", SLOW_S)

    def close(self) -> str:
        """Leave the page and end the command; return what it has printed."""
        self.browser.open("about:blank")
        self.browser.wait_for("location.href === 'about:blank'")
        self.process.terminate()
        return "".join(self.process.communicate(timeout=60))

    def numbers(self) -> list[list[str]]:
        """The table as it stands on the page."""
        return self.browser.evaluate(
            "[...document.querySelectorAll('#numbers tbody tr')].map("
            "row => [...row.children].map(cell => cell.innerText))"
        )

    def look(self, selector: str) -> bytes:
        """The picture of a view."""
        return self.browser.evaluate(f"({PICTURE})('{selector} img')").encode()


def texts_of(measurements) -> list[list[str]]:
    """The same numbers from the library."""
    return [
        [
            volume_text(row.normal_ml),
            volume_text(row.ggo_ml),
            volume_text(row.high_opacity_ml),
            percent_text(row.ggo_percent),
            percent_text(row.high_opacity_percent),
            percent_text(row.lesion_percent),
        ]
        for row in (*measurements.lungs, *measurements.lobes)
    ]


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with Chromium() as chromium:
        yield chromium


@pytest.fixture
def small(browser, tmp_path) -> Iterator[Viewer]:
    result, scan = write_small_result(tmp_path)
    viewer = Viewer(browser, result, "--ct", scan)
    viewer.folder, viewer.scan = result, scan
    try:
        viewer.open()
        yield viewer
    finally:
        viewer.close()


def measured_folder(folder: Path, scan: Path, lobes: Path):
    """Numbers of the segmentation in a folder, as the command measure takes them."""
    ct = read_ct(scan)
    labels, _warnings = read_segmentation(folder / "segmentation.seg.nrrd", ct.geometry)
    return labels, measure(ct, labels, lobes=read_lobes(lobes, ct.geometry))


def test_a_small_result_is_looked_at_corrected_and_saved(small):
    browser = small.browser
    _labels, begun = measured_folder(small.folder, small.scan, small.folder / "lobes.seg.nrrd")
    first = small.numbers()
    assert [row[1:] for row in first] == texts_of(begun.measurements)
    assert browser.text("#correction") == "Nothing changed"
    assert "not for clinical decisions" in browser.text("footer")

    # Scroll.
    slice_before, picture = browser.text(".axial em"), small.look(".axial")
    x, y = browser.middle(".axial")
    browser.wheel(x, y, -240)
    browser.wait(lambda: browser.text(".axial em") != slice_before, "another slice")
    browser.wait(lambda: small.look(".axial") != picture, "another picture")

    # Windows.
    picture = small.look(".axial")
    browser.click("#window-mediastinum")
    browser.wait(lambda: small.look(".axial") != picture, "another window")

    # Paint high opacity into the right lung, which is on the left of the screen.
    browser.click("#window-lung")
    browser.click("#tool-high-opacity")
    width = 0.18 * browser.evaluate("document.querySelector('.axial').clientWidth")
    browser.drag([(x - width, y), (x - width + 10, y + 8), (x - width + 20, y + 16)])
    browser.wait(lambda: small.numbers() != first, "other numbers")
    painted = small.numbers()
    assert browser.text("#undo") == "Undo stroke"
    assert painted[0][0] == "Both lungs" and painted[2] == first[2] and painted[1] != first[1]

    # Undo by key, redo by button.
    browser.press("z", ctrl=True)
    browser.wait(lambda: small.numbers() == first, "the numbers of before")
    assert browser.text("#correction") == "Nothing changed"
    browser.click("#redo")
    browser.wait(lambda: small.numbers() == painted, "the numbers of the stroke")

    # Reject the largest lesion by key, with a reason.
    browser.wait_for("document.querySelectorAll('.lesions:not(.stale) .lesion').length >= 4")
    browser.click(".lesion")
    browser.wait_for("document.querySelector('.lesion.on')")
    number = browser.text(".lesion.on span")
    browser.wait(lambda: browser.text(".axial em") == f"{MIXED[0].start + 1} / 40", "its slice")
    browser.evaluate(
        "(() => { const s = document.querySelector('#reason'); s.value = 'vessel';"
        " s.dispatchEvent(new Event('change')); })()"
    )
    # Over a view, which has keys of its own.
    browser.hover(x, y)
    browser.press("x")
    browser.wait(lambda: browser.text("#undo") == f"Undo {number} rejected", "the decision")
    assert browser.text(".lesion.rejected .state") == "vessel"
    browser.wait(lambda: small.numbers() != painted, "other numbers")
    # On to the next.
    browser.wait(lambda: browser.text(".axial em") == f"{UPPER[0].start + 1} / 40", "its slice")

    # Save.
    browser.click("#reader")
    browser.type("A. Reader")
    browser.click("#save")
    browser.wait_for("document.querySelector('#message.good, #message.bad')", SLOW_S)
    assert browser.text("#message") == "Saved to result/corrected-by-A-Reader"
    saved = small.folder / "corrected-by-A-Reader"
    labels, anew = measured_folder(saved, small.scan, saved / "lobes.seg.nrrd")
    assert [row[1:] for row in small.numbers()] == texts_of(anew.measurements)
    record = json.loads((saved / "result.json").read_text(encoding="utf-8"))
    assert record["measurements"][0]["lesion_ml"] == anew.measurements.regions[0].lesion_ml
    assert record["provenance"]["corrected_by"] == "A. Reader"
    assert record["provenance"]["review"][0]["reason"] == "vessel"
    changed = np.count_nonzero(labels != small_labels())
    assert record["provenance"]["options"]["changed_voxels"] == changed > 300
    assert np.count_nonzero(labels[MIXED] > 1) < 100

    # The report is that of the corrected result.
    report = browser.evaluate("fetch(document.querySelector('header a').href).then(r => r.text())")
    assert report == (saved / "report.html").read_text(encoding="utf-8")
    assert "by A. Reader, " in report

    # Nothing came from elsewhere, and nothing went wrong.
    own = small.address.split("/?")[0].removeprefix("http:")
    for url in browser.requests:
        assert url.removeprefix("blob:").split(":", 1)[1].startswith((own, "image/")), url
    assert browser.errors == []


def test_without_the_token_nothing_is_shown(small):
    import http.client

    port = int(small.address.split(":")[2].split("/")[0])
    for path, headers in (
        ("/index.html", {}),
        ("/ws", {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}),
        ("/?token=guess", {}),
        ("/index.html", {"Cookie": "covidlungquant-viewer=guess"}),
        ("/index.html", {"Host": "evil.example"}),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", path, headers=headers)
        assert connection.getresponse().status == 403
        connection.close()


def test_what_cannot_be_opened_ends_the_command_with_a_sentence(tmp_path):
    result, _scan = write_small_result(tmp_path)
    ct = small_ct()
    other = tmp_path / "other.nrrd"
    write_image(other, ct.hu, replace(ct.geometry, spacing_mm=(4.0, 4.0, 6.0)))
    done = subprocess.run(
        [*COMMAND, str(result), "--ct", str(other), "--no-browser"],
        cwd=PROJECT_ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 2
    assert is_one_sentence(done.stderr.strip())


@pytest.mark.slow
def test_a_real_scan_is_segmented_corrected_and_opened_again(browser, test_data, tmp_path):
    scan, result = test_data / "dicom" / "covid_P001", tmp_path / "P001"
    viewer = Viewer(browser, scan, "--output", result)
    try:
        viewer.open()
        labels, made = measured_folder(result, scan, result / "lobes.seg.nrrd")
        assert [row[1:] for row in viewer.numbers()] == texts_of(made.measurements)
        browser.wait_for("document.querySelector('.lesions:not(.stale) .lesion')", SLOW_S)
        browser.click(".lesion")
        browser.press("x")
        browser.wait(lambda: browser.text("#undo") == "Undo 1 rejected", "the decision")
        # The sensitivity, by the arrow keys.
        browser.evaluate("document.querySelector('#sensitivity').focus()")
        browser.press_key("ArrowRight", 39)
        browser.wait(lambda: browser.text("#undo") == "Undo sensitivity", "another sensitivity")
        browser.click("#reader")
        browser.type("AB")
        browser.click("#save")
        browser.wait_for("document.querySelector('#message.good, #message.bad')", SLOW_S)
        assert browser.text("#message") == "Saved to P001/corrected-by-AB"
        saved = result / "corrected-by-AB"
        corrected, anew = measured_folder(saved, scan, saved / "lobes.seg.nrrd")
        assert [row[1:] for row in viewer.numbers()] == texts_of(anew.measurements)
        assert np.count_nonzero(corrected > 1) < 0.8 * np.count_nonzero(labels > 1)
        assert browser.errors == []
    finally:
        viewer.close()

    again = Viewer(browser, saved)
    try:
        again.open()
        assert [row[1:] for row in again.numbers()] == texts_of(anew.measurements)
        browser.wait(lambda: browser.text(".lesion.rejected .state") == "other", "the decision")
        assert browser.errors == []
    finally:
        printed = again.close()
    print(f"\nFirst picture after {again.first_picture_s:.1f} s.", printed)
