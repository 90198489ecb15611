"""Chunks that threads run, in which an item takes long: what is finished is told, and what waits is run by others."""

from __future__ import annotations

import asyncio
import signal
import threading
import weakref
from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import Pool
from workpool.scheduling.chunk import Chunk

SIZE = 200


class Value:
    """A result that can be seen to be let go."""

    def __init__(self, n: int) -> None:
        self.n = n


@pytest.fixture(params=[2, 3])
def pool(request: pytest.FixtureRequest) -> Generator[Pool]:
    """Give a pool of threads, none of which has been started."""
    with Pool(int(request.param), backend="thread") as made:
        yield made


@pytest.fixture(params=[None, 1e-7], ids=["unknown", "quick"])
def expected(request: pytest.FixtureRequest) -> float | None:
    """Give what is known of how long a call of the function takes."""
    seconds: float | None = request.param
    return seconds


def known(pool: Pool, fn: Callable[..., object], seconds: float | None) -> None:
    """Have the pool know that."""
    if seconds is not None:
        with pool._scheduler.lock:
            pool._scheduler.pace.measured(fn, seconds, 1)


def meeting() -> tuple[Callable[[int], int], threading.Event]:
    """Give a function of which item 5 waits for item 150, and the event that it sets then."""
    early, late = threading.Event(), threading.Event()

    def meet(n: int) -> int:
        if n == 150:
            late.set()
        if n == 5:
            assert late.wait(DEADLINE)
            early.set()
        return n

    return meet, early


def waits(event: threading.Event, at: int, n: int) -> int:
    """Wait for something with one of the items."""
    if n == at:
        assert event.wait(DEADLINE)
    return n


def test_the_others_of_one_chunk_do_not_wait_for_its_slow_item(
    pool: Pool, expected: float | None
) -> None:
    """Also where no thread but the one that runs it has been started yet."""
    event = threading.Event()
    known(pool, waits, expected)
    results = pool.map(partial(waits, event, 50), range(SIZE), chunksize=SIZE, ordered=False)
    others = in_background(lambda: [next(results) for _ in range(SIZE - 1)])
    assert sorted(others.result()) == [n for n in range(SIZE) if n != 50]
    event.set()
    assert list(results) == [50]


def test_an_item_may_wait_for_one_behind_it_in_its_chunk(pool: Pool) -> None:
    """While nobody waits for the pool: the items end by themselves."""
    meet, early = meeting()
    results = pool.map(meet, range(SIZE), chunksize=SIZE)
    assert early.wait(DEADLINE)
    assert list(results) == list(range(SIZE))


def test_what_is_finished_is_told_while_every_thread_has_a_slow_item(
    pool: Pool, expected: float | None
) -> None:
    """Nobody is idle, and nobody can be started: the consumer has the results, and lets the items go on."""
    had = [threading.Event() for _ in range(SIZE)]

    def follow(n: int) -> int:
        """Wait until the consumer has had the item ten before."""
        assert n < 10 or had[n - 10].wait(DEADLINE)
        return n

    known(pool, follow, expected)
    results = pool.map(follow, range(SIZE), chunksize=SIZE // 4)
    for n, value in enumerate(results):
        assert value == n
        had[n].set()
    assert had[-1].is_set()


def test_with_retries_all_up_to_the_first_failure_is_told(pool: Pool) -> None:
    """What failed may run again, and what is behind it is told when that is known."""
    event, failed = threading.Event(), list[int]()

    def fails_once(n: int) -> int:
        if n == 20 and not failed:
            failed.append(n)
            raise ValueError(n)
        return waits(event, 50, n)

    results = pool.options(retries=1, retry_on=ValueError).map(
        fails_once, range(SIZE), chunksize=SIZE
    )
    first = in_background(lambda: [next(results) for _ in range(20)])
    assert first.result() == list(range(20))
    event.set()
    assert list(results) == list(range(20, SIZE))
    assert failed == [20]


def test_a_result_that_was_told_early_is_held_by_its_consumer_alone(pool: Pool) -> None:
    """Not by the thread that runs the rest of the chunk, either."""
    event = threading.Event()

    def make(n: int) -> Value:
        return Value(waits(event, 50, n))

    results = pool.map(make, range(SIZE), chunksize=SIZE)
    seen = in_background(lambda: [weakref.ref(next(results)) for _ in range(50)]).result()
    until(lambda: not any(ref() is not None for ref in seen))
    event.set()
    assert [value.n for value in results] == list(range(50, SIZE))


@pytest.mark.parametrize("error", [None, ValueError("odd")], ids=["value", "error"])
def test_an_item_that_ends_while_others_look_is_told_once(
    pool: Pool, error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks at each moment of a chunk: nothing is told twice, or left out."""
    monkeypatch.setattr("workpool.scheduling.slow_chunks.PATIENCE", 0.0)

    def some_fail(n: int) -> int:
        if error is not None and n % 7 == 3:
            raise ValueError(n)
        return n

    for _ in range(20):
        results = pool.map(some_fail, range(2_000), chunksize=500, return_exceptions=True)
        told = [each.args[0] if isinstance(each, ValueError) else each for each in results]
        assert told == list(range(2_000))
    assert pool.stats().done + pool.stats().failed == 20 * 2_000


def test_nobody_looks_when_no_chunk_runs(pool: Pool) -> None:
    """The chain of looks ends with the last chunk, and the next one begins another."""
    scheduler = pool._scheduler
    for _ in range(3):
        event = threading.Event()
        known(pool, waits, 1.0)
        results = pool.map(partial(waits, event, 5), range(10), chunksize=10)
        until(lambda: scheduler.watched)
        event.set()
        assert list(results) == list(range(10))
        until(lambda: not scheduler.watched)


def test_a_chunk_that_begins_as_a_watch_ends_is_watched(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One watch or the other sees it, whatever the moment."""
    scheduler, share_out = pool._scheduler, pool._scheduler.share_out
    meet, early = meeting()

    def begin_one(units: list[Any]) -> None:
        monkeypatch.setattr(scheduler, "share_out", share_out)
        pool.map(meet, range(SIZE), chunksize=SIZE)
        until(lambda: any(getattr(each, "chunk", None) for each in scheduler.workers.values()))
        share_out(units)

    monkeypatch.setattr(scheduler, "share_out", begin_one)
    scheduler.watched = True
    scheduler._keep_watch()  # the last look of a watch: no chunk runs
    assert early.wait(DEADLINE)


def test_an_idle_thread_looks_where_nobody_waits_for_the_pool(pool: Pool) -> None:
    """An item may wait for one behind it: the thread that has nothing to do takes over what stands there."""
    meet, early = meeting()
    known(pool, meet, 1e-7)
    with Gate() as gate:
        busy = [pool.submit(tasks.hold, gate.path, n) for n in range(pool._max_workers)]
        gate.arrivals(len(busy))
        results = pool.map(meet, range(SIZE), chunksize=SIZE)
    assert early.wait(DEADLINE)
    assert list(results) == list(range(SIZE))
    assert not pool._scheduler.watched


def test_a_loop_that_waits_looks_too(pool: Pool, expected: float | None) -> None:
    """An async consumer has what is finished, and its loop goes on."""
    event = threading.Event()
    known(pool, waits, expected)

    async def consume() -> list[int]:
        got: list[int] = []
        async for value in pool.map(
            partial(waits, event, 50), range(SIZE), chunksize=SIZE, ordered=False
        ):
            got.append(value)
            if len(got) == SIZE - 1:
                event.set()
        return got

    assert in_background(lambda: asyncio.run(consume())).result()[-1] == 50


def test_without_a_thread_to_look_the_chunk_runs_all_the_same(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one tries again."""

    def refuse(seconds: float, call: Callable[[], object]) -> None:
        raise RuntimeError("can't start new thread")

    scheduler = pool._scheduler
    with monkeypatch.context() as patch:
        patch.setattr(scheduler.timers, "after", refuse)
        assert list(pool.map(abs, range(10), chunksize=5)) == list(range(10))
    assert not scheduler.watched


def test_ctrl_c_in_the_middle_of_a_look_loses_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in hand there is told and queued first."""
    event = threading.Event()
    known(pool, waits, 1e-7)
    scheduler, struck = pool._scheduler, list[object]()
    part_of = scheduler._part_of

    def interrupted(other: Any, chunk: Chunk, free: int) -> Chunk | None:
        part = part_of(other, chunk, free)
        if (
            part is not None
            and not struck
            and threading.current_thread() is threading.main_thread()
        ):
            struck.append(part)
            signal.raise_signal(signal.SIGINT)
        return part

    monkeypatch.setattr(scheduler, "_part_of", interrupted)
    results = pool.map(partial(waits, event, 0), range(SIZE), chunksize=SIZE)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    event.set()
    assert in_background(lambda: list(results)).result() == list(range(SIZE))
    assert struck
