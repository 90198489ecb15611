"""What nobody wants any more and has not begun over there: it sees that when it begins, or never begins."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.engines.conftest import MakePool
from tests.engines.jobs import WAIT, is_unwanted
from tests.support import tasks
from tests.support.engines import BOX
from tests.support.gates import Gate, in_background, stop
from tests.support.queues import until
from workpool import Pool

pytestmark = pytest.mark.timeout(180)

Settings = dict[str, Any]


@contextmanager
def telling(pool: Pool) -> Generator[threading.Event]:
    """Give what is set when the workers of a pool on Dask have been told something of an order."""
    backend: Any = pool._backend
    engine, told = backend.engine, threading.Event()
    tell = engine._tell

    async def tell_and_say(*args: Any) -> Any:
        answers = await tell(*args)
        told.set()
        return answers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_tell", tell_and_say)
        yield told


def there(pool: Pool) -> bool:
    """Tell whether Dask's scheduler knows of an order of a pool, which no worker has."""
    backend: Any = pool._backend
    client, token = backend.engine._client, backend.engine._token

    def waits(dask_scheduler: Any) -> bool:
        found = [task for key, task in dask_scheduler.tasks.items() if token in str(key)]
        return any(task.state in ("no-worker", "queued") for task in found)

    return bool(client.run_on_scheduler(waits))


def test_a_task_cancelled_during_the_initializer_sees_it(shared: Settings) -> None:
    """It is with a worker that still sets itself up for the pool, and begins there afterwards."""
    with Gate() as gate:
        setup = partial(stop, gate.path, "entering", WAIT)
        with Pool(1, **shared, initializer=setup) as pool, telling(pool) as told:
            task = pool.submit(is_unwanted)
            gate.arrival(WAIT)
            assert not task.cancel()
            assert told.wait(WAIT)
            gate.open()
            assert task.result(WAIT)


def test_a_task_behind_those_of_others_sees_it(shared: Settings) -> None:
    """It waits at a worker for its turn when the pool is shut down."""
    distributed: Any = pytest.importorskip("distributed")
    with (
        distributed.Client(shared["address"], set_as_default=False) as client,
        Gate() as gate,
    ):
        everywhere = list(client.scheduler_info(n_workers=-1)["workers"])
        others = [
            client.submit(stop, gate.path, n, WAIT, workers=[where], pure=False)
            for n, where in enumerate(everywhere)
        ]
        gate.arrivals(len(others), WAIT)
        with Pool(1, **shared) as pool, telling(pool) as told:
            task = pool.submit(is_unwanted)
            until(task.running)
            ending = in_background(pool.shutdown, cancel_futures=True)
            assert told.wait(WAIT)
            gate.open()
            ending.result(WAIT)
            assert task.result(0)


def test_what_no_worker_has_is_cancelled(shared: Settings) -> None:
    """Dask's scheduler keeps it for want of a worker: dropped there, cancelled here, and the pool goes on."""
    with Pool(1, **shared) as pool:
        task = pool.options(resources={"MOON": 1}).submit(tasks.double, 1)
        until(lambda: there(pool))
        assert not task.cancel()
        with pytest.raises(CancelledError):
            task.result(WAIT)
        assert task.attempts == 0
        assert pool.submit(tasks.double, 2).result(WAIT) == 4


@pytest.mark.parametrize("kind", ["task", "map"])
def test_what_no_worker_has_holds_up_no_shutdown(shared: Settings, kind: str) -> None:
    """shutdown(cancel_futures=True) cancels what has not begun, wherever it waits."""
    pool = Pool(1, **shared)
    view = pool.options(resources={"MOON": 1})
    future = view.submit(tasks.double, 1) if kind == "task" else None
    results = view.map(tasks.double, range(3), chunksize=3) if kind == "map" else None
    until(lambda: there(pool))
    in_background(pool.shutdown, cancel_futures=True).result(WAIT)
    if future is not None:
        assert future.cancelled()
    else:
        with pytest.raises(CancelledError):
            list(results or ())


def test_what_is_told_before_the_task_is_there_counts(shared: Settings) -> None:
    """Dask's scheduler may hear that nobody wants a task before it hears of the task."""
    with Pool(1, **shared) as pool, Gate() as gate:
        backend: Any = pool._backend
        client = backend.engine._client
        update = client.run_on_scheduler(_held_update, gate.path, WAIT)
        assert update is None
        task = pool.options(resources={"MOON": 1}).submit(tasks.double, 1)
        gate.arrival(WAIT)
        with telling(pool) as told:
            task.cancel()
            assert told.wait(WAIT)
        gate.open()
        with pytest.raises(CancelledError):
            task.result(WAIT)


def _held_update(gate: str, timeout: float, *, dask_scheduler: Any) -> None:
    """Have the scheduler take in the next tasks only when a gate is opened."""
    import asyncio

    handlers = dask_scheduler.stream_handlers
    update = handlers["update-graph"]

    async def wait_and_update(*args: Any, **kwargs: Any) -> None:
        handlers["update-graph"] = update
        await asyncio.to_thread(stop, gate, "here", timeout)
        await update(*args, **kwargs)

    handlers["update-graph"] = wait_and_update


# ---------------------------------------------------------------------------------- Ray


def test_what_waits_for_its_actor_is_cancelled(make_pool: MakePool, gate: Gate) -> None:
    """Another has the one resource of that name; the pool goes on, and ends, without having had it."""
    holder, pool = make_pool(1), make_pool(1)
    held = holder.options(resources={BOX: 1}).submit(tasks.hold, gate.path, 1)
    gate.arrival(WAIT)
    boxed = pool.options(resources={BOX: 1})
    first = boxed.submit(tasks.double, 1)
    until(first.running)
    assert not first.cancel()
    with pytest.raises(CancelledError):
        first.result(WAIT)
    assert pool.submit(tasks.double, 2).result(WAIT) == 4
    second = boxed.submit(tasks.double, 1)
    until(second.running)
    second.cancel()
    third = boxed.submit(tasks.double, 3)  # may find the actor of the second still in line
    gate.open()
    assert held.result(WAIT) == 1
    in_background(holder.shutdown).result(WAIT)
    assert third.result(WAIT) == 6
    assert second.cancelled()
