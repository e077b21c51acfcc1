"""What a read scan or a refusal says, checked for being one clear sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentences import is_one_sentence

from CovidLungQuantLib.ct import CTVolume, read_ct
from CovidLungQuantLib.errors import BadInputError


def codes(ct: CTVolume) -> list[str]:
    return [warning.code for warning in ct.warnings]


def refusal(path: Path, **options: object) -> str:
    """Return why a path is refused, having checked that it is one sentence."""
    with pytest.raises(BadInputError) as refused:
        read_ct(path, **options)
    return one_sentence(str(refused.value))


def one_sentence(message: str) -> str:
    assert is_one_sentence(message), message
    assert "Secret" not in message and "ITK" not in message
    return message
