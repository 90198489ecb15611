"""asyncio: tasks can be awaited, results iterated and pools entered, and no loop stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any, TypeVar

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool

R = TypeVar("R")


def run(main: Coroutine[Any, Any, R]) -> R:
    """Run a coroutine, with a deadline."""

    async def bounded() -> R:
        return await asyncio.wait_for(main, DEADLINE)

    return asyncio.run(bounded())


def test_a_task_can_be_awaited(pool: Pool) -> None:
    """await gives the result or raises the error."""

    async def main() -> int:
        with pytest.raises(LookupError, match="nothing"):
            await pool.submit(tasks.fail_with, LookupError, "nothing")
        return await pool.submit(tasks.double, 21)

    assert run(main()) == 42


def test_run_submits_and_awaits(pool: Pool) -> None:
    """pool.run(fn, ...) is the shortest way, also through options."""

    async def main() -> tuple[int, int]:
        renamed = await pool.options(name="x").run(tasks.double, 2)
        return await pool.run(tasks.add, 1, b=2), renamed

    assert run(main()) == (3, 4)


def test_many_awaits_at_once(pool: Pool) -> None:
    """gather over many tasks gives their results in order."""

    async def main() -> list[int]:
        return list(await asyncio.gather(*(pool.run(tasks.double, n) for n in range(50))))

    assert run(main()) == [2 * n for n in range(50)]


def test_standard_bridges_work(pool: Pool) -> None:
    """wrap_future and run_in_executor take tasks and pools as they take the standard ones."""

    async def main() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        wrapped = await asyncio.wrap_future(pool.submit(tasks.double, 1))
        return wrapped, await loop.run_in_executor(pool, tasks.double, 2)

    assert run(main()) == (2, 4)


def test_asyncio_wait_says_what_it_takes(pool: Pool) -> None:
    """asyncio.wait(), which is called back in the loop's thread only, refuses a task and takes a future made of it."""

    async def main() -> int:
        task = pool.submit(tasks.double, 1)
        with pytest.raises(TypeError, match=r"asyncio\.ensure_future\(task\)"):
            await asyncio.wait([task])  # type: ignore[type-var]  # checkers refuse it, too
        of_both = [asyncio.ensure_future(task), asyncio.wrap_future(pool.submit(tasks.double, 2))]
        done, pending = await asyncio.wait(of_both)
        assert not pending
        return sum(each.result() for each in done)

    assert run(main()) == 6


@pytest.mark.parametrize("chunksize", [None, 1])
@pytest.mark.parametrize("kind_of_error", [StopIteration, StopAsyncIteration])
def test_no_error_of_an_item_looks_like_the_end(
    pool: Pool, kind_of_error: type[BaseException], chunksize: int | None
) -> None:
    """An ``async for`` does not end in silence where a function raises what would end it."""

    async def main() -> None:
        async for _ in pool.map(tasks.fail, [kind_of_error(3)] * 2, chunksize=chunksize):
            raise AssertionError

    with pytest.raises(RuntimeError) as caught:
        run(main())
    assert isinstance(caught.value.__cause__, kind_of_error)
    assert caught.value.__cause__.args == (3,)


@pytest.mark.needs("concurrent")
def test_the_loop_goes_on_meanwhile(pool: Pool, gate: Gate) -> None:
    """While a task runs, other coroutines do."""

    async def main() -> str:
        waiting = asyncio.ensure_future(pool.run(tasks.hold, gate.path, "done"))
        await asyncio.to_thread(gate.arrival)
        assert not waiting.done()
        gate.open()
        return await waiting

    assert run(main()) == "done"


def test_cancelling_the_await_cancels_the_task(pool: Pool, busy: Busy) -> None:
    """A queued task whose await is cancelled never runs."""
    with Gate() as seen:
        with busy(pool):

            async def main() -> None:
                task = pool.submit(tasks.report, seen.path, "ran")

                async def wait_for_it() -> str:
                    return await task

                awaiting = asyncio.ensure_future(wait_for_it())
                await asyncio.sleep(0)
                awaiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await awaiting
                assert task.cancelled()

            run(main())
        pool.join(DEADLINE)
        assert seen.waiting() == []


@pytest.mark.needs("concurrent")
def test_an_await_can_have_a_timeout(pool: Pool, gate: Gate) -> None:
    """asyncio.wait_for gives up, and a task that runs goes on."""

    async def main() -> None:
        task = pool.submit(tasks.hold, gate.path, 1)
        await asyncio.to_thread(gate.arrival)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(asyncio.wrap_future(task), 0.01)

    run(main())
    gate.open()
    pool.join(DEADLINE)


@pytest.mark.parametrize("chunksize", [None, 1, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_results_can_be_iterated(pool: Pool, ordered: bool, chunksize: int | None) -> None:
    """async for goes through the results of a map call."""

    async def main() -> list[int]:
        results = pool.map(tasks.double, range(50), ordered=ordered, chunksize=chunksize)
        return [value async for value in results]

    got = run(main())
    assert (got if ordered else sorted(got)) == [2 * n for n in range(50)]


def test_lazy_results_can_be_iterated(pool: Pool) -> None:
    """An endless input is pulled as the coroutine consumes it."""

    async def main() -> list[int]:
        found: list[int] = []
        async for value in pool.map(tasks.double, count(), buffersize=10):
            found.append(value)
            if len(found) == 30:
                return found
        return found

    assert run(main()) == [2 * n for n in range(30)]


def test_errors_come_in_their_place(pool: Pool) -> None:
    """An item's error is raised, or yielded when asked for."""

    async def main() -> None:
        found: list[int] = []
        with pytest.raises(ValueError, match="3"):  # noqa: PT012 - a loop is what is asked to raise
            async for value in pool.map(tasks.fail_if_odd, [0, 2, 3, 4]):
                found.append(value)  # noqa: PERF401 - what came before the error counts
        assert found == [0, 2]
        loose = pool.map(tasks.fail_if_odd, [0, 1], return_exceptions=True)
        outcomes = [value async for value in loose]
        assert outcomes[0] == 0
        assert isinstance(outcomes[1], ValueError)

    run(main())


@pytest.mark.needs("concurrent")
def test_late_results_are_a_timeout(pool: Pool, gate: Gate) -> None:
    """timeout= of a map call holds for async for, too."""

    async def main() -> None:
        results = pool.map(tasks.holding(gate.path, held=1), range(3), timeout=0.1)
        with pytest.raises(TimeoutError):
            async for _ in results:
                pass

    run(main())


@pytest.mark.needs("concurrent")
def test_the_loop_goes_on_between_results(pool: Pool, gate: Gate) -> None:
    """While async for waits, other coroutines run."""

    async def main() -> list[int]:
        results = pool.map(tasks.holding(gate.path, held=1), range(4))

        async def consume() -> list[int]:
            return [value async for value in results]

        consuming = asyncio.ensure_future(consume())
        await asyncio.to_thread(gate.arrival)
        gate.open()
        return await consuming

    assert run(main()) == [0, 2, 4, 6]


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("chunksize", [None, 1])
def test_a_loop_that_is_gone_harms_nobody(
    make_pool: MakePool, gate: Gate, chunksize: int | None
) -> None:
    """Results whose consumer was cancelled, and whose loop is closed, are still counted."""
    pool = make_pool(1)
    kept: list[object] = []

    async def main() -> None:
        results = pool.map(tasks.holding(gate.path, held=0), range(3), chunksize=chunksize)
        kept.append(results)

        async def consume() -> list[int]:
            return [value async for value in results]

        consuming = asyncio.ensure_future(consume())
        await asyncio.to_thread(gate.arrival)
        consuming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consuming

    run(main())
    gate.open()
    pool.join(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_a_pool_can_be_entered(kind: Kind) -> None:
    """async with waits for everything at its end."""

    async def main() -> int:
        async with Pool(2, **kind.settings) as pool:
            first = pool.submit(tasks.double, 21)
            lazy = pool.map(tasks.double, iter(range(100)), buffersize=5)
        assert list(lazy) == [2 * n for n in range(100)]
        return first.result(timeout=0)

    assert run(main()) == 42


def test_leaving_a_pool_does_not_stop_the_loop(kind: Kind) -> None:
    """The end of async with waits in the background."""

    async def main() -> bool:
        leaving = asyncio.Event()
        with Gate() as gate:

            async def use() -> None:
                async with Pool(1, **kind.settings) as pool:
                    in_background(pool.submit, tasks.hold, gate.path, 1)
                    await asyncio.to_thread(gate.arrival)
                    leaving.set()

            using = asyncio.ensure_future(use())
            await leaving.wait()  # the block is at its end, and the loop goes on here
            waits = not using.done()
            gate.open()
            await using
        return waits

    assert run(main())


def test_an_error_leaves_the_block(kind: Kind) -> None:
    """async with hands errors on, and the pool is closed."""

    async def main() -> Pool:
        pool = Pool(1, **kind.settings)
        with pytest.raises(LookupError):
            async with pool:
                raise LookupError
        return pool

    with pytest.raises(RuntimeError, match="after shutdown"):
        run(main()).submit(tasks.double, 1)
