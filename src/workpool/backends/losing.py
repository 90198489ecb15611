"""Losing a thread with all that it has in hand: each task is settled, each item counted, and none is begun."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workpool.errors import WorkerLost, anew
from workpool.scheduling.chunk import Chunk
from workpool.task import Task

if TYPE_CHECKING:
    from workpool.backends.thread import ThreadWorker

__all__ = ["lose_all"]


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
