"""How commands end where printing, the options or the computer are not as they should be."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sentences import is_one_sentence
from sound_files import write_sound_files

from CovidLungQuantLib import cli
from CovidLungQuantLib.cli.explaining import explain, known_error, on_one_line
from CovidLungQuantLib.cli.streams import PLAIN_LETTERS, PatientStream, encodable
from CovidLungQuantLib.errors import BadInputError, OutOfResourcesError
from CovidLungQuantLib.models.registry import DEFAULT_MODEL_NAME, available_models, model_path
from CovidLungQuantLib.training.fine_tuning_runs import PLAN_FILE_NAME, RUNS_FOLDER_NAME

ROOT = Path(cli.__file__).parents[2]
START = "covidlungquant: "
COMMAND = [sys.executable, "-m", "CovidLungQuantLib.cli"]
FULL_DEVICE = Path("/dev/full")
COMMANDS = (
    "segment batch view measure evaluate agreement follow-up lobes enhance phantom export train"
)
COMMANDS += " train training-set fine-tune info"


@pytest.fixture(scope="module")
def sound_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sound file of each kind, and two results."""
    folder = write_sound_files(tmp_path_factory.mktemp("sound"))
    for name in ("first", "second"):
        scan = [str(folder / "ct.nrrd"), str(folder / "labels.nrrd")]
        assert cli.main(["measure", *scan, "--lobes", "none", "-o", str(folder / name)]) == 0
    return folder


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


@pytest.fixture
def refused(place: Path, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run a command that must be refused and leave nothing; returns its sentence."""

    def run(line: str, exit_code: int = 2) -> str:
        before = set(place.parent.rglob("*"))
        capsys.readouterr()
        assert cli.main(line.split()) == exit_code, line
        (sentence,) = capsys.readouterr().err.splitlines()[-1:]
        assert is_one_sentence(sentence.removeprefix(START)), sentence
        assert "unexpected error" not in sentence
        assert set(place.parent.rglob("*")) == before
        return sentence

    return run


# What is printed


LINES = [
    "measure ct.nrrd labels.nrrd --lobes none -o out",
    "evaluate labels.nrrd labels.nrrd --no-figures -o out",
    "agreement table.csv --no-figures -o out",
    "follow-up first second --no-figures -o out",
    "lobes --lungs lungs.nrrd -o out.nrrd",
    "enhance ct.nrrd --segmentation labels.nrrd -o out.nrrd",
    "phantom -o out.nrrd",
    "export ct.nrrd labels.nrrd -o set",
    "fine-tune --status",
    "info",
    *(f"{command} --help" for command in COMMANDS.split()),
    "segment no-such-ct-≥-−.nrrd -o out",
]


@pytest.mark.parametrize(
    ("encoding", "line"),
    [*(("ascii", line) for line in LINES), ("latin-1", LINES[1]), ("cp1252", LINES[3])],
)
def test_every_command_prints_in_any_encoding(
    line: str, encoding: str, place: Path, monkeypatch: pytest.MonkeyPatch
):
    out, errors = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(errors, encoding))
    try:
        exit_code = cli.main(line.split())
    except SystemExit as stop:
        exit_code = stop.code
    sys.stdout.flush()

    shown = (out.getvalue() + errors.getvalue()).decode(encoding)
    assert exit_code == (2 if line.startswith("segment no") else 0), shown
    assert "UnicodeEncodeError" not in shown and "\\u" not in shown


def test_letters_that_an_encoding_lacks_are_written_with_others():
    text = "≥ 5 … −350 HU, 2 ± 1 – “Müller”, 3 × 4, √2, Σ, x², 漢, \udce9"
    assert encodable(text, "utf-8") == text.replace("\udce9", "?")
    plain = '>= 5 ... -350 HU, 2 +/- 1 - "Muller", 3 x 4, sqrt2, sum, x2, ?, ?'
    assert encodable(text, "ascii") == plain
    assert encodable("2 ± 1 …", "latin-1") == "2 ± 1 ..."
    assert encodable("as it is …", None) == "as it is …"


def test_every_letter_the_library_writes_has_plain_ones():
    for file in (ROOT / "CovidLungQuantLib").rglob("*.py"):
        for letter in {letter for letter in file.read_text(encoding="utf-8") if letter > "\x7f"}:
            assert "?" not in encodable(letter, "ascii"), (file.name, letter)
    assert all(plain.isascii() for plain in PLAIN_LETTERS.values())


class Broken(io.StringIO):
    """A stream whose other end is gone, or whose disk is full."""

    def __init__(self, error: OSError | ValueError):
        super().__init__()
        self.error = error
        self.calls = 0

    def write(self, text: str) -> int:
        self.calls += 1
        raise self.error


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (BrokenPipeError(32, "Broken pipe"), 0),
        (ValueError("I/O operation on closed file."), 0),
        (OSError(28, "No space left on device"), 3),
        (OSError(5, "Input/output error"), 3),
    ],
)
def test_a_result_is_whole_though_printing_fails(
    error: OSError, exit_code: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    broken = Broken(error)
    monkeypatch.setattr(sys, "stdout", broken)
    assert cli.main(["agreement", "table.csv", "--no-figures", "-o", "out"]) == exit_code
    assert broken.calls == 1
    names = sorted(file.name for file in Path("out").iterdir())
    assert names == ["agreement.csv", "agreement.html", "agreement.json", "icc.csv", "table2.csv"]
    shown = capsys.readouterr().err
    assert ("could not be written" in shown) == (exit_code == 3)
    if exit_code:
        assert is_one_sentence(shown.strip().removeprefix(START))


def test_without_any_stream_a_command_runs(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert cli.main(["lobes", "--lungs", "lungs.nrrd", "-o", "out.nrrd"]) == 0
    assert cli.main(["lobes", "--lungs", "lungs.nrrd", "-o", "out.nrrd"]) == 2


def test_a_patient_stream_says_what_the_stream_it_stands_for_is():
    stream = PatientStream(io.TextIOWrapper(io.BytesIO(), "ascii"))
    assert stream.encoding == "ascii" and not stream.isatty()
    assert not PatientStream(None).isatty()


@pytest.mark.skipif(not FULL_DEVICE.exists(), reason="needs /dev/full")
def test_pipes_that_are_closed_and_disks_that_are_full_in_a_process_of_its_own(place: Path):
    def run(shell: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", shell.replace("CLQ", " ".join(COMMAND))],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )

    full = run("CLQ agreement table.csv --no-figures -o full > /dev/full")
    assert full.returncode == 3 and len(full.stderr.splitlines()) == 1, full.stderr
    assert full.stderr.startswith(START) and len(list(Path("full").iterdir())) == 5
    piped = run("CLQ agreement table.csv --no-figures -o piped | true; echo ${PIPESTATUS[0]}")
    assert (piped.stdout, piped.stderr) == ("0\n", "")
    closed = run("CLQ agreement table.csv --no-figures -o closed >&- 2>&- <&-")
    assert closed.returncode == 0
    for name in ("piped", "closed"):
        assert (Path(name) / "agreement.csv").read_bytes() == Path(
            "full/agreement.csv"
        ).read_bytes()
    help_text = run("CLQ segment --help > /dev/full")
    assert help_text.returncode == 3 and "Traceback" not in help_text.stderr


# Options


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("follow-up first second --days nan,1 -o out", "nan"),
        ("follow-up first second --days 0,inf -o out", "inf"),
        ("follow-up first second --days 1 -o out", "one day for each"),
        ("follow-up first second --days 1,2,3 -o out", "one day for each"),
        ("follow-up first second --days 2,1 -o out", "order of time"),
        ("follow-up first second --days 1,1 -o out", "order of time"),
        ("follow-up first -o out", "two"),
        ("segment ct.nrrd --kinds artery --artery-hu nan -o out", "nan"),
        ("segment ct.nrrd --kinds artery --artery-hu inf -o out", "inf"),
        ("segment ct.nrrd --kinds artery --artery-hu 1e30 -o out", "pulmonary artery"),
        ("segment ct.nrrd --kinds density --artery-hu 300 -o out", "artery"),
        ("segment ct.nrrd --series 1.2.3 --model small.pt -o out", "series"),
        ("train cases --learning-rate nan -o out", "nan"),
        ("train cases --learning-rate -1 -o out", "learning_rate"),
        ("train cases --epochs 0 -o out", "epochs"),
        ("train cases --seed -1 -o out", "seed"),
        ("train cases --seed 99999999999999999999 -o out", "seed"),
        ("train cases --epochs 99999999999999999999 -o out", "epochs"),
        ("train cases --fold 3 -o out", "fold"),
        ("train cases --fold 0 --folds 0 -o out", "fold"),
        ("train cases --device abacus -o out", "device"),
        ("train cases --leave-out a,b -o out", "No case is left"),
        ("fine-tune cases --model small.pt --epochs 0", "epochs"),
        ("fine-tune cases --model small.pt --device abacus", "device"),
        ("fine-tune cases --model small.pt --name ../x", "name"),
        ("fine-tune cases --model small.pt --name " + "n" * 250, "name"),
        ("fine-tune cases --model small.pt --hold-back c", "case"),
        ("fine-tune --cancel ../x", "fine-tuning"),
        ("fine-tune --cancel " + "n" * 300, "fine-tuning"),
        ("export ct.nrrd labels.nrrd --layout other -o set", "layout"),
        ("export ct.nrrd labels.nrrd --same-patient-as x -o set", "case"),
        ("export ct.nrrd -o set", "SEGMENTATION"),
        ("export --list table.csv ct.nrrd -o set", "--list"),
        ("evaluate labels.nrrd -o out", "pair"),
        ("enhance ct.nrrd --baseline mean -o out.nrrd", "rings"),
        ("lobes -o out.nrrd", "either"),
        ("lobes ct.nrrd --lungs lungs.nrrd -o out.nrrd", "either"),
        ("export ct.nrrd labels.nrrd --reader " + "n" * 5000 + " -o set", "too long"),
        ("export ct.nrrd labels.nrrd --reader \udce9 -o set", "UTF-8"),
        ("segment ct.nrrd --series \udce9 -o out", "UTF-8"),
        ("measure ct.nrrd labels.nrrd -o \udce9", "UTF-8"),
    ],
)
def test_options_of_no_sense_are_refused(line: str, part: str, refused: Callable[..., str]):
    if "follow-up" in line:
        line += " --no-figures"
    assert part in refused(line)


# Where results go


@pytest.mark.parametrize(
    ("output", "part"),
    [
        (".", "holds other files"),
        ("..", "holds other files"),
        ("/", "no new folder"),
        ("ct.nrrd", "not a folder"),
        ("table.csv/out", "Nothing can be written"),
        ("cases", "not a folder"),  # A link to a folder.
        ("n" * 256, "too long"),
        ("n" * 300 + "/out", "too long"),
        ("/proc/out", None),
    ],
)
def test_outputs_that_cannot_be(output: str, part: str | None, refused: Callable[..., str]):
    line = f"agreement table.csv --no-figures -o {output}"
    sentence = refused(line)
    assert part is None or part in sentence


def test_the_folder_one_is_in_is_never_exchanged(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    table = str(place / "table.csv")
    empty = place / "empty-1"
    (empty / "deeper").mkdir(parents=True)
    (empty / "deeper").rmdir()
    monkeypatch.chdir(empty)
    for name in (".", "", str(empty)):
        assert cli.main(["agreement", table, "--no-figures", "-o", name]) == 2
        assert is_one_sentence(capsys.readouterr().err.strip().removeprefix(START))
        assert list(empty.iterdir()) == []
    assert cli.main(["agreement", table, "--no-figures", "-o", "out"]) == 0
    monkeypatch.chdir(empty / "out")
    again = ["agreement", table, "--no-figures", "--overwrite", "-o"]
    assert cli.main([*again, "."]) == 2
    assert "give a new folder in it" in capsys.readouterr().err
    monkeypatch.chdir(empty)
    assert cli.main([*again, "out"]) == 0


@pytest.mark.parametrize("name", ["n" * 241 + ".nrrd", "missing/" * 3 + "x.txt"])
def test_images_that_cannot_be_written_are_refused_at_once(name: str, refused: Callable[..., str]):
    for line in ("phantom -o", "lobes --lungs lungs.nrrd -o", "enhance ct.nrrd -o"):
        refused(f"{line} {name}")


# The computer


def test_without_a_home_the_shipped_models_are_there(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("COVIDLUNGQUANT_MODELS")
    monkeypatch.setattr(Path, "home", no_home)
    assert available_models()[0] == DEFAULT_MODEL_NAME
    assert model_path(None).name == f"{DEFAULT_MODEL_NAME}.pt"
    assert cli.main(["info"]) == 0
    capsys.readouterr()
    for line in ("fine-tune --status", "fine-tune --cancel x", "fine-tune cases --model small.pt"):
        assert cli.main(line.split()) == 2, line
        assert "COVIDLUNGQUANT_MODELS" in capsys.readouterr().err
    monkeypatch.setenv("COVIDLUNGQUANT_MODELS", "~nobody-of-this-name/models")
    assert cli.main(["info"]) == 0
    assert cli.main(["segment", "ct.nrrd", "--model", "absent", "-o", "out"]) == 2


def test_one_broken_fine_tuning_does_not_hide_the_others(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    runs = tmp_path / "models" / RUNS_FOLDER_NAME
    plan = {
        **dict.fromkeys(("dataset", "start_from", "models_folder"), "x"),
        **{key: [] for key in ("held_back", "trained_on", "same_patient")},
        "device": "cpu",
        "epochs": 2,
    }
    texts = {
        "broken-1": "",
        "broken-2": "[]",
        "broken-3": json.dumps({**plan, "name": "broken-3", "epochs": "two"}),
        "broken-4": json.dumps({**plan, "name": "broken-4", "epochs": 0}),
        "broken-5": "[" * 100_000,
        "sound-6": json.dumps({**plan, "name": "sound-6"}),
        "state-7": json.dumps({**plan, "name": "state-7"}),
        "losses-8": json.dumps({**plan, "name": "losses-8"}),
    }
    for name, text in texts.items():
        (runs / name / "training").mkdir(parents=True)
        (runs / name / PLAN_FILE_NAME).write_text(text)
    (runs / "state-7" / "state.json").write_text('{"state": 7}')
    (runs / "losses-8" / "training" / "log.jsonl").write_text('{"loss": null}\nnonsense\n')

    assert cli.main(["fine-tune", "--status"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert set(lines) == set(texts)
    assert "0 %  Starting" in lines["sound-6"]
    for name in set(texts) - {"sound-6", "losses-8"}:
        assert "damaged" in lines[name] and name in lines[name]
    assert cli.main(["fine-tune", "--cancel", "broken-1"]) == 2
    assert "damaged" in capsys.readouterr().err


@pytest.mark.parametrize("package", ["numpy", "scipy", "SimpleITK", "torch", "tqdm"])
def test_a_package_that_is_missing_is_named(package: str, place: Path):
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from CovidLungQuantLib.cli import main\n"
        "sys.exit(main(['segment', 'ct.nrrd', '--model', 'small.pt', '-o', 'out']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    sentence = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and sentence.startswith(f"{START}The package {package}"), sentence
    assert is_one_sentence(sentence.removeprefix(START))
    assert "Traceback" not in done.stderr and not Path("out").exists()


# As an import is under way, and as the command computes or waits; how long either takes is not
# known, so several moments are tried.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("loaded", ["CovidLungQuantLib.cli.program", "numpy", "scipy", "torch"])
def test_ctrl_c_while_libraries_are_loaded_is_one_sentence(number: int, loaded: str, place: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED_IMPORT, loaded],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout.readline() == "loading\n"
    time.sleep(0.05)
    process.send_signal(number)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130, shown
    # PyTorch is loaded when the scan has been read, and that has been shown.
    *progress, sentence = shown.splitlines()
    assert sentence == "covidlungquant: Cancelled; nothing was written."
    assert [line.split("%")[0].strip() for line in progress] in ([], ["0", "5"])
    assert not Path("out").exists()


# An import that takes its time, and takes an exception for a missing package as some do.
INTERRUPTED_IMPORT = """
import importlib.abc, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            print("loading", flush=True)
            try:
                time.sleep(60)
            except BaseException:
                raise ImportError("it was interrupted")

sys.meta_path.insert(0, Slow())
from CovidLungQuantLib.cli import main
sys.exit(main(["segment", "ct.nrrd", "--model", "small.pt", "-o", "out"]))
"""


@pytest.mark.parametrize(
    ("error", "exit_code", "part"),
    [
        (RecursionError("maximum recursion depth exceeded"), 2, "nested too deeply"),
        (ModuleNotFoundError("No module named 'x.y'", name="x.y"), 2, "The package x,"),
        (ImportError("libc.so: a\nlong\n\nstory"), 2, "a library"),
        (FileNotFoundError(2, "No such file or directory", "/a/b.nrrd"), 2, "“b.nrrd”"),
        (PermissionError(13, "Permission denied", "/a/b"), 2, "Permission denied"),
        (OSError(36, "File name too long", "n" * 999), 2, "too long"),
        (OSError(28, "No space left on device"), 3, "disk is full"),
        (OSError(12, "Cannot allocate memory"), 3, "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 3, "memory"),
        (UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"), 2, "UTF-8"),
    ],
)
def test_what_the_system_and_libraries_raise_is_explained(
    error: Exception, exit_code: int, part: str, capsys: pytest.CaptureFixture
):
    assert explain(error) == exit_code
    (sentence,) = capsys.readouterr().err.splitlines()
    assert part in sentence and is_one_sentence(sentence.removeprefix(START)), sentence
    assert len(sentence) < 400


def test_only_what_nobody_foresaw_is_unexpected(capsys: pytest.CaptureFixture):
    assert known_error(ZeroDivisionError("by zero")) is None
    assert isinstance(known_error(MemoryError()), OutOfResourcesError)
    assert isinstance(known_error(BadInputError("No.")), BadInputError)
    assert explain(ZeroDivisionError("by zero")) == 1
    assert "unexpected error (ZeroDivisionError: by zero)" in capsys.readouterr().err


def test_a_message_is_on_one_line_and_moves_no_cursor():
    assert on_one_line("a\x1b[31m\tb\n\n  c\rd\x07") == "a?[31m?b c d?"
