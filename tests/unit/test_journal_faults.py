"""A journal whose file, thread or results fail it: the call ends with the reason, and nobody waits for ever."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.awkward import BadText
from tests.support.gates import DEADLINE
from tests.support.journals import lazily
from tests.support.tasks import echo, make_exploding
from workpool import Journal, JournalError, JournalMismatch, NotPicklable, Pool, Results
from workpool.journal.store import Store

Flow = dict[str, Any]
FLOWS = pytest.mark.parametrize("flow", [{}, {"chunksize": 1}], ids=str)


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of two threads."""
    with Pool(2) as pool:
        yield pool


def explode(_: object) -> object:
    return make_exploding()


@FLOWS
def test_a_kept_result_that_cannot_be_rebuilt_is_told(
    pool: Pool, tmp_path: Path, flow: Flow
) -> None:
    """The error names the item and the file, and says what would help; nothing is run again."""
    path = tmp_path / "run.sqlite"
    assert len(list(pool.map(explode, range(2), journal=path))) == 2
    with pytest.raises(
        JournalError, match="result of item 0 cannot be unpickled: ValueError"
    ) as no:
        list(pool.map(explode, range(2), journal=path, **flow))
    assert no.value.path == str(path)
    assert isinstance(no.value.__cause__, ValueError)


@FLOWS
@pytest.mark.parametrize("source", [range, lazily])
def test_a_fault_of_ours_ends_the_call(
    pool: Pool,
    tmp_path: Path,
    flow: Flow,
    source: Callable[[int], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever strikes where results are kept is the map call's error, and nothing is left unfinished."""

    def write(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Store, "write", write)
    with pytest.raises(MemoryError):
        list(pool.map(echo, source(50), journal=tmp_path / "run.sqlite", **flow))
    pool.join(DEADLINE)
    monkeypatch.undo()
    again = pool.map(echo, source(50), journal=tmp_path / "run.sqlite", **flow)
    assert list(again) == list(range(50))


@FLOWS
def test_a_call_that_nobody_reads_tells_the_log(
    pool: Pool,
    tmp_path: Path,
    flow: Flow,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """When the results were let go of, the log is the only one to hear that they could not be kept."""

    def write(*_: object) -> None:
        raise JournalError("the disk is gone", path="run.sqlite")

    monkeypatch.setattr(Store, "write", write)
    go = threading.Event()
    results: Results[Any] = pool.map(
        lambda n: go.wait(DEADLINE) and n, range(4), journal=tmp_path / "run.sqlite", **flow
    )
    del results
    gc.collect()
    with caplog.at_level(logging.ERROR, "workpool.journal"):
        go.set()
        pool.join(DEADLINE)
    assert "the disk is gone" in caplog.text


def test_without_a_thread_the_file_is_let_go(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that can have no thread for its journal is refused, and the next one finds the file free."""
    path = tmp_path / "run.sqlite"
    with monkeypatch.context() as none_left:

        def start(_: object) -> None:
            raise RuntimeError("can't start new thread")

        none_left.setattr(threading.Thread, "start", start)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.map(echo, [1], journal=path)
    assert list(pool.map(echo, [1], journal=path)) == [1]


def test_a_result_that_is_too_large_is_that_items_error(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit into one row fails alone, with its size and the way out."""
    init = Store.__init__

    def with_small_rows(store: Any, *args: Any) -> None:
        init(store, *args)
        store.largest = 5000

    monkeypatch.setattr(Store, "__init__", with_small_rows)
    outcomes = list(
        pool.map(echo, [b"x", b"y" * 9000], journal=tmp_path / "j", return_exceptions=True)
    )
    assert outcomes[0] == b"x"
    assert isinstance(outcomes[1], JournalError)
    assert "result of item 1 is too large" in str(outcomes[1])
    assert "return the path" in str(outcomes[1])


class Refusing:
    """Refuses to be pickled, or to be unpickled, by an error without a text."""

    def __init__(self, *, later: bool = False) -> None:
        self.later = later

    def __reduce__(self) -> Any:
        if self.later:
            return refuse, ()
        raise BadText


def refuse() -> object:
    raise BadText


@FLOWS
def test_an_error_without_a_text_costs_one_item(pool: Pool, tmp_path: Path, flow: Flow) -> None:
    """What refuses to be pickled may raise anything: its item fails alone, and the others are kept and given."""

    def fn(n: int) -> object:
        return Refusing() if n == 3 else n

    path = tmp_path / "j"
    outcomes = list(pool.map(fn, range(6), journal=path, return_exceptions=True, **flow))
    assert outcomes[:3] + outcomes[4:] == [0, 1, 2, 4, 5]
    assert isinstance(outcomes[3], NotPicklable)
    assert "result of item 3 cannot be kept" in str(outcomes[3])
    assert "BadText: (its text could not be made). Return" in str(outcomes[3])
    with pytest.raises(NotPicklable, match=r"item 1 cannot be known again .*BadText: \(its"):
        list(pool.map(echo, iter([1, Refusing()]), journal=tmp_path / "other", **flow))


@FLOWS
def test_a_kept_result_may_refuse_without_a_text(pool: Pool, tmp_path: Path, flow: Flow) -> None:
    """What cannot be unpickled is told by its place, whatever its error says."""

    def fn(_: int) -> object:
        return Refusing(later=True)

    assert len(list(pool.map(fn, range(2), journal=tmp_path / "j"))) == 2
    with pytest.raises(JournalError, match=r"item 0 cannot be unpickled: BadText: \(its"):
        list(pool.map(fn, range(2), journal=tmp_path / "j", **flow))


def test_a_version_is_a_string() -> None:
    """A number is refused by name: 1 and '1' would be two versions."""
    number: Any = 1
    with pytest.raises(TypeError, match="version is a string, or None"):
        Journal("run.sqlite", version=number)


class Interrupts:
    """What hears Ctrl-C while it is pickled."""

    def __reduce__(self) -> str:
        raise KeyboardInterrupt


def test_ctrl_c_in_a_pickle_is_ctrl_c(pool: Pool, tmp_path: Path) -> None:
    """The caller hears it as what it is, not as an item that cannot be known again."""
    with pytest.raises(KeyboardInterrupt):
        pool.map(echo, [Interrupts()], journal=tmp_path / "j")


def test_an_item_that_is_too_deep_is_refused(pool: Pool, tmp_path: Path) -> None:
    """A pickle that runs out of stack is that item's error."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(NotPicklable, match="item 1 cannot be known again by a journal"):
        pool.map(echo, [1, deep], journal=tmp_path / "j")
    while deep:  # in steps: the interpreter would take it apart by recursion
        deep = deep.pop()


def test_defaults_belong_to_the_function(pool: Pool, tmp_path: Path) -> None:
    """Another default of a keyword is another code; a closure that is not filled yet is no obstacle."""

    def make(step: int) -> Callable[[int], int]:
        def fn(n: int, *, by: int = step) -> int:
            return later(n) * by

        journal_of[step] = [*pool.map(fn, [1, 2], journal=tmp_path / f"{step}")] if step < 0 else []

        def later(n: int) -> int:
            return n

        return fn

    journal_of: dict[int, list[int]] = {}
    path = tmp_path / "run.sqlite"
    assert list(pool.map(make(2), [1, 2], journal=path)) == [2, 4]
    assert list(pool.map(make(2), [1, 2], journal=path)) == [2, 4]
    with pytest.raises(JournalMismatch, match="another code"):
        pool.map(make(3), [1, 2], journal=path)
    with pytest.raises(NameError):
        make(-1)  # ``later`` has no value when the map call looks at what its function holds
