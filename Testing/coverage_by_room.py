"""`python Testing/coverage_by_room.py`: coverage of each room, from what pytest left behind.

A room is a folder of the library, the panel or `research`; a list of all files is
`coverage report`.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]


def statements_by_room(coverage: Coverage) -> tuple[Counter[str], Counter[str]]:
    """Return how many statements each room has, and how many of them no test ran."""
    statements: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    for file in coverage.get_data().measured_files():
        if not file.endswith(".py"):
            # Jinja2 runs its templates as code that bears their names.
            continue
        room = Path(file).relative_to(ROOT).parent.as_posix()
        _, all_lines, _, missing_lines, _ = coverage.analysis2(file)
        statements[room] += len(all_lines)
        missing[room] += len(missing_lines)
    return statements, missing


def main() -> None:
    """Print one line a room, and the total."""
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    statements, missing = statements_by_room(coverage)
    rows = [(room, statements[room], missing[room]) for room in sorted(statements)]
    rows.append(("total", statements.total(), missing.total()))
    for room, count, missed in rows:
        if count:
            print(f"{room:40}{count:7} statements {100.0 * (count - missed) / count:6.1f} % run")


if __name__ == "__main__":
    main()
