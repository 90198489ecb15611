"""``python -m workpool demo``: how it ends when somebody wants it to."""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from workpool import Pool
from workpool.__main__ import main
from workpool.commands.demo import job
from workpool.commands.demo.files import Report, walk
from workpool.integrations.progress.line import Line

DEMO = [sys.executable, "-m", "workpool", "demo"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a folder with two files."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a").write_text("one")
    (root / "b").write_text("two")
    return root


def struck(*_: object, **__: object) -> Iterator[str]:
    """Be a walk that Ctrl-C strikes."""
    raise KeyboardInterrupt


def test_ctrl_c_keeps_what_is_done(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the midst of the results ends the pool, and the totals are those until then."""

    class Impatient(Line):
        def look(self) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(job, "Line", Impatient)
    pool = Pool(1, backend="inline")
    totals = job.examine_tree(pool, str(tree), progress=io.StringIO())
    assert totals.stopped
    assert totals.files == 1
    assert next(totals.summary()) == "Stopped. What was done until then:"
    with pytest.raises(RuntimeError):
        pool.submit(int)


def line_from(fd: int) -> str:
    """Read a line from a pipe, with a deadline."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + DEADLINE
    said = b""
    while not said.endswith(b"\n"):
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError(said)
        said += os.read(fd, 1)
    return said.decode()


@contextmanager
def telling_where(program: subprocess.Popen[str], what: str) -> Generator[None]:
    """Where the program does not do something in time, tell where all of its threads stand."""
    try:
        yield
    except (TimeoutError, subprocess.TimeoutExpired):
        program.send_signal(signal.SIGABRT)  # at which the interpreter writes down its stacks
        out, err = program.communicate(timeout=DEADLINE)
        pytest.fail(f"the program {what}; it had said\n{out}\nand it stands here:\n{err}")


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_ctrl_c_ends_the_program_in_the_midst_of_a_task(backend: str, tmp_path: Path) -> None:
    """A program that is busy with an endless file ends at Ctrl-C, tells what was done, and says no more."""
    root, sums = tmp_path / "tree", tmp_path / "sums"
    root.mkdir()
    (root / "a").write_text("done by then")
    with open(root / "z", "wb") as endless:
        endless.truncate(1 << 40)  # takes no room, and hours to read
    os.mkfifo(sums)
    finished = os.open(sums, os.O_RDONLY | os.O_NONBLOCK)  # does not wait for who writes
    command = [*DEMO, str(root), "--backend", backend, "--workers", "2", "--output", str(sums)]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONFAULTHANDLER": "1"},  # for telling_where
        start_new_session=True,  # a group of its own, all of which hears of Ctrl-C, as on a terminal
    ) as program:
        try:
            with telling_where(program, "has written no line of checksums"):
                assert line_from(finished).endswith("/a\n")
            os.killpg(program.pid, signal.SIGINT)
            with telling_where(program, "has not ended after Ctrl-C"):
                out, err = program.communicate(timeout=DEADLINE)
        finally:
            os.close(finished)
            program.kill()
    assert program.returncode == 130
    assert "Stopped. What was done until then:\n1 files, 12 B in " in out
    assert "Traceback" not in err


def test_ctrl_c_in_a_task_of_this_thread_is_no_failure_of_a_file(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where tasks run in the main thread, Ctrl-C strikes a task: it stops the job all the same."""

    def examine(path: str) -> Report:
        raise KeyboardInterrupt

    monkeypatch.setattr(job, "examine", examine)
    totals = job.examine_tree(Pool(backend="inline"), str(tree), progress=io.StringIO())
    assert totals.stopped
    assert not totals.failures


@pytest.mark.parametrize("walks_done", [0, 2])
def test_ctrl_c_stops_a_comparison(
    walks_done: int, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C keeps the lines of the backends that were through, and begins no other."""
    walks = iter([walk] * walks_done)

    def walk_in_peace(root: str, failed: Callable[[OSError], object], **more: Any) -> Iterator[str]:
        return next(walks, struck)(root, failed, **more)

    monkeypatch.setattr(job, "walk", walk_in_peace)
    assert main(["demo", str(tree), "--compare"]) == 130
    out = capsys.readouterr().out
    assert "found the same" not in out
    assert out.count("Pool(") == max(0, walks_done - 1)  # the first walk is the one that warms up


def test_ctrl_c_before_the_job_begins_is_quiet(
    tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever Ctrl-C comes, the status is that of a program it ended, and there is no traceback."""
    monkeypatch.setattr("workpool.commands.demo.Pool", struck)
    assert main(["demo", str(tree)]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_reader_that_leaves_is_no_error(tree: Path) -> None:
    """``| head`` closes the pipe: the program ends without a traceback."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [*DEMO, str(tree)],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_an_output_that_takes_no_more_is_told(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the checksums cannot be written the run ends: one line says why, and the status is 1."""
    assert main(["demo", str(tree), "--output", "/dev/full"]) == 1
    why = os.strerror(errno.ENOSPC)
    told = f"python -m workpool: error: --output cannot be written: {why}\n"
    assert capsys.readouterr().err == told
