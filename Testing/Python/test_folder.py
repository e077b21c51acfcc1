"""The output folder: whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import SimpleITK as sitk
from small_chest import a_quantification

from CovidLungQuantLib.errors import BadInputError, Cancelled, OutOfResourcesError
from CovidLungQuantLib.outputs import folder as folder_module
from CovidLungQuantLib.outputs import replacing
from CovidLungQuantLib.outputs.folder import check_output_folder, write_results

FILES = ["lesions.csv", "measurements.csv", "report.html", "result.json", "segmentation.seg.nrrd"]


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def read_lobes_of(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def cancel_at(message_to_stop_at: str):
    def progress(fraction: float, message: str) -> None:
        if message == message_to_stop_at:
            raise Cancelled("Cancelled.")

    return progress


def test_the_files_are_written_and_named(tmp_path: Path):
    files = write_results(tmp_path / "out", a_quantification())

    assert names_in(tmp_path / "out") == FILES
    assert sorted(files) == [tmp_path / "out" / name for name in FILES]
    assert names_in(tmp_path) == ["out"]
    assert all(file.stat().st_size > 0 for file in files)


def test_the_lobes_are_written_where_there_are_some(tmp_path: Path):
    quantification = a_quantification(lobes=True)

    write_results(tmp_path / "out", quantification)

    assert names_in(tmp_path / "out") == sorted([*FILES, "lobes.seg.nrrd"])
    lobes = read_lobes_of(tmp_path / "out" / "lobes.seg.nrrd")
    assert (lobes == quantification.lobes).all()


def test_the_same_quantification_gives_the_same_bytes(tmp_path: Path):
    write_results(tmp_path / "a", a_quantification())
    write_results(tmp_path / "b", a_quantification())

    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_scene_is_written_when_asked_for(tmp_path: Path):
    pytest.importorskip("slicer", reason="slicer-core is not installed")

    write_results(tmp_path / "out", a_quantification(), scene=True)

    assert names_in(tmp_path / "out") == sorted([*FILES, "scene.mrb"])
    with ZipFile(tmp_path / "out" / "scene.mrb") as scene:
        assert any(name.endswith(".mrml") for name in scene.namelist())


def test_results_are_readable_by_whom_the_umask_allows(tmp_path: Path):
    (tmp_path / "plain").mkdir()
    write_results(tmp_path / "out", a_quantification())

    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_missing_parents_are_made_and_an_empty_folder_is_used(tmp_path: Path):
    write_results(tmp_path / "a" / "b" / "out", a_quantification())
    (tmp_path / "empty").mkdir()
    write_results(tmp_path / "empty", a_quantification())

    assert names_in(tmp_path / "a" / "b" / "out") == FILES
    assert names_in(tmp_path / "empty") == FILES


def test_results_are_only_replaced_when_asked(tmp_path: Path):
    out = tmp_path / "out"
    write_results(out, a_quantification())
    before = (out / "report.html").read_bytes()

    with pytest.raises(BadInputError, match="--overwrite"):
        write_results(out, a_quantification(model_name="another model"))
    assert (out / "report.html").read_bytes() == before

    write_results(out, a_quantification(model_name="another model"), overwrite=True)
    assert b"another model" in (out / "report.html").read_bytes()
    assert names_in(tmp_path) == ["out"]


def test_a_folder_with_anything_else_in_it_is_never_replaced(tmp_path: Path):
    out = tmp_path / "out"
    write_results(out, a_quantification())
    (out / "my notes.txt").write_text("keep")

    with pytest.raises(BadInputError, match="my notes"):
        write_results(out, a_quantification(), overwrite=True)
    assert names_in(out) == sorted([*FILES, "my notes.txt"])


def test_a_file_or_a_link_in_the_way_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("keep")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")

    for name in ("file", "link"):
        with pytest.raises(BadInputError, match="not a folder"):
            check_output_folder(tmp_path / name, overwrite=True)
    with pytest.raises(BadInputError, match="elsewhere"):
        check_output_folder(tmp_path / "file" / "out")


def test_a_scene_without_slicer_core_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(folder_module, "find_spec", lambda name: None)

    with pytest.raises(BadInputError, match="slicer-core"):
        write_results(tmp_path / "out", a_quantification(), scene=True)
    assert names_in(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_cannot_be_written_is_refused(tmp_path: Path):
    (tmp_path / "locked").mkdir(mode=0o500)

    with pytest.raises(BadInputError, match="elsewhere"):
        check_output_folder(tmp_path / "locked" / "out")


@pytest.mark.parametrize("message", ["Writing the segmentation", "Writing the report", "Written"])
def test_cancelling_leaves_no_trace(tmp_path: Path, message: str):
    with pytest.raises(Cancelled):
        write_results(tmp_path / "a" / "out", a_quantification(), progress=cancel_at(message))
    assert names_in(tmp_path) == []


def test_cancelling_an_overwrite_keeps_the_earlier_results(tmp_path: Path):
    out = tmp_path / "out"
    write_results(out, a_quantification())
    before = (out / "report.html").read_bytes()

    with pytest.raises(Cancelled):
        write_results(
            out, a_quantification(model_name="x"), overwrite=True, progress=cancel_at("Written")
        )
    assert (out / "report.html").read_bytes() == before
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("number", "error", "sentence"),
    [
        (errno.ENOSPC, OutOfResourcesError, "disk is full"),
        (errno.EROFS, BadInputError, "cannot be written"),
    ],
)
def test_a_disk_that_fails_is_explained_and_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type, sentence: str
):
    def failing(path: Path, quantification: object) -> None:
        raise OSError(number, os.strerror(number))

    # A full disk cannot be had in a test without being root.
    monkeypatch.setattr(folder_module, "write_report", failing)

    with pytest.raises(error, match=sentence):
        write_results(tmp_path / "out", a_quantification())
    assert names_in(tmp_path) == []


def test_a_failed_rename_puts_the_earlier_results_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the system cannot exchange two names."""
    out = tmp_path / "out"
    write_results(out, a_quantification())
    monkeypatch.setattr(replacing, "exchange", lambda one, other: False)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if "unfinished" in self.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)

    with pytest.raises(BadInputError, match="cannot be written"):
        write_results(out, a_quantification(), overwrite=True)
    assert names_in(tmp_path) == ["out"]
    assert names_in(out) == FILES


def test_two_folders_exchange_their_names(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not replacing.exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("not on this system or file system")
    assert (names_in(tmp_path / "a"), names_in(tmp_path / "b")) == (["b"], ["a"])
    with pytest.raises(OSError):
        replacing.exchange(tmp_path / "a", tmp_path / "missing")


@pytest.mark.parametrize("can_exchange", [True, False])
def test_results_are_replaced_with_and_without_an_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
):
    if not can_exchange:
        monkeypatch.setattr(replacing, "exchange", lambda one, other: False)
    out = tmp_path / "out"
    write_results(out, a_quantification())
    write_results(out, a_quantification(model_name="another model"), overwrite=True)
    assert b"another model" in (out / "report.html").read_bytes()
    assert names_in(tmp_path) == ["out"]


def test_a_failed_exchange_leaves_the_earlier_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(one: Path, other: Path) -> bool:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    out = tmp_path / "out"
    write_results(out, a_quantification())
    monkeypatch.setattr(replacing, "exchange", failing)
    with pytest.raises(BadInputError, match="cannot be written"):
        write_results(out, a_quantification(model_name="x"), overwrite=True)
    assert names_in(tmp_path) == ["out"]
    assert b"a model" in (out / "report.html").read_bytes()


def a_leftover(folder: Path, kind: str, *files: str) -> Path:
    left = folder.with_name(f".{folder.name}.{kind}-0123abcd")
    left.mkdir()
    for name in files:
        (left / name).write_text(name)
    return left


def test_what_a_killed_run_left_is_removed(tmp_path: Path):
    out = tmp_path / "out"
    left = a_leftover(out, "unfinished", "result.json", ".unfinished-enhanced.nrrd")
    (left / ".covidlungquant-x1").mkdir()
    (left / ".covidlungquant-x1" / "ct.nrrd").touch()
    write_results(out, a_quantification())
    a_leftover(out, "unfinished", *FILES)
    a_leftover(out, "earlier", *FILES).rename(tmp_path / ".out.earlier-11111111")
    write_results(out, a_quantification(), overwrite=True)
    assert names_in(tmp_path) == ["out"]


def test_a_result_set_aside_by_a_killed_run_is_put_back(tmp_path: Path):
    """Also before a run that may not replace it, and where an empty folder has the name."""
    out = tmp_path / "out"
    for make_empty in (False, True):
        write_results(out, a_quantification(), overwrite=True)
        out.rename(tmp_path / ".out.earlier-0123abcd")
        a_leftover(out, "unfinished", "result.json")
        if make_empty:
            out.mkdir()
        with pytest.raises(BadInputError, match="already holds results"):
            check_output_folder(out)
        assert names_in(out) == FILES
        assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize(
    "name",
    [
        ".out.unfinished-0123abc",
        ".out.unfinished-0123ABCD",
        ".out.unfinished-0123abcd.bak",
        "out.unfinished-0123abcd",
        ".outer.unfinished-0123abcd",
        ".out.backup-0123abcd",
    ],
)
def test_a_folder_of_another_name_is_never_removed(tmp_path: Path, name: str):
    (tmp_path / name).mkdir()
    write_results(tmp_path / "out", a_quantification())
    assert names_in(tmp_path) == sorted(["out", name])


def test_a_folder_with_anything_else_in_it_is_never_removed(tmp_path: Path):
    left = a_leftover(tmp_path / "out", "unfinished", "result.json", "my notes.txt")
    write_results(tmp_path / "out", a_quantification())
    assert names_in(left) == ["my notes.txt", "result.json"]


def test_a_link_or_a_file_of_that_name_is_never_removed(tmp_path: Path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "result.json").write_text("keep")
    (tmp_path / ".out.unfinished-0123abcd").symlink_to(tmp_path / "mine")
    (tmp_path / ".out.unfinished-0123abce").write_text("keep")
    write_results(tmp_path / "out", a_quantification())
    assert len(names_in(tmp_path)) == 4
    assert (tmp_path / "mine" / "result.json").read_text() == "keep"


def test_what_another_run_is_writing_is_left_alone(tmp_path: Path):
    out = tmp_path / "out"
    with folder_module.filled_folder(out) as unfinished:
        (unfinished / "result.json").write_text("still being written")
        check_output_folder(out)
        replacing.recover(out, FILES)
        assert names_in(unfinished) == ["result.json"]
    assert names_in(tmp_path) == ["out"]


def test_without_locks_only_what_is_old_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(replacing, "_locked", lambda path: replacing.NO_LOCKS)
    left = a_leftover(tmp_path / "out", "unfinished", "result.json")
    check_output_folder(tmp_path / "out")
    assert left.is_dir()
    two_days_ago = left.stat().st_mtime - 2 * 24 * 3600
    os.utime(left, (two_days_ago, two_days_ago))
    write_results(tmp_path / "out", a_quantification())
    assert names_in(tmp_path) == ["out"]


def test_all_is_on_the_disk_before_it_takes_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[str] = []
    sync, exchange = replacing._sync, replacing.exchange
    monkeypatch.setattr(replacing, "_sync", lambda path: steps.append(path.name) or sync(path))
    monkeypatch.setattr(
        replacing, "exchange", lambda one, other: steps.append("exchange") or exchange(one, other)
    )
    write_results(tmp_path / "out", a_quantification())
    steps.clear()
    write_results(tmp_path / "out", a_quantification(), overwrite=True)
    before = steps[: steps.index("exchange")]
    assert sorted(before)[1:] == FILES and before[-1].startswith(".out.unfinished-")
    assert steps[-1] == tmp_path.name


@pytest.mark.parametrize("length", [201, 240, 255])
def test_a_folder_may_have_a_long_name(tmp_path: Path, length: int):
    out = tmp_path / ("x" * length)
    write_results(out, a_quantification())
    write_results(out, a_quantification(), overwrite=True)
    assert names_in(tmp_path) == [out.name]
