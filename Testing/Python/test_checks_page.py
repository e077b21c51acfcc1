"""Every warning's code is listed, and the page of checks says what the code says."""

from __future__ import annotations

import re

from sentences import is_one_sentence

from CovidLungQuantLib.verdicts import ACCEPTED, WARNINGS
from Testing.update_checks_page import DOORS, LIBRARY, PAGE, page, refusals, used_codes

CODES = [each.code for warnings in WARNINGS.values() for each in warnings]


def test_every_code_that_is_used_is_listed():
    missing = {code: file for code, file in used_codes().items() if code not in CODES}
    assert not missing, (
        f"Add a WarningCode (code, what was found, what to do) for each of {missing} to WARNINGS "
        "in CovidLungQuantLib/verdicts.py, then run `make checks-page`."
    )


def test_every_code_that_is_listed_is_used_and_listed_once():
    unused = sorted(set(CODES) - used_codes().keys())
    assert not unused, f"Nothing makes these warnings; take them out of WARNINGS: {unused}"
    assert len(CODES) == len(set(CODES))
    assert all(re.fullmatch("[a-z_]+", code) for code in CODES)


def test_the_codes_of_known_places_are_found():
    used = used_codes()
    assert used["thick_slices"] == "CovidLungQuantLib/ct/checks.py"
    assert {"cpu_fallback", "sides_exchanged", "lungs_changed_by_hand"} <= used.keys()


def test_the_page_is_that_of_the_code():
    assert PAGE.read_text(encoding="utf-8") == page(), "It is stale; run `make checks-page`."


def test_every_room_that_refuses_stands_on_the_page():
    rooms = {room for rooms in DOORS.values() for room in rooms}
    for path in LIBRARY.iterdir():
        files = [path] if path.suffix == ".py" else sorted(path.rglob("*.py"))
        refuses = any("raise BadInputError(" in file.read_text(encoding="utf-8") for file in files)
        assert not refuses or path.stem in rooms, f"Add {path.stem} to DOORS."
    found = refusals()
    assert all(found.values()) and sum(map(len, found.values())) > 200
    assert any("holds … volumes" in text for text in found["A CT"])


def test_what_is_listed_reads_well():
    assert all(is_one_sentence(text.split(". ")[-1]) for text in ACCEPTED)
    for warnings in WARNINGS.values():
        for each in warnings:
            assert not each.meaning.endswith(".") and not each.remedy.endswith("."), each.code
