"""A thread that may be given up: an exception is sent into it, but not into a step that is done whole.

It cannot be ended otherwise. Where such a thread does the books of a pool itself, the
exception is noted and raised when that is done (``calm.py``).
"""

from __future__ import annotations

import sys
import threading
from _thread import start_new_thread
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from time import sleep
from typing import Any, Protocol, TypeVar

from workpool._compat import RLock

__all__ = ["Target", "mine", "send_into", "try_again"]

R = TypeVar("R")

_SOON, _LONGEST_PAUSE = 0.001, 1.0  # seconds


class Hearing(Protocol):
    """A step that ends early when it hears of the exception."""

    raised: BaseException | None


class _Mine(threading.local):
    """What a thread has to itself."""

    target: Target | None = None


mine = _Mine()


class Target:
    """A thread that may be given up: an exception is sent into it, once, and not into a step that is done whole.

    The lock guards the rest. Whoever sends has it while it looks and sends; the thread has it while it begins a
    step and while it ends one. So what is sent before a step begins is raised before it, and what is not
    sent because of a step is raised at its end. It is reentrant: a finalizer may strike where
    it is held, and begin a step of its own.
    """

    __slots__ = ("_due", "_left", "_listening", "_lock", "_sent", "_steps")

    def __init__(self) -> None:
        self._lock = RLock()
        self._steps = 0  # one inside another
        self._due: type[BaseException] | None = None  # to be raised at the end of the outermost
        self._listening: list[Hearing] = []
        self._sent: type[BaseException] | None = None  # whether it is heard by now, or put off
        self._left = False

    def stand(self) -> None:
        """Be this thread."""
        mine.target = self

    def leave(self) -> None:
        """Be struck no more: this thread is at its end."""
        with self._lock:
            self._left = True

    def strike(
        self, error: type[BaseException], send: Callable[[type[BaseException]], bool]
    ) -> bool:
        """Have an exception raised in the thread: now, by ``send``, or at the end of the step that it is in.

        False if this is no moment for ``send``: then it is to be tried again.
        """
        with self._lock:
            if self._left:
                return True
            self._sent = error
            if not self._steps:
                return send(error)
            self._due = error
            for each in self._listening:
                each.raised = error()
            return True

    def was_sent(self, error: BaseException) -> bool:
        """Tell, in this thread, whether an error in user code is what was sent: within a step it cannot be."""
        return self._sent is not None and isinstance(error, self._sent) and not self._steps

    def put_off(self, call: Callable[..., R], *args: Any) -> R:
        """Make a call in this thread, as a step that is done whole."""
        with self._lock:
            self._steps += 1
        try:
            for _ in range(2):
                pass  # at the end of a turn Python looks for what was sent before
            return call(*args)
        finally:
            with self._lock:
                self._steps -= 1
                due = None if self._steps else self._due
                if due is not None:
                    self._due = None
            if due is not None:
                raise due

    def begin(self, listening: Hearing) -> None:
        """Begin a step of this thread that ends early when it hears of the exception."""
        with self._lock:
            self._steps += 1
            self._listening.append(listening)
        for _ in range(2):
            pass  # as above

    def end(self, listening: Hearing) -> None:
        """End that step; what it has heard is its to raise."""
        with self._lock:
            self._steps -= 1
            self._listening.remove(listening)
            if listening.raised is not None and not self._steps:
                self._due = None


def send_into(
    ident: int, error: type[BaseException], where: Callable[[Callable[[], object]], bool]
) -> bool:
    """Have an exception raised in a thread, where it next runs Python code; False if it may not be, just now.

    ``where`` is given the call that sends it, and makes it if the thread stands where it may be struck.
    Loads nothing: locks are held. So it is False, too, until ``ctypes`` was loaded.
    """
    ctypes: Any = sys.modules.get("ctypes")
    api = getattr(ctypes, "pythonapi", None)
    if api is None:
        return False
    arguments = ctypes.c_ulong(ident), ctypes.py_object(error)
    return where(partial(api.PyThreadState_SetAsyncExc, *arguments))


def try_again(
    attempt: Callable[[], bool],
    lock: AbstractContextManager[object],
    prepare: Callable[[], object] = int,
) -> bool:
    """Make an attempt, with a lock, until it tells that it is over; False if there is no thread that could.

    Where another thread stands nobody tells, so somebody has to look. What is raised, for want of memory,
    may not be raised the next time. Before each attempt, and without the lock, it is prepared.
    """
    try:
        start_new_thread(_try, (attempt, lock, prepare))
    except (RuntimeError, MemoryError):
        return False
    return True


def _try(
    attempt: Callable[[], bool],
    lock: AbstractContextManager[object],
    prepare: Callable[[], object],
) -> None:
    pause, over = _SOON, False
    while not over:
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        with suppress(Exception):
            prepare()
            with lock:
                over = attempt()
