"""Tasks that are cancelled on their way to a worker process, or with it and not begun."""

from __future__ import annotations

from typing import Any

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import Pool


def test_a_task_cancelled_on_its_way_to_a_process_does_not_run() -> None:
    """What its worker has not been sent yet is cancelled, though it counted as running."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        with worker._turn:  # neither this thread nor the driver can send
            task = pool.submit(tasks.report, gate.path, 1)
            assert task.running()
            assert not task.cancel()
        worker.wake()
        pool.join(DEADLINE)
        assert task.cancelled()
        assert gate.waiting() == []
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_each_of_several_tasks_that_travel_together_is_told() -> None:
    """Tasks of one frame that are all cancelled all see it: the one that runs, and those behind it."""
    with Gate() as opened, Gate() as gate, Pool(1, backend="process") as pool:
        opened.open()
        for _ in range(20):  # known to be short, they travel together
            assert not pool.submit(tasks.cancelled_within, 0.0, opened.path).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        with worker._turn:  # so that they gather
            sent = [pool.submit(tasks.cancelled_within, DEADLINE, gate.path) for _ in range(3)]
        worker.wake()
        gate.arrival()
        told = [task.cancel() for task in sent]
        gate.open()
        pool.join(DEADLINE)
        assert sent[0].result(0)
        assert all(task.cancelled() or task.result(0) for task in sent[1:])
        assert told[0] is False
