"""Numbers in text headers, read strictly: what a lax reader would make of them is not asked."""

from __future__ import annotations

import re

from CovidLungQuantLib.vetting.problems import damaged, shown

WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,12}")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|[+-]?(nan|inf)", re.I)
LONGEST_NUMBER = 64


def whole_numbers_of(file_name: str, field: str, text: str, count: int | None = None) -> list[int]:
    """Whole numbers parted by blanks.

    Raises:
        UnreadableFileError: one is none, or there are not `count`.
    """
    words = text.split()
    if not words or not all(WHOLE_NUMBER.fullmatch(word) for word in words):
        raise damaged(file_name, f'"{field}: {shown(text)}" in its header is no whole number')
    return [int(word) for word in _counted(file_name, field, words, count)]


def whole_number_of(file_name: str, field: str, text: str) -> int:
    """One whole number; see `whole_numbers_of`."""
    return whole_numbers_of(file_name, field, text, 1)[0]


def numbers_of(file_name: str, field: str, text: str, count: int | None = None) -> list[float]:
    """Numbers parted by blanks, NaN and infinity among them.

    Raises:
        UnreadableFileError: one is none, or there are not `count`.
    """
    words = text.split()
    if not words or not all(
        len(word) <= LONGEST_NUMBER and NUMBER.fullmatch(word) for word in words
    ):
        raise damaged(file_name, f'"{field}: {shown(text)}" in its header is no number')
    return [float(word) for word in _counted(file_name, field, words, count)]


def _counted(file_name: str, field: str, words: list[str], count: int | None) -> list[str]:
    if count is not None and len(words) != count:
        raise damaged(file_name, f'"{field}" in its header has {len(words)} values for {count}')
    return words
