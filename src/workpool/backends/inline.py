"""backend="inline": tasks run in the thread that submits them, one at a time.

For debugging (a breakpoint in a task is a breakpoint in your program) and for
tests: same queue, same errors, same promises, no concurrency. When several
threads submit at once, the one that is running drains the queue for the others.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from workpool import _compat, facts, naming, task, waiters
from workpool.backends.base import Capabilities
from workpool.backends.local import LocalRunner
from workpool.backends.reports import begin_reports, end_reports
from workpool.calm import Listening, calmly
from workpool.errors import WouldDeadlock, could_not_begin, without_frames
from workpool.headroom import ensure_headroom
from workpool.safelog import SafeLog
from workpool.scheduling import scheduler, state, waiting
from workpool.scheduling.worker import describe
from workpool.situation import here, workers_here
from workpool.task import Task
from workpool.waits import Event

if TYPE_CHECKING:
    from workpool.scheduling.scheduler import Scheduler
    from workpool.situation import Setup

__all__ = ["InlineBackend"]

_log = SafeLog("workpool")


_ROOM = 60  # frames for what the books need before and after a task, and for its first own calls
_SCHEDULING = os.path.dirname(state.__file__)
_WAIT = {waiting.__file__, scheduler.__file__}
# A step of a task, and what it calls.
_TASK = {module.__file__ for module in (task, waiters, facts, naming, _compat)}


class InlineBackend:
    """Has one worker, which borrows the threads of its callers.

    While a task of it waits for the pool itself, the scheduler lends one worker more
    (and again one, when a task of that one waits): it drains in the thread that waits, or in
    that of whoever submits next. So it may outlast the wait and the one that waited.
    """

    capabilities = Capabilities(
        name="inline",
        scope="thread",
        time_limit=False,
        no_time_limit="tasks run in the caller's own thread",
        ends_tasks=False,
        reports=True,
        most_workers=1,
    )
    pack = None
    default_workers = 1

    def __init__(self, *, pool: str, setup: Setup, settings: Any) -> None:
        self.pool = pool
        self.setup = setup
        self.settings = settings
        self.entered = ExitStack()
        self.ready = False  # the initializer has run, the context is entered
        self.ran = 0  # tasks and items since then
        self.resource: Any = None
        begin_reports(settings)

    def make_worker(self, scheduler: Scheduler, index: int) -> InlineWorker:
        """Make a worker for one burst of tasks."""
        return InlineWorker(self, scheduler, index)

    def describe(self) -> str:
        """Nothing to say."""
        return ""

    def close(self) -> None:
        """Leave the worker context, and give back the streams that were captured."""
        try:
            self.leave()
        finally:
            end_reports(self.settings)

    def leave(self) -> None:
        """Leave the worker context, if it is entered."""
        entered, self.entered = self.entered, ExitStack()
        self.ready, self.ran = False, 0
        before = here.situation  # of a task that ends this pool, or waits for it to run something
        try:
            entered.close()
        except BaseException:
            _log.exception("worker_context of %s failed to leave worker 0", self.pool)
        finally:
            here.situation = before


class InlineWorker(LocalRunner):
    """Drains the queue in the thread that starts it, and is gone when the queue is empty.

    It is hired anew for each burst of tasks, but the initializer runs and the
    worker context is entered once, before the first; and once more whenever
    ``max_tasks_per_worker`` have run.
    """

    def __init__(self, backend: InlineBackend, scheduler: Scheduler, index: int) -> None:
        super().__init__(scheduler, index)
        self._backend = backend
        self.captures = backend.settings.capture
        self._most = backend.settings.max_tasks_per_worker
        self._away = Event()  # set when the thread has drained
        self._listening = Listening(_keeps_books)
        self.started = False
        self.wake = int  # whoever hands a task over does not run it: the drain asks again

    def start(self) -> None:
        """Run all that is queued, in this thread."""
        ensure_headroom(_ROOM)  # else it fails: it is not begun at all, or done whole
        before = here.worker, here.below, here.situation
        with Listening(_keeps_books) as listening:
            self._listening = listening
            try:
                self.started = True
                self.ident = threading.get_ident()
                here.below = workers_here()
                here.worker = self
                if self._begin():
                    self._drain()
            finally:
                here.worker, here.below, here.situation = before
                self.scheduler.left(self, hire=listening.raised is None)
                self._away.set()
                # It knows this worker: a pool that has ended needs no collector.
                del self.situation

    def stopped(self) -> bool:
        """Tell whether the caller, whose thread this is, has pressed Ctrl-C: the rest is not for now."""
        return self._listening.raised is not None

    def _begin(self) -> bool:
        if self._backend.ready:
            self.situation.resource = self._backend.resource
            here.situation = self.situation
            return True
        self.sets_up = True
        try:
            self._backend.entered.enter_context(self._backend.setup.entered(self.situation))
        except BaseException as error:
            if self.stopped():
                self._backend.entered.pop_all()  # it is begun anew by the next task
                raise
            failed = could_not_begin(self.scheduler.name, self.index, error)
            # Raised in a caller's thread: the pool itself must not keep the frames of that for its whole life.
            self.scheduler.fail_all(failed, for_good=True, later=without_frames(failed))
            return False
        finally:
            self.sets_up = False
        self._backend.resource = self.situation.resource
        self._backend.ready = True
        return True

    def _drain(self) -> None:
        scheduler = self.scheduler
        while True:
            unit = None if self.stopped() else scheduler.next_unit(self)
            if unit is None:
                # Gone in the step that finds nothing: a submit sees the worker, or hires it anew.
                with scheduler.lock:
                    over = (
                        self.leaving or not scheduler.queue
                    )  # leaving: what is queued has another
                    if (self.inbox is None and over) or self.stopped():
                        if self in scheduler.idle:
                            scheduler.idle.remove(self)
                        scheduler.workers.pop(self.index, None)
                        if self.lent:  # stopped before it asked for more
                            scheduler._return_loan(self)
                        break
            elif not self._backend.ready and not self._begin():
                scheduler.give_back([unit])
                return
            elif unit.__class__ is Task:
                try:  # from before any call: in each of them Ctrl-C may come
                    self._count(1)
                    self.run_task(unit)
                except BaseException as error:  # Ctrl-C on the way to its function, or back
                    scheduler.settle(unit, None, error)
                    raise
            else:
                # Inside a task that waits for this one there is no other worker to come: one item at least.
                left = None if self._most is None else max(1, self._most - self._backend.ran)
                if left is not None and (rest := unit.cut(left)) is not None:
                    scheduler.give_back([rest])
                self.handed_out = 0
                try:
                    self._count(unit.size)
                    self.run_chunk(unit)
                except BaseException as error:
                    with scheduler.lock:
                        self.drop_chunk(unit, error)
                    raise
            del unit
            if self._most is not None and self._backend.ran >= self._most and self._is_alone():
                self._backend.leave()
        scheduler.sweep()

    def _count(self, ran: int) -> None:
        """Count what is about to run; another thread may be at it, in a worker that was lent."""
        if self._most is not None:
            with self.scheduler.lock:
                self._backend.ran += ran

    def run_nested(self, task: Task[Any]) -> None:
        """Run a task that the task running here waits for; it counts."""
        self._count(1)
        super().run_nested(task)

    def _is_alone(self) -> bool:
        """Tell whether nothing else runs, in this thread or another; nor will it, before this worker asks for more."""
        scheduler = self.scheduler
        with scheduler.lock:
            if self.lent:
                scheduler._return_loan(self)  # else another thread's submit may take it up
            return len(scheduler.workers) == 1

    def too_deep(self, task: Task[Any]) -> bool:
        """Refuse what would overflow the one stack there is."""
        if super().too_deep(task):
            message = (
                f"{describe(task)} was not begun: too many tasks of {self.scheduler.name} wait inside one another, and "
                'the stack is too deep for one more. Use backend="thread", or wait for the tasks one after the other.'
            )
            raise WouldDeadlock(message)
        return False

    def join(self, timeout: float | None) -> bool:
        """Wait until the thread that drains has drained."""
        return self._away.wait(timeout)

    def never_begins(self) -> None:
        """Have ended, for whoever waits for that."""
        self._away.set()

    def kill(self) -> None:
        """Begin no more. What runs, runs in a caller's thread: there is nothing to end, and it is asked to stop."""
        calmly(self._kill)

    def _kill(self) -> None:
        with self.scheduler.lock:
            self.ask_all()
            self._call_off()

    def end_task(self, task: Task[Any]) -> bool:
        """Say that a caller's thread cannot be ended."""
        del task
        return False


def _keeps_books(frame: Any) -> bool:
    """Tell whether a frame takes or settles tasks: a step that Ctrl-C must not tear apart."""
    home: str = frame.f_code.co_filename
    name: str = frame.f_code.co_name
    if home.startswith(_SCHEDULING):
        return home not in _WAIT and name not in {"pull", "hire", "left"}
    return home in _TASK and name != "_wait"
