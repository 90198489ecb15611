"""What goes over a pool's one connection to Dask: nothing breaks it, and what is shared outlives its break."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import warnings
from typing import Any

import pytest

from tests.engines.jobs import WAIT, wait_for_ever
from tests.support import tasks
from tests.support.gates import Gate, in_background
from tests.support.queues import until
from workpool import Counter, Pool, SharedStateLost, WorkerLost, WorkerStartFailed, current

pytestmark = pytest.mark.timeout(180)

Settings = dict[str, Any]
ODD = "caf\udce9.txt"  # the name of a file whose bytes are no UTF-8, as os.listdir() gives it
LARGE = 11_000_000  # bytes, of which Dask warns


def named() -> str:
    name: str = current().task_name
    return name


def client_of(pool: Pool) -> Any:
    backend: Any = pool._backend
    return backend.engine._client


def refuse(*_: object, **__: object) -> None:
    raise KeyError


def break_connection(pool: Pool) -> None:
    """Break it, and wait until Dask's client has another."""
    client = client_of(pool)
    before = client.scheduler_comm
    client.loop.add_callback(before.comm.abort)
    until(lambda: client.status == "running" and client.scheduler_comm not in (None, before))


# -------------------------------------------------------------------------- what is sent


def test_names_and_priorities_are_what_python_takes(dask_settings: Settings) -> None:
    """Half a character and a number of any size: the task runs, and nobody else on the connection notices."""
    with Pool(1, **dask_settings, name="p\udcff") as pool:
        count = pool.counter(5)
        assert pool.options(name=ODD).submit(named).result(WAIT) == ODD
        assert list(pool.options(name=ODD).map(tasks.double, [1, 2])) == [2, 4]
        for priority in (2**70, -(2**70)):
            assert pool.options(priority=priority).submit(tasks.double, 2).result(WAIT) == 4
        assert (count.value, pool.stats().lost) == (5, 0)


@pytest.mark.leaks_expected("Dask keeps a thread for what is large until the program ends")
@pytest.mark.parametrize("way", ["argument", "item", "items of starmap", "initargs"])
def test_what_is_large_travels_without_a_warning(dask_settings: Settings, way: str) -> None:
    """Dask's advice on large graphs is nothing to a pool's tasks; where warnings are errors, they run, too."""
    large = b"x" * LARGE
    settings: Settings = dict(dask_settings)
    if way == "initargs":
        settings |= {"initializer": len, "initargs": (large,)}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Pool(1, **settings) as pool:
            if way == "argument":
                assert pool.submit(len, large).result(WAIT) == LARGE
            elif way == "item":
                assert list(pool.map(len, [large, b""])) == [LARGE, 0]
            elif way == "items of starmap":
                assert list(pool.starmap(max, [(large, b"")])) == [large]
            else:
                assert pool.submit(tasks.double, 2).result(WAIT) == 4
            assert warnings.filters[0][:2] == ("error", None)


def test_what_dask_does_not_take_is_the_tasks_failure(
    dask_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One task fails with the reason; the pool goes on."""
    with Pool(1, **dask_settings) as pool:
        client = client_of(pool)
        with monkeypatch.context() as patch:
            patch.setattr(client, "submit", refuse)
            error = pool.submit(tasks.double, 1).exception(WAIT)
        assert isinstance(error, WorkerStartFailed)
        assert isinstance(error.__cause__, KeyError)
        assert pool.submit(tasks.double, 2).result(WAIT) == 4


def test_what_fails_to_connect_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that begins and then fails has a thread and a connection, perhaps; both are ended."""
    distributed: Any = pytest.importorskip("distributed")
    connected = distributed.Client._ensure_connected

    async def fail(self: Any, timeout: Any = None) -> None:
        await connected(self, timeout)
        raise KeyError("half-way")

    monkeypatch.setattr(distributed.Client, "_ensure_connected", fail)
    before = set(threading.enumerate())
    with pytest.raises(KeyError, match="half-way"):
        Pool(1, backend="dask")
    monkeypatch.undo()
    with pytest.raises(OSError, match=r"tcp://127\.0\.0\.1:1"):
        Pool(1, backend="dask", address="tcp://127.0.0.1:1", start_timeout=0.1)
    until(
        lambda: (
            not [
                each
                for each in threading.enumerate()
                if each not in before and each.name == "IO loop"
            ]
        )
    )


# ------------------------------------------------------------------------ what is shared


def test_shared_state_outlives_a_broken_connection(dask_settings: Settings) -> None:
    """The client is back in a moment: what was shared is there, for the program and for tasks."""
    with Pool(1, **dask_settings) as pool:
        count = pool.counter(5)
        break_connection(pool)
        assert count.value == 5
        assert pool.submit(count.add).result(WAIT) == 6
        assert pool.counter(1).value == 1
        assert count.value == 6


def test_who_is_back_has_all_of_its_time_again(dask_settings: Settings) -> None:
    """The time that ran while it was away would else end in the middle of the next break."""

    async def given_up(client: str, *, dask_scheduler: Any) -> int:
        guard = dask_scheduler.plugins["workpool-guard"]
        loop: Any = asyncio.get_running_loop()
        return sum(
            not timer.cancelled() and timer._callback == guard._give_up and timer._args == (client,)
            for timer in loop._scheduled
        )

    with Pool(1, **dask_settings) as pool:
        client = client_of(pool)
        break_connection(pool)
        assert client.run_on_scheduler(given_up, client.id) == 0


def test_shared_state_is_made_anew_where_it_was_lost(dask_settings: Settings) -> None:
    """After too long without a connection what there was is lost, and says so; what is made then is another's."""

    def time_is_up(client: str, *, dask_scheduler: Any) -> None:
        guard = dask_scheduler.plugins["workpool-guard"]
        known = dask_scheduler.clients.pop(client)
        guard._give_up(client)
        dask_scheduler.clients[client] = known

    with Pool(1, **dask_settings) as pool:
        count: Counter = pool.counter(5)
        client = client_of(pool)
        client.run_on_scheduler(time_is_up, client.id)
        break_connection(pool)
        fresh = pool.counter(1)
        with pytest.raises(SharedStateLost, match="without a connection"):
            count.add()
        assert pool.submit(fresh.add).result(WAIT) == 2


def test_any_number_may_wait_for_shared_state(dask_settings: Settings) -> None:
    """More than the connections that Dask allows itself: they take none of those."""
    distributed: Any = pytest.importorskip("distributed")

    def waiting(*, dask_scheduler: Any) -> int:
        places = dask_scheduler.plugins["workpool-guard"]._places.values()
        return sum(len(place._things[0]._waiters._waiting) for _, place in places)

    address = dask_settings["address"]
    with (
        distributed.Client(address, set_as_default=False) as onlooker,
        distributed.Client(address, set_as_default=False, connection_limit=3) as client,
        Pool(1, backend="dask", exclusive=True, client=client) as pool,
    ):
        event = pool.event()
        calls = [in_background(lambda: event.wait(WAIT)) for _ in range(3)]
        until(lambda: onlooker.run_on_scheduler(waiting) == 3)
        calls.append(in_background(lambda: event.wait(WAIT)))
        in_background(event.set).result(WAIT / 3)
        assert all(call.result(WAIT) for call in calls)


# ---------------------------------------------------------------------------- its end


def test_the_end_of_a_cluster_of_its_own_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """What runs is lost, what is queued fails with the reason, and so does what is shared; nobody waits for it."""
    pytest.importorskip("distributed")
    caplog.set_level(logging.CRITICAL, logger="distributed")
    pool = Pool(1, backend="dask")
    begun, count = pool.event(), pool.counter(1)
    running = pool.submit(tell_and_wait, begun)
    queued = pool.submit(tasks.double, 1)
    assert begun.wait(WAIT)
    backend: Any = pool._backend
    os.kill(backend.engine._connection._cluster.pid, signal.SIGKILL)
    assert isinstance(running.exception(20.0), WorkerLost)
    error = queued.exception(20.0)
    assert isinstance(error, WorkerStartFailed)
    assert "has ended (exit code -9)" in str(error)
    in_background(pool.shutdown).result(20.0)
    with pytest.raises(SharedStateLost):
        count.add()


def test_the_end_of_a_client_is_the_reason_that_tasks_fail_with(dask_settings: Settings) -> None:
    """The program closes it while the pool works: what runs is lost, and what is queued fails with that reason."""
    distributed: Any = pytest.importorskip("distributed")
    client = distributed.Client(dask_settings["address"], set_as_default=False)
    with Gate() as gate:
        pool = Pool(1, backend="dask", exclusive=True, client=client)
        backend: Any = pool._backend
        running = pool.submit(tasks.hold, gate.path, 1)
        queued = pool.submit(tasks.double, 1)
        gate.arrival(WAIT)
        client.close()
        assert isinstance(running.exception(WAIT), WorkerLost)
        with pytest.raises(SharedStateLost, match="nothing can be shared"):
            backend.engine.host(object)  # as for a first counter
        error = queued.exception(WAIT)
        assert isinstance(error, WorkerStartFailed)
        assert "the client of Dask, which the program has closed" in str(error)
        in_background(pool.shutdown).result(WAIT)
        gate.open()


def tell_and_wait(begun: Any) -> None:
    begun.set()
    wait_for_ever()
