"""Pauses between two attempts, which end at once when nobody wants the next, and keep nothing alive then."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from typing import Any, NoReturn

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.on_the_way import stopped_before
from tests.support.queues import until
from workpool import Pool

LONG = 600.0  # seconds; a pause whose end no test waits for


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one thread that tries again after a long pause."""
    with Pool(1, retries=1, retry_on=LookupError, backoff=LONG) as made:
        yield made


class Argument:
    """What a task is given, and somebody looks for."""


def fail(_: object) -> NoReturn:
    raise LookupError


def test_an_item_is_let_go_of_when_its_map_is_closed(pool: Pool) -> None:
    """Its next attempt would have been due in ten minutes."""
    argument = Argument()
    seen = weakref.ref(argument)
    results = pool.map(fail, [argument], chunksize=2)
    until(lambda: bool(pool._scheduler._delayed))
    results.close()
    del argument, results
    until(lambda: gc.collect() >= 0 and seen() is None)
    pool.join(DEADLINE)


def test_a_task_is_let_go_of_when_it_is_cancelled(pool: Pool) -> None:
    """Nor does the pool know it any more."""
    argument = Argument()
    seen = weakref.ref(argument)
    task = pool.submit(fail, argument)
    seen_task = weakref.ref(task)
    until(lambda: bool(pool._scheduler._delayed))
    assert task.cancel()
    del argument, task
    until(lambda: gc.collect() >= 0 and (seen(), seen_task()) == (None, None))
    assert not pool._scheduler._delayed


def test_a_pause_that_ends_before_its_timer_is_known(pool: Pool) -> None:
    """Somebody cancels the task in that very moment: its timer is made all the same, and lets go of it."""
    scheduler = pool._scheduler
    with stopped_before(scheduler.timers, "after") as making:
        task = pool.submit(fail, 1)
        making.arrival()
        assert task.cancel()
    seen = weakref.ref(task)
    del task, making
    until(lambda: gc.collect() >= 0 and seen() is None)
    pool.join(DEADLINE)


ENDS: dict[str, Callable[[Pool, Any], object]] = {
    "closed": lambda _, results: results.close(),
    "called off": lambda pool, _: pool.shutdown(wait=False, cancel_futures=True),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_map_that_ends_as_an_item_begins_to_pause(how: str) -> None:
    """The item has failed and is not known to pause: it does not begin to."""
    pool = Pool(1, retries=1, retry_on=LookupError, backoff=LONG)
    with stopped_before(pool._scheduler, "_again") as pausing:
        results = pool.map(fail, [1], chunksize=2)
        pausing.arrival()
        ENDS[how](pool, results)
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    in_background(pool.shutdown).result()


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_task_that_ran_for_who_waits_pauses_like_any_other(
    pool: Pool, timeout: float | None
) -> None:
    """Its old place in the queue is none any more: whoever comes by leaves it to its pause."""
    began: list[int] = []

    def flaky() -> NoReturn:
        began.append(1)
        raise LookupError

    outer = pool.options(retries=0).submit(lambda: pool.submit(flaky).result(timeout))
    until(lambda: bool(pool._scheduler._delayed))
    until(
        lambda: pool._scheduler._extra == 1
    )  # who waits has lent its place, and somebody takes what is queued
    assert pool.submit(int).result(DEADLINE) == 0
    assert len(began) == 1
    pool._scheduler.kill()
    with pytest.raises(Exception):  # noqa: B017 - of the end
        outer.result(DEADLINE)


def test_a_task_that_is_asked_for_often_stands_in_the_queue_twice_at_most(pool: Pool) -> None:
    """Where the worker that was lent for it is busy with something else."""
    with Gate() as gate:

        def ask_often() -> int:
            held, task = pool.submit(tasks.hold, gate.path, 1), pool.submit(int)
            for each in (held, *[task] * 20):
                with pytest.raises(TimeoutError):
                    each.result(0.01)
            return pool._scheduler.queue.head.count(task)

        assert pool.submit(ask_often).result(DEADLINE) == 2
    pool.join(DEADLINE)


def test_a_task_that_is_called_off_as_it_begins_to_pause(pool: Pool) -> None:
    """It is cancelled, as those are that pause."""
    with stopped_before(pool._scheduler, "_again") as pausing:
        task = pool.submit(fail, 1)
        pausing.arrival()
        pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        task.result(DEADLINE)
