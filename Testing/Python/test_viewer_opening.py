"""What the viewer opens, what it refuses, and who may look."""

from __future__ import annotations

import json
import shutil
import socket
import threading
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from sentences import is_one_sentence
from small_result import small_ct, small_labels, small_probability, write_small_result

from CovidLungQuantLib.cli import program
from CovidLungQuantLib.errors import BadInputError
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.lobes import read_lobes
from CovidLungQuantLib.files.scenes import read_ct_of_scene
from CovidLungQuantLib.pipeline import measure
from CovidLungQuantLib.progress import no_progress
from CovidLungQuantLib.viewer import access
from CovidLungQuantLib.viewer.opening import begun, measure_opened, open_result

needs_slicer = pytest.mark.skipif(find_spec("slicer") is None, reason="slicer-core is missing")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    return write_small_result(
        tmp_path_factory.mktemp("result"), scene=find_spec("slicer") is not None
    )


@pytest.fixture
def result(made, tmp_path) -> Path:
    """A copy that may be spoilt, without its scene."""
    folder = tmp_path / "result"
    shutil.copytree(made[0], folder, ignore=shutil.ignore_patterns("scene.mrb"))
    return folder


def test_a_result_is_opened_with_the_scan_that_is_named(result, made):
    opened = open_result(result, made[1])
    assert np.array_equal(opened.ct.hu, small_ct().hu)
    assert np.array_equal(opened.labels, small_labels())
    assert np.array_equal(opened.machine_labels, small_labels())
    assert opened.machine_labels is not opened.labels
    assert np.array_equal(opened.probability, small_probability())
    assert opened.provenance.model_name == "a model"


def test_numbers_that_the_folder_knows_are_counted_not_measured(result, made):
    opened = open_result(result, made[1])
    counted = measure_opened(opened)
    lobes = read_lobes(result / "lobes.seg.nrrd", opened.ct.geometry)
    measured = measure(opened.ct, opened.labels, lobes=lobes)
    # Measuring would say what it was done with.
    assert counted.provenance is None and measured.provenance is not None
    assert counted.measurements == measured.measurements
    for name in ("labels", "lungs", "lobes", "segments"):
        assert np.array_equal(getattr(counted, name), getattr(measured, name))
    assert counted.labels is not opened.labels


def test_what_the_folder_does_not_know_is_measured(result, made):
    record = json.loads((result / "result.json").read_text(encoding="utf-8"))
    record["measurements"][5]["ggo_ml"] += 0.001
    (result / "result.json").write_text(json.dumps(record), encoding="utf-8")
    opened = open_result(result, made[1])
    lobes = read_lobes(result / "lobes.seg.nrrd", opened.ct.geometry)
    found = measure_opened(opened)
    assert found.provenance is not None
    assert found.measurements == measure(opened.ct, opened.labels, lobes=lobes).measurements


def test_another_scan_on_the_same_voxels_is_refused(result, tmp_path):
    other = small_ct()
    write_image(tmp_path / "other.nrrd", other.hu + np.int16(3), other.geometry)
    with pytest.raises(BadInputError, match="give the scan it was measured on") as refused:
        open_result(result, tmp_path / "other.nrrd")
    assert is_one_sentence(str(refused.value))


def test_opening_may_begin_before_anyone_waits_for_it(result, made):
    waited_for = threading.Event()

    def opener(progress):
        progress(0.1, "told to nobody")
        began.set()
        waited_for.wait(30)
        return open_result(result, made[1], progress)

    began = threading.Event()
    opened = begun(opener)
    assert began.wait(30)
    told = []

    def tell(fraction, message):
        told.append(message)

    threading.Timer(0.2, waited_for.set).start()
    assert np.array_equal(opened(tell).labels, small_labels())
    assert told == ["Reading the scan", "Reading the segmentation", "Read"]


def test_what_opening_raises_is_raised_to_who_waits(result):
    with pytest.raises(BadInputError, match="--ct"):
        begun(lambda progress: open_result(result, None, progress))(no_progress)


@needs_slicer
def test_a_result_with_a_scene_brings_its_scan_along(made):
    opened = open_result(made[0])
    assert opened.ct.name == "small scan"
    assert np.array_equal(opened.ct.hu, small_ct().hu)
    assert np.allclose(opened.ct.geometry.ijk_to_lps, small_ct().geometry.ijk_to_lps)


@needs_slicer
def test_the_scan_of_an_oblique_scene_is_read_as_it_lies(tmp_path):
    from small_chest import a_ct, a_quantification

    from CovidLungQuantLib.mrml.scene_file import write_scene

    write_scene(tmp_path / "scene.mrb", a_quantification(a_ct(name="ü & co")))
    read = read_ct_of_scene(tmp_path / "scene.mrb")
    assert read.name == "ü & co"
    assert np.array_equal(read.hu, a_ct().hu)
    assert np.allclose(read.geometry.ijk_to_lps, a_ct().geometry.ijk_to_lps, rtol=0, atol=1e-9)


def a_scene(file: Path, scene: str, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("s/s.mrml", scene)
        for name, content in members.items():
            archive.writestr(f"s/{name}.nrrd", content)
    return file


VOLUME = '<Volume id="v" name="a" references="storage:s1;"/>'
STORAGE = '<VolumeArchetypeStorage id="s1" fileName="{}"/>'


@pytest.mark.parametrize(
    "scene",
    [
        "<MRML>",
        "<MRML></MRML>",
        f"<MRML>{VOLUME}</MRML>",
        '<MRML><Volume id="v" name="a"/></MRML>',
        f"<MRML>{VOLUME}{STORAGE.format('other.nrrd')}</MRML>",
        f"<MRML>{VOLUME}{STORAGE.format('../../../etc/passwd')}</MRML>",
        f"<MRML>{VOLUME}{STORAGE.format('ct.nrrd')}</MRML>",
    ],
)
def test_scenes_without_a_scan_that_can_be_read_are_refused(tmp_path, scene):
    file = a_scene(tmp_path / "scene.mrb", scene, ct=b"no image")
    with pytest.raises(BadInputError) as refusal:
        read_ct_of_scene(file)
    assert is_one_sentence(str(refusal.value))


def test_what_is_no_archive_is_no_scene(tmp_path):
    (tmp_path / "scene.mrb").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(BadInputError, match="--ct"):
        read_ct_of_scene(tmp_path / "scene.mrb")
    (tmp_path / "empty.mrb").write_bytes(b"PK\x05\x06" + bytes(18))
    with pytest.raises(BadInputError, match="--ct"):
        read_ct_of_scene(tmp_path / "empty.mrb")


def test_a_probability_of_another_grid_is_refused(result, made):
    ct = small_ct()
    write_image(result / "probability.nrrd", ct.hu, ct.geometry)
    with pytest.raises(BadInputError, match=r"probability\.nrrd"):
        open_result(result, made[1])


def test_another_scan_is_refused(result, tmp_path):
    ct = small_ct()
    other = tmp_path / "other.nrrd"
    geometry = type(ct.geometry)(ct.hu.shape, (4.0, 4.0, 6.0), (0.0, 0.0, 0.0), np.eye(3))
    write_image(other, ct.hu, geometry)
    with pytest.raises(BadInputError):
        open_result(result, other)


@pytest.mark.parametrize("text", ["{", "{}", '{"provenance": 1, "warnings": [], "notes": []}'])
def test_a_damaged_record_is_refused(result, made, text):
    (result / "result.json").write_text(text, encoding="utf-8")
    with pytest.raises(BadInputError, match="cannot be read"):
        open_result(result, made[1])


# The command.


@pytest.fixture
def with_trame(monkeypatch):
    """As if trame-slicer were there; what is tested here ends before it is needed."""
    monkeypatch.setattr("CovidLungQuantLib.cli.view.find_spec", lambda _name: object())


def refused(capsys, *arguments: object) -> str:
    assert program.run(["view", *map(str, arguments), "--no-browser"]) == 2
    message = capsys.readouterr().err.strip()
    assert is_one_sentence(message)
    return message


def test_without_trame_slicer_the_command_says_how_to_come_by_it(result, made, monkeypatch, capsys):
    monkeypatch.setattr("CovidLungQuantLib.cli.view.find_spec", lambda _name: None)
    assert "make viewer" in refused(capsys, result, "--ct", made[1])


def test_the_command_refuses_what_it_cannot_open(result, made, with_trame, capsys, tmp_path):
    scan = made[1]
    assert "--ct" in refused(capsys, result)
    assert "--output" in refused(capsys, scan)
    assert "does not exist" in refused(capsys, tmp_path / "nothing")
    assert "leave --output out" in refused(capsys, result, "--output", tmp_path / "new")
    assert "holds no result" in refused(capsys, scan, "--ct", scan)
    assert "is no port" in refused(capsys, result, "--ct", scan, "--port", 70000)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    if find_spec("slicer") is not None:
        assert "other files" in refused(capsys, scan, "-o", tmp_path / "full")


def test_a_port_that_is_taken_is_refused(result, made, with_trame, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert str(port) in refused(capsys, result, "--ct", made[1], "--port", port)


# Who may look.


def test_tokens_are_long_and_never_the_same():
    first, second = access.new_token(), access.new_token()
    assert first != second
    assert min(len(first), len(second)) >= 32
    assert access.page_address(81, first) == f"http://127.0.0.1:81/?token={first}"


@pytest.mark.parametrize("given", [None, "", "token", "Token", "tökén", "token-and-more"])
def test_only_the_token_itself_is_let_in(given):
    assert access.is_token("token", given) == (given == "token")


@pytest.mark.parametrize(
    ("host", "origin", "own"),
    [
        ("127.0.0.1:81", None, True),
        ("localhost:81", "http://localhost:81", True),
        ("127.0.0.1:81", "http://127.0.0.1:81", True),
        ("127.0.0.1:82", None, False),
        ("evil.example:81", None, False),
        (None, None, False),
        ("127.0.0.1:81", "http://evil.example", False),
        ("127.0.0.1:81", "http://127.0.0.1:82", False),
        ("127.0.0.1:81", "null", False),
    ],
)
def test_only_the_page_itself_may_ask(host, origin, own):
    assert access.is_own_page(host, origin, 81) == own
