"""A worker that was told to leave and does not end: nobody waits for it for ever, nor does its successor."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.lingering import leave_child, leave_thread, lingering_context
from tests.support.lives import life_of
from tests.support.queues import until
from workpool import Pool

pytestmark = pytest.mark.heavy

SHORT = 0.5  # seconds


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


LEFT_BEHIND = pytest.mark.parametrize("leave", [leave_thread, leave_child])


@LEFT_BEHIND
def test_a_successor_does_not_wait_for_what_a_task_left_behind(
    make_pool: MakePool, gate: Gate, leave: Callable[[str], int]
) -> None:
    """The next task runs in another process; the old one ends when it can, and in order."""
    pool = make_pool(1, max_tasks_per_worker=1)
    pid = pool.submit(leave, gate.path).result(DEADLINE)
    assert pool.submit(os.getpid).result(DEADLINE) != pid
    assert is_alive(pid)
    gate.open()
    until(lambda: not is_alive(pid))
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    in_background(pool.shutdown).result()
    assert pool.stats().lost == 0


@LEFT_BEHIND
def test_the_end_of_a_pool_does_not_wait_for_it_for_ever(
    make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture, leave: Callable[[str], int]
) -> None:
    """After end_timeout the worker is killed, with what it left, and a warning says where it stood."""
    pool = make_pool(1, end_timeout=SHORT)
    pid = pool.submit(leave, gate.path).result(DEADLINE)
    gate.arrival()
    in_background(pool.shutdown).result()
    assert not is_alive(pid)
    [warning] = caplog.messages
    assert f"within end_timeout={SHORT} s" in warning
    assert ("in linger\n" if leave is leave_thread else "in _exit_function\n") in warning


def test_a_context_that_is_not_left_does_not_hold_up_the_pool(
    make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """What waits runs in the next worker; that one does not begin while the old one may need what both do."""
    context = lingering_context(gate.path)
    pool = make_pool(1, max_tasks_per_worker=1, end_timeout=SHORT, worker_context=context)
    pid = pool.submit(os.getpid).result(DEADLINE)
    assert gate.arrivals(2) == ["enter", "leave"]
    assert is_alive(pid)
    assert pool.submit(os.getpid).result(DEADLINE) != pid
    assert not is_alive(pid)
    assert gate.arrivals(2) == ["enter", "leave"]
    in_background(pool.shutdown).result()
    assert all("in _linger\n" in message for message in caplog.messages)
    assert len(caplog.messages) == 2


def test_one_at_a_time_ends_beside_its_successor(make_pool: MakePool, gate: Gate) -> None:
    """Processes that do not end do not pile up: the third begins when the first has gone."""
    pool = make_pool(1, max_tasks_per_worker=1, end_timeout=None)
    first = pool.submit(leave_thread, gate.path)
    second = pool.submit(leave_thread, gate.path)
    pids = [each.result(DEADLINE) for each in (first, second)]
    life = life_of(pool)
    until(lambda: life._left_at is not None)
    third = pool.submit(os.getpid)
    assert not life._may_go_on()
    assert all(map(is_alive, pids))
    gate.open()
    assert third.result(DEADLINE) not in pids


def test_without_a_limit_it_has_all_the_time_it_needs(make_pool: MakePool, gate: Gate) -> None:
    """end_timeout=None waits for what was left behind, as concurrent.futures does."""
    pool = make_pool(1, end_timeout=None)
    pid = pool.submit(leave_thread, gate.path).result(DEADLINE)
    gate.arrival()
    life = life_of(pool)
    ending = in_background(pool.shutdown)
    until(lambda: life._left_at is not None)
    assert not ending.ended
    assert life._end_due(None) is None
    gate.open()
    ending.result()
    assert not is_alive(pid)
    assert pool.stats().lost == 0


def with_leaver(pool: Pool, gate: Gate, word: str = "") -> int:
    """Have a worker end beside its successor; gives its pid."""
    pid: int = pool.submit(leave_thread, gate.path, word).result(DEADLINE)
    gate.arrival()
    assert pool.submit(os.getpid).result(DEADLINE) != pid
    return pid


@pytest.mark.parametrize("runs", [False, True], ids=["at the end", "while others run"])
def test_a_kill_ends_it_too(make_pool: MakePool, gate: Gate, runs: bool) -> None:
    """kill() waits for neither."""
    pool = make_pool(1, max_tasks_per_worker=2, end_timeout=None)
    pool.submit(tasks.double, 1).result(DEADLINE)
    pid = with_leaver(pool, gate)
    if runs:
        with Gate() as second:
            pool.submit(tasks.hold, second.path, 1)
            second.arrival()
            in_background(pool.kill).result()
    else:
        ending = in_background(pool.shutdown)
        until(lambda: life_of(pool)._handle is None)
        in_background(pool.kill).result()
        ending.result()
    assert not is_alive(pid)


def test_one_that_dies_there_is_counted(make_pool: MakePool, gate: Gate) -> None:
    """As the death of any worker; no task is charged."""
    pool = make_pool(1, max_tasks_per_worker=1)
    pid = with_leaver(pool, gate)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pool.stats().lost == 1)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    assert pool.stats().failed == 0


def test_what_it_logs_there_is_heard(
    make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """Its records come as long as it lives."""
    pool = make_pool(1, max_tasks_per_worker=1, logs=True)
    pid = with_leaver(pool, gate, "my last word")
    gate.open()
    until(lambda: not is_alive(pid))
    in_background(pool.shutdown).result()
    assert [each.levelno for each in caplog.records if each.message == "my last word"] == [
        logging.WARNING
    ]
