"""A pool on a Dask cluster of several machines, which are started by the command line and come and go."""

from __future__ import annotations

from collections.abc import Generator
from importlib import import_module
from typing import Any

import pytest

from tests.engines.jobs import WAIT, add_many, hold_here, use_all
from tests.support import tasks
from tests.support.gates import Gate
from tests.support.nodes import DaskNodes, dask_nodes, node_here
from workpool import Lock, Pool, Queue, Unsupported, WorkerLost

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Generator[DaskNodes]:
    """Give a cluster of two machines, a and b."""
    pytest.importorskip("distributed")
    with dask_nodes(tmp_path_factory.mktemp("nodes"), "a", "b") as made:
        yield made


def both_at_once(pool: Pool) -> set[str]:
    """Tell on which machines two tasks run that run at the same time."""
    with Gate() as gate:
        held = [pool.submit(hold_here, gate.path) for _ in range(2)]
        where = set(gate.arrivals(2, WAIT))
        gate.open()
        assert {task.result(WAIT) for task in held} == where
    return where


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_pool_works_on_all_machines(nodes: DaskNodes, exclusive: Any) -> None:
    """What is submitted and mapped runs on both, and what is shared is shared by both."""
    with Pool(**nodes.settings, exclusive=exclusive) as pool:
        assert both_at_once(pool) == {"a", "b"}
        assert list(pool.map(tasks.double, range(100))) == [2 * n for n in range(100)]
        count, box, lock = pool.counter(), pool.shared(list[str]()), pool.lock()
        jobs: Queue[int] = pool.queue()
        done: Queue[str] = pool.queue()
        users = [pool.submit(use_all, count, box, lock, jobs, done) for _ in range(2)]
        for job in range(20):
            jobs.put(job)
        jobs.join(timeout=WAIT)
        jobs.shutdown()
        assert sum(user.result(WAIT) for user in users) == 20
        assert count.value == sum(range(20))
        assert sorted(box.get()) == sorted(done.get(timeout=WAIT) for _ in range(20))
        assert {user.worker for user in users} == {0, 1}


def test_a_task_goes_to_the_machine_that_has_what_it_asks_for(nodes: DaskNodes) -> None:
    """On a cluster that Dask shares out; on one to itself, where a task may come to any machine, that is refused."""
    with Pool(2, **nodes.settings) as pool:
        for name in ("a", "b", "a"):
            there = pool.options(resources={name: 1})
            assert set(there.map(_where, range(4), chunksize=1)) == {name}
    with Pool(2, **nodes.settings, exclusive=True) as pool:
        error = pool.options(resources={"a": 1}).submit(tasks.double, 1).exception(WAIT)
        assert isinstance(error, Unsupported)
        assert "exclusive=False" in str(error)
        assert pool.submit(tasks.double, 2).result(WAIT) == 4


def _where(_: int) -> str:
    return node_here()


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_machine_that_ends_costs_what_ran_there(nodes: DaskNodes, exclusive: Any) -> None:
    """Its task is lost, its lock is free, and the rest is done by the other; a new machine is put to work."""
    with Pool(2, **nodes.settings, exclusive=exclusive) as pool, Gate() as gate:
        count, lock = pool.counter(), pool.lock()
        both = [pool.submit(hold_lock_on_b, lock, gate.path) for _ in range(2)]
        assert set(gate.arrivals(2, WAIT)) == {"a", "b"}
        others = [pool.submit(add_many, count, 10) for _ in range(10)]
        nodes.kill("b")
        assert lock.acquire(timeout=WAIT)
        assert lock.owner_died
        lock.release()
        gate.open()
        outcomes = [task.exception(WAIT) or task.result(0) for task in both]
        assert {type(outcome) for outcome in outcomes} == {WorkerLost, str}
        assert sorted(n for task in others for n in task.result(WAIT)) == list(range(1, 101))
        assert list(pool.map(tasks.double, range(20), chunksize=1)) == [2 * n for n in range(20)]
        assert pool.stats().lost == 1
        nodes.start("b")
        nodes.until_there(2)
        assert both_at_once(pool) == {"a", "b"}


def hold_lock_on_b(lock: Lock, gate: str) -> str:
    """Stop at a gate, on machine b as the owner of a lock."""
    if node_here() == "b":
        lock.acquire()
    return hold_here(gate)


def test_a_machine_that_ends_while_it_idles_costs_nothing(nodes: DaskNodes) -> None:
    """A pool that has the cluster to itself finds out when it sends something there; that runs elsewhere, once."""
    with Pool(2, **nodes.settings, exclusive=True) as pool:
        assert both_at_once(pool) == {"a", "b"}
        nodes.kill("b")
        nodes.until_there(
            1
        )  # before Dask knows, it sends tasks there, and nobody can tell that they never began
        held = [pool.submit(tasks.double, n) for n in range(10)]
        assert [task.result(WAIT) for task in held] == [2 * n for n in range(10)]
        assert {task.attempts for task in held} == {1}
        nodes.start("b")
        nodes.until_there(2)
        assert both_at_once(pool) == {"a", "b"}


def test_a_machine_that_is_retired_costs_what_runs_there(nodes: DaskNodes) -> None:
    """Dask would begin the task anew elsewhere; here it is lost, and runs once."""
    distributed: Any = import_module("distributed")
    address = nodes.settings["address"]
    with (
        distributed.Client(address, set_as_default=False) as client,
        Pool(1, backend="dask", client=client) as pool,
        Gate() as gate,
    ):
        task = pool.submit(hold_here, gate.path)
        where = gate.arrival(WAIT)
        client.retire_workers([at for at, name in client.run(node_here).items() if name == where])
        assert isinstance(task.exception(WAIT), WorkerLost)
        assert pool.submit(tasks.double, 2).result(WAIT) == 4
        assert gate.waiting() == []
    nodes.kill(where)
    nodes.start(where)
    nodes.until_there(2)
