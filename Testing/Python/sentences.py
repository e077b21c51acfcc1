"""What a message to the user must be: one sentence."""

from __future__ import annotations

import re

# A sentence's end inside a text: its mark, perhaps a closing quote or bracket, and a new beginning.
ANOTHER_BEGINS = re.compile(r"[.!?…][”\"')\]]*\s+[“\"'(\[]*[A-ZÄÖÜ]")


def is_one_sentence(text: str) -> bool:
    """Whether a text begins like a sentence, ends with a full stop, and is one on one line."""
    return (
        begins_like_a_sentence(text)
        and bool(re.search(r"[^.!?\s]\.$", text))
        and "\n" not in text
        and not ANOTHER_BEGINS.search(text)
    )


def begins_like_a_sentence(text: str) -> bool:
    """With a capital, a quotation mark or a figure, or with a name such as that of a file."""
    first_word = text.partition(" ")[0]
    return bool(re.match(r"[“\"\d]|[A-ZÄÖÜ]", first_word)) or not first_word.isalpha()
