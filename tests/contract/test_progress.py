"""``map(..., progress=...)``: what is counted, when, and that a display never harms the map."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support.gates import Gate, in_background
from tests.support.tasks import double, fail_at, fail_if_odd, holding
from tests.support.watching import Watcher
from workpool import Pool, Progress, Results

Flow = dict[str, Any]
FLOWS: list[Flow] = [
    {},
    {"ordered": False},
    {"chunksize": 1},
    {"chunksize": 1, "ordered": False},
    {"chunksize": 7},
    {"buffersize": 5},
]


def watched(
    pool: Pool, fn: Callable[[int], Any], items: Iterable[int], watcher: Watcher, flow: Flow
) -> Results[Any]:
    """Map in that way, and have it shown."""
    results: Results[Any] = pool.map(fn, items, progress=watcher, **flow)
    return results


class Slowly(Watcher):
    """A display that takes its time to show the last of it."""

    def __call__(self, progress: Progress) -> None:
        """Be a display."""
        if progress.ended:
            time.sleep(0.1)  # house: sleep - it is what makes the display slow
        super().__call__(progress)


def lazily(count: int) -> Iterator[int]:
    yield from range(count)


@pytest.mark.parametrize("flow", FLOWS, ids=str)
@pytest.mark.parametrize("source", [range, lazily])
def test_every_item_is_counted_once(pool: Pool, flow: Flow, source: Callable[[int], Any]) -> None:
    """The last snapshot counts each item, done or failed; the loop does not end before it is shown."""
    watcher = Watcher()
    how = {**flow, "return_exceptions": True}
    outcomes = list(watched(pool, fail_if_odd, source(60), watcher, how))
    assert len(outcomes) == 60
    last = watcher.last
    assert (last.done, last.failed, last.total, last.ended) == (30, 30, 60, True)
    assert (last.finished, last.left, last.restored) == (60, 0.0, 0)
    assert last.elapsed > 0
    assert last.rate > 0


def test_snapshots_only_grow(pool: Pool) -> None:
    """Counts and times never go back, and only the last snapshot is the last."""
    watcher = Watcher()
    for _ in pool.map(double, range(2000), progress=watcher, chunksize=10):
        pass
    finished = [progress.finished for progress in watcher.seen]
    assert finished == sorted(finished)
    assert finished[-1] == 2000
    assert [progress.ended for progress in watcher.seen] == [False] * (len(finished) - 1) + [True]
    assert {progress.name for progress in watcher.seen} == {"double"}


def test_starmap_is_shown_too(pool: Pool) -> None:
    """Starmap takes a display, and a name given by options is the one that is shown."""
    watcher = Watcher()
    named = pool.options(name="powers")
    assert list(named.starmap(pow, [(2, 3), (3, 2)], progress=watcher)) == [8, 9]
    assert (watcher.last.name, watcher.last.done, watcher.last.total) == ("powers", 2, 2)


def test_several_inputs_have_the_length_of_the_shortest(pool: Pool) -> None:
    """The total is known from the start where every input knows its length."""
    watcher = Watcher()
    list(pool.map(pow, [1, 2, 3], [1, 2], progress=watcher))
    assert {progress.total for progress in watcher.seen} == {2}


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_an_empty_input_is_shown_as_done(pool: Pool, flow: Flow) -> None:
    """Nothing to do is done at once."""
    for nothing in (range(0), lazily(0)):
        watcher = Watcher()
        assert list(watched(pool, double, nothing, watcher, flow)) == []
        assert (watcher.last.finished, watcher.last.total, watcher.last.ended) == (0, 0, True)


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_it_moves_while_nobody_consumes(pool: Pool, gate: Gate, flow: Flow) -> None:
    """Items are counted when they are finished, not when their results are fetched, nor at dispatch."""
    watcher = Watcher()
    results = watched(pool, holding(gate.path, 3), range(4), watcher, flow)
    gate.arrival()
    assert watcher.until(finished=3).total == 4
    assert watcher.last.finished == 3  # the fourth is dispatched, and not counted
    gate.open()
    watcher.until(finished=4, ended=True)
    assert list(results) == [0, 2, 4, 6]


@pytest.mark.needs("concurrent")
def test_the_total_of_a_lazy_input_is_told_at_its_end(pool: Pool, gate: Gate) -> None:
    """While the input has not come to its end nobody knows how many there are, nor what is left."""
    watcher = Watcher()
    results = pool.map(holding(gate.path, 0), lazily(50), progress=watcher, buffersize=2)
    gate.arrival()
    before = watcher.until()
    assert (before.total, before.left) == (None, None)
    gate.open()
    assert len(list(results)) == 50
    assert watcher.last.total == 50


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}, {"ordered": False}], ids=str)
def test_closing_early_ends_the_display(pool: Pool, flow: Flow) -> None:
    """When close() returns, the display has shown its last; it says how far the map came."""
    watcher = Watcher()
    results = watched(pool, double, lazily(10_000), watcher, {"buffersize": 4, **flow})
    next(results)
    results.close()
    assert watcher.last.ended
    assert 1 <= watcher.last.finished < 10_000
    assert watcher.last.total is None


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_an_error_ends_the_display_first(pool: Pool, flow: Flow) -> None:
    """What is raised in the loop comes after the display's last word."""
    watcher = Watcher()
    with pytest.raises(LookupError):
        list(watched(pool, fail_at, range(3), watcher, flow))
    assert watcher.last.ended
    assert watcher.last.failed >= 1


@pytest.mark.needs("concurrent")
def test_a_timeout_ends_the_display_first_under_async(pool: Pool, gate: Gate) -> None:
    """What is raised in an ``async for`` comes after the display's last word, too."""
    watcher = Slowly()

    async def consume() -> None:
        held = holding(gate.path, held=0)
        async for _ in pool.map(held, range(1), progress=watcher, timeout=0.05):
            pass

    with pytest.raises(TimeoutError):
        asyncio.run(consume())
    assert watcher.last.ended


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_an_error_of_the_call_ends_the_display_first(pool: Pool, flow: Flow) -> None:
    """What the call itself raises comes after the display's last word."""
    watcher = Slowly()

    def interrupt(_: int) -> int:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(pool, double, map(interrupt, range(1)), watcher, flow)
    assert watcher.last.ended


def test_results_that_nobody_wants_are_shown_to_the_end(pool: Pool) -> None:
    """A map call whose results are let go of runs on, and so does its display."""
    watcher = Watcher()
    pool.map(double, range(100), progress=watcher)
    pool.join(timeout=20)
    assert watcher.until(ended=True).done == 100


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_async_iteration_is_shown(pool: Pool, flow: Flow) -> None:
    """The same counts under ``async for``, for results and for an error."""

    async def consume(fn: Callable[[int], int], watcher: Watcher) -> list[int]:
        return [value async for value in watched(pool, fn, lazily(40), watcher, flow)]

    fine, fails = Watcher(), Watcher()
    assert asyncio.run(consume(double, fine)) == [2 * n for n in range(40)]
    assert (fine.last.done, fine.last.ended) == (40, True)
    with pytest.raises(ValueError, match="1"):
        asyncio.run(consume(fail_if_odd, fails))
    assert fails.last.ended
    assert fails.last.failed >= 1


@pytest.mark.parametrize("error", [RuntimeError("no room"), SystemExit(3)], ids=repr)
def test_a_display_that_raises_is_told_of_once(
    pool: Pool, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """The map goes on without its display; the log has one record with the reason."""

    def display(_: Progress) -> None:
        raise error

    with caplog.at_level(logging.ERROR, "workpool.progress"):
        assert list(pool.map(double, range(500), progress=display)) == [2 * n for n in range(500)]
    records = [record for record in caplog.records if record.name == "workpool.progress"]
    assert [record.exc_info[1] for record in records if record.exc_info] == [error]


def test_a_display_that_stands_still_holds_up_no_worker(pool: Pool) -> None:
    """All is run and fetched while the display does not come back from its first call."""
    go = threading.Event()
    watcher = Watcher()

    def display(progress: Progress) -> None:
        go.wait(20)
        watcher(progress)

    results = pool.map(double, range(300), progress=display)
    assert [next(results) for _ in range(300)] == [2 * n for n in range(300)]
    go.set()
    assert list(results) == []
    assert watcher.until(ended=True).done == 300


def test_a_display_may_close_its_own_map(pool: Pool) -> None:
    """A display that has seen enough closes the results from its own thread, and waits for nobody."""
    watcher = Watcher()
    box: list[Any] = []
    there = threading.Event()

    def display(progress: Progress) -> None:
        watcher(progress)
        if not progress.ended:
            there.wait(20)
            box[0].close()

    box.append(pool.map(double, lazily(1_000_000), progress=display))
    there.set()
    assert watcher.until(ended=True).finished < 1_000_000


def test_off_means_nothing_is_there(pool: Pool) -> None:
    """Without progress there is no counter, no thread, and nothing is loaded for it."""
    before = set(threading.enumerate())
    results = pool.map(double, range(10))
    assert results._job.meter is None
    assert not [t for t in set(threading.enumerate()) - before if "progress" in t.name]
    assert len(list(results)) == 10


@pytest.mark.parametrize("progress", ["ritch", 1, 0.5], ids=repr)
def test_what_is_no_display_is_refused(pool: Pool, progress: Any) -> None:
    """The message names the value and what there is; nothing was queued."""
    with pytest.raises(ValueError, match="progress is True, False, 'plain', 'rich', 'tqdm'") as no:
        pool.map(double, [1], progress=progress)
    assert repr(progress) in str(no.value)
    assert pool.unfinished == 0


def test_a_call_that_is_refused_leaves_no_display(make_pool: MakePool) -> None:
    """The display of a call that a closed pool refuses has ended as well."""
    closed = make_pool()
    closed.shutdown()
    flows: list[Flow] = [{}, {"chunksize": 1}]
    for flow in flows:
        watcher = Watcher()
        with pytest.raises(RuntimeError):
            watched(closed, double, [1], watcher, flow)
        assert watcher.until(ended=True).finished == 0


@pytest.mark.needs("concurrent")
def test_a_killed_pool_ends_the_display(make_pool: MakePool, gate: Gate) -> None:
    """kill() ends what was open, its display too."""
    pool = make_pool()
    watcher = Watcher()
    results = pool.map(holding(gate.path, 0), lazily(100), progress=watcher, buffersize=2)
    gate.arrival()
    in_background(pool.kill).result()
    watcher.until(ended=True)
    gate.open()
    del results
