"""Killing a task that runs inside what waits for it, in the same thread: what that costs the others there."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import CancelledError
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.tasks import double
from workpool import Pool, Task, WorkerLost

# The exception that is sent into a thread may hit it just as it opens its way to the gate.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

TERMS: dict[str, dict[str, Any]] = {
    "none": {},
    "a limit": {"time_limit": 2 * DEADLINE},
    "retries": {"retries": 1},
    "a limit and retries": {"time_limit": 2 * DEADLINE, "retries": 1},
    "retries of other errors": {"retries": 1, "retry_on": ValueError},
}


@pytest.mark.parametrize("terms", TERMS)
def test_an_item_is_lost_alone(made: list[Pool], terms: str) -> None:
    """With the task that it waits for; with retries it runs again. What was finished is told, and the rest runs."""
    pool = Pool(1)
    made.append(pool)
    again, fails = "retries" in TERMS[terms], "retry_on" in TERMS[terms]
    inner: list[Task[None]] = []
    ran: Counter[int] = Counter()

    def run(n: int) -> int:
        ran[n] += 1
        if n == 0 and fails and ran[n] == 1:
            raise ValueError
        if n == 2 and ran[n] == 1:
            inner.append(pool.submit(stop, gate.path))
            inner[0].result()
        return n

    with Gate() as gate:
        calls = pool.options(**TERMS[terms])
        results = calls.map(run, range(5), chunksize=5, return_exceptions=True)
        gate.arrival()
        thread: Any = pool._scheduler.workers[0]
        assert inner[0].cancel(kill=True)
        got = in_background(list, results).result()
        in_background(pool.join, DEADLINE).result()
        assert pool.unfinished == 0
    thread._thread.join(DEADLINE)
    lost = got[2]
    if again and not fails:
        assert lost == 2
    else:
        assert isinstance(lost, WorkerLost)
        assert "item 2 of map(" in str(lost)
    assert [*got[:2], *got[3:]] == [0, 1, 3, 4]
    assert ran == {0: 1 + fails, 1: 1, 2: 1 + (again and not fails), 3: 1, 4: 1}
    assert pool.unfinished == 0
    stats = pool.stats()
    assert stats.done + stats.failed == 5
    assert pool.submit(double, 1).result(DEADLINE) == 2


def test_one_that_has_a_thread_of_its_own_is_lost_alone(made: list[Pool]) -> None:
    """Because of its time limit; the task that waits for it is told, and goes on."""
    pool = Pool(1)
    made.append(pool)
    inner: list[Task[None]] = []

    def waits() -> str:
        inner.append(pool.options(time_limit=2 * DEADLINE).submit(stop, gate.path))
        with pytest.raises(CancelledError):
            inner[0].result()
        return "goes on"

    with Gate() as gate:
        outer = pool.submit(waits)
        gate.arrival()
        assert inner[0].cancel(kill=True)
        assert outer.result(DEADLINE) == "goes on"


def test_a_task_is_lost_with_the_one_inside_of_it(made: list[Pool]) -> None:
    """Each has an outcome of its own, and the pool goes on."""
    pool = Pool(1)
    made.append(pool)
    inner: list[Task[None]] = []

    def waits() -> None:
        inner.append(pool.submit(stop, gate.path))
        inner[0].result()

    with Gate() as gate:
        outer = pool.submit(waits)
        gate.arrival()
        assert inner[0].cancel(kill=True)
        assert isinstance(outer.exception(DEADLINE), WorkerLost)
        assert inner[0].cancelled()
        assert pool.submit(double, 1).result(DEADLINE) == 2
