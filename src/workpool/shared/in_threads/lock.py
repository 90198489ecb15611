"""A lock for the threads of one process, which the end of its owner releases."""

from __future__ import annotations

import threading
import time

from workpool._compat import Lock
from workpool.errors import WouldDeadlock
from workpool.shared.home import StaysInProcess

__all__ = ["ThreadLock"]

# Seconds between two looks: whether an owner is still alive, and whether Ctrl-C came. It may
# strike in the instant before a thread falls asleep, and would be heard only when it is woken.
_LOOK_AGAIN = 0.2


class ThreadLock(StaysInProcess):
    """A lock that knows its owner. States: free; owned; owned by a thread that has ended.

    A thread that ends as owner, because it forgot or because an exception was
    sent into it, has no one to wake: who waits looks now and then.
    """

    __slots__ = ("_changed", "_mutex", "_owner", "_waiting", "owner_died")

    def __init__(self) -> None:
        self._mutex = Lock()  # guards all that follows
        self._changed = threading.Condition(self._mutex)
        self._waiting = 0  # threads that a release has to wake; too many do no harm
        self._owner: threading.Thread | None = None
        self.owner_died = False

    def acquire(self, timeout: float | None) -> bool:
        """Own it: ``None`` waits for ever, 0 only tries."""
        me = threading.current_thread()
        done = again = False
        try:
            with self._mutex:
                if self._owner is not None:
                    again = self._owner is me
                    if not self._wait(me, timeout):
                        return False
                    self.owner_died = not self._is_owned_by(None)
                self._owner = me
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
            if self._waiting:
                self._changed.notify()

    def locked(self) -> bool:
        """Tell whether someone living owns it."""
        with self._mutex:
            return self._owner is not None and self._owner.is_alive()

    def _is_owned_by(self, thread: threading.Thread | None) -> bool:
        return self._owner is thread

    def _wait(self, me: threading.Thread, timeout: float | None) -> bool:
        """Wait until no one living owns it; `_mutex` is held."""
        if timeout is None and self._owner is me:
            message = "this thread has the lock already and would wait for itself for ever"
            raise WouldDeadlock(message)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waiting += 1
        try:
            while self._owner is not None and self._owner.is_alive():
                left = _LOOK_AGAIN if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, _LOOK_AGAIN))
        finally:
            self._waiting -= 1
        return True
