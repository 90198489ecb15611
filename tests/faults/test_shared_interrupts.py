"""Ctrl-C while waiting for shared state: heard at once, and nothing stays locked by it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.support.gates import in_background
from tests.support.interrupts import interrupted_at
from workpool.shared import Array, Counter, Event, Lock, RateLimiter, Scope, Semaphore, Shared

fork = multiprocessing.get_context("fork")

Call = Callable[[], object]

A_SECOND = 1.0  # from the signal until the call has raised KeyboardInterrupt


pytestmark = pytest.mark.usefixtures("arena")


def lock_calls(scope: Scope) -> tuple[Call, Call]:
    """Give what another thread does first, and then the call that waits for ever."""
    lock = Lock(scope=scope)
    return lock.acquire, lock.acquire


def shared_calls(scope: Scope) -> tuple[Call, Call]:
    shared = Shared(1, scope=scope)
    return lambda: shared.lock().__enter__(), shared.get


def semaphore_calls(scope: Scope) -> tuple[Call, Call]:
    semaphore = Semaphore(scope=scope)
    return semaphore.acquire, semaphore.acquire


def event_calls(scope: Scope) -> tuple[Call, Call]:
    event = Event(scope=scope)
    return event.is_set, event.wait


def rate_limiter_calls(scope: Scope) -> tuple[Call, Call]:
    limiter = RateLimiter(1, 3600.0, scope=scope)
    return limiter.acquire, limiter.acquire


def be_interrupted(first: Call, wait: Call) -> None:
    """Wait in the main thread of this process, and leave by the signal: exit code 7, or 8 if that was late."""
    begun = threading.Event()
    sent: list[float] = []

    def strike() -> None:
        first()
        begun.set()
        waiting.wait(30)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(30)  # stays, and keeps what it owns

    waiting = threading.Event()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=strike, daemon=True).start()
    assert begun.wait(30)
    waiting.set()
    try:
        wait()
    except KeyboardInterrupt:
        os._exit(7 if time.monotonic() - sent[0] < A_SECOND else 8)


@pytest.mark.parametrize("scope", ["thread", "process"])
@pytest.mark.parametrize(
    "calls", [lock_calls, shared_calls, semaphore_calls, event_calls, rate_limiter_calls]
)
def test_ctrl_c_ends_a_wait_within_a_second(
    calls: Callable[[Scope], tuple[Call, Call]], scope: Scope
) -> None:
    """One signal is enough, whenever it strikes: KeyboardInterrupt comes out of the call."""
    process = fork.Process(target=be_interrupted, args=calls(scope))
    process.start()
    process.join(20)
    assert process.exitcode == 7
    process.close()


def in_block(thing: Any) -> None:
    with thing:
        pass


def read_and_write(shared: Shared[int]) -> None:
    repr(shared)
    shared.set(shared.get() + 1)


def set_and_clear(event: Event) -> None:
    event.set()
    event.clear()


# What is made, what is done with it, and at how many moments at most that may leave it locked: as the
# block's __exit__ begins, nothing of ours has run, and nothing can be done.
USES: dict[str, tuple[Callable[[Scope], Any], Callable[[Any], object], int]] = {
    "lock": (lambda scope: Lock(scope=scope), in_block, 1),
    "value": (lambda scope: Shared(1, scope=scope), read_and_write, 0),
    "value-block": (lambda scope: Shared(1, scope=scope), lambda value: in_block(value.lock()), 1),
    "array": (lambda scope: Array(1, scope=scope), lambda array: in_block(array.lock()), 1),
    "counter": (lambda scope: Counter(scope=scope), lambda counter: counter.add(), 0),
    "event": (lambda scope: Event(scope=scope), set_and_clear, 0),
    "semaphore": (lambda scope: Semaphore(scope=scope), lambda some: some.acquire(timeout=0), 0),
    "rate": (lambda scope: RateLimiter(999, 0.1, scope=scope), lambda rate: rate.acquire(), 0),
}


@pytest.mark.parametrize("scope", ["thread", "process"])
@pytest.mark.parametrize("use", USES)
def test_a_call_that_is_interrupted_anywhere_leaves_nothing_locked(use: str, scope: Scope) -> None:
    """Another thread can use it at once."""
    make, call, most = USES[use]
    locked = number = 0
    going_on = True
    while going_on:
        thing = make(scope)
        going_on = interrupted_at(number, partial(call, thing))
        locked += in_background(is_locked, thing).result()
        number += 1
    assert number > 2
    assert locked <= most


def is_locked(thing: Any) -> bool:
    """Tell whether whoever uses it now would have to wait."""
    home = thing._home
    lock = getattr(home, "_lock", home)
    try:
        if hasattr(lock, "release") and lock.acquire(timeout=0):
            lock.release()
            return False
    except TypeError:  # one of the interpreter
        return not lock.acquire(blocking=False)
    return hasattr(lock, "release")


def acquire_into(got: list[bool], semaphore: Semaphore) -> None:
    got.append(semaphore.acquire(timeout=0))


@pytest.mark.parametrize("scope", ["thread", "process"])
def test_an_acquire_may_be_interrupted_anywhere(scope: Scope) -> None:
    """The permit is free as before, or it is the caller's: none is lost."""
    semaphore = Semaphore(scope=scope)
    number = 0
    got: list[bool] = []
    while interrupted_at(number, partial(acquire_into, got, semaphore)):
        assert semaphore._home.free() + len(got) == 1, number
        if got:
            semaphore.release()
            got.clear()
        number += 1
    assert number > 3
    assert got == [True]
