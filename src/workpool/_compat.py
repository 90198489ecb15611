"""What differs between the Python versions and systems that workpool runs on.

Everything else in the package reads its version questions off this file.
"""

from __future__ import annotations

import _thread
import queue
import sys
from typing import TYPE_CHECKING

__all__ = [
    "LINUX",
    "POSIX",
    "WINDOWS",
    "Lock",
    "RLock",
    "ShutDown",
    "daemon_threads_allowed",
    "gil_enabled",
    "has_interpreters",
    "in_worker",
    "traced_threads_would_stall",
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


def gil_enabled() -> bool:
    """Tell whether this interpreter runs one thread of Python code at a time."""
    probe = getattr(sys, "_is_gil_enabled", None)
    return True if probe is None else bool(probe())


def has_interpreters() -> bool:
    """Tell whether this Python has interpreters that a program can make (``concurrent.interpreters``)."""
    return sys.version_info >= (3, 14)


def daemon_threads_allowed() -> bool:
    """Tell whether a thread may be a daemon here: not in an isolated interpreter, which waits for all at its end."""
    import _thread

    probe = getattr(_thread, "daemon_threads_allowed", None)
    return True if probe is None else bool(probe())


_TRACED_THREADS_STALL = sys.version_info < (3, 12)


def traced_threads_would_stall() -> bool:
    """Tell whether an exception that is sent into another thread could hold this one up, or threads to come.

    On Python 3.11, threads that are traced or profiled (by coverage, by a debugger) stand still
    from then on until the other thread, which may be in C code for long, runs Python code again.
    """
    if not _TRACED_THREADS_STALL:
        return False
    import threading

    hooks = (sys.gettrace, sys.getprofile, threading.gettrace, threading.getprofile)
    return any(hook() for hook in hooks)
