"""What differs between the Python versions and systems that workpool runs on.

Everything else in the package reads its version questions off this file.
"""

from __future__ import annotations

import _thread
import gc
import os
import queue
import sys
from _weakref import ref  # what is behind ``weakref``, which loads more
from itertools import chain, compress
from operator import call, methodcaller
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

__all__ = [
    "LINUX",
    "POSIX",
    "WINDOWS",
    "Lock",
    "RLock",
    "ShutDown",
    "across_forks",
    "daemon_threads_allowed",
    "frame_of",
    "gil_enabled",
    "has_interpreters",
    "in_main_interpreter",
    "in_worker",
    "other_interpreters_run",
    "uncollected",
]

LINUX = sys.platform.startswith("linux")
WINDOWS = sys.platform == "win32"
POSIX = not WINDOWS

in_worker = False  # set at the start of a worker process, and of the keeper that forks it

if sys.version_info >= (3, 13):
    ShutDown = queue.ShutDown
else:

    class ShutDown(Exception):
        """A put or a get met a queue that is shut down (``queue.ShutDown`` of Python 3.13)."""


if TYPE_CHECKING or sys.version_info[:2] != (3, 14):
    from threading import Lock, RLock  # house: lock - safe in blocks, on these Pythons
else:
    # There, signals are looked for between the return of a lock's __enter__ and the begin of
    # the block (cpython#148874): the exception of a Ctrl-C, or one that is sent into a thread,
    # left the lock locked for ever. A step of a loop takes it without such a look, and so
    # does the return from a function in Python. __exit__ has to be one in C, which needs a lock
    # that can be derived from; nothing here counts on its being taken twice.
    class Lock(_thread.RLock):  # house: lock - its __enter__ is made safe here
        """A lock for ``with`` blocks that an exception may strike at any moment."""

        def __enter__(self) -> bool:
            for _ in iter(self.acquire, None):
                break
            return True

    RLock = Lock


# Locks that a forked child has free. No lock guards it: each change and each copy is one step.
_renewed: dict[Any, None] = {}


def across_forks(lock: Any) -> Any:
    """Have a lock be free in a forked child, where the thread that held it is not; gives it back."""
    _renewed[ref(lock, _renewed.pop)] = None  # in C: nothing can come between
    return lock


def _renew() -> None:
    for each in list(_renewed):
        lock = each()
        if lock is not None:
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


_COLLECTS_MIDWAY: bool = sys.version_info < (3, 12)  # not just between two steps of Python


def uncollected(steps: Iterable[Any]) -> list[Any]:
    """List what an iterable made of functions in C gives, as one step in which nothing is collected.

    Python 3.11 may run the collector wherever something is allocated: finalizers, that is, which may give away
    the GIL. Before 3.11.9 that is so in the middle of ``sys._current_frames()``, too, with a lock in hand that
    each thread needs to begin and to end (cpython#106883): a finalizer that starts a thread then stands
    still for ever, and so does the program, deaf to all signals.
    """
    if not _COLLECTS_MIDWAY:
        return [*steps]
    found: list[Any] = []
    off = map(call, (gc.isenabled, gc.disable))
    on = map(call, compress((gc.enable,), map(found.__getitem__, (0,))))  # as it was found
    try:
        found.extend(chain(off, steps, on))
    except BaseException:
        if found:
            for _ in on:  # nothing, if it was come to
                pass
        raise
    return found[2 : len(found) - found[0]]


def frame_of(ident: int) -> FrameType | None:
    """Give the latest call of a thread, if it is in one, as ``sys._current_frames()`` does.

    Those of all others are let go in the same step. Kept in a call, they would be a cycle with it, and
    all that they hold would live until the next collection. So would its own.
    """
    if ident == _thread.get_ident():
        return sys._getframe(1)
    frame: FrameType | None
    (frame,) = uncollected(map(methodcaller("get", ident), map(call, (sys._current_frames,))))
    return frame


def gil_enabled() -> bool:
    """Tell whether this interpreter runs one thread of Python code at a time."""
    probe = getattr(sys, "_is_gil_enabled", None)
    return True if probe is None else bool(probe())


def has_interpreters() -> bool:
    """Tell whether this Python has interpreters that a program can make (``concurrent.interpreters``)."""
    return sys.version_info >= (3, 14)


def other_interpreters_run() -> bool:
    """Tell whether there are other interpreters in this process, whose frames must not be touched."""
    if not has_interpreters():
        return False
    from importlib import import_module

    interpreters: Any = import_module("_interpreters")
    return len(interpreters.list_all()) > 1


def in_main_interpreter() -> bool:
    """Tell whether this is the interpreter that the process began with."""
    if not has_interpreters():
        return True
    from importlib import import_module

    interpreters: Any = import_module("_interpreters")
    return bool(interpreters.get_current()[0] == interpreters.get_main()[0])


def daemon_threads_allowed() -> bool:
    """Tell whether a thread may be a daemon here: not in an isolated interpreter, which waits for all at its end."""
    import _thread

    probe = getattr(_thread, "daemon_threads_allowed", None)
    return True if probe is None else bool(probe())
