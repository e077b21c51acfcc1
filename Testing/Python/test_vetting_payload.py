"""Voxels are counted to the byte, packed ones checked against their checksum."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import (
    VOXELS,
    meta_bytes,
    nifti_bytes,
    nrrd_bytes,
    packed_meta_bytes,
    refusal,
    write,
    zlib_packed,
)

from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError
from CovidLungQuantLib.vetting import memory, payload, read_stored_image, vet_image

RAW = VOXELS.tobytes()
GZIPPED = gzip.compress(RAW, mtime=0)
BUILDERS = {
    "a.nrrd": nrrd_bytes,
    "a.nii": nifti_bytes,
    "a.nii.gz": nifti_bytes,
    "a.mha": meta_bytes,
}


def same(path: Path) -> None:
    stored = read_stored_image(path)
    np.testing.assert_array_equal(stored.voxels, VOXELS)
    assert stored.voxels.dtype == np.int16 and stored.voxels.dtype.isnative


@pytest.mark.parametrize("name", BUILDERS)
def test_the_length_is_what_the_header_says(tmp_path: Path, name: str) -> None:
    same(write(tmp_path, name, BUILDERS[name](RAW)))
    for wrong in (RAW[:-1], RAW[: len(RAW) // 2], b"", RAW + b"\0", RAW + b"\n"):
        message = refusal(write(tmp_path, name, BUILDERS[name](wrong)))
        assert "truncated, damaged" in message


@pytest.mark.parametrize("pack", ["gzip", "zlib"])
def test_packed_voxels_are_whole_and_pass_their_checksum(tmp_path: Path, pack: str) -> None:
    def file_of(packed: bytes) -> Path:
        if pack == "gzip":
            return write(tmp_path, "a.nrrd", nrrd_bytes(packed, encoding="gzip"))
        return write(tmp_path, "a.mha", packed_meta_bytes(packed))

    packed = GZIPPED if pack == "gzip" else zlib_packed()
    same(file_of(packed))
    for count in (1, 4, 8, 9, len(packed) // 2, len(packed) - 1):
        assert "truncated, damaged" in refusal(file_of(packed[:-count]))
    checksum = len(packed) - 6 if pack == "gzip" else len(packed) - 2
    for at in (checksum, len(packed) // 2, len(packed) - 1):
        changed = bytearray(packed)
        changed[at] ^= 1
        assert "checksum" in refusal(file_of(bytes(changed)))
    for follows in (b"x", b"\0", packed[:20], b"\x1f\x8b"):
        assert "truncated, damaged" in refusal(file_of(packed + follows))


def test_members_of_a_gzip_file_are_joined(tmp_path: Path) -> None:
    members = gzip.compress(RAW[:100]) + gzip.compress(b"") + gzip.compress(RAW[100:])
    same(write(tmp_path, "a.nrrd", nrrd_bytes(members, encoding="gzip")))
    more = members + gzip.compress(b"x")
    message = refusal(write(tmp_path, "a.nrrd", nrrd_bytes(more, encoding="gzip")))
    assert "more voxels than its header" in message
    less = gzip.compress(RAW[:100])
    message = refusal(write(tmp_path, "a.nrrd", nrrd_bytes(less, encoding="gzip")))
    assert "fewer voxels than its header" in message


def test_large_pieces_are_unpacked_whole(tmp_path: Path) -> None:
    voxels = np.zeros((64, 128, 256), np.int16)
    voxels[20:40, 5:, 7:] = np.random.default_rng(0).integers(-1000, 1000, (20, 123, 249))
    packed = gzip.compress(voxels.tobytes(), 1)
    path = write(tmp_path, "a.nrrd", nrrd_bytes(packed, encoding="gzip", sizes="256 128 64"))
    np.testing.assert_array_equal(read_stored_image(path).voxels, voxels)


def test_a_bomb_is_stopped_at_the_announced_size(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    path = write(tmp_path, "a.nrrd", nrrd_bytes(bomb, encoding="gzip"))
    assert "more voxels than its header" in refusal(path)


@pytest.mark.parametrize("sizes", ["60000 60000 4", "1000000000 1000000000 1000000000"])
def test_absurd_sizes_are_refused_before_memory_is_asked_for(
    tmp_path: Path, sizes: str, monkeypatch
) -> None:
    monkeypatch.setattr(payload, "empty_array", lambda *_: pytest.fail("memory was asked for"))
    path = write(tmp_path, "a.nrrd", nrrd_bytes(GZIPPED, encoding="gzip", sizes=sizes))
    assert "cannot be read" in refusal(path)
    assert "cannot be read" in refusal(write(tmp_path, "b.mha", meta_bytes(DimSize=sizes)))


def test_too_little_memory_is_no_damaged_file(tmp_path: Path, monkeypatch) -> None:
    path = write(tmp_path, "a.nrrd", nrrd_bytes())
    monkeypatch.setattr(memory, "SMALL_BYTES", 10)
    monkeypatch.setattr(memory, "available_memory", lambda: 100)
    with pytest.raises(OutOfResourcesError, match="memory does not hold") as error:
        read_stored_image(path)
    assert error.value.exit_code == 3
    monkeypatch.undo()

    def no_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(memory.np, "empty", no_memory)
    with pytest.raises(OutOfResourcesError, match="memory does not hold"):
        read_stored_image(path)


def test_the_memory_there_is_is_known_or_not_asked() -> None:
    available = memory.available_memory()
    assert available is None or available > 0


DETACHED = {
    ".nhdr": lambda name: nrrd_bytes(b"", data_file=name),
    ".mhd": lambda name: meta_bytes(b"", ElementDataFile=name),
}


@pytest.mark.parametrize("suffix", DETACHED)
def test_voxels_beside_the_header_are_read(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "scan.raw").write_bytes(RAW)
    same(write(tmp_path, f"scan{suffix}", DETACHED[suffix]("scan.raw")))
    (tmp_path / "within").mkdir()
    (tmp_path / "within" / "scan.raw").write_bytes(RAW)
    same(write(tmp_path, f"scan{suffix}", DETACHED[suffix]("within/scan.raw")))
    (tmp_path / "scan.raw").write_bytes(RAW + b"\0")
    assert "truncated" in refusal(write(tmp_path, f"scan{suffix}", DETACHED[suffix]("scan.raw")))


@pytest.mark.parametrize("suffix", DETACHED)
def test_voxels_elsewhere_are_refused(tmp_path: Path, suffix: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    outside = tmp_path / "outside.raw"
    outside.write_bytes(RAW)
    (home / "link.raw").symlink_to(outside)
    (home / "folder").symlink_to(tmp_path)
    for name in (outside, "../outside.raw", "./../outside.raw", "link.raw", "folder/outside.raw"):
        message = refusal(write(home, f"scan{suffix}", DETACHED[suffix](str(name))))
        assert "not in its own folder" in message
    for name in ("gone.raw", "."):
        refusal(write(home, f"scan{suffix}", DETACHED[suffix](name)))
    if hasattr(os, "mkfifo"):
        os.mkfifo(home / "pipe.raw")
        assert "is a pipe" in refusal(write(home, f"scan{suffix}", DETACHED[suffix]("pipe.raw")))


@pytest.mark.parametrize("suffix", DETACHED)
def test_a_linked_header_finds_its_voxels(tmp_path: Path, suffix: str) -> None:
    """As archives of links have it: both are links, or the header alone is."""
    store, home = tmp_path / "store", tmp_path / "home"
    store.mkdir()
    home.mkdir()
    (store / "scan.raw").write_bytes(RAW)
    header = write(store, f"scan{suffix}", DETACHED[suffix]("scan.raw"))
    for name in ("scan.raw", f"scan{suffix}"):
        (home / name).symlink_to(store / name)
    same(home / f"scan{suffix}")
    same(header)


@pytest.mark.parametrize("name", ["LIST", "LIST 2", "slice%03d.raw 1 4 1"])
@pytest.mark.parametrize("suffix", DETACHED)
def test_several_files_of_voxels_are_refused(tmp_path: Path, suffix: str, name: str) -> None:
    message = refusal(write(tmp_path, f"scan{suffix}", DETACHED[suffix](name)))
    assert "several files" in message


def test_a_header_is_vetted_without_its_voxels(tmp_path: Path) -> None:
    header = vet_image(write(tmp_path, "a.nrrd", nrrd_bytes()))
    assert (header.sizes, header.components, header.bits_per_value) == ((6, 5, 4), 1, 16)
    with pytest.raises(BadInputError, match="does not end as"):
        vet_image(write(tmp_path, "a.png", b"x"))


def test_reading_stays_within_twice_the_memory_of_the_voxels(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    voxels = np.zeros((128, 256, 256), np.int16)
    packed = zlib.compress(voxels.tobytes())
    path = write(tmp_path, "a.mha", packed_meta_bytes(packed, DimSize="256 256 128"))
    read_stored_image(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_stored_image(path)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (after - before) * 1024 < voxels.nbytes
