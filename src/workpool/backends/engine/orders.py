"""A unit made ready to travel: pickled where it has to be, each pickle to the account of one call.

An order is a tuple of plain values, so that any engine can send it and any
interpreter take it: number, worker, position, name, attempt, shape, function, data.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias

from workpool.backends.engine import remote
from workpool.errors import NotPicklable
from workpool.ipc import pickling
from workpool.naming import function_name
from workpool.scheduling.chunk import Alike
from workpool.scheduling.mapjob import Chunk, Piece

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["Order", "chunk_order", "numbers", "pack", "task_order"]

Order: TypeAlias = "tuple[Any, ...]"
numbers = count()  # of orders, in this process


def pack(task: Task[Any]) -> None:
    """Pickle a task's call, in the thread that submits it; a failure is the task's."""
    assert task._call is not None  # it has not run
    try:
        task._payload = _dump_call(*task._call, "a task")
    except NotPicklable:
        # Once more, for the message: making the task's name at each submit would cost more.
        try:
            task._payload = _dump_call(*task._call, f"a task ({task._name})")
        except NotPicklable as error:
            task._payload = error


def _dump_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], label: str
) -> tuple[bytes, Any]:
    """Give function and arguments as they travel: plain arguments as they are, others in a pickle."""
    plain = not kwargs and remote.PLAIN.issuperset(map(type, args))
    empty: dict[str, Any] = {}
    call: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
    call = (fn, (), empty) if plain else (fn, args, kwargs)
    function, data = pickling.dump_call(*call, label)
    if pickling.mentions_main(function) or pickling.mentions_main(data):
        # A worker over there has a __main__ of its own: what is of ours goes along whole.
        function, data = pickling.dump_call(*call, label, by_value=True, dump=pickling.dump_whole)
    return function, args if plain else data


def task_order(task: Task[Any], number: int, worker: int) -> Order:
    """Make the order for a task that was packed."""
    function, data = task._payload
    shape = remote.CALL if data.__class__ is bytes else remote.RAW_CALL
    name = task._terms.name
    return (number, worker, task.id, name, task._attempts, shape, function, data)


def chunk_order(scheduler: Scheduler, chunk: Chunk, number: int, worker: int) -> Order | None:
    """Make the order for a chunk; an item that cannot be pickled fails alone, what follows it comes back.

    ``chunk`` is cut to what the order holds; None when nothing is left of it.
    """
    job = chunk.job
    name = job.terms.name or function_name(job.fn)
    label = f"map({name})"
    function = _function(job, label)
    if isinstance(function, NotPicklable):
        size = chunk.size
        scheduler.deliver(job, Piece(chunk.start, [None] * size, Alike(size, function)))
        return None
    items = chunk.items
    if _plain(items, star=job.star):
        shape = remote.RAW_STAR if job.star else remote.RAW_ITEM
        return (
            number,
            worker,
            chunk.start,
            name,
            chunk.attempts + 1,
            shape,
            function,
            tuple(items),
        )
    parts: list[bytes] = []
    for offset, item in enumerate(items):
        try:
            parts.append(_item(item, f"item {chunk.start + offset} of {label}"))
        except NotPicklable as error:
            _cut_out(scheduler, chunk, offset, error)
            break
    if not parts:
        return None
    shape = remote.STAR if job.star else remote.ITEM
    return (number, worker, chunk.start, name, chunk.attempts + 1, shape, function, tuple(parts))


def _cut_out(scheduler: Scheduler, chunk: Chunk, offset: int, error: BaseException) -> None:
    """Fail the item at that offset; the items before it stay, those after it go back to the queue."""
    rest = Chunk(chunk.job, chunk.start + offset + 1, chunk.items[offset + 1 :], chunk.attempts)
    chunk.items = chunk.items[:offset]
    chunk.size = offset
    scheduler.deliver(chunk.job, Piece(chunk.start + offset, [None], {0: error}))
    if rest.size:
        scheduler.give_back([rest])


def _function(job: Any, label: str) -> bytes | NotPicklable:
    """Pickle a map call's function, once."""
    if job.blob is None:
        try:
            job.blob, _ = _dump_call(job.fn, (), {}, label)
        except NotPicklable as error:
            job.blob = error
        except BaseException as error:  # raised by what is pickled: nothing else strikes here
            from workpool.ipc.blaming import blame

            job.blob = blame(label, "function", job.fn, "", error, pickling.A_PROCESS)
    blob: bytes | NotPicklable = job.blob
    return blob


def _item(item: Any, label: str) -> bytes:
    data: bytes = pickling.dump_item(item, label, dump=pickling.dump_whole)
    return data


def _plain(items: Sequence[Any], *, star: bool) -> bool:
    if not star:
        return remote.PLAIN.issuperset(map(type, items))
    return all(type(item) is tuple and remote.PLAIN.issuperset(map(type, item)) for item in items)
