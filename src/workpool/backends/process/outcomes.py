"""Settling what comes back from a worker process: results, errors, and calls that could not be unpickled."""

from __future__ import annotations

import marshal
from typing import TYPE_CHECKING, Any

from workpool.errors import NotPicklable, brief
from workpool.ipc import borrowing, pickling
from workpool.ipc.outbox import NO_FUNCTION, NUMBERS, PLAIN, UNREADABLE, VALUE, VALUES
from workpool.naming import function_name
from workpool.scheduling.mapjob import Chunk, Piece
from workpool.scheduling.worker import describe
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.process.flights import Flight, Flights
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["fail_item", "reset", "take_outcomes"]

_GOOD = (PLAIN, VALUE)
_plain: Callable[[Any], Any] = marshal.loads  # of our own process family
_SMALL = 64  # bytes
_UNREADABLE = (UNREADABLE, NO_FUNCTION)


def take_outcomes(scheduler: Scheduler, flights: Flights, outcomes: list[Any]) -> int:
    """Settle tasks and store items; gives how many outcomes were new."""
    if len(outcomes) == 1 and outcomes[0][1] in _GOOD:
        flight = flights.current
        if flight is not None and flight.task is not None:
            return _take_one(scheduler, flights, outcomes[0], flight.task)
    settled: list[tuple[Task[Any], Any, BaseException | None]] = []
    paces: dict[int, list[Any]] = {}  # by the function's id: function, nanoseconds, calls
    pace: list[Any] = [None, 0, 0]
    last: Flight | None = None
    taken = 0
    for outcome in outcomes:
        number, what, payload, began, ended, count = outcome
        flight = flights.answered(number, count)
        if flight is None:
            known = flights.overlap(number, count)
            if not known:
                continue  # it came through the pipe, and stood in the journal too
            # A slice that ran on: its first values were read in the journal of a worker that was held.
            what, payload, count = VALUES, _values(what, payload)[known:], count - known
            flight = flights.answered(number + known, count)
            assert flight is not None
        taken += count
        task = flight.task
        if task is None:
            if last is not None and last is not flight:
                _deliver(scheduler, last)
            last = flight
            flight.measure(began, ended, count)
            fn: Callable[..., Any] | None = _take_items(scheduler, flight, what, payload)
        else:
            call = task._call
            fn = call[0] if call is not None else None
            task._started_at, task._ended_at = began / 1e9, ended / 1e9
            # What most give is opened here, and spared a call; where there may be no memory for it, below.
            small = what == PLAIN and len(payload) < _SMALL
            value, error = (_plain(payload), None) if small else _open(what, payload, task)
            if error is None or not _goes_another_way(scheduler, flights, task, what, error):
                settled.append((task, value, error))
            del value, error
        if fn is not pace[0]:
            pace = paces.setdefault(id(fn), [fn, 0, 0])
        pace[1] += ended - began
        pace[2] += count
    if last is not None:
        _deliver(scheduler, last)
    if taken:
        paces.pop(id(None), None)  # of calls that are no more
        scheduler.settle_many(settled, [(fn, ns / 1e9, calls) for fn, ns, calls in paces.values()])
    return taken


def _values(what: int, payload: Any) -> list[Any]:
    """Open the values of a slice."""
    if what == NUMBERS[int]:
        return memoryview(payload).cast("q").tolist()
    if what == NUMBERS[float]:
        return memoryview(payload).cast("d").tolist()
    values: list[Any] = payload if payload.__class__ is list else pickling.loads(payload)
    return values


def _take_one(scheduler: Scheduler, flights: Flights, outcome: Any, task: Task[Any]) -> int:
    """Settle one task that went well, by the shortest way."""
    number, what, payload, began, ended, _ = outcome
    if flights.answered(number) is None:
        return 0
    task._started_at, task._ended_at = began / 1e9, ended / 1e9
    value, error = _open(what, payload, task)
    call = task._call
    measured = None if call is None else (call[0], (ended - began) / 1e9, 1)
    scheduler.settle(task, value, error, measured=measured)
    return 1


def _open(what: int, payload: Any, task: Task[Any] | str) -> tuple[Any, BaseException | None]:
    """Unpickle an outcome; what cannot be unpickled is the task's failure."""
    try:
        if what == PLAIN:
            return _plain(payload), None
        if what == VALUE:
            return borrowing.loads(payload), None
        return None, pickling.load_error(payload)
    except BaseException as error:
        name = describe(task) if isinstance(task, Task) else task
        if isinstance(error, MemoryError):
            return None, MemoryError(
                f"the result of {name} came back, and there is no memory for it"
            )
        part = "result" if what in _GOOD else "exception"
        unreadable = NotPicklable(
            f"the {part} of {name} came back but cannot be unpickled: {brief(error)}. "
            'Return what can be, or use backend="thread".',
            part=part,
        )
        unreadable.__cause__ = error
        return None, unreadable


def _goes_another_way(
    scheduler: Scheduler, flights: Flights, task: Task[Any], what: int, error: BaseException
) -> bool:
    """See to a task that failed, if it may run again; tell whether it was such a one."""
    if what in _UNREADABLE:
        _unreadable(scheduler, flights.far, task, what, error)
    elif task._terms.retries:
        scheduler.fail(task, error)
    else:
        return False
    return True


def _unreadable(
    scheduler: Scheduler, far: str, task: Task[Any], what: int, error: BaseException
) -> None:
    """A worker could not unpickle a part of a call: send that by value, once, if it names something of ``__main__``."""
    sent, call = task._payload, task._call
    part = 0 if what == NO_FUNCTION else 1
    if call is not None and sent and not task._by_value & 1 << part:
        task._by_value |= 1 << part
        try:
            anew = _part_by_value(call[0], sent[part], part, describe(task), far)
        except BaseException as unpicklable:  # raised by what is pickled, as in packing.py
            scheduler.settle(task, None, unpicklable)
            return
        if anew is not None:
            task._payload = (anew, sent[1]) if part == 0 else (sent[0], anew)
            scheduler.give_back(reset([task]))
            return
    scheduler.settle(task, None, _arrived_broken(describe(task), what, error))


def _part_by_value(fn: Any, payload: Any, part: int, label: str, far: str) -> bytes | None:
    """Pickle function or arguments anew, as they were when they were submitted; None if that is of no use.

    What the caller has may have changed since: so they are unpickled here, where all of ``__main__`` is. A
    function that is named is the caller's own, as the name may be another function's by now.
    """
    pieces = [payload] if payload.__class__ is bytes else _read(payload)
    if not pieces or not pickling.mentions_main(pieces[0]):
        return None
    if part or not pickling.reusable(fn, pieces[0]):
        try:
            then: Any = borrowing.loads(pieces)
        except BaseException:  # user code of all kinds
            return None
    else:
        then = fn
    if part:
        data: bytes = pickling.dump_item(then, label, by_value=True, to=far)
    else:
        data, _ = pickling.dump_call(then, (), {}, label, by_value=True, to=far)
    return data


def _read(parcel: Any) -> list[Any]:
    """Read a large payload where it was laid down; nothing if that is closed."""
    try:
        pieces: list[Any] = parcel.read()
    except OSError:
        return []
    return pieces


def _take_items(
    scheduler: Scheduler, flight: Flight, what: int, payload: Any
) -> Callable[..., Any]:
    """Store the outcome of an item, or the values of a slice, with those that came before; gives their function."""
    chunk = flight.chunk
    assert chunk is not None
    if what >= VALUES:
        flight.values.extend(_values(what, payload))
    else:
        _take_item(scheduler, flight, chunk, what, payload)
    return chunk.job.fn


def _take_item(scheduler: Scheduler, flight: Flight, chunk: Chunk, what: int, payload: Any) -> None:
    """Store the outcome of an item."""
    offset = flight.done - 1
    label = f"item {chunk.start + offset} of map({function_name(chunk.job.fn)})"
    value, error = _open(what, payload, label)
    if error is not None:
        if what in _UNREADABLE:
            if not chunk.by_value and _by_value(scheduler, flight, offset):
                return
            error = _arrived_broken(label, what, error)
        if scheduler.fail_item(chunk, offset, flight.items[offset], error):
            _skip(scheduler, flight)
            return
        flight.errors[len(flight.values)] = error
    flight.values.append(value)


def _by_value(scheduler: Scheduler, flight: Flight, offset: int) -> bool:
    """Send an item that a worker could not unpickle once more, with all that it needs; tell whether it can be."""
    chunk = flight.chunk
    assert chunk is not None
    again = Chunk(
        chunk.job, chunk.start + offset, flight.items[offset : offset + 1], chunk.attempts
    )
    again.by_value = True
    try:
        blob = pickling.dumps(chunk.job.fn, by_value=True)
    except BaseException:
        return False
    chunk.job.blob = blob
    _skip(scheduler, flight)
    scheduler.give_back([again])
    return True


def fail_item(scheduler: Scheduler, flight: Flight, error: BaseException) -> None:
    """Fail the item that was answered last, after what came before it is delivered."""
    chunk = flight.chunk
    assert chunk is not None
    offset = flight.done - 1
    _skip(scheduler, flight)
    if not scheduler.fail_item(chunk, offset, flight.items[offset], error):
        scheduler.deliver(chunk.job, Piece(chunk.start + offset, [None], {0: error}))


def _skip(scheduler: Scheduler, flight: Flight) -> None:
    """Deliver what came before an item that goes its own way."""
    ran = flight.run(failed=1)
    flight.done -= 1
    _deliver(scheduler, flight, ran)
    flight.done += 1


def _deliver(scheduler: Scheduler, flight: Flight, ran: tuple[Any, ...] | None = None) -> None:
    ran = ran or flight.run()
    piece = flight.piece()
    if piece is not None:
        assert flight.chunk is not None
        scheduler.deliver(flight.chunk.job, piece, ran)
    elif ran is not None:
        scheduler.note_run(ran)


def reset(units: list[Any]) -> list[Any]:
    """Uncount a start that did not happen."""
    for unit in units:
        if unit.__class__ is Task:
            unit._attempts -= 1
    return units


def _arrived_broken(name: str, what: int, error: BaseException) -> NotPicklable:
    part = "function" if what == NO_FUNCTION else "argument"
    way_out = " ".join(getattr(error, "__notes__", ())) or (
        'Define what it needs in a module that workers can import, or use backend="thread".'
    )
    broken = NotPicklable(
        f"the {part} of {name} was sent but cannot be unpickled in the worker: {brief(error)}. {way_out}",
        part=part,
    )
    broken.__cause__ = error.__cause__
    return broken
