"""Where help for a task that waits for its own pool has an end, is refused, or must not cost that task."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, Running, in_background, stop
from tests.support.queues import until
from workpool import (
    Group,
    InitializerFailed,
    Pool,
    Task,
    TimeLimitExceeded,
    WorkerLost,
    WouldDeadlock,
    current,
)
from workpool.backends.thread import ThreadWorker

LOCAL: list[Any] = ["thread", "inline"]


# ------------------------------------------------------------------- what cannot be helped


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_task_that_waits_for_itself_is_told(made: list[Pool], timeout: float | None) -> None:
    """Nobody could help; the pool goes on."""
    pool, known = Pool(2), threading.Event()
    made.append(pool)
    own: list[Task[Any]] = []

    def waits() -> None:
        assert known.wait(DEADLINE)
        own[0].result(timeout)

    own.append(pool.submit(waits))
    known.set()
    with pytest.raises(WouldDeadlock, match="waits for itself"):
        own[0].result(DEADLINE / 2)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_a_task_that_waits_for_one_that_waits_for_it_here_is_told(made: list[Pool]) -> None:
    """The inner one runs in the thread of the outer one, which waits for it."""
    pool, known = Pool(1), threading.Event()
    made.append(pool)
    outer: list[Task[Any]] = []

    def waits() -> None:
        assert known.wait(DEADLINE)
        pool.submit(outer[0].result).result()

    outer.append(pool.submit(waits))
    known.set()
    with pytest.raises(WouldDeadlock, match="waits for itself"):
        outer[0].result(DEADLINE)


def test_a_task_that_waits_for_itself_inline_is_told(made: list[Pool]) -> None:
    """What it submits runs in its own thread, by another worker."""
    pool = Pool(backend="inline")
    made.append(pool)

    def inner(own: Task[Any]) -> Any:
        return own.result()

    def outer() -> Any:
        worker: Any = pool._scheduler.workers[0]
        return pool.submit(inner, worker.task).result()

    with pytest.raises(WouldDeadlock, match="waits for itself"):
        in_background(lambda: pool.submit(outer).result(DEADLINE)).result()


@pytest.mark.parametrize("backend", LOCAL)
def test_an_initializer_that_waits_for_its_own_pool_is_told(made: list[Pool], backend: Any) -> None:
    """Whoever would help had to begin in the same way, and would need help too."""
    begun: list[int] = []

    def initializer() -> None:
        begun.append(1)
        assert len(begun) < 10, "one begins after the other"
        list(pool.map(tasks.double, [1, 2]))

    pool = Pool(1, backend=backend, initializer=initializer)
    made.append(pool)
    with pytest.raises(InitializerFailed, match="WouldDeadlock"):
        in_background(lambda: pool.submit(tasks.double, 1).result(DEADLINE)).result()
    assert len(begun) == 1


def no_more_threads(_: ThreadWorker) -> None:
    raise RuntimeError("can't start new thread")


def test_without_a_thread_to_lend_what_only_a_waiting_worker_could_do_fails(
    made: list[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only worker sleeps until its items are done, and is none of the others to whom they could be left."""
    pool = Pool(1)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)

    monkeypatch.setattr(ThreadWorker, "start", no_more_threads)
    waits = pool.submit(lambda: list(pool.map(tasks.double, [1, 2])))
    with pytest.raises(WorkerLost, match="could start no worker"):
        waits.result(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


# ------------------------------------------------------------------------- how far it goes


def test_help_for_a_submit_ends_when_there_is_room(made: list[Pool]) -> None:
    """The task goes on by itself, as the only one."""
    pool = Pool(1, queue_size=1)
    made.append(pool)

    def submits() -> int:
        for n in range(4):
            pool.submit(tasks.double, n)
        return pool._scheduler._extra

    assert pool.submit(submits).result(DEADLINE) == 0
    in_background(pool.join, DEADLINE).result()


def test_a_task_may_wait_for_what_its_event_loop_runs_in_its_own_pool(made: list[Pool]) -> None:
    """The loop is told by a callback, and nobody waits for the task itself."""
    pool = Pool(1)
    made.append(pool)

    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.double, 1)

    assert pool.submit(lambda: asyncio.run(main())).result(DEADLINE) == 2
    until(lambda: pool._scheduler._extra == 0)


@pytest.mark.parametrize("kind", ["with", "async with"])
def test_a_group_may_wait_for_a_submit_that_waits_for_room(made: list[Pool], kind: str) -> None:
    """Another thread submits to the group, and only the worker that waits for that could make room."""
    pool = Pool(1, queue_size=1)
    made.append(pool)

    def begin(group: Group) -> Running[Task[int]]:
        pool.submit(tasks.double, 0)  # behind the task that waits
        submits = in_background(group.submit, tasks.double, 1)
        until(lambda: bool(pool._scheduler._putters))
        return submits

    def waits() -> Running[Task[int]]:
        with pool.group() as group:
            return begin(group)

    async def awaits() -> Running[Task[int]]:
        async with pool.group() as group:
            return begin(group)

    waiting = pool.submit(waits if kind == "with" else lambda: asyncio.run(awaits()))
    assert waiting.result(DEADLINE).result().result(0) == 2
    until(lambda: pool._scheduler._extra == 0)


AHEAD: dict[str, Callable[[Pool, asyncio.AbstractEventLoop], Any]] = {
    "run_in_executor": lambda pool, loop: loop.run_in_executor(pool, tasks.double, 1),
    "wrap_future": lambda pool, loop: asyncio.wrap_future(pool.submit(tasks.double, 1), loop=loop),
}


@pytest.mark.parametrize("how", AHEAD)
def test_a_loop_may_begin_after_the_task_that_it_waits_for(made: list[Pool], how: str) -> None:
    """No loop runs yet when its callback is left with the task."""
    pool = Pool(1)
    made.append(pool)

    def waits() -> Any:
        loop = asyncio.new_event_loop()
        try:
            return loop.run_until_complete(AHEAD[how](pool, loop))
        finally:
            loop.close()

    assert pool.submit(waits).result(DEADLINE) == 2
    until(lambda: pool._scheduler._extra == 0)


def test_a_callback_without_a_loop_gets_no_help(made: list[Pool]) -> None:
    """It is no wait: a task that leaves one goes on, and is the only one."""
    pool = Pool(1)
    made.append(pool)

    def leaves() -> int:
        pool.submit(tasks.double, 1).add_done_callback(lambda _: None)
        return pool._scheduler._extra

    assert pool.submit(leaves).result(DEADLINE) == 0


@pytest.mark.parametrize("timeout", [None, DEADLINE])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_time_limit_costs_the_one_that_has_it_alone(
    made: list[Pool], workers: int, timeout: float | None
) -> None:
    """The task that waits for it is told, and goes on in its thread."""
    pool = Pool(workers)
    made.append(pool)
    with Gate() as gate:

        def waits() -> tuple[str, int]:
            limited = pool.options(time_limit=0.05).submit(stop, gate.path)
            with pytest.raises(TimeLimitExceeded):
                limited.result(timeout)
            return "goes on", current().attempt

        assert pool.submit(waits).result(DEADLINE) == ("goes on", 1)


def test_a_task_with_a_time_limit_runs_next_when_it_is_waited_for(made: list[Pool]) -> None:
    """In another thread, but no later than it would in that of the one that waits."""
    pool = Pool(1)
    made.append(pool)
    order: list[int] = []

    def waits() -> None:
        limited = pool.options(time_limit=DEADLINE)
        submitted = [limited.submit(order.append, n) for n in range(3)]
        submitted[-1].result()

    pool.submit(waits).result(DEADLINE)
    in_background(pool.join, DEADLINE).result()
    assert order[0] == 2
    assert sorted(order) == [0, 1, 2]


def test_without_a_thread_to_lend_a_limited_task_runs_where_it_is_waited_for(
    made: list[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better so than not at all."""
    pool = Pool(1)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)

    worker: Any = pool._scheduler.workers[0]
    monkeypatch.setattr(ThreadWorker, "start", no_more_threads)
    limited = pool.options(time_limit=DEADLINE)
    waits = pool.submit(lambda: limited.submit(threading.get_ident).result())
    assert waits.result(DEADLINE) == worker.ident
