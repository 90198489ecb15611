"""RateLimiter: never more than so many calls in any so many seconds, and first come, first served."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gates import DEADLINE, Running, in_background
from tests.support.queues import until
from workpool.ipc import line
from workpool.shared import RateLimiter, Scope, window
from workpool.shared.in_processes.rate_limiter import ProcessRateLimiter

fork = multiprocessing.get_context("fork")
SECOND = 1_000_000_000  # nanoseconds


pytestmark = pytest.mark.usefixtures("arena")


def waiting(limiter: RateLimiter) -> int:
    """Count those who stand in line."""
    home: Any = limiter._home
    if isinstance(home, ProcessRateLimiter):
        return sum(ticket != 0 for ticket in home._line._tickets)
    return len(home._line)


# ------------------------------------------------------------------------- the promise


class Clock:
    """A clock that goes as it is told."""

    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now


steps = st.lists(
    st.tuples(
        # Multiples of a fraction of the period meet the borders exactly, others nearly.
        st.one_of(st.integers(0, 8).map(lambda n: n * SECOND // 4), st.integers(0, 3 * SECOND)),
        st.integers(0, 4),
    ),
    max_size=60,
)


@pytest.mark.parametrize("where", ["thread", "process"])
@given(calls=st.integers(1, 5), steps=steps)
def test_no_window_holds_more_calls_than_allowed_and_none_is_refused_needlessly(
    where: Scope, calls: int, steps: list[tuple[int, int]]
) -> None:
    """At any moment a call is allowed just when fewer than so many were in the period before it."""
    clock = Clock()
    limiter = RateLimiter(calls, 1.0, scope=where)
    granted: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "clock", clock)
        for pause, attempts in steps:
            clock.now += pause
            for _ in range(attempts):
                allowed = sum(clock.now - SECOND < moment for moment in granted) < calls
                assert limiter.acquire(blocking=False) is allowed
                if allowed:
                    granted.append(clock.now)
    for first, beyond in zip(granted, granted[calls:], strict=False):
        assert beyond - first >= SECOND


def grants(limiter: RateLimiter, times: int) -> list[int]:
    """Acquire so often, and give the moments that were counted."""
    moments: list[int] = []
    last = [0]

    def tell() -> int:
        last[0] = time.monotonic_ns()
        return last[0]

    window.clock = tell
    try:
        for _ in range(times):
            assert limiter.acquire(timeout=DEADLINE)
            moments.append(last[0])
    finally:
        window.clock = time.monotonic_ns
    return moments


def test_processes_together_keep_the_limit() -> None:
    """Four processes that call as fast as they may never exceed it, together."""
    limiter = RateLimiter(20, 0.05, scope="process")
    pipes: list[Connection] = []

    def child(pipe: Connection) -> None:
        pipe.send(grants(limiter, 30))

    processes: list[ForkProcess] = []
    for _ in range(4):
        ours, theirs = fork.Pipe(duplex=False)
        processes.append(fork.Process(target=child, args=(theirs,)))
        processes[-1].start()
        theirs.close()
        pipes.append(ours)
    moments: list[int] = []
    for pipe in pipes:
        assert pipe.poll(DEADLINE)
        moments += pipe.recv()
        pipe.close()
    for process in processes:
        process.join(DEADLINE)
        assert process.exitcode == 0
        process.close()
    moments.sort()
    assert len(moments) == 120
    for first, beyond in zip(moments, moments[20:], strict=False):
        assert beyond - first >= 0.05 * SECOND


def test_threads_together_keep_the_limit(scope: Scope) -> None:
    """Threads that call as fast as they may all get through, and not too soon."""
    limiter = RateLimiter(5, 0.02, scope=scope)
    begin = time.monotonic()
    threads = [in_background(lambda: [limiter.acquire() for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        assert all(thread.result())
    assert time.monotonic() - begin >= 7 * 0.02


# --------------------------------------------------------------------------- the line


def test_who_waits_is_served_in_order(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """First come, first served."""
    clock = Clock()
    monkeypatch.setattr(window, "clock", clock)
    limiter = RateLimiter(1, 1.0, scope=scope)
    assert limiter.acquire()
    served: list[int] = []

    def wait_as(n: int) -> None:
        assert limiter.acquire()
        served.append(n)

    threads: list[Running[None]] = []
    for n in range(4):
        threads.append(in_background(wait_as, n))
        until(lambda: waiting(limiter) == len(threads))
    for n in range(4):
        clock.now += SECOND
        until(lambda: waiting(limiter) == 3 - n)  # noqa: B023 - called at once
        threads[n].result()
    assert served == [0, 1, 2, 3]


def test_who_only_tries_does_not_overtake(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody waits, the next call is theirs, though it may be allowed by now."""
    clock = Clock()
    monkeypatch.setattr(window, "clock", clock)
    limiter = RateLimiter(1, 3600.0, scope=scope)
    assert limiter.acquire()
    waiter = in_background(limiter.acquire)
    until(lambda: waiting(limiter) == 1)
    clock.now += 3600 * SECOND
    tried = limiter.acquire(
        blocking=False
    )  # the waiter has not looked yet, or has just been served
    assert not tried
    assert waiter.result()


def test_a_wait_ends_with_its_timeout(scope: Scope) -> None:
    """acquire() says that it was in vain, counts nothing, and leaves the line."""
    limiter = RateLimiter(1, 3600.0, scope=scope)
    assert limiter.acquire(timeout=0)
    begin = time.monotonic()
    assert not limiter.acquire(timeout=0.05)
    assert 0.05 <= time.monotonic() - begin < 10
    assert not limiter.acquire(blocking=False)
    assert waiting(limiter) == 0


def test_the_next_is_served_when_the_first_gives_up(
    scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who stands behind one that leaves the line is the first then."""
    clock = Clock()
    monkeypatch.setattr(window, "clock", clock)
    limiter = RateLimiter(1, 1.0, scope=scope)
    limiter.acquire()
    first = in_background(limiter.acquire, timeout=0.2)
    until(lambda: waiting(limiter) == 1)
    second = in_background(limiter.acquire)
    assert not first.result()
    assert not second.ended
    clock.now += SECOND
    assert second.result()


def test_more_waiters_than_places_wait_beside_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds no place gets one later."""
    limiter = RateLimiter(1, 0.01, scope="process")
    home: Any = limiter._home
    places = [home._line.join() for _ in range(len(home._line._words))]
    assert home._line.join() == (-1, 0)
    waiter = in_background(limiter.acquire)
    waiter.thread.join(0.1)
    assert not waiter.ended
    for place, ticket in places:
        home._leave(place, ticket)
    assert waiter.result()


def test_who_does_not_look_any_more_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """A place that a living process has lost sight of blocks nobody for long."""
    limiter = RateLimiter(1, 0.01, scope="process")
    home: Any = limiter._home
    place, ticket = home._line.join()
    assert not limiter.acquire(blocking=False)
    monkeypatch.setattr(line, "monotonic", lambda: time.monotonic() + line.STALE + 1)
    assert limiter.acquire(blocking=False)
    assert not home._line.keeps(place, ticket)


# ------------------------------------------------------------------------------- deaths


def test_one_who_waits_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The place of a dead process is passed over."""
    clock = Clock()
    monkeypatch.setattr(window, "clock", clock)
    limiter = RateLimiter(1, 1.0, scope="process")
    limiter.acquire()
    process = fork.Process(target=limiter.acquire)
    process.start()
    until(lambda: waiting(limiter) == 1)
    second = in_background(limiter.acquire)
    until(lambda: waiting(limiter) == 2)
    process.kill()
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    process.close()
    clock.now += SECOND
    assert second.result()
    assert waiting(limiter) == 0


class Deadly:
    """Stands in for shared cells: to write to it is to die, before or after the store."""

    def __init__(self, cells: Any, *, after: bool) -> None:
        self._cells = cells
        self._after = after

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, index: int) -> int:
        return int(self._cells[index])

    def __setitem__(self, index: int, value: int) -> None:
        if self._after:
            self._cells[index] = value
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("store", ["_oldest", "_moments"])
@pytest.mark.parametrize("calls", [1, 3])
def test_one_who_is_let_through_is_killed(store: str, after: bool, calls: int) -> None:
    """A kill in the midst of it costs the call of the dead one at most, and grants none too many."""
    limiter = RateLimiter(calls, 3600.0, scope="process")
    home: Any = limiter._home

    def child() -> None:
        setattr(home._window, store, Deadly(getattr(home._window, store), after=after))
        limiter.acquire()

    process = fork.Process(target=child)
    process.start()
    process.join(DEADLINE)
    assert process.exitcode == -signal.SIGKILL
    process.close()
    got = sum(limiter.acquire(blocking=False) for _ in range(calls + 2))
    counted = store == "_moments" and after
    assert got == calls - counted


# ------------------------------------------------------------------------------ its terms


def test_it_tells_what_it_allows(scope: Scope) -> None:
    """calls, per, and in its repr how many are free."""
    limiter = RateLimiter(2, 60, scope=scope)
    assert (limiter.calls, limiter.per, limiter.scope) == (2, 60.0, scope)
    with limiter as allowed:
        assert allowed
    assert repr(limiter) == f"<RateLimiter 2 calls per 60 s, 1 free, scope={scope!r}>"


@pytest.mark.parametrize(
    ("calls", "per", "error", "says"),
    [
        (0, 1.0, ValueError, "calls must be from 1 to 1000000, not 0"),
        (2_000_000, 1.0, ValueError, "calls must be from 1"),
        (1.5, 1.0, TypeError, "calls must be a whole number of calls, not 1.5"),
        (True, 1.0, TypeError, "calls must be a whole number"),
        (1, 0, ValueError, "per must be more than 0"),
        (1, float("nan"), ValueError, "per must be more than 0"),
        (1, float("inf"), ValueError, "per must be more than 0"),
        (1, "1", TypeError, "per must be a number of seconds, not '1'"),
    ],
)
def test_wrong_terms_are_refused(
    calls: Any, per: Any, error: type[Exception], says: str, scope: Scope
) -> None:
    """What is no number of calls or seconds is refused by name."""
    with pytest.raises(error, match=says):
        RateLimiter(calls, per, scope=scope)


def test_a_timeout_without_blocking_is_refused(scope: Scope) -> None:
    """As with a semaphore."""
    with pytest.raises(ValueError, match="timeout"):
        RateLimiter(1, scope=scope).acquire(blocking=False, timeout=1)


def test_a_period_is_rounded_up(scope: Scope) -> None:
    """A fraction of a nanosecond counts as a whole one."""
    assert RateLimiter(1, 1e-10, scope=scope)._home.period == 1
