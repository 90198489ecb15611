"""A worker dies in the user's code before its first task, or after its last: all waits end, all results stay."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support import fatal_contexts, tasks
from tests.support.fatal import WAYS, note, started
from tests.support.gates import DEADLINE, in_background
from tests.support.lives import handle_of
from workpool import InitializerFailed, Pool

METHODS = ["forkserver", "spawn", "fork"]
# Each way with the default start method, and each start method with a kill.
CASES = [(way, "forkserver") for way in WAYS] + [("SIGKILL", method) for method in METHODS[1:]]


def error_of(pool: Pool) -> BaseException | None:
    """Submit a task; give its error, or that of the call, if the pool knows already."""
    try:
        return pool.submit(tasks.double, 1).exception(DEADLINE)
    except InitializerFailed as refusal:
        return refusal


def fails_for_good(pool: Pool, name: str) -> None:
    """All that waits fails at once with the reason, later calls are refused, and the end of the pool comes."""
    items = pool.map(tasks.double, range(4), return_exceptions=True)
    errors: list[Any] = in_background(list, items).result()
    errors += [error_of(pool) for _ in range(3)]
    for error in errors:
        assert isinstance(error, InitializerFailed)
        assert name in str(error)
        assert "initializer or worker_context" in str(error)
    in_background(pool.join, DEADLINE).result()
    in_background(pool.shutdown).result()
    assert pool.unfinished == 0


@pytest.mark.parametrize(("way", "method"), CASES)
def test_killed_in_the_initializer(make_pool: MakePool, way: str, method: str) -> None:
    """The error on all futures tells how the worker died."""
    settings = {"initializer": fatal_contexts.initializer, "initargs": (way,)}
    fails_for_good(make_pool(2, start_method=method, **settings), WAYS[way][2])


@pytest.mark.parametrize(("way", "method"), CASES)
def test_killed_while_it_enters_its_context(
    make_pool: MakePool, tmp_path: Path, way: str, method: str
) -> None:
    """The same for the setup half of a worker_context."""
    context = fatal_contexts.dies_entering(way, str(tmp_path / "log"))
    fails_for_good(make_pool(2, start_method=method, worker_context=context), WAYS[way][2])
    assert not started(tmp_path / "log")


@pytest.mark.parametrize(("way", "method"), CASES)
def test_killed_while_it_leaves_its_context(tmp_path: Path, way: str, method: Any) -> None:
    """The with block ends, every result is there, and nobody is started in the place of the dead."""
    log = tmp_path / "log"
    context = fatal_contexts.dies_leaving(way, str(log))

    def program() -> tuple[list[Any], Pool]:
        with Pool(2, backend="process", start_method=method, worker_context=context) as pool:
            submitted = [pool.submit(tasks.double, n) for n in range(4)]
            values = list(pool.map(tasks.double, range(10, 14)))
        return [task.result(0) for task in submitted] + values, pool

    values, pool = in_background(program).result()
    assert values == [2 * n for n in [*range(4), *range(10, 14)]]
    counts = started(log)
    assert counts["entered"] == counts["leaving"] >= 1
    assert counts["left"] == 0
    stats = pool.stats()
    assert (stats.done, stats.failed, stats.lost) == (8, 0, counts["leaving"])


def test_killed_in_the_teardown_before_it_is_replaced(make_pool: MakePool, tmp_path: Path) -> None:
    """A worker that has run its tasks and dies on its way out is replaced as one that has left in order."""
    log = tmp_path / "log"
    pool = make_pool(
        1,
        max_tasks_per_worker=2,
        worker_context=fatal_contexts.dies_leaving("SIGSEGV", str(log)),
    )
    assert [pool.submit(tasks.double, n).result(DEADLINE) for n in range(5)] == [0, 2, 4, 6, 8]
    assert list(pool.map(tasks.double, range(5), chunksize=1)) == [0, 2, 4, 6, 8]
    in_background(pool.shutdown).result()
    counts = started(log)
    assert counts["entered"] == counts["leaving"]
    assert counts["leaving"] in (5, 6)  # one more, if the fifth was gone before the pool was closed
    assert counts["left"] == 0
    assert pool.stats().failed == 0


def test_killed_in_the_initializer_of_a_replacement(make_pool: MakePool, tmp_path: Path) -> None:
    """What had been done keeps its result; what waits fails with the reason, instead of waiting for the next start."""
    log = tmp_path / "log"
    pool = make_pool(1, initializer=partial(dies_at_the_second_start, str(log)))
    done = [pool.submit(tasks.double, n) for n in range(3)]
    assert [task.result(DEADLINE) for task in done] == [0, 2, 4]
    os.kill(handle_of(pool).pid, signal.SIGKILL)
    error: Any = None
    while not isinstance(error, InitializerFailed):  # the pipe may take in a task before it breaks
        error = error_of(pool)
        assert error is None or "SIGABRT" in str(error)
    assert [task.result(0) for task in done] == [0, 2, 4]
    assert started(log) == {"start": 2}


def dies_at_the_second_start(log: str) -> None:
    note(log, "start")
    if started(Path(log))["start"] == 2:
        os.abort()
