"""Reload, as the developer's button does it: what stays, what is let go, and changed code."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import slicer
from PySide6.QtTest import QTest
from slicer_panel import (
    MODULE_FILE,
    MODULE_NAME,
    draw_lobes,
    draw_segments,
    errors,
    open_sections,
    press,
    section,
    use_small_model,
)

LONGER_THAN_THE_RECOUNT_DELAY_MS = 400
LONGEST_WAIT_MS = 20_000


def owners(widget: Any) -> list[Any]:
    """What of a panel observes nodes: itself and its sections."""
    return [widget, *widget._sections]


def observed(widget: Any) -> Counter[tuple[str, str, str]]:
    """How often each class of nodes is observed for each event, by whom."""
    return Counter(
        (type(owner).__name__, type(node).__name__, str(event))
        for owner in owners(widget)
        for node, event, *_rest in owner.Observations
    )


@pytest.fixture
def segmented(panel: Any, chest: Any) -> Any:
    """The panel with every section open, after Segment."""
    panel._parameterNode.lobes, _lobes = draw_lobes(chest)
    press(panel.ui.segmentButton)
    return panel


def test_the_new_panel_works_and_the_old_one_has_let_go(
    segmented: Any, chest: Any, stand_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = observed(segmented)
    numbers = segmented.ui.resultsTable.item(0, 0).text()
    # A stroke just before: the old panel must not count it any more.
    draw_segments(segmented._parameterNode.outputSegmentation, chest)
    correction = section(segmented, "CorrectionSection")
    assert correction._recountTimer.isActive()
    segmented.onReload()

    reloaded = slicer.modules.CovidLungQuantWidget
    assert reloaded is not segmented
    assert type(reloaded) is not type(segmented)
    assert observed(segmented) == Counter()
    assert observed(reloaded) == before
    timers = [correction._recountTimer, *(vars(part).get("_timer") for part in segmented._sections)]
    assert not any(timer.isActive() for timer in timers if timer is not None)
    assert reloaded.ui.resultsTable.item(0, 0).text() == numbers
    assert reloaded.ui.staleLabel.text == "Numbers out of date; press Measure again."

    counted = []

    def count(widget: Any) -> None:
        recount = widget.logic.recount

        def counting(*nodes: Any) -> Any:
            counted.append(widget)
            return recount(*nodes)

        monkeypatch.setattr(widget.logic, "recount", counting)

    count(segmented)
    count(reloaded)
    draw_segments(reloaded._parameterNode.outputSegmentation, chest, with_lesions=False)
    waited_ms = 0
    while not counted and waited_ms < LONGEST_WAIT_MS:
        QTest.qWait(LONGER_THAN_THE_RECOUNT_DELAY_MS)
        waited_ms += LONGER_THAN_THE_RECOUNT_DELAY_MS
    # Time for a second count, by the old panel, that must not come.
    QTest.qWait(LONGER_THAN_THE_RECOUNT_DELAY_MS)
    assert counted == [reloaded]
    assert reloaded.ui.resultsTable.item(4, 0).text() == "0.0"
    press(reloaded.ui.segmentButton)
    assert errors(stand_in) == []
    assert reloaded.ui.staleLabel.text == ""


@pytest.fixture
def copied_module(stand_in: Any, tmp_path: Path) -> Iterator[Path]:
    """The module's folder, copied so that its code can be changed, and loaded from there."""
    folder = tmp_path / MODULE_NAME
    shutil.copytree(MODULE_FILE.parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    paths = list(sys.path)
    stand_in.load_module(folder / MODULE_FILE.name)
    sys.path.remove(str(folder))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path[:] = paths
    stand_in.load_module(MODULE_FILE)


@pytest.mark.parametrize("how", ["button", "console"])
def test_changed_code_of_a_section_is_there_after_a_reload(
    stand_in: Any, copied_module: Path, model_path: str, how: str
) -> None:
    slicer.mrmlScene.Clear(0)
    stand_in.load_module(copied_module / MODULE_FILE.name)
    widget = stand_in.open_panel(MODULE_NAME)
    use_small_model(widget, model_path)
    open_sections(widget)
    file = copied_module / "CovidLungQuantPanel" / "advanced.py"
    code = file.read_text(encoding="utf-8")
    assert '_("Find them")' in code
    file.write_text(code.replace('_("Find them")', '_("Look for them")'), encoding="utf-8")
    if how == "button":
        widget.onReload()
    else:
        slicer.util.reloadScriptedModule(MODULE_NAME)
    reloaded = slicer.modules.CovidLungQuantWidget
    advanced = section(reloaded, "AdvancedSection")
    assert advanced.ui.airwaysAndVesselsComboBox.itemText(1) == "Look for them"
    # The scene's choices are those of before.
    assert reloaded.ui.modelComboBox.currentData == model_path
    stand_in.close_panel(MODULE_NAME)
