"""Losing a thread with all that it has in hand, or but the item in it: each task is settled, each item counted."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.errors import WorkerLost, anew
from workpool.scheduling.chunk import Chunk
from workpool.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.backends.thread import ThreadWorker

__all__ = ["lose_all", "lose_item"]


def lose_all(worker: ThreadWorker, why: str, cause: BaseException | None = None) -> bool:
    """Write a thread off and fail what it has, each with an error of its own; False if it is written off already."""
    scheduler = worker.scheduler
    with scheduler.lock:
        if worker.written_off:
            return False
        worker.written_off = True
        # Looked at twice: its own thread moves a task from the one to the other, and back.
        taken, task, chunk, ended = worker.taken, worker.task, worker.chunk, worker.taken
        handed, worker.inbox = worker.inbox, None
        others: list[Task[Any] | None] = [*worker._others(task)]
        worker._strike()
        name = worker._task_name() or (taken._name if taken.__class__ is Task else "")
        lost = WorkerLost(f"{name or 'nothing'} {why}", task=name, worker=worker.index)
        lost.__cause__ = cause
        if chunk is not None:
            worker.drop_chunk(chunk, anew(lost))
        if taken.__class__ is Chunk:
            taken.job.close(anew(lost))
            taken.job.drop(taken.size)
        else:
            others.append(taken)
        others += [handed, ended if ended.__class__ is Task else None]
    scheduler.sweep()
    worker._abandon()
    for each in (*others, task):
        if each is not None:
            scheduler.settle(each, None, anew(lost))
    return True


def lose_item(worker: ThreadWorker, chunk: Chunk, lost: BaseException) -> Callable[[], None]:
    """Take a chunk from a thread that is given up in the middle of an item of it; lock held.

    What this gives is to be called without the lock. It delivers what is finished, has the item fail or run again, and
    what has not begun run elsewhere. Where no item runs, in a finalizer, there is none to be lost; and what the thread
    has set out to deliver, it delivers.
    """
    item = worker._item
    rest = chunk.take_back(chunk.size)  # its size is the number of those that have started, now
    out: list[Any] = []
    errors: dict[int, BaseException] = {}
    kept: Any = None
    start = worker.handed_out
    if chunk.job.terms.time_limit is None:
        if start < chunk.size:
            out, errors, kept = [*worker._ran], {**worker._errors}, worker._kept
            worker.handed_out = chunk.size
            if len(out) < chunk.size:
                errors[len(out)] = lost
                out.append(None)
    elif item is not None and item.chunk is chunk and not item.settled:
        item.settled = True
        worker.scheduler.tally.ran(*item.ran(worker.index, monotonic(), failed=True))
        start = item.offset  # those before it are settled
        out, errors, kept = [None] * (start + 1), {start: lost}, {start: item.value}
    return partial(_hand_on, worker, rest, start, chunk, out, errors, kept)


def _hand_on(worker: ThreadWorker, rest: Chunk | None, *started: Any) -> None:
    worker._deliver_from(*started)
    if rest is not None:
        worker.scheduler.give_back([rest])
