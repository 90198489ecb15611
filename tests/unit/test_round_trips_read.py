"""Who waits for a result reads it from the worker process; the driver is woken when somebody else wants to know."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Generator
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, stop
from tests.support.queues import until
from workpool import Pool, Task
from workpool.ipc import watch
from workpool.ipc.watch import Watch

pytestmark = pytest.mark.skipif(not watch.CAN_SHARE, reason="the driver alone can read here")


@pytest.fixture
def wakes(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Give what drivers were woken for so far. No alarm rings while a test runs."""
    woken: list[set[int]] = []
    wait = Watch.wait

    def told(self: Watch, seconds: float | None, **more: Any) -> set[int]:
        ready = wait(self, seconds, **more)
        woken.append(ready)
        return ready

    monkeypatch.setattr(watch, "REST", 1_000.0)
    monkeypatch.setattr(Watch, "wait", told)
    return woken


@pytest.fixture
def pool(wakes: list[set[int]]) -> Generator[Pool]:
    """Give a pool of one worker, the results of which are read by who waits for them."""
    del wakes
    with Pool(1, backend="process") as pool:
        worker: Any = pool.submit(tasks.double, 1).result(DEADLINE) and pool._scheduler.workers[0]
        until(
            lambda: (
                pool.submit(tasks.double, 1).result(DEADLINE) == 2 and worker._watch.resting >= 0
            )
        )
        yield pool


def test_the_driver_sleeps_through_round_trips(pool: Pool, wakes: list[set[int]]) -> None:
    """Calls that somebody waits for, one after the other, wake no other thread."""

    def undisturbed() -> bool:
        before = len(wakes)
        for number in range(100):
            assert pool.submit(tasks.double, number).result(DEADLINE) == 2 * number
        return len(wakes) == before

    until(undisturbed)  # it may be awake still when this begins


def test_callbacks_are_called_without_a_wait(pool: Pool) -> None:
    """Who asks to be called when a task is done is."""
    called = threading.Event()
    pool.submit(tasks.double, 1).add_done_callback(lambda _: called.set())
    assert called.wait(DEADLINE)


@pytest.mark.parametrize("way", ["wait", "as_completed", "await", "join", "shutdown", "map"])
def test_every_way_of_waiting_hears(pool: Pool, way: str) -> None:
    """Waits of every kind end with the task, though nobody reads its result meanwhile."""
    with Gate() as gate:
        task = pool.submit(stop, gate.path, 1)
        gate.arrival()
        waiting = threading.Thread(target=_wait_in, args=(way, pool, task), daemon=True)
        waiting.start()
        gate.open()
        waiting.join(DEADLINE)
        assert not waiting.is_alive()
        assert task.done()


def _wait_in(way: str, pool: Pool, task: Task[None]) -> None:
    match way:
        case "wait":
            concurrent.futures.wait([task])
        case "as_completed":
            assert list(concurrent.futures.as_completed([task])) == [task]
        case "await":
            asyncio.run(_await(task))
        case "join":
            pool.join()
        case "shutdown":
            pool.shutdown()
        case _:
            assert list(pool.map(tasks.double, range(100))) == list(range(0, 200, 2))


async def _await(task: Task[None]) -> None:
    await task


@pytest.mark.parametrize("follow", ["submit", "map"])
def test_what_is_queued_behind_a_task_follows_it(pool: Pool, follow: str) -> None:
    """The worker is given the next one when a task is done that nobody waits for."""
    with Gate() as gate, Gate() as second:
        pool.submit(stop, gate.path, 1)
        gate.arrival()
        if follow == "submit":
            pool.submit(tasks.report, second.path, 2)
        else:
            pool.map(tasks.reporting(second.path), [2])
        gate.open()
        assert second.arrival() == "2"


def test_another_worker_s_result_is_heard(wakes: list[set[int]]) -> None:
    """Two tasks with two workers, and a third behind them: nobody waits, and all are done."""
    del wakes
    with Pool(2, backend="process") as pool:
        for _ in range(20):
            first = [pool.submit(tasks.double, number) for number in range(2)]
            assert [task.result(DEADLINE) for task in first] == [0, 2]
        called = threading.Event()
        for number in range(50):
            pool.submit(tasks.double, number)
        pool.submit(tasks.double, 1).add_done_callback(lambda _: called.set())
        assert called.wait(DEADLINE)


def test_a_wait_that_is_given_up_leaves_the_driver_listening(pool: Pool) -> None:
    """After a timeout of result() the task's end is noticed by itself."""
    with Gate() as gate:
        task = pool.submit(stop, gate.path, 1)
        gate.arrival()
        with pytest.raises(TimeoutError):
            task.result(0.01)
        gate.open()
        until(task.done)


def test_a_task_that_nobody_asks_for_is_done_soon() -> None:
    """The alarm sees to it that a result is noticed that somebody only looks for."""
    with Pool(1, backend="process") as pool:
        for _ in range(20):
            pool.submit(tasks.double, 1).result(DEADLINE)
            task = pool.submit(tasks.double, 2)
            until(task.done)


def test_a_death_is_noticed_though_nobody_reads(pool: Pool) -> None:
    """A worker that ends while its results are left out ends its task."""
    called = threading.Event()
    with Gate() as gate:
        task = pool.submit(stop, gate.path, 1)
        gate.arrival()
        worker: Any = pool._scheduler.workers[0]
        task.add_done_callback(lambda _: called.set())
        worker._handle.kill()
        assert called.wait(DEADLINE)
    assert "SIGKILL" in str(task.exception(0))
