"""Shared state of threads: in a signal's handler, in a forked child, and with threads that others have made."""

from __future__ import annotations

import _thread
import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import workpool
from tests.support.gates import DEADLINE, in_background
from tests.support.holding import held_elsewhere
from workpool import Counter, Event, Lock, Queue, RateLimiter, Semaphore, Shared, WouldDeadlock

HERE = str(Path(workpool.__file__).parent / "shared" / "in_threads")


@contextmanager
def struck_at(moment: int, handler: Callable[[], object]) -> Generator[list[bool]]:
    """Call a handler in this thread at that moment of the calls in the block, as Python does with a signal's.

    It does so where a function of Python begins, and where one of C has returned to it.
    """
    left, struck = moment, list[bool]()

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal left
        if event not in ("call", "c_return") or struck or not _is_ours(frame):
            return
        left -= 1
        if left == -1:
            struck.append(True)
            handler()

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield struck
    finally:
        sys.setprofile(before)


def _is_ours(frame: FrameType | None) -> bool:
    return frame is not None and (
        frame.f_code.co_filename.startswith(HERE) or _is_ours(frame.f_back)
    )


def strike_each(call: Callable[[], object], handler: Callable[[], object]) -> int:
    """Do so at each moment of a call; tells how many there were."""
    moment = 0
    while True:
        with struck_at(moment, handler) as struck:
            call()
        if not struck:
            return moment
        moment += 1


def test_a_handler_may_count() -> None:
    """In the middle of a call that counts: each is counted."""
    counter = Counter()
    moments = strike_each(counter.add, counter.add)
    assert moments > 0
    assert counter.value == 2 * moments + 1


@pytest.mark.parametrize("busy", [False, True])
def test_a_handler_may_try_a_lock(busy: bool) -> None:
    """In the middle of a call: it gets it, or does not, and nobody has it twice."""
    lock = Lock()
    got: list[bool] = []

    def handler() -> None:
        got.append(lock.acquire(blocking=False))
        if got[-1]:
            lock.release()

    def call() -> None:
        if lock.acquire(timeout=0.001 if busy else DEADLINE):
            lock.release()

    with held_elsewhere(lock) if busy else nullcontext():
        assert strike_each(call, handler) > 4
    assert set(got) == ({False} if busy else {True, False})
    assert in_background(lock.acquire, blocking=False).result()


def test_a_handler_that_would_wait_for_its_own_thread_is_refused() -> None:
    """Where the thread has the lock by then; elsewhere it gets it."""
    lock = Lock()
    refused: list[bool] = []

    def handler() -> None:
        try:
            with lock:
                refused.append(False)
        except WouldDeadlock:
            refused.append(True)

    def call() -> None:
        with lock:
            pass

    strike_each(call, handler)
    assert set(refused) == {True, False}
    assert not lock.locked()


def test_a_handler_that_keeps_the_lock() -> None:
    """The call that it came by in does not wait for its own thread: it is refused, or had got it before."""
    outcomes: set[tuple[str, *tuple[bool, ...]]] = set()

    def strike(moment: int) -> bool:
        lock = Lock()
        taken: list[bool] = []
        with struck_at(moment, lambda: taken.append(lock.acquire(blocking=False))) as struck:
            try:
                lock.acquire()
            except WouldDeadlock:
                outcomes.add(("refused", *taken))
            else:
                outcomes.add(("got it", *taken))
        lock.release()
        return bool(struck)

    moment = 0
    while strike(moment):
        moment += 1
    assert outcomes <= {("refused", True), ("got it", False), ("got it",)}
    assert ("refused", True) in outcomes


def test_a_handler_gets_no_call_too_many() -> None:
    """In the middle of a call of a rate limiter it is refused, by a plain error."""
    outcomes: set[str] = set()

    def strike(moment: int) -> bool:
        limiter = RateLimiter(1, 1000.0)

        def handler() -> None:
            try:
                outcomes.add(str(limiter.acquire(blocking=False)))
            except WouldDeadlock:
                outcomes.add("refused")

        with struck_at(moment, handler) as struck:
            limiter.acquire(blocking=False)
        assert limiter._home.free() == 0
        return bool(struck)

    moment = 0
    while strike(moment):
        moment += 1
    assert outcomes == {"True", "False", "refused"}


THINGS: dict[str, tuple[Callable[[], Any], str, Callable[[Any], object]]] = {
    "Counter": (Counter, "_home._lock", lambda counter: counter.add()),
    "Shared": (lambda: Shared(1), "_home._lock._mutex", lambda shared: shared.update(id)),
    "Lock": (Lock, "_home._mutex", lambda lock: lock.acquire()),
    "Semaphore": (Semaphore, "_home._lock", lambda semaphore: semaphore.acquire()),
    "Event": (Event, "_home._event._lock", Event.set),
    "RateLimiter": (lambda: RateLimiter(1), "_home._mutex", lambda limiter: limiter.acquire()),
    "Queue": (lambda: Queue[int](1), "_lock", lambda queue: queue.put(1)),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.parametrize("name", THINGS)
def test_in_a_forked_child_nothing_is_held(name: str) -> None:
    """By a thread that is not there, and was in the middle of a call."""
    make, path, use = THINGS[name]
    thing = lock = make()
    for part in path.split("."):
        lock = getattr(lock, part)
    with held_elsewhere(lock):
        pid = os.fork()
        if not pid:
            done = threading.Event()

            def use_it() -> None:
                use(thing)
                done.set()

            threading.Thread(target=use_it, daemon=True).start()
            os._exit(0 if done.wait(DEADLINE) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_thread_that_threading_has_not_made_may_end_as_owner() -> None:
    """It lets the next one have the lock, who is told."""
    lock = Lock()
    _thread.start_new_thread(lock.acquire, ())
    until = time.monotonic() + DEADLINE
    told = False
    while not told and time.monotonic() < until:
        assert lock.acquire(timeout=DEADLINE)
        told = lock.owner_died  # else we were faster than that thread
        lock.release()
    assert told


def test_such_a_thread_is_told_from_the_next_with_its_number() -> None:
    """Threads that come one after another have one number, and an owner of their own."""
    lock = Lock()
    told: list[object] = []
    done = threading.Semaphore(0)

    def own() -> None:
        try:
            told.append((lock.acquire(timeout=DEADLINE), lock.owner_died))
        finally:
            done.release()

    for _ in range(5):
        _thread.start_new_thread(own, ())
        assert done.acquire(timeout=DEADLINE)
    assert told == [(True, False), *[(True, True)] * 4]


def test_such_a_thread_owns_what_it_acquires() -> None:
    """It may release it, is refused a second time, and nobody else may."""
    lock = Lock()
    told: list[object] = []
    done = threading.Semaphore(0)

    def own() -> None:
        try:
            with lock:
                told.append(in_background(lock.acquire, blocking=False).result())
                try:
                    lock.acquire()
                except WouldDeadlock:
                    told.append("refused")
            told.append(lock.locked())
        finally:
            done.release()

    _thread.start_new_thread(own, ())
    assert done.acquire(timeout=DEADLINE)
    assert told == [False, "refused", False]
