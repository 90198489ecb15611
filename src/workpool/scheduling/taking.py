"""What a worker that asks is given: a task, a chunk, more of the same, or nothing.

A worker that finds nothing becomes idle in the same step (see the scheduler's
account of handing over). Tasks known to be short may travel together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workpool.scheduling.mapjob import MapJob
from workpool.scheduling.pace import TARGET, together
from workpool.scheduling.slow_chunks import SlowChunks
from workpool.task import Task

if TYPE_CHECKING:
    from workpool.scheduling.worker import Worker

__all__ = ["Taking"]


class Taking(SlowChunks):
    """Hands the queue's entries to workers."""

    def next_unit(self, worker: Worker) -> Any | None:
        """Give the next task or chunk, or None; then the worker is idle, or must leave.

        With None the worker was added to ``idle``, unless :meth:`should_leave` or it is
        ``leaving``; it sleeps until its ``wake`` is called and asks again.
        """
        with self.lock:
            unit = worker.inbox
            worker.inbox = None
            if unit is None:
                unit = self._take(worker)
            if worker.can_nest:
                here_it_runs: Any = worker  # in a thread of this process, which may be given up
                here_it_runs.taken = unit
                if unit is not None and unit.__class__ is Task:
                    unit._worker = worker.index  # who wants it ended asks this worker from now on
            return unit

    def _take(self, worker: Worker) -> Any | None:
        """Take from the queue, or become idle; lock held."""
        if worker.lent:
            self._return_loan(worker)
        surplus = worker.index >= self.max_workers and self._is_surplus(worker)
        if surplus and worker.leaving:
            return None
        if self.queue.head and not self.killed:
            unit = self.queue.pop(self.max_workers)
            if self._putters:
                self._room()
            if unit is not None:
                return unit
        if surplus:
            worker.leaving = True
            return None
        if self._putters:
            self._room()  # who was woken for a place may have gone to an idle worker, past the queue
        if worker.can_nest and not self.killed:
            chunk = self.take_over(worker)
            if chunk is not None:
                return chunk
        if not self.should_leave() and worker not in self.idle:
            self.idle.append(worker)
        return None

    def _is_surplus(self, worker: Worker) -> bool:
        """Tell whether a worker that was lent is needed no more, and have it leave; lock held.

        But one that has only just come does what it was hired for. Who waits with a timeout, again and again,
        would have each that comes too late leave, and the next one hired.
        """
        surplus = len(self.workers) > self.max_workers + self._extra
        fresh, worker.fresh = worker.fresh, False
        if surplus and not fresh:
            worker.leaving = True
        return surplus

    def take_ready(self, worker: Worker) -> Any | None:
        """Give the next task or chunk if there is one and it is known to be short; for keeping a worker busy."""
        del worker
        if not self.queue.head:  # a hint, as in `take_more`
            return None
        with self.lock:
            head = self.queue.head
            if not head or self.killed or self.broken is not None or self.idle:
                return None
            entry = head[0]
            fn = None
            if entry.__class__ is MapJob:
                fn = entry.fn
            elif entry.__class__ is Task and entry._call:
                fn = entry._call[0]
            seconds = None if fn is None else self.pace.of(fn)
            if seconds is None or seconds > TARGET / 2:
                return None
            unit = self.queue.pop(self.max_workers)
            if self._putters:
                self._room()
            return unit

    def take_more(self, first: Task[Any], most: int) -> list[Task[Any]]:
        """Give tasks that travel with one just taken, because all are known to be short."""
        if not self.queue.head:  # a hint, read without the lock: what comes later travels later
            return []
        with self.lock:
            fn_seconds = self.pace.of(first._call[0]) if first._call is not None else None
            if fn_seconds is None or not self.queue.head or fn_seconds > TARGET:
                return []
            share = together(fn_seconds, len(self.queue.head), self.max_workers)
            tasks = self.queue.pop_small(self.pace, TARGET, min(most, share))
            if self._putters:
                self._room()
            return tasks

    def stay_out(self, worker: Worker) -> Any | None:
        """Take a worker out of ``idle`` that cannot run anything now; give what was in its inbox."""
        with self.lock:
            if worker in self.idle:
                self.idle.remove(worker)
            unit, worker.inbox = worker.inbox, None
            return unit
