"""Rules of this project that no linter knows, read off the syntax of its files.

- Every test tells its promise in a docstring.
- Tests do not sleep: a sleep is synchronisation by hope.
- Files stay within 400 lines: past that, look for the second idea.

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
EXCEPTION = re.compile(r"# house: (?P<rule>\w+) - \S")


def main() -> int:
    """Print what breaks a rule; return how many places there are, 125 at most."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],  # noqa: S607
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
    if path.parts[0] != "tests":
        return
    for node in ast.walk(ast.parse("\n".join(lines))):
        if is_test(node) and not ast.get_docstring(node):
            yield f"{path}:{node.lineno}: {node.name} tells no promise in a docstring"
        if is_sleep(node) and ("sleep", node.lineno) not in excepted:
            yield f"{path}:{node.lineno}: sleeps; wait for an event, with a deadline"


def is_test(node: ast.AST) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Tell whether pytest would run it."""
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
        "test_"
    )


def is_sleep(node: ast.AST) -> TypeGuard[ast.Call]:
    """Tell whether it is a call of something named sleep, other than to yield: ``sleep(0)``."""
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    yields = [ast.unparse(argument) for argument in node.args] == ["0"]
    return name == "sleep" and not yields


if __name__ == "__main__":
    sys.exit(main())
