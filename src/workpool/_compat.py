"""What differs between the Python versions and systems that workpool runs on.

Everything else in the package reads its version questions off this file.
"""

from __future__ import annotations

import queue
import sys

__all__ = ["LINUX", "POSIX", "WINDOWS", "ShutDown", "gil_enabled"]

LINUX = sys.platform.startswith("linux")
WINDOWS = sys.platform == "win32"
POSIX = not WINDOWS

if sys.version_info >= (3, 13):
    ShutDown = queue.ShutDown
else:

    class ShutDown(Exception):
        """A put or a get met a queue that is shut down (``queue.ShutDown`` of Python 3.13)."""


def gil_enabled() -> bool:
    """Tell whether this interpreter runs one thread of Python code at a time."""
    probe = getattr(sys, "_is_gil_enabled", None)
    return True if probe is None else bool(probe())
