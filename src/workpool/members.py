"""Who belongs to a group: tasks that come, their outcomes, and the end of them all.

A group is open while its block runs, *closing* while the block waits for what is
left (tasks may still submit others), and then ended. It is *cancelled* by the first
failure of a task, by an exception in the block, by ``cancel()``, or with the
task in which the block runs.

Guarantees, and what they rest on
- A block is left only when all its tasks are done. A submit on its way is counted
  (``_arriving``) before it can reach the pool, and the step that finds neither task nor
  arrival is the step that ends the group: whoever comes later is refused.
- Each outcome is taken once: by the callback of the task, or by the thread that
  waits for it, whichever comes first takes the task out of ``_tasks``.
- A failure is noted in the same step that cancels the group. So whatever is
  registered afterwards sees that it is cancelled, and whatever was before is in the
  list that is then cancelled.
- Tasks are cancelled without the lock: callbacks run there, this group's among them.
- Tasks are killed by the timers' thread alone. A callback runs in the thread of a worker,
  and two workers that wait for each other's end would wait for ever.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar, cast

from workpool._compat import RLock
from workpool.calm import calmly
from workpool.errors import GroupClosed
from workpool.safelog import SafeLog
from workpool.waits import Event

if TYPE_CHECKING:
    from workpool.scheduling.scheduler import Scheduler
    from workpool.task import Task

__all__ = ["CONSEQUENCES", "Members", "Submits", "is_async_cancellation"]

_log = SafeLog("workpool")

P = ParamSpec("P")
R = TypeVar("R")

# What a cancelled task or block raises because of that, and not for a reason of its own.
CONSEQUENCES = (CancelledError, GroupClosed)


class Submits(Protocol):
    """A pool, or a view of one."""

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Put one task on the queue."""
        ...


class Members:
    """The tasks of a group, as long as they are not done, and what became of the others."""

    def __init__(
        self,
        calls: Submits,
        scheduler: Scheduler,
        kill_after: float | None,
        *,
        ends_tasks: bool,
    ) -> None:
        self._calls: Submits | None = calls  # let go at the end: tasks keep their group
        self._name = scheduler.name
        self._scheduler = scheduler
        self._kill_after = kill_after
        self._ends_tasks = ends_tasks
        # Guards all below. A finalizer that strikes in the middle of a step may settle a task of ours.
        self._lock = RLock()
        self._quiet = Event()  # put up when neither task nor arrival is left
        self._state: Literal["new", "open", "closing", "ended"] = "new"
        self._tasks: dict[Task[Any], None] = {}  # not done, in the order of their submit
        self._arriving: dict[object, threading.Thread] = {}  # one for each submit on its way
        self._submitted = 0
        self._failed = 0
        self._errors: list[BaseException] = []
        self._block_failed = False
        self._cancelled = False
        self._from_outside = False  # cancelled with the task that it is part of
        self._part_of: Task[Any] | None = None
        self._listener: Callable[[], object] | None = None  # as _quiet, for an event loop
        self._interrupt: Callable[[], object] | None = None  # cancels an async block
        self._interrupted = False

    def __repr__(self) -> str:
        state = "cancelled" if self._cancelled and self._state != "ended" else self._state
        return f"<Group of {self._name}: {state}, {len(self._tasks)} unfinished>"

    @property
    def cancelled(self) -> bool:
        """Whether the group is cancelled, by a failure or otherwise; it takes no more tasks then."""
        return self._cancelled

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Task[R]:
        """Submit a task that belongs to the group.

        Parameters
        ----------
        fn : callable
            What to call.
        *args, **kwargs
            Its arguments.

        Returns
        -------
        Task
            As from :meth:`Pool.submit`.

        Raises
        ------
        GroupClosed
            The group has ended, was cancelled, or its block has not begun.
        """
        arrival = object()
        try:
            with self._lock:
                calls = self._calls
                if calls is None or self._cancelled or self._state not in ("open", "closing"):
                    raise self._refusal()
                self._arriving[arrival] = threading.current_thread()
            task = calls.submit(fn, *args, **kwargs)
            with self._lock:
                self._tasks[task] = None
                self._submitted += 1
        finally:
            with self._lock:
                self._arriving.pop(arrival, None)
                listener = self._gone_quiet()
            _tell(listener)
        task.add_done_callback(self._note)
        if self.cancelled:  # since it was admitted; it may not have been on the list then
            self._end([task])
        return task

    def cancel(self) -> None:
        """Cancel what is left, and take no more; the block then ends without an error for that."""
        with self._lock:
            if self._state == "ended":
                return
            self._cancelled = True
            tasks = list(self._tasks)
            interrupt = self._interrupt
        self._end(tasks)
        _tell(interrupt)

    def _left(self) -> list[Task[Any]]:
        with self._lock:
            return list(self._tasks)

    def _forget_the_torn(self) -> None:
        """Forget submits that an exception tore before they could say that they are over; lock held.

        They were in this thread, which is not in a submit now, or in one that has ended since.
        """
        me = threading.current_thread()
        for arrival, thread in list(self._arriving.items()):
            if thread is me or not calmly(thread.is_alive):
                del self._arriving[arrival]

    def _end_if_quiet(self) -> bool:
        """End the group if nothing is left of it; lock held."""
        if self._tasks or self._arriving:
            return False
        self._state = "ended"
        self._calls = None
        return True

    # ---------------------------------------------------------------- outcomes

    def _note(self, task: Any) -> None:
        """Take the outcome of a task that is done, once."""
        with self._lock:
            if task not in self._tasks:
                return
            del self._tasks[task]
            error = None if task.cancelled() else task._exception
            failed = error is not None and not (self._cancelled and _is_consequence(error))
            if failed:
                self._errors.append(cast("BaseException", error))
                self._failed += 1
                self._cancelled = True
            listener = self._gone_quiet()
        if failed:
            self.cancel()
        _tell(listener)

    def _gone_quiet(self) -> Callable[[], object] | None:
        """Wake the thread that waits for the end, or give what wakes the event loop; lock held."""
        if self._tasks or self._arriving:
            return None
        self._quiet.set()
        listener, self._listener = self._listener, None
        return listener

    def _end(self, tasks: list[Task[Any]]) -> None:
        """Cancel these tasks; those that run on are killed later, if that was asked for."""
        for task in tasks:
            task.cancel()
        if self._kill_after is not None and tasks:
            self._kill_in(self._kill_after)

    def _kill_in(self, seconds: float) -> None:
        """Kill what is left in so many seconds; without a thread that could, it is waited for."""
        try:
            self._scheduler.timers.after(seconds, self._kill)
        except RuntimeError as error:  # not raised: it would hide why the group is cancelled
            _log.warning(
                "tasks of a cancelled group of %s run on: there is no thread that would end them in %s s: %s",
                self._name,
                seconds,
                error,
            )

    def _kill(self) -> None:
        for task in self._left():
            task.cancel(kill=True)

    def _refusal(self) -> GroupClosed:
        if self._state == "new":
            return GroupClosed(
                "a group takes tasks inside its block: with pool.group() as group: group.submit(...)"
            )
        if self._state == "ended":
            return GroupClosed(
                "the block of this group has ended, and the group with it; make another by pool.group()"
            )
        first = f" ({type(self._errors[0]).__name__} was raised)" if self._errors else ""
        return GroupClosed(f"the group was cancelled{first} and takes no more tasks")


def is_async_cancellation(error: BaseException) -> bool:
    """Tell whether it is asyncio's way to say that a coroutine is cancelled; loads no asyncio."""
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def _is_consequence(error: BaseException) -> bool:
    return isinstance(error, CONSEQUENCES) or is_async_cancellation(error)


def _tell(somebody: Callable[[], object] | None) -> None:
    """Make a call into an event loop, if there is one to be made."""
    if somebody is not None:
        with suppress(RuntimeError):  # the loop is closed: nobody is there to be told
            somebody()
