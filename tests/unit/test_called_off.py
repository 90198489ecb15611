"""What is on its way back from a worker when all that has not begun is cancelled: it never begins."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from tests.support.on_the_way import stopped_before
from workpool import Pool


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one process, which is there."""
    with Pool(1, backend="process") as made:
        made.submit(tasks.double, 1).result(DEADLINE)
        yield made


@pytest.fixture
def gate(pool: Pool) -> Generator[Gate]:
    """Give a gate, which is opened before the pool ends."""
    del pool
    with Gate() as made:
        yield made


def test_items_that_come_back_never_begin(pool: Pool, gate: Gate) -> None:
    """They were recalled from behind one that takes long; that one sees that it is not wanted."""
    told = partial(tasks.tell_if_cancelled, DEADLINE, gate.path)
    with stopped_before(pool._scheduler.workers[0], "_answered") as answer:
        results = pool.map(told, range(6), chunksize=6)
        assert gate.arrival() == "begun"
        answer.arrival()
        pool.shutdown(wait=False, cancel_futures=True)
    pool.join(DEADLINE)
    assert gate.waiting() == ["told True"]
    assert pool.unfinished == 0
    with pytest.raises(CancelledError):
        next(results)


def test_tasks_that_come_back_are_cancelled(pool: Pool, gate: Gate) -> None:
    """As those are that were queued."""
    with Gate() as opened:
        opened.open()
        for _ in range(20):  # known to be short, they travel together
            pool.submit(tasks.hold, opened.path, 0).result(DEADLINE)
    pool.join(DEADLINE)
    worker: Any = pool._scheduler.workers[0]
    with stopped_before(worker, "_answered") as answer:
        with worker._turn:  # so that they gather
            first, *others = [pool.submit(tasks.hold, gate.path, n, n) for n in range(3)]
        worker.wake()
        assert gate.arrival() == "0"
        answer.arrival()
        pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert first.result(DEADLINE) == 0
    pool.join(DEADLINE)
    assert [task.cancelled() for task in others] == [True, True]
    assert pool.unfinished == 0
