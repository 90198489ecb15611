"""Telling a task that its time is over, by an exception raised in it.

A signal that nobody else uses is sent to the thread that runs tasks, so that
what sleeps, waits for a lock or for the network hears it as well. Its handler raises
``TimeLimitExceeded``, but only while that very task's own code runs: the
library's steps before and after it are never torn apart.

- ``_in_task`` is the number of a call that can be warned, from right before the user's
  function to right after it; -1 otherwise. Only the main thread writes it, and signal
  handlers run in the main thread: between any two of its steps, never beside one.
- A warning is raised once; the handler itself ends the time in which it may be.
- It is not raised in code of Python's own that may have a lock in hand which all threads need
  (``onlookers.py``): then the signal is sent again, until that is over.
"""

from __future__ import annotations

import signal
import threading
from contextlib import nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from workpool._compat import LINUX
from workpool.ipc.onlookers import is_common_frame
from workpool.target import try_again

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from workpool.errors import TimeLimitExceeded

__all__ = ["SIGNAL", "Warnings"]

# Elsewhere one that does nothing where it is not heard.
SIGNAL: int | None = int(signal.SIGRTMAX) - 6 if LINUX else getattr(signal, "SIGIO", None)


class Warnings:
    """The warnings of one worker; there is one, made in the main thread."""

    def __init__(self) -> None:
        self._in_task = -1
        self._meant = -1  # number of the call that is to be warned; written by the control thread
        self._error: TimeLimitExceeded | None = None  # what is raised in it
        self._raised: TimeLimitExceeded | None = None
        self._put_off = -1  # number of a call that is warned again and again
        self._main = threading.get_ident()
        if SIGNAL is not None:
            signal.signal(SIGNAL, self._hear)

    @staticmethod
    def expect() -> None:
        """Load what a warning takes, before a call that may get one is begun: one in an import holds up the others."""
        with suppress(Exception):  # for want of a file or memory: then it gets none
            import workpool.errors  # noqa: F401  # pyright: ignore[reportUnusedImport] - loaded, and no more

    def warn(self, number: int, text: str, limit: float, task: str) -> None:
        """Warn a call, if it still runs; in the control thread."""
        try:
            from workpool.errors import TimeLimitExceeded
        except Exception:  # as above
            return
        self._error = TimeLimitExceeded(text, time_limit=limit, task=task)
        self._meant = number
        if SIGNAL is not None:
            signal.pthread_kill(self._main, SIGNAL)

    def _hear(self, _: int = 0, frame: FrameType | None = None) -> None:
        number = self._in_task
        if number >= 0 and number == self._meant:
            struck = _below_all_that_hears(frame)
            if struck is not None and is_common_frame(struck):
                if self._put_off != number:
                    self._put_off = number
                    if not try_again(partial(self._is_over, number), nullcontext()):
                        self._put_off = -1
                return
            self._in_task = -1
            self._raised = error = self._error
            if error is not None:  # which it is not, once a call is meant
                raise error

    def _is_over(self, number: int) -> bool:
        """Send the signal again, unless that call is over, or has heard it."""
        if self._in_task != number or SIGNAL is None:
            return True
        signal.pthread_kill(self._main, SIGNAL)
        return False

    def call(self, number: int, fn: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        """Call a function that can be warned; once warned it has failed, whatever it makes of that."""
        value: Any = None
        failure: BaseException | None = None
        try:
            try:
                self._in_task = number
                self._hear()  # it may have been warned while its arguments were unpickled
                value = fn(*args, **kwargs)
            finally:
                self._in_task = -1  # raised before this line, it is caught below; after it, never
        except BaseException as error:
            failure = error
        warned, self._raised = self._raised, None
        try:
            if warned is not None:
                if failure is not None and failure is not warned:
                    from workpool.errors import brief

                    warned.add_note(f"While it tidied up, the task raised {brief(failure)}.")
                raise warned
            if failure is not None:
                raise failure
        finally:
            del failure, warned  # no cycle through the traceback
        return value


def _below_all_that_hears(frame: FrameType | None) -> FrameType | None:
    """Give the call that would be struck: a signal may come in the middle of its handler."""
    at = frame
    while at is not None:
        if at.f_code is _HEAR:
            frame = at.f_back
        at = at.f_back
    return frame


_HEAR = Warnings._hear.__code__
