"""Counts what a map call has finished, and has it shown now and then by a thread of its own.

Who settles an item only stores two numbers and sets an event, under the scheduler's
lock. The thread, one for each map call that is shown, sleeps until there is news and
then calls the display, ten times a second at most. So a display moves also while
nobody consumes; a display that is slow, or a terminal that stands still, holds up
neither workers nor scheduler; and what a display raises ends the display alone.

States and guarantees
- ``count``, ``know_total`` and ``end`` are called with the scheduler's lock held, one
  at a time. ``_counts`` is replaced whole, so that whoever reads it sees one moment.
- The event is cleared before the counts are read: news that comes after is shown next.
- After ``end`` nothing is counted. The display is then given the last snapshot, once.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from workpool._compat import daemon_threads_allowed
from workpool.integrations.progress.snapshot import Progress
from workpool.safelog import SafeLog
from workpool.waits import Event

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Display", "Meter"]

INTERVAL = 0.1  # seconds between two calls of a display, at least
PATIENCE = 5.0  # seconds that the end of a map call waits for its display, at most
LATELY = 30.0  # seconds over which the rate is measured

_log = SafeLog("workpool.progress")
_live: set[Meter] = set()  # whose thread runs; each change is one atomic step
# Taken for good by whoever registers _end_all.
_hooked = threading.Lock()  # house: lock - never waited for


class Display(Protocol):
    """Shows how far a map call is; called by one thread."""

    tick: float | None  # seconds after which it wants to be called without news; None: never

    def show(self, progress: Progress) -> None:
        """Show it."""

    def close(self, progress: Progress | None) -> None:
        """Show it for the last time, and be gone; None after the display itself has failed."""


class Meter:
    """What is counted of one map call, and the thread that has it shown."""

    def __init__(self, display: Display, *, name: str, total: int | None) -> None:
        self._display = display
        self._name = name
        self._total = total
        self._counts = 0, 0, 0  # done, failed; of the done, restored
        self._began = monotonic()
        self._samples: deque[tuple[float, int]] = deque([(self._began, 0)])
        self._news = Event()
        self._over = Event()  # nothing more comes
        self._shown = Event()  # the last snapshot is shown, or never will be
        self._awaited: list[Callable[[], object]] = []
        self._thread = threading.Thread(
            target=self._run, name=f"{name}-progress", daemon=daemon_threads_allowed()
        )
        if _hooked.acquire(blocking=False):
            atexit.register(_end_all)
        _live.add(self)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter ends: the map goes on unseen
            _live.discard(self)
            self._over.set()
            self._shown.set()

    # ------------------------------------------------------- for the map call (mapjob.Meter)

    def count(self, done: int, failed: int, restored: int = 0) -> None:
        """Hear of so many more items with a result, and with an error."""
        if not self._over.is_set():
            before = self._counts
            self._counts = before[0] + done, before[1] + failed, before[2] + restored
            if not self._news.is_set():
                self._news.set()

    def know_total(self, total: int) -> None:
        """Hear how many items there are."""
        if not self._over.is_set():
            self._total = total
            self._news.set()

    def end(self) -> None:
        """Hear that nothing more will come."""
        self._over.set()
        self._news.set()

    def wait(self) -> None:
        """Let the last snapshot be shown, before what the caller prints next."""
        if threading.current_thread() is not self._thread:  # a display that closes its own map
            self._shown.wait(PATIENCE)

    def when_done(self, call: Callable[[], object]) -> float:
        """Have a call made when the last snapshot is shown; give the seconds to wait for that."""
        self._awaited.append(call)
        if self._shown.is_set():  # seen after the call was left: one of the two makes it, or both
            call()
        return PATIENCE

    # ------------------------------------------------------------------- the thread

    def _run(self) -> None:
        display = self._display
        try:
            self._watch(display)
        except BaseException:
            # SystemExit too: the map is not the display's to end.
            _log.exception("the display of %s failed and shows nothing more", self._name)
            self._quietly(lambda: display.close(None))
        finally:
            _live.discard(self)
            self._shown.set()
            for call in self._awaited:
                self._quietly(call)

    def _watch(self, display: Display) -> None:
        while True:
            over = self._over.is_set()
            self._news.clear()
            if over:  # seen before the counts are read: they are the last
                display.close(self.snapshot(ended=True))
                return
            display.show(self.snapshot())
            self._over.wait(INTERVAL)
            if not self._over.is_set():
                self._news.wait(display.tick)

    @staticmethod
    def _quietly(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException:  # noqa: S110 - told once, by the call before
            pass

    def snapshot(self, *, ended: bool = False) -> Progress:
        """Read the counts, all at one moment."""
        done, failed, restored = self._counts
        total = self._total
        now = monotonic()
        elapsed = now - self._began
        finished = done + failed
        rate = self._rate(now, finished - restored, whole=ended)
        left = None
        if total is not None and (rate or finished == total):
            left = (total - finished) / rate if finished < total else 0.0
        return Progress(
            name=self._name,
            done=done,
            failed=failed,
            restored=restored,
            total=total,
            elapsed=elapsed,
            rate=rate,
            left=left,
            ended=ended,
        )

    def _rate(self, now: float, ran: int, *, whole: bool) -> float:
        """Give items per second: of late, or over the whole run."""
        samples = self._samples
        if whole:
            since, before = self._began, 0
        else:
            if now - samples[-1][0] >= 1.0:
                samples.append((now, ran))
            while len(samples) > 2 and now - samples[1][0] >= LATELY:
                samples.popleft()
            since, before = samples[0]
        return (ran - before) / (now - since) if now > since else 0.0


def _end_all() -> None:
    """At exit, take away what still stands on the terminal; a thread must not be cut off while it writes."""
    meters = list(_live)
    for meter in meters:
        meter.end()
    for meter in meters:
        meter.wait()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_live.clear)  # the threads stayed in the parent
