"""A task that stands in code of Python's own, with a lock in hand, as far as can be told from outside."""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, cast

from tests.support.gates import DEADLINE, say, stop
from tests.support.queues import until
from workpool.ipc.warning import SIGNAL

__all__ = ["compiled_as_importlib", "stand_in_common_code"]

# Between the two it waits in C: nothing else is above it on the stack.
_SOURCE = """
def take_and_release(lock, asleep):
    lock.acquire()
    asleep.acquire()
    for _ in range(100):
        pass
    lock.release()
"""


def compiled_as_importlib() -> Any:
    """Make what takes a lock there, and gives it back when another is released."""
    space: dict[str, Any] = {}
    exec(compile(_SOURCE, "<frozen importlib._bootstrap>", "exec"), space)
    return space["take_and_release"]


def stand_in_common_code(gate: str, report: str, *, is_told: bool = False) -> None:
    """Stand there until the gate is opened, then anywhere until struck; report whether the lock is free.

    One that ``is_told`` of its time limit stands there until it would have heard of that.
    """
    lock, asleep, over = threading.Lock(), threading.Lock(), threading.Event()
    asleep.acquire()

    def look_on() -> None:
        until(lock.locked)
        stop(gate, "there")
        if is_told:
            hear: Any = signal.getsignal(cast("signal.Signals", SIGNAL))
            until(lambda: hear.__self__._put_off >= 0)
        asleep.release()
        ended = over.wait(DEADLINE)
        say(report, "free" if ended and lock.acquire(timeout=1.0) else "taken")

    threading.Thread(target=look_on).start()
    try:
        compiled_as_importlib()(lock, asleep)
        while True:
            time.sleep(0.001)  # house: sleep - somewhere else, until it is struck
    finally:
        over.set()
