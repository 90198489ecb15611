"""Threads that sleep until there is something for them: lists of locks, one for each sleeper.

A sleeper is a lock that is held until the sleeper is roused; lists of them are
guarded by the queue's lock.

Guarantees
    *Nobody sleeps through what it waits for.* A sleeper is listed first and
    looks once more then; the other side acts first and then looks at the list.

    *No call to wake is lost.* Who is struck by an exception as it was roused
    passes it on; who is struck as it rouses someone leaves an entry too many on
    the list, not a sleeper that no one knows.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from workpool.waits import make_sleeper, sleep_on

if TYPE_CHECKING:
    from _thread import LockType
    from collections import deque
    from collections.abc import Callable

__all__ = ["NOTHING", "Sleepers", "rouse", "rouse_all", "wait"]

Sleepers: TypeAlias = "deque[LockType]"

NOTHING: Final[Any] = object()  # what an attempt returns that did not succeed


def wait(
    lock: LockType, sleepers: Sleepers, attempt: Callable[[], Any], timeout: float | None
) -> Any:
    """Attempt until it succeeds, or the time is up (`NOTHING`); sleep between.

    `attempt` is called with the lock held. What it raises ends the wait.
    """
    deadline = None if timeout is None else monotonic() + timeout
    while True:
        left = None if deadline is None else deadline - monotonic()
        sleeper = make_sleeper()
        with lock:
            sleepers.append(sleeper)  # before the look: who acts after it will see us
            stay = False
            try:
                result = attempt()
                stay = result is NOTHING and (left is None or left > 0)
            finally:
                if not stay:
                    _strike_off(sleepers, sleeper)
        if not stay:
            return result
        _sleep(lock, sleepers, sleeper, left)


def rouse(sleepers: Sleepers) -> bool:
    """Wake the first sleeper, if there is one; the lock is held."""
    while sleepers:
        sleeper = sleepers[0]
        asleep = sleeper.locked()
        if asleep:
            sleeper.release()
        sleepers.popleft()  # only now: see above
        if asleep:
            return True
    return False


def rouse_all(sleepers: Sleepers) -> None:
    """Wake everyone; the lock is held."""
    while rouse(sleepers):
        pass


def _sleep(lock: LockType, sleepers: Sleepers, sleeper: LockType, left: float | None) -> None:
    """Sleep until roused, or for so many seconds."""
    roused = False
    try:
        roused = sleep_on(sleeper, left)
    finally:
        if not roused:
            with lock:
                if not _strike_off(sleepers, sleeper):
                    rouse(sleepers)  # we had been, after all: it is the next one's now


def _strike_off(sleepers: Sleepers, sleeper: LockType) -> bool:
    """Take a sleeper off the list; tell whether it was on it, so that no one had roused it."""
    try:
        sleepers.remove(sleeper)
    except ValueError:
        return False
    return True
