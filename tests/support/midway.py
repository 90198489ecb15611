"""Finalizers in the middle of a step: the garbage collector is made to strike where a thread holds a lock.

The interpreter collects where it likes, between any two steps of any thread. Here that is
done on purpose, at one moment after the other: a hook of the profiler hears of each call
and return in the library's own files, and at the one that is meant, if the thread holds
the lock, it drops a cycle of garbage and collects it. So the finalizer runs
where a real one would, and in the same way.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import workpool
from tests.support.gates import DEADLINE

__all__ = ["Strike", "striking"]

OURS = str(Path(workpool.__file__).parent)


class _Garbage:
    """In a cycle with itself, so that only the collector finds it; or gone when it is dropped."""

    def __init__(self, call: Callable[[], object], *, cycle: bool) -> None:
        self._call = call
        self._cycle = self if cycle else None

    def __del__(self) -> None:
        self._call()


class Strike:
    """One finalizer that strikes once, at the moment of that number; tells what came of it.

    No two threads collect at the same time. Where two are to be struck at once, one of them is
    by an object that is ``dropped``.
    """

    def __init__(
        self, lock: Any, number: int, call: Callable[[], object], *, dropped: bool = False
    ) -> None:
        self._lock = lock
        self._dropped = dropped
        self._left = number
        self._call = call
        self.struck = False
        self._collecting = 0  # the thread that does, if one does
        self._begun = False
        self.value: Any = None
        self.error: BaseException | None = None

    def look(self, frame: Any, event: str, _: object) -> None:
        """Be told of a call or a return, in whatever thread."""
        if self.struck or not frame.f_code.co_filename.startswith(OURS):
            return
        # Not in a finalizer of other garbage: nobody else could collect until this one is through.
        if not self._lock._is_owned() or self._collecting == threading.get_ident():
            return
        self._left -= 1
        if self._left < 0:
            self.struck = True
            sys.setprofile(None)  # on Python 3.11 a thread that is looked at may be held up
            if self._dropped:
                _Garbage(self._run, cycle=False)
            # Another thread may be collecting just then, so that nothing is found here, or find it itself.
            # That may take a while, with finalizers of its own.
            pause, until = threading.Event(), monotonic() + DEADLINE / 2
            while not self._dropped and not self._begun and monotonic() < until:
                _Garbage(self._run, cycle=True)
                gc.collect(0)
                if not self._begun:
                    gc.collect()
                    pause.wait(0.001)

    def hear(self, phase: str, _: object) -> None:
        """Be told of the begin and the end of a collection."""
        self._collecting = threading.get_ident() if phase == "start" else 0

    def _run(self) -> None:
        if self._begun or not self._lock._is_owned():
            return
        self._begun = True
        try:
            self.value = self._call()
        except BaseException as error:
            self.error = error


@contextmanager
def striking(strike: Strike, *, only_here: bool = False) -> Generator[None]:
    """Have it strike in this thread, in a step of the block, or in a thread that begins meanwhile."""
    before, threads_before = sys.getprofile(), threading.getprofile()
    if not only_here:
        threading.setprofile(strike.look)
    gc.callbacks.append(strike.hear)
    sys.setprofile(strike.look)
    try:
        yield
    finally:
        sys.setprofile(before)
        gc.callbacks.remove(strike.hear)
        if not only_here:
            threading.setprofile(threads_before)
