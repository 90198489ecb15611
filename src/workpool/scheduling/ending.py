"""Ending: of a pool, in order or at once, and of single tasks that run.

After ``close`` nothing is accepted and what was accepted still runs; after ``kill``
what is queued is cancelled and what runs is lost. Either way the workers leave
when nothing is left for them, and ``on_end`` is called by whoever sees the last one
gone.
"""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError
from time import monotonic
from typing import Any

from workpool.calm import calmly
from workpool.errors import JoinTimeout
from workpool.scheduling.mapjob import Chunk, MapJob
from workpool.scheduling.timers import Timers
from workpool.scheduling.waiting import Waiting
from workpool.situation import workers_here
from workpool.task import CANCELLED_AND_NOTIFIED, PENDING, RUNNING, Task
from workpool.waits import LOOK_AGAIN

__all__ = ["Ending"]


class Ending(Waiting):
    """Closes, kills and cancels."""

    def close(self) -> None:
        """Accept nothing more; what was accepted runs, then the workers leave."""
        if self.busy_here():
            self.later.add(self.close)
            return
        if not calmly(self._close):
            return
        self.listen()
        self.sweep()
        self._end_if_done()
        self.hire()

    def _close(self) -> bool:
        """Be closed, and wake who waits for that; in one step, also for Ctrl-C. False if it was."""
        with self.lock:
            if self.closed:
                return False
            self.enter_late()
            self.closed = True
            for job in self.ledger.open_jobs:
                self._cut_off(job)
            self._putters.serve_all()
            if not self.ledger.anything_left:
                self._rouse()
            return True

    def _cut_off(self, job: MapJob) -> None:
        """Pull no more of a map call; what is pulled runs, and its consumer hears why there is no more; lock held."""
        job.cut_off(
            CancelledError(
                f"{self.name} was closed when {job.pulled} items of this map call were pulled: the rest of its input "
                "was not, and has no results. To have all of it run, use shutdown(), or join() before close()."
            )
        )

    def shut_down(self, *, wait: bool, cancel: bool) -> None:
        """Accept nothing more; run or cancel what is left, and see the workers gone if that is asked for.

        Whatever ends the waiting: the pool is closed, and its workers leave. An input that raises
        holds up no other; its error is told when all is done.
        """
        if wait:
            self.refuse_inside("shutdown")
        failed: BaseException | None = None
        try:
            if wait and not cancel:
                failed = self._pull_all()
        except BaseException:
            self.close()
            raise
        self.close()
        if cancel:
            self.cancel_queued()
        if wait:
            self.drain()
        try:
            if failed is not None:
                raise failed
        finally:
            del failed  # no cycle through the traceback

    def _pull_all(self) -> BaseException | None:
        """Join while there is input to be pulled; give the first error that an input raised."""
        first: BaseException | None = None
        while jobs := self.ledger.open_jobs:
            try:
                self.join(None)
            except Exception as error:
                # Or it was cut off by somebody else, and raised all the same.
                if not any(job.input_failed or job.exhausted for job in jobs):
                    raise
                first = error if first is None else first
        return first

    def let_go(self) -> None:
        """Close, when the map calls that somebody still consumes are done; for a pool that was collected."""
        if self.closed and self.on_end is None and not (self.litter or self.later.calls):
            return  # it has ended, as nearly all have by then
        self.without_lock(self._let_go_now)

    def _let_go_now(self) -> None:
        with self.lock:
            for job in self.ledger.open_jobs:
                if job.unseen:
                    self._cut_off(job)
            if self.ledger.open_jobs:
                self._let_go = True
                return
        self.close()
        self.sweep()

    def overlook(self, job: MapJob) -> None:
        """Run a map call to its end although nobody has its results any more, unless the pool is gone as well."""
        job.unseen = True
        if self._let_go:  # else whoever lets go of the pool sees it
            self._let_go_now()

    def drain(self, until: float | None = None) -> bool:
        """Wait until every worker has left; tell whether all have."""
        with self.waiting_here():
            return self._drain(until)

    def _drain(self, until: float | None) -> bool:
        ours = workers_here()
        while True:
            self.watch_what_runs()
            with self.lock:
                workers = [w for w in self.workers.values() if w not in ours]
                # Also after kill(), which may still be at it in another thread.
                undone = self.ledger.anything_left and not self.is_inside()
                if self._orphaned is not None:
                    undone = False  # in a forked child: what is not done here never will be
            if not workers and not undone:
                self._end_if_done()
                return self._ended_elsewhere(until)
            if not workers:
                # A task pauses before its next attempt, and no worker is here meanwhile.
                try:
                    self.join(None if until is None else max(0.0, until - monotonic()))
                except JoinTimeout:
                    return False
                self._end_if_done()
            for worker in workers:
                if not worker.join(None if until is None else max(0.0, until - monotonic())):
                    return False

    def _ended_elsewhere(self, until: float | None) -> bool:
        """Wait for another thread that gives back what the pool had, if one does; tell whether it has."""
        while True:
            with self.lock:
                ending = self._ending
                interrupted = self.on_end is not None
            if interrupted:
                self._end_if_done()  # by Ctrl-C: the rest is for us
                return True
            if ending is None or ending[0] == threading.get_ident():
                return True
            left = None if until is None else max(0.0, until - monotonic())
            if ending[1].wait(LOOK_AGAIN if left is None else min(left, LOOK_AGAIN)):
                with self.lock:
                    if self._ending is ending:
                        self._ending = None
            elif left is not None and left <= LOOK_AGAIN:
                return False

    def cancel_queued(self) -> int:
        """Cancel everything that has not started; give how many tasks that were."""
        if self.busy_here():
            self.later.add(self.cancel_queued)
            return 0
        cancelled = calmly(self._cancel_queued)
        self._end_if_done()
        return cancelled

    def _cancel_queued(self) -> int:
        """Take all that waits off the queue, and settle it: in one step, or a part of it would be on no list."""
        with self.lock:
            self.enter_late()
            self.called_off = True
            pausing = [*self._delayed]
            for unit in pausing:
                self._end_pause(unit)
            entries = [*self.queue.clear(), *pausing]
            before = self.ledger.unfinished
            announce: list[Task[Any]] = []
            for entry in entries:
                if entry.__class__ is not Task:
                    (entry.job if entry.__class__ is Chunk else entry).close()
                    if entry.__class__ is Chunk:
                        entry.job.drop(entry.size)
                elif entry._stage is PENDING:
                    entry._stage = CANCELLED_AND_NOTIFIED
                    self.litter.append(entry._call)
                    entry._drop_call()
                    self.withdrew(entry)
                    if entry._extras is None:
                        self.count_done(entry)
                    else:
                        announce.append(entry)
            cancelled = before - self.ledger.unfinished
            for worker in self.workers.values():
                worker.ask_to_end(None)
        for task in announce:
            self.tell(task, task._extras)  # type: ignore[arg-type]  # it had extras, and they stay
        self.sweep()
        return cancelled + len(announce)

    def kill(self) -> None:
        """End the workers now; cancel what is queued, lose what runs."""
        if self.busy_here():
            self.later.add(self.kill)
            return
        calmly(self._kill)
        self._end_if_done()

    def _kill(self) -> None:
        """Settle all there is, and have the workers leave: in one step, or some would sleep for ever."""
        with self.lock:
            self.enter_late()
            self.closed = True
            self.killed = True
            for job in self.ledger.open_jobs:
                job.close()
            self._putters.serve_all()
        self._cancel_queued()
        self._hurry_delayed()
        with self.lock:
            workers = list(self.workers.values())
        for worker in workers:
            worker.kill()
        with self.lock:
            self._rouse()

    def orphan(self, reason: BaseException) -> None:
        """Become unusable in a forked child: no worker is here, and none can be."""
        self.broken = self._orphaned = reason
        self.timers = Timers(
            f"{self.name}-timers"
        )  # a thread that is not here may have held the lock of those
        self.workers.clear()
        self.idle.clear()
        self.beginning.clear()
        self.on_end = self._ending = None

    # ------------------------------------------------------ a task that runs (owner.Owner)

    def ask_to_end(self, task: Task[Any]) -> None:
        """Tell the worker that has a running task to let it see that it is not wanted (owner.Owner)."""
        with self.lock:
            worker = self.workers.get(task._worker) if task._worker is not None else None
        if worker is not None:
            worker.ask_to_end(task)

    def kill_task(self, task: Task[Any]) -> bool:
        """End a task that runs, or is on its way to who would run it (owner.Owner)."""
        if calmly(self._cut_on_its_way, task):
            return True
        with self.lock:
            worker = self.workers.get(task._worker) if task._worker is not None else None
            if task._stage is not RUNNING or worker is None:
                return task.cancelled()  # also by another thread that was first
        return worker.end_task(task)

    def _cut_on_its_way(self, task: Task[Any]) -> bool:
        """Cancel a task that counts as running and that no worker has yet; in one step, also for Ctrl-C.

        Without a worker it is in an inbox, in the hands of a driver that has not sent
        it, or of whoever takes it back to the queue. It is given a worker under the lock only
        (``next_unit``, ``assign``), and whoever has it in hand looks under the lock whether it
        still runs. So nobody begins it after this, and no worker is ended for it.
        """
        with self.lock:
            if task._stage is not RUNNING or task._worker is not None:
                return False
            for worker in self.workers.values():
                if worker.inbox is task:
                    worker.inbox = None  # it has been woken, and finds something else, or nothing
            self.cut(task)
        self.tell_cancelled(task)
        return True
