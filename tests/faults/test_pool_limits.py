"""Time limits: the clock is the call's own, it is kept to, and a task may be told before it is ended."""

from __future__ import annotations

import pickle
import threading
import time
from concurrent.futures import CancelledError, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import MakePool
from tests.support import slow, tasks
from tests.support.fatal import hang, started
from tests.support.gates import DEADLINE, Gate
from workpool import Pool, Task, TimeLimitExceeded, Unsupported, WorkerLost

SHORT = 0.2  # seconds: limits that are to be passed
LONG = 600.0  # and one that is not


def overrun(error: BaseException | None, name: str, limit: float) -> TimeLimitExceeded:
    """See that an error tells which limit was passed, by what."""
    assert isinstance(error, TimeLimitExceeded)
    assert error.time_limit == limit
    assert name in str(error)
    return error


# --------------------------------------------------------------------------- the clock


@pytest.mark.parametrize("how", ["C code", "C code, deaf", "lock", "loop"])
def test_a_process_is_ended_whatever_it_does(pool: Pool, gate: Gate, how: str) -> None:
    """Also while C code holds the GIL, and with every signal blocked."""
    began = time.monotonic()
    task = pool.options(time_limit=SHORT).submit(hang, gate.path, how)
    overrun(task.exception(DEADLINE), "task 0 (hang)", SHORT)
    assert time.monotonic() - began >= SHORT
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_time_before_the_start_does_not_count(pool: Pool, gate: Gate) -> None:
    """Waiting in the queue, and in the pipe of a worker that is busy, is free."""
    holding = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    waiting = pool.options(time_limit=SHORT).submit(tasks.double, 2)
    with pytest.raises(TimeoutError):
        waiting.result(2 * SHORT)
    gate.open()
    assert (holding.result(DEADLINE), waiting.result(DEADLINE)) == (1, 4)


@pytest.mark.parametrize("backend", ["process", "thread"])
def test_each_item_has_the_limit_for_itself(make_pool: MakePool, backend: str) -> None:
    """A chunk whose items take longer than the limit together loses none of them."""
    pool = make_pool(1, backend=backend)
    limited = pool.options(time_limit=4 * SHORT)
    assert list(limited.map(slow.spin, [SHORT] * 6, chunksize=6)) == [SHORT] * 6
    outcomes = list(limited.map(slow.spin, [0.0, 60.0, 0.0], chunksize=3, return_exceptions=True))
    assert (outcomes[0], outcomes[2]) == (0.0, 0.0)
    late = outcomes[1]
    assert isinstance(late, TimeLimitExceeded)
    overrun(late, "item 1 of map(spin)", 4 * SHORT)


def test_tiny_items_that_become_slow_keep_their_limit(pool: Pool) -> None:
    """Items that proved tiny, and would run many at a time, still have a clock each."""
    limited = pool.options(time_limit=4 * SHORT)
    items = [0.0] * 2000 + [SHORT / 4] * 40
    assert list(limited.map(slow.spin, items, chunksize=len(items))) == items


def test_a_limit_that_is_kept_costs_nothing(pool: Pool) -> None:
    """The driver sleeps while a limited task runs: it does not look at the clock again and again."""
    limited = pool.options(time_limit=LONG)
    assert limited.submit(slow.spin, 0.0).result(DEADLINE) == 0.0
    first = slow.cpu_of_threads(pool.name)
    assert limited.submit(slow.spin, 2 * SHORT).result(DEADLINE) == 2 * SHORT
    assert slow.cpu_of_threads(pool.name) - first < SHORT / 2


def test_with_retries_each_attempt_has_the_whole_limit(pool: Pool, tmp_path: Path) -> None:
    """retry_on may name TimeLimitExceeded; the limit is each attempt's."""
    # Long enough for a new process to import the task's module, which counts as running.
    careful = pool.options(time_limit=5 * SHORT, retries=2, retry_on=TimeLimitExceeded)
    task = careful.submit(slow.slow_until, str(tmp_path / "starts"), 3)
    assert task.result(DEADLINE) == 3
    assert task.attempts == 3


# ----------------------------------------------------------------------- grace


@pytest.fixture
def kind(make_pool: MakePool) -> Pool:
    """Give a pool whose tasks are told first, and have all the time that a test has."""
    return loaded(make_pool(1, time_limit=SHORT, grace=LONG))


def loaded(pool: Pool) -> Pool:
    """Give the pool, whose worker has loaded what these tests run: that takes long on a busy machine."""
    patient = pool.options(time_limit=LONG)
    patient.submit(slow.pid).result(DEADLINE)
    patient.submit(tasks.double, 1).result(DEADLINE)
    return pool


@pytest.mark.parametrize("how", ["sleep", "lock", "socket", "loop"])
def test_a_task_may_tidy_up(kind: Pool, tmp_path: Path, how: str) -> None:
    """Past its limit TimeLimitExceeded is raised in it, also where it sleeps or waits; the worker lives on."""
    pid = kind.submit(slow.pid).result(DEADLINE)
    path = tmp_path / "words"
    task = kind.submit(slow.tidies_up, str(path), how)
    error = overrun(task.exception(DEADLINE), "(tidies_up)", SHORT)
    assert "it was told to end" in str(error)
    assert "tidies_up" in str(error.__cause__)
    assert started(path) == {"begin": 1, "tidy": 1}
    assert kind.submit(slow.pid).result(DEADLINE) == pid
    assert kind.stats().lost == 0


def test_an_item_may_tidy_up(kind: Pool, tmp_path: Path) -> None:
    """The same for one item of a chunk; its neighbours run in the same worker."""
    path = tmp_path / "words"
    outcomes = list(
        kind.map(
            partial(slow.tidies_up_at, str(path), 1),
            range(3),
            chunksize=3,
            return_exceptions=True,
        )
    )
    assert (outcomes[0], outcomes[2]) == (0, 2)
    late = outcomes[1]
    assert isinstance(late, TimeLimitExceeded)
    overrun(late, "item 1 of map(tidies_up_at)", SHORT)
    assert started(path) == {"begin": 1, "tidy": 1}
    assert kind.stats().lost == 0


def test_a_task_that_swallows_it_has_failed_all_the_same(kind: Pool) -> None:
    """What it returns after the warning is no result; what it raises then is noted."""
    overrun(kind.submit(slow.swallows, None).exception(DEADLINE), "(swallows)", SHORT)
    error = overrun(
        kind.submit(slow.swallows, KeyError("k")).exception(DEADLINE), "(swallows)", SHORT
    )
    assert "KeyError: 'k'" in error.__notes__[0]
    assert kind.stats().lost == 0


@pytest.mark.parametrize("how", ["C code", "C code, deaf", "lock"])
def test_after_its_grace_the_worker_is_ended(make_pool: MakePool, gate: Gate, how: str) -> None:
    """A task that cannot hear, or goes on regardless, loses its worker when its grace is over."""
    pool = loaded(make_pool(1, time_limit=SHORT, grace=SHORT))
    began = time.monotonic()
    goes_on = pool.submit(slow.goes_on, gate.path, how)
    error = overrun(goes_on.exception(DEADLINE), "task 2 (goes_on)", SHORT)
    assert time.monotonic() - began >= 2 * SHORT
    assert f"grace: {SHORT} s" in str(error)
    assert "ended and replaced" in str(error)
    assert pool.options(time_limit=LONG).submit(tasks.double, 1).result(DEADLINE) == 2
    assert pool.stats().lost == 1


def test_a_warning_is_for_one_call_only(kind: Pool) -> None:
    """Whatever comes right after a task that was warned, or ended just in time, is left alone."""
    for seconds in (SHORT * 0.98, SHORT, SHORT * 1.02):
        tasks_ = [kind.submit(slow.naps, seconds)]
        tasks_ += [kind.options(time_limit=LONG).submit(tasks.double, n) for n in range(50)]
        assert [task.result(DEADLINE) for task in tasks_[1:]] == [2 * n for n in range(50)]
        assert tasks_[0].exception(DEADLINE) is None or tasks_[0].exception() is not None
    assert kind.stats().lost == 0


def test_grace_is_refused_where_it_cannot_be_kept(make_pool: MakePool) -> None:
    """By threads, which hear no exception while they wait; and without a limit before it."""
    with pytest.raises(Unsupported, match=r"grace=1\.0 cannot be kept with backend='thread'"):
        Pool(1, backend="thread", time_limit=1.0, grace=1.0)
    pool = make_pool(1)
    with pytest.raises(ValueError, match=r"grace=1\.0 .*time_limit"):
        pool.options(grace=1.0)
    with pytest.raises(ValueError, match="grace must be 0"):
        pool.options(time_limit=1.0, grace=-1.0)
    with pytest.raises(TypeError, match="grace"):
        pool.options(time_limit=1.0, grace="1")  # type: ignore[arg-type]  # on purpose
    assert pool.options(time_limit=LONG, grace=0.0).submit(tasks.double, 1).result(DEADLINE) == 2
    make_pool(1, backend="thread", time_limit=LONG, grace=0.0)


def test_the_error_survives_pickling(kind: Pool) -> None:
    """Limit and task are still there."""
    error = kind.submit(slow.swallows, None).exception(DEADLINE)
    again = pickle.loads(pickle.dumps(error))
    assert (again.time_limit, again.task, str(again)) == (SHORT, "swallows", str(error))


# ------------------------------------------------- a thread that runs one task in another


@pytest.mark.parametrize("as_item", [False, True], ids=["task", "item"])
@pytest.mark.parametrize("end", ["limit", "kill inner", "kill outer", "kill pool"])
def test_what_is_given_up_takes_along_what_waits_for_it_in_the_same_thread(
    make_pool: MakePool, end: str, as_item: bool
) -> None:
    """All that ran one inside another in a thread that is written off is told, and nothing stays pending.

    One with a limit of its own runs in another thread: it fails, and the one that waits hears of it.
    """
    pool = make_pool(1, backend="thread")
    inner: list[Task[int]] = []
    running = threading.Event()
    fn = partial(slow.waits_for_inner, pool, inner, running, SHORT if end == "limit" else None)
    outer = None if as_item else pool.submit(fn, 1)
    results = pool.map(fn, [1, 2], chunksize=2) if as_item else None
    assert running.wait(DEADLINE)
    if end == "kill inner":
        assert inner[0].cancel(kill=True)
    elif end == "kill outer" and outer is not None:
        assert outer.cancel(kill=True)
    elif end != "limit":
        pool.kill()
    if outer is not None:
        error = CancelledError() if outer.cancelled() else outer.exception(DEADLINE)
        expected: Any = CancelledError if end == "kill outer" else (WorkerLost, TimeLimitExceeded)
        assert isinstance(error, expected)
    else:
        assert results is not None
        with pytest.raises(TimeLimitExceeded if end == "limit" else (WorkerLost, CancelledError)):
            list(results)
    assert wait(inner, DEADLINE).not_done == set()
    pool.join(DEADLINE)
    if end != "kill pool" and not (as_item and end == "kill outer"):
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_a_warning_is_heard_by_a_task_that_has_not_begun_its_function(kind: Pool) -> None:
    """Its clock runs while its arguments are unpickled; when the limit is over by then, so is the task."""
    error = kind.submit(slow.swallows, slow.SlowToLoad(2 * SHORT)).exception(DEADLINE)
    overrun(error, "(swallows)", SHORT)
