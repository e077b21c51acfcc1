"""Every command with every kind of nonsense for each of its files: one sentence, and nothing left.

What a slot is given is a path that is missing, of the wrong kind, endless, or full of garbage. The
other arguments are sound, so that the slot is what the command stumbles over.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sentences import is_one_sentence
from sound_files import write_sound_files

from CovidLungQuantLib import cli

NONSENSE = "NONSENSE"
LONGEST_S = 20
START = "covidlungquant: "


@dataclass(frozen=True)
class Slot:
    """One file of a command: the arguments, with `NONSENSE` in its place.

    `kind` says what should stand there, `suffix` how its name should end.
    """

    arguments: tuple[str, ...]
    kind: str = "file"
    suffix: str = ".nrrd"

    @property
    def name(self) -> str:
        at = self.arguments.index(NONSENSE)
        before = self.arguments[at - 1]
        return f"{self.arguments[0]}-{before if before.startswith('-') else at}{self.suffix}"


OUT = ("-o", "out")
SLOTS = [
    *(Slot(("segment", NONSENSE, *OUT), "either", end) for end in (".nrrd", ".nii.gz", ".mha")),
    Slot(("segment", NONSENSE, *OUT), "either", ".dcm"),
    Slot(("segment", "ct.nrrd", "--model", NONSENSE, *OUT), suffix=".pt"),
    Slot(("batch", NONSENSE, *OUT, "--workers", "0"), "cohort", ""),
    Slot(("batch", NONSENSE, *OUT, "--workers", "0"), "cohort", ".csv"),
    Slot(("batch", "cases", *OUT, "--workers", "0", "--model", NONSENSE), suffix=".pt"),
    *(Slot(("measure", "ct.nrrd", NONSENSE, *OUT), "file", end) for end in (".seg.nrrd", ".nii")),
    Slot(("measure", NONSENSE, "labels.nrrd", *OUT), "either"),
    Slot(("measure", "ct.nrrd", "labels.nrrd", "--lobes", NONSENSE, *OUT)),
    Slot(("view", NONSENSE, "--no-browser"), "folder", ""),
    Slot(("evaluate", NONSENSE, "labels.nrrd", "--no-figures", *OUT), "case"),
    Slot(("evaluate", "labels.nrrd", NONSENSE, "--no-figures", *OUT), "case"),
    Slot(("agreement", NONSENSE, "--no-figures", *OUT), suffix=".csv"),
    Slot(("agreement", "--segmentations", NONSENSE, "--no-figures", *OUT), suffix=".csv"),
    *(
        Slot((command, NONSENSE, "--no-figures", *OUT), suffix=end)
        for command in ("timecourse", "score-burden", "prognosis", "radiomics")
        for end in (".csv", ".parquet")
    ),
    Slot(("prognosis", "patients.csv", "--apply", NONSENSE, *OUT), suffix=".json"),
    Slot(("radiomics", "--check", NONSENSE, *OUT), suffix=".csv"),
    Slot(("follow-up", NONSENSE, NONSENSE, "--no-figures", *OUT), "folder", ""),
    Slot(("lobes", NONSENSE, "-o", "lobes.nrrd"), "either"),
    Slot(("lobes", "--lungs", NONSENSE, "-o", "lobes.nrrd")),
    Slot(("enhance", NONSENSE, "-o", "enhanced.nrrd"), "either"),
    Slot(("enhance", "ct.nrrd", "--segmentation", NONSENSE, "-o", "enhanced.nrrd")),
    Slot(("enhance", "ct.nrrd", "--model", NONSENSE, "-o", "enhanced.nrrd"), suffix=".pt"),
    Slot(("export", NONSENSE, "labels.nrrd", "-o", "set"), "either"),
    Slot(("export", "ct.nrrd", NONSENSE, "-o", "set")),
    Slot(("export", "ct.nrrd", "labels.nrrd", "--machine", NONSENSE, "-o", "set")),
    Slot(("export", "--list", NONSENSE, "-o", "set"), suffix=".csv"),
    Slot(("training-set", NONSENSE), "folder", ""),
    Slot(("train", NONSENSE, *OUT), "folder", ""),
    Slot(("train", "cases", "--config", NONSENSE, *OUT), suffix=".json"),
    Slot(("train", "cases", "--start-from", NONSENSE, *OUT), suffix=".pt"),
    Slot(("train", "cases", "--imagenet", NONSENSE, *OUT), suffix=".pth"),
    Slot(("train", "cases", "--healthy", NONSENSE, *OUT), "either"),
    Slot(("train", "cases", "--unlabelled", "ct.nrrd", "--teacher", NONSENSE, *OUT), suffix=".pt"),
    Slot(("train", "cases", "--unlabelled", NONSENSE, "--teacher", "small.pt", *OUT), "either"),
    Slot(("fine-tune", NONSENSE, "--model", "small.pt"), "folder", ""),
    Slot(("fine-tune", "cases", "--model", NONSENSE), suffix=".pt"),
]
OUTPUT_SLOTS = [
    Slot(("segment", "ct.nrrd", "--model", "small.pt", "-o", NONSENSE), "out", ""),
    Slot(("measure", "ct.nrrd", "labels.nrrd", "-o", NONSENSE), "out", ""),
    Slot(("batch", "cases", "--model", "small.pt", "--workers", "0", "-o", NONSENSE), "out", ""),
    Slot(("view", "ct.nrrd", "--no-browser", "-o", NONSENSE), "out", ""),
    Slot(("evaluate", "labels.nrrd", "labels.nrrd", "--no-figures", "-o", NONSENSE), "out", ""),
    Slot(("agreement", "table.csv", "--no-figures", "-o", NONSENSE), "out", ""),
    Slot(("lobes", "--lungs", "lungs.nrrd", "-o", NONSENSE), "out"),
    Slot(("enhance", "ct.nrrd", "--segmentation", "labels.nrrd", "-o", NONSENSE), "out"),
    Slot(("phantom", "-o", NONSENSE), "out"),
    Slot(("export", "ct.nrrd", "labels.nrrd", "-o", NONSENSE), "set", ""),
    Slot(("train", "cases", "-o", NONSENSE), "set", ""),
]


def sparse(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(10 << 30)
    return path


def linked_to_itself(path: Path) -> Path:
    path.symlink_to(path.name)
    return path


def made(path: Path, make: Callable[[Path], object]) -> Path:
    make(path)
    return path


LONG_CELL = f"case,a,b\nc,{'9' * 10**6}"
BYTES = np.random.default_rng(7).bytes(5000)
FILES: dict[str, Callable[[Path], Path | str]] = {
    "empty": lambda path: made(path, Path.touch),
    "binary": lambda path: made(path, lambda file: file.write_bytes(BYTES)),
    "text": lambda path: made(path, lambda file: file.write_text("No, thank you.\n" * 9)),
    "one line of zeros": lambda path: made(path, lambda file: file.write_bytes(bytes(9000))),
    "deep": lambda path: made(path, lambda file: file.write_text("[" * 100_000)),
    "long cell": lambda path: made(path, lambda file: file.write_text(LONG_CELL)),
    "huge": sparse,
    "in another encoding": lambda path: made(path, lambda file: file.write_bytes(b"caf\xe9;\xff")),
}
FOLDERS: dict[str, Callable[[Path], Path | str]] = {
    "empty folder": lambda path: made(path, Path.mkdir),
    "folder of garbage": lambda path: made(path, fill_with_garbage),
}
# No command can use these, whatever it wants.
NEITHER: dict[str, Callable[[Path], Path | str]] = {
    "pipe": lambda path: made(path, os.mkfifo),
    "null device": lambda path: Path("/dev/null"),
    "endless device": lambda path: Path("/dev/zero"),
    "full device": lambda path: Path("/dev/full"),
    "long name": lambda path: path.with_name(f"{'n' * 300}{path.suffix}"),
    "no UTF-8": lambda path: path.with_name(os.fsdecode(b"caf\xe9" + os.fsencode(path.suffix))),
    "link to itself": linked_to_itself,
    "nothing": lambda path: "",
    "nobody's home": lambda path: Path(f"~nobody-of-this-name/{path.name}"),
}
MISSING: dict[str, Callable[[Path], Path | str]] = {
    "missing": lambda path: path,
    "missing in a file": lambda path: made(path, Path.touch) / f"more-1{path.suffix}",
    "name of two lines": lambda path: path.with_name(f"line-1\nline-2\x1b[31m{path.suffix}"),
    "this folder": lambda path: Path(),
}


def fill_with_garbage(folder: Path) -> None:
    folder.mkdir()
    (folder / "notes.txt").write_text("Nothing.\n")
    (folder / "scan").write_bytes(BYTES)
    (folder / "result.json").write_text('{"measurements": [{"region": 7}]}')
    os.mkfifo(folder / "pipe")


def nonsense_for(slot: Slot) -> dict[str, Callable[[Path], Path | str]]:
    """Each kind of nonsense by name, for what should stand there."""
    kinds = {
        "file": FILES | FOLDERS,
        "folder": FILES | FOLDERS,
        "either": FILES | FOLDERS,
        "case": FILES | FOLDERS,
        "cohort": FILES | FOLDERS,
        "out": {"text": FILES["text"], "folder of garbage": FOLDERS["folder of garbage"]},
        "set": {"text": FILES["text"]},
    }[slot.kind]
    if slot.kind not in ("out", "set"):
        kinds = kinds | MISSING
    if slot.kind in ("case", "cohort"):
        # Where the sound files lie is the folder of a case, and of scans.
        del kinds["this folder"]
    return kinds | NEITHER


CASES = [(slot, kind) for slot in (*SLOTS, *OUTPUT_SLOTS) for kind in nonsense_for(slot)]


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sound file of each kind."""
    return write_sound_files(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def place(sound_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with links to the sound files in it."""
    folder = tmp_path / "work-1"
    folder.mkdir()
    for file in sound_files.iterdir():
        (folder / file.name).symlink_to(file)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COVIDLUNGQUANT_MODELS", str(tmp_path / "models"))
    return folder


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Fail what takes longer, such as waiting for a pipe."""

    def fail(number: int, frame: object) -> None:
        raise BaseException(f"It took more than {seconds:g} s.")

    earlier = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def all_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check_refusal(arguments: list[str], capsys: pytest.CaptureFixture, most_s: float) -> str:
    """Run a command that must be refused; returns its sentence."""
    capsys.readouterr()
    with time_limit(most_s):
        exit_code = cli.main(arguments)
    shown = capsys.readouterr().err
    sentence = shown.splitlines()[-1] if shown else ""
    assert exit_code in (2, 3), (exit_code, shown)
    assert "Traceback" not in shown and "unexpected error" not in shown, shown
    assert sentence.startswith(START), shown
    assert [line for line in shown.splitlines() if line.startswith(START)] == [sentence]
    assert is_one_sentence(sentence.removeprefix(START)), sentence
    assert sentence.isprintable() and len(sentence) < 500, sentence
    return sentence


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes in the file system")
@pytest.mark.parametrize(
    ("slot", "kind"), CASES, ids=[f"{slot.name}-{kind}" for slot, kind in CASES]
)
def test_nonsense_is_refused_in_one_sentence_and_leaves_nothing(
    slot: Slot, kind: str, place: Path, capsys: pytest.CaptureFixture
):
    given = nonsense_for(slot)[kind](place / f"given-1{slot.suffix}")
    arguments = [str(given) if part == NONSENSE else part for part in slot.arguments]
    before = all_below(place.parent)

    check_refusal(arguments, capsys, LONGEST_S)

    assert all_below(place.parent) == before


@pytest.mark.parametrize("command", ["segment", "measure", "lobes", "enhance", "export"])
def test_a_scan_that_is_not_there_is_told_before_any_library_is_loaded(command: str):
    statements = (
        "import sys\n"
        "from CovidLungQuantLib.cli.program import run\n"
        f"code = run([{command!r}, 'no-such-scan', '-o', 'out'])\n"
        "print(code, [name for name in ('SimpleITK', 'torch') if name in sys.modules])\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", statements], capture_output=True, encoding="utf-8", check=True
    )
    assert process.stdout == "2 []\n"
    assert process.stderr.endswith('There is no file or folder "no-such-scan"; check the path.\n')
