"""NRRD headers: what is read to the last bit as ITK reads it, and what is refused."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from image_files import VOXELS, nrrd_bytes, refusal, write

from CovidLungQuantLib.vetting import read_stored_image, vet_image


def test_a_header_is_read(tmp_path: Path) -> None:
    header = vet_image(write(tmp_path, "a.nrrd", nrrd_bytes()))
    assert header.spacing_mm == (0.8, 0.7, 2.5)
    assert header.origin_mm == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(header.direction, np.eye(3))
    assert header.states_spacing and header.states_directions
    assert header.dtype == np.int16


@pytest.mark.parametrize(
    "changes",
    [
        {"space": "RAS"},
        {"space": "right-anterior-superior"},
        {"space": "left-anterior-superior"},
        {"space_directions": "(0,0.8,0) (0.42,0,0.56) (1.6,0,-1.2)"},
        {"space": None, "space_directions": None, "space_origin": None, "spacings": "0.8 0.7 2.5"},
        {
            "space": None, "space_directions": None, "space_origin": None,
            "spacings": "0.8 0.7 2.5", "axis_mins": "1 2 3", "centerings": "cell node cell",
        },
        {"space": None, "space_directions": None, "space_origin": None},
        {"space_directions": None},
        {"space_origin": None},
        {"space_origin": "(nan,nan,nan)"},
        {"type": "int16_t"},
        {"type": "signed short"},
        {"kinds": None},
        {"kinds": "space space space"},
        {
            "dimension": "4", "sizes": "2 3 5 4", "kinds": "vector domain domain domain",
            "space_directions": "none (1,0,0) (0,1,0) (0,0,1)",
        },
        {
            "dimension": "4", "sizes": "3 5 4 2", "kinds": "domain domain domain list",
            "space_directions": "(1,0,0) (0,1,0) (0,0,1) none",
        },
        {
            "dimension": "4", "sizes": "3 2 5 4", "kinds": "domain list domain domain",
            "space_directions": "(1,0,0) none (0,1,0) (0,0,1)",
        },
    ],
)  # fmt: skip
def test_it_is_read_as_itk_reads_it(tmp_path: Path, changes: dict[str, str | None]) -> None:
    path = write(tmp_path, "a.nrrd", nrrd_bytes(**changes))
    stored, image = read_stored_image(path), sitk.ReadImage(str(path))
    np.testing.assert_array_equal(stored.voxels, sitk.GetArrayFromImage(image))
    assert stored.header.spacing_mm == image.GetSpacing()
    assert stored.header.origin_mm == image.GetOrigin()
    assert stored.header.direction.ravel().tolist() == list(image.GetDirection())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kinds": "A" * 5000}, "5000 characters"),
        ({"kinds": "domain domain fish"}, "makes no sense"),
        ({"kinds": "list vector domain"}, "table of values"),
        ({"encoding": "ascii"}, 'encoding "ascii"'),
        ({"encoding": "text"}, 'encoding "text"'),
        ({"encoding": "hex"}, 'encoding "hex"'),
        ({"encoding": "bzip2"}, 'encoding "bzip2"'),
        ({"encoding": "fish"}, "unknown encoding"),
        ({"encoding": None}, 'does not give "encoding"'),
        ({"type": "block"}, "unknown type"),
        ({"type": None}, 'does not give "type"'),
        ({"endian": None}, 'does not give "endian"'),
        ({"endian": "middle"}, "unknown byte order"),
        ({"dimension": "0"}, "0 dimensions"),
        ({"dimension": "-1"}, "-1 dimensions"),
        ({"dimension": "100"}, "100 dimensions"),
        ({"dimension": "3.0"}, "no whole number"),
        ({"dimension": None}, 'does not give "dimension"'),
        ({"sizes": "6 5"}, "2 values for 3"),
        ({"sizes": "6 5 0"}, "empty"),
        ({"sizes": "6 5 -4"}, "empty"),
        ({"sizes": "6 5 4_0"}, "no whole number"),
        ({"sizes": "1000000000 1000000000 1000000000"}, "size that no image has"),
        ({"sizes": None}, 'does not give "sizes"'),
        ({"line_skip": "-1"}, "passed over"),
        ({"byte_skip": "-2"}, "passed over"),
        ({"byte_skip": "1"}, "bytes of voxels"),
        ({"line_skip": "99"}, "fewer lines"),
        ({"space": "upside-down"}, "unknown space"),
        ({"spacings": "1 1 1"}, 'both "space" and "spacings"'),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "2 axes for 3"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,0,1"}, "no vector"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,x,1)"}, "no number"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,0.5,2.5)"}, "right angles"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,0,inf)"}, ""),
        ({"space_origin": "(inf,0,0)"}, "not a number"),
        ({"space_origin": "(0,0,0) (1,1,1)"}, "several origins"),
        ({"space": "scanner-xyz-time"}, "4 dimensions"),
        ({"space": None, "space_dimension": "4"}, "4 dimensions"),
        ({"space_units": '"cm" "cm" "cm"'}, "not measured in millimetres"),
        ({"fish": "1"}, "no NRRD has"),
        ({"data_file": ""}, "does not name a file"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, changes: dict[str, str | None], message: str
) -> None:
    path = write(tmp_path, "a.nrrd", nrrd_bytes(**changes))
    if message:
        assert message in refusal(path)
    else:
        assert not vet_image(path).states_spacing


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_skips_of_packed_voxels_are_refused_and_of_bare_ones_done(
    tmp_path: Path, encoding: str
) -> None:
    bare = VOXELS.tobytes()
    for changes, before in (
        ({"byte_skip": "7"}, b"1234567"),
        ({"byte_skip": "-1"}, b"any length"),
        ({"line_skip": "2"}, b"one\ntwo\n"),
        ({"line_skip": "1", "byte_skip": "2"}, b"one\n12"),
    ):
        content = before + bare if encoding == "raw" else gzip.compress(before + bare)
        path = write(tmp_path, "a.nrrd", nrrd_bytes(content, encoding=encoding, **changes))
        if encoding == "raw":
            np.testing.assert_array_equal(read_stored_image(path).voxels, VOXELS)
        else:
            assert "passed over" in refusal(path)


def test_a_header_without_end_or_start_is_refused(tmp_path: Path) -> None:
    content = nrrd_bytes(b"")
    assert "ends within its header" in refusal(write(tmp_path, "a.nrrd", content[:-1]))
    assert "does not begin" in refusal(write(tmp_path, "a.nrrd", b"NRRD0009\n" + content[9:]))
    assert "does not begin" in refusal(write(tmp_path, "a.nrrd", b""))
    endless = b"NRRD0004\n" + b"# comment\n" * 500_000
    assert "no end" in refusal(write(tmp_path, "a.nrrd", endless))
    twice = content.replace(b"type: short\n", b"type: short\ntype: ushort\n")
    assert '"type" twice' in refusal(write(tmp_path, "a.nrrd", twice))


def test_lines_may_end_as_on_windows_and_hold_free_fields(tmp_path: Path) -> None:
    content = nrrd_bytes(b"").replace(b"kinds", b"# free\nkey:=a: b\\nc\nother:=\nkinds")
    path = write(tmp_path, "a.nrrd", content.replace(b"\n", b"\r\n") + VOXELS.tobytes())
    stored = read_stored_image(path)
    np.testing.assert_array_equal(stored.voxels, VOXELS)
    assert dict(stored.header.fields) == {"key": "a: b\nc", "other": ""}


def test_a_space_that_is_not_the_patients_gives_no_directions(tmp_path: Path) -> None:
    assert not vet_image(
        write(tmp_path, "a.nrrd", nrrd_bytes(space="scanner-xyz"))
    ).states_directions


def test_an_exchanged_byte_order_is_found(tmp_path: Path) -> None:
    smooth = (VOXELS // 7).astype(">i2").tobytes()
    assert "other order" in refusal(write(tmp_path, "a.nrrd", nrrd_bytes(smooth)))
    np.testing.assert_array_equal(
        read_stored_image(write(tmp_path, "b.nrrd", nrrd_bytes(smooth, endian="big"))).voxels,
        VOXELS // 7,
    )
