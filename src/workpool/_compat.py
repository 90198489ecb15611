"""What differs between the Python versions and systems that workpool runs on.

Everything else in the package reads its version questions off this file.
"""

from __future__ import annotations

import queue
import sys

__all__ = [
    "LINUX",
    "POSIX",
    "WINDOWS",
    "ShutDown",
    "daemon_threads_allowed",
    "gil_enabled",
    "has_interpreters",
    "in_worker",
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
