"""Keeping all workers of a pool busy, so that what is submitted meanwhile stays in the queue; or a lock taken."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, Running, in_background
from tests.support.tasks import hold
from workpool import Pool, Task

__all__ = ["held_elsewhere", "workers_busy"]


@contextmanager
def workers_busy(pool: Pool, kind: Kind) -> Generator[Gate]:
    """Hold every worker at a gate, until the block ends or the gate is opened.

    The submits are made in threads of their own: with a backend that runs tasks
    in the caller's thread it is that thread which is held, and which runs what
    was queued when the gate is opened.
    """
    count = pool._max_workers if kind.can("concurrent") else 1
    with Gate() as gate:
        submits: list[Running[Task[int]]] = []
        for n in range(count):
            submits.append(in_background(pool.submit, hold, gate.path, n))
            gate.arrival()
        yield gate
    for submit in submits:
        submit.result()


@contextmanager
def held_elsewhere(lock: Any) -> Generator[None]:
    """Have another thread hold a lock."""
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            let_go.wait(DEADLINE)

    holding = in_background(hold)
    assert held.wait(DEADLINE)
    try:
        yield
    finally:
        let_go.set()
        holding.result()
