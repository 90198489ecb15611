"""Threads that sleep until there is something for them: lists of locks, one for each sleeper.

A sleeper is a lock that is held until the sleeper is roused; lists of them are
guarded by the queue's lock, which bears re-entry: a signal's handler or a finalizer
may come by in the middle, and rouse.

Guarantees
    *Nobody sleeps through what it waits for.* A sleeper is listed first and
    looks once more then; the other side acts first and then looks at the list.

    *No call to wake is lost.* Who is roused and leaves all the same, because an
    exception struck or the time was up, passes it on. To take a sleeper off the list
    and to rouse it is one step, with nothing in between.

    *No one waits for itself.* Who would sleep in a handler, while the call that it
    came by in has the lock, is told so: no one could wake it.

    *A forked child knows no sleepers of its parent* (`Rooms`), whose calls to wake
    would be lost on them.
"""

from __future__ import annotations

from collections import deque
from operator import methodcaller
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from workpool.errors import WouldDeadlock
from workpool.waits import make_sleeper, sleep_on

if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

__all__ = ["NOTHING", "Rooms", "Sleepers", "rouse", "rouse_all", "wait"]

Sleepers: TypeAlias = "deque[LockType]"

NOTHING: Final[Any] = object()  # what an attempt returns that did not succeed

_release: Final = methodcaller("release")


class Rooms:
    """A lock and the lists that it guards: free, and without a sleeper, in a forked child.

    Parameters
    ----------
    lock : lock
        Guards the lists, and bears re-entry.
    """

    __slots__ = ("__weakref__", "getters", "joiners", "lock", "putters")

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.getters: Sleepers = deque()
        self.putters: Sleepers = deque()
        self.joiners: Sleepers = deque()

    def _at_fork_reinit(self) -> None:
        self.lock._at_fork_reinit()
        for sleepers in (self.getters, self.putters, self.joiners):
            for sleeper in sleepers:
                # It may be the thread's that forked, in a signal's handler: that one looks once more.
                sleeper._at_fork_reinit()  # type: ignore[attr-defined]
            sleepers.clear()


def wait(lock: Any, sleepers: Sleepers, attempt: Callable[[], Any], timeout: float | None) -> Any:
    """Attempt until it succeeds, or the time is up (`NOTHING`); sleep between.

    `attempt` is called with the lock held. What it raises ends the wait.
    """
    deadline = None if timeout is None else monotonic() + timeout
    sleeper: Any = None
    left = None
    stays = True  # whether the sleeper may be on the list, or was roused and has not looked
    try:
        while True:
            if deadline is not None:
                left = deadline - monotonic()
            sleeper = make_sleeper()
            with lock:
                sleepers.append(sleeper)  # before the look: who acts after it will see us
                result = attempt()
                if result is not NOTHING or (left is not None and left <= 0):
                    _leave(sleepers, sleeper)
                    stays = False
                    return result
            if lock._is_owned():
                message = (
                    "a signal's handler or a finalizer would wait for the call that it came by in, of the same "
                    "queue and thread. There, put into a queue without a bound, or do not block."
                )
                raise WouldDeadlock(message)
            if not sleep_on(sleeper, left):
                with lock:
                    _leave(sleepers, sleeper)
    finally:
        if stays and sleeper is not None:
            with lock:
                _leave(sleepers, sleeper)
                # Whatever it was that we had been roused for.
                rouse(sleepers)


def rouse(sleepers: Sleepers) -> bool:
    """Wake the first sleeper, if there is one; the lock is held."""
    try:
        # One step of C: an exception, or one who comes by in the middle, finds the sleeper listed or awake.
        next(map(_release, iter(sleepers.popleft, None)))
    except IndexError:
        return False
    return True


def rouse_all(sleepers: Sleepers) -> None:
    """Wake everyone; the lock is held."""
    while rouse(sleepers):
        pass


def _leave(sleepers: Sleepers, sleeper: Any) -> None:
    """Take a sleeper off the list; if it is not there it was roused, and the next one is in its place."""
    try:
        sleepers.remove(sleeper)
    except ValueError:
        rouse(sleepers)
