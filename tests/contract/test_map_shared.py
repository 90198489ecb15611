"""The results of one map call, consumed by several threads or coroutines at once."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import Pool, Results
from workpool import results as results_module

both_ways = pytest.mark.parametrize("chunksize", [None, 1], ids=["chunks", "single"])


@pytest.fixture
def hasty() -> Generator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(params=["with the GIL", "without"])
def run_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take results out as it is done on either kind of Python; what needs no GIL works with it."""
    if request.param == "without":
        monkeypatch.setattr(results_module, "_run_of", results_module._Popped)


def taken(results: Results[int]) -> list[int]:
    """Take with next() until the end."""
    seen: list[int] = []
    while True:
        try:
            seen.append(next(results))
        except StopIteration:
            return seen


def waiting(results: Results[Any], count: int) -> None:
    """Wait until so many consumers sleep."""
    until(lambda: len(results._job.listeners) == count)


@pytest.mark.usefixtures("hasty", "run_of")
@pytest.mark.parametrize("chunksize", [None, 1, 3])
@pytest.mark.parametrize("make", [list, iter], ids=["sized", "lazy"])
@pytest.mark.parametrize("how", [taken, list], ids=["next", "loop"])
def test_each_result_goes_to_one_of_the_threads(
    pool: Pool,
    make: Callable[[Iterable[int]], Iterable[int]],
    how: Callable[[Results[int]], list[int]],
    chunksize: int | None,
) -> None:
    """Four threads get all results between them, none twice, and all of them come to the end."""
    for _ in range(5):
        results = pool.map(tasks.double, make(range(300)), chunksize=chunksize)
        threads = [in_background(how, results) for _ in range(4)]
        seen = Counter(value for each in threads for value in each.result())
        assert seen == Counter(2 * n for n in range(300))


@pytest.mark.needs("concurrent")
@both_ways
def test_all_who_wait_see_the_end(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """The last result wakes every thread that waits, and not only the one that gets it."""
    results = pool.map(tasks.holding(gate.path, held=0), range(1), chunksize=chunksize)
    gate.arrival()
    threads = [in_background(taken, results) for _ in range(4)]
    waiting(results, 4)
    gate.open()
    assert sorted(len(each.result()) for each in threads) == [0, 0, 0, 1]


@pytest.mark.needs("concurrent")
@both_ways
def test_all_who_wait_hear_of_a_close(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """close() ends the waits of other threads, though the item still runs."""
    results = pool.map(tasks.holding(gate.path, held=0), range(1), chunksize=chunksize)
    gate.arrival()
    threads = [in_background(taken, results) for _ in range(3)]
    waiting(results, 3)
    in_background(results.close).result()
    assert [each.result() for each in threads] == [[], [], []]
    gate.open()


@pytest.mark.needs("concurrent")
@both_ways
def test_an_error_is_told_to_one_and_ends_it_for_all(
    pool: Pool, gate: Gate, chunksize: int | None
) -> None:
    """One thread raises the item's error; the others, who wait as well, come to the end."""
    results = pool.map(partial(tasks.hold_or_fail, gate.path), [LookupError()], chunksize=chunksize)
    gate.arrival()
    threads = [in_background(taken, results) for _ in range(3)]
    waiting(results, 3)
    gate.open()
    outcomes: list[str] = []
    for each in threads:
        try:
            outcomes.append(f"{each.result()}")
        except LookupError:
            outcomes.append("raised")
    assert sorted(outcomes) == ["[]", "[]", "raised"]


@both_ways
def test_input_that_its_puller_left_is_pulled_by_one_who_waits(
    pool: Pool, chunksize: int | None
) -> None:
    """A consumer that found the input taken, and nothing on its way, looks again when it is free."""
    results = pool.map(tasks.double, iter(range(20)), buffersize=3, chunksize=chunksize)
    job: Any = results._job
    job.puller = "another"  # which an exception is about to strike, before it has pulled anything
    consumer = in_background(taken, results)
    until(lambda: job.consumed == 3 and len(job.listeners) == 1)
    job.puller = None
    job.end_pulling()
    assert consumer.result() == [2 * n for n in range(20)]


def test_each_result_goes_to_one_of_the_coroutines(pool: Pool) -> None:
    """Several that iterate side by side get all results between them, and all come to the end."""
    results = pool.map(tasks.double, iter(range(100)), chunksize=3)

    async def take() -> list[int]:
        return [value async for value in results]

    async def main() -> list[list[int]]:
        return await asyncio.wait_for(asyncio.gather(*(take() for _ in range(4))), DEADLINE)

    seen = Counter(value for each in asyncio.run(main()) for value in each)
    assert seen == Counter(2 * n for n in range(100))


@pytest.mark.needs("concurrent")
def test_waits_that_were_given_up_leave_nothing(pool: Pool, gate: Gate) -> None:
    """A coroutine that is cancelled while it waits for a result is not kept."""
    results = pool.map(tasks.holding(gate.path, held=0), range(1))

    async def give_up() -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(results.__anext__(), 0.01)

    asyncio.run(give_up())
    assert results._job.listeners == []
    gate.open()
    assert taken(results) == [0]
