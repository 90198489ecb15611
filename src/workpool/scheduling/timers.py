"""Calls that are due at a moment: one thread for all of a pool, started when first needed.

The thread sleeps until the earliest moment, or until an earlier one is added;
it never polls. Moments are on the monotonic clock. No call may wait there for what a
later one would bring about: ``is_this_thread`` is for calls that would wait elsewhere, and user code
runs in threads of its own (``State.aside``).
"""

from __future__ import annotations

import heapq
import threading
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from workpool._compat import Lock, daemon_threads_allowed
from workpool.calm import calmly
from workpool.safelog import SafeLog
from workpool.waits import Event

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Timer", "Timers"]

_log = SafeLog("workpool")

_FEW = 256  # timers that may be kept, whether or not they are cancelled


class _Here(threading.local):
    keeps_time = False


_here = _Here()


class Timer:
    """A call that is due at a moment, until it is cancelled."""

    __slots__ = ("call", "due", "order")

    def __init__(self, due: float, order: int, call: Callable[[], object] | None) -> None:
        self.due = due
        self.order = order
        self.call = call  # None: cancelled, or made

    def cancel(self) -> None:
        """See that the call is not made, if it has not been begun."""
        self.call = None

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.order) < (other.due, other.order)


class Timers:
    """The calls that are due later, and the thread that makes them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lock = Lock()  # guards all below, and is never held while _news is waited for
        self._news = Event()  # the first of the heap is another, or it is closed
        self._heap: list[Timer] = []
        self._most = _FEW  # timers in the heap until it is looked through
        self._order = count()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def is_this_thread(self) -> bool:
        """Whether the caller is one of these calls, or of those of another pool."""
        return _here.keeps_time

    def after(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Make ``call`` in so many seconds, in the timers' thread; a RuntimeError if there can be none."""
        timer = Timer(monotonic() + seconds, next(self._order), call)
        calmly(self._add, timer)  # added and not told, it would keep those behind it waiting, too
        return timer

    def _add(self, timer: Timer) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                thread = threading.Thread(
                    target=self._run, name=self._name, daemon=daemon_threads_allowed()
                )
                thread.start()  # it waits for the lock held here
                self._thread = thread
            if len(self._heap) >= self._most:
                self._let_go()
            heapq.heappush(self._heap, timer)
            if self._heap[0] is timer:
                self._news.set()

    def _let_go(self) -> None:
        """Let go of cancelled timers; lock held.

        A limit that was kept is cancelled long before it is due. To look for those each time that the heap is
        twice as large as what was left the last time costs a few steps a timer, however many there are.
        """
        self._heap = [timer for timer in self._heap if timer.call is not None]
        heapq.heapify(self._heap)
        self._most = max(_FEW, 2 * len(self._heap))

    def close(self) -> None:
        """End the thread; calls not yet due are not made."""
        with self._lock:
            self._closed = True
            self._heap.clear()
            self._news.set()

    def _run(self) -> None:
        _here.keeps_time = True
        while True:
            call = None
            with self._lock:
                if self._closed:
                    return
                left = self._heap[0].due - monotonic() if self._heap else None
                if left is not None and left <= 0:
                    call = heapq.heappop(self._heap).call
                else:
                    self._news.clear()  # under the lock: what comes after this look puts it up again
            if call is not None:
                try:
                    call()
                except BaseException:  # those behind it are due as well
                    _log.exception("a call that was due in %s failed", self._name)
            elif left is None or left > 0:
                self._news.wait(left)
