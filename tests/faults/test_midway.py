"""Finalizers that use the pool, run by the garbage collector while the very thread holds the pool's lock.

Each call is made again and again, each time with the finalizer a moment later, until it
gets through without: so every moment of every step has had its turn.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.midway import Strike, striking
from workpool import Pool, Task, WouldDeadlock
from workpool.errors import PoolClosed

BACKENDS = ["thread", "process", "inline"]
ROUNDS = 300


def busy(pool: Pool) -> list[Task[Any]]:
    """Do what pools do: submit, cancel, map, wait for one and for all."""
    submitted = [pool.submit(tasks.double, n) for n in range(4)]
    submitted[-1].cancel()
    assert list(pool.map(tasks.double, range(6))) == [0, 2, 4, 6, 8, 10]
    pool.map(tasks.double, iter(range(6)), buffersize=2).close()
    submitted[0].result(DEADLINE)
    pool.join(DEADLINE)
    return submitted


def at_every_moment(pool: Pool, call: Callable[[], object]) -> Generator[Strike]:
    """Keep a pool busy, with the call made by a finalizer at each moment in turn."""
    number = 0
    in_background(busy, pool).result()
    while True:
        strike = Strike(pool._scheduler.lock, number, call)

        def struck(strike: Strike = strike) -> None:
            with striking(strike):
                busy(pool)

        in_background(struck).result()
        if not strike.struck:
            break
        yield strike
        in_background(pool.join, DEADLINE).result()
        assert pool.unfinished == 0, number
        number += 1
    assert number > 100
    assert pool.submit(tasks.double, 4).result(DEADLINE) == 8


def make_pool(backend: Any, made: list[Pool], workers: int = 1) -> Pool:
    pool = Pool(workers, backend=backend)
    made.append(pool)
    return pool


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_finalizer_may_submit_at_any_moment(backend: str, made: list[Pool]) -> None:
    """Wherever in a step of the pool a finalizer submits: the task runs, is counted, and nothing hangs."""
    pool = make_pool(backend, made)
    for strike in at_every_moment(pool, lambda: pool.submit(tasks.double, 21)):
        assert strike.error is None
        assert strike.value.result(DEADLINE) == 42
    stats = pool.stats()
    assert (stats.failed, stats.lost, stats.queued, stats.running) == (0, 0, 0, 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_finalizer_may_cancel_at_any_moment(backend: str, made: list[Pool]) -> None:
    """What it has just submitted is cancelled for good, and its callbacks run once."""
    pool = make_pool(backend, made)
    heard: list[Task[Any]] = []

    def submit_and_cancel() -> tuple[Task[int], bool]:
        task = pool.submit(tasks.double, 21)
        task.add_done_callback(lambda _: heard.append(task))
        return task, task.cancel()

    for strike in at_every_moment(pool, submit_and_cancel):
        assert strike.error is None
        task, cancelled = strike.value
        in_background(pool.join, DEADLINE).result()
        assert cancelled
        assert task.cancelled()
        assert heard == [task]
        heard.clear()


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_finalizer_may_cancel_what_runs(backend: str, kill: bool, made: list[Pool]) -> None:
    """A task that runs is told, or ended, a moment later: no finalizer waits for that."""
    pool = make_pool(backend, made)
    number = 0
    while _cancelled_at(pool, number, kill=kill):
        number += 3
    assert number > 10


def _cancelled_at(pool: Pool, number: int, *, kill: bool) -> bool:
    """Cancel a task that runs, at that moment of eight submits; False if they have fewer."""
    with Gate() as gate:
        task = pool.submit(tasks.cancelled_within, DEADLINE, gate.path)
        gate.arrival()
        strike = Strike(pool._scheduler.lock, number, partial(task.cancel, kill=kill))
        others = in_background(submit_struck, pool, strike, 8).result()
        if not strike.struck:
            return False
        assert (strike.value, strike.error) == (False, None)
        if kill:
            in_background(pool.join, DEADLINE).result()
            assert task.cancelled()
        gate.open()
        assert [other.result(DEADLINE) for other in others] == [2 * n for n in range(8)]
        assert task.cancelled() if kill else task.result(DEADLINE)
    return True


def submit_struck(pool: Pool, strike: Strike, count: int) -> list[Task[int]]:
    """Submit so many tasks, and give those that were accepted until the pool was closed."""
    accepted: list[Task[int]] = []
    with striking(strike), suppress(PoolClosed):
        for n in range(count):
            accepted.append(pool.submit(tasks.double, n))  # noqa: PERF401 - kept if one is refused
    return accepted


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_finalizer_that_would_wait_for_its_own_thread_is_told(
    backend: str, made: list[Pool]
) -> None:
    """join(), result(), map() and shutdown() in a finalizer say that they would deadlock, instead of doing so."""
    pool = make_pool(backend, made)
    waits: Iterator[Callable[[], object]] = cycle(
        [
            partial(pool.join, 1.0),
            lambda: pool.submit(tasks.double, 1).result(),
            partial(pool.map, tasks.double, [1]),
            pool.shutdown,
        ]
    )

    def wait() -> None:
        next(waits)()

    for strike in at_every_moment(pool, wait):
        assert isinstance(strike.error, WouldDeadlock), strike.value
        assert "by a finalizer" in str(strike.error)


ENDS: dict[str, Callable[[Pool], object]] = {
    "close": lambda pool: pool.shutdown(wait=False),
    "cancel": lambda pool: pool.shutdown(wait=False, cancel_futures=True),
    "kill": lambda pool: pool.kill(),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_finalizer_may_end_the_pool_at_any_moment(
    backend: str, how: str, made: list[Pool]
) -> None:
    """What was accepted ends one way or the other, what comes later is refused, and the workers leave."""
    for number in range(0, 70, 7 if backend == "process" else 1):
        pool = make_pool(backend, made)
        strike = Strike(pool._scheduler.lock, number, partial(ENDS[how], pool))
        accepted = in_background(submit_struck, pool, strike, 12).result()
        in_background(pool.shutdown).result()
        assert strike.struck
        assert strike.error is None
        assert all(task.done() for task in accepted)
        assert pool.unfinished == 0
        made.remove(pool)


class Node:
    """Garbage in a cycle, which submits by the callback of a weak reference, and cancels by a finalizer."""

    def __init__(self, pool: Pool, late: list[Task[int]]) -> None:
        self.cycle = self
        self.late = late
        weakref.finalize(self, lambda: late.append(pool.submit(tasks.double, 1))).atexit = False

    def __del__(self) -> None:
        if self.late:
            self.late[-1].cancel()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_collector_that_strikes_when_it_likes(backend: str, made: list[Pool]) -> None:
    """Garbage that submits and cancels, and collections a few allocations sooner or later: all goes on."""
    pool = make_pool(backend, made, 2)
    late: list[Task[int]] = []

    def work() -> None:
        for round_ in range(ROUNDS):
            gc.disable()
            Node(pool, late)
            gc.set_threshold(1 + gc.get_count()[0] + round_ % 50, 5, 5)
            gc.enable()
            done = [pool.submit(tasks.double, n) for n in range(5)]
            assert [task.result(DEADLINE) for task in done] == [0, 2, 4, 6, 8], round_

    before = gc.get_threshold()
    try:
        in_background(work).result(3 * DEADLINE)
    finally:
        gc.enable()
        gc.set_threshold(*before)
    gc.collect()
    in_background(pool.join, DEADLINE).result()
    assert len(late) == ROUNDS
    assert all(task.cancelled() or task.result(0) == 2 for task in late)
    assert pool.unfinished == 0
