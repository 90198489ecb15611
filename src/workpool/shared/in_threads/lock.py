"""A lock for the threads of one process, which the end of its owner releases."""

from __future__ import annotations

import threading
import time
from typing import Any

from workpool._compat import Lock
from workpool.calm import calmly
from workpool.errors import WouldDeadlock
from workpool.shared.home import StaysInProcess
from workpool.waits import LOOK_AGAIN, make_sleeper, sleep_listed, wake_first

__all__ = ["ThreadLock", "is_alive"]


class ThreadLock(StaysInProcess):
    """A lock that knows its owner. States: free; owned; owned by a thread that has ended.

    A thread that ends as owner, because it forgot or because an exception was
    sent into it, has no one to wake; nor does one that is interrupted as it was woken. Who waits
    looks now and then.
    """

    __slots__ = ("_mutex", "_owner", "_sleepers", "owner_died")

    def __init__(self) -> None:
        self._mutex = Lock()  # guards all that follows
        self._sleepers: list[Any] = []  # threads that a release has to wake; too many do no harm
        self._owner: threading.Thread | None = None
        self.owner_died = False

    def acquire(self, timeout: float | None) -> bool:
        """Own it: ``None`` waits for ever, 0 only tries."""
        me = threading.current_thread()
        until = None if timeout is None else time.monotonic() + timeout
        again = self._is_owned_by(me)
        if again and timeout is None:
            message = "this thread has the lock already and would wait for itself for ever"
            raise WouldDeadlock(message)
        done = False
        try:
            while True:
                with self._mutex:
                    owner = self._owner
                    if owner is None or not is_alive(owner):
                        self.owner_died = owner is not None
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
            if not done and not again and self._is_owned_by(me):
                self.release()

    def release(self) -> None:
        """Let the next one have it."""
        with self._mutex:
            if self._owner is not threading.current_thread():
                message = "cannot release a lock that this thread did not acquire"
                raise RuntimeError(message)
            self.owner_died = False
            self._owner = None
            wake_first(self._sleepers)

    def locked(self) -> bool:
        """Tell whether someone living owns it."""
        with self._mutex:
            return self._owner is not None and is_alive(self._owner)

    def _is_owned_by(self, thread: threading.Thread | None) -> bool:
        return self._owner is thread


def is_alive(thread: threading.Thread) -> bool:
    """Tell whether a thread runs; in one step: until Python 3.13, who is interrupted there marks it as ended."""
    return calmly(thread.is_alive)
