"""What the measured pools are given to do: functions that every worker can import."""

from __future__ import annotations

import os
import threading
import time
from typing import Any


def nothing() -> None:
    """Do nothing: all the time is the pool's own."""


def next_number(n: int) -> int:
    """Do next to nothing with an item."""
    return n + 1


def worker_after(seconds: float) -> tuple[int, int]:
    """Tell which process and thread run this, slowly enough that every worker gets some."""
    time.sleep(seconds)
    return os.getpid(), threading.get_ident()


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


PAGE = 4_096  # bytes
_made: dict[int, Any] = {}


def numbers(size: int) -> Any:
    """Give an array of so many bytes; the same one each time, so that making it is not measured twice."""
    if size not in _made:
        import numpy as np

        _made[size] = np.arange(size // 8, dtype=np.int64)
    return _made[size]


def look_at(array: Any) -> int:
    """Read one number of each page; tell how many pages there were."""
    pages = array[:: PAGE // 8]
    pages.sum()
    return len(pages)


def look_at_both(array: Any, _: int) -> int:
    """Read the array that all tasks have in common."""
    return look_at(array)


def negative(array: Any) -> Any:
    """Make another array of the same size."""
    return -array


def turn(turns: int) -> int:
    """Compute in Python: the same each time, so what it takes tells of cores and not of tasks."""
    total = 0
    for n in range(turns):
        total += n % 7
    return total


def compute_for(seconds: float) -> float:
    """Use the CPU for so long; tell for how long in truth."""
    began = time.thread_time()
    while (used := time.thread_time() - began) < seconds:
        sum(range(1_000))
    return used


def pause() -> float:
    """Wait for 2 ms; tell for how long in truth."""
    return sleep_for(0.002)
