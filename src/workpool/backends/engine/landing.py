"""Settling what came back of an order: results, errors, and calls that could not be read over there."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.engine import remote
from workpool.errors import NotPicklable, anew
from workpool.ipc import pickling
from workpool.scheduling.mapjob import Chunk, Piece
from workpool.scheduling.worker import describe, describe_item
from workpool.task import Task

if TYPE_CHECKING:
    from workpool.scheduling.scheduler import Scheduler

__all__ = ["call_off", "fail_unit", "land", "put_back"]


def land(scheduler: Scheduler, unit: Any, outcome: tuple[Any, ...], by: Any) -> None:
    """Settle a unit by the outcome of its order."""
    _, seconds, kinds, payloads = outcome
    if unit.__class__ is Task:
        task: Task[Any] = unit
        kind = remote.RAW if kinds is None else kinds[0]
        value, error = _open(kind, payloads[0], describe(task))
        call = task._call
        fn = call[0] if call is not None else None
        task._ended_at = monotonic()
        task._started_at = max(task._started_at, task._ended_at - seconds)
        if fn is not None:
            with scheduler.lock:
                scheduler.pace.measured(fn, seconds, 1)
        if error is None:
            scheduler.settle(task, value, None, by=by)
        else:
            scheduler.fail(task, error, by=by)
        return
    _land_chunk(scheduler, unit, by.index, seconds, kinds, payloads)


def _land_chunk(
    scheduler: Scheduler,
    chunk: Chunk,
    worker: int,
    seconds: float,
    kinds: tuple[int, ...] | None,
    payloads: tuple[Any, ...],
) -> None:
    job, size = chunk.job, len(payloads)
    failed = (
        0 if kinds is None else sum(kind in (remote.ERROR, remote.UNREADABLE) for kind in kinds)
    )
    ended = monotonic()
    times = chunk.queued_at, ended - seconds, ended, seconds
    with scheduler.lock:
        scheduler.pace.measured(job.fn, seconds, size)
        scheduler.tally.ran(worker, job, chunk.start, size, failed, times)
    if kinds is None:
        scheduler.deliver(job, Piece(chunk.start, list(payloads), None))
        return
    values: list[Any] = []
    errors: dict[int, BaseException] = {}
    start = 0
    for offset, (kind, payload) in enumerate(zip(kinds, payloads, strict=True)):
        value, error = _open(kind, payload, describe_item(chunk, offset))
        if error is not None:
            if scheduler.fail_item(chunk, offset, chunk.items[offset], error):
                # It runs again; what came before it is delivered without it.
                _deliver(scheduler, chunk, start, values, errors)
                values, errors, start = [], {}, offset + 1
                continue
            errors[offset - start] = error
        values.append(value)
    _deliver(scheduler, chunk, start, values, errors)


def _deliver(
    scheduler: Scheduler,
    chunk: Chunk,
    start: int,
    values: list[Any],
    errors: dict[int, BaseException],
) -> None:
    if values:
        scheduler.deliver(chunk.job, Piece(chunk.start + start, values, errors or None))


def fail_unit(scheduler: Scheduler, unit: Any, error: BaseException, by: Any, began: float) -> None:
    """Fail a unit that began then as a whole: each of its calls runs again if its terms say so."""
    if unit.__class__ is Task:
        unit._ended_at = monotonic()
        scheduler.fail(unit, anew(error), by=by)
        return
    chunk: Chunk = unit
    now = monotonic()
    with scheduler.lock:
        times = chunk.queued_at, began, now, now - began
        scheduler.tally.ran(by.index, chunk.job, chunk.start, chunk.size, chunk.size, times)
    for offset in range(chunk.size):
        if not scheduler.fail_item(chunk, offset, chunk.items[offset], error):
            scheduler.deliver(chunk.job, Piece(chunk.start + offset, [None], {0: anew(error)}))


def put_back(scheduler: Scheduler, unit: Any) -> None:
    """Queue a unit again that has not begun: that was no attempt."""
    if unit.__class__ is Task:
        unit._attempts -= 1
    scheduler.give_back([unit])


def call_off(scheduler: Scheduler, unit: Any) -> None:
    """Cancel a unit that nobody wants, and that has not begun: that was no attempt either."""
    if unit.__class__ is Task:
        unit._attempts -= 1
        scheduler.settle_cancelled(unit)
        return
    chunk: Chunk = unit
    with scheduler.lock:
        chunk.job.close()
        chunk.job.drop(chunk.size)
    scheduler.sweep()


def _open(kind: int, payload: Any, name: str) -> tuple[Any, BaseException | None]:
    """Unpickle an outcome; what cannot be unpickled is the call's failure."""
    if kind == remote.RAW:
        return payload, None
    try:
        if kind == remote.VALUE:
            return pickling.loads(payload), None
        error = pickling.load_error(payload)
    except BaseException as caught:
        unreadable = NotPicklable(
            f"the result of {name} came back but cannot be unpickled: {type(caught).__name__}: {caught}. "
            'Return what can be, or use backend="thread".',
            part="result",
        )
        unreadable.__cause__ = caught
        return None, unreadable
    if kind == remote.UNREADABLE:
        arrived = NotPicklable(
            f"{name} was sent but cannot be unpickled in the worker: {type(error).__name__}: {error}. The modules "
            'that it needs have to be importable there; or use backend="thread".',
            part="argument",
        )
        arrived.__cause__ = error.__cause__
        return None, arrived
    return None, error
