"""How the commands end: with items that would end the program, on streams that are closed or full, at Ctrl-C."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import needs_its_package
from tests.support.gates import DEADLINE, Gate
from workpool import __main__ as program
from workpool.backends.base import BACKENDS
from workpool.commands import streams
from workpool.commands.map.output import Output

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

class Unspeakable(Exception):
    def __str__(self):
        if self.args[0] == "raises":
            raise RuntimeError("no text")
        return self.args[0]

def speaks(text):
    if text == "c":
        return text
    raise Unspeakable(7 if text == "number" else text)

def says(text):
    print("said", text, flush=True)
    sys.stdout.write("partial")
    sys.stdout.flush()
    os.write(1, b"raw")
    sys.__stdout__.write("known before")
    return text

def closes(text):
    sys.stdout.close()
    return text

def fatal(text):
    os.kill(os.getpid(), 9)
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


def run(
    command: str, redirected: str = "", *, before: str = "", stderr: Any = subprocess.PIPE
) -> tuple[int, str, str]:
    """Run a command with the streams as a shell hands them over; give status, output and what was told."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{before} exec {sys.executable} -m workpool {command} {redirected}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
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


def test_an_error_without_a_text_is_told_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error whose text raises, is none, or would colour the terminal costs its own item alone."""
    items = ["raises", "number", "\x1b[31m\u00fc\a", "c"]
    assert program.main(["map", "ending_tools:speaks", "--files", *items]) == 1
    out, err = capsys.readouterr()
    assert out == '"c"\n'
    assert [line.split(": ", 1)[1] for line in err.splitlines()] == [
        "Unspeakable: (its text could not be made)",
        "Unspeakable: (its text could not be made)",
        "Unspeakable: \\x1b[31m\u00fc\\x07",
    ]


def test_a_lost_worker_is_told_with_the_option_of_the_shell(folder: Path) -> None:
    """The way out is one that a command line has."""
    _, out, err = run("map ending_tools:fatal --backend process --files a")
    assert out == ""
    assert "WorkerLost: " in err
    assert "; --retries 1 would run this one again" in err


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


@pytest.mark.parametrize("more", ["", "--progress", "--backend process"])
def test_results_are_written_where_nobody_reads_what_is_told(more: str, folder: Path) -> None:
    """With a stderr that its reader has left the results come all the same, too."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end) as left:
        command = f"map ending_tools:picky {more} --files a exit b"
        nothing_told: Any = (1, '"a"\n"b"\n', None)
        assert run(command, stderr=left) == nothing_told


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


def test_a_terminal_without_a_letter_is_given_its_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the encoding of stdout has no such letter, a result is JSON in ASCII, and other lines are escaped."""
    shown = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", shown)
    with Output() as output:
        output.write('"\u00fc"')
        output.write('"\u65e5\U0001f600"')
    streams.say("\u65e5 \u00fc")
    lines = shown.detach().getvalue().splitlines()
    assert lines == [b'"\xfc"', b'"\\u65e5\\ud83d\\ude00"', b"\\u65e5 \xfc"]
    assert json.loads(lines[1]) == "\u65e5\U0001f600"


def test_a_stdout_that_does_not_block_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that a full pipe takes a part of goes on when there is room."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    line, read = "x" * 1_000_000, bytearray()

    def make_room(*_: object) -> None:
        read.extend(os.read(read_end, 1 << 16))

    with open(read_end, "rb") as kept:
        with open(write_end, "w") as stream:
            monkeypatch.setattr(sys, "stdout", stream)
            monkeypatch.setattr("workpool.commands.map.output.select.select", make_room)
            with Output() as output:
                output.write(line)
            monkeypatch.undo()
        read.extend(kept.read())
    assert read == line.encode() + b"\n"


@pytest.mark.parametrize("backend", ["inline", "thread", "process"])
def test_what_a_function_prints_is_no_result(backend: str, folder: Path) -> None:
    """Whatever way it is written to stdout, it goes to stderr; the results are lines of JSON and nothing else."""
    status, out, err = run(f"map ending_tools:says --backend {backend} --files a b")
    assert (status, out) == (0, '"a"\n"b"\n')
    for said in ("said a\n", "said b\n", "partial", "raw", "known before"):
        assert said in err


@pytest.mark.parametrize("backend", ["inline", "thread", "process"])
def test_a_function_that_closes_stdout_closes_no_result(backend: str, folder: Path) -> None:
    """The results go on."""
    more = f"--backend {backend} --workers 1"
    assert run(f"map ending_tools:closes {more} --files a b") == (0, '"a"\n"b"\n', "")


def test_a_stdout_that_was_closed_meanwhile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written for that says so; where nothing is left to write, nothing is wrong."""
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stdout", stream)
    with pytest.raises(streams.CannotWrite, match="it was closed in the midst of the run"):
        streams.say("a line")
    streams.flush()


def test_without_a_current_folder_paths_from_the_root_are_found(folder: Path) -> None:
    """Where the current folder was deleted, what does not need it works, and what does says so."""

    def gone(command: str) -> tuple[int, str, str]:
        return run(command, before="mkdir gone && cd gone && rmdir ../gone &&")

    assert gone("map os.path:basename --files /a/b") == (0, '"b"\n', "")
    status, out, err = gone("map ./tools.py:f --files a")
    assert (status, out) == (2, "")
    assert (
        "the current folder is not there any more, and ./tools.py is to be found from there" in err
    )
    status, out, err = gone("demo .")
    assert (status, out) == (2, "")
    assert "the current folder is not there any more" in err


def fail(error: OSError) -> None:
    """Be a write that fails."""
    raise error


def test_a_display_that_cannot_be_shown_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that tells goes on where stderr is full, has to be waited for or is closed; nothing fails there later."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as kept, open(write_end, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with streams.telling():
            fail(BlockingIOError())
        stream.write("read")
        stream.flush()
        with streams.telling():
            fail(OSError(errno.ENOSPC, "full"))
        stream.write("nobody reads this")
        stream.flush()
        assert kept.read() == b"read"  # its writing end is closed: the stream leads elsewhere
        stream.close()
        streams.tell("nobody reads this either")
