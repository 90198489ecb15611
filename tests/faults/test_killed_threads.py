"""Threads that are given up, which cannot be ended: nothing is left that somebody could wait for."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
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


def _trace(*_: object) -> None:
    """Trace as a debugger or a measure of coverage does, and take no interest."""


def test_a_traced_program_is_not_held_up_by_a_thread_that_is_given_up() -> None:
    """A task past its limit that sits in C code costs nobody else a moment, whoever is looking on."""
    before = sys.gettrace(), threading.gettrace()
    began = time.monotonic()
    threading.settrace(_trace)
    sys.settrace(_trace)
    try:
        with Gate() as gate, Pool(1) as pool:
            late = pool.options(time_limit=0.05).submit(tasks.hold, gate.path, 1)
            gate.arrival()
            assert isinstance(late.exception(DEADLINE), TimeLimitExceeded)
            assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
            took = time.monotonic() - began
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])
    assert took < DEADLINE / 2
