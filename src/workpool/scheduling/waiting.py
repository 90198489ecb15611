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
from workpool.midway import held_here
from workpool.scheduling.ledger import sleeper_on
from workpool.scheduling.lending import Lending
from workpool.scheduling.slow_chunks import PATIENCE
from workpool.scheduling.worker import describe
from workpool.situation import here, workers_here
from workpool.task import PENDING, Task
from workpool.waits import checked_timeout, sleep_on

if TYPE_CHECKING:
    from workpool.scheduling.awaited import Wait
    from workpool.scheduling.ledger import Epoch
    from workpool.scheduling.mapjob import MapJob

__all__ = ["Waiting"]

# Workers; with so many of them, a task runs inside the one that waits for it, timeout or not.
_MOST_LENT = 32


class Waiting(Lending):
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
        try:
            with self.waiting_here():
                for epoch in epochs:
                    self._finish_epoch(epoch, until, timeout)
        finally:
            with self.lock:
                self.ledger.join_ended()

    def _finish_epoch(self, epoch: Epoch, until: float | None, timeout: float | None) -> None:
        pause = PATIENCE
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
            left = None if until is None else until - monotonic()
            woken = sleep_on(sleeper, pause if left is None else min(left, pause))
            self._forget(sleeper, epoch, open_jobs)
            if not woken:
                if left is not None and left <= pause:
                    raise self._join_timeout(timeout)
                pause = self.look_after(pause)

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
        return self.own_worker_here() is not None or self in here.calls_back

    # ----------------------------------------------- waiting for one task (task.Owner)

    def assist(self, task: Task[Any], timeout: float | None) -> Wait | None:
        """Help a task along for which the calling thread is about to wait; give what ``waited`` is to be told, if any.

        A worker of this pool that waits for a task still in the queue runs it
        itself: so a task may wait for others of its pool even with one worker. It does so
        again each time that the task comes back to the queue.
        """
        if self._orphaned is not None:
            raise self._orphaned
        if held_here() and not task.done():
            self.refuse_midway("result")
        worker = here.worker
        own: Any = None
        if worker is not None:
            own = worker if worker.scheduler is self else self.own_worker_here()
        if own is None:
            wait = None if worker is None else self._begin_wait_for(task)
            if self.later.calls or (self.queue.head and not self.workers):
                self.attend()
            # Outside: a worker may let the thread that waits read the result itself.
            runs = self.workers.get(task._worker) if task._worker is not None else None
            wait_for = getattr(runs, "wait_for", None)
            if wait_for is not None:
                wait_for(task, timeout)
            return wait
        if not task.done():
            self._refuse_hopeless(own, task)
        wait = self._assist_own(worker, task, timeout) if own is worker else None
        if own is not worker or (here.below and not task.done()):
            wait = self._begin_wait_for(task, wait)
        return wait

    def _begin_wait_for(self, task: Task[Any], wait: Wait | None = None) -> Wait:
        from workpool.scheduling.awaited import Wait

        wait = wait or Wait(task)
        wait.workers += self.begin_wait(wait)
        return wait

    def _refuse_hopeless(self, own: Any, task: Task[Any]) -> None:
        """Raise WouldDeadlock in what must return before the task can be done."""
        if not own.can_nest:
            message = (
                f"a callback of {self.name} waits for {describe(task)}, but it runs in the thread that would settle "
                "it. Submit from callbacks, or wait outside of them."
            )
            raise WouldDeadlock(message)
        for worker in workers_here():
            if worker.scheduler is self and worker.is_within(task):
                message = (
                    f"{describe(task)} of {self.name} waits for itself, or what it waits for does. "
                    "Wait for it outside of it."
                )
                raise WouldDeadlock(message)

    def _assist_own(self, worker: Any, task: Task[Any], timeout: float | None) -> Wait | None:
        """Run a task inside the worker that waits for it, again if it comes back, or lend that worker."""
        from workpool.scheduling.awaited import Wait

        wait: Wait | None = None
        short = False
        while not task.done():
            self.step_aside(worker)
            claimed = False
            try:
                with self.lock:
                    refusals = self._refusals
                    apart = not short and self._leave_to_another(worker, task, timeout)
                    if not apart:
                        claimed = self.claim(worker, task)
                if claimed:
                    worker.run_nested(task)
            except BaseException as error:  # Ctrl-C on the way to its function, or back
                # With another index, or none, it is on its way to another attempt.
                if claimed and task._worker == worker.index:
                    self.settle(task, None, error, by=worker)
                raise
            if not claimed:
                worker.looks_again = apart
                wait = wait or Wait(task)
                if self.lend_worker(worker, wait):
                    wait.workers.append(worker)
                worker.looks_again = False
                # Asked after that: who finds no thread for a worker counts on those that look again.
                short = apart and self._refusals != refusals
                if not short:
                    break
        return wait

    def _leave_to_another(self, worker: Any, task: Task[Any], timeout: float | None) -> bool:
        """Have a worker that is about to be lent take a queued task next; lock held.

        For a wait that has an end, and for a task that has a time limit. Run inside the one that waits, the first
        would be waited for to its end, whatever the timeout; and the second would take the other along when
        its thread is given up. The worker is lent and the task runs next, so it begins as soon as it would there. Not
        so inline, where the one that is lent has this very thread. Nor for a timeout if many wait like this one:
        a task that splits itself in two, and those again, would have a thread for each.
        """
        limited = task._terms.time_limit is not None
        if (timeout is None and not limited) or self._borrows_callers or worker.sets_up:
            return False
        if not limited and (worker.lent or self._extra >= _MOST_LENT):
            return False
        if self.workers.get(worker.index) is not worker or task in self._delayed:
            return False
        if task._stage is not PENDING or task._epoch is None:
            return False
        # It stands in the queue twice: whoever comes to the second finds it begun. No more than that, however
        # often it is waited for before it is.
        if task._hurried_at != task._attempts:
            self.queue.push(task, task._terms.priority, front=True)
            task._hurried_at = task._attempts
        return True

    def before_foreign_wait(self, task: Task[Any]) -> None:
        """Add a worker when one of ours waits in ``concurrent.futures.wait`` or ``as_completed``."""
        if self._orphaned is not None and not task.done():
            raise self._orphaned
        if not task.done():
            self.refuse_midway("wait")
        if here.worker is not None and not task.done():
            self.begin_wait(task)

    def before_callback(self, task: Task[Any]) -> None:
        """Hear that a loop in a worker's thread may wait for what a callback of the task tells it."""
        if not self.busy_here():
            self.before_foreign_wait(task)

    def assist_job(self, job: Any) -> None:
        """Add a worker when one of ours is about to wait for a map call of its own pool."""
        if self._orphaned is not None:
            raise self._orphaned
        if here.worker is None or job.finished:
            self.attend()
        else:
            self.begin_wait(job)


def _not_at_its_end(inputs: int) -> str:
    if not inputs:
        return ""
    what = "a map call" if inputs == 1 else f"{inputs} map calls"
    return f"; the input of {what} is not at its end"
