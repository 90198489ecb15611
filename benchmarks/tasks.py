"""What the measured pools are given to do: functions that every worker can import."""

from __future__ import annotations

import os
import time


def nothing() -> None:
    """Do nothing: all the time is the pool's own."""


def next_number(n: int) -> int:
    """Do next to nothing with an item."""
    return n + 1


def pid_after(seconds: float) -> int:
    """Tell which process runs this, slowly enough that every worker gets some."""
    time.sleep(seconds)
    return os.getpid()


def sleep_for(seconds: float) -> float:
    """Sleep, and tell how long it took in truth."""
    began = time.perf_counter()
    time.sleep(seconds)
    return time.perf_counter() - began


def die_once(marker: str) -> str:
    """Kill the process that runs this the first time, and succeed the second."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "done"
    os._exit(9)
