"""From one task to the next: a thread stores a result and takes what is next in one step."""

from __future__ import annotations

from typing import Any

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate
from workpool import Pool, Task


class _Listener:
    """Stands for the lock of a thread in ``result()``; notes how things are when that is woken."""

    def __init__(self, pool: Pool) -> None:
        self.scheduler: Any = pool._scheduler
        self.worker: Any = self.scheduler.workers[0]
        self.found: list[Any] = []

    def release(self) -> None:
        """Note what the worker has taken, whether it is idle, and what is left to do."""
        idle = self.worker in self.scheduler.idle
        self.found.append((self.worker.taken, idle, self.scheduler.ledger.unfinished))


def _listen(pool: Pool, task: Task[Any]) -> list[Any]:
    """Have a listener woken when the task is done."""
    listener = _Listener(pool)
    with task._lock:
        task._more().sleepers.append(listener)
    return listener.found


def test_who_waits_is_woken_when_the_worker_is_about_to_sleep() -> None:
    """Woken sooner, it would find the interpreter in use: the worker still has to become idle."""
    with Gate() as gate, Pool(1, backend="thread") as pool:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        found = _listen(pool, task)
        gate.open()
        pool.join(DEADLINE)
        assert pool.submit(tasks.double, 1).result(DEADLINE) == 2  # the listener has been there
        assert found == [(None, True, 0)]


def test_who_waits_is_woken_when_the_worker_has_its_next_task() -> None:
    """And not only when that one is done."""
    with Gate() as gate, Gate() as second, Pool(1, backend="thread") as pool:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        following = pool.submit(tasks.hold, second.path, 2)
        found = _listen(pool, task)
        gate.open()
        second.arrival()
        assert found == [(following, False, 1)]
        second.open()


def test_a_callback_runs_before_the_next_task_is_taken() -> None:
    """It may take long, or want that very task: another worker can have it meanwhile."""
    taken: list[tuple[Any, bool]] = []
    with Gate() as gate, Pool(1, backend="thread") as pool:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        following = pool.submit(tasks.double, 2)
        scheduler: Any = pool._scheduler

        def look(_: Task[Any]) -> None:
            taken.append((scheduler.queue.waiting, following.running()))

        task.add_done_callback(look)
        gate.open()
        assert following.result(DEADLINE) == 4
        assert taken == [(1, False)]


def test_a_worker_that_is_written_off_stores_and_takes_nothing() -> None:
    """Its task was settled from outside, while it ran: what comes out of it is dropped."""
    with Gate() as gate, Pool(1, backend="thread") as pool:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        following = pool.submit(tasks.double, 2)
        scheduler: Any = pool._scheduler
        worker = scheduler.workers[0]
        worker.written_off = True
        assert not scheduler.settle_and_take(worker, task, "late")
        assert worker.taken is None
        assert task.running()
        assert not following.running()
        worker.written_off = False
        gate.open()
        assert following.result(DEADLINE) == 4
