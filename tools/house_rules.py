"""Rules of this project that no linter knows, read off the syntax of its files.

- Every test tells its promise in a docstring.
- Tests do not sleep: a sleep is synchronisation by hope.
- Files stay within 400 lines: past that, look for the second idea.
- What silences a tool says why, behind itself or in the comment above.
- The library has no lock of the standard library that Ctrl-C may leave locked: ``workpool._compat``
  has those for ``with`` blocks, ``workpool.waits`` what threads sleep on.

``# house: RULE - reason`` on the line (or anywhere in a file, for ``lines``) makes an exception.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

LINES = 400
SILENCER = re.compile(
    r"# (?:noqa\b(?:: [A-Z]+\d+(?:, ?[A-Z]+\d+)*)?|(?:type|pyright): ignore\b(?:\[[\w, -]+\])?|pragma: no cover\b)"
)
# There the comment is the test: what the checkers are to refuse.
UNSILENCED = ("tests/typing/",)
LIBRARY = ("src", "workpool")
LOCKS = {
    "Lock": "Lock of workpool._compat",
    "RLock": "RLock of workpool._compat",
    "allocate_lock": "Lock of workpool._compat",
    "Event": "Event of workpool.waits",
    "Condition": "what workpool.waits has",
    "Semaphore": "what workpool.waits has",
    "BoundedSemaphore": "what workpool.waits has",
    "Barrier": "what workpool.waits has",
}
THREADING = ("threading", "_thread")
_PLAIN = frozenset(f"{module}.{name}" for module in THREADING for name in LOCKS)
EXCEPTION = re.compile(r"# house: (?P<rule>\w+) - \S")


def main() -> int:
    """Print what breaks a rule; return how many places there are, 125 at most."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],  # noqa: S607 - the git of whoever runs it
        check=True,
        capture_output=True,
        text=True,
    )
    found = [place for name in listing.stdout.split() for place in check(Path(name))]
    for place in found:
        print(place)
    if not found:
        print("House rules kept.")
    return min(len(found), 125)


def check(path: Path) -> Iterator[str]:
    """Tell each place in one file that breaks a rule."""
    if not path.exists():  # listed and removed
        return
    lines = path.read_text(encoding="utf-8").splitlines()
    excepted = {(m["rule"], n) for n, line in enumerate(lines, 1) if (m := EXCEPTION.search(line))}
    if len(lines) > LINES and "lines" not in {rule for rule, _ in excepted}:
        yield f"{path}:{LINES}: {len(lines)} lines: look for the second idea"
    if not path.as_posix().startswith(UNSILENCED):
        for n, line in enumerate(lines, 1):
            if silences_without_a_word(line, above=lines[n - 2] if n > 1 else ""):
                yield f"{path}:{n}: silences a tool and does not say why"
    tree = ast.parse("\n".join(lines))
    if path.parts[:2] == LIBRARY:
        yield from check_library(path, tree, excepted)
    elif path.parts[0] == "tests":
        yield from check_tests(path, tree, excepted)


def check_library(path: Path, tree: ast.AST, excepted: set[tuple[str, int]]) -> Iterator[str]:
    """Tell what breaks a rule that holds for the library alone."""
    for name, line in plain_locks(tree):
        if ("lock", line) not in excepted:
            yield f"{path}:{line}: a plain {name}, which Ctrl-C may leave locked; take the {LOCKS[name]}"


def check_tests(path: Path, tree: ast.AST, excepted: set[tuple[str, int]]) -> Iterator[str]:
    """Tell what breaks a rule that holds for tests alone."""
    for node in ast.walk(tree):
        if is_test(node) and not ast.get_docstring(node):
            yield f"{path}:{node.lineno}: {node.name} tells no promise in a docstring"
        for line in sleeps(node):
            if ("sleep", line) not in excepted:
                yield f"{path}:{line}: sleeps; wait for an event, with a deadline"


def silences_without_a_word(line: str, above: str) -> bool:
    """Tell whether a tool is told to look away, and nobody why."""
    silenced, times = SILENCER.subn("", line[line.find("#") :] if "#" in line else "")
    return bool(times) and not re.search(r"\w", silenced) and not above.lstrip().startswith("#")


def plain_locks(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Tell name and line of each lock of the standard library that is made or imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in THREADING:
            for alias in node.names:
                if alias.name in LOCKS:
                    yield alias.name, alias.lineno
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in _PLAIN:
            yield node.attr, node.lineno


def is_test(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Tell whether pytest would run it."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
        "test_"
    )


def sleeps(node: ast.AST) -> Iterator[int]:
    """Give the lines on which something named sleep is called, other than to yield: ``sleep(0)``."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a program in a test
        for n, line in enumerate(node.value.splitlines()):
            if re.search(r"\bsleep\((?!0\))", line):
                yield node.lineno + n
    if isinstance(node, ast.Call):
        called = node.func
        name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        yields = [ast.unparse(argument) for argument in node.args] == ["0"]
        if name == "sleep" and not yields:
            yield node.lineno


if __name__ == "__main__":
    sys.exit(main())
