"""What a pool has queued, who works on it, and how much is left: the state, and its smallest steps.

One lock, ``State.lock``, guards the queue, the ledger, the idle workers, and the
state of every task. All steps that must not be torn apart are therefore one
step: taking a task and marking it running; storing a result and counting it
done; finding nothing to do and becoming idle. No user code runs under it, but for what
the garbage collector or a signal brings in: the lock knows its owner, and what such
code asks for is put off (``later.py``) while its own thread is in the middle of a step,
of this pool or of another (``midway.py``).

Every step here is made with the lock held. The parts of the scheduler are
classes that build on this one; each may use what those below it can do, and no other:

.. code-block:: text

    State                   here
    └── Settling            stores outcomes
        └── Hiring          workers' lives; what goes back to the queue, what fails for want of them
            ├── Retrying    runs again what failed
            └── SlowChunks  takes from chunks what they hold up
                ├── Taking  hands tasks and chunks to workers that ask
                ├── Lending a worker more for one that waits
                ├── Waiting joins, and helps along what a task waits for
                └── Ending  close, kill, cancel

    Scheduler               all of them; accepts tasks and map calls
"""

from __future__ import annotations

import threading
from collections import deque
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from workpool._compat import daemon_threads_allowed
from workpool.calm import calmly
from workpool.errors import PoolClosed, WouldDeadlock, anew
from workpool.midway import held_here
from workpool.scheduling.later import Later
from workpool.scheduling.ledger import Ledger
from workpool.scheduling.pace import Pace
from workpool.scheduling.patient_lock import make_lock
from workpool.scheduling.putters import Putters
from workpool.scheduling.queue import TaskQueue
from workpool.scheduling.tally import Tally
from workpool.scheduling.timers import Timers
from workpool.task import PENDING, RUNNING

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.scheduling.awaited import Awaited
    from workpool.scheduling.ledger import Epoch
    from workpool.scheduling.mapjob import MapJob
    from workpool.scheduling.submitjob import SubmitJob
    from workpool.scheduling.timers import Timer
    from workpool.scheduling.worker import Worker
    from workpool.task import Task
    from workpool.waiters import Extras
    from workpool.waits import Event

__all__ = ["State"]


class State:
    """The queue of one pool, its workers, and their count of what is left."""

    def __init__(
        self,
        *,
        name: str,
        max_workers: int,
        make_worker: Callable[[Any, int], Worker],
        queue_size: int = 0,
        tally: Tally | None = None,
        borrows_callers: bool = False,
    ) -> None:
        # Guards all below, and the state of every task. Never entered twice on purpose: see busy_here.
        self.lock: Any = make_lock(self)
        self.later = Later()
        self.name = name
        self.max_workers = max_workers
        self.queue_size = queue_size
        # Units that wait for their next attempt, and the timer of each, when it is made.
        self._delayed: dict[Any, list[Timer]] = {}
        self.queue = TaskQueue(self._delayed)
        self.ledger = Ledger()
        self.pace = Pace()
        self.tally = Tally() if tally is None else tally
        self.timers = Timers(f"{name}-timers")
        self.idle: list[Worker] = []  # asleep, inbox empty; last in, first out
        self.watched = (
            False  # the chunks that run in threads: somebody is to look at them in a while
        )
        # On their way, for as long as that takes: woken only to see that nothing more is to come.
        self.beginning: set[Worker] = set()
        self.workers: dict[int, Worker] = {}
        self.closed = False  # accepts nothing more
        self.killed = False
        # Why no worker can live. Never raised or handed out itself: it would keep the frames of all callers.
        self.broken: BaseException | None = None
        # Called once, when the last worker has left for good; None from then on.
        self.on_end: Callable[[], object] | None = int  # nothing to give back
        # Whose thread it is that makes that call, and what is set when it is through.
        self._ending: tuple[int, Event] | None = None
        # Why nothing moves here: this is a forked child.
        self._orphaned: BaseException | None = None
        self._let_go = False  # its Pool is gone: to be closed when its open map calls are done
        # Accepted from a finalizer in a step of another pool, and not on the books yet. Not guarded: each
        # append and popleft is one step.
        self.late: deque[Task[Any]] = deque()
        self._extra: int = 0  # workers beyond max_workers, one for each that waits for its own pool
        self._refusals: int = 0  # how often the system had nothing to start a worker with
        self._awaited: Awaited | None = None  # by workers of other pools, here
        self.called_off = False  # what has not begun is cancelled, and so is each next attempt
        self._make_worker = make_worker
        self._borrows_callers = borrows_callers  # a worker runs tasks in the thread that starts it
        self._putters = Putters()
        self._ids = count()
        # Workers whose results are read by who waits for them, until somebody else wants to know.
        # Not guarded: who adds one looks for what is queued afterwards, who queues looks in here.
        self.hushed: set[Any] = set()
        # What was dropped with the lock held, until somebody without it sweeps: finalizers
        # of arguments, items and inputs are user code, which may use this very pool.
        self.litter: deque[Any] = deque()

    def busy_here(self) -> bool:
        """Tell whether this very thread is in a step of this pool or another: then a finalizer asks."""
        return held_here()

    def refuse_midway(self, call: str) -> None:
        """Raise WouldDeadlock where this very thread would wait for the step it is in the middle of."""
        if self.busy_here():
            message = (
                f"{call}() of {self.name} was called by a finalizer or by a signal's handler, which struck this very "
                "thread in the middle of a step of a pool, and would wait for itself. Call submit() or cancel() "
                "there, which do not wait, or have another thread do the rest."
            )
            raise WouldDeadlock(message)

    def _return_loan(self, worker: Worker) -> None:
        """Send home one of those that are more than ``max_workers``: this one waits no more, or is gone; lock held."""
        worker.lent = False
        self._extra -= 1
        for other in [idle for idle in self.idle if idle.index >= self.max_workers]:
            self.idle.remove(other)
            other.wake()

    def claim(self, worker: Any, task: Task[Any]) -> bool:
        """Take a task off the queue for a worker that waits for it, and is to run it itself; lock held.

        It is not there to be taken when its worker is given up and could settle nothing, when it
        pauses before its next attempt, and when the worker's stack has no room for it.
        """
        if task._epoch is None:
            self.enter_late()  # accepted from a finalizer; what is run must have been counted
        if task._stage is not PENDING or worker.written_off or task in self._delayed:
            return False
        taken = worker.taken
        if taken is not None and (taken.__class__ is not type(task) or taken._stage is RUNNING):
            return False  # a finalizer waits on the way into it, or out of it: it stays where it is looked for
        if worker.too_deep(task):
            return False
        # No call between the look and the change: a finalizer may cancel it in there (task.py). In no epoch
        # is one that came as the pool ended, and is about to be refused.
        if task._stage is not PENDING or task._epoch is None:
            return False
        task._stage = RUNNING
        task._worker = worker.index
        worker.taken = task
        self.queue.waiting -= 1
        if self._putters:
            self._room()
        return True

    def should_leave(self) -> bool:
        """Tell whether workers have nothing more to come; lock held, or a hint without."""
        return (
            self.killed
            or self.broken is not None
            or (self.closed and not self.ledger.anything_left)
        )

    def refuse_if_closed(self) -> None:
        """Raise what ``submit`` raises where the pool takes nothing more."""
        if self.closed or self.broken is not None:
            raise self._refusal()

    def _refusal(self) -> BaseException:
        broken = self.broken
        if broken is not None:
            return anew(broken)
        return PoolClosed("cannot schedule new futures after shutdown")

    def listen(self) -> None:
        """Have results noticed as they come, whoever waits for them; a worker may be 5 ms late otherwise."""
        while self.hushed:
            try:
                worker = self.hushed.pop()
            except KeyError:
                return
            worker.listen()

    # -------------------------------------------------------------------- counting

    def admit(self, job: MapJob | SubmitJob, count: int) -> None:
        """Count so many more items of a map call as submitted; lock held."""
        self.refuse_if_closed()
        job.epoch.left += count

    def enter_late(self) -> None:
        """Put on the books and the queue what was accepted without the lock; lock held, before a join or an end."""
        while self.late and not self.closed and self.broken is None:
            task = self.late.popleft()
            if task._stage is PENDING:  # not cancelled meanwhile
                task.id = next(self._ids)
                task._epoch = epoch = self.ledger.current
                epoch.left += 1
                self.queue.waiting += 1
                self.queue.push(task, task._terms.priority)

    def dismiss(self, epoch: Epoch, count: int) -> None:
        """Count so many tasks as done; lock held."""
        epoch.left -= count
        if not epoch.left:
            self._emptied(epoch)
        if self._let_go and not self.ledger.open_jobs:
            self._let_go = False
            self.later.add(self.close)  # which needs the lock, held here

    def close(self) -> None:
        """Accept nothing more; see :class:`~workpool.scheduling.ending.Ending`."""
        raise AssertionError(self.name)

    def abandon(self, job: MapJob) -> None:
        """Count items of a closed map call done that wait for another attempt, and tell those that run; lock held."""
        for unit in [unit for unit in self._delayed if getattr(unit, "job", None) is job]:
            self._end_pause(unit)
            self.litter.append(unit)
            job.drop(unit.size)
        for worker in self.workers.values():
            worker.ask_to_end(job)

    def _end_pause(self, unit: Any) -> bool:
        """Take a unit from those that pause; False if it is not among them; lock held, and the unit in hand.

        Its timer lets go of it: that may be due in an hour, and the unit holds arguments.
        """
        timers = self._delayed.pop(unit, None)
        for timer in timers or ():
            timer.cancel()
        return timers is not None

    def sweep(self) -> None:
        """Let go of what was dropped with the lock held; without the lock."""
        litter = self.litter
        try:
            while True:
                litter.popleft()
        except IndexError:
            pass
        if self.later:
            self.later.catch_up()

    def without_lock(self, call: Callable[[], object]) -> None:
        """Make a call that takes the lock, from where this very thread may hold it: a collector's finalizer."""
        # Nor does a finalizer wait for another thread: what it struck may hold what that one waits for.
        if not self.busy_here() and calmly(self._is_free):
            call()
        else:
            self.later.add(call)

    def _is_free(self) -> bool:
        """Tell whether the lock could be had this moment; in one step, or a Ctrl-C would leave it taken."""
        if self.lock.acquire(blocking=False):
            self.lock.release()
            return True
        return False

    def withdrew(self, task: Task[Any]) -> None:
        """Give back the place of a task that was cancelled while it waited; lock held (task.Owner).

        It is counted done when that is told. But its place is free before: a callback may put another task there.
        """
        self.tally.withdrew(task)
        self.taken_off(task)

    def taken_off(self, task: Task[Any]) -> None:
        """Give back the place of a task that waited and will not come by it; lock held (task.Owner)."""
        if task._epoch is not None:  # else one of the late, which never comes on the books now
            if self._delayed:
                self._end_pause(task)
            self.queue.waiting -= 1
            if self._putters:
                self._room()

    def count_done(self, task: Task[Any]) -> None:
        """Count a task done; lock held (task.Owner)."""
        if task._epoch is not None:
            self.dismiss(task._epoch, 1)

    def tell(self, task: Task[Any], extras: Extras) -> None:
        """Tell who waits for a task that is over, and count it done when they know; without the lock (task.Owner)."""
        if extras.callbacks and (self.timers.is_this_thread or self.later.is_this_thread):
            extras.wake(task)  # first, so that a limit is known of in time
            self.aside(partial(extras.call_back, task, self.told))
        else:
            extras.tell(task, self.told)

    def told(self, task: Task[Any]) -> None:
        """Count a task done, whose callbacks have run."""
        with self.lock:
            self.count_done(task)

    def aside(self, call: Callable[[], object]) -> None:
        """Have a call of user code made by a thread that lives only for that (task.Owner).

        In the timers' thread it would keep all time limits waiting; and for ever, if it waits for what only a
        limit would end. Where calls are made that were put off, it would keep those behind it. Nor does one
        such call wait behind another: each has a thread to itself.
        """
        thread = threading.Thread(
            target=call, name=f"{self.name}-aside", daemon=daemon_threads_allowed()
        )
        try:
            thread.start()
        except RuntimeError:  # the system has none to give: better here than never
            call()

    def _emptied(self, epoch: Epoch) -> None:
        """Tell who waits that an epoch has nothing left; lock held."""
        if epoch.sleepers:
            self.ledger.emptied(epoch)
        if self.closed and not self.ledger.anything_left:
            self._rouse()

    # ---------------------------------------------------------------------- waking

    def _rouse(self, most: int | None = None) -> None:
        """Wake idle workers to look at the queue; without a number, those that begin as well; lock held."""
        if most is None:
            for worker in self.beginning:
                worker.wake()
        idle = self.idle
        while idle and (most is None or most > 0):
            worker = idle[-1]
            del idle[-1]
            worker.wake()
            if most is not None:
                most -= 1

    def _room(self) -> None:
        """Wake submits for which there is room; lock held."""
        self._putters.serve(self.queue_size - self.queue.waiting)
