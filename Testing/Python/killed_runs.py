"""Whole runs killed (kill −9) at random moments, and at each step of putting a result in place.

`python killed_runs.py --count 100` kills a hundred. A run is a fork of this process, which has
loaded everything, so that the moments fall into the run and not into its loading. The same folder
is written again and again with one of two models; whoever looks at it must always find a whole
result of either.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import SimpleITK as sitk
import torch
from small_chest import a_quantification
from small_model import small_model

from CovidLungQuantLib.cli import main
from CovidLungQuantLib.files.images import write_image
from CovidLungQuantLib.lesions.lesion_model import save_model
from CovidLungQuantLib.outputs import replacing
from CovidLungQuantLib.outputs.folder import write_results
from CovidLungQuantLib.phantom import chest_phantom

# What the command loads when it needs it, the quickest way to be killed before anything is done.
LOADED_BEFORE = ("pipeline", "outputs.folder", "outputs.pdf", "cli.results")
MODELS = ("one", "other")
FILES = {
    "lesions.csv",
    "measurements.csv",
    "report.html",
    "result.json",
    "segmentation.seg.nrrd",
}
SCENE_FILE = "scene.mrb"


class KilledRuns:
    """A small phantom, two small models, and the folder that runs write to.

    Args:
        folder: for all files.
        scene: write a scene in each run too.
        exchange: whether runs may exchange two names at once, as Linux can.
        only_writing: a run writes a small result that is ready, which is quick.
    """

    def __init__(
        self,
        folder: Path,
        scene: bool = False,
        exchange: bool = True,
        only_writing: bool = False,
    ) -> None:
        self.inputs = folder / "inputs"
        self.place = folder / "place"
        self.out = self.place / "out"
        self.place.mkdir(parents=True)
        self.inputs.mkdir()
        ct = chest_phantom((40, 72, 88), (4.6, 4.6, 7.5)).ct
        write_image(self.inputs / "ct.nrrd", ct.hu, ct.geometry)
        for seed, name in enumerate(MODELS):
            save_model(self.inputs / f"{name}.pt", small_model(seed).network)
        for name in LOADED_BEFORE:
            importlib.import_module(f"CovidLungQuantLib.{name}")
        self.scene = scene
        self.exchange = exchange
        self.only_writing = only_writing
        self._runs = 0
        self.has_result = False

    def start(self, before: Callable[[], None] = lambda: None) -> int:
        """Fork a run; `before` is called in it first. Returns its process id."""
        self._runs += 1
        process = os.fork()
        if process:
            return process
        code = 99
        try:
            if not self.exchange:
                replacing.exchange = lambda one, other: False
            before()
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = self._run(MODELS[self._runs % 2])
        finally:
            os._exit(code)

    def _run(self, model: str) -> int:
        if self.only_writing:
            write_results(self.out, a_quantification(model_name=model), True, self.scene)
            return 0
        arguments = ["segment", str(self.inputs / "ct.nrrd"), "-o", str(self.out), "--overwrite"]
        arguments += ["--device", "cpu", "--model", str(self.inputs / f"{model}.pt")]
        # Finding lobes would take most of the time and writes nothing by another way.
        arguments += ["--lobes", "none"]
        return main([*arguments, "--scene"] if self.scene else arguments)

    def whole_run(self) -> float:
        """Run without a kill, check that all is clean after it; returns the seconds it took."""
        begun = time.monotonic()
        _, status = os.waitpid(self.start(), 0)
        assert os.waitstatus_to_exitcode(status) == 0
        self.has_result = True
        self.check_result()
        litter = sorted(entry.name for entry in self.place.iterdir())
        assert litter == ["out"], litter
        return time.monotonic() - begun

    def kill_after(self, seconds: float) -> bool:
        """Kill a run after some seconds; False if it was done before."""
        process = self.start()
        time.sleep(seconds)
        done, _ = os.waitpid(process, os.WNOHANG)
        if not done:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        self.check_result()
        return not done

    def kill_at_step(self, step: int) -> bool:
        """Kill a run before its n-th change of names; False if it makes fewer."""
        process = self.start(lambda: _die_at(step))
        _, status = os.waitpid(process, 0)
        self.check_result()
        return os.waitstatus_to_exitcode(status) == -signal.SIGKILL

    def check_result(self) -> None:
        """What is in the folder is a whole result of one run; there is one if there was one."""
        if not self.exchange:
            # Where names cannot be exchanged, the next run begins by putting the result back.
            replacing.recover(self.out, [*FILES, SCENE_FILE])
        if not self.out.exists():
            assert not self.has_result, "the result is gone"
            return
        names = {entry.name for entry in self.out.iterdir()}
        assert names == FILES | ({SCENE_FILE} if self.scene else set()), names
        result = json.loads((self.out / "result.json").read_text(encoding="utf-8"))
        model = result["provenance"]["model_name"]
        assert model in MODELS
        assert model in (self.out / "report.html").read_text(encoding="utf-8")
        segmentation = sitk.ReadImage(str(self.out / "segmentation.seg.nrrd"))
        assert f"SegmentAlgorithmName:{model}|" in segmentation.GetMetaData("Segment0_Tags")
        assert sitk.GetArrayFromImage(segmentation).any()
        rows = (self.out / "measurements.csv").read_text(encoding="utf-8").splitlines()
        assert len(rows) == 1 + len(result["measurements"])
        self.has_result = True

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Look at the result without pause; it must never be missing."""
        missing: list[float] = []
        stop = threading.Event()

        def look() -> None:
            while not stop.is_set():
                if self.has_result and not (self.out / "result.json").exists():
                    missing.append(time.monotonic())
                time.sleep(0.001)

        watcher = threading.Thread(target=look)
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()
        if self.exchange:
            assert not missing, f"{len(missing)} looks found no result"


def _die_at(step: int) -> None:
    """Kill this process before the n-th change of names that putting in place makes."""
    left = step

    def dying(change: Callable) -> Callable:
        def changed(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return change(*arguments, **options)

        return changed

    for name in ("rename", "replace", "mkdir", "unlink", "rmdir", "fsync"):
        setattr(os, name, dying(getattr(os, name)))
    for name in ("rename", "mkdir", "rmdir"):
        setattr(Path, name, dying(getattr(Path, name)))
    replacing._exchange_call = dying(replacing._exchange_call)
    replacing.put_in_place = dying(replacing.put_in_place)


def kill_many(runs: KilledRuns, count: int, seed: int) -> dict[str, int]:
    """Kill `count` runs at random moments, and look after each; some more are left to finish."""
    moments = random.Random(seed)
    seconds = min(runs.whole_run() for _ in range(3))
    killed = finished = 0
    with runs.watched():
        while killed < count:
            # Half of them near the end, where the results are put in place.
            first = 0.0 if moments.random() < 0.5 else 0.7 * seconds
            if runs.kill_after(moments.uniform(first, 1.05 * seconds)):
                killed += 1
            else:
                finished += 1
            if (killed + finished) % 10 == 0:
                runs.whole_run()
        runs.whole_run()
    return {"killed": killed, "finished before": finished, "seconds of a run": round(seconds, 1)}


def kill_at_every_step(runs: KilledRuns, most: int = 100) -> int:
    """Kill a run before each step in turn; returns how many steps there were."""
    runs.whole_run()
    with runs.watched():
        for step in range(most):
            if not runs.kill_at_step(step):
                break
        else:
            raise AssertionError("the run never came to its end")
        runs.whole_run()
    return step


def run(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scene", action="store_true")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for exchange in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            runs = KilledRuns(Path(folder), chosen.scene, exchange)
            count = chosen.count if exchange else max(1, chosen.count // 5)
            how = "names exchanged" if exchange else "in two steps"
            print(how, kill_many(runs, count, chosen.seed), flush=True)
            print(how, "steps:", kill_at_every_step(runs), flush=True)


if __name__ == "__main__":
    run(sys.argv[1:])
