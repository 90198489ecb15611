"""A lock that stops a chosen thread at a chosen acquisition or release, to script a race.

A *stop* is armed for threads whose name matches. The thread that comes there
reports its arrival and sleeps until it is told to go on; everybody else uses the
lock as if nothing had happened. So an interleaving that is rare in real life
happens in each run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Literal, Self

from tests.support.gates import DEADLINE

__all__ = ["LyingLock", "Stop"]

Moment = Literal["before acquire", "after acquire", "after release"]


class Stop:
    """One place where one thread stops once."""

    def __init__(self, moment: Moment, who: Callable[[], bool], skip: int) -> None:
        self.moment = moment
        self._who = who
        self._skip = skip
        self._arrived = threading.Event()
        self._go = threading.Event()

    def arrival(self) -> None:
        """Wait until the thread is there."""
        assert self._arrived.wait(DEADLINE), f"nobody came by: {self.moment}"

    def go(self) -> None:
        """Let the thread go on."""
        self._go.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.go()

    def pass_by(self, moment: Moment) -> None:
        """Stop here, if it is this place, this thread and the right time."""
        if moment != self.moment or self._arrived.is_set() or not self._who():
            return
        if self._skip:
            self._skip -= 1
            return
        self._arrived.set()
        assert self._go.wait(DEADLINE), f"nobody said go: {self.moment}"


class LyingLock:
    """A lock with stops; otherwise a ``threading.Lock``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stops: list[Stop] = []
        self.on_acquire: Callable[[], object] | None = None  # called with the lock held

    def stop(self, moment: Moment, thread: str = "", *, skip: int = 0) -> Stop:
        """Arm a stop for a thread whose name begins so, after ``skip`` passages; now on."""
        who: Callable[[], bool]
        if thread:
            who = lambda: threading.current_thread().name.startswith(thread)  # noqa: E731 - short, and of two kinds
        else:
            me = threading.get_ident()
            who = lambda: threading.get_ident() != me  # noqa: E731 - short, and of two kinds
        armed = Stop(moment, who, skip)
        self._stops.append(armed)
        return armed

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self._pass_by("before acquire")
        taken = self._lock.acquire(blocking, timeout)
        if taken:
            if self.on_acquire is not None:
                self.on_acquire()
            self._pass_by("after acquire")
        return taken

    def release(self) -> None:
        self._lock.release()
        self._pass_by("after release")

    def locked(self) -> bool:
        return self._lock.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _pass_by(self, moment: Moment) -> None:
        for armed in list(self._stops):
            armed.pass_by(moment)
