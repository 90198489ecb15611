"""How the commands end: with items that would end the program, on streams that are closed or full, at Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.backends import needs_its_package
from tests.support.gates import DEADLINE, Gate
from workpool import __main__ as program
from workpool.backends.base import BACKENDS
from workpool.commands import streams

# For a program of its own: what is tested here, and the package of the tests.
PATH = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])
MODULE = """
import os
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

def loose(text):
    os.write(2, b"something loose")
    return text
"""


def breaking() -> Iterator[str]:
    """Be a stdin that breaks off."""
    yield "a\n"
    raise OSError(errno.EIO, "Input/output error")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a module, a tree and some lines."""
    (tmp_path / "ending_tools.py").write_text(MODULE)
    (tmp_path / "lines").write_text("a\nb\n")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a").write_text("one")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "ending_tools", raising=False)
    return tmp_path


def run(command: str, redirected: str = "") -> tuple[int, str, str]:
    """Run a command with the streams as a shell hands them over; give status, output and what was told."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {sys.executable} -m workpool {command} {redirected}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": PATH, "PYTHONUNBUFFERED": ""},
        timeout=3 * DEADLINE,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


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


def test_ctrl_c_while_the_commands_are_loaded_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whenever Ctrl-C comes, the status is that of a program it ended, and there is no traceback."""

    def struck(name: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(program, "import_module", struck)
    assert program.main(["map", "os:getcwd"]) == 130


# --------------------------------------------------------------------------- streams


COMMANDS = ["map ending_tools:picky --input lines", "demo tree", "demo tree --compare", "doctor"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_closed_stdout_is_refused(command: str, folder: Path) -> None:
    """Without stdout nothing is begun: one line says so, and the status is 2."""
    name = command.split(maxsplit=1)[0]
    told = f"python -m workpool {name}: error: stdout is closed: there is nowhere to write to\n"
    assert run(command, ">&-") == (2, "", told)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [*COMMANDS, "--help", "map --help"])
def test_a_full_stdout_is_told(command: str, folder: Path) -> None:
    """Where stdout takes no more the run ends: one line says why, and the status is 1."""
    why = os.strerror(errno.ENOSPC)
    told = f"python -m workpool: error: stdout cannot be written: {why}\n"
    assert run(command, ">/dev/full") == (1, "", told)


@pytest.mark.parametrize("more", ["", "--progress", "--backend process"])
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "2>/dev/full"])
def test_results_are_written_where_nothing_can_be_told(
    closed: str, more: str, folder: Path
) -> None:
    """With stderr closed or full the results come all the same, and the status tells what failed."""
    if "full" in closed and not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    command = f"map ending_tools:picky {more} --files a exit b"
    assert run(command, closed) == (1, '"a"\n"b"\n', "")


@pytest.mark.parametrize("command", ["demo tree", "doctor"])
def test_other_commands_work_where_nothing_can_be_told(command: str, folder: Path) -> None:
    """They need no stderr either."""
    status, out, _ = run(command, "<&- 2>&-")
    assert status == 0
    assert out


def test_a_closed_stdin_is_refused_where_it_is_needed(folder: Path) -> None:
    """Items that should come from a stdin that is closed are a wrong command line; paths need none."""
    why = "stdin is closed: give the items by --input or --files"
    refused = (2, "", f"python -m workpool map: error: {why}\n")
    assert run("map ending_tools:picky", "<&-") == refused
    assert run("map ending_tools:picky --files a", "<&-") == (0, '"a"\n', "")


def test_what_is_loose_reaches_no_file_of_ours(folder: Path) -> None:
    """Where stderr is closed, no other file gets its number: what is written there reaches no journal."""
    command = "map ending_tools:loose --journal run.sqlite --input lines"
    assert run(command, "<&- 2>&-") == (0, '"a"\n"b"\n', "")
    assert all(b"something loose" not in file.read_bytes() for file in folder.glob("run.sqlite*"))


def test_an_input_that_breaks_off_is_told_when_the_rest_is_done(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was read before is mapped; one line says why there is no more, and the status is 1."""
    told = "error: the input cannot be read: Input/output error\n"
    monkeypatch.setattr(sys, "stdin", breaking())
    assert program.main(["map", "ending_tools:picky"]) == 1
    assert capsys.readouterr() == ('"a"\n', told)


def test_a_journal_hides_no_input_that_breaks_off(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a journal has kept more than the input gives, what is told is why it gives no more."""
    command = ["map", "ending_tools:picky", "--journal", "run.sqlite"]
    assert program.main([*command, "--input", "lines"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "stdin", breaking())
    assert program.main(command) == 1
    assert capsys.readouterr().err == "error: the input cannot be read: Input/output error\n"


def test_an_input_that_cannot_be_read_at_all_is_refused(folder: Path) -> None:
    """A stdin that is open for writing alone is a wrong command line."""
    told = f"error: the input cannot be read: {os.strerror(errno.EBADF)}\n"
    assert run("map ending_tools:picky", "0>lines") == (2, "", told)


def fail(error: OSError) -> None:
    """Be a write that fails."""
    raise error


def test_a_display_that_cannot_be_shown_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that tells goes on where stderr is full, and nothing fails there later; a reader that left is told."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as kept, open(write_end, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with streams.telling():
            fail(OSError(errno.ENOSPC, "full"))
        stream.write("nobody reads this")
        stream.flush()
        assert kept.read() == b""  # its writing end is closed: the stream leads elsewhere
        with pytest.raises(BrokenPipeError), streams.telling():
            fail(BrokenPipeError())
