"""Shared state for the processes of one machine: shared memory, and locks that a death releases.

Each home keeps its bytes in a region of anonymous memory; its pickle is where
that region lies, and names the same memory on the other side. There is no
process that manages anything, and no name that could be left behind.
"""

from __future__ import annotations

from typing import TypeVar

from workpool.shared.in_processes.array import ProcessArray
from workpool.shared.in_processes.counter import ProcessCounter
from workpool.shared.in_processes.event import ProcessEvent
from workpool.shared.in_processes.lock import ProcessLock
from workpool.shared.in_processes.rate_limiter import ProcessRateLimiter
from workpool.shared.in_processes.semaphore import ProcessSemaphore
from workpool.shared.in_processes.value import ProcessShared

__all__ = [
    "make_array",
    "make_counter",
    "make_event",
    "make_lock",
    "make_rate_limiter",
    "make_semaphore",
    "make_shared",
]

T = TypeVar("T")


def make_counter(initial: int) -> ProcessCounter:
    """Make what a `Counter` stands for."""
    return ProcessCounter.make(initial)


def make_shared(value: T) -> ProcessShared[T]:
    """Make what a `Shared` stands for."""
    return ProcessShared[T].make(value)


def make_lock() -> ProcessLock:
    """Make what a `Lock` stands for."""
    return ProcessLock.make()


def make_semaphore(value: int) -> ProcessSemaphore:
    """Make what a `Semaphore` stands for."""
    return ProcessSemaphore.make(value)


def make_event() -> ProcessEvent:
    """Make what an `Event` stands for."""
    return ProcessEvent.make()


def make_rate_limiter(calls: int, period: int) -> ProcessRateLimiter:
    """Make what a `RateLimiter` stands for."""
    return ProcessRateLimiter.make(calls, period)


def make_array(size: int, dtype: str, shape: tuple[int, ...]) -> ProcessArray:
    """Make what an `Array` stands for."""
    return ProcessArray.make(size, dtype, shape)
