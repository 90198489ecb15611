"""Tasks that kill every worker fail alone; workers that cannot live end the pool, soon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.fatal import die_if, fail_or_die, started
from tests.support.gates import DEADLINE
from tests.support.queues import until
from workpool import Pool, WorkerLost, WorkerStartFailed
from workpool.backends.process import driver
from workpool.backends.process.driver import ProcessWorker
from workpool.backends.process.starts import Starts
from workpool.ipc.launch import WorkerHandle

# ------------------------------------------------------------------------------ poison


def test_a_poisonous_task_fails_alone(make_pool: MakePool, tmp_path: Path) -> None:
    """It is started once more for each retry, and all others get their results."""
    pool = make_pool(2)
    starts = tmp_path / "starts"
    careful = pool.options(retries=3)
    batch = [careful.submit(die_if, str(starts), 7, "SIGSEGV", n) for n in range(15)]
    errors = {n: task.exception(DEADLINE) for n, task in enumerate(batch)}
    assert isinstance(errors.pop(7), WorkerLost)
    assert set(errors.values()) == {None}
    assert batch[7].attempts == 4
    assert started(starts)["7"] == 4
    assert pool.stats().lost == 4


def test_a_poisonous_item_fails_alone(make_pool: MakePool, tmp_path: Path) -> None:
    """The same for one item of a chunk; its neighbours are started once."""
    pool = make_pool(2)
    starts = tmp_path / "starts"
    fn = partial(die_if, str(starts), 7, "SIGKILL")
    outcomes = list(pool.options(retries=2).map(fn, range(15), chunksize=5, return_exceptions=True))
    assert isinstance(outcomes.pop(7), WorkerLost)
    assert outcomes == [2 * n for n in range(15) if n != 7]
    assert started(starts) == {str(n): 3 if n == 7 else 1 for n in range(15)}


@pytest.mark.parametrize("as_item", [False, True], ids=["task", "item"])
def test_deaths_and_errors_use_up_the_same_retries(
    pool: Pool, tmp_path: Path, as_item: bool
) -> None:
    """Each start counts, whatever ended it; and a backoff pauses before each retry, twice as long each time."""
    starts = tmp_path / "starts"
    careful = pool.options(retries=3, retry_on=(WorkerLost, LookupError), backoff=0.05)
    began = time.monotonic()
    if as_item:
        outcomes: list[Any] = list(careful.map(partial(fail_or_die, str(starts)), [1], chunksize=1))
    else:
        task = careful.submit(fail_or_die, str(starts), 1)
        outcomes = [task.result(DEADLINE)]
        assert task.attempts == 4
    assert outcomes == [4]
    assert time.monotonic() - began >= 0.05 + 0.1 + 0.2
    assert started(starts) == {"start": 4}
    assert (pool.stats().lost, pool.stats().retried) == (2, 3)


# -------------------------------------------------------------------------- crash loops


@pytest.fixture
def dying_at_start(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Kill each process that is started, of the workers whose index is listed."""
    doomed: list[int] = []
    launch: Callable[..., WorkerHandle] = driver.launch  # type: ignore[attr-defined]  # not exported

    def launch_and_kill(*args: Any, index: int, **kwargs: Any) -> WorkerHandle:
        handle = launch(*args, index=index, **kwargs)
        if index in doomed:
            os.kill(handle.pid, signal.SIGKILL)
        return handle

    monkeypatch.setattr(driver, "launch", launch_and_kill)
    return doomed


def test_workers_that_die_at_every_start_end_the_pool(
    make_pool: MakePool, dying_at_start: list[int]
) -> None:
    """All that waits fails with the last cause, after a few starts and a second or two; later submits too."""
    dying_at_start[:] = [0, 1]
    pool = make_pool(2)
    began = time.monotonic()
    waiting = [pool.submit(tasks.double, n) for n in range(20)]
    items = pool.map(tasks.double, range(5), return_exceptions=True)
    for task in waiting:
        error = task.exception(DEADLINE)
        assert isinstance(error, WorkerStartFailed)
        assert "of SIGKILL" in str(error)
    assert all(isinstance(error, WorkerStartFailed) for error in items)
    assert time.monotonic() - began >= 1.0
    assert 5 <= pool.stats().lost <= 20
    with pytest.raises(WorkerStartFailed):
        pool.submit(tasks.double, 1)


def test_workers_that_die_as_soon_as_they_are_ready_end_the_pool(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that became ready and died before its first task has not lived either."""

    def serve(life: ProcessWorker, handle: WorkerHandle) -> None:
        os.kill(handle.pid, signal.SIGKILL)
        until(lambda: bool(os.path.exists(f"/proc/{handle.pid}")) is False)
        life._serving = False
        real(life, handle)

    real = ProcessWorker._serve
    monkeypatch.setattr(ProcessWorker, "_serve", serve)
    pool = make_pool(1)
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, WorkerStartFailed)


def test_one_worker_that_cannot_live_does_not_end_a_pool_that_works(
    make_pool: MakePool, dying_at_start: list[int]
) -> None:
    """While others get things done, it is started again, after pauses."""
    dying_at_start[:] = [1]
    pool = make_pool(2)
    done = 0
    while pool.stats().lost < 7:
        assert pool.submit(tasks.double, done).result(DEADLINE) == 2 * done
        pool.submit(tasks.double, done)
        done += 1
    dying_at_start.clear()
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_a_pool_under_fire_goes_on_when_it_ends(
    make_pool: MakePool, dying_at_start: list[int]
) -> None:
    """A few deaths in a row are bad luck: the next process lives, and nothing has failed."""
    dying_at_start[:] = [0]
    pool = make_pool(1)
    task = pool.submit(tasks.double, 1)
    until(lambda: pool.stats().lost >= 3)
    dying_at_start.clear()
    assert task.result(DEADLINE) == 2
    assert task.attempts == 1


def test_the_pause_between_starts_ends_with_the_pool(
    make_pool: MakePool, dying_at_start: list[int]
) -> None:
    """Who kills the pool does not wait for its next start."""
    dying_at_start[:] = [0]
    pool = make_pool(1)
    task = pool.submit(tasks.double, 1)
    until(lambda: pool.stats().lost >= 3)
    pool.kill()
    assert task.cancelled()


def test_pauses_grow_and_progress_ends_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first deaths are made good at once; work that gets done in between begins the count anew."""
    starts = Starts()
    assert [starts.died(3) for _ in range(5)] == [0.0, 0.0, 0.05, 0.1, 0.2]
    assert [starts.died(4) for _ in range(3)] == [0.0, 0.0, 0.05]
    starts.lived()
    assert starts.died(4) == 0.0
    monkeypatch.setattr("workpool.backends.process.starts.monotonic", lambda: time.monotonic() + 2)
    assert [starts.died(4) for _ in range(4)] == [0.0, 0.05, 0.1, None]
