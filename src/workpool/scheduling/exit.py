"""The end of the interpreter, and forks: what happens to pools that are still open.

At exit every pool runs what it has accepted and then ends, as in
``concurrent.futures``; a program that ends because of Ctrl-C ends at once. So does one
that is made then, by a function that was registered with ``atexit``. In a
forked child every pool that came along is unusable and says so, and every task
that was open there fails with the reason: its workers stayed in the parent.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from workpool._compat import RLock
from workpool.calm import calmly
from workpool.errors import ForkedPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from workpool.scheduling.scheduler import Scheduler

__all__ = ["at_the_very_end", "forget", "remember"]

_lock = RLock()  # guards _open; a finalizer in the middle of that may make or end a pool
_open: set[Scheduler] = set()  # a pool that was let go still runs what it has queued
_hooked = False
# Whether nothing will be called any more that sees to pools: it is too late to make one.
_over: bool = getattr(threading, "_SHUTTING_DOWN", False)
# Called after what the program has registered with atexit since it imported Pool, in a calm step.
at_the_very_end: list[Callable[[], object]] = []


def remember(scheduler: Scheduler) -> None:
    """See a pool to its end at exit, and have it refuse work in a forked child; a RuntimeError if that is over."""
    global _hooked  # noqa: PLW0603 - once in each process
    with _lock:
        if _over:
            message = "cannot schedule new futures after interpreter shutdown"
            raise RuntimeError(message)
        if not _hooked:
            # Before the interpreter waits for threads that are not daemons, and while
            # threads can still work: where concurrent.futures has its own hook.
            with suppress(RuntimeError):  # that is over; `_finish` is to come
                getattr(threading, "_register_atexit", atexit.register)(_finish_all)
            if hasattr(os, "register_at_fork"):
                os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_orphaned)
            _hooked = True
        _open.add(scheduler)


def forget(scheduler: Scheduler) -> None:
    """Let go of a pool whose last worker has left."""
    with _lock:
        _open.discard(scheduler)


def _finish() -> None:
    global _over  # noqa: PLW0603 - once in each process
    try:
        _finish_all()  # those that were made since, and by their tasks
    finally:
        with _lock:
            _over = True
        try:
            _finish_all()  # those that slipped in between
        finally:
            calmly(_call_all, iter(at_the_very_end))


atexit.register(_finish)


def _call_all(calls: Iterator[Callable[[], object]]) -> None:
    """Make all calls, also if one of them raises something."""
    try:
        for call in calls:
            call()
    except BaseException:
        _call_all(calls)
        raise


def _finish_all() -> None:
    with _lock:
        schedulers = list(_open)
    try:
        if not _interrupted():
            for scheduler in schedulers:
                scheduler.close()
            for scheduler in schedulers:
                scheduler.drain()
            return
    except (
        KeyboardInterrupt
    ):  # Ctrl-C once more, by someone who does not want to wait for what is queued
        _kill_all(schedulers)
        raise
    _kill_all(schedulers)


def _interrupted() -> bool:
    """Tell whether the program ends because of a KeyboardInterrupt that nobody caught.

    The interpreter leaves word of what it printed last. At a prompt that may be long ago.
    """
    last = getattr(sys, "last_type", None)
    at_a_prompt = hasattr(sys, "ps1") or sys.flags.interactive
    return isinstance(last, type) and issubclass(last, KeyboardInterrupt) and not at_a_prompt


def _kill_all(schedulers: list[Scheduler]) -> None:
    for scheduler in schedulers:
        scheduler.kill()
    for scheduler in schedulers:
        scheduler.drain()


_held: list[Scheduler] = []


def _hold() -> None:
    """Take every pool's lock, so that the child gets none that is held half-way."""
    _lock.acquire()
    _held[:] = sorted(_open, key=id)
    for scheduler in _held:
        scheduler.lock.acquire()


def _let_go() -> None:
    for scheduler in reversed(_held):
        scheduler.lock.release()
    _held.clear()
    _lock.release()


def _orphaned() -> None:
    schedulers = list(_held)
    _open.clear()
    _let_go()
    for scheduler in schedulers:
        scheduler.orphan(
            ForkedPool(
                f"{scheduler.name} was made in the parent of this forked process and cannot be used here: "
                "its workers stayed there. Make a pool of its own in the child."
            )
        )
