"""Statistics: what is counted, and the times that go with it, on every backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from tests.support.queues import until
from workpool import Pool, Results


def pause(seconds: float) -> float:
    """Run for so long, without using the CPU."""
    threading.Event().wait(seconds)
    return seconds


def test_every_outcome_is_counted(pool: Pool, busy: Busy) -> None:
    """Results, errors and cancelled tasks, of submit and of map."""
    with busy(pool):
        withdrawn = pool.submit(tasks.double, 0)
        assert withdrawn.cancel()
    for n in range(5):
        pool.submit(tasks.fail_if_odd, n)
    assert len(list(pool.map(tasks.fail_if_odd, range(100), return_exceptions=True))) == 100
    pool.join(DEADLINE)
    stats = pool.stats()
    held = stats.done - 3 - 50  # what kept the workers busy
    assert held in (1, 2)
    assert (stats.failed, stats.cancelled) == (2 + 50, 1)
    assert (stats.queued, stats.running) == (0, 0)


ENDS: dict[str, Callable[[Pool, Results[Any]], object]] = {
    "close": lambda pool, results: results.close(),
    "shutdown": lambda pool, results: pool.shutdown(wait=False, cancel_futures=True),
    "kill": lambda pool, results: pool.kill(),
}


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("chunksize", [None, 1, 7])
@pytest.mark.parametrize("end", ENDS)
def test_items_that_never_run_are_counted_as_cancelled(
    make_pool: MakePool, busy: Busy, end: str, chunksize: int | None
) -> None:
    """Whatever takes a map call back: each of its items has one outcome, and is in one count."""
    pool = make_pool()
    with busy(pool):
        results = pool.map(tasks.double, range(100), chunksize=chunksize)
        ENDS[end](pool, results)
    if end != "kill":
        pool.join(DEADLINE)
    stats = pool.stats()
    assert stats.cancelled == 100
    assert stats.queued == 0


@pytest.mark.parametrize("chunksize", [None, 1])
def test_a_failure_leaves_no_item_out_of_the_counts(pool: Pool, chunksize: int | None) -> None:
    """The map call ends with its first error: what had not begun is cancelled, and nothing is forgotten."""
    with pytest.raises(ValueError, match="1"):
        list(pool.map(tasks.fail_if_odd, [1, *[0] * 99], chunksize=chunksize))
    pool.join(DEADLINE)
    stats = pool.stats()
    assert stats.failed == 1
    assert stats.done + stats.failed + stats.cancelled == 100


@pytest.mark.needs("concurrent")
def test_what_waits_and_what_runs_is_told(pool: Pool, busy: Busy) -> None:
    """Tasks and items that wait are queued; two workers run two tasks."""
    with busy(pool):
        pool.submit(tasks.double, 1)
        results = pool.map(tasks.double, range(10))
        stats = pool.stats()
        assert (stats.queued, stats.running) == (11, 2)
        assert (stats.workers, stats.max_workers) == (2, 2)
    assert list(results) == list(range(0, 20, 2))


@pytest.mark.parametrize("chunksize", [None, 1], ids=["chunks", "single"])
def test_what_pauses_before_its_next_attempt_is_queued(pool: Pool, chunksize: int | None) -> None:
    """Items as well as tasks: nothing runs meanwhile."""
    patient = pool.options(retries=1, retry_on=LookupError, backoff=DEADLINE)
    results = patient.map(tasks.fail_at, range(5), chunksize=chunksize)
    until(lambda: pool.stats().retried == 5 and len(pool._scheduler._delayed) == 5)
    stats = pool.stats()
    assert (stats.queued, stats.running) == (5, 0)
    results.close()


@pytest.mark.parametrize("way", ["submit", "map", "limited map"])
def test_the_time_of_each_worker_is_told(make_pool: MakePool, way: str) -> None:
    """Busy time adds up to what the tasks took, whoever ran them, and fits into the pool's life."""
    pool = make_pool()
    if way == "submit":
        for task in [pool.submit(pause, 0.02) for _ in range(6)]:
            task.result(DEADLINE)
    else:
        how = (
            pool.options(time_limit=DEADLINE)
            if way == "limited map" and pool.backend != "inline"
            else pool
        )
        assert list(how.map(pause, [0.02] * 6)) == [0.02] * 6
    stats = pool.stats()
    assert set(stats.busy) <= set(range(2))
    assert sum(stats.busy.values()) >= 6 * 0.0199
    assert all(0 <= seconds <= stats.uptime for seconds in stats.busy.values())
    assert set(stats.run_time) == set(stats.queue_wait) == {50, 90, 99}
    assert stats.run_time[99] >= stats.run_time[50] >= 0.0199
    assert all(wait >= 0 for wait in stats.queue_wait.values())


@pytest.mark.needs("concurrent")
def test_waiting_is_measured_from_submit_to_start(make_pool: MakePool, busy: Busy) -> None:
    """What waited behind a task that was held, as task or as item, tells for how long."""
    pool = make_pool(1)
    with busy(pool) as gate:
        task = pool.submit(tasks.double, 1)
        results = pool.map(tasks.double, range(5))
        queued = monotonic()
        pause(0.05)
        waited = monotonic() - queued
        gate.open()
        task.result(DEADLINE)
        list(results)
    pool.join(DEADLINE)
    waits = pool.stats().queue_wait
    assert waits[50] >= waited - 0.001


def test_a_start_that_failed_counts_as_work(make_pool: MakePool) -> None:
    """Attempts that are followed by another are counted, and the time they took."""
    pool = make_pool(1)
    task = pool.options(retries=2, retry_on=LookupError).submit(tasks.fail_until, 3)
    assert task.result(DEADLINE) == 3
    stats = pool.stats()
    assert (stats.retried, stats.done, stats.failed) == (2, 1, 0)
    assert stats.busy[0] > 0


@pytest.mark.needs("ends_tasks")
def test_a_dead_worker_is_counted(make_pool: MakePool) -> None:
    """The worker is lost, its task failed, and the time it ran is not forgotten."""
    pool = make_pool(1)
    with Gate() as gate:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        pause(0.02)
        assert task.cancel(kill=True)
    died = pool.submit(tasks.die)
    assert died.exception(DEADLINE) is not None
    stats = pool.stats()
    assert (stats.lost, stats.cancelled, stats.failed) == (2, 1, 1)
    assert stats.busy[0] >= 0.0199
