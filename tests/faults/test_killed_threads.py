"""Threads that are given up, which cannot be ended: nothing is left that somebody could wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.on_the_way import stopped_after, stopped_before
from tests.support.queues import until
from workpool import Pool, TimeLimitExceeded, WorkerLost

# The exception that is sent into a thread may hit it just as it opens its way to the gate.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("terms", [{}, {"time_limit": 30.0}, {"retries": 2}], ids=str)
def test_a_killed_map_call_counts_as_done(terms: dict[str, Any]) -> None:
    """What is left of a chunk that runs is counted done once, and not again when its thread ends."""
    pool = Pool(1)
    with Gate() as gate:
        results = pool.options(**terms).map(tasks.holding(gate.path, 3), range(10), chunksize=10)
        gate.arrival()
        thread = next(iter(pool._scheduler.workers.values()))
        pool.kill()
        assert pool.unfinished == 0
        pool.join(timeout=0)
        with pytest.raises(WorkerLost):
            list(results)
    in_background(pool.shutdown).result()
    thread._thread.join()  # type: ignore[attr-defined]  # it is a ThreadWorker
    assert pool.unfinished == 0


@pytest.mark.parametrize(
    ("terms", "step"),
    [
        ({}, "deliver"),
        ({"time_limit": 30.0}, "settle_item"),
        ({"time_limit": 30.0}, "deliver"),
        ({"retries": 1, "retry_on": ValueError}, "fail_item"),
        ({"retries": 1, "retry_on": ValueError, "time_limit": 30.0}, "fail_item"),
    ],
    ids=str,
)
def test_a_thread_killed_as_it_delivers_has_delivered(terms: dict[str, Any], step: str) -> None:
    """Results in its hands are nobody else's to count: it is torn out of its thread afterwards."""
    pool = Pool(1)
    with stopped_before(pool._scheduler, step) as delivering:
        _results = pool.options(**terms).map(tasks.fail_if_odd, [1, 3], chunksize=2)
        delivering.arrival()
        worker: Any = next(iter(pool._scheduler.workers.values()))
        pool.kill()
    worker._thread.join(DEADLINE)
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    in_background(pool.shutdown).result()


def test_items_taken_and_not_begun_are_counted_once_by_a_kill() -> None:
    """A thread that is to end after one more call gives back the rest of a chunk, which the kill has counted."""
    pool = Pool(1, max_tasks_per_worker=1)
    with stopped_after(pool._scheduler, "next_unit", here=bool) as taken:
        _results = pool.map(tasks.double, range(4), chunksize=4)
        taken.arrival()
        worker: Any = next(iter(pool._scheduler.workers.values()))
        pool.kill()
        assert pool.unfinished == 0
    worker._thread.join(DEADLINE)
    assert pool.unfinished == 0
    in_background(pool.shutdown).result()


def test_a_shutdown_that_waits_returns_when_the_pool_is_killed() -> None:
    """A thread that is written off is waited for by nobody, also not by who did so before."""
    pool = Pool(1)
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        waiting = in_background(pool.shutdown)
        pool.kill()
        waiting.result()
        assert isinstance(task.exception(timeout=0), WorkerLost)


def test_a_kill_that_meets_a_time_limit_strikes_nobody_else() -> None:
    """Its thread is replaced, and it is not settled yet: the new one, of that index, is not written off for it."""

    def too_late(_: object, error: BaseException) -> bool:
        return isinstance(error, TimeLimitExceeded)

    with Gate() as gate, Pool(1) as pool:
        with stopped_before(pool._scheduler, "fail", here=too_late) as settling:
            late = pool.options(time_limit=0.05).submit(tasks.hold, gate.path, 1, "late")
            settling.arrival()
            neighbour = pool.submit(tasks.hold, gate.path, 2, "neighbour")
            while gate.arrival() != "neighbour":
                pass
            assert (late.worker, neighbour.worker) == (0, 0)
            assert late.running()
            assert not late.cancel(kill=True)
            assert neighbour.running()
        assert isinstance(late.exception(DEADLINE), TimeLimitExceeded)
        gate.open()
        assert neighbour.result(DEADLINE) == 2
        assert pool.stats().written_off == 1


class _Moving(list[Any]):
    """What waits in a thread for what runs there; whoever looks at it sees it move on at that moment."""

    on_look: Callable[[], object] = int

    def __iter__(self) -> Iterator[Any]:
        self.on_look()
        return super().__iter__()


def _wait_for_another(pool: Pool, gate: str) -> None:
    pool.submit(tasks.double, 2).result()
    tasks.hold(gate, 1)


def test_a_limit_strikes_a_task_that_goes_on_at_that_moment() -> None:
    """It waited for another, which ran in its thread, and is over: in whose hands it is, is seen all the same."""
    with Gate() as gate, Pool(1) as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        worker._outer = _Moving()

        def inside(_: object) -> bool:
            return len(worker._outer) == 1  # settled inside of another

        with stopped_after(pool._scheduler, "settle", here=inside) as settled:
            task = pool.options(time_limit=2 * DEADLINE).submit(_wait_for_another, pool, gate.path)
            settled.arrival()

            def move_on() -> None:
                settled.go()
                until(lambda: not len(worker._outer))

            worker._outer.on_look = move_on
            worker.overdue(task, 1)
            del worker._outer.on_look
        assert isinstance(task.exception(0), TimeLimitExceeded)


class _Slow:
    """Stands for the lock of a thread in ``result()``: a thread that tells the end of a task is held here."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def release(self) -> None:
        """Stop, in Python code, where an exception could strike."""
        stop(self.gate.path, "telling")
        for _ in range(100):
            pass


def test_a_thread_that_tells_of_an_end_is_not_torn_out_of_it() -> None:
    """The pool is killed while a thread wakes those who wait for what it has just settled: all hear of it."""
    pool = Pool(1)
    with Gate() as gate, Gate() as telling:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        with task._lock:
            task._more().sleepers.append(_Slow(telling))
        waiting = in_background(task.result)
        sleepers = task._more().sleepers
        until(lambda: len(sleepers) == 2)
        called: list[Any] = []
        task.add_done_callback(called.append)
        gate.open()
        telling.arrival()
        pool.kill()
        telling.open()
        assert waiting.result() == 1
        pool.join(DEADLINE)
        assert called == [task]


def _wait_for(pool: Pool, gate: str, after: str) -> None:
    """Wait for another task of the same pool, and then for ever, as far as a killed pool is concerned."""
    inner = pool.submit(tasks.double, 1)
    stop(gate, "submitted")
    try:
        inner.result()
    except TimeLimitExceeded:
        stop(after, "struck")
        raise
    stop(after, "went on")


def test_a_thread_killed_between_two_calls_does_not_go_back_to_the_outer_one() -> None:
    """A task ran inside another, and is being told of; the outer one ends where it waited for that."""
    pool = Pool(1)
    with Gate() as gate, Gate() as telling, Gate() as after:
        outer = pool.submit(_wait_for, pool, gate.path, after.path)
        gate.arrival()
        inner = next(iter(pool._scheduler.queue))
        with inner._lock:
            inner._more().sleepers.append(_Slow(telling))
        gate.open()
        telling.arrival()
        pool.kill()
        assert isinstance(outer.exception(DEADLINE), WorkerLost)
        telling.open()
        assert after.arrival() == "struck"
        assert inner.result(0) == 2


def _wait_in_an_item(pool: Pool, gate: str, after: str, _: int) -> None:
    _wait_for(pool, gate, after)


def test_a_thread_that_tells_of_an_end_inside_an_item_is_not_torn_out_of_it() -> None:
    """The item waits for a task that ran in its thread: who waits for that one is told, and it counts as done."""
    pool = Pool(1)
    with Gate() as gate, Gate() as telling, Gate() as after:
        fn = partial(_wait_in_an_item, pool, gate.path, after.path)
        results = pool.map(fn, [0, 1], chunksize=2)
        gate.arrival()
        inner = next(iter(pool._scheduler.queue))
        with inner._lock:
            inner._more().sleepers.append(_Slow(telling))
        called: list[Any] = []
        inner.add_done_callback(called.append)
        gate.open()
        telling.arrival()
        pool.kill()
        with pytest.raises(WorkerLost):
            list(results)
        telling.open()
        assert after.arrival() == "struck"
        pool.join(DEADLINE)
        assert called == [inner]
        assert inner.result(0) == 2


def test_a_thread_killed_between_two_tasks_leaves_its_context_whole() -> None:
    """It sees that it is written off before the exception is sent to it, and is not hit while it tidies up."""
    leaving = threading.Event()
    left: list[str] = []

    @contextmanager
    def context() -> Generator[None]:
        yield
        leaving.set()
        left.append("begins")
        _steps(1_000)
        left.append("ends")

    pool = Pool(1, worker_context=context)
    with Gate() as gate:
        first = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        second = pool.submit(tasks.double, 2)
        worker: Any = pool._scheduler.workers[0]
        strike = worker._strike

        def strike_late() -> None:
            between.go()
            leaving.wait(0.3)  # in vain: it cannot leave in the middle of this step
            strike()

        worker._strike = strike_late
        with stopped_after(pool._scheduler, "settle_and_take", here=bool) as between:
            gate.open()
            between.arrival()  # the second is taken, and has not begun
            pool.kill()
        worker._thread.join(DEADLINE)
    assert left == ["begins", "ends"]
    assert first.result(0) == 1
    assert isinstance(second.exception(0), WorkerLost)


def _steps(count: int) -> int:
    """Take so many steps of Python, in each of which an exception may come."""
    return sum(1 for _ in range(count))


def _maps_in_its_own_pool(pool: Pool, gate: str) -> list[int]:
    return list(pool.map(tasks.holding(gate, 0), [0]))


@pytest.mark.parametrize("how", ["killed", "retired"])
def test_a_worker_that_was_lent_is_given_back_by_a_thread_that_asks_for_no_more(how: str) -> None:
    """Each task that waits for its own pool lends one; one that is given up, or is the last of its thread, too."""
    with Pool(1, max_tasks_per_worker=1 if how == "retired" else None) as pool:
        for _ in range(3):
            with Gate() as gate:
                waits = pool.submit(_maps_in_its_own_pool, pool, gate.path)
                gate.arrival()  # in the worker that was lent
                if how == "killed":
                    assert waits.cancel(kill=True)
            pool.join(DEADLINE)
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
        until(lambda: pool.stats().workers <= 1)


def _waits_as_it_ends(pool: Pool, gate: str, left: list[Any]) -> None:
    try:
        stop(gate)
    finally:
        left.append(pool.submit(tasks.double, 1))
        left[0].result()


def test_a_thread_that_is_given_up_runs_nothing_that_it_waits_for() -> None:
    """It could settle nothing any more: what it submits as it ends is run by another, and is not lost."""
    left: list[Any] = []
    with Gate() as gate, Gate() as busy, Pool(1) as pool:
        outer = pool.submit(_waits_as_it_ends, pool, gate.path, left)
        gate.arrival()
        blocks = pool.submit(tasks.hold, busy.path, 3)
        with stopped_after(pool._scheduler, "assist", here=lambda _: True) as waits:
            assert outer.cancel(kill=True)
            busy.arrival()  # in the thread that has replaced the one that is given up
            gate.open()
            waits.arrival()
            assert left[0]._stage == "PENDING"
        busy.open()
        assert left[0].result(DEADLINE) == 2
        assert blocks.result(DEADLINE) == 3
        pool.join(DEADLINE)
        assert pool._scheduler._extra == 0


@pytest.mark.parametrize("how", ["wait", "map"])
def test_a_thread_that_is_given_up_lends_no_worker(how: str) -> None:
    """It has been replaced already; and nobody would know when to ask for that one back."""
    ended = threading.Event()

    def waits_as_it_ends(gate: str) -> None:
        try:
            stop(gate)
        finally:
            if how == "wait":
                wait([pool.submit(tasks.double, 1)])
            else:
                list(pool.map(tasks.double, [1]))
            ended.set()
            stop(after.path)

    with Gate() as gate, Gate() as busy, Gate() as after, Pool(1) as pool:
        outer = pool.submit(waits_as_it_ends, gate.path)
        gate.arrival()
        pool.submit(tasks.hold, busy.path, 3)
        with stopped_after(pool._scheduler, "lend_worker", here=lambda _: True) as waits:
            assert outer.cancel(kill=True)
            busy.arrival()
            gate.open()
            waits.arrival()
            assert pool._scheduler._extra == 0
        busy.open()
        assert ended.wait(DEADLINE)
        assert pool._scheduler._extra == 0


def test_what_a_thread_has_claimed_when_it_is_given_up_runs_elsewhere() -> None:
    """A task is about to run inside the one that waits for it, which is killed: it has not begun, and runs once."""
    calls: list[int] = []
    with Pool(1) as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        inner: list[Any] = []

        def waits() -> None:
            inner.append(pool.submit(calls.append, 1))
            inner[0].result()

        with stopped_before(worker, "run_nested") as begins:
            outer = pool.submit(waits)
            begins.arrival()
            assert outer.cancel(kill=True)
        assert inner[0].result(DEADLINE) is None
        assert worker._thread.ended(DEADLINE)
        pool.join(DEADLINE)
        assert calls == [1]
