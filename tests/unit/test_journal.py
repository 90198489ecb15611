"""The journal tells, after a kill, what had begun and what was finished: at every line."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal

import pytest

from workpool.ipc.journal import Journal, make_journal
from workpool.ipc.outbox import ERROR, VALUE, Outbox


@pytest.fixture
def sides() -> Iterator[tuple[Journal, Journal]]:
    """Give the worker's and the parent's view of one journal."""
    fd = make_journal()
    mine, theirs = Journal(fd), Journal(fd)
    os.close(fd)
    yield mine, theirs
    mine.close()
    theirs.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Give a pipe that nobody waits on."""
    r, w = os.pipe()
    yield r, w
    os.close(r)
    os.close(w)


def run_slice(journal: Journal, values: Iterator[object], kind: type) -> None:
    """Keep values of a slice as the runner does."""
    deque(journal.keep(values, kind), 0)


def stop_at(values: list[object]) -> Iterator[object]:
    """Give values, and then stand for a call that never comes back."""
    yield from values
    raise SystemExit


def test_a_fresh_journal_tells_of_nothing(sides: tuple[Journal, Journal]) -> None:
    """Before the first call nothing has begun."""
    _, parent = sides
    assert parent.begun()[0] == -1
    assert parent.last_words() == (-1, [], None)


def test_outcomes_stand_in_it_until_they_are_sent(
    sides: tuple[Journal, Journal], pipe: tuple[int, int]
) -> None:
    """An outcome that waits for company is kept; one that went through the pipe is not kept twice."""
    worker, parent = sides
    outbox = Outbox(pipe[1], worker)
    worker.begin(0, 1)
    outbox._flushed_at = 1 << 62  # it was a moment ago: the outcome waits
    outbox.add(0, VALUE, b"v", 1, 2, more=True)
    assert parent.last_words() == (0, [(0, VALUE, b"v", 1, 2, 1)], None)
    outbox.flush()
    assert parent.last_words() == (0, [], None)


@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize("finished", [0, 1, 5])
def test_a_slice_tells_how_far_it_got(
    sides: tuple[Journal, Journal], kind: type, finished: int
) -> None:
    """Killed in the middle of a slice: results before the kill are there, the next call is the one begun."""
    worker, parent = sides
    values: list[object] = [kind(n) for n in range(finished)]
    worker.begin_slice(10, 8, 1, kind)
    with pytest.raises(SystemExit):
        run_slice(worker, stop_at(values), kind)
    assert parent.last_words() == (10 + finished, [], (10, values))


class Number(int):
    """A number of another type."""


ODD: list[tuple[type, object]] = [
    *((int, odd) for odd in (True, Number(3), 1.0, None)),
    *((float, odd) for odd in (2**53 + 1, True, Decimal(1))),
    *((str, odd) for odd in ([1], {1: 2}, {1}, bytearray(b"1"), memoryview(b"1"), Number(3))),
]


@pytest.mark.parametrize(
    ("kind", "odd"), ODD, ids=[f"{kind.__name__}-{type(odd).__name__}" for kind, odd in ODD]
)
def test_a_slice_ends_at_a_value_that_would_not_come_back_as_it_is(
    sides: tuple[Journal, Journal], kind: type, odd: object
) -> None:
    """The journal keeps no value that it would have to turn into another, or that can change."""
    worker, parent = sides
    values = [kind(1), kind(2), odd, kind(3)]
    given = iter(values)
    worker.begin_slice(10, 8, 1, kind)
    with suppress(Exception):
        run_slice(worker, given, kind)
    assert parent.last_words() == (12, [], (10, values[:2]))
    assert list(given) == values[3:]


@pytest.mark.parametrize("kind", [int, str])
def test_sending_what_came_before_forgets_no_running_slice(
    sides: tuple[Journal, Journal], pipe: tuple[int, int], kind: type
) -> None:
    """The control thread may send outcomes while a slice runs; the slice stays in the journal."""
    worker, parent = sides
    outbox = Outbox(pipe[1], worker)
    outbox._flushed_at = 1 << 62
    worker.begin(9, 1)
    outbox.add(9, ERROR, b"e", 1, 2, more=True)
    worker.begin_slice(10, 8, 1, kind)
    values: list[object] = [kind(1), kind(2)]
    with pytest.raises(SystemExit):
        run_slice(worker, stop_at(values), kind)
    outbox.flush()
    assert parent.last_words() == (12, [], (10, values))


def test_a_slice_that_is_over_and_sent_leaves_the_number_of_its_last_call(
    sides: tuple[Journal, Journal], pipe: tuple[int, int]
) -> None:
    """After a slice was sent nothing of it runs, and everything of it has begun."""
    worker, parent = sides
    outbox = Outbox(pipe[1], worker)
    worker.begin_slice(10, 3, 1, int)
    run_slice(worker, iter([1, 2, 3]), int)
    outbox.add_sliced([(10, 4, worker.numbers(3), 1, 2, 3)])
    worker.end_slice_at(3)
    outbox.flush()
    assert parent.last_words() == (12, [], None)


def test_a_full_journal_says_so(sides: tuple[Journal, Journal]) -> None:
    """An outcome for which there is no room is refused, so that it is sent at once."""
    worker, _ = sides
    payload = b"r" * 1000
    while worker.finish(0, VALUE, payload, 1, 2):
        pass
    worker.empty()
    assert worker.finish(0, VALUE, payload, 1, 2)
