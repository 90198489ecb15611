"""A task among other futures: concurrent.futures.wait and as_completed, and what holds what."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Executor, Future
from typing import Any

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks, things
from tests.support.backends import Kind
from tests.support.builds import frees_at_once
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool, Results


def test_a_pool_is_an_executor(pool: Pool) -> None:
    """Hashable, weakly referable, open to attributes, sized by _max_workers."""
    assert isinstance(pool, Executor)
    assert {pool: 1}[pool] == 1
    assert weakref.ref(pool)() is pool
    pool.__dict__["note"] = "mine"
    assert vars(pool)["note"] == "mine"
    assert pool._max_workers >= 1


def test_max_workers_comes_first(make_pool: MakePool) -> None:
    """max_workers may be given by position, and by default is a fitting number."""
    assert make_pool(1)._max_workers == 1
    assert make_pool(None)._max_workers >= 1
    assert make_pool()._max_workers >= 1


def test_wait_takes_mixed_sets(pool: Pool, busy: Busy) -> None:
    """Tasks and futures of other making are waited for together, cancelled ones too."""
    foreign: Future[int] = Future()
    with busy(pool):
        queued = pool.submit(tasks.double, 1)
        cancelled = pool.submit(tasks.double, 2)
        cancelled.cancel()
        done, pending = concurrent.futures.wait(
            [queued, cancelled, foreign], timeout=0, return_when=ALL_COMPLETED
        )
        assert (done, pending) == ({cancelled}, {queued, foreign})
        waiting = in_background(
            concurrent.futures.wait, [queued, foreign], DEADLINE, FIRST_COMPLETED
        )
    assert waiting.result().done >= {queued}
    foreign.set_result(1)
    every: list[Future[int]] = [queued, cancelled, foreign]
    assert concurrent.futures.wait(every, DEADLINE).not_done == set()


@pytest.mark.needs("concurrent")
def test_wait_ends_with_the_first_error(pool: Pool, gate: Gate) -> None:
    """FIRST_EXCEPTION hears of a task that fails while others run."""
    held = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    failed = pool.submit(tasks.fail_with, ValueError)
    every: list[Future[Any]] = [held, failed]
    done = concurrent.futures.wait(every, DEADLINE, FIRST_EXCEPTION).done
    assert done == {failed}


def test_wait_hears_of_a_task_that_is_cancelled_later(pool: Pool, busy: Busy) -> None:
    """A wait that has begun is told of a cancel without any worker coming by."""
    with busy(pool):
        task = pool.submit(tasks.double, 1)
        waiting = in_background(concurrent.futures.wait, [task], DEADLINE)
        iterating = in_background(lambda: list(concurrent.futures.as_completed([task], DEADLINE)))
        task.cancel()
        assert waiting.result().done == {task}
        assert iterating.result() == [task]


def test_as_completed_yields_each_once(pool: Pool, busy: Busy) -> None:
    """Results, errors and cancelled tasks come as they are done, whatever made them."""
    foreign: Future[int] = Future()
    with busy(pool):
        good = pool.submit(tasks.double, 1)
        bad = pool.submit(tasks.fail_with, ValueError)
        cancelled = pool.submit(tasks.double, 2)
        cancelled.cancel()
        every: list[Future[Any]] = [good, bad, cancelled, foreign]
        stream = concurrent.futures.as_completed(every, DEADLINE)
        assert next(stream) is cancelled
    foreign.set_result(3)
    assert set(stream) == {good, bad, foreign}


@pytest.mark.needs("concurrent")
def test_as_completed_gives_up_in_time(pool: Pool, gate: Gate) -> None:
    """Its TimeoutError comes when a task is late."""
    task = pool.submit(tasks.hold, gate.path, 1)
    with pytest.raises(TimeoutError):
        list(concurrent.futures.as_completed([task], timeout=0.01))


def test_many_threads_may_wait_for_one_task(pool: Pool, busy: Busy) -> None:
    """By result(), exception(), wait() and a callback, all at once."""
    called = threading.Event()
    with busy(pool):
        task = pool.submit(tasks.double, 21)
        results = [in_background(task.result, DEADLINE) for _ in range(4)]
        errors = [in_background(task.exception, DEADLINE) for _ in range(4)]
        waits = [in_background(concurrent.futures.wait, [task], DEADLINE) for _ in range(4)]
        task.add_done_callback(lambda _: called.set())
    assert [each.result() for each in results] == [42] * 4
    assert [each.result() for each in errors] == [None] * 4
    assert all(each.result().done == {task} for each in waits)
    assert called.wait(DEADLINE)


def test_the_executors_of_the_standard_library_take_turns(pool: Pool) -> None:
    """A client that is given a standard pool or this one sees no difference."""

    def client(executor: Executor) -> list[int]:
        futures = [executor.submit(tasks.double, n) for n in range(5)]
        first = [f.result(DEADLINE) for f in concurrent.futures.as_completed(futures, DEADLINE)]
        return sorted(first) + list(executor.map(tasks.add, range(3), range(3), timeout=DEADLINE))

    with concurrent.futures.ThreadPoolExecutor(2) as standard:
        assert client(standard) == client(pool)


# ----------------------------------------------------------------- who holds what


@pytest.mark.parametrize("call", ["argument", "result", "exception"])
def test_a_worker_holds_nothing_of_a_task_that_is_done(make_pool: MakePool, call: str) -> None:
    """Neither arguments nor results nor errors stay behind in the worker."""
    pool = make_pool(1)
    if call == "argument":
        pool.submit(things.take_thing, things.Thing()).result(DEADLINE)
    elif call == "result":
        pool.submit(things.make_thing).result(DEADLINE)
    else:
        assert isinstance(pool.submit(things.raise_thing).exception(DEADLINE), things.ThingError)
    assert pool.submit(things.things_left).result(DEADLINE) == 0


@pytest.mark.parametrize("call", ["argument", "function", "result", "exception", "task"])
def test_an_idle_pool_holds_nothing_of_a_task_that_is_done(pool: Pool, call: str) -> None:
    """When everyone has let go of a task, it and all that was of it is gone."""
    gone = threading.Event()

    class Callable:
        def __call__(self) -> int:
            return 1

        def __reduce__(self) -> tuple[type[int], tuple[()]]:
            return int, ()

    def use() -> None:
        thing = things.Thing()
        if call == "argument":
            weakref.finalize(thing, gone.set)
            pool.submit(things.take_thing, thing).result(DEADLINE)
        elif call == "function":
            function = Callable()
            weakref.finalize(function, gone.set)
            pool.submit(function).exception(DEADLINE)
        elif call == "result":
            weakref.finalize(pool.submit(things.make_thing).result(DEADLINE), gone.set)
        elif call == "exception":
            error = pool.submit(things.raise_thing).exception(DEADLINE)
            assert error is not None
            weakref.finalize(error, gone.set)
        else:
            task = pool.submit(tasks.double, 1)
            assert task.result(DEADLINE) == 2
            weakref.finalize(task, gone.set)

    use()
    pool.join(DEADLINE)
    gc.collect()
    assert gone.wait(DEADLINE)


def test_a_done_task_holds_no_arguments(pool: Pool) -> None:
    """The result may be kept long; function and arguments go when the task is done."""
    gone = threading.Event()
    thing = things.Thing()
    weakref.finalize(thing, gone.set)
    task = pool.submit(things.take_thing, thing)
    del thing
    pool.join(DEADLINE)
    assert gone.wait(DEADLINE)
    assert task.done()


@frees_at_once
@pytest.mark.parametrize("chunksize", [None, 1, 5])
@pytest.mark.parametrize("terms", ["plain", "retries", "time_limit"])
def test_errors_of_items_make_no_cycle(
    pool: Pool, kind: Kind, chunksize: int | None, terms: str
) -> None:
    """Errors and values of items go when their consumer lets go, without the garbage collector."""
    view = pool.options(retries=1 if terms == "retries" else 0, retry_on=OSError)
    if terms == "time_limit" and kind.can("limits"):
        view = pool.options(time_limit=DEADLINE)
    gone: list[threading.Event] = []

    def use() -> None:
        outcomes = view.map(
            things.raise_thing_if, [0, 1, 0, 1, 1], chunksize=chunksize, return_exceptions=True
        )
        for outcome in outcomes:
            gone.append(threading.Event())
            weakref.finalize(outcome, gone[-1].set)
            del outcome  # inline, the tracebacks lead back to this frame

    gc.collect()
    gc.disable()
    try:
        use()
        pool.join(DEADLINE)
        assert len(gone) == 5
        assert all(each.wait(DEADLINE) for each in gone)
    finally:
        gc.enable()


def _bad_input() -> Iterator[int]:
    yield 1
    raise things.ThingError


async def _consume(results: Results[Any]) -> None:
    async for _ in results:
        pass


WAYS: dict[str, Callable[[Pool], Any]] = {
    "result": lambda pool: pool.submit(things.raise_thing).result(DEADLINE),
    "run": lambda pool: pool.run(things.raise_thing),
    "next": lambda pool: next(pool.map(things.raise_thing_if, [1])),
    "list": lambda pool: list(pool.map(things.raise_thing_if, [0, 1, 1])),
    "one by one": lambda pool: list(pool.map(things.raise_thing_if, [0, 1, 1], chunksize=1)),
    "unordered": lambda pool: list(pool.map(things.raise_thing_if, [1], ordered=False)),
    "async for": lambda pool: _consume(pool.map(things.raise_thing_if, [1])),
    "input": lambda pool: list(pool.map(tasks.double, _bad_input())),
    "input, one by one": lambda pool: list(pool.map(tasks.double, _bad_input(), chunksize=1)),
    "async input": lambda pool: _consume(pool.map(tasks.double, _bad_input())),
}


@frees_at_once
@pytest.mark.parametrize("way", WAYS)
def test_a_raised_error_makes_no_cycle(pool: Pool, way: str) -> None:
    """An error that was raised here goes with its task or its results, without the garbage collector."""
    gone = threading.Event()

    async def use() -> None:  # caught in the coroutine: asyncio's own frames hold what they raise
        try:
            if (pending := WAYS[way](pool)) is not None:
                await pending
        except things.ThingError as error:
            weakref.finalize(error, gone.set)

    gc.collect()
    gc.disable()
    try:
        asyncio.run(use())
        pool.join(DEADLINE)
        assert gone.wait(DEADLINE / 10)
    finally:
        gc.enable()
