"""What a pool promises on Dask beside what all backends promise; on a real Dask on this machine."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from tests.engines.jobs import WAIT, hold_by_number
from tests.support import tasks
from tests.support.gates import Gate
from tests.support.programs import Program
from tests.support.queues import until
from workpool import Pool, WorkerLost
from workpool.backends.engine import slots
from workpool.scheduling.timers import Timer

pytestmark = pytest.mark.timeout(120)  # a cluster takes its time to start


def test_what_tasks_print_goes_to_the_programs_output() -> None:
    """On a cluster that the pool has started; also more than a pipe holds, which nobody would empty."""
    pytest.importorskip("distributed")
    script = """
    def speak(n):
        print("x" * 99_999, flush=True)
        return n
    with Pool(1, backend=BACKEND) as pool:
        print(pool.submit(speak, 7).result())
    """
    with Program(script, "dask") as program:
        ended = program.end(WAIT)
    assert ended.code == 0, ended.errors
    assert sorted(ended.lines) == ["7", "x" * 99_999]


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_result_that_dies_with_its_worker_is_lost(
    dask_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, exclusive: Any
) -> None:
    """The task has run and does not run again, for Dask has the result nowhere: WorkerLost, once."""
    settings = {**dask_settings, "exclusive": exclusive}
    with Gate() as gate, Pool(1, **settings) as pool:
        backend: Any = pool._backend
        client = backend.engine._client
        gather = client.gather

        async def kill_and_gather(future: Any, **kwargs: Any) -> Any:
            """Have the worker die between the end of the task and the look at its result."""
            if "hold_by_number" in future.key:
                await future._state.wait()
                os.kill(pid, signal.SIGKILL)
            return await gather(future, **kwargs)

        monkeypatch.setattr(client, "gather", kill_and_gather)
        task = pool.submit(hold_by_number, gate.path)
        other = pool.submit(tasks.double, 2)
        pid = int(gate.arrival(WAIT))
        gate.open()
        assert isinstance(task.exception(WAIT), WorkerLost)
        assert other.result(WAIT) == 4


def test_a_pool_sees_the_workers_whatever_the_client_asks_meanwhile(
    dask_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client asks its scheduler now and then, without the workers: that may be just when a pool looks."""
    client: Any = pytest.importorskip("distributed").Client
    update = client._update_scheduler_info

    async def update_twice(self: Any, n_workers: int = 0) -> None:
        await update(self, n_workers)
        await update(self)

    monkeypatch.setattr(client, "_update_scheduler_info", update_twice)
    with Pool(1, **dask_settings) as pool:
        assert pool.submit(tasks.double, 2).result(WAIT) == 4


def test_a_task_that_ends_as_its_limit_strikes_costs_nobody_time(
    dask_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is ended all the same, and the next one is at work as soon as Dask has seen that."""
    monkeypatch.setattr(slots, "_GRACE", 2 * WAIT)  # nobody may have to wait for that
    with Gate() as gate, Pool(1, **dask_settings) as pool:
        task = pool.submit(hold_by_number, gate.path)
        pid = int(gate.arrival(WAIT))
        slot: Any = pool._scheduler.workers[0]
        engine, flight = slot.clerk.engine, slot.flight
        end = engine.end

        def land_and_end(slot: Any) -> None:
            """Have the task end before the order to end its worker arrives there."""
            gate.open()
            until(flight.ticket.done)
            slot.landed(flight, flight.ticket.result())
            end(slot)

        monkeypatch.setattr(engine, "end", land_and_end)
        slot.post(lambda: slot._overdue(flight, 1.0))
        flight.timer = Timer(0.0, 0, None)  # as if it had a limit
        assert task.result(WAIT) == pid
        assert pool.submit(os.getpid).result(WAIT) != pid
        assert pool.stats().lost == 1
