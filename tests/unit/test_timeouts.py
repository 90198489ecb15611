"""Every call that waits looks at its timeout first, also where nothing blocks: what is no number is refused by name."""

from __future__ import annotations

import fractions
import math
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, Full
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, in_background
from workpool import (
    Array,
    Event,
    JoinTimeout,
    Lock,
    Pool,
    Queue,
    RateLimiter,
    Semaphore,
    Shared,
)
from workpool.queues.thread import Scope

Wait = Callable[..., object]


def _full(scope: Scope) -> Wait:
    queue = Queue[int](1, scope=scope)
    queue.put(1)

    def put(timeout: Any) -> object:
        return queue.put(2, timeout=timeout)

    return put


def _joined(scope: Scope) -> Wait:
    queue = Queue[int](scope=scope)
    queue.put(1)
    return queue.join


def _second(thing: Lock | Semaphore | RateLimiter) -> Wait:
    """Give a call that has to wait, for the first was served."""
    assert thing.acquire()

    def acquire(timeout: Any) -> object:
        return thing.acquire(timeout=timeout)

    return acquire


WAITS: dict[str, Callable[[Scope], Wait]] = {
    "Lock": lambda scope: lambda timeout: Lock(scope=scope).acquire(timeout=timeout),
    "Lock, taken": lambda scope: _second(Lock(scope=scope)),
    "Semaphore": lambda scope: lambda timeout: Semaphore(scope=scope).acquire(timeout=timeout),
    "Semaphore, taken": lambda scope: _second(Semaphore(1, scope=scope)),
    "RateLimiter": lambda scope: (
        lambda timeout: RateLimiter(1, scope=scope).acquire(timeout=timeout)
    ),
    "RateLimiter, spent": lambda scope: _second(RateLimiter(1, 1000.0, scope=scope)),
    "Event": lambda scope: Event(scope=scope).wait,
    "Shared": lambda scope: lambda timeout: Shared(1, scope=scope).lock(timeout),
    "Array": lambda scope: lambda timeout: Array(1, scope=scope).lock(timeout),
    "Queue.get": lambda scope: lambda timeout: Queue[int](scope=scope).get(timeout=timeout),
    "Queue.put": _full,
    "Queue.join": _joined,
}


@pytest.mark.parametrize("scope", ["thread", "process"])
@pytest.mark.parametrize("what", WAITS)
@pytest.mark.parametrize(
    ("timeout", "error"), [("2", TypeError), ([1], TypeError), (math.nan, ValueError)]
)
def test_what_is_no_timeout_is_refused(
    what: str, scope: Scope, timeout: object, error: type[Exception]
) -> None:
    """By name and with the value, whether the call would have had to wait or not."""
    call = WAITS[what](scope)
    with pytest.raises(error, match="timeout") as caught:
        in_background(call, timeout).result()
    assert repr(timeout) in str(caught.value)


@pytest.mark.parametrize("scope", ["thread", "process"])
@pytest.mark.parametrize("what", WAITS)
def test_other_numbers_are_timeouts(what: str, scope: Scope) -> None:
    """Those of numpy, say, which are no floats; and a whole number that no clock reaches is no end."""
    call = WAITS[what](scope)
    began = time.monotonic()
    with suppress(Full, Empty, JoinTimeout):
        in_background(call, fractions.Fraction(1, 50)).result()
    assert time.monotonic() - began < DEADLINE


@pytest.mark.parametrize("scope", ["thread", "process"])
def test_a_wait_without_an_end(scope: Scope) -> None:
    """Infinite, or further than any clock goes: it waits until there is something."""
    for endless in (math.inf, 10**400, None):
        queue = Queue[int](scope=scope)
        lock, event = Lock(scope=scope), Event(scope=scope)
        semaphore = Semaphore(scope=scope)
        getting = in_background(queue.get, timeout=endless)
        waiting = in_background(event.wait, endless)
        queue.put(3)
        event.set()
        assert getting.result() == 3
        assert waiting.result()
        assert lock.acquire(timeout=endless)
        assert semaphore.acquire(timeout=endless)
        lock.release()


@pytest.mark.parametrize("wrong", ["2", math.nan])
def test_a_pool_refuses_it_too(wrong: Any) -> None:
    """In join, in a task's result and exception, and in map; also where all is done."""
    with Pool(1, backend="inline") as pool:
        task = pool.submit(tasks.double, 1)
        calls: list[Callable[..., object]] = [
            pool.join,
            task.result,
            task.exception,
            lambda timeout: pool.map(tasks.double, [1], timeout=timeout),
        ]
        for call in calls:
            with pytest.raises((TypeError, ValueError), match="timeout is seconds as a number"):
                call(wrong)
        assert task.result() == 2


def test_a_join_that_has_no_time_still_looks() -> None:
    """A timeout below zero waits for nothing, as ever."""
    with Pool(1) as pool:
        gate = Event()
        pool.submit(gate.wait)
        with pytest.raises(JoinTimeout):
            pool.join(-1)
        gate.set()
        pool.join(DEADLINE)
