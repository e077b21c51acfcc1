"""Keyed hashes in place of identifiers, and sentences without names."""

from __future__ import annotations

import hashlib
import hmac
import stat
import sys
from pathlib import Path

import pytest
from sentences import is_one_sentence

from CovidLungQuantLib.batch.identifiers import Identifiers, read_or_make_key, without_names
from CovidLungQuantLib.errors import BadInputError

KEY = bytes(range(32))


def test_an_identifier_is_the_hmac_of_what_it_stands_for():
    identifiers = Identifiers(KEY)
    expected = hmac.new(KEY, b"patient\0P-007", hashlib.sha256).hexdigest()[:16]
    assert identifiers.patient_id("P-007") == expected
    # A scan and a patient of one name are two things.
    assert identifiers.scan_id("P-007") != expected
    assert Identifiers(bytes(32)).patient_id("P-007") != expected


def test_a_label_that_the_user_chose_stands_before_the_hash():
    scan_id = Identifiers(KEY).scan_id("a/b.nrrd", "Case 7/../x")
    assert scan_id.startswith("Case-7-x-") and len(scan_id) == len("Case-7-x-") + 8
    # Labels that are alike once they are safe do not make one of two scans.
    assert scan_id != Identifiers(KEY).scan_id("a/c.nrrd", "Case 7/../x")


def test_a_key_is_made_once_for_this_user_only(tmp_path: Path):
    made, is_new = read_or_make_key(tmp_path / "a.key")
    again, is_new_again = read_or_make_key(tmp_path / "a.key")
    assert (is_new, is_new_again) == (True, False)
    assert made == again and len(made.key) == 32
    assert read_or_make_key(tmp_path / "b.key")[0] != made
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "a.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "secret", "0" * 63, "G" * 64])
def test_what_is_no_key_is_refused_and_left_alone(content: str, tmp_path: Path):
    file = tmp_path / "a.key"
    file.write_text(content, encoding="ascii")
    with pytest.raises(BadInputError) as refusal:
        read_or_make_key(file)
    assert is_one_sentence(str(refusal.value))
    assert file.read_text(encoding="ascii") == content


@pytest.mark.parametrize(
    ("sentence", "names", "expected"),
    [
        ("“Smith” is no CT.", ["Smith"], "“ID” is no CT."),
        # The longest first, so that no part of it is left.
        ('"Smith.nii.gz" is bad.', ["Smith", "Smith.nii.gz"], '"ID" is bad.'),
        # A short name only where it is quoted: “CT” is a word of the sentence, too.
        ('"CT" is no CT.', ["CT"], '"ID" is no CT.'),
        # Not within another word.
        ("The Smithsonian is not meant.", ["Smith"], "The Smithsonian is not meant."),
        (
            "Give the SeriesInstanceUID: 1.2.840.113619.2.55 or 2.",
            [],
            "Give the SeriesInstanceUID: … or 2.",
        ),
        ("Slices are 2.5 mm thick.", [""], "Slices are 2.5 mm thick."),
    ],
)
def test_names_and_uids_leave_a_sentence(sentence: str, names: list[str], expected: str):
    assert without_names(sentence, names, "ID") == expected
