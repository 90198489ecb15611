"""Logs and prints that meet a fault: of the program's factory, of an extra, of the stream; nothing else is lost."""

from __future__ import annotations

import errno
import io
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE
from tests.support.hearing import Kept, say, speak_item

pytestmark = pytest.mark.needs("reports")


@pytest.fixture(params=[LookupError, SystemExit])
def picky(request: pytest.FixtureRequest) -> Generator[None]:
    """Have a record factory that serves one thread, as one that reads its web request does."""
    before, here, error = logging.getLogRecordFactory(), threading.get_ident(), request.param

    def make(*args: Any, **kwargs: Any) -> logging.LogRecord:
        if threading.get_ident() != here:
            raise error("outside of a request")
        return before(*args, **kwargs)

    logging.setLogRecordFactory(make)
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.needs("pickles")
@pytest.mark.usefixtures("picky")
def test_a_factory_that_fails_costs_no_record(make_pool: MakePool, kept: Kept) -> None:
    """Records of a worker are handled without the program's factory, where that one fails."""
    pool = make_pool(1, logs=True)
    assert pool.submit(say, "a").result(DEADLINE) == 1
    assert kept.told() == ["a!"]
    assert kept.records[0].__dict__["wp_task"] == "say"


@pytest.mark.usefixtures("picky")
def test_a_factory_that_fails_costs_no_line(make_pool: MakePool, kept: Kept) -> None:
    """Lines that items print are told all the same."""
    pool = make_pool(1, capture=True)
    assert list(pool.map(speak_item, range(2))) == [0, 1]
    pool.shutdown()
    assert kept.told("workpool.stdout") == ["item 0", "of a map", "item 1", "of a map"]


@pytest.mark.needs("pickles")
@pytest.mark.usefixtures("picky", "kept")
def test_a_fault_that_cannot_be_logged_fails_what_runs(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A fault of the library's own fails the task and the pool, and is told on the last resort."""

    def fail(_: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("workpool.tasklog.handle", fail)
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    pool = make_pool(1, logs=True, name="faulty")
    with pytest.raises(ZeroDivisionError):
        pool.submit(say, "a").result(DEADLINE)
    pool.shutdown()
    told = capfd.readouterr().err
    assert "worker 0 of faulty failed" in told
    assert "ZeroDivisionError" in told
    assert "outside of a request" in told


class Leaves:
    """Is unpickled by what parses a command line, say, and ends the program."""

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.exit, (2,)


class Stays:
    """Cannot be pickled, and does not say what it is."""

    error: type[BaseException] = ZeroDivisionError

    def __reduce__(self) -> tuple[Any, ...]:
        raise self.error(3)

    def __repr__(self) -> str:
        raise self.error(4)


class StaysInTheWorstWay(Stays):
    error = SystemExit


def say_with(kind: type[object]) -> int:
    return say("worn", held=kind())


@pytest.mark.needs("pickles")
def test_a_record_that_cannot_be_unpickled_costs_only_itself(
    make_pool: MakePool, kept: Kept
) -> None:
    """Whatever its unpickling raises: that is told, and the task has its result."""
    pool = make_pool(1, logs=True)
    assert pool.submit(say_with, Leaves).result(DEADLINE) == 1
    assert pool.submit(say, "b").result(DEADLINE) == 1
    assert kept.told() == ["b!"]
    assert kept.told("workpool") == ["a log record from a worker cannot be unpickled"]


@pytest.mark.needs("pickles")
def test_a_record_that_cannot_be_pickled_costs_nothing(make_pool: MakePool, kept: Kept) -> None:
    """It comes, with that part as text."""
    pool = make_pool(1, logs=True)
    assert pool.submit(say_with, Stays).result(DEADLINE) == 1
    assert [(r.getMessage(), r.__dict__["held"]) for r in kept.records] == [("worn!", "<Stays>")]


@pytest.mark.needs("pickles")
def test_a_record_whose_pickling_exits_fails_its_task_alone(
    make_pool: MakePool, kept: Kept
) -> None:
    """A signal's handler may have raised that as well: it comes out where the task logs, and the pool goes on."""
    pool = make_pool(1, logs=True)
    with pytest.raises(SystemExit, match="3"):
        pool.submit(say_with, StaysInTheWorstWay).result(DEADLINE)
    assert pool.submit(say, "b").result(DEADLINE) == 1
    assert kept.told() == ["b!"]


def test_records_are_named_again_after_somebodys_factory(make_pool: MakePool, kept: Kept) -> None:
    """A factory put back from before the first pool costs the names until the next pool only."""
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(logging.LogRecord)
    try:
        pool = make_pool(1, logs=True)
        assert pool.submit(say, "a").result(DEADLINE) == 1
    finally:
        logging.setLogRecordFactory(before)
    assert [r.__dict__["wp_task"] for r in kept.records] == ["say"]


class Full(io.RawIOBase):
    """A disk without room."""

    def writable(self) -> bool:
        return True

    def write(self, _: Any, /) -> int:
        raise OSError(errno.ENOSPC, "no room")


def speak_accents(n: int) -> int:
    print(f"café {n}", end="\n" if n else "")
    return n


# Inside of the test: between its set-up and its call pytest puts handlers of its own in place.
@contextmanager
def unlogged() -> Generator[None]:
    """Have no log handler."""
    root = logging.getLogger()
    before, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = before


def test_a_line_that_stdout_cannot_encode_is_escaped(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It costs neither the item nor the pool."""
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding="ascii", newline="\n", write_through=True)
    monkeypatch.setattr("sys.stdout", stream)
    with unlogged(), make_pool(1, capture=True) as pool:
        assert list(pool.map(speak_accents, [1, 2, 0])) == [1, 2, 0]
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert shown.getvalue().splitlines() == [rb"caf\xe9 1", rb"caf\xe9 2", rb"caf\xe9 0"]


def test_a_stdout_without_room_costs_lines_only(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That lines are lost is told once; items, tasks and the pool are not."""
    monkeypatch.setattr("workpool.printing._lost", set[int]())
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(Full(), write_through=True))  # type: ignore[type-var]  # it has what is needed of a buffer
    with unlogged(), make_pool(1, capture=True) as pool:
        assert list(pool.map(speak_accents, [1, 2, 0])) == [1, 2, 0]
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert capsys.readouterr().err.count("no room") == 1
