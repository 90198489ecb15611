"""Loans: one worker more for each that waits, where the rest could not do what is waited for.

A pool with work never stands still because its workers wait for it, or for other pools that
wait for it. Guarantees:

*Who sleeps has lent.* A worker of this pool that is about to sleep until a task or a map call of this
    pool is done has a loan first: whatever it waits for, wherever that is now, and whether or not
    something is queued. What is with another worker may come back to the queue, what pauses does so, and
    input that some thread has in hand is queued later: nobody would ask the sleeper again. So there are as
    many loans as sleepers, at least, and with ``max_workers`` and the loans all taken, ``max_workers`` are awake.
*A vacancy is seen by who queues.* Loans are made, and what is queued is queued, under the lock; each then looks
    for the other, and the one who comes second hires.
*A loan is given back once, by its borrower's own thread*, at the end of the wait or before it takes its next
    task, or by whoever forgets that worker (``replace``, ``left``). A worker that is in no book has none.
*A circle of pools is seen by who closes it.* Somebody waits for us, and none of our workers is awake, or one of them
    waits for a pool that waits for us: whoever makes one of that true looks for all of it: who begins to wait, and a
    worker that leaves.
*Who sleeps holds nothing.* A finalizer strikes a thread also between two tasks, when the next one is its already, or
    when it stands among the idle. Before it waits there, what has not begun goes back to the queue.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

from workpool.errors import WouldDeadlock
from workpool.scheduling.slow_chunks import SlowChunks
from workpool.situation import here, workers_here

if TYPE_CHECKING:
    from collections.abc import Generator

    from workpool.scheduling.awaited import Wait
    from workpool.scheduling.worker import Worker

__all__ = ["Lending"]


class Lending(SlowChunks):
    """Lets a worker more be hired for one that waits, and knows who waits for whom."""

    def begin_wait(self, what: Any) -> list[Any]:
        """Hear that this thread begins to wait for something of this pool; give the workers to hear of its end.

        A thread may be that of several workers: an inline pool runs its tasks in that of the task that submits.
        """
        heard: list[Any] = []
        own = self.own_worker_here()
        for worker in workers_here():
            if worker is own:
                if self.lend_worker(worker, what):
                    heard.append(worker)
            elif worker.scheduler is not self:
                self.avoid_circle(worker, what)
                heard.append(worker)
        return heard

    def waited(self, wait: Wait) -> None:
        """Take back what was lent for a wait of this thread, which is over."""
        wait.over = True
        for worker in wait.workers:
            worker.scheduler.is_awake(worker, lent_here=worker.scheduler is self)

    def is_awake(self, worker: Any, *, lent_here: bool) -> None:
        """Take back what one of ours has lent, here or for another pool, if nothing else lasts that it waits for.

        In an event loop it may wait for several things.
        """
        with self.lock:
            if worker.lent and (lent_here or not (_waits(worker) or _waits_here(worker))):
                self._return_loan(worker)
        if self._awaited is not None:
            self.lend_in_circle()  # for what else it waits for

    @contextmanager
    def waiting_for_room(self, *, in_loop: bool = False) -> Generator[None]:
        """Have help in a worker that waits for room in this pool's queue, or for a thread that does.

        In a loop others may wait meanwhile.
        """
        from workpool.scheduling.awaited import Wait

        wait = Wait()
        heard = self.begin_wait(wait)
        if not in_loop:  # there it is given back when the task ends
            wait.workers = heard
        try:
            yield
        finally:
            self.waited(wait)

    @contextmanager
    def waiting_here(self) -> Generator[None]:
        """Have it known to other pools that workers of them wait for this one as a whole."""
        if here.worker is None:
            yield
            return
        from workpool.scheduling.awaited import Wait

        wait = Wait()
        wait.workers = [worker for worker in workers_here() if worker.scheduler is not self]
        for worker in wait.workers:
            self.avoid_circle(worker, wait)
        try:
            yield
        finally:
            self.waited(wait)

    def own_worker_here(self) -> Any:
        """Give the worker of this pool that has this thread, the one that began last; None if there is none."""
        for worker in workers_here():
            if worker.scheduler is self:
                return worker
        return None

    def lend_worker(self, worker: Any, what: Any = None) -> bool:
        """Allow one worker more while this one waits for its own pool; False if it has lent already, or may not."""
        from workpool.scheduling.awaited import Awaited

        if worker.sets_up:
            message = (
                f"a worker of {self.name} waits for this very pool in its initializer, or on the way into its "
                "worker_context. Who would work meanwhile had to begin in the same way. Wait in a task."
            )
            raise WouldDeadlock(message)
        self.step_aside(worker)
        with self.lock:
            if what is not None:
                worker.lends_for = worker.lends_for or Awaited()
                worker.lends_for.add(what)
            # One that is given up has a successor, and would have nobody to give the loan back for it.
            lends = not worker.lent and self.workers.get(worker.index) is worker
            if lends:
                worker.lent = True
                self._extra += 1
            queued = bool(self.queue.head)
        if queued:
            self.hire()  # also for one that has lent before: inline it is this thread that works
        if self._awaited is not None:
            self.lend_in_circle()
        return lends

    def step_aside(self, worker: Any) -> None:
        """Give back what a worker holds that has not begun, and have it ask again later; in its own thread.

        With a task or an item under way it has nothing more.
        """
        if not worker.can_nest or worker.task is not None or worker.chunk is not None:
            return
        units: list[Any] = []
        with self.lock:
            if worker.inbox is not None:  # it has been woken for it
                units.append(worker.inbox)
                worker.inbox = None
            elif worker in self.idle:
                self.idle.remove(worker)
                _wake(worker)
            elif worker.took and worker.taken is not None:
                units.append(worker.taken)
                worker.taken, worker.took = None, False
                _wake(worker)
        if units:
            self.give_back(units)
        elif self.queue.head:
            self.hire()  # it may have been woken for what is there

    def avoid_circle(self, worker: Any, what: Any) -> None:
        """Add a worker where one pool waits for another, whose workers all wait for other pools.

        That nothing is queued is no reason not to lend: what is waited for may pause, and be queued later.
        """
        from workpool.scheduling.awaited import Awaited

        worker.scheduler.step_aside(worker)
        with worker.scheduler.lock:
            if not _waits(worker):
                worker.waits_at = ()  # of waits that are over
            where = ref(self)
            if where not in worker.waits_at:
                worker.waits_at = (*worker.waits_at, where)
            worker.waits_on = worker.waits_on or Awaited()
            worker.waits_on.add(what)
        with self.lock:
            self._awaited = self._awaited or Awaited()
            self._awaited.add(what)
        # Who closes a circle sees all of it; and any pool in it may be the one that stands still.
        for pool in {self, worker.scheduler, *self._reached()}:
            pool.lend_in_circle()

    def lend_in_circle(self) -> None:
        """Allow one worker more if somebody waits for this pool, and its workers wait: all, or one of them in a circle.

        There others may be busy, and with what ends only when the circle has. Where it is no circle, they come
        to what is waited for.
        """
        circular = False
        while True:
            with self.lock:
                if self._vacancy() is not None:  # there may be more workers than loans
                    break
                if self._awaited is None or not self._awaited.last():
                    return
                lender = self._lender(circular=circular)
                if lender is not None:
                    lender.lent = True
                    self._extra += 1
                    continue
            if circular or self not in self._reached():
                return
            circular = True
        self.hire()

    def _lender(self, *, circular: bool) -> Any:
        """Give a worker that waits for another pool, and has not lent; lock held. Without a circle all have to wait."""
        ours: list[Any] = list(self.workers.values())
        if not circular and not all(one.lent or _waits(one) for one in ours):
            return None
        return next((one for one in ours if _waits(one) and not (one.lent or one.sets_up)), None)

    def _reached(self) -> set[Lending]:
        """List the pools that workers of this one wait for, those that workers of these do, and so on: maybe this one.

        Whoever begins to wait has noted it before it looks: so the last one in a circle sees the whole.
        """
        seen: set[Lending] = set()
        ahead: list[Lending] = [self]
        while ahead:
            fresh = [pool for pool in ahead.pop()._waits_for_pools() if pool not in seen]
            seen.update(fresh)
            ahead += fresh
        return seen

    def _waits_for_pools(self) -> list[Lending]:
        with self.lock:
            workers: list[Any] = [one for one in self.workers.values() if _waits(one)]
            found = [pool() for one in workers for pool in one.waits_at]
        return [pool for pool in found if pool is not None]

    def left(self, worker: Worker, *, hire: bool = True) -> None:
        """Forget a worker that has ended; it may have been the only one that did not wait."""
        super().left(worker, hire=hire)
        if hire and self._awaited is not None:
            self.lend_in_circle()


def _wake(worker: Any) -> None:
    """Have a worker not fall asleep; it may have been woken already, once too often, by a submit that was cut short."""
    with suppress(RuntimeError):
        worker.wake()


def _waits_here(worker: Any) -> bool:
    """Tell whether a worker waits for its own pool."""
    return worker.lends_for is not None and worker.lends_for.last()


def _waits(worker: Any) -> bool:
    """Tell whether a worker waits for another pool; a loop over what is done first may have ended early."""
    return worker.waits_on is not None and worker.waits_on.last()
