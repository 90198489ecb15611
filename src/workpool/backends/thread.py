"""backend="thread": each worker is a daemon thread that drains the shared queue.

The shortest path there is: take a task, call it, settle it, take the next.

A thread cannot be ended from outside. When a task runs past its time limit (or
is killed), its outcome is settled, the thread is *written off* and another takes
its index; an exception is sent into the old one, which leaves as soon as it runs
Python code again and never touches a task of the pool any more.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from workpool._compat import gil_enabled
from workpool.backends.base import Capabilities
from workpool.backends.local import LocalRunner
from workpool.backends.losing import lose_all, lose_item
from workpool.backends.reports import begin_reports, end_reports
from workpool.backends.told import too_long
from workpool.calm import calmly
from workpool.errors import TimeLimitExceeded, WorkerLost, could_not_begin
from workpool.ipc.onlookers import looked_at, prepare_to_strike, send_elsewhere
from workpool.safelog import SafeLog
from workpool.scheduling.slow_chunks import LONGEST_PAUSE, PATIENCE
from workpool.scheduling.worker import WorkerThread, describe, describe_item
from workpool.situation import here
from workpool.target import Target, send_into, try_again
from workpool.task import RUNNING, Task
from workpool.waits import Event, make_sleeper

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from workpool.scheduling.chunk import Item
    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Setup

__all__ = ["ThreadBackend"]

_log = SafeLog("workpool")


class ThreadBackend:
    """Makes workers that are threads of this process."""

    capabilities = Capabilities(
        name="thread",
        scope="thread",
        time_limit=True,
        ends_tasks=False,
        reports=True,
    )
    pack = None
    # The standard library's rule for threads (ThreadPoolExecutor).
    default_workers: int = min(32, (getattr(os, "process_cpu_count", os.cpu_count)() or 1) + 4)

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        self.pool = pool
        self.setup = setup
        self.settings = settings
        # A tracer may see the thread that opens the pool, and not the one that keeps time limits.
        self.opened_traced = looked_at()
        begin_reports(settings)

    def make_worker(self, scheduler: Scheduler, index: int) -> ThreadWorker:
        """Make the worker of that index."""
        return ThreadWorker(self, scheduler, index)

    def describe(self) -> str:
        """Say whether threads run side by side in this interpreter."""
        return "" if gil_enabled() else "free-threaded"

    def close(self) -> None:
        """Give back the streams that were captured; nothing else is shared between threads."""
        end_reports(self.settings)


class ThreadWorker(LocalRunner):
    """One daemon thread, asleep on a lock of its own when there is nothing to do."""

    others_look = True

    def __init__(self, backend: ThreadBackend, scheduler: Scheduler, index: int) -> None:
        super().__init__(scheduler, index)
        self._setup = backend.setup
        self._strikes = not backend.opened_traced
        self.captures = backend.settings.capture
        self._most = backend.settings.max_tasks_per_worker
        self._nested = 0  # tasks that have run inside of others, which waited for them
        self._target = Target()
        self._asleep = make_sleeper()  # held, but for the moment of a wake-up
        self.wake = self._asleep.release
        self._over = Event()  # it has left, or is written off
        self._thread = WorkerThread(self._run, f"{backend.pool}-{index}")

    def start(self) -> None:
        """Start the thread."""
        try:
            calmly(self._thread.start)
        except BaseException:
            self._over.set()  # it never will begin
            raise

    def never_begins(self) -> None:
        """Have ended, for whoever waits for that."""
        self._over.set()
        self._thread.give_up()

    @property
    def started(self) -> bool:
        """Whether there is a thread."""
        return self._thread.ident is not None

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end, or until it is written off: nobody waits for what cannot be ended."""
        until = None if timeout is None else monotonic() + timeout
        if not self._over.wait(timeout):
            return False
        if self.written_off:
            return True
        return self._thread.ended(None if until is None else max(0.0, until - monotonic()))

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        here.worker = self
        self._target.stand()
        self.ident = threading.get_ident()
        entered = self._setup.entered(self.situation)
        retired = False
        try:
            self.sets_up = True
            entered.__enter__()
            self.sets_up = False
        except BaseException as error:
            self._cannot_begin(error)
        else:
            try:
                retired = self._drain()
                if self.written_off:
                    self._take_the_strike()
            except BaseException as error:
                # What was sent into a thread that is written off; else something that nobody thought of.
                if not self.written_off:
                    self._break_down(error)
            finally:
                self._tidy_up(entered)
        finally:
            self._target.leave()
            here.worker = None
            if retired:
                self.scheduler.replace(self)
            self.scheduler.left(self)
            self._over.set()
            del self.situation  # which knows this worker: a pool that has ended needs no collector

    def _take_the_strike(self) -> None:
        """Be hit here by what was sent into this thread, or is about to be, and not as it leaves.

        It is sent with the lock held, in the step in which the thread is written off.
        """
        with self.scheduler.lock:
            pass
        for _ in range(2):
            pass  # Python looks for it at the end of a turn

    def _drain(self) -> bool:
        """Work until there is nothing more to come; tell whether it was for having done enough."""
        scheduler = self.scheduler
        done = 0
        took = False  # the next unit, with the last one's result
        while True:
            if took:
                # No call in between: from here on nobody gives it back (step_aside).
                unit, self.took, took = self.taken, False, False
            else:
                unit = scheduler.next_unit(self)
            if unit is None:
                if self._rest():
                    continue
                return False
            if unit.__class__ is Task:
                took = self.run_task(unit, and_take=self._most is None)
                done += 1
            else:
                if self._most is not None:
                    # None, if what ran while it rested was enough: a chunk of no items is no work.
                    left = max(0, self._most - done - self._nested)
                    with scheduler.lock:  # a kill counts what is taken, as large as it is then
                        rest = None if self.written_off else unit.cut(left)
                    scheduler.give_back([] if rest is None else [rest])
                self.run_chunk(unit)
                done += unit.size  # without what was taken back
            del unit
            if self.written_off:
                return False
            if self._most is not None and done + self._nested >= self._most:
                return True

    def _rest(self) -> bool:
        """Sleep until there may be something to do; False if nothing will come."""
        scheduler, asleep = self.scheduler, self._asleep
        if scheduler.litter or (scheduler.later.calls and scheduler.later):
            scheduler.step_aside(self)  # finalizers are user code, which may take long
            scheduler.sweep()
        if self.leaving or scheduler.should_leave():
            return False
        pause, woken = PATIENCE, False
        while self.looks and not (woken := asleep.acquire(timeout=pause)):
            pause = min(2 * pause, LONGEST_PAUSE)
            self.looks = scheduler.look_at_chunks()
        if not woken:
            asleep.acquire()
        return not self.written_off  # in a finalizer, by what that ran here

    def _tidy_up(self, entered: AbstractContextManager[None]) -> None:
        try:
            entered.__exit__(None, None, None)
        except BaseException:
            _log.exception(
                "worker_context of %s failed to leave worker %d", self.scheduler.name, self.index
            )

    def _cannot_begin(self, error: BaseException) -> None:
        failed = could_not_begin(self.scheduler.name, self.index, error)
        self.scheduler.fail_all(failed, for_good=True)

    # ------------------------------------------------- what others do to the thread

    def stopped(self) -> bool:
        """Tell whether this thread is written off: what comes next is not its any more."""
        return self.written_off

    def overdue(self, task: Task[Any], attempt: int) -> None:
        """Give up a task that ran past its limit (in the timers' thread)."""
        prepare_to_strike()
        error = too_long(describe(task), task._terms.time_limit, task._name)
        if self._write_off(task, attempt):
            self.scheduler.fail(task, error)

    def overdue_item(self, item: Item) -> None:
        """Give up an item that ran past its limit (in the timers' thread)."""
        prepare_to_strike()
        what = describe_item(item.chunk, item.offset)
        error = too_long(what, item.chunk.job.terms.time_limit, self._task_name())
        with self.scheduler.lock:
            if item.settled:
                return
            self.written_off = True
            others = self._others(None)
            hand_on = lose_item(self, item.chunk, error)
            self._strike()
        self._abandon()
        hand_on()
        for other in others:  # it waited for them, and they ran in its thread
            self.scheduler.fail(other, self._lost_with(None, other))

    def run_nested(self, task: Task[Any]) -> None:
        """Run a task that the task running here waits for, and know who waits."""
        with self.scheduler.lock:
            claimed = not self.written_off  # else who gave this thread up has it run elsewhere
            if claimed:
                self._outer.append(self.task)
        if claimed:
            self._nested += 1
            self._run_inside(task)
        with self.scheduler.lock:
            pass  # who writes it off has seen that it popped, or is seen here
        if self.written_off:  # while it was in no call, but about to go back to one
            message = f"thread {self.index} of {self.scheduler.name} was written off"
            raise TimeLimitExceeded(message)

    def _held(self) -> list[Any]:
        """List what is in this thread's hands: taken, running, and waiting for what runs; lock held.

        Its own thread moves a task from one place to the next meanwhile, without the lock, and
        back when it is over; it is in the next before it leaves the last. So who looks there and
        back sees it.
        """
        return [self.taken, self.task, *self._outer, self.task, self.taken]

    def _others(self, but: Task[Any] | None) -> list[Task[Any]]:
        """List the tasks that are under way in this thread, one inside another, but for one; lock held.

        None of them will be settled by this thread, which is written off; what it has claimed and not begun included.
        """
        taken = self.taken
        begins = taken if taken.__class__ is Task and taken._stage is RUNNING else None
        found = dict.fromkeys((*self._outer, self.task, begins))
        return [task for task in found if task is not None and task is not but]

    def _lost_with(self, given_up: Task[Any] | None, task: Task[Any] | None = None) -> WorkerLost:
        cause = "an item" if given_up is None else describe(given_up)
        chunk = self.chunk
        if task is not None:
            what = describe(task)
        else:
            what = "an item" if chunk is None else describe_item(chunk, self._place())
        return WorkerLost(
            f"{what} was lost with thread {self.index} of {self.scheduler.name}, in which it ran together with {cause} "
            "that was given up: one waited for the other.",
            task="" if task is None else task._name,
            worker=self.index,
        )

    def end_task(self, task: Task[Any]) -> bool:
        """Cancel the running task; its thread is written off. In one step, also for Ctrl-C."""
        calmly(prepare_to_strike)
        return calmly(self._end_task, task)

    def _end_task(self, task: Task[Any]) -> bool:
        if self._write_off(task, cancelled=True):
            self.scheduler.tell_cancelled(task)
        return task.cancelled()  # also by another thread that was first

    def kill(self) -> None:
        """Lose what runs, and write the thread off. In one step, also for Ctrl-C."""
        calmly(prepare_to_strike)
        calmly(lose_all, self, f"was running when {self.scheduler.name} was killed.")

    def _break_down(self, error: BaseException) -> None:
        """Lose what is in hand rather than leave it pending for ever (in this very thread)."""
        name = self.scheduler.name
        lose_all(self, f"was lost with thread {self.index} of {name}, which broke down.", error)
        _log.error("worker %d of %s broke down, and is replaced", self.index, name, exc_info=error)

    def _write_off(
        self, task: Task[Any], attempt: int | None = None, *, cancelled: bool = False
    ) -> bool:
        """Take the task from this thread, if it still runs that attempt of it (or any); as cancelled, if so said."""
        with self.scheduler.lock:
            # Its index is not enough: the worker that replaced the one that had it has the same.
            mine = any(own is task for own in self._held())
            running = task._stage is RUNNING and attempt in (None, task._attempts)
            if not mine or not running or self.written_off:
                return False
            self.written_off = True
            self._strike()
            if cancelled:  # in the same step: whoever asks next sees that it is done
                self.scheduler.cut(task)
            others = self._others(task)
            chunk = self.chunk
            hand_on = None if chunk is None else lose_item(self, chunk, self._lost_with(task))
        self._abandon()
        if hand_on is not None:  # an item of it waits for the task
            hand_on()
        for other in others:
            self.scheduler.fail(other, self._lost_with(task, other))
        for tell in task._heed:
            tell()
        return True

    def _abandon(self) -> None:
        """Put another worker in this one's place and send it home."""
        with self.scheduler.lock:
            self.scheduler.tally.wrote_off(self.index)
        self.scheduler.replace(self)
        with self.scheduler.lock:
            if self.scheduler.workers.get(self.index) is self:
                del self.scheduler.workers[self.index]
        self._over.set()

    def _strike(self) -> None:
        """Raise an exception in the thread, if it is in a call of the user's; written off, and lock held.

        What runs there is asked to end first: the exception may end it at once, and a thread of its own is to know.
        """
        self.ask_all()
        struck = False
        with suppress(Exception):  # for want of memory: the books go on all the same
            struck = self._is_struck()
        if not struck:
            try_again(self._is_struck, self.scheduler.lock, prepare_to_strike)

    def _is_struck(self) -> bool:
        """Raise the exception, if it is to be raised; False if this is no moment for it.

        With the lock held, because then that call is not over for the books: the thread has to pass the lock
        before it settles anything, which it will find is not its to do any more. A thread that has settled,
        and tells who waits for that, or that leaves, is in no call and must not be torn out of it. What it has
        settled may have run inside a call, also of an item: that one ends when the thread comes back to it.
        """
        taken = self.taken
        begins = taken.__class__ is Task and taken._stage is RUNNING
        item = self.chunk is not None and not self._outer
        if not begins and self.task is None and not item:
            return True
        ident = self._thread.ident
        if ident is None or ident == threading.get_ident() or not self._strikes:
            return True
        send = partial(send_into, ident, where=partial(send_elsewhere, ident))
        return looked_at(ident) or self._target.strike(TimeLimitExceeded, send)
