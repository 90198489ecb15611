"""Who looks on: tracers, profilers and monitors (coverage, debuggers), which an exception must not hit.

They are called in the middle of the code that they look at. An exception that is sent into a
thread strikes wherever it runs Python code, so also in theirs. coverage takes a lock there,
which would stay locked: every thread stands still at its next call. A tracer that raises is switched off
by Python. And on Python 3.11 threads that are looked at stand still from the sending of an exception until
the thread that it was sent to, which may be in C code for long, runs Python code again.

And code that all threads run, with a lock in hand that all need: an exception between the taking of that lock
and the ``try`` behind it leaves it locked, and no thread can import any more, say. Who stands
in user code is struck there, or where it calls a function, before that does anything.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from workpool._compat import gil_enabled, other_interpreters_run

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["in_common_code", "is_common", "looked_at"]

_MONITORS = 6  # the numbers that sys.monitoring has for tools

# Where Python's own code takes locks that all threads need: to import, to log, to start and to end.
_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_STARTING = {"start", "_bootstrap_inner", "_delete", "_stop", "_set_tstate_lock", "enumerate"}


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


def in_common_code(ident: int) -> bool:
    """Tell whether a thread of this interpreter stands where it may have a lock that all threads need."""
    if not gil_enabled():
        return False  # it moves on while we look
    if other_interpreters_run():
        from workpool.ipc.stackdump import places_of_others

        return any(whose == ident and is_common(places[-1]) for places, whose in places_of_others())
    frame = sys._current_frames().get(ident)
    if frame is None:
        return False
    code = frame.f_code
    return is_common((code.co_filename, 0, code.co_name))


def is_common(place: tuple[str, int, str]) -> bool:
    """Tell whether the function at a place, which is a file, a line and its name, takes such a lock."""
    file, _, name = place
    if file in _IMPORTING:
        return True
    modules = sys.modules
    if file == getattr(modules.get("logging"), "__file__", None):
        return True
    return name in _STARTING and file == threading.__file__
