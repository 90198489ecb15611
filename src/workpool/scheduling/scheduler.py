"""Who runs what: the shared queue, the workers that drain it, and their count of what is left.

One lock guards it all; ``state.py`` says what, and how the parts build on each other.
Here tasks and map calls are accepted.

Handing over. A worker that finds nothing adds itself to ``idle`` and sleeps. Who
brings a task takes a worker from there, leaves the task in its ``inbox`` and wakes
it. In between, nothing is called that could let an exception of a signal in
(``worker.inbox = ...; del idle[-1]; worker.wake()``, and wake is one C call), so
Ctrl-C cannot lose a task or a worker.

States and guarantees
- An entry is in the queue, in an inbox, with a worker, or settled: exactly one. A task on its way
  to a worker counts as running; it has no ``_worker`` until one has taken it (or is about to send it).
- ``epoch.left`` counts entries that are not settled; it falls once for each.
- After ``close`` nothing is accepted; what was accepted still runs. Workers leave
  when nothing is left, or at once after ``kill``.
"""

from __future__ import annotations

from concurrent.futures import InvalidStateError
from contextlib import suppress
from functools import partial
from time import monotonic
from types import FunctionType
from typing import TYPE_CHECKING, Any

from workpool.errors import Midway
from workpool.naming import function_name
from workpool.scheduling.ending import Ending
from workpool.scheduling.retrying import Retrying
from workpool.scheduling.taking import Taking
from workpool.situation import here
from workpool.task import FINISHED, PENDING, RUNNING, Task
from workpool.waits import make_sleeper, sleep_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from workpool.eventloops import Wakeup
    from workpool.scheduling.mapjob import MapJob
    from workpool.scheduling.worker import Worker

__all__ = ["Scheduler"]


class Scheduler(Taking, Retrying, Ending):
    """The queue of one pool and the workers that drain it."""

    def submit(  # noqa: C901, PLR0912, PLR0915 - its way is short where nothing is in the way
        self, task: Task[Any], *, timeout: float | None = None
    ) -> None:
        """Accept a task: hand it to an idle worker, or queue it.

        Raises
        ------
        PoolClosed
            The pool is shut down.
        queue.Full
            There was no room within ``timeout`` seconds.
        """
        task._owner = self
        task._lock = lock = self.lock
        task._queued_at = monotonic()
        if lock._is_owned():
            self._submit_midway(task)
            return
        worker: Worker | None = None
        hand_over: Callable[[], None] | None = None
        try:
            try:
                owned = False
                for owned in lock.tries:  # noqa: B007 - `with lock`, written out (patient_lock.py)
                    break
                if not owned:
                    lock.wait()
                try:
                    if self.closed or self.broken is not None:
                        raise self._refusal()
                    queue = self.queue
                    idle = self.idle
                    if idle and not queue.head:
                        task.id = next(self._ids)
                        task._epoch = epoch = self.ledger.current
                        epoch.left += 1
                        task._stage = RUNNING
                        worker = idle[-1]
                        worker.inbox = task
                        del idle[-1]
                        hand_over = worker.hand_over
                        if hand_over is None:
                            worker.wake()
                            return
                    elif not self.queue_size or queue.waiting < self.queue_size:
                        priority = task._terms.priority
                        plain = priority == 0 and queue.plain
                        level = queue.head if plain else queue.level(priority)
                        task.id = next(self._ids)
                        task._epoch = epoch = self.ledger.current
                        # From here on there is one C call, so nothing can come between it and the count.
                        epoch.left += 1
                        queue.waiting += 1
                        if level is not queue.head and (priority < queue.first or not queue.head):
                            queue.head, queue.first = level, priority
                        level.append(task)
                        if len(self.workers) >= self.max_workers + self._extra and not idle:
                            if self.hushed:
                                self.listen()
                            return
                finally:
                    lock.release()
            except Midway:
                self._submit_elsewhere(task)
                return
            if hand_over is not None:
                hand_over()
                return
            if task._epoch is None:
                self._wait_for_room(task, timeout)
            del task  # it may run, and fail, on top of this frame: no cycle through its traceback
            self.hire()
        except BaseException:
            self._cut_short(worker)
            raise

    def _cut_short(self, worker: Worker | None) -> None:
        """After Ctrl-C on the way: the worker looks into its inbox itself, or another thread hires."""
        if worker is not None and (worker.inbox is not None or worker.hand_over is not None):
            # Also when the task has been killed meanwhile: no more idle, it must be woken to be so again.
            with suppress(RuntimeError):  # it has been woken already
                worker.wake()
        elif self.queue.head and len(self.workers) < self.max_workers + self._extra:
            self.unattended()

    def _submit_midway(self, task: Task[Any]) -> None:
        """Accept a task that a finalizer submits in the middle of a step of this very thread; lock held.

        It is counted at once, which nothing that may go on below can be hurt by, and so
        joins and the end of the pool wait for it. It is put on the queue when the step is
        done, beyond the bound if the queue is full: the step itself may have to make room.
        """
        if self.closed or self.broken is not None:
            raise self._refusal()
        task.id = next(self._ids)
        task._epoch = epoch = self.ledger.current
        epoch.left += 1
        self.queue.waiting += 1
        self.later.add(partial(self._queue_late, task))

    def _submit_elsewhere(self, task: Task[Any]) -> None:
        """Accept a task that a finalizer submits in a step of another pool, while somebody else has our lock.

        It comes on the books at the next join or end of the pool, or a moment later: before
        its thread can do either, for that would need the lock, and does as much (``enter_late``).
        """
        if self.closed or self.broken is not None:
            raise self._refusal()
        self.late.append(task)
        self.later.add(self._attend_late)

    def _attend_late(self) -> None:
        """See that what was accepted without the lock is run; the pool may have ended just before it came."""
        refused: list[Task[Any]] = []
        with self.lock:
            self.enter_late()
            while self.late:
                refused.append(self.late.popleft())
        for task in refused:
            with suppress(InvalidStateError):  # cancelled meanwhile
                task.set_exception(self._refusal())
        self.hire()

    def _queue_late(self, task: Task[Any]) -> None:
        """Put a task on the queue that is counted already, unless it was cancelled meanwhile."""
        with self.lock:
            if task._stage is not PENDING:
                return
            task._stage = RUNNING  # claimed: by give_back, which settles it if nobody will come
            self.queue.waiting -= 1
        self.give_back([task], front=False)

    # ------------------------------------------------------- one task done, on to the next

    def settle_and_take(self, worker: Any, task: Task[Any], value: Any) -> bool:
        """Store a task's result, and put what ``next_unit`` would give into ``worker.taken``, in one step.

        Who waits in ``result()`` is woken last. Woken first, that thread would queue for the
        GIL while this one goes on to take or to fall asleep: a switch of threads for nothing. But in the
        same step: behind it this thread may be struck for what it has taken, and would wake nobody.

        Returns
        -------
        bool
            False if the result had to be told before anything else (callbacks, other waiters), or was
            not this worker's to store any more: nothing was taken.
        """
        call = task._call  # kept beyond the lock: finalizers of arguments are user code
        lock = self.lock
        owned = False
        for owned in lock.tries:  # noqa: B007 - `with lock`, written out (patient_lock.py)
            break
        if not owned:
            lock.wait()
        try:
            if task._stage is not RUNNING or worker.written_off:
                worker.taken = None
                return False
            # What Task.settle does, without its calls.
            if call is not None:
                fn = call[0]
                task._called = fn.__qualname__ if type(fn) is FunctionType else function_name(fn)
            task._result, task._stage, task._call = value, FINISHED, None
            extras = task._extras
            self.tally.ended(task, None)
            silent = extras is None or not (extras.callbacks or extras.waiters or extras.listeners)
            if silent:
                epoch = task._epoch
                epoch.left -= 1
                if not epoch.left and (epoch.sleepers or self.closed):
                    self._emptied(epoch)
                unit, worker.inbox = worker.inbox, None
                if unit is None:
                    unit = self._take(worker)
                worker.taken, worker.took = unit, True
                if unit is not None and unit.__class__ is Task:
                    unit._worker = worker.index  # as in next_unit
                if extras is not None:
                    for sleeper in extras.sleepers:
                        sleeper.release()
        finally:
            lock.release()
        if silent or extras is None:
            return True
        extras.tell(task, self.told)
        worker.taken = None
        return False

    def enqueue_job(self, job: MapJob) -> None:
        """Put a map call, or a chunk of one, on the queue and wake idle workers for it; lock held."""
        self.queue.push(job, job.terms.priority)
        self._rouse()
        self.listen()

    # ------------------------------------------------------------- while the queue is full

    def _wait_for_room(self, task: Task[Any], timeout: float | None) -> None:
        """Queue the task as soon as there is room.

        A worker of this very pool does not wait without help: one worker more is
        allowed meanwhile. In a callback that would wait for itself there is no
        help, and the task is accepted beyond the bound.
        """
        if self.busy_here():
            self._submit_elsewhere(task)
            return
        own = self.own_worker_here()
        if own is not None and not own.can_nest:
            self._get_room(task, timeout, beyond=True)
        elif here.worker is None or (timeout is not None and timeout <= 0):
            self._get_room(task, timeout)
        else:
            with self.waiting_for_room():
                self._get_room(task, timeout)

    def _get_room(self, task: Task[Any], timeout: float | None, *, beyond: bool = False) -> None:
        import queue as stdlib_queue

        from workpool.eventloops import runs_a_loop

        in_loop = runs_a_loop()
        until = None if timeout is None else monotonic() + timeout
        while True:
            with self.lock:
                if self.closed or self.broken is not None:
                    raise self._refusal()
                if self.queue.waiting < self.queue_size or beyond:
                    task.id = next(self._ids)
                    task._epoch = epoch = self.ledger.current
                    epoch.left += 1
                    self.queue.waiting += 1
                    self.queue.push(task, task._terms.priority)
                    return
                if until is not None and monotonic() >= until:
                    raise stdlib_queue.Full(self._is_full(timeout))
                sleeper = make_sleeper()
                self._putters.enlist(sleeper, in_front=in_loop)
            try:
                woken = sleep_on(sleeper, None if until is None else until - monotonic())
            except BaseException:
                self._leave_putters(sleeper)
                raise
            if not woken:
                self._leave_putters(sleeper)
                raise stdlib_queue.Full(self._is_full(timeout))

    async def submit_when_room(self, task: Task[Any], timeout: float | None) -> None:
        """Accept a task as soon as there is room, without blocking the event loop.

        Whoever is woken for a place may find it taken, and waits again.
        """
        import queue as stdlib_queue

        from workpool.eventloops import wakeup

        until = None if timeout is None else monotonic() + timeout
        while True:
            try:
                self.submit(task, timeout=0.0)
                return
            except stdlib_queue.Full:
                left = None if until is None else until - monotonic()
                if left is not None and left <= 0:
                    raise stdlib_queue.Full(self._is_full(timeout)) from None
            sleeper = _LoopSleeper(wakeup())
            with self.lock:
                if self.closed or self.broken is not None or self.queue.waiting < self.queue_size:
                    continue
                self._putters.enlist(sleeper)
            try:
                with self.waiting_for_room(in_loop=True):
                    woken = await sleeper.waking.wait(left)
            except BaseException:
                self._leave_putters(sleeper)
                raise
            if not woken:
                self._leave_putters(sleeper)

    def _is_full(self, timeout: float | None) -> str:
        return (
            f"{self.name}: the queue has been full ({self.queue_size} tasks) for {timeout} s. "
            "Wait longer (queue_timeout), or give the pool a larger queue_size."
        )

    def _leave_putters(self, sleeper: Any) -> None:
        """Stop waiting for room; pass a wake-up that came meanwhile to the next."""
        with self.lock:
            if not self._putters.leave(sleeper):
                self._room()


class _LoopSleeper:
    """Stands among the sleepers that wait for room, for a coroutine."""

    __slots__ = ("waking",)

    def __init__(self, waking: Wakeup) -> None:
        self.waking = waking

    def release(self) -> bool:
        """Wake the coroutine, from any thread; False if its loop is gone."""
        return self.waking.set()
