"""Scripts that workers import: run as a file, from standard input or as a package."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from tests.support.gates import DEADLINE
from workpool._compat import has_interpreters

__all__ = ["KINDS", "POOL", "printed", "run"]

KINDS = ["forkserver", "spawn", "fork"]
if has_interpreters():
    KINDS.append("interpreter")

POOL = """
import sys
from workpool import Pool

def pool_of(kind, **more):
    if kind in ("thread", "interpreter"):
        return Pool(1, backend=kind, **more)
    return Pool(1, backend="process", start_method=kind, **more)
"""


def printed(tmp_path: Path, script: str, *args: str, stdin: bool = False) -> list[str]:
    """Run a script as a file, or from standard input; give the lines it printed."""
    text = POOL + textwrap.dedent(script)
    if stdin:
        return run(tmp_path, "-", *args, text=text)
    file = tmp_path / "script.py"
    file.write_text(text)
    return run(tmp_path, str(file), *args)


def run(folder: Path, *args: str, text: str = "") -> list[str]:
    """Run Python in a folder, with such a standard input; give the lines that it prints."""
    done = subprocess.run(
        [sys.executable, *args],
        input=text,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()
