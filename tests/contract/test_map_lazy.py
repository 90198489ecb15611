"""map on inputs of unknown length: how far it pulls ahead, who pulls the rest, what closing does."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError
from itertools import count, islice

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks, things
from tests.support.backends import Kind
from tests.support.builds import frees_at_once
from tests.support.gates import DEADLINE, Gate, in_background, stop
from workpool import Pool, PoolClosed, Results

WIDEST = 16_384  # items; the default bound on pulling ahead

both_ways = pytest.mark.parametrize("chunksize", [None, 1], ids=["chunks", "single"])


class Source:
    """An input that counts how far it was pulled, and in which threads."""

    def __init__(self, length: int | None = None) -> None:
        self.pulled = 0
        self.threads: set[int] = set()
        self._items = iter(count()) if length is None else iter(range(length))

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        item = next(self._items)
        self.pulled += 1
        self.threads.add(threading.get_ident())
        return item


@both_ways
def test_an_endless_input_is_pulled_as_it_is_consumed(pool: Pool, chunksize: int | None) -> None:
    """map() of an endless generator returns, and gives one result after the other."""
    source = Source()
    results = pool.map(tasks.double, source, chunksize=chunksize)
    assert list(islice(results, 500)) == [2 * n for n in range(500)]
    assert source.pulled <= 500 + WIDEST
    results.close()


@both_ways
@pytest.mark.parametrize("buffersize", [1, 7])
def test_buffersize_bounds_what_is_pulled_ahead(
    pool: Pool, chunksize: int | None, buffersize: int
) -> None:
    """Never more than so many items are pulled and not yet consumed."""
    source = Source()
    results = pool.map(tasks.double, source, buffersize=buffersize, chunksize=chunksize)
    assert source.pulled <= buffersize
    for consumed in range(1, 50):
        assert next(results) == 2 * (consumed - 1)
        assert source.pulled <= consumed + buffersize
    results.close()


@both_ways
def test_nobody_consuming_means_nothing_more_is_pulled(pool: Pool, chunksize: int | None) -> None:
    """The default bound holds when results are left lying."""
    source = Source()
    results = pool.map(tasks.double, source, chunksize=chunksize)
    assert next(results) == 0
    assert source.pulled <= WIDEST + 1
    results.close()


def test_input_is_pulled_by_its_consumer(pool: Pool) -> None:
    """Generators run in the thread that consumes, never in a worker."""
    source = Source(3000)
    assert list(pool.map(tasks.double, source)) == [2 * n for n in range(3000)]
    assert source.threads == {threading.get_ident()}


def test_sized_inputs_are_queued_at_the_call(pool: Pool, busy: Busy) -> None:
    """A list is taken over whole: what happens to it later changes nothing."""
    with busy(pool):
        before = pool.unfinished
        items = list(range(100))
        results = pool.map(tasks.double, items)
        assert pool.unfinished == before + 100
        single = pool.map(tasks.double, items, chunksize=1)
        assert pool.unfinished == before + 200
        items.clear()
    assert list(results) == list(single) == [2 * n for n in range(100)]


# Where tasks run in the caller's thread, what is queued at the call is run at the call.
@pytest.mark.needs("concurrent")
def test_a_huge_range_is_not_unrolled(pool: Pool) -> None:
    """A range costs nothing, however long."""
    results = pool.map(tasks.double, range(10**12))
    assert list(islice(results, 10)) == [2 * n for n in range(10)]
    results.close()
    pool.join(DEADLINE)


@both_ways
def test_buffersize_makes_a_sized_input_lazy(pool: Pool, busy: Busy, chunksize: int | None) -> None:
    """With buffersize a list is walked in steps as well."""
    with busy(pool):
        before = pool.unfinished
        results = pool.map(tasks.double, list(range(100)), buffersize=10, chunksize=chunksize)
        assert pool.unfinished == before + 10
    assert list(results) == [2 * n for n in range(100)]


# --------------------------------------------------------------- who pulls the rest


@both_ways
def test_join_pulls_the_rest(pool: Pool, chunksize: int | None) -> None:
    """Everything submitted includes what a map has not pulled yet; results stay to be had."""
    source = Source(300)
    results = pool.map(tasks.double, source, buffersize=10, chunksize=chunksize)
    pool.join(DEADLINE)
    assert source.pulled == 300
    assert pool.unfinished == 0
    assert list(results) == [2 * n for n in range(300)]


@both_ways
def test_shutdown_pulls_the_rest(kind: Kind, chunksize: int | None) -> None:
    """shutdown(wait=True) runs all of every map."""
    pool = Pool(2, **kind.settings)
    source = Source(300)
    results = pool.map(tasks.double, source, buffersize=10, chunksize=chunksize)
    in_background(pool.shutdown).result()
    assert source.pulled == 300
    assert list(results) == [2 * n for n in range(300)]


@both_ways
def test_the_end_of_the_block_pulls_the_rest(kind: Kind, chunksize: int | None) -> None:
    """A normal exit of the with block runs all of every map."""
    source = Source(300)
    with Pool(2, **kind.settings) as pool:
        results = pool.map(tasks.double, source, buffersize=10, chunksize=chunksize)
    assert source.pulled == 300
    assert list(results) == [2 * n for n in range(300)]


@both_ways
def test_an_error_in_the_block_pulls_nothing_more(kind: Kind, chunksize: int | None) -> None:
    """When the with block is left by an error, an endless input ends where it is."""
    source = Source()

    def use() -> None:
        with Pool(2, **kind.settings) as pool:
            pool.map(tasks.double, source, buffersize=10, chunksize=chunksize)
            raise LookupError("in the block")

    with pytest.raises(LookupError, match="in the block"):
        in_background(use).result()
    assert source.pulled <= 10


@both_ways
def test_close_leaves_the_rest_unpulled(kind: Kind, chunksize: int | None) -> None:
    """shutdown(wait=False) does not wait for input, and cancels the map."""
    pool = Pool(2, **kind.settings)
    source = Source()
    pool.map(tasks.double, source, buffersize=10, chunksize=chunksize)
    pool.close()
    assert source.pulled <= 10
    in_background(pool.shutdown).result()


@both_ways
def test_close_gives_the_results_of_what_was_pulled(
    kind: Kind, busy: Busy, chunksize: int | None
) -> None:
    """close() runs what was accepted; then the consumer hears that the rest of its input was not pulled."""
    pool = Pool(2, **kind.settings)
    done = pool.map(tasks.double, Source(), buffersize=5, chunksize=chunksize)
    first = next(done)
    with busy(pool):
        queued = pool.map(tasks.double, Source(), buffersize=5, chunksize=chunksize)
        pool.close()
    assert first == 0
    for results, expected in ((done, range(1, 5)), (queued, range(5))):
        seen: list[int] = []
        with pytest.raises(CancelledError, match=r"closed when \d items"):
            seen.extend(results)
        assert seen == [2 * n for n in expected]
        assert list(results) == []
    in_background(pool.shutdown).result()


@both_ways
def test_close_while_the_consumer_pulls_runs_what_was_accepted(
    kind: Kind, gate: Gate, chunksize: int | None
) -> None:
    """An item that the input gives after close() is not accepted, and costs the others nothing."""
    pool = Pool(2, **kind.settings)

    def items() -> Iterator[int]:
        yield from range(4)
        stop(gate.path)
        yield from count(4)

    seen: list[int] = []
    consumer = in_background(
        lambda: seen.extend(pool.map(tasks.double, items(), buffersize=5, chunksize=chunksize))
    )
    gate.arrival()
    pool.close()
    gate.open()
    # An item that was taken in one go with what is waited for is not accepted, either.
    with pytest.raises(CancelledError, match=r"closed when [34] items") as caught:
        consumer.result()
    assert f"when {len(seen)} items" in str(caught.value)
    assert seen == [2 * n for n in range(len(seen))]
    in_background(pool.shutdown).result()


@both_ways
@pytest.mark.parametrize("way", ["block", "shutdown", "async"])
def test_an_input_that_raises_leaves_no_pool_open(
    kind: Kind, chunksize: int | None, way: str
) -> None:
    """Its error comes out of the block, or of shutdown(), when the pool is closed and all else has run."""

    def items() -> Iterator[int]:
        yield from range(20)
        raise LookupError("no more input")

    pool = Pool(2, **kind.settings)
    others: list[Results[int]] = []

    def use() -> None:
        pool.map(tasks.double, items(), buffersize=3, chunksize=chunksize)
        others.append(pool.map(tasks.double, Source(50), buffersize=3, chunksize=chunksize))

    def in_block() -> None:
        with pool:
            use()

    async def in_async_block() -> None:
        async with pool:
            use()

    def shut_down() -> None:
        use()
        pool.shutdown()

    ways = {
        "block": in_block,
        "shutdown": shut_down,
        "async": lambda: asyncio.run(in_async_block()),
    }
    with pytest.raises(LookupError, match="no more input"):
        in_background(ways[way]).result()
    assert pool.stats().workers == 0
    with pytest.raises(PoolClosed):
        pool.submit(tasks.double, 1)
    assert list(others[0]) == [2 * n for n in range(50)]


def test_join_waits_for_a_slow_input(pool: Pool, gate: Gate) -> None:
    """While the consumer is pulling, join() waits for what it brings."""

    def items() -> Iterator[int]:
        yield 0
        stop(gate.path)
        yield from range(1, 50)

    def consume() -> list[int]:
        return list(pool.map(tasks.double, items()))

    consumer = in_background(consume)
    gate.arrival()
    joining = in_background(pool.join, DEADLINE)
    assert not joining.ended
    gate.open()
    assert consumer.result() == [2 * n for n in range(50)]
    joining.result()


# ----------------------------------------------------------------- letting go of it


@both_ways
def test_closing_cancels_what_has_not_started(
    pool: Pool, busy: Busy, chunksize: int | None
) -> None:
    """close() takes back all that is queued, pulls nothing more and ends the iteration."""
    source = Source()
    with Gate() as seen:
        with busy(pool):
            before = pool.unfinished
            results = pool.map(
                tasks.reporting(seen.path), source, buffersize=10, chunksize=chunksize
            )
            results.close()
            results.close()
            assert pool.unfinished == before
            assert list(results) == []
        pool.join(DEADLINE)
        assert seen.waiting() == []
    assert source.pulled == 10


@both_ways
def test_a_block_around_results_closes_them(pool: Pool, chunksize: int | None) -> None:
    """``with pool.map(...) as results`` closes at its end."""
    with pool.map(tasks.double, count(), chunksize=chunksize) as results:
        assert next(results) == 0
    pool.join(DEADLINE)
    assert list(results) == []


@both_ways
def test_leaving_a_loop_early_cancels_the_rest(pool: Pool, chunksize: int | None) -> None:
    """break in a for loop lets go of the results, and so of everything not started."""
    source = Source()
    for value in pool.map(tasks.double, source, buffersize=10, chunksize=chunksize):
        if value >= 10:
            break
    gc.collect()
    pool.join(DEADLINE)
    assert source.pulled <= 6 + 10


@both_ways
def test_results_that_nobody_wants_are_computed(pool: Pool, chunksize: int | None) -> None:
    """A map whose results are thrown away at once runs to its end, for what it does."""
    with Gate() as seen:
        pool.map(tasks.reporting(seen.path), iter(range(30)), chunksize=chunksize)
        gc.collect()
        pool.join(DEADLINE)
        assert sorted(int(word) for word in seen.waiting()) == list(range(30))


@frees_at_once
@both_ways
def test_a_yielded_result_is_not_kept(pool: Pool, chunksize: int | None) -> None:
    """Once the consumer lets go of a result, nobody holds it."""
    results = pool.map(things.make_thing_for, range(20), chunksize=chunksize)
    for thing in results:
        gone = threading.Event()
        weakref.finalize(thing, gone.set)
        del thing
        assert gone.wait(DEADLINE)


@both_ways
@pytest.mark.parametrize("through", ["pool", "options"])
def test_results_do_not_keep_the_pool(kind: Kind, chunksize: int | None, through: str) -> None:
    """A pool that only its results remember is let go, and they still come."""
    pool = Pool(2, **kind.settings)
    calls = pool if through == "pool" else pool.options(name="x")
    results = calls.map(tasks.double, iter(range(100)), chunksize=chunksize, buffersize=100)
    assert next(results) == 0
    gone = weakref.ref(pool)
    del pool, calls
    gc.collect()
    assert gone() is None
    assert list(results) == [2 * n for n in range(1, 100)]


@both_ways
def test_the_input_is_let_go_at_its_end(pool: Pool, chunksize: int | None) -> None:
    """Neither source nor function stay with a map that is done."""
    source = Source(10)
    results = pool.map(tasks.double, source, chunksize=chunksize)
    assert len(list(results)) == 10
    pool.join(DEADLINE)
    gone = weakref.ref(source)
    del source
    gc.collect()
    assert gone() is None


@pytest.mark.needs("concurrent")
def test_a_slow_consumer_holds_no_worker(make_pool: MakePool) -> None:
    """Results that nobody fetches block nothing else."""
    pool = make_pool(1)
    results = pool.map(tasks.double, count(), buffersize=4)
    assert next(results) == 0
    assert pool.submit(tasks.double, 21).result(DEADLINE) == 42
    results.close()
