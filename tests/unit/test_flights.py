"""The books of one worker: which call an outcome belongs to, and what comes back when calls are recalled."""

from __future__ import annotations

from time import monotonic_ns
from types import SimpleNamespace
from typing import Any, cast

import pytest

from workpool.backends.process.feeding import Feeding
from workpool.backends.process.flights import Flights
from workpool.backends.process.held import Held
from workpool.scheduling.mapjob import Chunk, MapJob
from workpool.task import Task

JOB = cast("MapJob", object())


def chunk(start: int, size: int) -> Chunk:
    """Make a chunk of so many items."""
    return Chunk(JOB, start, range(start, start + size))


def items(units: list[Any]) -> list[Any]:
    """Tell what is in units, item by item."""
    return [i for unit in units for i in (unit.items if isinstance(unit, Chunk) else [unit])]


def test_outcomes_belong_to_calls_in_the_order_sent() -> None:
    """The next number answered is the next call; what was answered before is known."""
    flights = Flights()
    task: Task[int] = Task()
    flights.add_tasks([task])
    flights.add_chunk(chunk(0, 3), range(3))
    first = flights.answered(0)
    assert first is not None
    assert first.task is task
    assert flights.answered(0) is None
    second = flights.answered(1, 2)
    assert second is not None
    assert second.done == 2
    assert flights.outstanding == 1


def test_an_outcome_out_of_order_is_refused() -> None:
    """Results are never given to another call than theirs."""
    flights = Flights()
    flights.add_chunk(chunk(0, 3), range(3))
    with pytest.raises(RuntimeError, match="answered call 2 before call 0"):
        flights.answered(2)


def test_what_comes_back_begins_behind_what_was_answered() -> None:
    """After a death no answered item is sent again."""
    flights = Flights()
    flights.add_chunk(chunk(10, 5), range(10, 15))
    flights.answered(0, 2)
    assert items(flights.take_from(0)) == [12, 13, 14]
    assert flights.outstanding == 0


def test_a_recall_does_not_mean_what_was_sent_after_it() -> None:
    """A batch sent between recall and answer runs where it is, and is not run elsewhere too."""
    flights = Flights()
    flights.add_chunk(chunk(0, 4), range(4))
    recalled = flights.next_number - 1
    flights.add_chunk(chunk(4, 4), range(4, 8))
    assert items(flights.take_from(2, recalled)) == [2, 3]
    assert flights.answered(0, 2) is not None
    rest = flights.current
    assert rest is not None
    assert list(rest.items) == [4, 5, 6, 7]
    assert flights.answered(4) is rest
    assert flights.outstanding == 3


def test_a_task_is_found_until_it_is_answered() -> None:
    """Whoever wants a running task ended can name it to the worker."""
    flights = Flights()
    flights.add_chunk(chunk(0, 4), range(4))
    task: Task[int] = Task()
    other: Task[int] = Task()
    flights.add_tasks([task, other])
    assert [flights.task_at(number) for number in (3, 4, 5)] == [None, task, other]
    assert flights.outstanding == 6
    found = flights.of(task)
    flights.answered(0, 4)
    assert flights.answered(4) is found is not None
    assert flights.of(task) is None
    assert flights.of(other) is flights.current


def test_nothing_is_sent_while_something_may_come_back() -> None:
    """What is recalled runs before what was queued behind it: so that is not sent before the answer."""
    nothing: Any = None  # neither the queue nor the worker is asked
    asked: Any = SimpleNamespace(scheduler=nothing, _flights=[1], _seized=False, _asks=1)
    assert Feeding._feed(asked, nothing)


def test_nothing_is_sent_behind_a_call_that_was_slow() -> None:
    """What came back from behind it, to be run elsewhere, is not taken and sent there again."""
    nothing: Any = None
    given: list[Any] = []
    flights = Flights()
    flights.add_chunk(chunk(0, 4), range(4))
    slow: Any = SimpleNamespace(
        scheduler=SimpleNamespace(share_out=given.extend),
        _backend=SimpleNamespace(settings=SimpleNamespace(max_tasks_per_worker=None)),
        _flights=flights,
        _batch=4,
        _asks=1,
        _asked_at=0.0,
        _held=Held(),
        _put_off=[],
        _seized=False,
        _stopped_at=None,
        _unanswered={}.__contains__,  # all that is finished has come
    )
    Feeding._answered(slow, nothing, 0, 3)
    assert items(given) == [1, 2, 3]
    assert Feeding._feed(slow, cast("Any", SimpleNamespace(pending=0)))  # asks nobody for more


@pytest.mark.parametrize(("upto", "read"), [(7, [4]), (-1, [])], ids=["recall", "probe"])
def test_a_slice_that_goes_on_is_not_read(upto: int, read: list[int]) -> None:
    """Where nothing was recalled its worker may be writing the next slice in the same place."""
    looked: list[int] = []
    journal = SimpleNamespace(sliced_before=looked.append)
    flights = Flights()
    flights.add_chunk(chunk(0, 8), range(8))
    probed: Any = SimpleNamespace(
        scheduler=SimpleNamespace(share_out=list),
        _flights=flights,
        _asks=1,
        _held=Held(),
        _put_off=[],
        _stopped_at=None,
        _unanswered=bool,
    )
    Feeding._answered(probed, cast("Any", SimpleNamespace(journal=journal)), 4, upto)
    assert looked == read


def test_items_that_were_read_in_a_journal_are_measured_too() -> None:
    """For no time, and at the end of those before them; what ran on is measured from there on."""
    flight = Flights().add_chunk(chunk(0, 9), range(9))
    assert flight is not None
    flight.measure(10, 20, 3)
    flight.measure(0, 0, 2)
    assert (flight.measured, flight.times) == (5, (10, 20, 10))
    flight.measure(15, 60, 4)  # of a slice whose first values were read
    assert (flight.measured, flight.times) == (9, (10, 60, 50))


def test_items_that_were_read_in_a_journal_alone_are_measured_now() -> None:
    """When else they ran is not known."""
    flight = Flights().add_chunk(chunk(0, 2), range(2))
    assert flight is not None
    before = monotonic_ns()
    flight.measure(0, 0, 2)
    began, ended, ran = flight.times
    assert flight.measured == 2
    assert before <= began == ended
    assert ran == 0


@pytest.mark.parametrize("size", [1, 2, 7, 100])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 200])
def test_a_chunk_is_cut_into_parts_of_one_size(size: int, count: int) -> None:
    """As many as are asked for, if there are as many items; in order, and nothing is lost."""
    parts = chunk(10, size).parts(count)
    assert [item for part in parts for item in part.items] == list(range(10, 10 + size))
    assert [range(part.start, part.start + part.size) for part in parts] == [
        part.items for part in parts
    ]
    assert len(parts) <= max(1, count)
    assert max(part.size for part in parts) == -(-size // max(1, count))
