"""Tasks that are cancelled on their way to a worker process, or with it and not begun."""

from __future__ import annotations

import time
from collections.abc import Generator
from concurrent.futures import CancelledError
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import Pool, Task
from workpool.ipc.serving import BACK


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


@pytest.fixture
def together() -> Generator[tuple[Pool, Gate, list[Task[bool]]]]:
    """Give three tasks that are with one worker: the first has begun, and stands at the gate."""
    with Gate() as opened, Gate() as gate, Pool(1, backend="process") as pool:
        opened.open()
        for _ in range(20):  # known to be short, they travel together
            assert not pool.submit(tasks.cancelled_within, 0.0, opened.path).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        with worker._turn:  # so that they gather
            sent = [pool.submit(tasks.cancelled_within, 0.0, gate.path, n) for n in range(3)]
        worker.wake()
        assert gate.arrival() == "0"
        yield pool, gate, sent


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


def test_a_task_that_waits_behind_another_in_a_worker_never_begins(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """It is taken back when it is cancelled; those around it are not affected."""
    pool, gate, (first, second, third) = together
    second.cancel()
    with pytest.raises(CancelledError):
        second.result(DEADLINE)
    assert not first.done()
    gate.open()
    pool.join(DEADLINE)
    assert (first.result(0), third.result(0)) == (False, False)


def test_to_kill_a_task_that_waits_behind_another_ends_nobody(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """cancel(kill=True) of what has not begun takes it back, and the worker goes on."""
    pool, gate, (first, second, third) = together
    assert second.cancel(kill=True)
    assert second.cancelled()
    gate.open()
    pool.join(DEADLINE)
    assert (first.result(0), third.result(0)) == (False, False)
    assert pool.stats().lost == 0


@pytest.mark.parametrize("which", [1, 2])
def test_a_callback_may_kill_what_travelled_with_its_task(
    together: tuple[Pool, Gate, list[Task[bool]]], which: int
) -> None:
    """It runs in the thread that would have to carry it out, and does not wait for itself."""
    pool, gate, (first, *others) = together
    doomed = others[which - 1]
    said: list[bool] = []
    first.add_done_callback(lambda _: said.append(doomed.cancel(kill=True)))
    gate.open()
    pool.join(DEADLINE)
    assert said == [False]
    # Asked for while it was behind, or when it had begun: it is cancelled, or was quicker.
    assert doomed.cancelled() or doomed.result(0) in (False, True)
    assert all(task.done() for task in others)
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_the_answer_to_a_recall_leaves_what_was_sent_since_to_be_recalled(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """A call that is sent between a recall and its answer does not wait for ever behind a slow one."""
    pool, gate, _ = together
    worker: Any = pool._scheduler.workers[0]
    later = time.monotonic() + 3600.0
    with worker._turn:
        begun, _ = worker._handle.journal.begun()
        worker._recall_at = later  # as it is set when a call is sent
        worker._take_in(worker._handle, [((BACK, begun, begun), memoryview(b""))])
        assert worker._recall_at == later
        worker._recall_at = None
    gate.open()
