"""Interpreters that were written off and still run, and what becomes of them when the program ends.

An interpreter in which something runs cannot be destroyed, and a program that ends
destroys all of them: Python crashes where a thread comes back into one that is gone.

At exit each stray is struck by an exception once more, and waited for a moment. One that
stays is in C code, or takes no notice. Then the program ends without the rest of
Python's own end: what was registered with ``atexit`` since the import of Pool has run, logging
is shut down, and the standard streams are flushed. The exit status that was meant cannot be
found out at that point; it is 1, with a word to stderr, for success might be a lie.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from workpool._compat import Lock
from workpool.calm import loudly
from workpool.ipc.frames import pack
from workpool.ipc.guest import STRIKE
from workpool.scheduling.exit import at_the_very_end

if TYPE_CHECKING:
    from workpool.backends.interpreter.host import Host

__all__ = ["add", "count", "forget", "see_to_the_end"]

_PATIENCE = 1.0  # seconds for all of them together

_lock = Lock()  # guards all below
_strays: dict[Host, int] = {}  # with a descriptor for control frames, or -1
_hooked = False


def see_to_the_end() -> None:
    """Have strays be dealt with when the program ends."""
    global _hooked  # noqa: PLW0603 - once in each process
    with _lock:
        if _hooked:
            return
        _hooked = True
    at_the_very_end.append(_at_exit)


def add(host: Host, control_w: int) -> None:
    """Note one that can be reached through that descriptor, which stays the caller's."""
    ours = -1
    with suppress(OSError):  # none left: then it is not struck once more, that is all
        ours = os.dup(control_w)
    with _lock:
        _strays[host] = ours
    if host.ended.is_set():  # meanwhile; it may have looked before it was noted
        forget(host)


def forget(host: Host) -> None:
    """Hear that one has ended."""
    with _lock:
        fd = _strays.pop(host, -1)
    if fd >= 0:
        os.close(fd)


def count() -> int:
    """Tell how many there are."""
    with _lock:
        return len(_strays)


def _at_exit() -> None:
    """Wait for them, and end the program where one stays: at once, if it was Ctrl-C that came meanwhile.

    Raised here, that would lead to Python's own end, which waits for them. So this is called in a calm step.
    """
    try:
        hosts = _strike_all()
        loudly(_wait_for, hosts)
    finally:
        if count():
            try:
                loudly(_say_goodbye)
            finally:
                os._exit(1)


def _strike_all() -> list[Host]:
    with _lock:
        hosts = list(_strays)
        for control_w in _strays.values():
            with suppress(OSError):
                os.write(control_w, pack((STRIKE, 0))[0])
    return hosts


def _wait_for(hosts: list[Host]) -> None:
    until = monotonic() + _PATIENCE
    for host in hosts:
        host.ended.wait(max(0.0, until - monotonic()))


def _say_goodbye() -> None:
    """Do what Python's own end would do, as far as others see it."""
    left = count()
    tasks = "a task that was given up is" if left == 1 else f"{left} tasks that were given up are"
    with suppress(Exception):
        sys.stderr.write(
            f"workpool: {tasks} still running in an interpreter, which cannot be ended; the program "
            'ends with exit status 1. Use backend="process" for such tasks.\n'
        )
    logging = sys.modules.get("logging")
    if logging is not None:
        with suppress(Exception):
            logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
