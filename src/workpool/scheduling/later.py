"""Calls that cannot be made where they are asked for: in the middle of a step, by the very thread that makes it.

The garbage collector runs finalizers (``__del__``, weakref callbacks) in whatever thread
allocates, between any two of its steps, and Python runs the handlers of signals
likewise. Such user code may use the pool while this very thread holds the
scheduler's lock and has done half of something. What would change the books is then
noted here, and done by a thread that lives only for that, as soon as the step is done.

Guarantees
- A call is made once, without the lock, and in the order in which they were noted.
- To note one takes no lock that anybody waits for, so it can be done anywhere.
- Where the system has no thread to give, whoever sweeps next makes the calls, or is about to wait
  for the pool.
- None of them waits behind user code: ``is_this_thread`` is for callbacks, which run in threads of
  their own there (``State.tell``). One may wait for what was put off behind its task.
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


class _Here(threading.local):
    makes_calls = False


_here = _Here()


class Later:
    """Calls to be made soon, in a thread that holds nothing."""

    __slots__ = ("_running", "calls")

    def __init__(self) -> None:
        self.calls: deque[Callable[[], object]] = deque()  # each append and popleft is one step
        # Held by whoever makes the calls; taken in a calm step, and nobody waits for it.
        self._running = threading.Lock()  # house: lock - see above

    def add(self, call: Callable[[], object]) -> None:
        """Have a call made soon."""
        self.calls.append(call)
        calmly(self._begin)

    def _begin(self) -> None:
        """Have a thread make the calls; in one step, also for Ctrl-C, or nobody would ever make any again."""
        if self._running.acquire(blocking=False):  # else somebody is at it, and looks once more
            try:
                start_new_thread(self._make, ())
            except RuntimeError:
                self._running.release()

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is one of these calls, or of those of another pool."""
        return _here.makes_calls

    def __bool__(self) -> bool:
        """Tell whether there are calls, and nobody is at it."""
        return bool(self.calls) and not self._running.locked()

    def catch_up(self) -> None:
        """Make the calls in this very thread, which holds nothing, unless somebody is at it."""
        if self.calls:
            calmly(self._catch_up)

    def _catch_up(self) -> None:
        if self._running.acquire(blocking=False):
            before = _here.makes_calls
            try:
                self._make()
            finally:
                _here.makes_calls = before

    def _make(self) -> None:
        """Make the calls that there are; ``_running`` is held, and let go of."""
        _here.makes_calls = True
        while True:
            try:
                call = self.calls.popleft()
            except IndexError:
                self._running.release()
                # One may have been added after the look and before the release.
                if not self.calls or not self._running.acquire(blocking=False):
                    return
                continue
            try:
                call()
            except BaseException:
                _log.exception("a call that had been put off failed")
            del call
