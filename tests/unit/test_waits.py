"""What threads sleep on: Ctrl-C is heard, and whoever comes next finds nothing locked."""

from __future__ import annotations

import _thread
import signal
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import as_completed, wait
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.interrupts import at_moment, interrupted_at
from workpool import Event as SharedEvent
from workpool import Lock, Pool, Queue, RateLimiter, Semaphore
from workpool._compat import frame_of
from workpool.scheduling.timers import Timers
from workpool.waits import Event, make_sleeper, sleep_on, wake_first

SOON = 5.0  # seconds; far more than any of this takes
A_SECOND = 1.0  # within which Ctrl-C is to be heard


@pytest.fixture(autouse=True)
def default_handler() -> Generator[None]:
    """Have Ctrl-C raise KeyboardInterrupt."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def struck_at_every_moment(call: Callable[[], object], after: Callable[[int], object]) -> None:
    """Make a call that Ctrl-C strikes, a moment later each time; after each, look how things are."""
    number = 0
    while interrupted_at(number, call):
        after(number)
        number += 1
    after(number)
    assert number > 3


def met_by_itself(number: int, call: Callable[[], object]) -> bool:
    """Make a call, and the same in a handler at that moment of it; False if it has fewer."""
    return at_moment(number, call, lambda _: call())


def test_a_handler_may_wake_in_the_middle_of_waking() -> None:
    """Wherever it sets an event that is just being set: all are woken, and nothing fails."""
    number = 0
    reached = True
    while reached:
        event = Event()
        sleepers = [make_sleeper() for _ in range(3)]
        event._sleepers.extend(sleepers)
        reached = met_by_itself(number, event.set)
        assert not any(sleeper.locked() for sleeper in sleepers), number
        number += 1
    assert number > 3


def test_who_was_not_woken_stays_on_the_list() -> None:
    """Wherever a handler wakes one in the middle of waking one: the others are to be woken still."""
    number = 0
    reached = True
    while reached:
        listed = [make_sleeper() for _ in range(3)]
        asleep = list(listed)
        reached = met_by_itself(number, partial(wake_first, listed))
        assert listed == [sleeper for sleeper in asleep if sleeper.locked()], number
        number += 1
    assert number > 1


def test_an_event_is_never_left_locked() -> None:
    """Wherever in wait, set or clear Ctrl-C strikes: another thread can set it, and a third hears."""
    event = Event()

    def use() -> None:
        event.wait(0.001)
        event.set()
        event.wait(0.001)
        event.clear()

    def after(number: int) -> None:
        in_background(event.clear).result(SOON)
        waiting = in_background(event.wait, SOON)
        in_background(event.set).result(SOON)
        assert waiting.result(), number
        in_background(event.clear).result(SOON)

    struck_at_every_moment(use, after)


def test_a_flag_that_is_up_lets_all_go_on() -> None:
    """Wherever Ctrl-C strikes the call that puts it up: either it is down still, or nobody sleeps any more."""
    outcomes: set[bool] = set()
    number = 0
    struck = True
    while struck:
        event = Event()
        sleepers = [make_sleeper() for _ in range(3)]
        event._sleepers.extend(sleepers)
        struck = interrupted_at(number, event.set)
        awake = [not sleeper.locked() for sleeper in sleepers]
        assert awake == [event.is_set()] * 3, number
        outcomes.add(event.is_set())
        number += 1
    assert outcomes == {False, True}


def test_an_event_keeps_its_promises() -> None:
    """As threading.Event: wait tells whether it came up, in time, and all who wait are woken."""
    event = Event()
    assert not event.wait(0)
    assert not event.wait(0.01)
    waits = [in_background(event.wait) for _ in range(3)]
    event.set()
    assert [each.result() for each in waits] == [True] * 3
    assert event.is_set()
    assert event.wait(0)
    event.clear()
    assert not event.is_set()
    assert not event.wait(-1)


def test_a_sleep_ends_in_time() -> None:
    """Also in the main thread, which sleeps in short turns; the longest a lock knows is no limit."""
    sleeper = make_sleeper()
    for timeout in (-1.0, 0.0, 0.05, 0.45):
        began = time.monotonic()
        assert not sleep_on(sleeper, timeout)
        assert time.monotonic() - began >= timeout
    sleeper.release()
    assert sleep_on(sleeper, threading.TIMEOUT_MAX * 2)
    sleeper.release()
    assert sleep_on(sleeper)


def test_the_timers_outlive_an_interrupt() -> None:
    """Wherever in the making of a timer Ctrl-C strikes: those that are made later are still called."""
    timers = Timers("timers")
    timers.after(0.0, int)

    def after(number: int) -> None:
        called = threading.Event()
        in_background(timers.after, 0.0, called.set).result(SOON)
        assert called.wait(SOON), number

    try:
        struck_at_every_moment(lambda: timers.after(0.001, int), after)
    finally:
        in_background(timers.close).result(SOON)


def test_a_semaphore_outlives_an_interrupt() -> None:
    """Wherever in an acquire that waits Ctrl-C strikes: permits go out and come back as before."""
    semaphore = Semaphore()
    semaphore.acquire()

    def after(number: int) -> None:
        waiting = in_background(semaphore.acquire, timeout=SOON)
        in_background(semaphore.release).result(SOON)
        assert waiting.result(), number

    struck_at_every_moment(lambda: semaphore.acquire(timeout=0.001), after)


def test_a_lock_outlives_an_interrupt() -> None:
    """Wherever in an acquire that waits Ctrl-C strikes: it is KeyboardInterrupt, and the next one has the lock."""
    lock = Lock()
    go, have = threading.Semaphore(0), threading.Semaphore(0)
    over = threading.Event()

    def own() -> None:
        while not over.is_set():
            with lock:
                have.release()
                assert go.acquire(timeout=DEADLINE)

    owner = in_background(own)
    assert have.acquire(timeout=DEADLINE)

    def after(number: int) -> None:
        go.release()
        assert have.acquire(timeout=SOON), number

    try:
        struck_at_every_moment(lambda: lock.acquire(timeout=0.001), after)
    finally:
        over.set()
        go.release()
        owner.result()


# -------------------------------------------- a signal that comes as the thread falls asleep


def asleep(thread: int) -> None:
    """Wait until a thread stands still."""
    pause = threading.Event()
    before: Any = None
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        frame = frame_of(thread)
        assert frame is not None
        now = (id(frame), frame.f_lasti)
        if now == before:
            return
        before = now
        pause.wait(0.03)
    raise AssertionError


def _full(pool: Pool, gate: str) -> None:
    for _ in range(4):
        pool.submit(stop, gate)


def _joined(pool: Pool, gate: str) -> None:
    pool.submit(stop, gate)
    pool.join()


def _shut_down(pool: Pool, gate: str) -> None:
    pool.submit(stop, gate)
    pool.shutdown()


def _grouped(pool: Pool, gate: str) -> None:
    with pool.group() as group:
        group.submit(stop, gate)


WAITS: dict[str, Callable[[Pool, str], object]] = {
    "result": lambda pool, gate: pool.submit(stop, gate).result(),
    "exception": lambda pool, gate: pool.submit(stop, gate).exception(DEADLINE),
    "join": _joined,
    "map": lambda pool, gate: list(pool.map(stop, [gate])),
    "shutdown": _shut_down,
    "submit": _full,
    "group": _grouped,
    "wait": lambda pool, gate: wait([pool.submit(stop, gate)]),
    "as_completed": lambda pool, gate: list(as_completed([pool.submit(stop, gate)])),
}


def heard_after(call: Callable[[], object]) -> float:
    """Make a call in the main thread, have a signal interrupt no sleep of it, and tell when it was heard."""
    struck: list[float] = []
    main = threading.get_ident()
    expected = threading.Event()

    def strike() -> None:
        assert expected.wait(DEADLINE)
        asleep(main)
        struck.append(time.monotonic())
        _thread.interrupt_main()  # to Python a signal; to the system nothing, so it wakes nobody

    def begin() -> None:
        expected.set()  # not before: it would strike where nobody expects it
        call()

    striking = in_background(strike)
    try:
        with pytest.raises(KeyboardInterrupt):
            begin()
        return time.monotonic() - struck[0]
    finally:
        striking.result()


# The exception that kill() sends into a thread may hit it as it opens, or gives back, its way to the gate.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", WAITS)
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_signal_that_wakes_nobody_is_heard_within_a_second(backend: Any, call: str) -> None:
    """As one does that comes in the instant before a thread falls asleep; in every wait of a pool."""
    pool = Pool(1, backend=backend, queue_size=2)
    pool.submit(tasks.double, 1).result(DEADLINE)
    with Gate() as gate:
        try:
            assert heard_after(partial(WAITS[call], pool, gate.path)) < A_SECOND
        finally:
            gate.open()
            pool.kill()
            pool.shutdown()


def _put_on_a_full_queue() -> None:
    queue: Queue[int] = Queue(1)
    queue.put(1)
    queue.put(2)


def _acquire_twice(what: Semaphore | RateLimiter) -> None:
    what.acquire()
    what.acquire()


OTHERS: dict[str, Callable[[], object]] = {
    "put": _put_on_a_full_queue,
    "get": lambda: Queue[int]().get(),
    "event": lambda: SharedEvent().wait(),
    "semaphore": lambda: _acquire_twice(Semaphore()),
    "rate limiter": lambda: _acquire_twice(RateLimiter(1, 3600.0)),
}


@pytest.mark.parametrize("call", OTHERS)
def test_so_it_is_in_queues_and_shared_state(call: str) -> None:
    """The same holds for what threads share."""
    assert heard_after(OTHERS[call]) < A_SECOND
