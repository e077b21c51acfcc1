"""Text from headers and file names, made harmless for a terminal."""

from __future__ import annotations

import unicodedata

# Control characters, C1 controls among them; what turns the direction of writing round or is not
# seen; halves of characters; ends of lines and paragraphs.
_ESCAPED_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
# Joins the parts of emoji and of letters in several scripts; hides and moves nothing.
_JOINERS = "\u200c\u200d"


def printable(text: str) -> str:
    r"""The text with everything that a terminal would obey written out, ESC as \x1b for instance.

    A second time changes nothing.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown, text))


def masked(text: str) -> str:
    """The text with a question mark for every letter that is not printable."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def shortened(text: str, most: int = 80) -> str:
    """Text of which a message shows both ends where it is too long."""
    half = most // 2 - 1
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def _shown(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _ESCAPED_CATEGORIES:
        return character
    return character.encode("unicode_escape").decode("ascii")
