"""Stacks of a worker process, its own side: written down a pipe, whatever it hangs in.

``faulthandler`` writes them from C, also when something holds the GIL, or waits for ever
in C code or for a lock: when the process crashes, and when it gets a signal that
nobody else uses.

That signal is blocked in the thread that runs tasks, and taken by the control
thread, so no system call of a task is interrupted. The pipe never blocks its
writer; what does not fit, because nobody reads, is lost.
"""

from __future__ import annotations

import os
import signal
import threading

from workpool._compat import LINUX, gil_enabled

__all__ = ["SIGNAL", "hear_for_others", "leave_stacks"]

# Linux has signals to spare. Elsewhere SIGINFO, which does nothing where it is not heard.
SIGNAL: int | None = int(signal.SIGRTMAX) - 5 if LINUX else getattr(signal, "SIGINFO", None)


def leave_stacks(fd: int) -> None:
    """Have stacks written down this pipe, and say so; in the main thread of a worker."""
    import faulthandler

    os.set_blocking(fd, False)
    faulthandler.enable(fd)
    if SIGNAL is not None:
        faulthandler.register(SIGNAL, fd)
        if gil_enabled():  # else a thread can only show itself, and this one is asked for
            signal.pthread_sigmask(signal.SIG_BLOCK, [SIGNAL])
    os.write(fd, f"listening {threading.get_ident():#x}\n".encode())


def hear_for_others() -> None:
    """Take the signal in this thread."""
    if SIGNAL is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [SIGNAL])
