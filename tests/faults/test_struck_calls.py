"""A thread that is given up in the middle of a call to another pool, whose books stay whole all the same."""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.interrupts import at_moment
from tests.support.queues import until
from tests.support.torn import cancel_queued, submit_some
from workpool import Pool, Task
from workpool.scheduling.worker import WorkerThread
from workpool.situation import here

SOON = 10.0  # seconds

pytestmark = [
    pytest.mark.usefixtures("loaded"),
    # A finalizer may be struck, as anything else.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.timeout(240),
]


def _cancel_with_callback(pool: Pool, gate: str) -> None:
    pool.submit(tasks.hold, gate, 1)
    queued = pool.submit(tasks.double, 1)
    queued.add_done_callback(lambda _: None)
    queued.cancel()


def _join(pool: Pool, _: str) -> None:
    pool.submit(tasks.double, 1)
    pool.join()


_locks: list[Any] = []  # that a thread may have, and whoever gives it up wants as well


def _group(pool: Pool, _: str) -> None:
    with pool.group() as group:
        _locks.extend([group._lock, pool._scheduler.lock])
        for n in range(3):
            group.submit(tasks.double, n)


# Each is given a gate that is opened afterwards, by somebody who is not struck.
CALLS: dict[str, Callable[[Pool, str], object]] = {
    "submit": submit_some,
    "group": _group,
    "result": lambda pool, _: pool.submit(tasks.double, 1).result(),
    "cancel": cancel_queued,
    "cancel_with_callback": _cancel_with_callback,
    "map": lambda pool, _: list(pool.map(tasks.double, range(8))),
    "map_lazy": lambda pool, _: list(pool.map(tasks.double, iter(range(8)), buffersize=3)),
    "map_closed": lambda pool, _: pool.map(tasks.double, range(8)).close(),
    "join": _join,
}


def _given_up_at(number: int, call: Callable[[], object], pool: Pool) -> bool:
    """Make a call in a thread of that pool that is given up at that moment of it; False if it has fewer."""
    struck = False
    _locks.clear()
    threads: list[Any] = []
    known = threading.Event()

    def give_up(_: object) -> None:
        nonlocal struck
        struck = True
        sys.setprofile(None)  # whoever looks on must not be struck
        ending = in_background(mine[0].cancel, kill=True)
        locks = [threads[0]._target._lock, pool._scheduler.lock, *_locks]
        if not any(lock._is_owned() for lock in locks):
            assert ending.result()  # else it comes when this thread lets go of that

    def work() -> None:
        threads.append(here.worker)
        assert known.wait(DEADLINE)
        at_moment(number, call, give_up, theirs=False)

    mine: list[Task[Any]] = [pool.submit(work)]
    known.set()
    concurrent.futures.wait(mine, DEADLINE)
    if mine[0].cancelled():  # else the call was through before it came
        assert threads[0]._thread.ended(DEADLINE)
    return struck


def _goes_on(pool: Pool, number: int) -> None:
    """See that the pool takes tasks and ends them, and that it owes nobody anything."""
    task = in_background(pool.submit, tasks.double, number).result(SOON)
    assert task.result(SOON) == 2 * number, number
    in_background(pool.join, SOON).result(2 * SOON)
    assert pool.unfinished == 0, number


@pytest.mark.parametrize(
    ("backend", "call"),
    [
        (backend, call)
        for backend in ("thread", "process", "inline")
        for call in CALLS
        if backend != "inline" or "cancel" not in call  # where nothing is ever queued
    ],
)
def test_a_call_may_be_torn_anywhere(backend: Any, call: str, made: list[Pool]) -> None:
    """Wherever in submit, result, cancel, map or join of another pool: all that was accepted there still ends."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)
    number = 0
    struck = True
    while struck:
        with Pool(1) as other, Gate() as gate:
            struck = _given_up_at(number, partial(CALLS[call], pool, gate.path), other)
        number += 1
        _goes_on(pool, number)
    assert number > 10
    in_background(pool.shutdown).result(SOON)


def _knows_its_threads(pool: Pool) -> bool:
    """Tell whether each thread that runs is a worker of the pool: others could not be ended."""
    threads = {each for each in threading.enumerate() if each.name.startswith(f"{pool.name}-")}
    workers: list[Any] = list(pool._scheduler.workers.values())
    return {each for each in threads if isinstance(each, WorkerThread)} == {
        each._thread for each in workers
    }


@pytest.mark.parametrize("call", [call for call in CALLS if call != "join"])  # refused there
def test_a_call_to_the_own_pool_may_be_torn_anywhere(call: str, made: list[Pool]) -> None:
    """The same where the thread is one of the pool's own: another takes its place."""
    pool = Pool(2)
    made.append(pool)
    scheduler: Any = pool._scheduler
    pool.submit(tasks.double, 1).result(DEADLINE)
    number = 0
    struck = True
    while struck:
        with Gate() as gate:
            struck = _given_up_at(number, partial(CALLS[call], pool, gate.path), pool)
        number += 1
        _goes_on(pool, number)
        assert scheduler._extra == 0, number  # a worker that was lent is asked back
        until(lambda: pool.stats().workers <= 2)
        until(partial(_knows_its_threads, pool))
    assert number > 10
    in_background(pool.shutdown).result(SOON)
