"""Making frames of tasks and chunks, in the driver's thread.

A task was pickled when it was submitted. Items of a map call are pickled here,
as they are sent: together when they are plain values, whose pickles run no
code, else one by one, so that a failure is one item's.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.backends.process.outcomes import reset
from workpool.errors import NotPicklable
from workpool.ipc import pickling, serving
from workpool.ipc.frames import LARGE, pack
from workpool.naming import function_name
from workpool.plain import plain
from workpool.scheduling.chunk import Alike
from workpool.scheduling.mapjob import Chunk, MapJob, Piece
from workpool.scheduling.worker import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workpool.backends.process.flights import Flights
    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["pack_chunk", "pack_tasks"]

_MOST_BYTES = 1 << 20  # of a chunk's items pickled together


def pack_tasks(
    scheduler: Scheduler, flights: Flights, tasks: list[Task[Any]], index: int
) -> list[bytes] | None:
    """Number tasks and make a frame of them; those that could not be pickled are settled."""
    calls: list[Any] = []
    large: list[bytes] = []
    first = flights.next_number
    packed: list[Task[Any]] = []
    for task in tasks:
        payload = task._payload
        if payload.__class__ is tuple:
            packed.append(task)
        elif payload is not None:  # else it was killed on its way here
            task._started_at = task._ended_at = monotonic()
            scheduler.settle(task, None, payload)
    packed = scheduler.assign(packed, index)
    flights.add_tasks(packed)
    now = monotonic()  # nearly; the worker will say exactly
    for task in packed:
        fn, args = task._payload
        task._attempts += 1
        task._started_at, task._ended_at = now, 0.0
        if fn.__class__ is not bytes or len(fn) >= LARGE:
            fn = flights.address(fn, large)
        if args.__class__ is not bytes or len(args) >= LARGE:
            args = flights.address(args, large)
        calls.append((task.id, task._terms.name, task._attempts, fn, args))
    if not calls:
        return None
    # What can be warned travels alone (see Feeding), so one look is enough.
    kind = serving.SOFT_CALLS if tasks[0]._terms.grace else serving.CALLS
    try:
        return pack((kind, first, calls), large)
    except ValueError:
        _fail_what_cannot_be_told(scheduler, flights.take_from(first), calls)
        return None


def pack_chunk(
    scheduler: Scheduler, flights: Flights, chunk: Chunk, dump: Callable[..., Any]
) -> list[bytes] | None:
    """Number the items of a chunk and make a frame of them; one that cannot be pickled fails alone."""
    job = chunk.job
    items = chunk.items
    name = plain(job.terms.name or function_name(job.fn))
    label = f"map({name})"
    blob = _function(job, label, dump, flights.far)
    if isinstance(blob, NotPicklable):
        size = len(items)
        scheduler.deliver(job, Piece(chunk.start, [None] * size, Alike(size, blob)))
        return None
    packed, large, bad = _pack_items(chunk, items, label, flights, dump)
    if bad is not None:
        offset, error = bad
        rest = Chunk(job, chunk.start + offset + 1, items[offset + 1 :], chunk.attempts)
        if rest.size:
            scheduler.give_back([rest])
        items = items[:offset]
        scheduler.deliver(job, Piece(chunk.start + offset, [None], {0: error}))
        if not items:
            return None
    first = flights.next_number
    flights.add_chunk(chunk, items)
    behind: list[Any] = []
    fn = flights.address(blob, behind)
    how = job.star + 2 * bool(job.terms.grace)
    header = (serving.ITEMS, first, chunk.start, name, chunk.attempts + 1, how, fn, packed)
    try:
        return pack(header, behind + large)
    except ValueError:
        flights.take_from(first)
        faults: dict[int, BaseException] = {
            offset: _cannot_be_told(label, header) for offset in range(len(items))
        }
        scheduler.deliver(job, Piece(chunk.start, [None] * len(items), faults))
        return None


def _fail_what_cannot_be_told(
    scheduler: Scheduler, units: list[Task[Any]], calls: list[Any]
) -> None:
    """Fail those tasks of which a frame cannot be made; the others go another time."""
    good: list[Task[Any]] = []
    for task, call in zip(units, calls, strict=True):
        try:
            pack(call)
        except ValueError:
            scheduler.settle(task, None, _cannot_be_told(describe(task), call))
        else:
            good.append(task)
    scheduler.give_back(reset(good))


def _cannot_be_told(label: str, header: Sequence[Any]) -> NotPicklable:
    """Make the error of a call of which a part is nothing that a frame can hold; a fault of ours, but one call's."""
    kinds = sorted({type(part).__qualname__ for part in header})
    message = f"{label} cannot be sent to a worker: what is told of it holds other than plain values ({kinds})."
    return NotPicklable(message)


def _function(job: MapJob, label: str, dump: Callable[..., Any], far: str) -> Any:
    """Pickle a map call's function, once."""
    if job.blob is None:
        try:
            job.blob, _ = pickling.dump_call(job.fn, (), {}, label, dump=dump, to=far)
        except NotPicklable as error:
            job.blob = error
        except BaseException as error:  # raised by what is pickled: nothing else strikes here
            from workpool.ipc.blaming import blame

            job.blob = blame(label, "function", job.fn, "", error, far)
    return job.blob


def _pack_items(
    chunk: Chunk, items: Sequence[Any], label: str, flights: Flights, dump: Callable[..., Any]
) -> tuple[Any, list[bytes], Any]:
    """Pickle items, each once: all in one, or a list of one pickle each (large ones apart) up to the first that failed.

    That one is given, too, with its offset.
    """
    # With a time limit one by one, and so not in slices, whose items have no clock each.
    limited = chunk.job.terms.time_limit is not None
    if not limited and not chunk.by_value and _plain(items, star=chunk.job.star):
        together = pickling.dumps(items)
        if len(together) < _MOST_BYTES:
            return together, [], None
    parts: list[Any] = []
    large: list[bytes] = []
    bad: tuple[int, NotPicklable] | None = None
    for offset, item in enumerate(items):
        try:
            data = pickling.dump_item(
                item,
                f"item {chunk.start + offset} of {label}",
                by_value=chunk.by_value,
                dump=dump,
                to=flights.far,
            )
        except NotPicklable as error:
            bad = offset, error
            break
        parts.append(data)
    return [flights.address(data, large) for data in parts], large, bad


def _plain(items: Sequence[Any], *, star: bool) -> bool:
    """Tell whether items are plain values, of which none are so large that they go their own way."""
    if type(items) is range:
        return True
    if not star:
        kinds = set(map(type, items))
        large = bytes in kinds and any(len(item) >= LARGE for item in items if type(item) is bytes)
        return not large and pickling.PLAIN.issuperset(kinds)
    return all(type(item) is tuple and pickling.PLAIN.issuperset(map(type, item)) for item in items)
