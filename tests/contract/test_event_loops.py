"""Every event loop: asyncio's own, uvloop and trio await the same pool, and none of them stands still."""

from __future__ import annotations

import asyncio
import queue
import threading
from itertools import count
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, say, stop
from tests.support.loops import LOOPS, cancelled_kinds, run_in
from tests.support.queues import until
from workpool import Pool, Task, Unsupported

each_loop = pytest.mark.parametrize("loop", LOOPS)


def stop_iteration() -> None:
    raise StopIteration(7)


def until_cancelled(gate: str, answer: str) -> None:
    """Say that it runs, look whether it is wanted any more, and say so."""
    say(gate, "runs")
    now = tasks.situation()
    pause = threading.Event()
    while not now.cancelled:
        pause.wait(0.001)
    say(answer, "cancelled")


def await_own_pool(pool: Pool) -> int:
    """Await two tasks of the very pool that runs this one."""

    async def main() -> int:
        return sum(await asyncio.gather(pool.run(tasks.double, 1), pool.run(tasks.double, 2)))

    return asyncio.run(main())


@each_loop
def test_each_loop_awaits_tasks_results_and_pools(loop: str, kind: Kind) -> None:
    """run, await, async for and async with do the same in each kind of loop."""

    async def main() -> None:
        async with Pool(2, **kind.settings) as pool:
            assert await pool.run(tasks.double, 21) == 42
            task = pool.submit(tasks.double, 4)
            assert await task == 8
            assert await task == 8, "a task that is done can be awaited again"
            with pytest.raises(LookupError, match="nothing"):
                await pool.run(tasks.fail_with, LookupError, "nothing")
            assert [r async for r in pool.map(tasks.double, range(9))] == list(range(0, 18, 2))
            found: list[int] = []
            async for result in pool.map(tasks.double, count(), buffersize=4):
                found.append(result)
                if len(found) == 20:
                    break
            assert found == list(range(0, 40, 2))
            last = pool.submit(tasks.double, 1)
        assert last.result(timeout=0) == 2
        with pytest.raises(RuntimeError, match="after shutdown"):
            await pool.run(tasks.double, 1)

    run_in(loop, main)


@each_loop
@pytest.mark.needs("concurrent")
def test_ten_thousand_awaits_at_once(loop: str, kind: Kind, make_pool: MakePool) -> None:
    """Ten thousand coroutines wait at the same time, and no thread is there for them."""
    count = 300 if kind.can("far") else 10_000  # a trip may take milliseconds
    pool = make_pool(2)
    threads_before = threading.active_count()
    most = 0

    async def main() -> list[int]:
        results: list[int] = []

        async def one(n: int) -> None:
            nonlocal most
            results.append(await pool.run(tasks.double, n))
            if n % 500 == 0:
                most = max(most, threading.active_count())

        async with anyio.create_task_group() as group:
            for n in range(count):
                group.start_soon(one, n)
        return results

    assert sorted(run_in(loop, main)) == list(range(0, 2 * count, 2))
    # An interpreter has a thread here that stays in it.
    most_allowed = threads_before + 2 + kind.can("far") + 2 * (kind.name == "interpreter")
    assert most <= most_allowed, "two workers, the one thread of an engine, and not one more"


@each_loop
@pytest.mark.needs("concurrent")
def test_cancelling_an_await_reaches_the_running_task(loop: str, make_pool: MakePool) -> None:
    """The task sees in workpool.current().cancelled that nobody awaits it any more."""
    pool = make_pool(1)
    with Gate() as runs, Gate() as answer:

        async def main() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(lambda: pool.run(until_cancelled, runs.path, answer.path))
                await anyio.lowlevel.checkpoint()
                while not runs.waiting():
                    await anyio.lowlevel.checkpoint()
                group.cancel_scope.cancel()

        run_in(loop, main)
        assert answer.arrival() == "cancelled"


@each_loop
def test_cancelling_an_await_drops_the_queued_task(loop: str, pool: Pool, busy: Busy) -> None:
    """A queued task whose await timed out is cancelled and never runs."""
    with Gate() as seen:
        with busy(pool):

            async def main() -> None:
                task = pool.submit(tasks.report, seen.path, "ran")
                with anyio.move_on_after(0.01) as scope:
                    await task
                assert scope.cancelled_caught
                assert task.cancelled()
                with pytest.raises(cancelled_kinds()):
                    await task

            run_in(loop, main)
        pool.join(DEADLINE)
        assert seen.waiting() == []


async def double_into(done: list[int], pool: Pool, n: int) -> None:
    done.append(await pool.run(tasks.double, n))


@each_loop
@pytest.mark.needs("concurrent")
def test_a_full_queue_holds_up_the_coroutine_alone(
    loop: str, make_pool: MakePool, busy: Busy
) -> None:
    """With queue_size, run waits for room while the loop goes on, each in its turn."""
    pool = make_pool(1, queue_size=2)

    async def main() -> list[int]:
        done: list[int] = []
        async with anyio.create_task_group() as group:
            with busy(pool) as gate:
                for n in range(30):
                    group.start_soon(double_into, done, pool, n)
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                assert pool._scheduler.queue.waiting == 2, "the others wait outside"
                with pytest.raises(queue.Full, match="queue_size"):
                    await pool.options(queue_timeout=0.01).run(tasks.double, 0)
                assert done == []
                gate.open()
        return done

    assert sorted(run_in(loop, main)) == list(range(0, 60, 2))


@each_loop
@pytest.mark.needs("concurrent")
def test_a_place_that_is_not_taken_is_given_on(loop: str, make_pool: MakePool, busy: Busy) -> None:
    """A coroutine that is woken for a place, and finds a worker idle, leaves the place to the next."""
    pool = make_pool(1, queue_size=1)

    async def main() -> list[int]:
        done: list[int] = []
        async with anyio.create_task_group() as group:
            with busy(pool) as gate:
                for n in range(4):
                    group.start_soon(double_into, done, pool, n)
                for _ in range(20):
                    await anyio.lowlevel.checkpoint()
                assert len(pool._scheduler._putters) == 3
                gate.open()
                # The loop stands still meanwhile: the first is woken, and comes when there is nothing left to do.
                until(lambda: bool(pool._scheduler.idle))
        return done

    assert sorted(run_in(loop, main)) == [0, 2, 4, 6]


@each_loop
@pytest.mark.needs("concurrent")
def test_who_waits_for_room_can_be_cancelled(loop: str, make_pool: MakePool, busy: Busy) -> None:
    """A coroutine that is cancelled while it waits for room leaves no task behind, and its place to others."""
    pool = make_pool(1, queue_size=1)
    with Gate() as seen:

        async def main() -> None:
            with busy(pool) as gate:
                first = pool.submit(tasks.double, 1)
                with anyio.move_on_after(0.01):
                    await pool.run(tasks.report, seen.path, "ran")
                async with anyio.create_task_group() as group:
                    group.start_soon(lambda: pool.run(tasks.double, 2))
                    await anyio.lowlevel.checkpoint()
                    gate.open()
                assert await first == 2

        run_in(loop, main)
        pool.join(DEADLINE)
        assert seen.waiting() == []


@each_loop
@pytest.mark.needs("concurrent")
def test_cancelling_the_block_does_not_wait(loop: str, kind: Kind) -> None:
    """async with, cancelled at its end: what is queued is cancelled, and what runs holds up nobody."""
    with Gate() as gate:

        async def main() -> Pool:
            pool = Pool(1, **kind.settings)
            with anyio.CancelScope() as scope:
                async with pool:
                    held.append(pool.submit(stop, gate.path))
                    held.append(pool.submit(tasks.double, 1))
                    gate.arrival()
                    scope.cancel()
                # Not awaited before: the end of the block is the first to be cancelled.
            assert scope.cancelled_caught
            return pool

        held: list[Task[Any]] = []
        pool = run_in(loop, main)
        assert held[1].cancelled()
        assert held[0].running()
    pool.shutdown()


@pytest.mark.needs("concurrent")
def test_a_cancelled_body_does_not_wait(kind: Kind) -> None:
    """async with whose body is cancelled ends at once, too."""
    with Gate() as gate:

        async def main() -> Pool:
            pool = Pool(1, **kind.settings)

            async def body() -> None:
                async with asyncio.timeout(0.05), pool:
                    held.append(pool.submit(stop, gate.path))
                    held.append(pool.submit(tasks.double, 1))
                    gate.arrival()
                    await asyncio.Event().wait()

            with pytest.raises(TimeoutError):
                await body()
            return pool

        held: list[Task[Any]] = []
        pool = run_in("asyncio", main)
        assert held[1].cancelled()
    pool.shutdown()


def test_a_task_may_await_its_own_pool(make_pool: MakePool, kind: Kind) -> None:
    """A task that runs a loop of its own and awaits its pool makes progress, with one worker too."""
    if kind.can("pickles"):
        pytest.skip("a pool cannot travel to a process")
    pool = make_pool(1)
    assert pool.submit(await_own_pool, pool).result(DEADLINE) == 6


@each_loop
def test_a_stop_iteration_hangs_nobody(loop: str, pool: Pool) -> None:
    """A task that raises StopIteration is a RuntimeError to whoever awaits it, as in any coroutine."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match="StopIteration"):
            await pool.run(stop_iteration)

    run_in(loop, main)


def test_a_group_needs_a_loop_of_asyncios_kind(pool: Pool) -> None:
    """In trio it is refused with the way out, a nursery; the group is as it was, and the way out works."""

    async def main() -> list[int]:
        group = pool.group()
        with pytest.raises(Unsupported, match=r"nursery\.start_soon\(pool\.run, fn\)"):
            await group.__aenter__()
        with group:
            task = group.submit(tasks.double, 1)
        return [await task]

    assert run_in("trio", main) == [2]


@pytest.mark.needs("concurrent")
def test_a_loop_that_is_closed_takes_no_place(make_pool: MakePool, busy: Busy) -> None:
    """A coroutine left waiting for room in a loop that is closed holds up nobody else."""
    pool = make_pool(1, queue_size=1)
    loop = asyncio.new_event_loop()
    with busy(pool) as gate:
        queued = pool.submit(tasks.double, 1)
        abandoned = loop.create_task(pool.run(tasks.double, 2))
        loop.call_soon(loop.stop)
        loop.run_forever()
        loop.close()

        async def main() -> int:
            waiting = asyncio.ensure_future(pool.run(tasks.double, 3))
            await asyncio.sleep(0)
            assert not waiting.done()
            gate.open()
            return await waiting

        assert run_in("asyncio", main) == 6
    assert queued.result(DEADLINE) == 2
    assert not abandoned.done()
    abandoned._log_destroy_pending = False  # type: ignore[attr-defined]  # private: as gather does
