"""Programs that a SIGPIPE ends, as command line tools are made: nothing that is written to the dead sends one."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.support.backends import Kind
from tests.support.gates import in_background
from tests.support.scripts import printed_by
from workpool.ipc import serving
from workpool.ipc.frames import FrameReader
from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.launch import WorkerHandle

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells who is dead")

PROCESS = Kind("process", frozenset())

BEGIN = """
import os, signal
from pathlib import Path
from tests.support.gates import DEADLINE, Gate, stop
from tests.support.lives import life_of
from tests.support.queues import until
from workpool.ipc import keeper, requests
signal.signal(signal.SIGPIPE, signal.SIG_DFL)

def dead(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"

def kill(pid):
    os.kill(pid, signal.SIGKILL)
    until(lambda: dead(pid))
"""


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_call_to_a_dead_worker(method: str) -> None:
    """What is sent to a worker whose death nobody has told yet runs elsewhere; what it is told is told nobody."""
    script = (
        BEGIN
        + f"""
with Pool(1, backend="process", start_method={method!r}) as pool, Gate() as gate:
    for large in (0, 1 << 20):
        pid = pool.submit(os.getpid).result(DEADLINE)
        os.kill(keeper.keeper._pid, signal.SIGSTOP)
        try:
            kill(pid)
            task = pool.submit(len, bytes(large))
        finally:
            os.kill(keeper.keeper._pid, signal.SIGCONT)
        print(task.result(DEADLINE))
    pid = pool.submit(os.getpid).result(DEADLINE)
    results = pool.map(stop, [gate.path] * 3, chunksize=3)
    gate.arrival()
    os.kill(keeper.keeper._pid, signal.SIGSTOP)
    try:
        kill(pid)
        results.close()
        until(lambda: not life_of(pool)._orders)
    finally:
        os.kill(keeper.keeper._pid, signal.SIGCONT)
    gate.open()
    print(pool.submit(tasks.double, 1).result(DEADLINE))
"""
    )
    assert printed_by(PROCESS, script) == ["0", str(1 << 20), "2"]


def test_a_request_to_a_dead_keeper() -> None:
    """The next keeper starts the worker."""
    script = (
        BEGIN
        + """
send, struck = requests.send, []
def strike(fd, method, fds):
    if not struck:
        struck.append(keeper.keeper._pid)
        kill(keeper.keeper._pid)
    send(fd, method, fds)
requests.send = strike
with Pool(1, backend="process") as pool:
    print(pool.submit(tasks.double, 1).result(DEADLINE), struck == [keeper.keeper._pid])
"""
    )
    assert printed_by(PROCESS, script) == ["2 False"]


@pytest.fixture
def dead() -> Generator[tuple[WorkerHandle, int]]:
    """Give the handle of a worker that reads nothing any more, and the end of the pipe that is to tell so."""
    task_r, task_w = os.pipe()
    result_r, result_w = os.pipe()
    control_r, control_w = os.pipe()
    stack_r, stack_w = os.pipe()
    status_r, status_w = os.pipe()
    journal_fd = make_journal()
    handle = WorkerHandle(
        os.getpid(), (task_w, result_r, control_w, status_r), Journal(journal_fd), stack_r
    )
    handle.held = [task_r, control_r]
    for fd in (journal_fd, result_w, stack_w):
        os.close(fd)
    yield handle, status_w
    handle.close()


def test_who_tells_a_worker_something_never_waits(dead: tuple[WorkerHandle, int]) -> None:
    """A pipe may be full that nobody reads; what finds no room there goes down later, whole and in order."""
    handle, status_w = dead
    os.close(status_w)

    def tell_for_long() -> None:
        for n in range(1 << 13):
            handle.control((serving.CANCEL, n, n))

    in_background(tell_for_long).result()
    assert handle.wants_room_on == [handle._control_w]
    assert not handle.pending  # calls go another way
    told: list[Any] = []
    reader = FrameReader(handle.held[1])
    while len(told) < 1 << 13:
        reader.read_once()
        handle.push()
        while (frame := reader.next_frame()) is not None:
            told.append(frame[0])
    assert told == [(serving.CANCEL, n, n) for n in range(1 << 13)]
    assert handle.wants_room_on == []
