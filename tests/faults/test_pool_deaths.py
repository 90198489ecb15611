"""A worker process dies while it runs a call: that call alone is charged, and told how it was."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.fatal import WAYS, die_if, die_once, started
from tests.support.gates import DEADLINE, Gate
from tests.support.lives import handle_of, life_of
from tests.support.queues import until
from tests.support.scripts import outcome_of
from workpool import Pool, WorkerLost

METHODS = ["forkserver", "spawn", "fork"]


@pytest.mark.parametrize("way", WAYS)
def test_the_error_tells_how_task_and_worker(pool: Pool, tmp_path: Path, way: str) -> None:
    """It names exit code or signal, task and worker, also as attributes, and travels itself."""
    _, exitcode, name = WAYS[way]
    task = pool.submit(die_if, str(tmp_path / "starts"), 1, way, 1)
    error = task.exception(DEADLINE)
    assert isinstance(error, WorkerLost)
    assert (error.exitcode, error.task, error.worker) == (exitcode, "die_if", 0)
    assert not error.out_of_memory
    for part in (name, "task 0 (die_if)", "worker 0"):
        assert part in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.exitcode, again.worker) == (str(error), exitcode, 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fatal", [0, 2, 4], ids=["first", "middle", "last"])
def test_one_item_of_a_chunk_is_charged(pool: Pool, tmp_path: Path, way: str, fatal: int) -> None:
    """What was done keeps its result, what had not started runs, nothing starts twice."""
    starts = tmp_path / "starts"
    fn = partial(die_if, str(starts), fatal, way)
    outcomes = list(pool.map(fn, range(5), chunksize=5, return_exceptions=True))
    assert isinstance(lost := outcomes.pop(fatal), WorkerLost)
    assert f"item {fatal} of map(die_if)" in str(lost)
    assert outcomes == [2 * n for n in range(5) if n != fatal]
    assert started(starts) == {str(n): 1 for n in range(5)}


@pytest.mark.parametrize("method", METHODS)
def test_whatever_the_start_method(make_pool: MakePool, tmp_path: Path, method: str) -> None:
    """Deaths are told and made good for processes of all start methods."""
    pool = make_pool(1, start_method=method)
    path = str(tmp_path / "starts")
    for way, (_, exitcode, _) in WAYS.items():
        error = pool.submit(die_if, path, 1, way, 1).exception(DEADLINE)
        assert isinstance(error, WorkerLost)
        assert error.exitcode == exitcode
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    assert pool.stats().lost == len(WAYS)


def test_tasks_sent_along_run_elsewhere(pool: Pool, tmp_path: Path) -> None:
    """Tasks that travelled with the one that died run once, and are not charged."""
    starts = tmp_path / "starts"
    # Known to be short, so that they travel together.
    for n in range(20):
        pool.submit(die_if, str(starts), -1, "SIGKILL", 1000 + n)
    pool.join(DEADLINE)
    batch = [pool.submit(die_if, str(starts), 30, "SIGKILL", n) for n in range(60)]
    errors = [n for n, task in enumerate(batch) if task.exception(DEADLINE) is not None]
    assert errors == [30]
    counts = started(starts)
    assert [counts[str(n)] for n in range(60)] == [1] * 60
    assert [task.attempts for task in batch] == [1] * 60


def test_with_retries_it_runs_again(pool: Pool, tmp_path: Path) -> None:
    """A task or item whose worker died is started anew, and only that one."""
    starts = tmp_path / "starts"
    careful = pool.options(retries=1)
    task = careful.submit(die_once, str(starts), 1)
    assert task.result(DEADLINE) == 2
    assert task.attempts == 2
    assert list(careful.map(partial(die_once, str(starts)), range(10, 15), chunksize=5)) == [
        2 * n for n in range(10, 15)
    ]
    assert started(starts) == {str(n): 2 for n in [1, *range(10, 15)]}
    assert (pool.stats().lost, pool.stats().retried) == (6, 6)


def test_what_is_said_of_retries_is_so(pool: Pool, tmp_path: Path) -> None:
    """They are named as the way out where there were none; else how many attempts there were, or why no more."""
    path = str(tmp_path / "starts")
    said: list[tuple[dict[str, Any], str]] = [
        ({}, "retries=1 would run this one again"),
        ({"retry_on": OSError}, "retries=1, with WorkerLost in retry_on, would run this one again"),
        ({"retries": 2}, "that was attempt 3 of at most 3"),
        (
            {"retries": 2, "retry_on": OSError},
            "retry_on leaves WorkerLost out, so it is not run again",
        ),
        ({"retries": 1, "retry_on": (OSError, BrokenExecutor)}, "that was attempt 2 of at most 2"),
    ]
    for terms, text in said:
        view = pool.options(**terms)
        [item] = view.map(partial(die_if, path, 1, "SIGKILL"), [1], return_exceptions=True)
        for error in (view.submit(die_if, path, 1, "SIGKILL", 1).exception(DEADLINE), item):
            assert isinstance(error, WorkerLost)
            assert str(error).endswith(f"Other tasks are not affected; {text}.")


def test_a_replacement_starts_at_once(make_pool: MakePool, gate: Gate) -> None:
    """It has the index of the one that died, and is ready before anybody asks for it."""
    pool = make_pool(2)
    where = [pool.submit(tasks.meet, gate.path) for _ in range(2)]
    gate.arrivals(2)
    gate.open()
    (first, (pid, _)), (second, (other, _)) = (task.result(DEADLINE) for task in where)
    assert {first, second} == {0, 1}
    os.kill(pid, 9)
    until(lambda: life_of(pool, first)._serving and handle_of(pool, first).pid != pid)
    assert handle_of(pool, second).pid == other
    assert pool.stats().workers == 2
    assert pool.stats().lost == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_ends_by_a_fault_of_its_own_says_why(method: str) -> None:
    """The error knows an exit code only; the worker's traceback is on stderr."""
    script = f"""
    import os
    with Pool(1, backend="process", start_method={method!r}) as pool:
        print(type(pool.submit(os.closerange, 3, 64).exception(10)).__name__)
    """
    ended = outcome_of(Kind("process", frozenset()), script)
    assert (ended.returncode, ended.stdout) == (0, "WorkerLost\n")
    assert ended.stderr.startswith("Traceback (most recent call last)")
    assert ended.stderr.endswith("OSError: [Errno 9] Bad file descriptor\n")
