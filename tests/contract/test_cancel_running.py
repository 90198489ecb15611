"""cancel() of tasks that are with a worker already: each of them comes to know of it, or never begins."""

from __future__ import annotations

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import Pool


@pytest.mark.needs("own_threads")
def test_a_task_that_waited_for_another_still_sees_that_it_is_cancelled(
    make_pool: MakePool, gate: Gate
) -> None:
    """What a task ran meanwhile, in its own thread, does not hide that it was cancelled itself."""
    pool = make_pool(1)
    task = pool.submit(tasks.cancelled_after_another, pool, gate.path)
    gate.arrival()
    assert not task.cancel()
    gate.open()
    assert task.result(DEADLINE)


@pytest.mark.needs("concurrent")
def test_a_cancelled_task_is_not_tried_again(pool: Pool, gate: Gate) -> None:
    """A task that is cancelled while it runs, and fails, has had its last attempt."""
    view = pool.options(retries=3, retry_on=LookupError)
    task = view.submit(tasks.hold_or_fail, gate.path, LookupError("first"))
    gate.arrival()
    assert not task.cancel()
    gate.open()
    with pytest.raises(LookupError, match="first"):
        task.result(DEADLINE)
    assert task.attempts == 1
