"""What mypy and pyright refuse in a set of files, by line, in one run of each.

Both run with this project's settings, so a user's strict settings are what is tested.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]

#: A line that ends so has to be refused.
MARK = re.compile(r"# E$")

#: Said besides, of an expression whose value goes nowhere or a type that is lost after an error: no refusal.
ASIDES = re.compile(r"reportUnused|reportUnknown|unused-coroutine")

#: Kinds that tell of a slip in the file itself: a mark must not hide them.
SLIPS = re.compile(r"syntax|name-defined|import|reportUndefinedVariable|reportMissingImport")


class Complaint(NamedTuple):
    """One error that a checker reports."""

    path: Path
    line: int
    kind: str
    message: str


def missing() -> str:
    """Name the checkers that are not installed here; empty when both are."""
    return " and ".join(name for name in CHECKERS if find_spec(name) is None)


def run_mypy(paths: Iterable[Path]) -> Iterator[Complaint]:
    """Run mypy on the files."""
    # Its cache would tell errors of the last run anew, with the paths that files had then.
    for line in _run("mypy", "--no-incremental", "--output=json", *map(str, paths)).splitlines():
        told: dict[str, Any] = json.loads(line)
        if told["severity"] == "error":
            path = (ROOT / told["file"]).resolve()
            yield Complaint(path, told["line"], str(told["code"]), told["message"])


def run_pyright(paths: Iterable[Path]) -> Iterator[Complaint]:
    """Run pyright on the files."""
    for told in json.loads(_run("pyright", "--outputjson", *map(str, paths)))["generalDiagnostics"]:
        if told["severity"] == "error":
            line = told["range"]["start"]["line"] + 1
            yield Complaint(
                Path(told["file"]).resolve(), line, told.get("rule", "syntax"), told["message"]
            )


CHECKERS: dict[str, Callable[[Iterable[Path]], Iterator[Complaint]]] = {
    "mypy": run_mypy,
    "pyright": run_pyright,
}


def differences(path: Path, complaints: Iterable[Complaint]) -> list[str]:
    """Tell each line of a file that is refused without a mark, or marked and accepted."""
    found: list[str] = []
    refused: set[int] = set()
    lines = path.read_text(encoding="utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, 1) if MARK.search(line)}
    for complaint in complaints:
        told = f"{complaint.kind}: {complaint.message}"
        if complaint.path != path.resolve() or ASIDES.match(told):
            continue
        refused.add(complaint.line)
        if complaint.line not in marked or SLIPS.match(told):
            found.append(f"{path.name}:{complaint.line}: refused, and not to be: {told}")
    found += [
        f"{path.name}:{n}: accepted: {lines[n - 1].strip()}" for n in sorted(marked - refused)
    ]
    return found


def _run(module: str, *arguments: str) -> str:
    """Run a checker and give what it printed; it fails when it finds nothing to check, or crashes."""
    ended = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if ended.returncode not in (0, 1):
        message = f"{module} failed:\n{ended.stdout}\n{ended.stderr}"
        raise RuntimeError(message)
    return ended.stdout
