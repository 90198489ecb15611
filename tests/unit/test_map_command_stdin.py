"""Stdin and ``python -m workpool map``: its lines are items, and nobody else gets one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gates import DEADLINE, Gate
from workpool.__main__ import main

# For a program of its own: what is tested here, and the package of the tests.
PATH = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
MODULE = """
import os
import subprocess
import sys

from tests.support.gates import stop

def starts_a_program(text):
    return meanwhile(text, lambda: subprocess.run(["cat"], capture_output=True).stdout.decode())

def reads(text):
    return meanwhile(text, sys.stdin.read)

def meanwhile(text, read):
    if not text.startswith("/"):
        return text
    stop(text, "there")
    return read()

def closes(text):
    sys.stdin.close()
    return text
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a module."""
    (tmp_path / "reading_tools.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "reading_tools", raising=False)
    return tmp_path


@pytest.mark.parametrize("function", ["starts_a_program", "reads"])
@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_items_are_not_read_by_what_the_function_starts(
    backend: str, function: str, folder: Path
) -> None:
    """A function that reads stdin, or starts a program that does, finds it at its end; all lines are items."""
    command = ["map", f"reading_tools:{function}", "--backend", backend, "--workers", "1"]
    with (
        Gate() as gate,
        subprocess.Popen(
            [sys.executable, "-m", "workpool", *command, "--chunksize", "1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATH},
        ) as program,
    ):
        assert program.stdin is not None
        program.stdin.write(f"{gate.path}\n")
        program.stdin.flush()
        assert gate.arrival() == "there"
        program.stdin.write("b\nc\n")  # which are there, and no more, when the function reads
        program.stdin.close()
        program.stdin = None
        gate.open()
        out, err = program.communicate(timeout=3 * DEADLINE)
    assert (program.returncode, out, err) == (0, '""\n"b"\n"c"\n', "")


def test_stdin_is_given_back(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that calls the command has its stdin again afterwards, where it was."""
    (folder / "lines").write_text("a\nb\n")
    with open("lines", encoding="utf-8") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        assert main(["map", "os.path:basename"]) == 0
        assert capsys.readouterr().out == '"a"\n"b"\n'
        assert os.fstat(lines.fileno()).st_ino == os.stat("lines").st_ino


def test_a_function_that_closes_stdin_stops_no_item(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The items come from elsewhere; and what has the number by then is left alone."""
    (folder / "lines").write_text("a\nb\n")
    with open("lines", encoding="utf-8") as lines:
        monkeypatch.setattr(sys, "stdin", lines)
        assert main(["map", "reading_tools:closes", "--backend", "inline"]) == 0
    assert capsys.readouterr().out == '"a"\n"b"\n'


def test_a_stdin_that_is_no_file_is_read_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program's own stream in its place gives the items, with bytes that are no text among them."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xff\r\n"), encoding="ascii"))
    assert main(["map", "os:fsencode", "--repr"]) == 0
    assert capsys.readouterr().out == "\"b'a\\\\xff'\"\n"
