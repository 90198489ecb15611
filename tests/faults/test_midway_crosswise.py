"""Finalizers that strike in a step of one pool and use another, which is in the middle of a step just then.

Two threads do so crosswise: each holds its own pool's lock when both finalizers begin, so
whoever waited for the other's would wait for ever.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, cast

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.holding import held_elsewhere
from tests.support.midway import Strike, striking
from tests.support.queues import until
from workpool import Pool, Task, WouldDeadlock, midway
from workpool.backends.process.driver import ProcessWorker
from workpool.errors import PoolClosed

BACKENDS = ["thread", "process", "inline"]
MOMENTS = [0, 3, 8]


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Generator[tuple[Pool, Pool]]:
    """Give two pools of the backend in turn, with workers that have begun."""
    backend: Any = request.param
    pools = Pool(1, backend=backend, name="one"), Pool(1, backend=backend, name="other")
    for each in pools:
        in_background(each.submit, tasks.double, 1).result()
        in_background(each.join, DEADLINE).result()
    yield pools
    for each in pools:
        in_background(each.kill).result()
        in_background(each.shutdown).result()


on_every_backend = pytest.mark.parametrize("pair", BACKENDS, indirect=True)
concurrently = pytest.mark.parametrize("pair", ["thread", "process"], indirect=True)


def crosswise(
    pair: tuple[Pool, Pool],
    calls: tuple[Callable[[], object], Callable[[], object]],
    number: int = 0,
) -> list[Strike]:
    """Have a finalizer make the first call in a step of the first pool, and the second in one of the other, at once."""
    together, over = threading.Barrier(2), threading.Barrier(2)

    def at_once(call: Callable[[], object]) -> object:
        together.wait(DEADLINE)  # both have their lock now
        try:
            return call()
        finally:
            over.wait(DEADLINE)  # and neither lets go before both have called

    strikes = [
        Strike(pool._scheduler.lock, number, partial(at_once, call), dropped=pool is pair[1])
        for pool, call in zip(pair, calls, strict=True)
    ]

    def work(pool: Pool, strike: Strike) -> None:
        with striking(strike, only_here=True), suppress(PoolClosed):
            while not strike.struck:
                pool.submit(tasks.double, 4)

    for each in [in_background(work, *both) for both in zip(pair, strikes, strict=True)]:
        each.result()
    return strikes


def both(
    pair: tuple[Pool, Pool], number: int, call: Callable[[Pool], object]
) -> Iterator[tuple[Pool, Strike]]:
    """Have each pool used by the finalizer that strikes in the other; gives whom it used, and what came of it."""
    one, other = pair
    strikes = crosswise(pair, (partial(call, other), partial(call, one)), number)
    return zip((other, one), strikes, strict=True)


@pytest.mark.parametrize("number", MOMENTS)
@on_every_backend
def test_both_may_submit(pair: tuple[Pool, Pool], number: int) -> None:
    """Each task runs, and a join afterwards covers it."""
    for pool, strike in both(pair, number, lambda pool: pool.submit(tasks.double, 21)):
        assert strike.error is None
        in_background(pool.join, DEADLINE).result()
        assert strike.value.done()
        assert strike.value.result(0) == 42
        assert pool.unfinished == 0


@pytest.mark.parametrize("first", ["join", "close"])
@on_every_backend
def test_what_one_submits_counts_from_then_on(
    pair: tuple[Pool, Pool], first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A join covers it, and a close lets it run, also before it was put on the queue."""
    pool = pair[1]
    scheduler = pool._scheduler
    put_off: list[Callable[[], object]] = []
    monkeypatch.setattr(scheduler, "later", _Noted(put_off))
    strike = crosswise(pair, (lambda: pool.submit(tasks.double, 21), pair[0].stats))[0]
    assert strike.error is None
    assert (list(scheduler.late), strike.value.done()) == ([strike.value], False)
    assert pool.unfinished >= 1
    joining = in_background(getattr(pool, first))
    until(lambda: not scheduler.late)
    for call in put_off:
        in_background(call).result()
    joining.result()
    assert strike.value.result(DEADLINE) == 42
    in_background(pool.join, DEADLINE).result()
    assert pool.unfinished == 0


def struck(pool: Pool, call: Callable[[], object]) -> Strike:
    """Have a finalizer make a call in a step of a pool; nobody else is at anything."""
    strike = Strike(pool._scheduler.lock, 0, call)

    def work() -> None:
        with striking(strike, only_here=True):
            pool.submit(tasks.double, 4)

    in_background(work).result()
    assert strike.struck
    return strike


@pytest.mark.parametrize("pair", ["process"], indirect=True)
def test_nothing_is_sent_in_a_step_of_another_pool(
    pair: tuple[Pool, Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sending may need the lock, which somebody may have taken since: the worker's own thread sends."""
    pool = pair[1]
    lock = pool._scheduler.lock
    hand_over = ProcessWorker.hand_over

    def busy_hand_over(worker: ProcessWorker) -> None:
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with lock:
                held.set()
                assert let_go.wait(DEADLINE)

        holding = in_background(hold)
        assert held.wait(DEADLINE)
        try:
            hand_over(worker)
        finally:
            let_go.set()
            holding.result()

    monkeypatch.setattr(ProcessWorker, "hand_over", busy_hand_over)
    until(lambda: bool(pool._scheduler.idle))
    strike = struck(pair[0], lambda: pool.submit(tasks.double, 21))
    assert strike.error is None
    assert strike.value.result(DEADLINE) == 42
    assert pool.stats().lost == 0


@pytest.mark.parametrize("pair", ["inline"], indirect=True)
def test_no_task_runs_in_a_step_of_another_pool(pair: tuple[Pool, Pool]) -> None:
    """Where submit() runs the task itself, another thread does so, which holds nothing."""
    strike = struck(pair[0], partial(pair[1].submit, midway.held_here))
    assert strike.error is None
    assert strike.value.result(DEADLINE) is False


class _Noted(list[Callable[[], object]]):
    """Stands in for what makes calls later: makes none by itself."""

    def __init__(self, calls: list[Callable[[], object]]) -> None:
        super().__init__()
        self.add = calls.append
        self.calls = ()  # of its own: none

    def catch_up(self) -> None:
        """Do nothing."""


@on_every_backend
def test_what_comes_too_late_is_refused(
    pair: tuple[Pool, Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool that is closed between the look and the note fails the task, which is not left pending."""
    scheduler = pair[1]._scheduler
    late = scheduler.late
    with scheduler.lock:
        task: Task[int] = Task()
        task._call = (tasks.double, (1,), {})
        task._terms = pair[1]._terms
        task._owner, task._lock = scheduler, scheduler.lock
        cancelled: Task[int] = Task()
        cancelled._owner, cancelled._lock = scheduler, scheduler.lock
        late.extend([task, cancelled])
        scheduler.closed = True
    assert cancelled.cancel()
    in_background(scheduler._attend_late).result()
    with pytest.raises(PoolClosed):
        task.result(0)
    assert cancelled.cancelled()
    assert pair[1].unfinished == 0


@pytest.mark.parametrize("number", MOMENTS)
@on_every_backend
def test_both_may_cancel_what_they_submit(pair: tuple[Pool, Pool], number: int) -> None:
    """It is cancelled, now or a moment later, unless it has begun; its callback is called once."""
    heard: list[Task[int]] = []

    def submit_and_cancel(pool: Pool) -> Task[int]:
        task = pool.submit(tasks.double, 21)
        task.add_done_callback(lambda _: heard.append(task))
        task.cancel()
        return task

    for pool, strike in both(pair, number, submit_and_cancel):
        assert strike.error is None
        task = strike.value
        in_background(pool.join, DEADLINE).result()
        assert task.cancelled() or task.result(DEADLINE) == 42
        in_background(pool.submit, tasks.double, 1).result().result(DEADLINE)
        until(lambda task=task: heard.count(task) == 1)  # type: ignore[misc]  # as above
        assert pool.unfinished == 0


@pytest.mark.parametrize("kill", [False, True])
@concurrently
def test_both_may_cancel_what_runs(pair: tuple[Pool, Pool], kill: bool) -> None:
    """A task that runs is told, or ended, a moment later."""
    with Gate() as gate:
        running = [pool.submit(tasks.cancelled_within, DEADLINE, gate.path) for pool in pair]
        gate.arrivals(2)
        one, other = running
        cancels = partial(other.cancel, kill=kill), partial(one.cancel, kill=kill)
        strikes = crosswise(pair, cancels)
        assert [(strike.value, strike.error) for strike in strikes] == [(False, None)] * 2
        if not kill:
            gate.open()
        for pool, task in zip(pair, running, strict=True):
            if not kill:
                assert task.result(DEADLINE)
            in_background(pool.join, DEADLINE).result()
            assert task.cancelled() == kill
            assert pool.unfinished == 0


ENDS: dict[str, Callable[[Pool], object]] = {
    "close": lambda pool: pool.close(),
    "cancel": lambda pool: pool.shutdown(wait=False, cancel_futures=True),
    "kill": lambda pool: pool.kill(),
}


@pytest.mark.parametrize("how", ENDS)
@on_every_backend
def test_both_may_end_each_other(pair: tuple[Pool, Pool], how: str) -> None:
    """Both pools end, and what was accepted has ended."""

    def submit_and_end(pool: Pool) -> Task[int]:
        task = pool.submit(tasks.double, 21)
        ENDS[how](pool)
        return task

    for pool, strike in both(pair, 0, submit_and_end):
        assert strike.error is None
        in_background(pool.shutdown).result()
        assert strike.value.done()
        assert how != "close" or strike.value.result(0) == 42
        assert pool.unfinished == 0


WAITS: dict[str, Callable[[Pool], object]] = {
    "join": lambda pool: pool.join(1.0),
    "result": lambda pool: pool.submit(tasks.double, 1).result(),
    "map": lambda pool: pool.map(tasks.double, [1]),
    "shutdown": lambda pool: pool.shutdown(),
    "stats": lambda pool: pool.stats(),
}


@pytest.mark.parametrize("wait", WAITS)
@concurrently
def test_who_would_wait_is_told(pair: tuple[Pool, Pool], wait: str) -> None:
    """What needs an answer from the other pool says that it would deadlock, instead of doing so."""
    for pool, strike in both(pair, 0, WAITS[wait]):
        assert isinstance(strike.error, WouldDeadlock), strike.value
        assert "by a finalizer" in str(strike.error)
        in_background(pool.join, DEADLINE).result()


@on_every_backend
def test_results_that_are_let_go_of_cancel_their_call(pair: tuple[Pool, Pool]) -> None:
    """Half-read results that are collected in a step of another pool: the rest of their call is cancelled."""
    started = [pool.map(tasks.double, range(100_000), chunksize=10) for pool in pair]
    for results in started:
        assert in_background(next, results).result() == 0

    def let_go(pool: Pool) -> None:
        started[pair.index(pool)].__del__()

    for pool, strike in both(pair, 0, let_go):
        assert strike.error is None
        in_background(pool.join, DEADLINE).result()
        assert pool.unfinished == 0


@pytest.mark.parametrize("pair", ["process"], indirect=True)
def test_a_large_argument_needs_no_lock_that_is_held(pair: tuple[Pool, Pool]) -> None:
    """A finalizer that strikes where the memory of large arguments is locked submits one: it takes the pipe."""
    pool = pair[0]
    depot: Any = cast("Any", pool._backend).depot
    if depot is None:
        pytest.skip("large arguments always take the pipe here")
    data = bytes(400_000)
    number = 0
    while True:
        strike = Strike(depot._lock, number, lambda: pool.submit(len, data))

        def work(strike: Strike = strike) -> int:
            with striking(strike, only_here=True):
                return pool.submit(len, data).result(DEADLINE)

        assert in_background(work).result() == len(data)
        if not strike.struck:
            break
        assert strike.error is None
        assert strike.value.result(DEADLINE) == len(data)
        number += 1
    assert number > 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_forked_child_holds_nothing() -> None:
    """A lock that another thread held at the fork counts as nobody's in the child, whatever its threads are called."""
    lock: Any = threading.RLock()
    midway.known(lock, lock)
    with held_elsewhere(lock):
        pid = os.fork()
        if not pid:
            os._exit(len(midway._owned))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert lock._is_owned() is False
    assert not midway.held_here()
    with lock:
        assert midway.held_here()


if sys.version_info >= (3, 12):  # which warns of the fork that the last test is about
    test_a_forked_child_holds_nothing = pytest.mark.filterwarnings(
        "ignore:.*fork:DeprecationWarning"
    )(test_a_forked_child_holds_nothing)
