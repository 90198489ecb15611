"""Calls that cannot be made where they are asked for: in the middle of a step, by the very thread that makes it.

The garbage collector runs finalizers (``__del__``, weakref callbacks) in whatever thread
allocates, between any two of its steps, and Python runs the handlers of signals
likewise. Such user code may use the pool while this very thread holds the
scheduler's lock and has done half of something. What would change the books is then
noted here, and done by a thread that lives only for that, as soon as the step is done.

Guarantees
- A call is made once, without the lock, and in the order in which they were noted.
- To note one takes no lock that anybody waits for, so it can be done anywhere.
- Where the system has no thread to give, whoever sweeps next makes the calls.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread  # no lock is taken on the way, as it would by a Thread
from collections import deque
from typing import TYPE_CHECKING

from workpool.calm import calmly
from workpool.safelog import SafeLog

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Later"]

_log = SafeLog("workpool")


class Later:
    """Calls to be made soon, in a thread that holds nothing."""

    __slots__ = ("_calls", "_running")

    def __init__(self) -> None:
        self._calls: deque[Callable[[], object]] = deque()  # each append and popleft is one step
        # Held by whoever makes the calls; taken in a calm step, and nobody waits for it.
        self._running = threading.Lock()  # house: lock - see above

    def add(self, call: Callable[[], object]) -> None:
        """Have a call made soon."""
        self._calls.append(call)
        calmly(self._begin)

    def _begin(self) -> None:
        """Have a thread make the calls; in one step, also for Ctrl-C, or nobody would ever make any again."""
        if self._running.acquire(blocking=False):  # else somebody is at it, and looks once more
            try:
                start_new_thread(self._make, ())
            except RuntimeError:
                self._running.release()

    def __bool__(self) -> bool:
        """Tell whether there are calls that nobody has begun."""
        return bool(self._calls)

    def catch_up(self) -> None:
        """Make the calls in this very thread, which holds nothing, unless somebody is at it."""
        if self._calls:
            calmly(self._catch_up)

    def _catch_up(self) -> None:
        if self._running.acquire(blocking=False):
            self._make()

    def _make(self) -> None:
        """Make the calls that there are; ``_running`` is held, and let go of."""
        while True:
            try:
                call = self._calls.popleft()
            except IndexError:
                self._running.release()
                # One may have been added after the look and before the release.
                if not self._calls or not self._running.acquire(blocking=False):
                    return
                continue
            try:
                call()
            except BaseException:
                _log.exception("a call that had been put off failed")
            del call
