"""What a journal of a map call takes, what it refuses, and what it says then."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

import pytest

from tests.support.gates import DEADLINE
from tests.support.journals import Runs, lazily
from tests.support.tasks import Locked, add, echo
from workpool import (
    Journal,
    JournalError,
    JournalInUse,
    JournalMismatch,
    NotPicklable,
    Pool,
    PoolClosed,
    Results,
)

Flow = dict[str, Any]


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of two threads."""
    with Pool(2) as pool:
        yield pool


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    """Give a function that notes its runs, and a journal for it."""
    return Runs(tmp_path)


def test_how_it_is_done_may_change_between_runs(runs: Runs) -> None:
    """Chunks, order, buffers, workers, and whether the input knows its length: none of it matters."""
    with Pool(1) as one, Pool(2) as two:
        list(runs.map(one, lazily(40), chunksize=3, ordered=False))
        again = list(runs.map(two, range(40), chunksize=1))
        assert again == [n * n for n in range(40)]
        assert list(runs.map(two, list(range(40)), buffersize=2)) == again
    assert max(runs.counts().values()) == 2


def test_more_items_at_the_end_are_welcome(pool: Pool, runs: Runs) -> None:
    """An input that has grown goes on with what is new."""
    list(runs.map(pool, range(4)))
    list(runs.map(pool, lazily(8)))
    assert runs.counts() == dict.fromkeys(range(8), 1)


def test_an_empty_input_is_a_run_too(pool: Pool, tmp_path: Path) -> None:
    """Nothing to do leaves a journal that a longer input goes on with."""
    path = tmp_path / "run.sqlite"
    assert list(pool.map(echo, [], journal=path)) == []
    assert list(pool.map(echo, lazily(0), journal=path)) == []
    assert list(pool.map(echo, [1], journal=path)) == [1]


def test_at_the_end_the_file_is_whole_and_closed(pool: Pool, runs: Runs) -> None:
    """When the loop has ended, the journal is one file, which can be copied, moved or removed."""
    list(runs.map(pool, range(10)))
    assert sorted(path.name for path in runs.path.parent.iterdir()) == ["notes", "run.sqlite"]


@pytest.mark.parametrize("source", [range, lazily])
@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_fewer_items_are_refused(
    pool: Pool, runs: Runs, source: Callable[[int], Any], flow: Flow
) -> None:
    """An input that ends before the last kept result is another input."""
    list(runs.map(pool, range(9), **flow))
    with pytest.raises(JournalMismatch, match="result of item 8, and this input ends after 6"):
        list(runs.map(pool, source(6), **flow))


def test_another_function_is_refused(pool: Pool, tmp_path: Path) -> None:
    """A journal goes with one function."""
    path = tmp_path / "run.sqlite"
    list(pool.map(echo, [1], journal=path))
    with pytest.raises(JournalMismatch, match="function echo, and this call is about add") as no:
        pool.starmap(add, [(1, 2)], journal=path)
    assert no.value.changed == "function"
    with pytest.raises(
        JournalMismatch,
        match=r"begun by map, and .* one of starmap. Go on with map. Else begin anew",
    ):
        pool.starmap(echo, [(1,)], journal=path)


def test_a_journal_serves_one_call_at_a_time(pool: Pool, tmp_path: Path) -> None:
    """A second call on the same file is refused while the first is not done, and taken when it is."""
    path = tmp_path / "run.sqlite"
    fn = partial(echo)
    results = pool.map(fn, lazily(1_000_000), journal=path)
    next(results)
    with pytest.raises(JournalInUse, match="in use by another map call of this program"):
        pool.map(fn, [0], journal=tmp_path / "." / "run.sqlite")
    results.close()
    assert next(pool.map(fn, lazily(1_000_000), journal=path)) == 0


def test_a_with_block_lets_the_file_go_however_it_is_left(pool: Pool, tmp_path: Path) -> None:
    """A loop that is cancelled keeps its results from being let go of; the block around it closes them, as told."""
    go = threading.Event()

    def fn(n: int) -> int:
        if n == 1:
            go.wait(DEADLINE)
        return n

    kept = Journal(tmp_path / "run.sqlite", version="1")

    async def loop(results: Results[int], begun: asyncio.Event) -> None:
        async for _ in results:
            begun.set()

    async def block(begun: asyncio.Event) -> None:
        with pool.map(fn, range(4), journal=kept, chunksize=1) as results:
            await loop(results, begun)

    async def cancelled(run: Coroutine[Any, Any, None], begun: asyncio.Event) -> None:
        task = asyncio.create_task(run)
        await asyncio.wait_for(begun.wait(), DEADLINE)
        begun.clear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def main() -> None:
        begun = asyncio.Event()
        await cancelled(block(begun), begun)
        left = pool.map(fn, range(4), journal=kept, chunksize=1)  # taken at once
        await cancelled(loop(left, begun), begun)
        with pytest.raises(JournalInUse, match=r"with pool\.map\(\.\.\.\) as results: closes it"):
            pool.map(fn, range(4), journal=kept)
        left.close()

    try:
        asyncio.run(main())
    finally:
        go.set()
    assert list(pool.map(fn, range(4), journal=kept)) == [0, 1, 2, 3]


def test_a_call_that_is_refused_lets_the_file_go(pool: Pool, tmp_path: Path) -> None:
    """A closed pool refuses the call, and the journal is free for another."""
    closed = Pool(2)
    closed.shutdown()
    for flow in ({}, {"chunksize": 1}):
        how: dict[str, Any] = flow
        with pytest.raises(PoolClosed):
            closed.map(echo, [1], journal=tmp_path / "run.sqlite", **how)
        assert list(pool.map(echo, [1], journal=tmp_path / "run.sqlite")) == [1]


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_an_item_that_cannot_be_known_again_is_refused(
    pool: Pool, tmp_path: Path, flow: Flow
) -> None:
    """An item without a pickle has no digest: the call says which one it is."""
    things: list[object] = [1, Locked()]
    for source in (things, iter(things)):
        with pytest.raises(NotPicklable, match="item 1 cannot be known again by a journal"):
            list(pool.map(echo, source, journal=tmp_path / "j", **flow))


def test_another_item_is_told_as_such_whatever_it_is(pool: Pool, tmp_path: Path) -> None:
    """An item that pickle alone cannot take, a lambda in it or itself, is compared like any other."""
    itself: list[Any] = [1]
    itself.append(itself)
    list(pool.map(echo, [1], journal=tmp_path / "j"))
    for other in ([lambda: 1], itself):
        with pytest.raises(JournalMismatch, match="another item 0"):
            pool.map(echo, [other], journal=tmp_path / "j")


def test_a_file_that_cannot_be_opened_is_told_at_the_call(pool: Pool, tmp_path: Path) -> None:
    """A missing folder, a folder in its place, a file of something else: a clear error, nothing run."""
    (tmp_path / "text").write_text("these are no results\n" * 100)
    for path, says in (
        (tmp_path / "no" / "run.sqlite", "must be there"),
        (tmp_path, "cannot be opened"),
        (tmp_path / "text", "is no SQLite file, and was left as it is"),
    ):
        with pytest.raises(JournalError, match=says) as refusal:
            pool.map(echo, [1], journal=path)
        assert refusal.value.path == str(path)
    assert (tmp_path / "text").read_text().startswith("these are no results\n")
    for wrong in (7, "", "run\0.sqlite", None.__class__):
        with pytest.raises(
            TypeError, match=r"journal is the path of a file, or a workpool\.Journal"
        ):
            pool.map(echo, [1], journal=wrong)  # type: ignore[arg-type]  # on purpose
    assert pool.unfinished == 0


def test_an_object_that_is_called_goes_by_its_type(pool: Pool, tmp_path: Path) -> None:
    """With a version too, one function is not handed the results of another."""
    path = Journal(tmp_path / "run.sqlite", version="1")
    assert list(pool.map(itemgetter(0), ["ab"], journal=path)) == ["a"]
    with pytest.raises(
        JournalMismatch, match="function itemgetter, and this call is about attrget"
    ):
        pool.map(attrgetter("real"), ["ab"], journal=path)


@pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)
def test_a_full_disk_ends_the_call_with_the_reason(pool: Pool, tmp_path: Path, flow: Flow) -> None:
    """What could not be kept is not yielded; what was kept before stays, and the call goes on later."""
    path = tmp_path / "run.sqlite"
    results: Results[Any] = pool.map(big, lazily(400), journal=path, buffersize=4, **flow)
    assert len(next(results)) == 50_000
    scribe: Any = results._job.scribe
    store = scribe._store
    with store._lock:
        store._connection.execute("PRAGMA max_page_count = 40")
    yielded: list[bytes] = []
    with pytest.raises(JournalError, match=r"cannot be written: database or disk is full\. Make"):
        yielded.extend(results)
    assert len(yielded) < 399
    pool.join(timeout=30)
    assert len(list(pool.map(big, lazily(400), journal=path, **flow))) == 400


def big(n: int) -> bytes:
    return bytes([n % 256]) * 50_000


def test_off_means_nothing_is_there(pool: Pool) -> None:
    """Without a journal there is no scribe and no thread."""
    results = pool.map(echo, range(3), journal=None)
    assert results._job.scribe is None
    assert not [t for t in threading.enumerate() if "journal" in t.name]
    assert list(results) == [0, 1, 2]


def test_a_version_stands_for_the_code(pool: Pool, tmp_path: Path) -> None:
    """With a version, a changed function may go on with the results of the old one, until it says otherwise."""
    path = tmp_path / "run.sqlite"

    def old(n: int) -> int:
        return n

    def new(n: int) -> int:
        return n + 100

    new.__qualname__ = old.__qualname__
    assert list(pool.map(old, [1], journal=path)) == [1]
    with pytest.raises(JournalMismatch, match=r"another code of .*Journal\(.*version='2'\)"):
        pool.map(new, [1], journal=path)
    good = Journal(path, version="2")
    assert list(pool.map(new, [1, 2], journal=good)) == [1, 102]
    for wrong in (path, Journal(path, version="3")):
        with pytest.raises(JournalMismatch, match="version '2'"):
            pool.map(new, [1, 2], journal=wrong)
