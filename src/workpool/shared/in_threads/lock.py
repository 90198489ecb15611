"""A lock for the threads of one process, which the end of its owner releases."""

from __future__ import annotations

import threading
import time
import weakref
from typing import Any, TypeAlias

from workpool._compat import RLock, across_forks
from workpool.calm import calmly
from workpool.errors import WouldDeadlock
from workpool.shared.home import StaysInProcess
from workpool.waits import LOOK_AGAIN, make_sleeper, sleep_listed, wake_first

__all__ = ["ThreadLock", "is_alive", "this_thread"]

# One that ``threading`` has made, or a mark that ends with one that it has not: its object of these
# says for ever that it lives, and serves the next one that gets the number, too.
Owner: TypeAlias = "threading.Thread | weakref.ref[Any]"


class ThreadLock(StaysInProcess):
    """A lock that knows its owner. States: free; owned; owned by a thread that has ended.

    A thread that ends as owner, because it forgot or because an exception was
    sent into it, has no one to wake; nor does one that is interrupted as it was woken. Who waits
    looks now and then.
    """

    __slots__ = ("_mutex", "_owner", "_sleepers", "owner_died")

    def __init__(self) -> None:
        # Guards all that follows. A signal's handler may come by in the middle: no call stands between a
        # look and the change that rests on it.
        self._mutex = across_forks(RLock())
        self._sleepers: list[Any] = []  # threads that a release has to wake; too many do no harm
        self._owner: Owner | None = None
        self.owner_died = False

    def acquire(self, timeout: float | None) -> bool:
        """Own it: ``None`` waits for ever, 0 only tries."""
        me = this_thread()
        until = None if timeout is None else time.monotonic() + timeout
        again = self._owner is me
        done = False
        try:
            while True:
                with self._mutex:
                    owner = self._owner
                    if owner is me and timeout is None:
                        again = True
                        message = (
                            "this thread has the lock already and would wait for itself for ever"
                        )
                        raise WouldDeadlock(message)
                    ended = owner is not None and not is_alive(owner)
                    if self._owner is None or (ended and self._owner is owner):
                        self.owner_died = self._owner is not None
                        self._owner = me
                        break
                    left = LOOK_AGAIN if until is None else until - time.monotonic()
                    if left <= 0:
                        return False
                    sleeper = make_sleeper()
                    self._sleepers.append(sleeper)
                sleep_listed(self._mutex, self._sleepers, sleeper, min(left, LOOK_AGAIN))
            done = True
            return True
        finally:
            # Ctrl-C may strike after the lock became ours.
            if not done and not again and self._owner is me:
                self.release()

    def release(self) -> None:
        """Let the next one have it."""
        with self._mutex:
            if self._owner is not this_thread():
                message = "cannot release a lock that this thread did not acquire"
                raise RuntimeError(message)
            self.owner_died = False
            self._owner = None
            wake_first(self._sleepers)

    def leave(self) -> None:
        """Release it if this thread owns it."""
        if self._owner is this_thread():
            self.release()

    def locked(self) -> bool:
        """Tell whether someone living owns it."""
        with self._mutex:
            owner = self._owner
            return owner is not None and is_alive(owner)


class _Mark:
    """Ends with the thread whose it is."""

    __slots__ = ("__weakref__",)


class _Here(threading.local):
    def __init__(self) -> None:
        self.mark = _Mark()


_here = _Here()
_Dummy: type[threading.Thread] = threading._DummyThread


def this_thread() -> Owner:
    """Give what stands for this thread, and for no other."""
    thread = threading.current_thread()
    return weakref.ref(_here.mark) if thread.__class__ is _Dummy else thread


def is_alive(thread: Owner) -> bool:
    """Tell whether a thread runs; in one step: until Python 3.13, who is interrupted there marks it as ended."""
    if isinstance(thread, weakref.ref):
        return thread() is not None
    return calmly(thread.is_alive)
