"""A rate limit for the threads of one process: a window of moments, and a line of waiters."""

from __future__ import annotations

from array import array
from collections import deque
from time import monotonic

from workpool._compat import RLock, across_forks
from workpool.errors import Midway
from workpool.shared.home import StaysInProcess
from workpool.shared.in_threads.lock import is_alive, this_thread
from workpool.shared.window import NEVER, Window
from workpool.waits import make_sleeper

__all__ = ["ThreadRateLimiter"]

# Seconds between two looks: Ctrl-C may strike in the instant before a thread falls asleep,
# and the thread that is first in the line may have ended there.
_LOOK_AGAIN = 0.2


class ThreadRateLimiter(StaysInProcess):
    """A ring of moments, a line of threads, and a lock for both.

    Only the first of the line looks at the clock: it sleeps until its call is allowed.
    Whoever leaves the line wakes the next.
    """

    __slots__ = ("_line", "_mutex", "_window", "calls", "period")

    def __init__(self, calls: int, period: int) -> None:
        self.calls = calls
        self.period = period
        self._mutex = across_forks(RLock())  # guards all that follows
        self._window = Window(array("q", [NEVER]) * calls, array("q", [0]), period)
        self._line: deque[_Waiter] = deque()

    def acquire(self, timeout: float | None) -> bool:
        """Wait until a call is allowed, and count it: ``None`` waits for ever, 0 only tries."""
        if self._mutex._is_owned():
            message = (
                "acquire() was called by a signal's handler, or a finalizer, in the middle of another call of this "
                "rate limiter in the same thread; call it elsewhere"
            )
            raise Midway(message)
        deadline = None if timeout is None else monotonic() + timeout
        me: _Waiter | None = None
        try:
            while True:
                with self._mutex:
                    early = float("inf")
                    first = self._first()
                    if first is None or first is me:
                        early = self._window.take() / 1e9
                        if not early:
                            return True
                    left = float("inf") if deadline is None else deadline - monotonic()
                    if left <= 0:
                        return False
                    if me is None:
                        me = _Waiter()
                        self._line.append(me)
                me.asleep.acquire(timeout=min(left, early, _LOOK_AGAIN))
        finally:
            if me is not None:
                try:
                    self._leave(me)
                except BaseException:
                    self._leave(me)  # struck on the way out: nobody may stand behind us for ever
                    raise

    def free(self) -> int:
        """Say how many calls are allowed now."""
        with self._mutex:
            return self._window.free()

    def _first(self) -> _Waiter | None:
        """Give the first of the line whose thread still lives; `_mutex` is held."""
        while self._line and not is_alive(self._line[0].thread):
            self._line.popleft()
        return self._line[0] if self._line else None

    def _leave(self, me: _Waiter) -> None:
        with self._mutex:
            if me in self._line:
                self._line.remove(me)
            first = self._first()
            if first is not None and first.asleep.locked():
                first.asleep.release()


class _Waiter:
    """A thread in the line, and the lock it sleeps on: held, but for the moment of a wake-up."""

    __slots__ = ("asleep", "thread")

    def __init__(self) -> None:
        self.thread = this_thread()
        self.asleep = make_sleeper()
