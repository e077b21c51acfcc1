"""A full disk: one sentence, exit code 3, and nothing left. A real one, where root may mount it."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from small_chest import a_ct, a_label_map, a_quantification
from small_model import small_model

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.cohort.simulated_cohort import serial_scans
from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError
from CovidLungQuantLib.files import disk
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.files.tables import replace_text, write_csv
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.training.export import export_training_case
from CovidLungQuantLib.training.run_folder import save_checkpoint

SMALL_DISK_BYTES = 64 * 1024
LEFT_FREE_BYTES = (0, 4096, 12288)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A disk of 64 kB, or skip."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True)
    except OSError:
        pytest.skip("nothing can be mounted on this system")
    if done.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=LEFT_FREE_BYTES)
def full_disk(small_disk: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """The small disk with next to nothing left."""
    filler = small_disk / "filler"
    filler.write_bytes(bytes(SMALL_DISK_BYTES - request.param))
    yield small_disk
    filler.unlink()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan, its labels, two results and a table of readers."""
    folder = tmp_path_factory.mktemp("inputs")
    ct = a_ct()
    write_image(folder / "ct.nrrd", ct.hu, ct.geometry)
    write_image(folder / "labels.nrrd", a_label_map(), ct.geometry)
    for name in ("first", "second"):
        write_results(folder / name, a_quantification())
    rows = "\n".join(f"case {number},{number},{number + 1}" for number in range(8))
    write_csv(folder / "serial.csv", serial_scans(0, {"moderate": 8}))
    (folder / "readers.csv").write_text(f"case,software,reader\n{rows}\n")
    return folder


SCAN = ["{inputs}/ct.nrrd", "{inputs}/labels.nrrd"]
COMMANDS = {
    "measure": ["measure", *SCAN, "-o", "{out}", "--lobes", "none"],
    "evaluate": ["evaluate", SCAN[1], SCAN[1], "-o", "{out}", "--no-figures"],
    "agreement": ["agreement", "{inputs}/readers.csv", "-o", "{out}", "--no-figures"],
    "follow-up": ["follow-up", "{inputs}/first", "{inputs}/second", "-o", "{out}", "--no-figures"],
    "score-burden": ["score-burden", "{inputs}/serial.csv", "-o", "{out}"],
    "simulate-cohort": ["simulate-cohort", "-o", "{out}"],
    "export": ["export", *SCAN, "-o", "{out}"],
    "export for nnU-Net": ["export", *SCAN, "-o", "{out}/deep", "--layout", "nnunet"],
    "phantom": ["phantom", "-o", "{out}.nrrd"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_leaves_nothing_on_a_full_disk(
    full_disk: Path, inputs: Path, command: list[str], capfd: pytest.CaptureFixture[str]
):
    if command[0] == "score-burden":
        pytest.importorskip("pingouin", reason="the extra cohort is not installed")
    out = full_disk / "out"
    code = main([part.format(inputs=inputs, out=out) for part in command])
    said = capfd.readouterr().err
    assert code == 3, said
    assert said.splitlines()[-1].startswith("covidlungquant: The disk is full")
    assert [entry.name for entry in full_disk.iterdir()] == ["filler"]


def test_an_earlier_result_stays_on_a_full_disk(small_disk: Path):
    write_results(small_disk / "out", a_quantification())
    before = {file.name: file.read_bytes() for file in (small_disk / "out").iterdir()}
    filler = small_disk / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(OutOfResourcesError, match="disk is full"):
        write_results(small_disk / "out", a_quantification(model_name="other"), overwrite=True)
    filler.unlink()
    assert {file.name: file.read_bytes() for file in (small_disk / "out").iterdir()} == before
    assert [entry.name for entry in small_disk.iterdir()] == ["out"]
    for file in (small_disk / "out").iterdir():
        file.unlink()
    (small_disk / "out").rmdir()


@pytest.mark.parametrize("suffix", [".nrrd", ".nii.gz", ".nii", ".mha"])
def test_an_image_of_each_format_is_not_written_by_half(full_disk: Path, suffix: str):
    ct = a_ct()
    noise = np.random.default_rng(0).integers(-1000, 1000, (40, *ct.hu.shape[1:]))
    shape = (40, *ct.hu.shape[1:])
    geometry = type(ct.geometry)(shape, ct.geometry.spacing_mm, ct.geometry.origin_mm, np.eye(3))
    with pytest.raises(OutOfResourcesError, match="disk is full"):
        write_image(full_disk / f"ct{suffix}", noise.astype(np.int16), geometry)
    assert [entry.name for entry in full_disk.iterdir()] == ["filler"]


def test_a_model_and_a_checkpoint_are_not_written_by_half(full_disk: Path):
    network = small_model().network
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer)
    with pytest.raises(OutOfResourcesError, match=r"checkpoint\.pt was not written"):
        save_checkpoint(full_disk, network, optimizer, scheduler, 1)
    with pytest.raises(OSError) as raised:
        save_model(full_disk / "model.pt", network)
    assert raised.value.errno == errno.ENOSPC
    assert [entry.name for entry in full_disk.iterdir()] == ["filler"]


def test_the_command_line_knows_a_full_disk_wherever_it_shows(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    """As in train, whose files are written in many places."""

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("CovidLungQuantLib.cli.phantom.run", full)
    assert main(["phantom", "-o", str(tmp_path / "a.nrrd")]) == 3
    assert "The disk is full, so nothing was written; free" in capsys.readouterr().err


def test_text_that_cannot_be_replaced_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replace_text(tmp_path / "a.json", "old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError):
        replace_text(tmp_path / "a.json", "new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]
    assert (tmp_path / "a.json").read_text() == "old"


def test_what_failed_for_another_reason_is_not_called_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    assert isinstance(disk.not_written(tmp_path / "a", "a"), BadInputError)
    ct = a_ct()
    # As if the bytes on the disk were others.
    monkeypatch.setattr("SimpleITK.GetArrayFromImage", lambda image: np.zeros_like(ct.hu))
    with pytest.raises(BadInputError, match="cannot be written there"):
        write_image(tmp_path / "ct.nrrd", ct.hu, ct.geometry)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_export_left_is_removed_by_the_next(tmp_path: Path):
    left = tmp_path / "set" / ".case.unfinished-0123abcd"
    (left / "case_0001").mkdir(parents=True)
    (left / "case_0001" / "ct.nrrd").write_text("half")
    quantification = a_quantification()
    case = export_training_case(tmp_path / "set", quantification.ct, quantification.labels)
    names = sorted(entry.name for entry in (tmp_path / "set").iterdir())
    assert (case, names) == ("case_0001", ["case_0001", "manifest.csv"])
