"""``map(..., journal=...)``: the same call goes on where it stopped, on every backend."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support.gates import Gate, in_background
from tests.support.journals import Runs, lazily
from tests.support.tasks import add, echo, holding, make_lock
from tests.support.watching import Watcher
from workpool import JournalMismatch, NotPicklable, Pool

Flow = dict[str, Any]
FLOWS: list[Flow] = [
    {},
    {"chunksize": 1, "ordered": False},
    {"chunksize": 7, "ordered": False},
]


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Give a function that notes its runs, and a journal for it."""
    return Runs(tmp_path)


@pytest.mark.parametrize("flow", FLOWS, ids=str)
@pytest.mark.parametrize("source", [range, lazily])
def test_the_second_run_takes_what_the_first_kept(
    pool: Pool, runs: Runs, flow: Flow, source: Callable[[int], Any]
) -> None:
    """Finished items are not run again, failed ones are; the outcome is that of one whole run, in place."""
    first = list(runs.map(pool, source(60), **flow))
    assert sum(isinstance(result, ValueError) for result in first) == 12
    assert set(runs.counts().values()) == {1}
    second = list(runs.map(pool, source(60), **flow))
    if flow.get("ordered") is False:
        second.sort()
    assert second == [n * n for n in range(60)]
    assert runs.counts() == {n: 2 if n % 5 == 4 else 1 for n in range(60)}


@pytest.mark.parametrize("flow", FLOWS, ids=str)
def test_a_call_goes_on_where_it_was_left(make_pool: MakePool, runs: Runs, flow: Flow) -> None:
    """What was yielded before a map was closed is kept; another pool goes on with the rest."""
    with runs.map(make_pool(), lazily(100), **flow) as results:
        yielded = [next(results) for _ in range(20)]
    rest = list(runs.map(make_pool(), lazily(100), **flow))
    assert len(rest) == 100
    assert {result for result in yielded if isinstance(result, int)} <= set(rest)
    twice = {n for n, count in runs.counts().items() if count > 1}
    assert not {n * n for n in twice} & {r for r in yielded if isinstance(r, int)}


def test_results_of_all_kinds_come_back(pool: Pool, tmp_path: Path) -> None:
    """None, falsy values, sets, and bytes are results like any other; so is a starmap's."""
    values = [None, 0, "", {"a", "b"}, b"\x8f\x91", [1, [2]], {"k": (1, 2)}]
    for _ in range(2):
        assert list(pool.map(echo, values, journal=tmp_path / "one")) == values
        pairs = [(1, 2), (3, 4)]
        assert list(pool.starmap(add, pairs, journal=tmp_path / "two")) == [3, 7]
        assert list(pool.map(add, [1, 3], [2, 4], journal=tmp_path / "three")) == [3, 7]


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_join_waits_until_results_are_kept(pool: Pool, runs: Runs, flow: Flow) -> None:
    """When join() returns, all that ran is on the disk, whether anybody fetched it or not."""
    results = runs.map(pool, range(50), **flow)
    pool.join(timeout=30)
    assert pool.unfinished == 0
    assert len(list(runs.map(pool, range(50), **flow))) == 50
    assert runs.counts() == {n: 2 if n % 5 == 4 else 1 for n in range(50)}
    assert len(list(results)) == 50


def test_async_iteration_keeps_results_too(pool: Pool, runs: Runs) -> None:
    """The same under ``async for``; at its end the file is closed."""

    async def consume() -> list[Any]:
        return [result async for result in runs.map(pool, lazily(30))]

    first, second = asyncio.run(consume()), asyncio.run(consume())
    assert len(first) == 30
    assert second == [n * n for n in range(30)]
    assert sorted(path.name for path in runs.path.parent.iterdir()) == ["notes", "run.sqlite"]


def test_progress_tells_what_was_restored(pool: Pool, runs: Runs) -> None:
    """Restored items count as done, and are told apart."""
    list(runs.map(pool, range(20)))
    watcher = Watcher()
    list(runs.map(pool, range(25), progress=watcher))
    assert (watcher.last.done, watcher.last.failed, watcher.last.restored) == (24, 1, 16)


# ------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_another_item_is_refused_before_anything_runs(pool: Pool, runs: Runs, flow: Flow) -> None:
    """An input that knows its length is compared at the call; the message names the item."""
    list(runs.map(pool, range(4), **flow))
    with pytest.raises(JournalMismatch, match="another item 2 than") as refusal:
        runs.map(pool, [0, 1, 7, 3, 4, 5], **flow)
    assert (refusal.value.changed, refusal.value.position) == ("input", 2)
    assert refusal.value.path == str(runs.path)
    assert runs.counts() == dict.fromkeys(range(4), 1)
    assert list(runs.map(pool, range(4), **flow)) == [0, 1, 4, 9]  # the file was let go


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_another_item_of_a_generator_is_refused_when_it_comes(
    pool: Pool, runs: Runs, flow: Flow
) -> None:
    """The consumer gets the error when the item is pulled, and nothing behind it is run."""
    list(runs.map(pool, lazily(30), **flow))
    other = (n if n < 20 else -n for n in range(30))
    with pytest.raises(JournalMismatch, match="another item 20"):
        list(runs.map(pool, other, buffersize=3, **flow))
    assert not [n for n in runs.counts() if n < 0]


@pytest.mark.needs("concurrent")
def test_a_closed_call_gives_way_while_its_items_still_run(
    make_pool: MakePool, gate: Gate, tmp_path: Path
) -> None:
    """What a closed call still runs does not keep the next one waiting."""
    path = tmp_path / "run.sqlite"
    fn = holding(gate.path, 1)
    results = make_pool().map(fn, range(3), journal=path, chunksize=2)
    gate.arrival()
    in_background(results.close).result()
    again = make_pool().map(fn, range(3), journal=path, chunksize=2)
    gate.open()
    assert list(again) == [0, 2, 4]


# --------------------------------------------------------- what cannot be pickled or written


def test_a_result_that_cannot_be_kept_is_that_items_error(pool: Pool, tmp_path: Path) -> None:
    """A lock as a result fails its own item, by name, on every backend; the others are kept."""
    results = list(
        pool.map(make_lock_for_one, range(3), journal=tmp_path / "j", return_exceptions=True)
    )
    assert [results[0], results[2]] == [0, 2]
    assert isinstance(results[1], NotPicklable)


def make_lock_for_one(n: int) -> object:
    return make_lock() if n == 1 else n
