"""A random worker is killed every 20 milliseconds: nothing is lost, run twice, or wrong."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.faults.conftest import MakePool
from tests.support.fatal import started, takes_a_while
from tests.support.gates import in_background
from workpool import Pool, WorkerLost

pytestmark = pytest.mark.heavy

MOST_IN_VAIN = 4
LONG_WAIT = 120.0  # seconds; a deadline
SIZES = [
    pytest.param(700, 2.0, id="short"),
    pytest.param(5_000, 10.0, id="full", marks=pytest.mark.stress),
]
METHODS = ["forkserver", pytest.param("fork", marks=pytest.mark.stress)]


@contextmanager
def storm(pool: Pool, seconds: float) -> Generator[list[int]]:
    """Kill a random worker every 20 ms, while the block runs and for so long at most.

    It kills a few at most until something more is done. On a machine that is busy with other
    things, starts may take longer than it leaves them: workers that cannot live end the pool,
    and that is another test.
    """
    over = threading.Event()
    seed = time.time_ns() % 1_000_000_007
    dice = random.Random(seed)
    kills: list[int] = []

    def rage() -> None:
        until = time.monotonic() + seconds
        done, killed = -1, 0
        while not over.wait(0.02) and time.monotonic() < until:
            with pool._scheduler.lock:
                handles = [getattr(w, "_handle", None) for w in pool._scheduler.workers.values()]
            alive = [handle for handle in handles if handle is not None and not handle.dead]
            stats = pool.stats()
            if stats.done + stats.failed != done:
                done, killed = stats.done + stats.failed, 0
            if alive and killed < MOST_IN_VAIN:
                killed += 1
                with suppress(ProcessLookupError):
                    os.kill(dice.choice(alive).pid, signal.SIGKILL)
                    kills.append(1)

    raging = in_background(rage)
    try:
        yield kills
    finally:
        over.set()
        raging.result()
        print(f"storm, seed {seed}: {len(kills)} kills, {pool.stats().lost} deaths")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("count", "seconds"), SIZES)
def test_with_retries_all_results_are_right(
    make_pool: MakePool, tmp_path: Path, count: int, seconds: float, method: str
) -> None:
    """Tasks and items are run again until they are done; every result is its own."""
    pool = make_pool(4, start_method=method, retries=1000)
    fn = partial(takes_a_while, str(tmp_path / "starts"))
    with storm(pool, seconds) as kills:
        batch = [pool.submit(fn, n) for n in range(count // 2)]
        results = pool.map(fn, range(count // 2, count), timeout=LONG_WAIT)
        assert [task.result(LONG_WAIT) for task in batch] == [3 * n for n in range(count // 2)]
        assert list(results) == [3 * n for n in range(count // 2, count)]
    assert len(kills) > 10
    counts = started(tmp_path / "starts")
    assert set(counts) == {str(n) for n in range(count)}
    # At most one start is lost with each death.
    assert sum(counts.values()) - count <= pool.stats().lost
    pool.join(LONG_WAIT)


@pytest.mark.parametrize(("count", "seconds"), SIZES)
def test_without_retries_nothing_runs_twice(
    make_pool: MakePool, tmp_path: Path, count: int, seconds: float
) -> None:
    """What was started is done or charged, once for each death at most; what was not started always runs."""
    pool = make_pool(4)
    fn = partial(takes_a_while, str(tmp_path / "starts"))
    with storm(pool, seconds):
        batch = [pool.submit(fn, n) for n in range(count // 2)]
        results = pool.map(fn, range(count // 2, count), return_exceptions=True, timeout=LONG_WAIT)
        outcomes = [task.exception(LONG_WAIT) or task.result() for task in batch]
        outcomes += list(results)
    counts = started(tmp_path / "starts")
    lost = 0
    for n, outcome in enumerate(outcomes):
        if isinstance(outcome, WorkerLost):
            lost += 1
            assert counts[str(n)] <= 1
        else:
            assert (outcome, counts[str(n)]) == (3 * n, 1)
    assert lost <= pool.stats().lost
    assert len(outcomes) == count
