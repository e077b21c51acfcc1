"""Run a script as `Slicer --no-main-window --python-script SCRIPT [ARGUMENTS]` would.

    python -m Testing.slicer_stand_in.run_script SCRIPT [-- ARGUMENTS]

The module is loaded, its panel is not. The exit code is the script's `slicer.util.exit(code)`.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

from Testing.slicer_stand_in import application

MODULE_FILE = Path(__file__).resolve().parents[2] / "CovidLungQuant" / "CovidLungQuant.py"


def main() -> int:
    """Run the script and return its exit code."""
    stand_in = application.start()
    stand_in.load_module(MODULE_FILE)
    import slicer

    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
    for name in list(slicer.app.standInModuleManager.modules):
        stand_in.close_panel(name)
    return slicer.app.standInExitStatus or 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Slicer's libraries and Qt take each other down in an order that only the application knows.
    os._exit(code)
