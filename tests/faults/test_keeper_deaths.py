"""The keeper dies at each moment of a worker's start: the next keeper starts the worker, and no task is charged."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import WorkerLost, WorkerStartFailed
from workpool.backends.process import starts
from workpool.backends.process.starts import Starts
from workpool.ipc import keeper, requests

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked what it did")

METHODS = ["forkserver", "spawn"]


def kill_keeper() -> None:
    """Kill the keeper of this program, and wait until it is gone; somebody else may take note of it."""
    pid = keeper.keeper._pid
    assert pid > 0
    os.kill(pid, signal.SIGKILL)
    with suppress(ChildProcessError):  # somebody has
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


class Strike:
    """Kills keepers when they have been asked for a worker and have not read that yet."""

    def __init__(self, send: Callable[..., None], most: int) -> None:
        self._send = send
        self._most = most
        self.struck = 0

    def __call__(self, fd: int, method: bytes, fds: list[int]) -> None:
        if self.struck == self._most:
            self._send(fd, method, fds)
            return
        self.struck += 1
        pid = keeper.keeper._pid
        os.kill(pid, signal.SIGSTOP)
        os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
        self._send(fd, method, fds)
        kill_keeper()


@pytest.fixture
def strike(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Strike]:
    """Give a call that has so many keepers killed."""

    def begin(most: int) -> Strike:
        made = Strike(requests.send, most)
        monkeypatch.setattr(requests, "send", made)
        return made

    return begin


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("workers", [1, 3])
def test_one_that_has_the_request_has_a_successor(
    make_pool: MakePool, strike: Callable[[int], Strike], method: str, workers: int
) -> None:
    """Killed behind the request and before its answer, it costs no task, with retries or without."""
    struck = strike(1)
    pool = make_pool(workers, start_method=method)
    submitted = [pool.submit(tasks.double, n) for n in range(10)]
    assert [task.result(DEADLINE) for task in submitted] == [2 * n for n in range(10)]
    assert struck.struck == 1


def test_one_that_never_lives_fails_what_waits(
    make_pool: MakePool, strike: Callable[[int], Strike]
) -> None:
    """After four in a row, for one worker, the tasks that wait are told; the next task is tried again."""
    pool = make_pool(1)
    struck = strike(4)
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert "the process that starts workers died meanwhile" in str(error)
    assert struck.struck == 4
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


@pytest.mark.parametrize("method", METHODS)
def test_killed_while_a_worker_is_in_its_initializer(
    make_pool: MakePool, gate: Gate, method: str
) -> None:
    """That says nothing of the initializer: it is run again by the next worker, and the pool goes on."""
    pool = make_pool(
        1, start_method=method, initializer=tasks.hold, initargs=(gate.path, None, "begun")
    )
    waiting = [pool.submit(tasks.double, n) for n in range(3)]
    assert gate.arrival() == "begun"
    kill_keeper()
    assert gate.arrival() == "begun"
    gate.open()
    assert [task.result(DEADLINE) for task in waiting] == [0, 2, 4]


def kill_parent() -> None:
    """Kill whoever has started this process, and wait for the kernel to do the same here."""
    os.kill(os.getppid(), signal.SIGKILL)
    while True:
        signal.pause()


@pytest.mark.parametrize("method", [*METHODS, "fork"])
def test_keepers_that_can_never_live_end_the_pool(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Nothing is started for ever: after many in a row, over some time, all that waits fails with the reason."""
    monkeypatch.setattr(starts, "_MOST_KEEPERS", 3)
    monkeypatch.setattr(starts, "_LONG_FOR_KEEPERS", 0.0)
    pool = make_pool(1, start_method=method, initializer=kill_parent)
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, WorkerStartFailed)
    assert "3 keepers in a row, the processes that start the workers" in str(error)
    assert pool.stats().lost == 3
    if method != "fork":
        kill_keeper()
    keeper.keeper.warm()  # who starts the next one takes note of the death of the last


def test_a_keeper_counts_once_for_all_its_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lives that went with it are no barren ones, and work that gets done begins the count anew."""
    made = Starts()
    told = [made.went_with(keeper, 3) for keeper in (1, 1, 1, 2, 2, 3, 3, 4)]
    assert told == [0.0, 0.0, 0.0, 0.0, 0.0, 0.05, 0.05, 0.1]
    assert (made.keepers, made.barren) == (4, 0)
    assert made.went_with(5, 4) == 0.0
    made.lived()
    assert made.keepers == 0
    monkeypatch.setattr(starts, "_MOST_KEEPERS", 2)
    assert [made.went_with(keeper, 4) for keeper in (6, 7)] == [0.0, 0.0]
    monkeypatch.setattr(starts, "_LONG_FOR_KEEPERS", 0.0)
    assert made.went_with(8, 4) is None
