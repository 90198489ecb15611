"""The leak check sees what it is there to see."""

from __future__ import annotations

import _thread
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.leaks import (
    LINUX,
    Process,
    end_processes_since,
    leaks_since,
    take_picture,
    tolerated,
)

linux_only = pytest.mark.skipif(not LINUX, reason="read from /proc")

# Waits until its standard input is closed, and so ends with the one who holds it.
WAIT = "import sys; sys.stdin.read()"


def seen(leaks: list[str], what: str) -> bool:
    return any(what in leak for leak in leaks)


def test_nothing_is_reported_when_nothing_is_left() -> None:
    """A thread that ended, a file that was closed and a child that was reaped are no leaks."""
    before = take_picture()
    thread = threading.Thread(target=int)
    thread.start()
    thread.join(10.0)
    subprocess.run([sys.executable, "-c", ""], check=True, timeout=30.0)
    assert leaks_since(before) == []


def test_a_running_thread_is_seen() -> None:
    """A thread still there is named, with its stack."""
    gate = threading.Event()
    before = take_picture()
    thread = threading.Thread(target=gate.wait, args=(30.0,), name="left-behind")
    thread.start()
    try:
        leaks = leaks_since(before, within=0.05)
    finally:
        gate.set()
        thread.join(10.0)
    assert seen(leaks, "left-behind")
    assert seen(leaks, "self._cond.wait")


def test_a_thread_without_an_object_is_seen() -> None:
    """A thread started below the threading module is seen as well."""
    gate, started, ended = _thread.allocate_lock(), threading.Event(), threading.Event()
    gate.acquire()

    def wait() -> None:
        started.set()
        gate.acquire(timeout=30.0)
        ended.set()

    before = take_picture()
    _thread.start_new_thread(wait, ())
    assert started.wait(10.0)
    leaks = leaks_since(before, within=0.05)
    gate.release()
    assert ended.wait(10.0)
    assert seen(leaks, "without threading.Thread")
    assert leaks_since(before) == []


@linux_only
def test_a_running_child_and_its_pipe_are_seen() -> None:
    """A child is told with its command line; so is the descriptor that leads to it."""
    before = take_picture()
    with subprocess.Popen([sys.executable, "-c", WAIT], stdin=subprocess.PIPE) as child:
        leaks = leaks_since(before, within=0.05)
    assert seen(leaks, f"process {child.pid} (child of {os.getpid()})")
    assert seen(leaks, WAIT)
    assert seen(leaks, "file descriptor")
    assert leaks_since(before) == []


@linux_only
def test_a_child_that_nobody_reaped_is_seen() -> None:
    """A zombie counts."""
    read, write = os.pipe()
    before = take_picture()
    with subprocess.Popen([sys.executable, "-c", ""], pass_fds=[write]) as child:
        os.close(write)
        assert os.read(read, 1) == b""  # it has ended, as far as its descriptors go
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        leaks = leaks_since(before, within=0.05)
    os.close(read)
    assert seen(leaks, f"zombie {child.pid}")


@linux_only
def test_an_orphan_is_seen() -> None:
    """A grandchild whose parent is gone is still known, by the mark in its environment."""
    middle = (
        "import subprocess, sys; "
        f"print(subprocess.Popen([sys.executable, '-c', {WAIT!r}], stdout=subprocess.DEVNULL).pid)"
    )
    read, write = os.pipe()
    before = take_picture()
    done = subprocess.run(
        [sys.executable, "-c", middle], stdin=read, stdout=subprocess.PIPE, check=True, timeout=30.0
    )
    leaks = leaks_since(before, within=0.05)
    os.close(write)
    os.close(read)
    assert seen(leaks, f"process {int(done.stdout)} ")


@linux_only
def test_a_name_in_shared_memory_is_seen() -> None:
    """A name of ours in /dev/shm counts until it is unlinked."""
    path = Path(f"/dev/shm/workpool-leak-{os.getpid()}")
    before = take_picture()
    path.touch()
    leaks = leaks_since(before, within=0.05)
    path.unlink()
    assert seen(leaks, str(path))
    assert leaks_since(before) == []


def test_only_a_child_of_this_process_is_tolerated() -> None:
    """A worker forked from a kept process shows its command line, and is a leak all the same."""
    command = "python -c from workpool.ipc.keeper import main; main(5, 1)"
    kept = Process(1234, 1, os.getpid(), "S", command)
    worker = Process(1235, 1, kept.pid, "S", command)
    assert tolerated(kept)
    assert not tolerated(worker)


@linux_only
def test_a_process_that_is_left_is_ended() -> None:
    """What a failed test leaves waiting does not keep the run from ending."""
    before = take_picture()
    with subprocess.Popen([sys.executable, "-c", WAIT], stdin=subprocess.PIPE) as child:
        end_processes_since(before, within=0.0)
        assert child.wait(30.0) == -signal.SIGKILL
