"""Each example is run as a reader would run it, and prints what its docstring says."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
ALL = sorted(EXAMPLES.glob("*.py"))
LINES = 60  # more than that is more than one story


def promised(example: Path) -> str:
    """Give what the docstring says after ``Prints::``."""
    docstring = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, found, output = docstring.partition("Prints::\n")
    assert found, f"{example.name} does not say in its docstring what it prints"
    return textwrap.dedent(output).strip("\n") + "\n"


def run(example: Path, folder: Path, *arguments: str) -> str:
    """Run it in a folder of no importance, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example), *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize("example", ALL, ids=lambda path: path.stem)
def test_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    """An example ends well, says nothing on stderr, and prints what its docstring shows."""
    assert run(example, tmp_path) == promised(example)


@pytest.mark.parametrize("backend", ["process", "inline"])
def test_swapped_backends_print_the_same(backend: str, tmp_path: Path) -> None:
    """The example that takes its backend as an argument prints the same on each."""
    example = EXAMPLES / "swap_backends.py"
    assert run(example, tmp_path, "--backend", backend) == promised(example)


@pytest.mark.parametrize("example", ALL, ids=lambda path: path.stem)
def test_example_is_short(example: Path) -> None:
    """An example is one story that fits on a screen or two."""
    assert len(example.read_text(encoding="utf-8").splitlines()) < LINES


def test_every_example_is_listed() -> None:
    """The list of examples names each of them, and nothing else."""
    listing = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((.*)\)", listing)) == [path.name for path in ALL]
