"""The package's own names: there at once, loaded when used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import CovidLungQuantLib
from CovidLungQuantLib import Options, measure, pipeline, quantification, quantify, read_ct
from CovidLungQuantLib.ct import reading

WHAT_IS_LOADED = """
import sys
before = set(sys.modules)
import CovidLungQuantLib
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""

IS_COMPILER_LOADED = """
import sys
from CovidLungQuantLib.lesions.lesion_model import load_model
load_model()
print("torch._dynamo" in sys.modules)
"""


def test_the_names_are_the_librarys():
    assert read_ct is reading.read_ct
    assert quantify is pipeline.quantify
    assert measure is pipeline.measure
    assert Options is quantification.Options
    assert {"read_ct", "quantify", "measure", "Options"} <= set(dir(CovidLungQuantLib))


def test_an_unknown_name_is_missing_as_usual():
    with pytest.raises(AttributeError, match="quantfy"):
        _ = CovidLungQuantLib.quantfy


def test_importing_the_package_loads_nothing_that_computes():
    loaded = subprocess.run(
        [sys.executable, "-c", WHAT_IS_LOADED], capture_output=True, encoding="utf-8", check=True
    ).stdout.split()
    assert "CovidLungQuantLib" in loaded
    assert not {"torch", "numpy", "scipy", "SimpleITK"} & set(loaded)


def test_loading_a_model_does_not_load_the_compiler_of_torch():
    loaded = subprocess.run(
        [sys.executable, "-c", IS_COMPILER_LOADED],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert loaded.stdout.split() == ["False"]
