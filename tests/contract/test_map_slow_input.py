"""map on an input that takes its time: nobody waits for more of it than is needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from functools import partial
from itertools import count, islice

import pytest

from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, in_background, stop
from workpool import JoinTimeout, Pool

both_ways = pytest.mark.parametrize("chunksize", [None, 1], ids=["chunks", "single"])

NAP = 0.01  # seconds; what takes so long for an item is slow


class Slow:
    """An endless input that naps before each item, and counts those that it gave."""

    def __init__(self, naps: float = NAP) -> None:
        self.pulled = 0
        self._naps = naps

    def __iter__(self) -> Iterator[int]:
        for number in count():
            time.sleep(self._naps)  # house: sleep - it is what makes the input slow
            self.pulled += 1
            yield number


@both_ways
def test_the_call_waits_for_no_more_than_one_item(pool: Pool, chunksize: int | None) -> None:
    """What is on its way runs meanwhile; a function that is known to be quick makes no difference."""
    list(pool.map(tasks.double, range(100)))
    source = Slow()
    results = in_background(
        lambda: pool.map(tasks.double, source, chunksize=chunksize, buffersize=64)
    ).result()
    assert source.pulled == 1
    results.close()


@both_ways
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they come"])
def test_the_consumer_has_what_is_ready(pool: Pool, chunksize: int | None, ordered: bool) -> None:
    """It pulls while there is nothing for it, and not the whole window."""
    source = Slow()
    results = pool.map(tasks.double, source, chunksize=chunksize, buffersize=1_000, ordered=ordered)
    given = [in_background(next, results).result() for _ in range(5)]
    assert given == [0, 2, 4, 6, 8] or not ordered
    assert source.pulled < 500
    results.close()


@pytest.mark.needs("concurrent")
@both_ways
def test_workers_are_fed_while_the_consumer_waits(
    pool: Pool, gate: Gate, chunksize: int | None
) -> None:
    """With nothing to fetch it pulls on: two workers are busy at once."""
    meets = partial(tasks.meet, gate.path)
    results = pool.map(meets, Slow(), chunksize=chunksize, buffersize=8)
    first = in_background(next, results)
    gate.arrivals(2)
    gate.open()
    first.result()
    results.close()


@pytest.mark.needs("concurrent")
@both_ways
def test_a_timeout_is_kept(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """The consumer hears in time that its result is not there, however much input there is."""
    hold = partial(tasks.meet, gate.path)
    began = time.monotonic()
    results = pool.map(hold, Slow(), chunksize=chunksize, buffersize=10_000, timeout=0.2)
    with pytest.raises(TimeoutError, match=r"was not there 0\.2 s after the call"):
        in_background(next, results).result()
    assert time.monotonic() - began < DEADLINE / 2


@both_ways
def test_a_join_has_its_timeout(pool: Pool, chunksize: int | None) -> None:
    """It pulls the input, and gives up in time; with no time it only looks."""
    source = Slow()
    results = pool.map(tasks.double, source, chunksize=chunksize, buffersize=4)
    for timeout in (0.2, 0):
        with pytest.raises(JoinTimeout, match="the input of a map call is not at its end"):
            in_background(pool.join, timeout).result()
    assert source.pulled > 1
    results.close()
    in_background(pool.join, DEADLINE).result()


@both_ways
def test_a_loop_has_turns_between(pool: Pool, chunksize: int | None) -> None:
    """Where there is always something to fetch, other coroutines run all the same."""
    turns = 0

    async def main() -> int:
        nonlocal turns

        async def turning() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(turning())
        given = 0
        async for _ in pool.map(tasks.double, islice(Slow(), 20), chunksize=chunksize):
            given += 1
        other.cancel()
        return given

    assert in_background(asyncio.run, main()).result() == 20
    assert turns >= 10


@both_ways
def test_an_error_of_the_input_comes_behind_the_results(pool: Pool, chunksize: int | None) -> None:
    """Also one that comes in the first items, which are pulled at the call."""

    def source() -> Iterator[int]:
        yield 1
        yield 2
        message = "no third"
        raise LookupError(message)

    results = pool.map(tasks.double, source(), chunksize=chunksize)
    assert [in_background(next, results).result() for _ in range(2)] == [2, 4]
    with pytest.raises(LookupError, match="no third"):
        in_background(next, results).result()


class Unsure:
    """Has a length only to whoever does not ask, as a tqdm over a generator, or a stream of data sets."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __len__(self) -> int:
        raise self._error

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))


@both_ways
@pytest.mark.parametrize("error", [TypeError, OverflowError])
def test_an_input_that_does_not_know_its_length(
    pool: Pool, chunksize: int | None, error: type[Exception]
) -> None:
    """It is one of unknown length, as list() and others take it."""
    assert list(pool.map(tasks.double, Unsure(error), chunksize=chunksize)) == [0, 2, 4]


@both_ways
def test_a_shutdown_waits_also_for_an_input_that_raises_after_close(
    kind: Kind, gate: Gate, chunksize: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It pulls the input when another thread closes the pool: the error is told when all is done."""
    pool = Pool(2, **kind.settings)
    scheduler = pool._scheduler
    with Gate() as until_drained:
        running = pool.submit(stop, until_drained.path) if kind.can("concurrent") else None
        drain = scheduler.drain

        def open_and_drain() -> None:
            until_drained.open()
            drain()

        monkeypatch.setattr(scheduler, "drain", open_and_drain)

        def items() -> Iterator[int]:
            yield 1
            stop(gate.path)
            raise LookupError("mine")

        results = pool.map(tasks.double, items(), buffersize=1, chunksize=chunksize)
        ending = in_background(pool.shutdown)
        gate.arrival()
        pool.close()
        gate.open()
        with pytest.raises(LookupError, match="mine"):
            ending.result()
        assert pool.unfinished == 0
        assert running is None or running.result(0) is None
        del results


@both_ways
def test_an_input_that_raises_after_close_says_so_itself(
    kind: Kind, gate: Gate, chunksize: int | None
) -> None:
    """The error goes to whoever pulls, for it is not what ended the call."""
    pool = Pool(2, **kind.settings)

    def items() -> Iterator[int]:
        yield 1
        stop(gate.path)
        raise LookupError("mine")

    consumer = in_background(
        lambda: list(pool.map(tasks.double, items(), buffersize=1, chunksize=chunksize))
    )
    gate.arrival()
    pool.close()
    gate.open()
    with pytest.raises(LookupError, match="mine"):
        consumer.result()
    in_background(pool.shutdown).result()
