"""Who looks on: tracers, profilers and monitors (coverage, debuggers), which an exception must not hit.

They are called in the middle of the code that they look at. An exception that is sent into a
thread strikes wherever it runs Python code, so also in theirs. coverage takes a lock there,
which would stay locked: every thread stands still at its next call. A tracer that raises is switched off
by Python. And on Python 3.11 threads that are looked at stand still from the sending of an exception until
the thread that it was sent to, which may be in C code for long, runs Python code again.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from workpool._compat import gil_enabled, other_interpreters_run

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["looked_at"]

_MONITORS = 6  # the numbers that sys.monitoring has for tools


def looked_at(ident: int | None = None) -> bool:
    """Tell whether somebody looks at this thread, at threads to come, or (as far as can be seen) at that one.

    Not seen is a profiler that was switched on later, in that thread alone.
    """
    hooks = (sys.gettrace, sys.getprofile, threading.gettrace, threading.getprofile)
    if any(hook() for hook in hooks):
        return True
    monitoring: Any = getattr(sys, "monitoring", None)  # from Python 3.12 on
    if monitoring is not None and any(map(monitoring.get_tool, range(_MONITORS))):
        return True
    return ident is not None and _stepped_through(ident)


def _stepped_through(ident: int) -> bool:
    """Tell whether a debugger holds one of that thread's frames, as ``breakpoint()`` in a task has it do."""
    if other_interpreters_run() or not gil_enabled():
        return False  # whose frames must not be touched, or which move on meanwhile
    frame: FrameType | None = sys._current_frames().get(ident)
    while frame is not None:
        if frame.f_trace is not None:
            return True
        frame = frame.f_back
    return False
