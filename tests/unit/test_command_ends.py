"""How the commands end: with items that would end the program, at Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.backends import needs_its_package
from tests.support.gates import DEADLINE, Gate
from workpool import __main__ as program
from workpool.backends.base import BACKENDS

# For a program of its own: what is tested here, and the package of the tests.
PATH = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
MODULE = """
import sys

from tests.support.gates import stop

def picky(text):
    if text == "exit":
        sys.exit("bad line")
    if text == "interrupt":
        raise KeyboardInterrupt
    if text.startswith("/"):
        stop(text, "there")
    return text

calls = []

def at_last(text):
    calls.append(text)
    if len(calls) < 3:
        sys.exit(3)
    return text
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a module."""
    (tmp_path / "ending_tools.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ending_tools", raising=False)
    return tmp_path


# --------------------------------------------------------------------- items that would end it


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_item_that_would_end_the_program_fails_alone(
    backend: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A function that calls sys.exit, or raises what Ctrl-C raises, fails its item; the others go on."""
    needs_its_package(backend)
    items = ["a", "exit", "b", "interrupt", "c"]
    command = ["map", "ending_tools:picky", "--backend", backend, "--workers", "2", "--files"]
    assert program.main([*command, *items]) == 1
    out, err = capsys.readouterr()
    assert out == '"a"\n"b"\n"c"\n'
    assert err == "item 2 ('exit'): SystemExit: bad line\nitem 4 ('interrupt'): KeyboardInterrupt\n"


def test_an_item_that_would_end_the_program_is_run_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What --retries runs again is whatever failed, sys.exit included."""
    command = ["map", "ending_tools:at_last", "--retries", "2", "--files", "a"]
    assert program.main(command) == 0
    assert capsys.readouterr() == ('"a"\n', "")


@pytest.mark.parametrize("more", [[], ["--retries", "1"]], ids=str)
@pytest.mark.parametrize("backend", ["inline", "thread", "process"])
def test_ctrl_c_ends_the_program_wherever_items_run(
    backend: str, more: list[str], folder: Path
) -> None:
    """The Ctrl-C that somebody presses is no failure of an item: the status is 130, and nothing is told."""
    command = [sys.executable, "-m", "workpool", "map", "ending_tools:picky", *more]
    with (
        Gate() as gate,
        subprocess.Popen(
            [*command, "--backend", backend, "--files", gate.path, "a"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": PATH},
            start_new_session=True,  # a group of its own, as on a terminal
        ) as mapping,
    ):
        gate.arrival()
        os.killpg(mapping.pid, signal.SIGINT)
        out, err = mapping.communicate(timeout=DEADLINE)
    assert (mapping.returncode, out, err) == (130, "", "")
