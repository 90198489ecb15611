"""What ``concurrent.futures.wait`` and ``as_completed`` find in a task: its ``_condition`` and ``_waiters``.

They take the conditions of all their futures, read each ``_state`` (more than once), add
their waiter to each ``_waiters``, and count on nothing's ending between the first of these steps and
the last. In a plain future a lock sees to that. A Ctrl-C in those steps leaves such locks locked
for ever (in the loop that takes them, on every Python; as a ``with`` block begins, on some), and
then the worker that brings an outcome stands still, and so does everybody else who waits.

Here nobody waits for anybody. Guarantees:

*What a thread reads stays as it is while it reads.* To take the condition is to note the task's stage for
    this thread; until it is released, this thread reads that in ``_state``. Others do not.
*A waiter is told once of each task that its thread took for unfinished, and of no other.* A
    waiter that comes after the end is told at once, by the thread that brings it,
    if that thread had read otherwise. The list is closed by the end of the task, under the task's lock.
*Ctrl-C leaves no lock locked.* What it may leave behind is a note of a thread, which nobody waits for. The event and
    the lock inside a waiter are exchanged for ours when it comes, before anybody can use them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from time import monotonic
from typing import Any

from workpool._compat import Lock
from workpool.waits import Event, make_sleeper, sleep_on, wake_all, wake_first

__all__ = ["Condition", "Waiters", "noted", "tell"]

_DONE = (FINISHED, CANCELLED_AND_NOTIFIED, CANCELLED)


def noted(views: dict[int, list[str]], stage: str) -> str:
    """Give the stage that this thread has noted, if it has, else the one that is."""
    mine = views.get(threading.get_ident())
    return mine[-1] if mine else stage


def tell(task: Any, waiter: Any) -> None:
    """Tell a waiter that a task is done, and how; none of the locks that this takes is left locked."""
    if task._stage != FINISHED:
        waiter.add_cancelled(task)
    elif task._exception is not None:
        waiter.add_exception(task)
    else:
        waiter.add_result(task)


class Condition:
    """A task's condition: keeps what its thread reads as it is, and keeps nobody out.

    Made anew each time that it is asked for; what there is to know is with the task.
    """

    __slots__ = ("_task",)

    def __init__(self, task: Any) -> None:
        self._task = task

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Note the stage of the task for this thread."""
        del blocking, timeout  # nobody waits
        with self._task._lock:
            views = self._task._more().views
            views.setdefault(threading.get_ident(), []).append(self._task._stage)
        return True

    def release(self) -> None:
        """Forget what was noted last."""
        with self._task._lock:
            views = self._task._more().views
            mine = views.get(threading.get_ident())
            if not mine:
                message = "cannot release a condition that this thread did not acquire"
                raise RuntimeError(message)
            mine.pop()
            if not mine:
                del views[threading.get_ident()]

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until the task is done or somebody notifies, or for so many seconds."""
        task = self._task
        sleeper = make_sleeper()
        with task._lock:
            mine = task._more().views.get(threading.get_ident())
            if not mine:
                message = "cannot wait on a condition that this thread did not acquire"
                raise RuntimeError(message)
            missed = mine[-1] not in _DONE and task._stage in _DONE  # the end came after the look
            if not missed:
                task._extras.listeners.append(sleeper)
        woken = missed or sleep_on(sleeper, timeout)
        with task._lock:
            if sleeper in task._extras.listeners:
                task._extras.listeners.remove(sleeper)
            mine[-1] = task._stage
        return woken

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Sleep until the predicate is true, or for so many seconds; give what it said last."""
        until = None if timeout is None else monotonic() + timeout
        while not (said := predicate()):
            left = None if until is None else until - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
        return said

    def notify(self, n: int = 1) -> None:
        """Wake so many of those in `wait`."""
        with self._task._lock:
            wake_first(self._task._more().listeners, n)

    def notify_all(self) -> None:
        """Wake all of those in `wait`."""
        with self._task._lock:
            wake_all(self._task._more().listeners)


class Waiters:
    """The list of who is to be told of a task's end; it is closed by the end."""

    __slots__ = ("_task",)

    def __init__(self, task: Any) -> None:
        self._task = task

    def __len__(self) -> int:
        with self._task._lock:
            return len(self._task._more().waiters)

    def append(self, waiter: Any) -> None:
        """Have a waiter told at the end; at once, if that came after this thread had looked."""
        task = self._task
        _exchange_locks(waiter)
        with task._lock:
            done = task._stage in _DONE
            if not done:
                task._more().waiters.append(waiter)
        if done and task._state not in _DONE:
            tell(task, waiter)

    def remove(self, waiter: Any) -> None:
        """Have a waiter not told any more."""
        with self._task._lock:
            waiters = self._task._more().waiters
            if waiter in waiters:  # else the end had come before it
                waiters.remove(waiter)


def _exchange_locks(waiter: Any) -> None:
    """Give a waiter an event and a lock of ours.

    The thread that brings it holds the conditions of all its futures, and none of our tasks
    had it before: nobody uses the old ones yet.
    """
    event = getattr(waiter, "event", None)
    if isinstance(event, threading.Event):  # house: lock - only to know it by
        waiter.event = ours = Event()
        if event.is_set():
            ours.set()
        if hasattr(waiter, "lock"):
            waiter.lock = Lock()
