"""Waiting for tasks: joins, and workers that wait for tasks of their own pool.

A join sleeps until its epochs are empty, and pulls the input of open map calls in
its own thread. A worker that waits for its own pool runs the task itself or gets
one worker more, so that it makes progress even with one worker; what could
only wait for itself is refused.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool.errors import JoinTimeout, WouldDeadlock
from workpool.scheduling.hiring import Hiring
from workpool.scheduling.ledger import sleeper_on
from workpool.scheduling.worker import describe
from workpool.situation import here
from workpool.task import PENDING, Task
from workpool.waits import checked_timeout, sleep_on

if TYPE_CHECKING:
    from workpool.scheduling.ledger import Epoch
    from workpool.scheduling.mapjob import MapJob

__all__ = ["Waiting"]

# Workers; with so many of them, a task runs inside the one that waits for it, timeout or not.
_MOST_LENT = 32


class Waiting(Hiring):
    """Lets threads wait for what was submitted, and helps it along."""

    def join(self, timeout: float | None) -> None:
        """Wait until everything submitted so far is done, open map calls included."""
        timeout = checked_timeout(timeout)
        if self._orphaned is not None:
            raise self._orphaned
        self.refuse_inside("join")
        until = None if timeout is None else monotonic() + timeout
        with self.lock:
            self.enter_late()
            epochs = self.ledger.seal()
        for epoch in epochs:
            self._finish_epoch(epoch, until, timeout)

    def _finish_epoch(self, epoch: Epoch, until: float | None, timeout: float | None) -> None:
        while True:
            # The input of open map calls is pulled here, in the thread that joins.
            for job in list(epoch.open_jobs):
                job.pull(until, by="join")
            self.attend()
            late = until is not None and monotonic() >= until
            with self.lock:
                open_jobs = list(epoch.open_jobs)
                if not epoch.left and not open_jobs:
                    return
                if not late and any(job.could_pull() for job in open_jobs):
                    continue  # what was in the way of pulling settled before we could sleep on it
                sleeper = sleeper_on(epoch)
                for job in open_jobs:
                    job.watchers.append(sleeper)
            self.listen()
            if sleep_on(sleeper, None if until is None else until - monotonic()):
                self._forget(sleeper, epoch, open_jobs)
                continue
            self._forget(sleeper, epoch, open_jobs)
            raise self._join_timeout(timeout)

    def _forget(self, sleeper: Any, epoch: Epoch, jobs: list[MapJob]) -> None:
        with self.lock:
            for sleepers in (epoch.sleepers, *(job.watchers for job in jobs)):
                if sleeper in sleepers:
                    sleepers.remove(sleeper)

    def _join_timeout(self, timeout: float | None) -> JoinTimeout:
        running = self.running()
        with self.lock:
            unfinished, inputs = self.ledger.unfinished, len(self.ledger.open_jobs)
        shown = ", ".join(f"{name} for {age:.1f} s" for name, age in running[:5])
        more = f" and {len(running) - 5} more" if len(running) > 5 else ""
        return JoinTimeout(
            f"{self.name}: {unfinished} tasks are not done after {timeout} s; "
            f"running: {shown or 'none'}{more}{_not_at_its_end(inputs)}. "
            "The pool stays open: join again, or cancel what hangs.",
            unfinished=unfinished,
            running=tuple(running),
        )

    def running(self) -> list[tuple[str, float]]:
        """Name every task that runs now, with its age in seconds, oldest first."""
        with self.lock:
            workers = list(self.workers.values())
        found = [entry for worker in workers for entry in worker.running()]
        return sorted(found, key=lambda entry: -entry[1])

    def refuse_inside(self, call: str) -> None:
        """Raise WouldDeadlock in a task or callback of this very pool, and in the input of a map call of it."""
        self.refuse_midway(call)
        if self.is_inside():
            message = (
                f"{call}() of {self.name} was called by one of its own workers (in a task, or in a callback "
                "of one) and would wait for itself. Call it from outside, or wait for single tasks."
            )
            raise WouldDeadlock(message)
        if any(job.host is self for job in here.pulls_for):
            message = (
                f"{call}() of {self.name} was called by the input of a map call of it, which is pulled by this very "
                "thread, and would wait for itself. Call it from outside, or wait for single tasks."
            )
            raise WouldDeadlock(message)

    def is_inside(self) -> bool:
        """Tell whether the caller is a task or a callback of this very pool, in whatever thread."""
        worker = here.worker
        return (worker is not None and worker.scheduler is self) or here.calls_back is self

    # ----------------------------------------------- waiting for one task (task.Owner)

    # A pool with work never stands still because its workers wait for it. Guarantees:
    #
    # *Who sleeps has lent.* A worker of this pool that is about to sleep until a task or a map call of this
    #     pool is done has a loan first: whatever it waits for, wherever that is now, and whether or not
    #     something is queued. What is with another worker may come back to the queue, what pauses does so, and
    #     input that some thread has in hand is queued later: nobody would ask the sleeper again. So there are as
    #     many loans as sleepers, at least, and with ``max_workers`` and the loans all taken, ``max_workers`` are awake.
    # *A vacancy is seen by who queues.* Loans are made, and what is queued is queued, under the lock; each then looks
    #     for the other, and the one who comes second hires.
    # *A loan is given back once, by its borrower's own thread*, at the end of the wait or before it takes its next
    #     task, or by whoever forgets that worker (``replace``, ``left``). A worker that is in no book has none.

    def assist(self, task: Task[Any], timeout: float | None) -> bool:
        """Help a task along for which the calling thread is about to wait; tell whether that is lent a worker.

        A worker of this pool that waits for a task still in the queue runs it
        itself: so a task may wait for others of its pool even with one worker. It does so
        again each time that the task comes back to the queue. What it lent is to be taken back by ``waited``.
        """
        if self._orphaned is not None:
            raise self._orphaned
        if not task.done():
            self.refuse_midway("result")
        worker = here.worker
        if worker is None or worker.scheduler is not self:
            if worker is not None:
                self._avoid_circle(worker, task)
            self.attend()
            # Outside: a worker may let the thread that waits read the result itself.
            runs = self.workers.get(task._worker) if task._worker is not None else None
            wait_for = getattr(runs, "wait_for", None)
            if wait_for is not None:
                wait_for(task, timeout)
            return False
        if not worker.can_nest and not task.done():
            message = (
                f"a callback of {self.name} waits for {describe(task)}, but it runs in the thread that would settle "
                "it. Submit from callbacks, or wait outside of them."
            )
            raise WouldDeadlock(message)
        lent: bool = self._assist_own(worker, task, timeout)
        return lent

    def _assist_own(self, worker: Any, task: Task[Any], timeout: float | None) -> bool:
        """Run a task inside the worker that waits for it, again if it comes back, or lend that worker."""
        lent = False
        while not task.done():
            claimed = False
            try:
                with self.lock:
                    if timeout is None or not self._leave_to_another(worker, task):
                        claimed = self.claim(worker, task)
                if claimed:
                    worker.run_nested(task)
            except BaseException as error:  # Ctrl-C on the way to its function, or back
                # With another index, or none, it is on its way to another attempt.
                if claimed and task._worker == worker.index:
                    self.settle(task, None, error, by=worker)
                raise
            if not claimed:
                lends = self.lend_worker(worker)
                lent = lent or lends
                if not lends or timeout is None or not self._is_short_of_threads():
                    break
        return lent

    def _leave_to_another(self, worker: Any, task: Task[Any]) -> bool:
        """Have a worker that is about to be lent take a queued task next; for a wait that has an end; lock held.

        Run inside the one that waits, the task would be waited for to its end, whatever the timeout. The
        worker is lent and the task runs next, so it begins as soon as it would there. Not so
        inline, where the one that is lent has this very thread, nor if many wait like this one:
        a task that splits itself in two, and those again, would have a thread for each.
        """
        if self._borrows_callers or worker.lent or self._extra >= _MOST_LENT:
            return False
        if self.workers.get(worker.index) is not worker or task in self._delayed:
            return False
        if task._stage is not PENDING or task._epoch is None:
            return False
        # It stands in the queue twice: whoever comes to the second finds it begun.
        self.queue.push(task, task._terms.priority, front=True)
        return True

    def _is_short_of_threads(self) -> bool:
        """Tell whether there could be one worker more, and is not: the system had no thread for it."""
        with self.lock:
            return self._vacancy() is not None

    def waited(self) -> None:
        """Take back what was lent for a wait of this thread, which is over."""
        worker = here.worker
        with self.lock:
            if worker.lent:
                self._return_loan(worker)

    def before_foreign_wait(self, task: Task[Any]) -> None:
        """Add a worker when one of ours waits in ``concurrent.futures.wait`` or ``as_completed``."""
        if self._orphaned is not None and not task.done():
            raise self._orphaned
        if not task.done():
            self.refuse_midway("wait")
        worker = here.worker
        if worker is None or task.done():
            return
        if worker.scheduler is self:
            self.lend_worker(worker)
        else:
            self._avoid_circle(worker, task)

    def assist_job(self, job: Any) -> None:
        """Add a worker when one of ours is about to wait for a map call of its own pool."""
        if self._orphaned is not None:
            raise self._orphaned
        worker = here.worker
        if worker is None or job.finished:
            self.attend()
        elif worker.scheduler is self:
            self.lend_worker(worker)
        else:
            self._avoid_circle(worker, job)

    def _avoid_circle(self, worker: Any, what: Any) -> None:
        """Add a worker where one pool waits for another, whose workers all wait for other pools.

        Two things make a circle: somebody waits for us, and none of our workers is
        free. Whoever makes one of them true looks under our lock for the other, and so
        one of two who do so at once sees both. That nothing is queued is no reason not to lend:
        what is waited for may pause, and be queued later.
        """
        from workpool.scheduling.awaited import Awaited

        with worker.scheduler.lock:
            worker.waits_on = worker.waits_on or Awaited()
            worker.waits_on.add(what)
        with self.lock:
            self._awaited = self._awaited or Awaited()
            self._awaited.add(what)
        self._lend_if_all_wait()
        worker.scheduler._lend_if_all_wait()

    def _lend_if_all_wait(self) -> None:
        with self.lock:
            ours: list[Any] = list(self.workers.values())
            if self._vacancy() is not None or self._awaited is None or not self._awaited.last():
                return
            lender = next((one for one in ours if not one.lent), None)
            # One that has lent waits for this very pool, or did a moment ago.
            if lender is None or not all(one.lent or _waits(one) for one in ours):
                return
            lender.lent = True
            self._extra += 1
        self.hire()

    def lend_worker(self, worker: Any) -> bool:
        """Allow one worker more while this one waits for its own pool; False if it has lent already, or may not."""
        with self.lock:
            # One that is given up has a successor, and would have nobody to give the loan back for it.
            lends = not worker.lent and self.workers.get(worker.index) is worker
            if lends:
                worker.lent = True
                self._extra += 1
            queued = bool(self.queue.head)
        if queued:
            self.hire()  # also for one that has lent before: inline it is this thread that works
        return lends


def _not_at_its_end(inputs: int) -> str:
    if not inputs:
        return ""
    return (
        f"; the input of {'a map call' if inputs == 1 else f'{inputs} map calls'} is not at its end"
    )


def _waits(worker: Any) -> bool:
    """Tell whether a worker waits for another pool; a loop over what is done first may have ended early."""
    return worker.waits_on is not None and worker.waits_on.last()
