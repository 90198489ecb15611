"""The streams that tell what tasks print from what the program prints, and what stands behind them."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tests.support.gates import DEADLINE
from workpool import Pool
from workpool.printing import Routed


def print_lines(_: object = None) -> int:
    """Print as print() and as files do."""
    print("one")
    sys.stdout.writelines(["two\n", "three\n"])
    return 3


# Inside of the test: between its set-up and its call pytest puts streams of its own in place.
@contextmanager
def capturing(monkeypatch: pytest.MonkeyPatch) -> Generator[tuple[Pool, io.StringIO]]:
    """Have a stdout, and a pool that captures what tasks print."""
    behind = io.StringIO()
    monkeypatch.setattr("sys.stdout", behind)
    with Pool(1, capture=True) as pool:
        yield pool, behind


def test_the_program_prints_where_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a pool captures, all that a stream can do reaches the one behind it; afterwards that is back."""
    with capturing(monkeypatch) as (_, behind):
        stream = sys.stdout
        assert isinstance(stream, Routed)
        stream.writelines(["a\n", "b\n"])
        stream.flush()
        assert (behind.getvalue(), stream.isatty(), stream.closed) == ("a\nb\n", False, False)
        with pytest.raises(AttributeError):
            _ = stream.no_such_thing
    assert sys.stdout is behind


def test_lines_of_a_task_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """writelines() in a task is captured as print() is."""
    with capturing(monkeypatch) as (pool, behind):
        task = pool.submit(print_lines)
        assert task.result(DEADLINE) == 3
        assert task.stdout == "one\ntwo\nthree\n"
    assert behind.getvalue() in {"", task.stdout}


def test_a_stream_that_another_has_replaced_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program put in place meanwhile is not taken away when the last pool ends."""
    other = io.StringIO()
    with capturing(monkeypatch) as (pool, _):
        assert pool.submit(print_lines).result(DEADLINE) == 3
        monkeypatch.setattr("sys.stdout", other)
    assert sys.stdout is other


def test_a_handler_that_fails_costs_no_item(monkeypatch: pytest.MonkeyPatch) -> None:
    """What items print goes to the log; a fault of its handler is told as logging does, and the item goes on."""
    told: list[str] = []

    class Failing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError("no disk")

    def tell(_: object, record: logging.LogRecord) -> None:
        told.append(repr(sys.exception()) + record.getMessage())

    logger = logging.getLogger("workpool.stdout")
    handler = Failing()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logging.Handler, "handleError", tell)
    try:
        with capturing(monkeypatch) as (pool, _):
            assert list(pool.map(print_lines, [1], chunksize=2)) == [3]
    finally:
        logger.removeHandler(handler)
    assert told == [f"LookupError('no disk'){line}" for line in ("one", "two", "three")]


def test_a_program_without_a_stdout_may_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no stream, a pool that captures works, and what tasks print is kept with them."""
    monkeypatch.setattr("sys.stdout", None)
    with Pool(1, capture=True) as pool:
        assert pool.submit(int).result(DEADLINE) == 0
    assert sys.stdout is None
