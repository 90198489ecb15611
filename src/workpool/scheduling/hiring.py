"""Workers' lives: hired on demand, replaced, forgotten; and what becomes of work nobody can do.

A worker that cannot be started leaves its work to the others. When there are none,
what waits fails with the reason: a task is never left pending. What a worker took
and did not start goes back to the front of the queue.
"""

from __future__ import annotations

import threading
from itertools import count
from typing import TYPE_CHECKING, Any

from workpool.errors import WorkerLost, anew
from workpool.headroom import ensure_headroom
from workpool.scheduling.chunk import Alike
from workpool.scheduling.mapjob import Chunk, MapJob, Piece
from workpool.scheduling.settling import Settling
from workpool.task import PENDING, RUNNING, Task
from workpool.waits import Event

if TYPE_CHECKING:
    from workpool.scheduling.worker import Worker

__all__ = ["Hiring"]

_LEAST = 30  # frames in which a worker is started, or what waits fails because it could not be
_MOST_FAILED = 1_024  # items in one piece: as many errors are made at once, with the lock held


class Hiring(Settling):
    """Starts and forgets workers, and sees to what they leave behind."""

    def hire(self) -> None:
        """Start workers while there is more in the queue than idle workers to take it."""
        if self.busy_here():  # by a finalizer's submit in a step of another pool
            self.later.add(self.hire)
            return
        while True:
            worker: Worker | None = None
            try:
                with self.lock:
                    if not self.queue or self.killed or self.broken is not None:
                        return
                    if self.idle:
                        self._rouse(1)
                        return
                    index = self._vacancy()
                    if index is None:
                        return
                    ensure_headroom(_LEAST)
                    worker = self.workers[index] = self._make_worker(self, index)
                worker.start()
            except BaseException as error:
                if _is_refusal(error, worker):
                    if worker is None:
                        raise
                    self._never_started(worker, error)
                    return
                # Ctrl-C on the way: a worker that is known and never comes would be waited for.
                if worker is not None and not worker.started:
                    with self.lock:
                        if self.workers.get(worker.index) is worker:
                            del self.workers[worker.index]
                    worker.never_begins()
                self.unattended()
                raise
            with self.lock:
                head = self.queue.head
                if not (len(head) > 1 or (head and head[0].__class__ is MapJob)):
                    return

    def attend(self) -> None:
        """Hire for what an interrupted call left without a worker; by whoever is about to wait.

        What was put off, and no thread could be had for, is done as well.
        """
        if self.later and not self.busy_here():
            self.later.catch_up()
        # With a worker there, what is queued has one; it may be starting still.
        if self.queue.head and not self.workers:
            self.hire()

    def unattended(self) -> None:
        """See that what is queued is attended to, though the thread that should have hired for it was interrupted.

        Another thread hires; where tasks run in the thread of their callers, it is one
        that waits for them.
        """
        if self._borrows_callers:
            with self.lock:
                self.ledger.rouse_all()
        else:
            self.later.add(self.hire)

    def _never_started(self, worker: Worker, error: BaseException) -> None:
        """Leave the work of a worker that the system had no thread for to the others, or fail what waits.

        Others are those that come for it: not one that has lent, and sleeps until somebody has done that work.
        """
        with self.lock:
            self.workers.pop(worker.index, None)
            self._refusals += 1
            others = not all(_sleeps(one) for one in self.workers.values())
        if not others:
            self.fail_all(self._cannot_start(error))

    def _vacancy(self) -> int | None:
        """Give the smallest index without a worker, if there may be one more; lock held."""
        if len(self.workers) >= self.max_workers + self._extra:
            return None
        return next(index for index in count() if index not in self.workers)

    def _cannot_start(self, error: BaseException) -> BaseException:
        lost = WorkerLost(
            f"{self.name} could start no worker: {error}. Free threads, processes or memory, and submit again."
        )
        lost.__cause__ = error
        return lost

    def replace(self, worker: Worker, *, start: bool = True) -> None:
        """Put a new worker with the same index in the place of one that is written off."""
        with self.lock:
            if self.workers.get(worker.index) is not worker or self.should_leave():
                return
            if worker in self.idle:
                self.idle.remove(worker)
            if worker.lent:
                self._return_loan(worker)
            fresh = self.workers[worker.index] = self._make_worker(self, worker.index)
        if start:
            try:
                fresh.start()
            except (RuntimeError, OSError) as error:
                if not _is_refusal(error, fresh):
                    raise
                self._never_started(fresh, error)

    def left(self, worker: Worker, *, hire: bool = True) -> None:
        """Forget a worker that has ended, and hire others if there is more to do."""
        with self.lock:
            if self.workers.get(worker.index) is worker:
                del self.workers[worker.index]
            if worker in self.idle:
                self.idle.remove(worker)
            if worker.lent:
                self._return_loan(worker)
            unit, worker.inbox = worker.inbox, None
            last = not self.workers and self.should_leave()
        if unit is not None:
            self.give_back([unit])
        if last:
            self._end_if_done()
        elif hire:
            self.hire()

    def _end_if_done(self) -> None:
        """Give back what the pool had, when it is closed and its last worker has left.

        One thread does; who drains the pool meanwhile waits for it. If Ctrl-C comes before that is told,
        whoever waits, or asks for the end next, does it once more.
        """
        if self.on_end is None:  # that was done, or is being done
            return
        on_end = None
        ending = threading.get_ident(), Event()
        try:
            with self.lock:
                if self.workers or not self.should_leave() or self.on_end is None:
                    return
                # No call in between, and so no signal.
                on_end, self.on_end, self._ending = self.on_end, None, ending
            self.timers.close()
            on_end()
            ending[1].set()
        except BaseException:
            if on_end is not None:
                self.on_end = on_end  # who waits looks for it now and then
            raise

    # ----------------------------------------------------- work that comes back, or fails

    @property
    def free_hands(self) -> int:
        """Workers that have nothing to do, or may be started: as of this moment, without the lock a guess."""
        return len(self.idle) + max(0, self.max_workers - len(self.workers))

    def share_out(self, units: list[Any]) -> None:
        """Queue again what a worker did not start for the slow call in front of it.

        In a part for each that is free, and one for whoever is next: most likely that worker, when its call has ended.
        """
        with self.lock:
            free = self.free_hands
        self.give_back(
            [
                part
                for unit in units
                for part in ((unit,) if unit.__class__ is Task else unit.parts(free + 1))
            ]
        )

    def give_back(self, units: list[Any], *, front: bool = True) -> None:
        """Queue again what a worker did not start (or failed to end): in order, before all others."""
        if not units:
            return
        failed: list[Task[Any]] = []
        cancelled: list[Task[Any]] = []
        with self.lock:
            # What has not begun comes back after `cancel_queued`, too, which found it in no queue.
            gone = self.killed or self.broken is not None or self.called_off
            for unit in reversed(units) if front else units:
                if unit.__class__ is Task:
                    if unit._stage is not RUNNING:
                        continue
                    if self.broken is not None and not unit._unwanted:
                        failed.append(unit)
                        continue
                    if gone or unit._unwanted:
                        self.cut(unit)
                        cancelled.append(unit)
                        continue
                    unit._stage = PENDING
                    unit._worker = None  # who had it has no say any more
                    self.queue.waiting += 1
                    self.queue.push(unit, unit._terms.priority, front=front)
                elif gone:
                    unit.job.close(None if self.broken is None else anew(self.broken))
                    unit.job.drop(unit.size)
                else:
                    self.queue.push(unit, unit.job.terms.priority, front=front)
            self._rouse(len(units))
        for task in failed:
            self.settle(task, None, self._refusal())
        for task in cancelled:
            self.tell_cancelled(task)
        self.hire()

    def _hurry_delayed(self) -> None:
        """Bring to an end what waits for its next attempt, because none will come."""
        with self.lock:
            delayed = list(self._delayed)
            for unit in delayed:
                self._end_pause(unit)
                if unit.__class__ is Task and unit._stage is PENDING:
                    unit._stage = RUNNING  # claimed: settled by give_back
                    self.queue.waiting -= 1
        self.give_back(delayed, front=False)

    def fail_all(
        self, reason: BaseException, *, for_good: bool = False, later: BaseException | None = None
    ) -> None:
        """Fail everything that waits; with ``for_good``, also what comes later (with ``later``, if that is given)."""
        with self.lock:
            if for_good and self.broken is None:
                self.broken = reason if later is None else later
            entries = self.queue.clear()
            tasks: list[Task[Any]] = []
            for entry in entries:
                if entry.__class__ is Task:
                    if entry._stage is PENDING and entry not in self._delayed:
                        entry._stage = RUNNING  # claimed: settled below
                        self.queue.waiting -= 1
                        tasks.append(entry)
                else:
                    job = entry.job if entry.__class__ is Chunk else entry
                    self._fail_job(job, entry, reason)
            if for_good:
                for job in self.ledger.open_jobs:
                    job.cut_off(anew(reason))
            self._putters.serve_all()
        self.sweep()
        for task in tasks:
            self.settle(task, None, anew(reason))
        if for_good:
            self._hurry_delayed()
            with self.lock:
                self._rouse()

    def _fail_job(self, job: MapJob, entry: Any, reason: BaseException) -> None:
        """Give every undrawn item of a map call the error, each one of its own when it is fetched; lock held."""
        if entry.__class__ is not Chunk:
            job.cut_off(anew(reason))
        more = True
        while more:
            chunk, more = entry.draw(1, most=entry.undrawn)
            if chunk is not None:
                self.litter.append(chunk)
                for first in range(0, chunk.size, _MOST_FAILED):
                    size = min(_MOST_FAILED, chunk.size - first)
                    job.deliver(Piece(chunk.start + first, [None] * size, Alike(size, reason)))


def _sleeps(worker: Any) -> bool:
    """Tell whether a worker waits for others, as far as is known, and takes nothing meanwhile."""
    if not worker.lent or worker.looks_again:
        return False
    waits = (worker.lends_for, worker.waits_on)
    return any(awaited is not None and awaited.last() for awaited in waits)


def _is_refusal(error: BaseException, worker: Worker | None) -> bool:
    """Tell whether the system had nothing to start a worker with.

    A time limit's exception, or an alarm's, is an OSError too: what strikes on the way is no refusal.
    """
    if worker is None and isinstance(error, RecursionError):
        return False  # it was the caller who had no room left for that
    kinds = isinstance(error, (RuntimeError, OSError)) and not isinstance(error, TimeoutError)
    return kinds and not (worker is not None and worker.started)
