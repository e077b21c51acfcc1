"""Only regular files are opened, and none is read without a limit."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from CovidLungQuantLib.ct import read_ct
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import read_label_file
from CovidLungQuantLib.vetting import check_regular_file, read_bytes, read_text, vet_image

READERS = (read_ct, read_label_file, vet_image, read_text)


def refusal(path: Path, read=vet_image) -> str:
    with pytest.raises(BadInputError) as refused:
        read(path)
    return str(refused.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
@pytest.mark.parametrize("name", ["a.nrrd", "a.nii.gz", "a.mha", "a.json"])
@pytest.mark.parametrize("read", READERS)
def test_a_pipe_is_refused_and_never_waited_for(tmp_path: Path, name: str, read) -> None:
    os.mkfifo(tmp_path / name)
    assert "is a pipe" in refusal(tmp_path / name, read)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device on this system")
@pytest.mark.parametrize("read", READERS)
def test_a_device_is_refused(tmp_path: Path, read) -> None:
    assert "is a device" in refusal(Path("/dev/zero"), read)
    (tmp_path / "a.nrrd").symlink_to("/dev/zero")
    assert "is a device" in refusal(tmp_path / "a.nrrd", read)


def test_sockets_folders_and_what_is_not_there_are_refused(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "folder.nrrd").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.nrrd")
    assert "There is no file" in refusal(tmp_path / "gone.nrrd")
    assert "There is no file" in refusal(tmp_path / "gone" / "gone.nrrd")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("a.nrrd")
        assert "is a socket" in refusal(tmp_path / "a.nrrd")


@pytest.mark.parametrize("read", READERS)
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, read) -> None:
    assert "too long" in refusal(tmp_path / f"{'x' * 300}.nrrd", read)
    assert "cannot be the name" in refusal(tmp_path / "a\0.nrrd", read)
    (tmp_path / "loop.nrrd").symlink_to(tmp_path / "loop.nrrd")
    assert "back to itself" in refusal(tmp_path / "loop.nrrd", read)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfabc")
    assert check_regular_file(file).st_size == 6
    assert read_bytes(file, limit=6) == b"\xef\xbb\xbfabc"
    assert read_text(file) == "abc"
    with pytest.raises(BadInputError, match="larger than"):
        read_bytes(file, limit=5)
    file.write_bytes(b"\xff")
    with pytest.raises(BadInputError, match="not text in UTF-8"):
        read_text(file)


def test_a_name_from_outside_cannot_steer_the_terminal(tmp_path: Path) -> None:
    assert "\x1b" not in refusal(tmp_path / "\x1b[2Jgone.nrrd")
