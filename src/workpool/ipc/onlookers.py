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
from contextlib import suppress
from functools import partial
from itertools import compress
from operator import call, is_, methodcaller
from typing import TYPE_CHECKING, Any

from workpool._compat import frame_of, gil_enabled, other_interpreters_run, uncollected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

__all__ = [
    "in_one_go",
    "is_common",
    "is_common_frame",
    "looked_at",
    "prepare_to_strike",
    "send_elsewhere",
]

_MONITORS = 6  # the numbers that sys.monitoring has for tools

# Where Python's own code takes locks that all threads need: to import, to log, to start and to end.
_IMPORTING = ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
_STARTING = {
    "__del__",
    "__init__",
    "_bootstrap",
    "_bootstrap_inner",
    "_delete",
    "_maintain_shutdown_locks",
    "_register_atexit",
    "_set_tstate_lock",
    "_shutdown",
    "_stop",
    "active_count",
    "enumerate",
    "start",
}


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
    frame: FrameType | None = frame_of(ident)
    while frame is not None:
        if frame.f_trace is not None:
            return True
        frame = frame.f_back
    return False


def send_elsewhere(ident: int, send: Callable[[], object]) -> bool:
    """Make a call that sends something into a thread, but not where that may have a lock that all threads need.

    False if it stands there, or if nobody can tell just now. A thread may go on between a look and the call. So
    it is looked once more, in one step of C with the call, whether it is in the same function still: that was
    called from where it was called from, and so all below it on the stack is what it was.
    """
    if not gil_enabled():
        send()  # it moves on while we look
        return True
    if other_interpreters_run():  # whose frames must not be touched
        return in_one_go(partial(_look_and_send, ident, send))
    frame = frame_of(ident)
    if frame is not None and is_common_frame(frame):
        return False
    now = map(methodcaller("get", ident), map(call, (sys._current_frames,)))
    return bool(uncollected(map(call, compress((send,), map(is_, now, (frame,))))))


def _look_and_send(ident: int, send: Callable[[], object]) -> bool:
    stackdump: Any = sys.modules.get("workpool.ipc.stackdump")
    if stackdump is None or not stackdump.is_alone():  # there were no others a moment ago
        return False
    others: list[Any] = stackdump.look_at_others()
    if any(whose == ident and is_common(places) for places, whose in others):
        return False
    send()
    return True


def in_one_go(act: Callable[[], bool]) -> bool:
    """Make a call that no other thread of this interpreter comes between; False if that cannot be, just now.

    Locks are held, so nothing is loaded or waited for: it cannot be until `prepare_to_strike` was called.
    """
    stackdump: Any = sys.modules.get("workpool.ipc.stackdump")
    alone: Callable[..., bool | None] | None = getattr(stackdump, "alone", None)
    return alone is not None and bool(alone(act, wait=False))


def prepare_to_strike() -> None:
    """Load what it takes to look where a thread stands, and to send something into it (`send_into`).

    Without locks: another thread may be loading it, and need them. For want of files it may fail, and is tried again.
    """
    with suppress(Exception):
        import ctypes

        del ctypes
        if other_interpreters_run():
            from workpool.ipc import stackdump

            del stackdump


def is_common_frame(frame: FrameType) -> bool:
    """Tell whether a call, the latest of its thread, may have such a lock in hand."""
    return _is_common(_calls_from(frame))


def is_common(places: Sequence[tuple[str, int, str]]) -> bool:
    """Tell the same of a stack, latest call last: of each a file, a line and the name of the function."""
    return _is_common((file, name) for file, _, name in reversed(places))


def _calls_from(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name
        frame = frame.f_back


def _is_common(calls: Iterator[tuple[str, str]]) -> bool:
    """Look at the latest call, and where threads are started or ended at those of the same file below it.

    A thread that starts one waits for it there, as others wait for an event.
    """
    for latest, (file, name) in enumerate(calls):
        if file == threading.__file__:
            if name in _STARTING:
                return True
        else:
            logging = getattr(sys.modules.get("logging"), "__file__", None)
            return not latest and (file in _IMPORTING or file == logging)
    return False
