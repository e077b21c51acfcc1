"""`python Testing/update_cmake_lists.py`: writes the files there are into the CMake lists.

Slicer's build copies the files that its lists name, nothing else; a new file is added by this.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def listed(text: str, variable: str, files: list[str]) -> str:
    """Return a CMake file's text with `set(variable …)` naming `files`, one a line.

    Raises:
        ValueError: the text sets no such variable.
    """
    lines = "".join(f"  {file}\n" for file in files)
    changed, count = re.subn(
        rf"set\({variable}\n.*?\n  \)\n", f"set({variable}\n{lines}  )\n", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"The CMake file sets {variable} {count} times instead of once.")
    return changed


def files_in(folder: Path, pattern: str) -> list[str]:
    """Files of a folder that match, as paths from there, sorted; nothing that Python made."""
    return sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob(pattern)
        if file.is_file() and "__pycache__" not in file.parts
    )


def library_lists() -> dict[str, list[str]]:
    """What the library's CMake file has to name, by variable: scripts and all else."""
    library = ROOT / "CovidLungQuantLib"
    everything = files_in(library, "*")
    scripts = [file for file in everything if file.endswith(".py")]
    own = {*scripts, "CMakeLists.txt"}
    return {
        "LIBRARY_SCRIPTS": scripts,
        "LIBRARY_RESOURCES": [file for file in everything if file not in own],
    }


def module_lists() -> dict[str, list[str]]:
    """What the module's CMake file has to name, by variable."""
    module = ROOT / "CovidLungQuant"
    return {
        "MODULE_SCRIPTS": files_in(module, "*.py"),
        "MODULE_RESOURCES": [f"Resources/{file}" for file in files_in(module / "Resources", "*")],
    }


def main() -> None:
    """Bring both CMake files up to date."""
    for folder, lists in (
        ("CovidLungQuantLib", library_lists()),
        ("CovidLungQuant", module_lists()),
    ):
        file = ROOT / folder / "CMakeLists.txt"
        text = file.read_text(encoding="utf-8")
        for variable, files in lists.items():
            text = listed(text, variable, files)
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
