"""What tasks do in the tests of the engines: at module level, so that they travel to any worker by name."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager

from tests.support.gates import stop
from tests.support.nodes import node_here
from workpool import Counter, Lock, Queue, Shared, current

__all__ = [
    "WAIT",
    "add_many",
    "add_slowly",
    "failing_at_its_end",
    "hold_by_number",
    "hold_here",
    "is_unwanted",
    "keep",
    "stopping_at_its_end",
    "use_all",
    "wait_for_ever",
]

WAIT = 90.0  # seconds; what has not happened by then never will


def hold_by_number(gate: str) -> int:
    """Stop at a gate, telling the process."""
    stop(gate, os.getpid(), WAIT)
    return os.getpid()


def is_unwanted() -> bool:
    return current().cancelled


def wait_for_ever() -> None:
    threading.Event().wait()


def add_slowly(count: Counter, times: int, gate: str) -> list[int]:
    """Add one by one; after the first, tell the process at a gate and go on."""
    seen = [count.add()]
    stop(gate, os.getpid(), WAIT)
    return seen + [count.add() for _ in range(times - 1)]


def add_many(count: Counter, times: int) -> list[int]:
    return [count.add() for _ in range(times)]


def keep(lock: Lock, gate: str) -> None:
    lock.acquire()
    stop(gate, os.getpid(), WAIT)


def hold_here(gate: str) -> str:
    """Stop at a gate, telling the machine; give that, too."""
    stop(gate, node_here(), WAIT)
    return node_here()


def use_all(
    count: Counter, box: Shared[list[str]], lock: Lock, jobs: Queue[int], done: Queue[str]
) -> int:
    """Work off a queue, and leave a trace in all that is shared."""
    taken = 0
    for job in jobs:
        with lock, box.lock() as held:
            held.value = [*held.value, node_here()]
        count.add(job)
        done.put(node_here())
        taken += 1
    return taken


@contextmanager
def stopping_at_its_end(gate: str) -> Generator[None]:
    yield
    stop(gate, "leaving", WAIT)


@contextmanager
def failing_at_its_end() -> Generator[None]:
    yield
    raise LookupError("no way out")
