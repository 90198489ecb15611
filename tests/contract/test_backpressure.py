"""queue_size: submit waits while the queue is full, or raises queue.Full when told how long."""

from __future__ import annotations

import asyncio
import queue
import time

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import Pool, PoolClosed, Task

MANY = 20  # coroutines: more than are woken as the queue runs empty


@pytest.fixture
def small(make_pool: MakePool) -> Pool:
    """Give a pool of one worker whose queue takes two tasks."""
    return make_pool(1, queue_size=2)


def fill(pool: Pool) -> list[Task[int]]:
    """Queue as much as there is room for, while the worker is busy."""
    now_or_never = pool.options(queue_timeout=0)
    queued = [now_or_never.submit(tasks.double, n) for n in range(2)]
    with pytest.raises(queue.Full):
        now_or_never.submit(tasks.double, 2)
    return queued


def test_a_full_queue_makes_submit_wait(small: Pool, busy: Busy) -> None:
    """submit returns when there is room, and the task runs."""
    with busy(small) as gate:
        queued = fill(small)
        waiting = in_background(small.submit, tasks.double, 21)
        gate.open()
        assert waiting.result().result(DEADLINE) == 42
    assert [task.result(DEADLINE) for task in queued] == [0, 2]


@pytest.mark.parametrize("how", ["cancel", "finalizer"])
def test_a_callback_may_put_another_task_in_the_place_of_a_cancelled_one(
    small: Pool, busy: Busy, how: str
) -> None:
    """By the time that it is told, the place is free; and a join waits for the callback all the same."""
    with busy(small) as gate:
        queued = fill(small)
        instead: list[Task[int]] = []
        seen: list[int] = []

        def replace(_: Task[int]) -> None:
            instead.append(small.options(queue_timeout=DEADLINE / 2).submit(tasks.double, 21))
            seen.append(small.unfinished)

        queued[0].add_done_callback(replace)
        if how == "cancel":
            assert in_background(queued[0].cancel).result()
        else:
            with small._scheduler.lock:  # where one strikes
                assert queued[0].cancel()
            until(lambda: bool(seen))
        gate.open()
        assert instead[0].result(DEADLINE) == 42
        small.join(DEADLINE)
    assert seen == [
        4
    ]  # the busy one, the other queued one, the new one, and the one that is told of
    assert small.unfinished == 0


def test_a_full_queue_can_be_told_to_give_up(small: Pool, busy: Busy) -> None:
    """After queue_timeout seconds submit raises queue.Full, which says how large it is."""
    with busy(small):
        fill(small)
        before = small.unfinished
        with pytest.raises(queue.Full, match=r"2 tasks.*0\.01 s"):
            small.options(queue_timeout=0.01).submit(tasks.double, 3)
        assert small.unfinished == before
    small.join(DEADLINE)


def test_an_endless_queue_timeout_waits(small: Pool, busy: Busy) -> None:
    """A timeout beyond what the system can count is a long one."""
    with busy(small) as gate:
        fill(small)
        waiting = in_background(small.options(queue_timeout=float("inf")).submit, tasks.double, 21)
        gate.open()
        assert waiting.result().result(DEADLINE) == 42


def test_a_cancelled_task_makes_room(small: Pool, busy: Busy) -> None:
    """Room is for tasks that will run."""
    with busy(small):
        queued = fill(small)
        waiting = in_background(small.submit, tasks.double, 21)
        assert queued[0].cancel()
        assert not waiting.result().done()
        assert queued[1].cancel()
        small.options(queue_timeout=0).submit(tasks.double, 1)


def test_everyone_who_waits_gets_in(small: Pool, busy: Busy) -> None:
    """No submit is forgotten, however many wait."""
    with busy(small):
        fill(small)
        waiting = [in_background(small.submit, tasks.double, n) for n in range(10)]
    assert [each.result().result(DEADLINE) for each in waiting] == [2 * n for n in range(10)]
    small.join(DEADLINE)


@pytest.mark.parametrize("how", ["close", "cancel", "kill"])
def test_the_end_of_the_pool_wakes_who_waits(small: Pool, busy: Busy, how: str) -> None:
    """A submit that waits for room is refused when the pool is ended."""
    with busy(small):
        fill(small)
        waiting = [in_background(small.submit, tasks.double, n) for n in range(3)]
        if how == "close":
            small.close()
        elif how == "cancel":
            small.shutdown(wait=False, cancel_futures=True)
        else:
            small.kill()
        for each in waiting:
            with pytest.raises(PoolClosed, match="after shutdown"):
                each.result()


def test_one_by_one_a_map_waits_for_room(small: Pool) -> None:
    """chunksize=1 goes through submit and so waits like it."""
    assert list(small.map(tasks.double, range(50), chunksize=1)) == [2 * n for n in range(50)]
    assert list(small.map(tasks.double, iter(range(50)), chunksize=1)) == [2 * n for n in range(50)]


def test_a_map_that_finds_no_room_can_be_given_up(small: Pool, busy: Busy) -> None:
    """queue.Full out of a map call leaves nothing of it behind."""
    with busy(small):
        fill(small)
        with pytest.raises(queue.Full):
            small.options(queue_timeout=0).map(tasks.double, range(10), chunksize=1)
        with pytest.raises(queue.Full):
            small.options(queue_timeout=0).map(tasks.double, iter(range(10)), chunksize=1)
        assert small.unfinished == 3
    small.join(DEADLINE)
    assert small.stats().done == 3


def test_run_waits_without_stopping_the_loop(small: Pool, busy: Busy) -> None:
    """await pool.run(...) on a full queue lets other coroutines go on."""

    async def main(gate: Gate) -> list[int]:
        waiting = [asyncio.ensure_future(small.run(tasks.double, n)) for n in range(3)]
        await asyncio.sleep(0)  # they have begun
        gate.open()  # and this is reached
        return list(await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE))

    with busy(small) as gate:
        fill(small)
        assert in_background(asyncio.run, main(gate)).result() == [0, 2, 4]


def test_a_submit_in_a_loop_goes_before_its_coroutines(small: Pool, busy: Busy) -> None:
    """They would be given the room, and could not come for it before the loop's thread has submitted."""

    async def main(gate: Gate) -> list[int]:
        others = [asyncio.create_task(small.run(tasks.double, n)) for n in range(MANY)]
        await asyncio.sleep(0)  # each has come to wait for room
        opener = in_background(open_when_one_more_waits, gate)
        first = small.submit(tasks.double, 21)
        opener.result()
        return [first.result(DEADLINE), *await asyncio.gather(*others)]

    def open_when_one_more_waits(gate: Gate) -> None:
        until(lambda: len(small._scheduler._putters) == MANY + 1)
        gate.open()

    with busy(small) as gate:
        fill(small)
        assert in_background(asyncio.run, main(gate)).result() == [42, *range(0, 2 * MANY, 2)]


def test_many_coroutines_wait_for_room_at_once(small: Pool) -> None:
    """Each that comes or goes looks at none of the others: the time for one does not grow with them."""

    async def main(count: int) -> float:
        began = time.process_time()  # not that of a clock: others use the machine as well
        assert (
            len(await asyncio.gather(*(small.run(tasks.double, n) for n in range(count)))) == count
        )
        return time.process_time() - began

    small_number, large_number = (
        in_background(asyncio.run, main(n)).result() for n in (500, 4_000)
    )
    assert large_number < 8 * small_number * 3


@pytest.mark.lacks("pickles")
def test_a_task_may_submit_to_its_own_full_queue(small: Pool) -> None:
    """With the only worker waiting for room in its own queue, there still is progress."""

    def outer() -> list[int]:
        inner = [small.submit(tasks.double, n) for n in range(10)]
        return [task.result(DEADLINE) for task in inner]

    task = in_background(small.submit, outer).result()
    assert task.result(DEADLINE) == [2 * n for n in range(10)]


def test_a_callback_may_submit_to_a_full_queue(small: Pool, busy: Busy) -> None:
    """A callback runs in the thread that would make room: it does not wait for itself."""
    more: list[Task[int]] = []

    def submit_more(_: object) -> None:
        more.extend(small.submit(tasks.double, n) for n in range(5))

    with busy(small):
        fill(small)[0].add_done_callback(submit_more)
    small.join(DEADLINE)
    small.join(DEADLINE)
    assert [task.result(DEADLINE) for task in more] == [0, 2, 4, 6, 8]


@pytest.mark.needs("concurrent")
def test_a_task_for_an_idle_worker_needs_no_room(small: Pool, gate: Gate) -> None:
    """queue_size is about what waits, not about what runs."""
    assert small.submit(tasks.double, 1).result(DEADLINE) == 2
    small.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    assert len(fill(small)) == 2
