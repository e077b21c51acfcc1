"""`python Testing/update_checks_page.py`: writes Docs/checks.md from the code.

Warnings come from `CovidLungQuantLib.verdicts`, refusals from the very sentences in the code.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "CovidLungQuantLib"
PANEL = ROOT / "CovidLungQuant"
PAGE = ROOT / "Docs" / "checks.md"
sys.path.insert(0, str(ROOT))

from CovidLungQuantLib.verdicts import ACCEPTED, WARNINGS  # noqa: E402

# Takes the half sentence of what is wrong.
DAMAGED = "damaged"
# Calls that make a refusal, and which of their arguments is its text.
TEXT_AT = {"BadInputError": 0, "OutOfResourcesError": 0, DAMAGED: 1}
# What stands on the page, in this order: rooms of the library by what they guard.
DOORS = {
    "Any file": ("vetting",),
    "A CT": ("ct",),
    "Label maps, lobes and tables": ("files", "label_maps"),
    "Whether it looks like a chest": ("anatomy",),
    "Models": ("models",),
    "Options of a run": ("lesions", "measures", "pipeline", "pipeline_extras", "quantification"),
    "The command line": ("cli",),
    "Where results go": ("outputs",),
    "Many scans": ("cohort",),
    "A batch": ("batch",),
    "Training sets and training": ("training",),
    "In Slicer": ("mrml",),
    "In the browser": ("viewer",),
}
HEADING = """\
# What is refused, what is warned of, what is accepted

Made from the code by `make checks-page`; do not edit it here.

A number that may be wrong is worse than none. So what cannot be trusted is **refused**, in one
sentence that says what is wrong and what to do, with exit code 2 (3 where memory or disk ran out),
and nothing is written. What is odd but may be right is **warned of**: in the terminal, in the
report, in `result.json`, and by its code in the column `warnings` of every table. All else is
**accepted** as it is.
"""
REFUSED = """\
## Refused

The sentences of the code, by what they guard; … stands for a name or a number.
"""


def call_name(node: ast.Call) -> str:
    """The last name of what is called."""
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def python_files(*folders: Path) -> Iterator[tuple[Path, ast.Module]]:
    """Files below folders, parsed, in order."""
    for folder in folders:
        for file in sorted(folder.rglob("*.py")):
            yield file, ast.parse(file.read_text(encoding="utf-8"))


def constants(tree: ast.Module) -> dict[str, str]:
    """Texts and whole numbers that a file gives a name in capitals."""
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for target in node.targets:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str | int):
                    found[target.id] = str(node.value.value)
    return found


def sentence(node: ast.expr, known: dict[str, str]) -> str | None:
    """The text of a literal, with … for what is put in; None where it is none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        parts = [
            str(part.value)
            if isinstance(part, ast.Constant)
            else known.get(ast.unparse(part.value), "…")
            if isinstance(part, ast.FormattedValue)
            else "…"
            for part in node.values
        ]
        return re.sub("…+", "…", "".join(parts))
    return None


def refusals() -> dict[str, list[str]]:
    """Sentences of the library by door, each once, in the order of the code."""
    trees = list(python_files(LIBRARY))
    known: dict[str, str] = {}
    for _, tree in trees:
        known |= constants(tree)
    by_room: defaultdict[str, list[str]] = defaultdict(list)
    for file, tree in trees:
        room = file.relative_to(LIBRARY).with_suffix("").parts[0]
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for node in sorted(calls, key=lambda call: call.lineno):
            at = TEXT_AT.get(call_name(node))
            if at is None or len(node.args) <= at:
                continue
            text = sentence(node.args[at], known)
            if text is not None and call_name(node) == DAMAGED:
                text = f'"…" cannot be read: {text}.'
            if text is not None and text not in by_room[room]:
                by_room[room].append(text)
    return {
        door: [text for room in rooms for text in by_room.get(room, [])]
        for door, rooms in DOORS.items()
    }


def used_codes() -> dict[str, str]:
    """Codes of warnings that library and panel make → a file that makes them.

    A code is the first argument of `ScanWarning` or `_warn`, a literal or a constant of the file;
    a file that takes codes from a table of its own, `AXIS_NAMES`, has them there.
    """
    used = {}
    for file, tree in python_files(LIBRARY, PANEL):
        known = constants(tree)
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and call_name(node) in ("ScanWarning", "_warn"):
                for code in node.args[:1]:
                    text = sentence(code, known) or known.get(ast.unparse(code))
                    if text is not None:
                        used[text] = str(file.relative_to(ROOT))
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "AXIS_NAMES":
                for code, _ in ast.literal_eval(node.value).values():
                    used[code] = str(file.relative_to(ROOT))
    return used


def page() -> str:
    """The page as it should be."""
    lines = [HEADING, "## Warned of\n"]
    for group, warnings in WARNINGS.items():
        lines += [f"### {group}\n", "| code | what was found | what to do |", "|---|---|---|"]
        lines += [f"| `{each.code}` | {each.meaning} | {each.remedy} |" for each in warnings]
        lines.append("")
    lines += ["## Accepted\n", *(f"- {text}" for text in ACCEPTED), "", REFUSED]
    for door, texts in refusals().items():
        lines += [f"### {door}\n", *(f"- {_escaped(text)}" for text in texts), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([*_<>`|\[\]])", r"\\\1", text)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
