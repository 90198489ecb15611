"""How workers of Dask begin for a pool: with a cluster to itself before any task, among others with the first one."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.engines.jobs import WAIT, wait_for_ever
from tests.support import tasks
from tests.support.gates import Gate, in_background, say, stop
from tests.support.queues import until
from workpool import InitializerFailed, Pool, WorkerLost
from workpool.backends.dask import lookout

pytestmark = pytest.mark.timeout(180)

Settings = dict[str, Any]


@contextmanager
def _told(gate: str, outside: str) -> Generator[None]:
    """Stop at a gate before a worker is ready, and say at another when it is left."""
    stop(gate, "entering", WAIT)
    yield
    say(outside, "left")


def _there(pool: Pool) -> list[str]:
    """List the orders of pools that Dask's scheduler knows of."""
    backend: Any = pool._backend
    client: Any = backend.engine._client

    def orders(dask_scheduler: Any) -> list[str]:
        return [key for key in dask_scheduler.tasks if "-workpool-" in str(key)]

    found: list[str] = client.run_on_scheduler(orders)
    return found


def test_the_time_limit_of_a_task_is_its_own(dask_settings: Settings) -> None:
    """On a cluster to itself the initializer is through before the clock of any task starts."""
    with Gate() as gate:
        setup = partial(stop, gate.path, "entering", WAIT)
        with Pool(1, **dask_settings, initializer=setup, time_limit=0.3) as pool:
            task = pool.submit(tasks.double, 2)
            gate.arrival(WAIT)
            assert not task.running()
            gate.open()
            assert task.result(WAIT) == 4


def test_an_initializer_that_hangs_fails_the_pool_and_frees_the_worker(
    dask_settings: Settings,
) -> None:
    """After start_timeout the worker is ended; the cluster is whole for the next pool."""
    pool = Pool(3, **dask_settings, initializer=wait_for_ever, start_timeout=2.0)
    error = pool.submit(tasks.double, 1).exception(WAIT)
    assert isinstance(error, InitializerFailed)
    assert "start_timeout of 2.0 s" in str(error)
    in_background(pool.shutdown).result(WAIT)
    with Pool(3, **dask_settings) as after:
        assert sorted(after.map(tasks.double, range(9))) == list(range(0, 18, 2))


@pytest.mark.parametrize("end", ["close", "kill"])
def test_a_pool_ends_while_its_workers_begin(dask_settings: Settings, end: str) -> None:
    """In order it waits for them, as for processes; killed it does not."""
    with Gate() as gate, Gate() as outside:
        context = partial(_told, gate.path, outside.path)
        pool = Pool(1, **dask_settings, worker_context=context)
        task = pool.submit(tasks.double, 1)
        gate.arrival(WAIT)
        if end == "kill":
            pool.kill()
            in_background(pool.shutdown).result(WAIT)
            assert task.cancelled() or isinstance(task.exception(0), WorkerLost)
        else:
            task.cancel()
            ending = in_background(pool.shutdown)
            gate.open()
            ending.result(WAIT)
            assert outside.waiting() == ["left"]


def test_an_initializer_that_hangs_among_others_fails_the_pool(shared: Settings) -> None:
    """The worker is not ended, for others use it; but nobody waits for it any longer."""
    with Gate() as gate:
        setup = partial(stop, gate.path, "entering", WAIT)
        pool = Pool(1, **shared, initializer=setup, start_timeout=1.0)
        task = pool.submit(tasks.double, 1)
        gate.arrival(WAIT)
        error = task.exception(WAIT)
        assert isinstance(error, InitializerFailed)
        assert "start_timeout of 1.0 s" in str(error)
        in_background(pool.shutdown).result(WAIT)


def test_a_task_that_takes_long_among_others_is_no_slow_start(shared: Settings) -> None:
    """Once the initializer is through, start_timeout is over, however long the first task takes."""
    looks = 0

    async def count(self: Any, slot: Any, flight: Any, timeout: float) -> None:
        nonlocal looks
        await at_the_start(self, slot, flight, timeout)
        looks += 1

    at_the_start = lookout.Lookout._at_the_start
    with pytest.MonkeyPatch.context() as patch, Gate() as gate:
        patch.setattr(lookout.Lookout, "_at_the_start", count)
        with Pool(1, **shared, initializer=tasks.initialize, start_timeout=0.5) as pool:
            task = pool.submit(tasks.hold, gate.path, 7)
            gate.arrival(WAIT)
            until(lambda: looks == 1)  # it was looked at, and found to run
            gate.open()
            assert task.result(WAIT) == 7


def test_a_pool_among_others_ends_while_a_worker_begins(shared: Settings) -> None:
    """It waits for no initializer over there, and what was begun is left when it has begun."""
    with Gate() as gate, Gate() as outside:
        context = partial(_told, gate.path, outside.path)
        pool = Pool(1, **shared, worker_context=context, start_timeout=None)
        task = pool.submit(tasks.double, 1)
        assert gate.arrival(WAIT) == "entering"
        pool.kill()
        in_background(pool.shutdown).result(WAIT)
        assert isinstance(task.exception(0), WorkerLost)
        gate.open()
        assert outside.arrival(WAIT) == "left"


def test_what_is_killed_among_others_is_dropped_by_dask(shared: Settings) -> None:
    """An order that waits for its turn over there is taken back."""
    distributed: Any = pytest.importorskip("distributed")
    settings = {name: value for name, value in shared.items() if name != "address"}
    with distributed.Client(shared["address"], set_as_default=False) as client:
        pool = Pool(1, **settings, client=client)
        task = pool.options(resources={"MOON": 1}).submit(tasks.double, 1)
        until(lambda: bool(_there(pool)))
        pool.kill()
        until(lambda: not _there(pool))
        assert task.done()
        in_background(pool.shutdown).result(WAIT)


def test_what_no_worker_has_is_said(
    shared: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that asks for what the cluster lacks waits for a worker that has it; that is logged, once."""
    monkeypatch.setattr(lookout, "_SAY", 0.2)
    caplog.set_level(logging.WARNING, logger="workpool")

    def said() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        return [message for message in messages if "MOON" in message]

    pool = Pool(2, **shared)
    for _ in range(2):
        pool.options(resources={"MOON": 1}).submit(tasks.double, 1)
    until(lambda: bool(said()))
    pool.submit(tasks.double, 1)
    assert len(said()) == 1
    assert "asks for 1 MOON, and no worker has that" in said()[0]
    pool.kill()
    in_background(pool.shutdown).result(WAIT)
