"""The queue between interpreters of one process: each marks what it took, and what an ended one had can be told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate, stop
from tests.support.queues import until
from workpool import Pool, Queue, Semaphore, WorkerLost
from workpool._compat import has_interpreters

pytestmark = [
    pytest.mark.skipif(not has_interpreters(), reason="this Python has no concurrent.interpreters"),
    pytest.mark.skipif(
        bool(os.environ.get("WORKPOOL_RECORD_LOCKS")), reason="tasks are refused record locks"
    ),
]


@pytest.fixture
def pool() -> Iterator[Pool]:
    """Give a pool of two interpreters."""
    with Pool(2, backend="interpreter") as made:
        yield made


def take(queue: Queue[Any], gate: str) -> None:
    queue.get(timeout=DEADLINE)
    stop(gate)


def mark(queue: Queue[Any], gate: str) -> None:
    stop(gate)
    queue.task_done()


def mark_one_too_many(queue: Queue[Any]) -> str:
    try:
        queue.task_done()
    except ValueError as error:
        return str(error)
    return "marked"


def take_and_end(queue: Queue[Any], semaphore: Semaphore) -> None:
    queue.get(timeout=DEADLINE)
    assert semaphore.acquire(timeout=DEADLINE)


def abandoned(queue: Queue[Any]) -> dict[int, int]:
    return queue.abandoned()


def test_each_marks_its_own_in_a_later_task(pool: Pool) -> None:
    """Two that took one item each mark both, and join ends."""
    queue: Queue[str] = pool.queue()
    for item in ("a", "b"):
        queue.put(item)
    for call in (take, mark):
        with Gate() as gate:  # both are in the call at once, so it is each one's turn
            tasks = [pool.submit(call, queue, gate.path) for _ in range(2)]
            gate.arrivals(2)
            gate.open()
            for task in tasks:
                task.result(DEADLINE)
    queue.join(timeout=0)


def test_what_another_took_is_not_to_be_marked(pool: Pool) -> None:
    """A task_done too many is refused, though another interpreter has an item in hand."""
    queue: Queue[str] = pool.queue()
    queue.put("a")
    with Gate() as gate:
        holding = pool.submit(take, queue, gate.path)
        gate.arrival()
        assert "called too often" in pool.submit(mark_one_too_many, queue).result(DEADLINE)
        assert "called too often" in mark_one_too_many(queue)
        assert queue.unfinished == 1
        assert queue.abandoned() == {}  # it is there still
        gate.open()
        holding.result(DEADLINE)


def test_what_an_ended_one_had_is_told_and_can_be_taken_over() -> None:
    """Its process lives on; all the same the item is abandoned, for other processes too, and its permit free."""
    with (
        Pool(1, backend="interpreter", max_tasks_per_worker=1) as pool,
        Pool(1, backend="process") as others,
    ):
        queue: Queue[str] = pool.queue()
        semaphore = pool.semaphore(1)
        queue.put("a")
        pool.submit(take_and_end, queue, semaphore).result(DEADLINE)
        until(lambda: queue.abandoned() == {os.getpid(): 1})
        assert others.submit(abandoned, queue).result(DEADLINE) == {os.getpid(): 1}
        with pytest.raises(WorkerLost):
            queue.join(DEADLINE)
        assert list(queue.reclaim()) == ["a"]
        assert queue.abandoned() == {}
        queue.task_done()
        queue.join(timeout=0)
        assert semaphore.acquire(timeout=DEADLINE)
