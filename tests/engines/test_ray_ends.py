"""How actors of a pool on Ray end: each leaves its context, and has its time for that."""

from __future__ import annotations

import logging
from functools import partial

import pytest

from tests.engines.conftest import MakePool
from tests.engines.jobs import WAIT, failing_at_its_end, stopping_at_its_end
from tests.support import tasks
from tests.support.engines import BOX
from tests.support.gates import Gate, in_background

pytestmark = pytest.mark.timeout(180)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "workpool"]


def test_an_actor_that_does_not_leave_gives_back_what_it_holds(
    make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is replaced while the pool works is killed after end_timeout: its successor may need its place."""
    context = partial(stopping_at_its_end, gate.path)
    pool = make_pool(1, worker_context=context, end_timeout=0.5, max_tasks_per_worker=1)
    boxed = pool.options(resources={BOX: 1})  # there is one
    both = [boxed.submit(tasks.double, n) for n in (1, 2)]
    assert [task.result(WAIT) for task in both] == [2, 4]
    assert "was to leave worker 0 and has not within end_timeout=0.5 s" in said(caplog)[0]


def test_a_context_that_is_not_left_holds_up_no_shutdown(
    make_pool: MakePool, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """After end_timeout its actor is killed, and that is logged."""
    context = partial(stopping_at_its_end, gate.path)
    pool = make_pool(1, worker_context=context, end_timeout=0.5)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2
    in_background(pool.shutdown).result(WAIT)
    assert gate.arrival(WAIT) == "leaving"
    (warning,) = said(caplog)
    assert f"worker_context of {pool.name} was to leave worker 0" in warning
    assert "end_timeout=0.5 s" in warning


def test_a_kill_ends_the_wait_for_a_context(make_pool: MakePool, gate: Gate) -> None:
    """Also where shutdown() would wait for ever."""
    context = partial(stopping_at_its_end, gate.path)
    pool = make_pool(1, worker_context=context, end_timeout=None)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2
    ending = in_background(pool.shutdown)
    assert gate.arrival(WAIT) == "leaving"
    in_background(pool.kill).result(WAIT)
    ending.result(WAIT)


def test_an_error_at_the_end_of_a_context_is_logged(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    """As of any worker; no task fails for it."""
    caplog.set_level(logging.ERROR, logger="workpool")
    pool = make_pool(1, worker_context=failing_at_its_end)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2
    pool.shutdown()
    (record,) = [record for record in caplog.records if record.name == "workpool"]
    assert record.getMessage() == f"worker_context of {pool.name} failed to leave worker 0"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
