"""What tasks do with shared state, one call each: a change that is whole or has not been made."""

from __future__ import annotations

import os
from typing import Any

from tests.support.gates import say, stop
from workpool import Array, Counter, Lock, Queue, RateLimiter, Semaphore, Shared

__all__ = [
    "acquire",
    "add",
    "count",
    "count_in_block",
    "get_and_mark",
    "hold_until_killed",
    "let_through",
    "own",
    "put",
    "replace",
    "set_next",
    "take_next",
    "write_two",
]

LARGE = bytes(70_000)  # of a value, so that it moves to other memory


def own(lock: Lock, _: int) -> bool:
    """Own a lock for a moment; tell whether its last owner died."""
    with lock:
        return lock.owner_died


def acquire(semaphore: Semaphore, _: int) -> bool:
    """Have both permits for a moment."""
    with semaphore, semaphore:
        return semaphore.acquire(blocking=False)


def add(counter: Counter, _: int) -> int:
    """Count."""
    return counter.add()


def count(counter: Counter, n: int) -> int:
    """Count this call, and give the number back."""
    counter.add()
    return n


def set_next(counter: Counter, _: int) -> int:
    """Count by comparing; nobody else does meanwhile."""
    value = counter.value
    assert counter.compare_and_set(value, value + 1)
    return value + 1


def count_in_block(shared: Shared[tuple[int, bytes]], n: int) -> int:
    """Change two things that belong together, large and small by turns."""
    with shared.lock() as box:
        number = box.value[0] + 1
        box.value = (number, LARGE * (n % 2))
        return number


def replace(shared: Shared[tuple[int, bytes]], n: int) -> int:
    """Do the same by a function."""
    return shared.update(lambda old: (old[0] + 1, LARGE * (n % 2)))[0]


def put(queue: Queue[int], n: int) -> None:
    """Put a number into a queue."""
    queue.put(n)


def get_and_mark(queue: Queue[int], _: int) -> int:
    """Take a number and mark it done."""
    item = queue.get(timeout=20.0)
    queue.task_done()
    return item


def write_two(array: Array, _: int) -> bool:
    """Change two numbers that belong together; tell whether somebody died in the middle of it."""
    with array.lock() as view:
        died = array.owner_died
        if died:
            view[1] = view[0]
        view[0] += 1
        view[1] += 1
        return died


def let_through(limiter: RateLimiter, _: int) -> bool:
    """Count one call."""
    return limiter.acquire(timeout=20.0)


def _block(thing: Any) -> Any:
    return thing.lock() if hasattr(thing, "lock") else thing


def hold_until_killed(thing: Any, gate: str) -> None:
    """Hold it, say so, and never let it go."""
    with _block(thing):
        stop(gate, os.getpid())


def take_next(thing: Any, gate: str) -> bool:
    """Say that this comes next, take it, and tell whether the owner before died, if that can be told."""
    say(gate, "next")
    with _block(thing):
        return bool(getattr(thing, "owner_died", True))
