"""A pool on a Ray cluster of two machines, the second of which has a raylet and processes of its own, and ends."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from tests.engines.conftest import MakePool
from tests.engines.jobs import WAIT, add_many, hold_here, use_all
from tests.support import tasks
from tests.support.gates import Gate, stop
from tests.support.nodes import node_here, ray_node
from workpool import Lock, Queue, WorkerLost
from workpool.backends.ray.channel import NAMESPACE

pytestmark = pytest.mark.timeout(
    180
)  # Ray takes ten seconds or more to see that a machine has gone


def hold_lock(lock: Lock, gate: str) -> None:
    """Stop at a gate as the owner of a lock."""
    lock.acquire()
    stop(gate, node_here(), WAIT)


class Whereabouts:
    """A place that tells where it is, whatever it is asked."""

    async def call(self, *_: object) -> bytes:
        return node_here().encode()


def test_what_pools_share_is_on_the_programs_machine(ray_settings: dict[str, Any]) -> None:
    """Of any number of pools, and with another machine that has as much room."""
    from workpool.backends.ray.far import remote_host

    ray: Any = import_module("ray")
    with ray_node(ray_settings["address"], num_cpus=1, object_store_memory=100 << 20):
        for number in range(8):
            host = remote_host(f"whereabouts-{number}", NAMESPACE).remote(Whereabouts)
            where = ray.get(host.call.remote(("", 0, 0), 0, "", b""), timeout=WAIT)
            ray.kill(host)
            assert where.decode() == node_here()


def test_a_pool_works_on_two_machines_and_outlives_one(
    make_pool: MakePool, ray_settings: dict[str, Any], gate: Gate
) -> None:
    """What is shared is shared by both; when one ends its task is lost, its lock free, and the rest goes on."""
    pool = make_pool(2)
    with ray_node(
        ray_settings["address"], num_cpus=1, resources='{"far": 1}', object_store_memory=100 << 20
    ) as end:
        on_the_other = pool.options(resources={"far": 1})
        # Both tasks run at once, one on each.
        held = [on_the_other.submit(hold_here, gate.path), pool.submit(hold_here, gate.path)]
        assert len(set(gate.arrivals(2, WAIT))) == 2
        count, box, lock = pool.counter(), pool.shared(list[str]()), pool.lock()
        jobs: Queue[int] = pool.queue()
        done: Queue[str] = pool.queue()
        gate.open()
        far, near = [task.result(WAIT) for task in held]
        for job in range(20):
            jobs.put(job)
        users = [
            view.submit(use_all, count, box, lock, jobs, done) for view in (on_the_other, pool)
        ]
        jobs.join(timeout=WAIT)
        jobs.shutdown()
        assert sum(user.result(WAIT) for user in users) == 20
        assert count.value == sum(range(20))
        assert sorted(box.get()) == sorted(done.get(timeout=WAIT) for _ in range(20))

        with Gate() as another:
            lost = on_the_other.submit(hold_lock, lock, another.path)
            assert another.arrival(WAIT) == far
            end()
            added = pool.submit(add_many, count, 10)
            assert isinstance(lost.exception(WAIT), WorkerLost)
        assert lock.acquire(timeout=WAIT)
        assert lock.owner_died
        lock.release()
        assert added.result(WAIT) == list(range(191, 201))
        assert set(pool.map(_node, range(4), chunksize=1)) == {near}
        assert list(pool.map(tasks.double, range(100))) == [2 * n for n in range(100)]
        assert pool.stats().lost == 1


def _node(_: int) -> str:
    return node_here()
