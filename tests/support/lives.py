"""A look behind a pool: what it knows of its worker processes."""

from __future__ import annotations

from workpool import Pool
from workpool.backends.process.driver import ProcessWorker
from workpool.ipc.launch import WorkerHandle

__all__ = ["handle_of", "life_of"]


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
