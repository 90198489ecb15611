"""Pools whose workers all wait for each other, each in its way: a circle is seen by whoever closes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.queues import until
from workpool import Pool, Task, WouldDeadlock

Two = tuple[Pool, Pool]


@pytest.fixture
def two(made: list[Pool]) -> Two:
    """Give two pools of one worker each."""
    first, second = Pool(1, name="first"), Pool(1, name="second")
    made += [first, second]
    return first, second


def idles(pool: Pool) -> None:
    """See that a pool is done, and lends nothing any more."""
    in_background(pool.join, DEADLINE).result()
    until(lambda: pool._scheduler._extra == 0)


def awaits(pool: Pool) -> bool:
    """Tell whether a worker of the pool waits for another pool."""
    workers: list[Any] = list(pool._scheduler.workers.values())
    return any(worker.waits_on is not None and worker.waits_on.last() for worker in workers)


def asks(pool: Pool) -> Callable[[], int]:
    """Give a task that waits for a task of that pool."""
    return lambda: pool.submit(tasks.double, 1).result()


def looks_up(task: Task[Any]) -> None:
    """Wait a moment for a task, as one that goes on if it takes longer."""
    with pytest.raises(TimeoutError):
        task.result(timeout=0.01)


# ------------------------------------------------------------------- seen by whoever is last


def test_a_worker_that_leaves_may_leave_only_some_that_wait(two: Two) -> None:
    """It was lent, and was busy as the others closed the circle."""
    first, second = two
    go = threading.Event()

    def outer() -> int:
        looks_up(first.submit(go.wait, DEADLINE))
        return second.submit(asks(first)).result()

    task = first.submit(outer)
    until(lambda: awaits(first) and awaits(second))
    go.set()
    assert task.result(DEADLINE) == 2
    idles(first)


def test_one_that_waits_for_its_own_pool_may_close_a_circle(two: Two) -> None:
    """What it waits for runs in a worker that it had lent before, and waits for the other pool."""
    first, second = two
    awake, go = threading.Event(), threading.Event()

    def back() -> int:
        assert awake.wait(DEADLINE)
        return first.submit(tasks.double, 1).result()

    def outer() -> int:
        inner = first.submit(lambda: second.submit(back).result())
        looks_up(inner)
        awake.set()
        assert go.wait(DEADLINE)
        return inner.result()

    task = first.submit(outer)
    until(lambda: awaits(first) and awaits(second))
    go.set()
    assert task.result(DEADLINE) == 2
    idles(first)


def test_more_workers_than_loans_may_wait(made: list[Pool]) -> None:
    """As many are lent as it takes for one to be awake."""
    first, second = Pool(1), Pool(2)
    made += [first, second]
    helps, waits = threading.Event(), threading.Event()

    def across() -> int:
        return second.submit(asks(first)).result()

    def helper() -> int:
        helps.set()
        assert waits.wait(DEADLINE)
        return across()

    def outer() -> int:
        looks_up(first.submit(helper))
        assert helps.wait(DEADLINE)
        return across()

    task = first.submit(outer)
    until(lambda: awaits(first))
    waits.set()
    assert task.result(DEADLINE) == 2
    idles(first)


def test_others_of_the_pool_may_be_busy_until_the_circle_has_ended(made: list[Pool]) -> None:
    """It is no reason to let the circle stand still: they may be waiting for what comes of it, in their own way."""
    first, second = Pool(2), Pool(1)
    made += [first, second]
    began, over = threading.Event(), threading.Event()

    def busy() -> bool:
        began.set()
        return over.wait(DEADLINE)

    held = first.submit(busy)
    assert began.wait(DEADLINE)
    assert first.submit(lambda: second.submit(asks(first)).result()).result(DEADLINE) == 2
    assert not held.done()
    over.set()
    assert held.result(DEADLINE)
    idles(first)


def test_the_pool_that_stands_still_may_be_none_of_the_two_that_close_the_circle(
    made: list[Pool],
) -> None:
    """The one in between has a worker that is busy until the circle has ended, and none for what is queued."""
    first, between, last = Pool(1), Pool(2), Pool(1)
    made += [first, between, last]
    began, over, close = threading.Event(), threading.Event(), threading.Event()
    asked: list[Task[int]] = []

    def busy() -> bool:
        began.set()
        return over.wait(DEADLINE)

    def opens() -> int:
        assert close.wait(DEADLINE)
        return last.submit(closes).result()

    def closes() -> int:
        until(lambda: awaits(between))
        return asked[0].result()

    held = between.submit(busy)
    assert began.wait(DEADLINE)
    opened = between.submit(opens)
    asked.append(first.submit(asks(between)))
    until(lambda: awaits(first))
    close.set()
    assert asked[0].result(DEADLINE) == 2
    assert opened.result(DEADLINE) == 2
    over.set()
    assert held.result(DEADLINE)
    idles(between)


def test_none_is_lent_where_a_busy_worker_will_come_to_what_is_waited_for(made: list[Pool]) -> None:
    """A chain of pools is no circle: as many work in each as were asked for."""
    first, second, third = Pool(2), Pool(1), Pool(1)
    made += [first, second, third]
    over, go = threading.Event(), threading.Event()
    held = first.submit(over.wait, DEADLINE)
    chain = third.submit(
        lambda: first.submit(lambda: second.submit(go.wait, DEADLINE).result()).result()
    )
    until(lambda: awaits(first) and awaits(third))
    queued = first.submit(tasks.double, 1)
    assert first._scheduler._extra == 0
    assert not queued.done()
    over.set()
    assert held.result(DEADLINE)
    assert queued.result(DEADLINE) == 2
    go.set()
    assert chain.result(DEADLINE)
    idles(first)


# -------------------------------------------------------------- waits that are for no single task


def _join(first: Pool, second: Pool) -> int:
    task = second.submit(asks(first))
    second.join()
    return task.result()


def _shut_down(first: Pool, second: Pool) -> int:
    task = second.submit(asks(first))
    second.shutdown()
    return task.result()


def _leave_a_block(first: Pool, _: Pool) -> int:
    with Pool(1) as inner:
        task = inner.submit(asks(first))
    return task.result()


def _leave_an_async_block(first: Pool, _: Pool) -> int:
    async def main() -> int:
        async with Pool(1) as inner:
            task = inner.submit(asks(first))
        return task.result()

    return asyncio.run(main())


def _leave_a_group(first: Pool, second: Pool) -> int:
    with second.group() as group:
        task = group.submit(asks(first))
    return task.result()


def _find_no_room(first: Pool, _: Pool) -> int:
    with Pool(1, queue_size=1) as inner:
        return max(task.result() for task in [inner.submit(asks(first)) for _ in range(4)])


def _find_no_room_in_a_loop(first: Pool, _: Pool) -> int:
    async def main() -> int:
        async with Pool(1, queue_size=1) as inner:
            return max(await asyncio.gather(*(inner.run(asks(first)) for _ in range(4))))

    return asyncio.run(main())


def _run_in_executor(first: Pool, second: Pool) -> int:
    async def main() -> int:
        return await asyncio.get_running_loop().run_in_executor(second, asks(first))

    return asyncio.run(main())


WAITS: dict[str, Callable[[Pool, Pool], int]] = {
    "join": _join,
    "shutdown": _shut_down,
    "with": _leave_a_block,
    "async with": _leave_an_async_block,
    "group": _leave_a_group,
    "full queue": _find_no_room,
    "full queue in a loop": _find_no_room_in_a_loop,
    "run_in_executor": _run_in_executor,
}


@pytest.mark.parametrize("how", WAITS)
def test_every_wait_may_be_part_of_a_circle(two: Two, how: str) -> None:
    """A task of the only worker waits for a pool whose task waits for that worker's pool."""
    first, second = two
    assert first.submit(WAITS[how], first, second).result(DEADLINE) == 2
    idles(first)


@pytest.mark.parametrize("how", ["join", "shutdown", "with", "full queue"])
def test_help_is_given_back_when_a_wait_for_another_pool_ends(two: Two, how: str) -> None:
    """The task goes on as the only one of its pool."""
    first, second = two

    def waits() -> int:
        WAITS[how](first, second)
        return first._scheduler._extra

    assert first.submit(waits).result(DEADLINE) == 0


def test_help_is_given_back_when_a_task_of_another_pool_is_done(two: Two) -> None:
    """The task goes on as the only one of its pool."""
    first, second = two

    def waits() -> int:
        second.submit(asks(first)).result()
        return first._scheduler._extra

    assert first.submit(waits).result(DEADLINE) == 0


def test_one_that_has_waited_for_long_enough_waits_no_more(two: Two, made: list[Pool]) -> None:
    """What it asked another pool for is not done: but it goes on, and so its pool does not stand still."""
    first, second = two
    third = Pool(1)
    made.append(third)
    known: list[Task[int]] = []

    def across() -> int:
        known.append(first.submit(tasks.double, 1))
        return known[0].result()

    with Gate() as gate, Gate() as busy:

        def outer() -> None:
            looks_up(second.submit(stop, gate.path))
            stop(busy.path)

        first.submit(outer)
        busy.arrival()
        asked = third.submit(across)
        until(lambda: bool(known) and known[0]._extras is not None)  # it sleeps
        assert first._scheduler._extra == 0
        busy.open()
        assert asked.result(DEADLINE) == 2


def test_help_lasts_as_long_as_anything_is_waited_for(two: Two) -> None:
    """A loop waits for its own pool, and its thread for the other one, which is done first."""
    first, second = two

    with Gate() as gate:

        async def main() -> tuple[int, int]:
            both = asyncio.gather(first.run(stop, gate.path), first.run(tasks.double, 1))
            await asyncio.sleep(0)  # it waits
            second.submit(until, lambda: awaits(first)).result()
            extra = first._scheduler._extra
            gate.open()
            return extra, (await both)[1]

        assert first.submit(lambda: asyncio.run(main())).result(DEADLINE) == (1, 2)


# ------------------------------------------------------------- an inline pool in between


def test_a_task_in_the_thread_of_another_pool_may_wait_for_that(made: list[Pool]) -> None:
    """The thread is that of two workers, one inside the other, and the outer one gets help."""
    outer, inline = Pool(1), Pool(backend="inline")
    made += [outer, inline]

    def waits() -> int:
        return inline.submit(asks(outer)).result()

    assert outer.submit(waits).result(DEADLINE) == 2
    idles(outer)


@pytest.mark.parametrize("call", [Pool.join, Pool.shutdown], ids=["join", "shutdown"])
def test_in_the_thread_of_another_pool_that_cannot_be_waited_for_as_a_whole(
    made: list[Pool], call: Callable[[Pool], None]
) -> None:
    """The outer task would wait for itself, by way of the inline pool."""
    outer, inline = Pool(1), Pool(backend="inline")
    made += [outer, inline]
    refused = outer.submit(lambda: inline.submit(call, outer).result())
    with pytest.raises(WouldDeadlock, match="from outside"):
        refused.result(DEADLINE)
    assert outer.submit(tasks.double, 1).result(DEADLINE) == 2
