"""``async with pool.group()``: the same block, and no thread is blocked by it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import Pool, Task

pytestmark = pytest.mark.needs("concurrent")


async def arrival(gate: Gate) -> str:
    """Wait for a task at a gate, in another thread."""
    return await asyncio.to_thread(gate.arrival)


def test_after_the_block_all_is_done(pool: Pool) -> None:
    """An async block is left when its tasks have their results."""

    async def main() -> list[int]:
        async with asyncio.timeout(DEADLINE), pool.group() as group:
            submitted = [group.submit(tasks.double, n) for n in range(20)]
        return [task.result(0) for task in submitted]

    assert asyncio.run(main()) == [2 * n for n in range(20)]


def test_the_loop_goes_on_while_the_block_waits(pool: Pool, gate: Gate) -> None:
    """Other coroutines run while the block waits for its tasks: here, the one that lets them go on."""

    async def open_gate() -> None:
        await arrival(gate)
        gate.open()

    async def main() -> int:
        opener = asyncio.create_task(open_gate())
        async with asyncio.timeout(DEADLINE), pool.group() as group:
            task = group.submit(tasks.hold, gate.path, 1)
        await opener
        return task.result(0)

    assert asyncio.run(main()) == 1


def test_a_failure_cancels_the_block(pool: Pool) -> None:
    """A block that awaits something is cancelled there, and only the failure comes out."""
    reached: list[str] = []

    async def main() -> None:
        async with asyncio.timeout(DEADLINE), pool.group() as group:
            group.submit(tasks.fail, ValueError("first"))
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                reached.append("cancelled")
                raise

    async def outer() -> int:
        with pytest.raises(ExceptionGroup) as told:
            await main()
        assert [repr(error) for error in told.value.exceptions] == ["ValueError('first')"]
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(0)  # nothing is left of the cancellation
        return task.cancelling()

    assert asyncio.run(outer()) == 0
    assert reached == ["cancelled"]


def test_a_block_that_ends_on_its_own_is_not_cancelled(pool: Pool, gate: Gate) -> None:
    """A failure that comes while the block waits leaves no cancellation behind."""

    async def main() -> int:
        with pytest.raises(ExceptionGroup):
            async with asyncio.timeout(DEADLINE), pool.group() as group:
                group.submit(tasks.hold_or_fail, gate.path, ValueError("late"))
                await arrival(gate)
                asyncio.get_running_loop().call_soon(gate.open)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(main()) == 0


def test_cancelling_the_block_cancels_its_tasks(
    make_pool: MakePool, make_gate: Callable[[], Gate]
) -> None:
    """Who cancels the coroutine is told so, when what ran is done and what waited is cancelled."""
    pool, gate, release = make_pool(1), make_gate(), make_gate()
    submitted: list[Task[Any]] = []

    async def block() -> None:
        async with pool.group() as group:
            submitted.append(group.submit(tasks.cancelled_within, DEADLINE, gate.path))
            submitted.append(group.submit(tasks.report, release.path, 1))

    async def main() -> None:
        blocked = asyncio.create_task(block())
        await arrival(gate)
        blocked.cancel()
        await asyncio.sleep(0)
        blocked.cancel()  # a second one changes nothing
        await asyncio.sleep(0)
        assert not blocked.done()
        gate.open()
        async with asyncio.timeout(DEADLINE):
            with pytest.raises(asyncio.CancelledError):
                await blocked
        assert blocked.cancelled()

    asyncio.run(main())
    assert submitted[0].result(0) is True
    assert submitted[1].cancelled()
    assert release.waiting() == []


def test_a_cancelled_block_with_failures_tells_them(pool: Pool, gate: Gate) -> None:
    """Errors are not lost to a cancellation, nor the cancellation to them."""

    async def block() -> str:
        try:
            async with pool.group() as group:
                group.submit(tasks.hold_or_fail, gate.path, ValueError("lost?"))
        except ExceptionGroup:
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return "both"
        return "one"

    async def main() -> str:
        blocked = asyncio.create_task(block())
        await arrival(gate)
        blocked.cancel()
        await asyncio.sleep(0)
        gate.open()
        async with asyncio.timeout(DEADLINE):
            return await blocked

    assert asyncio.run(main()) == "both"


def test_many_blocks_need_no_threads(pool: Pool, gate: Gate) -> None:
    """Hundreds of blocks wait at once, in one thread."""
    import threading

    async def block(n: int) -> int:
        async with pool.group() as group:
            task = group.submit(tasks.hold, gate.path, n) if n < 2 else group.submit(tasks.echo, n)
        return task.result(0)

    async def main() -> list[int]:
        blocks = [asyncio.create_task(block(n)) for n in range(300)]
        await arrival(gate)
        before = threading.active_count()
        assert before < 20
        gate.open()
        async with asyncio.timeout(DEADLINE):
            return await asyncio.gather(*blocks)

    assert asyncio.run(main()) == list(range(300))
