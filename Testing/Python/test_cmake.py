"""The extension's build files: they list every file, and what they install can be imported.

Slicer's build system is not here; a stand-in for it, written in the test's own folder, copies and
installs what the real one (Slicer's scripted-module macro, CTK's Python macro) would.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "CovidLungQuantLib"
MODULE = ROOT / "CovidLungQuant"
HOMEPAGE = "https://github.com/CovidLungQuant/SlicerCovidLungQuant"
RAW_FILES = "https://raw.githubusercontent.com/CovidLungQuant/SlicerCovidLungQuant/main/"
MODULES_FOLDER = "lib/Slicer-5.12/qt-scripted-modules"

FAKE_SLICER_CONFIG = f"""
set(Slicer_USE_FILE "${{CMAKE_CURRENT_LIST_DIR}}/UseSlicer.cmake")
set(Slicer_EXTENSION_GENERATE_CONFIG "${{CMAKE_CURRENT_LIST_DIR}}/Report.cmake")
set(Slicer_EXTENSION_CPACK "${{CMAKE_CURRENT_LIST_DIR}}/Nothing.cmake")
set(Slicer_QTSCRIPTEDMODULES_LIB_DIR "{MODULES_FOLDER}")
set(Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR "{MODULES_FOLDER}")
"""

FAKE_USE_SLICER = """
function(ctkMacroCompilePythonScript)
  cmake_parse_arguments(P "NO_INSTALL_SUBDIR" "TARGET_NAME;DESTINATION_DIR;INSTALL_DIR"
    "SCRIPTS;RESOURCES" ${ARGN})
  if(P_UNPARSED_ARGUMENTS OR NOT P_TARGET_NAME OR NOT P_SCRIPTS OR NOT P_INSTALL_DIR)
    message(FATAL_ERROR "ctkMacroCompilePythonScript: wrong arguments")
  endif()
  foreach(file IN LISTS P_SCRIPTS P_RESOURCES)
    if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
      message(FATAL_ERROR "${file} does not exist")
    endif()
    configure_file("${CMAKE_CURRENT_SOURCE_DIR}/${file}" "${P_DESTINATION_DIR}/${file}" COPYONLY)
  endforeach()
  if(P_NO_INSTALL_SUBDIR)
    install(DIRECTORY "${P_DESTINATION_DIR}/" DESTINATION "${P_INSTALL_DIR}")
  else()
    install(DIRECTORY "${P_DESTINATION_DIR}" DESTINATION "${P_INSTALL_DIR}")
  endif()
endfunction()

function(slicerMacroBuildScriptedModule)
  cmake_parse_arguments(P "WITH_GENERIC_TESTS" "NAME" "SCRIPTS;RESOURCES" ${ARGN})
  if(P_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "slicerMacroBuildScriptedModule: wrong arguments")
  endif()
  ctkMacroCompilePythonScript(TARGET_NAME ${P_NAME} SCRIPTS ${P_SCRIPTS} RESOURCES ${P_RESOURCES}
    DESTINATION_DIR ${CMAKE_BINARY_DIR}/${Slicer_QTSCRIPTEDMODULES_LIB_DIR}
    INSTALL_DIR ${Slicer_INSTALL_QTSCRIPTEDMODULES_LIB_DIR} NO_INSTALL_SUBDIR)
endfunction()

function(slicer_add_python_unittest)
  cmake_parse_arguments(P "" "SCRIPT;TESTNAME_PREFIX" "SLICER_ARGS" ${ARGN})
  if(NOT EXISTS "${CMAKE_CURRENT_SOURCE_DIR}/${P_SCRIPT}")
    message(FATAL_ERROR "${P_SCRIPT} does not exist")
  endif()
  message(STATUS "UNITTEST ${P_SCRIPT}")
endfunction()
"""

FAKE_REPORT = """
foreach(name HOMEPAGE CONTRIBUTORS DESCRIPTION ICONURL SCREENSHOTURLS DEPENDS)
  message(STATUS "EXTENSION_${name}=${EXTENSION_${name}}")
endforeach()
"""


def listed(cmake_file, variable):
    """Return what `set(variable …)` lists in a CMakeLists.txt."""
    text = cmake_file.read_text(encoding="utf-8")
    match = re.search(rf"set\({variable}\s([^)]*)\)", text)
    assert match, f"{variable} is not set in {cmake_file}"
    return match[1].split()


def files_under(folder, pattern="*"):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    )


def library_resources():
    """What the library needs beside its scripts: models, tables, the pages' templates and style."""
    scripts = {*files_under(LIBRARY, "*.py"), "CMakeLists.txt"}
    return [path for path in files_under(LIBRARY) if path not in scripts]


def extension_value(name):
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    return re.search(rf'set\(EXTENSION_{name} "([^"]*)"\)', text)[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Configure and install the extension; return (install folder, what CMake printed)."""
    cmake = shutil.which("cmake")
    if cmake is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    folder = tmp_path_factory.mktemp("extension")
    slicer = folder / "slicer"
    slicer.mkdir()
    for name, text in (
        ("SlicerConfig.cmake", FAKE_SLICER_CONFIG),
        ("UseSlicer.cmake", FAKE_USE_SLICER),
        ("Report.cmake", FAKE_REPORT),
        ("Nothing.cmake", ""),
    ):
        (slicer / name).write_text(text, encoding="utf-8")
    configure = [cmake, "-S", ROOT, "-B", folder / "build", f"-DSlicer_DIR={slicer}"]
    options = ["-DBUILD_TESTING=ON", f"-DCMAKE_INSTALL_PREFIX={folder / 'install'}"]
    done = subprocess.run(
        [*configure, *options], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    subprocess.run([cmake, "--install", folder / "build"], capture_output=True, check=True)
    return folder / "install", done.stdout


def test_the_library_lists_every_script():
    assert sorted(listed(LIBRARY / "CMakeLists.txt", "LIBRARY_SCRIPTS")) == (
        files_under(LIBRARY, "*.py")
    )


def test_the_library_lists_every_resource():
    assert sorted(listed(LIBRARY / "CMakeLists.txt", "LIBRARY_RESOURCES")) == library_resources()


def test_the_module_lists_every_file():
    assert sorted(listed(MODULE / "CMakeLists.txt", "MODULE_SCRIPTS")) == files_under(
        MODULE, "*.py"
    )
    resources = [f"Resources/{path}" for path in files_under(MODULE / "Resources")]
    assert sorted(listed(MODULE / "CMakeLists.txt", "MODULE_RESOURCES")) == resources


def test_what_is_installed_is_what_is_in_the_tree(built):
    install, _ = built
    library = {f"CovidLungQuantLib/{path}" for path in files_under(LIBRARY, "*.py")}
    resources = {f"CovidLungQuantLib/{path}" for path in library_resources()}
    module = set(files_under(MODULE, "*.py")) | {
        f"Resources/{path}" for path in files_under(MODULE / "Resources")
    }
    installed = set(files_under(install / MODULES_FOLDER))
    assert installed == library | resources | module
    assert set(files_under(install)) == {f"{MODULES_FOLDER}/{path}" for path in installed}


def test_the_installed_library_passes_its_own_test(built):
    if not any((LIBRARY / "resources" / "models").glob("*")):
        pytest.skip("no trained model lies in the tree yet")
    install, _ = built
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-c",
            RUN_INSTALLED_TEST,
            install / MODULES_FOLDER,
            ROOT / "Testing",
        ],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


RUN_INSTALLED_TEST = """
import sys, unittest
modules, testing = sys.argv[1:]
sys.path[:0] = [modules, testing]
import CovidLungQuantLib
assert CovidLungQuantLib.__file__.startswith(modules)
unittest.main("LibraryInstalledTest", argv=["LibraryInstalledTest"])
"""


def test_slicers_own_tests_are_registered(built):
    _, printed = built
    assert "UNITTEST CovidLungQuant.py" in printed
    assert "UNITTEST LibraryInstalledTest.py" in printed


def test_the_catalogue_gets_its_facts(built):
    _, printed = built
    assert f"EXTENSION_HOMEPAGE={HOMEPAGE}\n" in printed
    assert "EXTENSION_DEPENDS=PyTorch\n" in printed
    assert "not a medical device" in printed


@pytest.mark.parametrize("name", ["ICONURL", "SCREENSHOTURLS"])
def test_pictures_of_the_catalogue_are_in_the_tree(name):
    url = extension_value(name)
    assert url.startswith(RAW_FILES)
    assert (ROOT / url.removeprefix(RAW_FILES)).is_file()


def test_the_icon_has_the_catalogues_size():
    data = (MODULE / "Resources/Icons/CovidLungQuant.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (128, 128)


def test_the_catalogue_entry_has_the_fields_of_its_schema():
    entry = json.loads((ROOT / "CovidLungQuant.json").read_text(encoding="utf-8"))
    assert entry == {
        "$schema": "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/"
        "slicer-extension-catalog-entry-schema-v1.0.1.json#",
        "build_dependencies": [extension_value("DEPENDS")],
        "build_subdirectory": ".",
        "category": "Chest Imaging Platform",
        "scm_revision": "main",
        "scm_type": "git",
        "scm_url": f"{HOMEPAGE}.git",
        "tier": 1,
    }


def test_the_module_is_in_the_category_of_the_catalogue_entry():
    entry = json.loads((ROOT / "CovidLungQuant.json").read_text(encoding="utf-8"))
    assert f'"{entry["category"]}"' in (MODULE / "CovidLungQuant.py").read_text(encoding="utf-8")


def test_the_licence_is_there():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
