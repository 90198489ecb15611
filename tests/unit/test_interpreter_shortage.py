"""A worker that is an interpreter and cannot have all that it needs: told as a shortage, and nothing is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE
from workpool import Pool, WorkerLost
from workpool._compat import has_interpreters
from workpool.ipc.voiding import VoidableJournal

ROOT = Path(__file__).parents[2]

needs_interpreters = pytest.mark.skipif(
    not has_interpreters(), reason="this Python has no concurrent.interpreters"
)


@needs_interpreters
def test_without_an_interpreter_the_task_says_so_and_the_pool_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is no crash of a worker: no traceback, no count of deaths, and the next task asks again."""
    from workpool.backends.interpreter import host

    create = host._create
    refusals = [MemoryError("interpreter creation failed")] * 12

    def refuse(interpreters: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return create(interpreters)

    monkeypatch.setattr(host, "_create", refuse)
    with Pool(1, backend="interpreter") as pool:
        while refusals:
            error = pool.submit(tasks.double, 1).exception(DEADLINE)
            assert isinstance(error, WorkerLost)
            assert "could start no worker interpreter: interpreter creation failed." in str(error)
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        assert pool.stats().lost == 0


# What a new interpreter runs, here in the main one, so that it can be refused things.
GUEST = """
import os, sys, threading
from workpool.ipc import guest, serving
from workpool.ipc.frames import FrameReader
from workpool.ipc.journal import make_journal

def refuse(thread):
    raise RuntimeError("can't start new thread")

pipes = [os.pipe() for _ in range(4)]
(task_r, _), (result_r, result_w), (control_r, control_w), (_, stack_w) = pipes
journal_fd = make_journal()
if sys.argv[1] == "thread":
    threading.Thread.start = refuse
else:
    os.ftruncate(journal_fd, 0)  # it cannot be mapped
    def shortage(*_):
        raise OSError(12, os.strerror(12))
    guest.VoidableJournal.__init__ = shortage
guest.main((task_r, result_w, control_r, control_w, journal_fd, stack_w))
reader = FrameReader(result_r)
reader.read_once()
header, _ = reader.next_frame()
print(header[0] == serving.SHORT, header[1], threading.active_count())
"""


@pytest.mark.parametrize(
    ("what", "said"),
    [("thread", "can't start new thread"), ("memory", "[Errno 12] Cannot allocate memory")],
)
def test_a_guest_tells_what_it_cannot_have(what: str, said: str) -> None:
    """And ends in silence, instead of with an error of the end of a thread that never began."""
    done = subprocess.run(
        [sys.executable, "-c", GUEST, what],
        check=False,
        capture_output=True,
        cwd=ROOT,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.stderr) == (f"True {said} 1\n", "")


def test_a_journal_that_cannot_be_mapped_leaves_no_descriptor() -> None:
    """The copy that it was given is closed either way."""
    with tempfile.TemporaryFile() as empty:
        fd = os.dup(empty.fileno())
        with pytest.raises(ValueError, match="mmap"):
            VoidableJournal(fd)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
