"""The watcher: a keeper's duty for a single worker that is forked from the very process of the pool.

``start_method="fork"`` puts it between the two: it starts the worker, tells its pid
and its exit code through the status pipe, and kills it and its children when the
parent is gone.
"""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress

from workpool.ipc.family import end_children, take_dead
from workpool.ipc.forked import shed
from workpool.ipc.keeper import death_of, write_status

__all__ = ["watch_fork"]

_LOOK = 0.5  # seconds between two looks for the parent, where nothing tells of its end


def watch_fork(given: list[int], status_w: int, parent: int) -> int:
    """Fork a worker and wait for its end, or the parent's; gives the exit code of the watcher."""
    from workpool.ipc import worker

    with suppress(OSError):
        os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # as the keeper does
    try:
        pid = os.fork()
    except OSError as error:
        write_status(status_w, -(error.errno or 1))
        return 1
    if pid == 0:
        os.close(status_w)
        shed()
        return worker.main(given, os.getppid())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for fd in set(given):  # shared state in initargs names a descriptor a second time
        # Let go of, not needed here: one that is closed already is no reason to end the worker.
        with suppress(OSError):
            os.close(fd)
    write_status(status_w, pid)
    status = _end_of(pid, parent)
    if status is None:
        end_children([pid])
        return 0
    with suppress(BrokenPipeError):  # there is nobody any more to be told
        write_status(status_w, os.waitstatus_to_exitcode(status))
    return 0


def _end_of(pid: int, parent: int) -> int | None:
    """Wait for a child's end and give its wait status; None if the parent is gone before."""
    child_fd, parent_fd = death_of(pid), death_of(parent)
    poller = select.poll()
    if child_fd is not None and parent_fd is not None:
        poller.register(child_fd, select.POLLIN)
        poller.register(parent_fd, select.POLLIN)
        ready = {fd for fd, _ in poller.poll()}
        return take_dead(pid)[1] if child_fd in ready else None
    # A signal tells of the child. Nothing tells of the parent: look now and then.
    wake_r, wake_w = os.pipe()
    os.set_blocking(wake_w, False)
    signal.signal(signal.SIGCHLD, _wake_up)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    poller.register(wake_r, select.POLLIN)
    while True:
        # Looked for before each sleep, the first too: it may have ended before there was a handler.
        ended, status = take_dead(pid)
        if ended:
            return status
        if os.getppid() != parent:
            return None
        if poller.poll(_LOOK * 1000):
            os.read(wake_r, 4096)


def _wake_up(*_: object) -> None:
    """Do nothing; the wake-up descriptor tells."""
