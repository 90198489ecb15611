"""A look behind a pool: what it knows of its worker processes."""

from __future__ import annotations

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import Pool
from workpool.backends.process.driver import ProcessWorker
from workpool.ipc.launch import WorkerHandle

__all__ = ["both_work", "handle_of", "life_of"]


def life_of(pool: Pool, index: int = 0) -> ProcessWorker:
    """Give what the pool knows of a worker process."""
    found = pool._scheduler.workers[index]
    assert isinstance(found, ProcessWorker)
    return found


def handle_of(pool: Pool, index: int = 0) -> WorkerHandle:
    """Give the pool's ends of a worker process that is alive."""
    handle = life_of(pool, index)._handle
    assert handle is not None
    return handle


def both_work(pool: Pool) -> None:
    """Have each of two workers run a task, at the same time."""
    with Gate() as both:
        pair = [pool.submit(tasks.hold, both.path, 0) for _ in range(2)]
        both.arrivals(2)
    assert [each.result(DEADLINE) for each in pair] == [0, 0]
