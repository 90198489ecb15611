"""Ctrl-C at any moment of a call that the main thread makes: the pool stays whole.

One call is made again and again, each time with the signal a moment later,
until it gets through. After each the pool still runs tasks, counts right and ends.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, Running, in_background
from tests.support.interrupts import interrupted_at
from tests.support.queues import until
from workpool import Pool, Results

SOON = 5.0  # seconds; far more than any of this takes
# An interpreter that is interrupted in a finalizer, or in a generator that is let go, says so and goes on.
pytestmark = [
    pytest.mark.usefixtures("loaded", "default_handler"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    # Some start a process for each of hundreds of moments, which takes its time where it is measured.
    pytest.mark.timeout(240),
]


def _consume(pool: Pool, **how: Any) -> None:
    results: Results[Any] = pool.map(tasks.double, range(8), **how)
    for value in results:
        assert value % 2 == 0


def _submit(pool: Pool) -> object:
    return pool.submit(tasks.double, 1)


def _submit_and_forget(pool: Pool) -> None:
    for n in range(3):
        pool.submit(tasks.double, n)


def _join(pool: Pool) -> None:
    pool.submit(tasks.double, 1)
    pool.join()


def _cancel_queued(pool: Pool) -> None:
    with Gate() as gate:
        pool.submit(tasks.hold, gate.path, 1)
        queued = pool.submit(tasks.double, 1)
        queued.add_done_callback(lambda _: None)
        queued.cancel()


_kept: list[Results[Any]] = []


def _map_kept(pool: Pool, **how: Any) -> None:
    """Map, and keep the results whatever comes: nobody lets go of what was interrupted, and it is not cancelled."""
    results: Results[Any] = pool.map(tasks.double, iter(range(8)), buffersize=3, **how)
    _kept[:] = [results]
    for value in results:
        assert value % 2 == 0


CALLS: dict[str, Callable[[Pool], object]] = {
    "submit": _submit_and_forget,
    "cancel_queued": _cancel_queued,
    "result": lambda pool: pool.submit(tasks.double, 1).result(),
    "cancel": lambda pool: pool.submit(tasks.double, 1).cancel(),
    "map": _consume,
    "map_lazy": lambda pool: list(pool.map(tasks.double, iter(range(8)), buffersize=3)),
    "map_kept": _map_kept,
    "map_one_by_one": lambda pool: _consume(pool, chunksize=1),
    "map_one_by_one_kept": partial(_map_kept, chunksize=1),
    "map_closed": lambda pool: pool.map(tasks.double, range(8)).close(),
    "join": _join,
}


@pytest.mark.parametrize(
    ("backend", "call"),
    [
        (backend, call)
        for backend in ("thread", "process", "inline")
        for call in CALLS
        if (backend, call) != ("inline", "cancel_queued")  # where nothing is ever queued
    ],
)
def test_a_call_may_be_interrupted_anywhere(backend: Any, call: str, made: list[Pool]) -> None:
    """Wherever in submit, result, cancel, map or join Ctrl-C comes: all that was accepted still ends."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)
    number = 0
    while interrupted_at(number, lambda: CALLS[call](pool)):
        number += 1
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, number
        task = in_background(pool.submit, tasks.double, number).result(SOON)
        assert task.result(SOON) == 2 * number, number
        in_background(pool.join, SOON).result(2 * SOON)
        assert pool.unfinished == 0, number
    assert number > 10
    in_background(pool.shutdown).result(SOON)


def _exit(*_: object) -> NoReturn:
    raise SystemExit


@pytest.mark.parametrize(
    ("backend", "call"),
    [
        (backend, call)
        for backend in ("thread", "process", "inline")
        for call in ("submit", "cancel_queued", "result", "map_lazy", "join")
        if (backend, call) != ("inline", "cancel_queued")
    ],
)
def test_a_call_may_be_ended_anywhere(backend: Any, call: str, made: list[Pool]) -> None:
    """The same for what the handler of another signal raises, such as the exit of a service that is told to end."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        number = 0
        while interrupted_at(number, partial(CALLS[call], pool), by=signal.SIGTERM):
            number += 1
            assert signal.getsignal(signal.SIGTERM) is _exit, number
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, number
            task = in_background(pool.submit, tasks.double, number).result(SOON)
            assert task.result(SOON) == 2 * number, number
            in_background(pool.join, SOON).result(2 * SOON)
            assert pool.unfinished == 0, number
    finally:
        signal.signal(signal.SIGTERM, before)
    assert number > 10
    in_background(pool.shutdown).result(SOON)


@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_the_first_call_may_be_interrupted_anywhere(backend: Any, made: list[Pool]) -> None:
    """The same while the first worker is being hired."""
    number = -1
    going_on = True
    while going_on:
        number += 1
        pool = Pool(1, backend=backend)
        made.append(pool)
        going_on = interrupted_at(number, partial(_submit, pool))
        assert in_background(pool.submit, tasks.double, 2).result(SOON).result(SOON) == 4, number
        in_background(pool.shutdown).result(SOON)
        made.remove(pool)
    assert number > 10


WAITS: dict[str, Callable[[Pool], object]] = {
    "join": lambda pool: pool.join(SOON),
    "shutdown": lambda pool: pool.shutdown(),
    "exit": lambda pool: pool.__exit__(None, None, None),
}


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_nobody_waits_for_a_call_that_was_interrupted(
    backend: Any, wait: str, made: list[Pool]
) -> None:
    """What was accepted by the interrupted call runs by itself, or whoever waits for it sees to that."""
    number = 0
    going_on = True
    while going_on:
        pool = Pool(1, backend=backend)
        made.append(pool)
        going_on = interrupted_at(number, partial(_submit, pool))
        in_background(WAITS[wait], pool).result(2 * SOON)
        assert pool.unfinished == 0, number
        in_background(pool.shutdown).result(SOON)
        made.remove(pool)
        number += 1
    assert number > 10


@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_a_join_that_sleeps_already_hears_of_an_interrupted_call(
    backend: Any, made: list[Pool]
) -> None:
    """A join that began before the worker was made, in another thread, comes to its end."""
    number = 0
    going_on = True
    while going_on:
        pool = Pool(1, backend=backend)
        made.append(pool)
        joins: list[Running[None]] = []

        def begin_join(pool: Pool = pool, joins: list[Running[None]] = joins) -> None:
            if pool.unfinished and not pool._scheduler.lock._is_owned():
                joins.append(in_background(pool.join, SOON))
                until(lambda: pool.unfinished == 0 or _somebody_sleeps(pool))

        going_on = interrupted_at(number, partial(_submit, pool), begin_join, theirs=False)
        for join in joins:
            join.result(2 * SOON)
            assert pool.unfinished == 0, number
        in_background(pool.shutdown).result(SOON)
        made.remove(pool)
        number += 1
    assert number > 10


def _somebody_sleeps(pool: Pool) -> bool:
    with pool._scheduler.lock:
        ledger = pool._scheduler.ledger
        return any(epoch.sleepers for epoch in (*ledger._sealed, ledger.current))


@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_a_worker_that_is_made_and_never_begins_has_ended(backend: Any, made: list[Pool]) -> None:
    """Who waits for the end of a worker that an interruption kept from beginning does not wait for ever."""
    number = seen = 0
    going_on = True
    while going_on:
        pool = Pool(1, backend=backend)
        made.append(pool)
        workers: list[Any] = []

        def look(pool: Pool = pool, workers: list[Any] = workers) -> None:
            workers.extend(pool._scheduler.workers.values())

        going_on = interrupted_at(number, partial(_submit, pool), look)
        in_background(pool.shutdown).result(SOON)
        for worker in workers:
            assert in_background(worker.join, SOON).result(2 * SOON), number
            seen += 1
        made.remove(pool)
        number += 1
    assert seen > 1


@pytest.mark.parametrize("backend", ["thread", "process"])
def test_the_end_of_a_task_may_be_interrupted_anywhere(backend: Any, made: list[Pool]) -> None:
    """Wherever in cancel(kill=True) Ctrl-C comes: the task ends when asked again, and the pool goes on."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    number = 0
    going_on = True
    while going_on:
        with Gate() as gate:
            task = pool.submit(tasks.hold, gate.path, 1)
            gate.arrival()
            going_on = interrupted_at(number, partial(task.cancel, kill=True))
            in_background(task.cancel, kill=True).result()
            assert task.cancelled(), number
            assert in_background(pool.submit, tasks.double, 2).result(SOON).result(DEADLINE) == 4
        number += 1
    in_background(pool.join, SOON).result(2 * SOON)
    assert pool.unfinished == 0
    assert number > 10


def _grouped(pool: Pool) -> None:
    with pool.group() as group:
        for n in range(3):
            group.submit(tasks.double, n)


ENDS: dict[str, Callable[[Pool], object]] = {
    "shutdown": lambda pool: pool.shutdown(),
    "close": lambda pool: pool.shutdown(wait=False),
    "exit": lambda pool: pool.__exit__(None, None, None),
    "group": _grouped,
    "cancel": lambda pool: pool.shutdown(cancel_futures=True),
    "kill": lambda pool: pool.kill(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(
    "backend", ["thread", "inline", pytest.param("process", marks=pytest.mark.heavy)]
)
def test_the_end_of_a_pool_may_be_interrupted_anywhere(
    backend: Any, end: str, made: list[Pool]
) -> None:
    """Wherever in shutdown, the end of a block or of a group Ctrl-C comes: the pool ends when asked again."""
    number = 0
    going_on = True
    while going_on:
        pool = Pool(1, backend=backend)
        made.append(pool)
        accepted = [pool.submit(tasks.double, n) for n in range(3)]
        going_on = interrupted_at(number, partial(ENDS[end], pool))
        in_background(pool.shutdown).result(2 * SOON)
        assert all(task.done() for task in accepted), number
        assert pool.unfinished == 0, number
        made.remove(pool)
        number += 1
    assert number > 10


def test_a_look_whether_the_lock_is_free_may_be_interrupted_anywhere(made: list[Pool]) -> None:
    """A finalizer looks; left locked, the lock would keep everybody out, and this thread from all it puts off."""
    pool = Pool(1, backend="thread")
    made.append(pool)
    scheduler = pool._scheduler
    number = 0
    while interrupted_at(number, partial(scheduler.without_lock, int)):
        assert not scheduler.lock._is_owned(), number
        number += 1
    assert number > 2
