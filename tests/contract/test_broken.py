"""A pool whose workers cannot begin: each who is refused, or waits, gets an error of his own, and nothing stays."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from types import TracebackType
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import InitializerFailed, NotPicklable, Pool, Task, WorkerLost


class Request:
    """What a caller has at hand while it uses a pool."""


def depth(trace: TracebackType | None) -> int:
    """Count the frames that an error was raised through."""
    count = 0
    while trace is not None:
        count, trace = count + 1, trace.tb_next
    return count


def refusal(pool: Pool) -> InitializerFailed:
    """Submit a task that is refused, and give the reason."""
    with pytest.raises(InitializerFailed) as caught:
        pool.submit(tasks.double, 1)
    return caught.value


def test_each_refusal_is_an_error_of_its_own(make_pool: MakePool) -> None:
    """It tells the same each time, and does not grow by the frames of those who were refused before."""
    pool = make_pool(1, initializer=tasks.fail_at, initargs=(1,))
    told = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(told, InitializerFailed)
    first, second, third = (refusal(pool) for _ in range(3))
    assert len({id(error) for error in (told, first, second, third)}) == 4
    assert depth(first.__traceback__) == depth(third.__traceback__)
    assert {str(error) for error in (first, second, third)} == {str(told)}
    assert {type(error.__cause__) for error in (told, first, third)} == {LookupError}


def test_each_task_and_item_has_an_error_of_its_own(make_pool: MakePool) -> None:
    """What waits for a worker that never comes does not share its errors with others."""
    pool = make_pool(1, initializer=tasks.fail_at, initargs=(1,))
    results = pool.map(tasks.double, range(3), chunksize=3, return_exceptions=True)
    errors: list[object] = list(results)
    assert {type(error) for error in errors} == {InitializerFailed}
    assert len({id(error) for error in errors}) == 3


def test_as_many_items_as_there_are_fail_at_once(make_pool: MakePool) -> None:
    """Their errors are made when they are asked for: the first is told as soon as that of a short input."""
    pool = make_pool(1, initializer=tasks.fail_at, initargs=(1,))
    began = time.process_time()
    results = pool.map(tasks.double, range(300_000))
    with pytest.raises(InitializerFailed):
        next(results)
    pool.join(DEADLINE)
    assert time.process_time() - began < 0.7


def test_as_many_items_as_there_are_have_an_error_each(make_pool: MakePool, gate: Gate) -> None:
    """At its place, behind what came before."""
    pool = make_pool(1, initializer=tasks.fail_to_start, initargs=(gate.path, "no"))
    calls = in_background(
        lambda: list[object](pool.map(tasks.double, range(3_000), return_exceptions=True))
    )
    gate.arrival()
    gate.open()
    errors = calls.result()
    assert len({id(error) for error in errors}) == len(errors) == 3_000
    assert {type(error) for error in errors} == {InitializerFailed}


@pytest.mark.needs("pickles")
@pytest.mark.parametrize("chunksize", [None, 5])
def test_items_whose_function_cannot_travel_have_an_error_each(
    pool: Pool, chunksize: int | None
) -> None:
    """It was one and the same, and grew by the frames of each that raised it."""
    errors: list[object] = list(
        pool.map(threading.Lock().locked, range(5), chunksize=chunksize, return_exceptions=True)  # type: ignore[arg-type] # it takes no item, and is never called
    )
    assert {type(error) for error in errors} == {NotPicklable}
    assert len({id(error) for error in errors}) == 5


@pytest.mark.needs("own_threads")
def test_what_is_lost_with_a_thread_has_an_error_each(make_pool: MakePool, gate: Gate) -> None:
    """Tasks that waited for one another there."""
    pool = make_pool(1)
    inner: list[Task[int]] = []

    def wait_for_another() -> int:
        inner.append(pool.submit(tasks.hold, gate.path, 1))
        return inner[0].result()

    outer = pool.submit(wait_for_another)
    gate.arrival()
    pool.kill()
    errors = [outer.exception(DEADLINE), inner[0].exception(DEADLINE)]
    assert [type(error) for error in errors] == [WorkerLost] * 2
    assert errors[0] is not errors[1]


def test_nothing_of_a_caller_is_kept_by_a_pool_that_refused_it(kind: Kind) -> None:
    """Neither by the pool, as long as that is kept, nor by anything else when it is let go without a shutdown."""

    def use(pool: Pool) -> weakref.ref[Request]:
        mine = Request()
        with pytest.raises(InitializerFailed):
            pool.submit(tasks.double, 1).result(DEADLINE)
        refusal(pool)
        with pytest.raises(InitializerFailed):
            list(pool.map(tasks.double, iter(range(3))))
        return weakref.ref(mine)

    def gone(kept: weakref.ref[Any]) -> bool:
        gc.collect()
        return kept() is None

    pool = Pool(1, **kind.settings, initializer=tasks.fail_at, initargs=(1,))
    request = use(pool)
    until(lambda: gone(request))
    books = weakref.ref(pool._scheduler)
    del pool
    until(lambda: gone(books))
