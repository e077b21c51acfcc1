"""Keyed hashes in place of names, numbers and paths, and sentences without them.

Identifiers are HMAC-SHA256 of what a scan or a patient is called, with a key that stays with the
user: whoever has it can tell again which scan is which, nobody else can, not even by trying names.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.vetting import read_text

KEY_BYTES = 32
_KEY = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}")
# 64 bits: among a million scans, two alike are as good as impossible.
HASH_LETTERS = 16
ONLY_THE_USER = 0o600
UID = re.compile(r"\b[012](?:\.\d+){4,}\b")
# A shorter name, such as “1” or “CT”, is only taken out where it stands in quotation marks.
SHORTEST_NAME = 4
HIDDEN = "…"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
LONGEST_LABEL = 40


@dataclass(frozen=True)
class Identifiers:
    """Makes identifiers with a key.

    Attributes:
        key: secret bytes.
    """

    key: bytes

    def scan_id(self, identity: str, label: str = "") -> str:
        """Return what a scan is called: a keyed hash, behind a label that the user chose."""
        digest = self._hash("scan", identity)
        label = _UNSAFE.sub("-", label).strip("-")[:LONGEST_LABEL]
        return f"{label}-{digest[:8]}" if label else digest

    def patient_id(self, identity: str) -> str:
        """Return a patient's keyed hash."""
        return self._hash("patient", identity)

    @property
    def check(self) -> str:
        """Return what tells this key from another without giving it away."""
        return self._hash("key", "")

    def _hash(self, kind: str, text: str) -> str:
        message = f"{kind}\0{text}".encode("utf-8", "surrogateescape")
        return hmac.new(self.key, message, hashlib.sha256).hexdigest()[:HASH_LETTERS]


def read_or_make_key(file: Path) -> tuple[Identifiers, bool]:
    """Read the key, or make one that only this user may read.

    Returns:
        identifiers: that use the key.
        is_new: whether it was made.

    Raises:
        BadInputError: the file is no key, or cannot be made.
    """
    try:
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, ONLY_THE_USER)
    except FileExistsError:
        return Identifiers(_read_key(file)), False
    except OSError as error:
        raise BadInputError(
            f"The key {file.name} cannot be made ({error.strerror}); name another file with --key."
        ) from error
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(opened, "w", encoding="ascii") as stream:
        stream.write(key.hex() + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return Identifiers(key), True


def _read_key(file: Path) -> bytes:
    text = read_text(file, "key").strip()
    if not _KEY.fullmatch(text):
        raise BadInputError(
            f"{file.name} is no key of a batch, which is {2 * KEY_BYTES} letters of 0 to 9 and a to"
            " f; name the right file with --key, or a new one."
        )
    return bytes.fromhex(text)


def without_names(text: str, names: Iterable[str], scan_id: str) -> str:
    """Return a sentence in which the scan's identifier stands for the names of its files.

    Args:
        text: as a reader or the pipeline said it.
        names: of files and folders, patients, numbers, dates; those that are short are taken out
            only where they are quoted.
        scan_id: what the scan is called.
    """
    for name in sorted(set(names) - {"", scan_id}, key=len, reverse=True):
        pattern = re.escape(name)
        if len(name) < SHORTEST_NAME:
            text = re.sub(rf'(?<=[“"]){pattern}(?=[”"])', scan_id, text)
        else:
            text = re.sub(rf"(?<!\w){pattern}(?!\w)", scan_id, text)
    return UID.sub(HIDDEN, text)
