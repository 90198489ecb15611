"""What a pool promises on Ray beside what all backends promise; on a real Ray on this machine."""

from __future__ import annotations

import os
import signal
import threading
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.engines.conftest import MakePool
from tests.engines.jobs import WAIT, add_many, add_slowly, hold_by_number, keep, wait_for_ever
from tests.support import tasks
from tests.support.engines import BOX
from tests.support.gates import Gate, stop
from tests.support.programs import Program
from workpool import (
    InitializerFailed,
    Pool,
    SharedStateLost,
    TimeLimitExceeded,
    Unsupported,
    WorkerLost,
)
from workpool.backends.engine.slots import Slot

pytestmark = pytest.mark.timeout(
    180
)  # an actor takes a second to start, or many where much else runs


def assigned(gate: str = "") -> dict[str, float]:
    """Tell what Ray has given this actor."""
    ray: Any = import_module("ray")
    if gate:
        stop(gate, "here", WAIT)
    given: dict[str, float] = ray.get_runtime_context().get_assigned_resources()
    return given


# ------------------------------------------------------------------------ workers that die


def test_a_killed_worker_costs_the_task_it_ran(make_pool: MakePool, gate: Gate) -> None:
    """That task fails with WorkerLost, which names process and task; all others run, on two workers again."""
    pool = make_pool(2)
    struck = pool.submit(hold_by_number, gate.path)
    pid = int(gate.arrival(WAIT))
    others = pool.map(tasks.double, range(20), chunksize=1)
    os.kill(pid, signal.SIGKILL)
    error = struck.exception(WAIT)
    assert isinstance(error, WorkerLost)
    assert error.task == "hold_by_number"
    assert f"process {pid}" in str(error)
    assert list(others) == [2 * n for n in range(20)]
    both = [pool.submit(hold_by_number, gate.path) for _ in range(2)]
    assert len({gate.arrival(WAIT) for _ in both}) == 2
    assert pool.stats().lost == 1


def test_a_task_with_retries_runs_again(make_pool: MakePool, gate: Gate) -> None:
    """It runs in another process, under the same index, and its outcome counts."""
    pool = make_pool(1)
    task = pool.options(retries=1).submit(hold_by_number, gate.path)
    first = int(gate.arrival(WAIT))
    os.kill(first, signal.SIGKILL)
    second = int(gate.arrival(WAIT))
    gate.open()
    assert task.result(WAIT) == second != first
    assert (task.attempts, task.worker) == (2, 0)


def test_the_death_of_an_idle_worker_is_heard_of(make_pool: MakePool) -> None:
    """Nothing ran in it, so nothing fails; the pool has another in its place before anything is sent there."""
    pool = make_pool(1)
    slot = pool._scheduler.workers[0] if pool.submit(os.getpid).result(WAIT) else None
    assert isinstance(slot, Slot)
    dead, began_anew = slot.far, threading.Event()
    begin = slot._begin

    def seen() -> None:
        begin()
        began_anew.set()

    slot._begin = seen  # type: ignore[method-assign]  # a stand-in
    os.kill(int(dead.where.split()[1]), signal.SIGKILL)
    assert began_anew.wait(WAIT)
    assert slot.far is not dead
    assert pool.submit(tasks.double, 2).result(WAIT) == 4
    assert pool.stats().lost == 1


def test_a_time_limit_ends_the_process(make_pool: MakePool, gate: Gate) -> None:
    """Also where other pools use the same Ray: the actor is ours to end."""
    pool, other = make_pool(1), make_pool(1)
    there = other.submit(hold_by_number, gate.path)
    gate.arrival(WAIT)
    pid = pool.submit(os.getpid).result(WAIT)
    task = pool.options(time_limit=0.5).submit(wait_for_ever)
    assert isinstance(task.exception(WAIT), TimeLimitExceeded)
    assert pool.submit(os.getpid).result(WAIT) != pid
    gate.open()
    assert there.result(WAIT) != pid


def test_an_initializer_that_hangs_fails_the_pool(make_pool: MakePool) -> None:
    """After start_timeout its worker is ended, and all tasks fail."""
    pool = make_pool(1, initializer=wait_for_ever, start_timeout=10.0)
    error = pool.submit(tasks.double, 1).exception(WAIT)
    assert isinstance(error, InitializerFailed)
    assert "start_timeout of 10.0 s" in str(error)


# --------------------------------------------------------------------------- shared state


def test_no_update_is_lost_when_workers_are_killed(make_pool: MakePool, gate: Gate) -> None:
    """A counter holds each add that was answered, those of the dead one too, and no value comes twice."""
    pool = make_pool(2)
    count = pool.counter()
    struck = pool.submit(add_slowly, count, 10, gate.path)
    pid = int(gate.arrival(WAIT))
    other = pool.submit(add_many, count, 200)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(struck.exception(WAIT), WorkerLost)
    assert sorted(other.result(WAIT)) == list(range(2, 202))
    assert count.value == 201


def test_the_lock_of_a_killed_worker_is_free(make_pool: MakePool, gate: Gate) -> None:
    """The next owner gets it, and is told that the last one died."""
    pool = make_pool(1)
    lock = pool.lock()
    struck = pool.submit(keep, lock, gate.path)
    pid = int(gate.arrival(WAIT))
    assert not lock.acquire(timeout=0.05)
    os.kill(pid, signal.SIGKILL)
    assert lock.acquire(timeout=WAIT)
    assert lock.owner_died
    lock.release()
    assert isinstance(struck.exception(WAIT), WorkerLost)


def test_shared_state_ends_with_its_pool(make_pool: MakePool) -> None:
    """What is left of it says so, and starts nothing."""
    pool = make_pool(1)
    count = pool.counter(3)
    assert count.value == 3
    pool.shutdown()
    with pytest.raises(SharedStateLost):
        count.add()


# ------------------------------------------------------------------------------ the cluster


def test_sixteen_workers_take_no_more_threads_than_two(make_pool: MakePool) -> None:
    """The program has one thread for a pool, whatever the number of workers."""

    def threads_with(workers: int) -> tuple[int, int]:
        with Gate() as gate:
            pool = make_pool(workers)
            held = [pool.submit(hold_by_number, gate.path) for _ in range(workers)]
            assert len({gate.arrival(WAIT) for _ in held}) == workers
            counted = threading.active_count(), len(os.listdir("/proc/self/task"))
        pool.shutdown()
        return counted

    few, many = threads_with(2), threads_with(16)
    assert many[0] <= few[0] + 1  # one of Ray's own comes and goes
    assert many[1] <= few[1] + 6, "gRPC has a few more when it has more to do"


def test_a_task_gets_the_resources_it_asks_for(make_pool: MakePool, gate: Gate) -> None:
    """Two workers share the one there is: in turn, and with tasks that ask for none in between."""
    pool = make_pool(2)
    boxed = pool.options(resources={BOX: 1})
    first = boxed.submit(assigned, gate.path)
    gate.arrival(WAIT)
    second = boxed.submit(assigned)  # waits for the first to be done
    gate.open()
    assert [task.result(WAIT)[BOX] for task in (first, second)] == [1.0, 1.0]
    assert list(pool.map(tasks.double, range(4), chunksize=1)) == [0, 2, 4, 6]
    assert BOX not in pool.submit(assigned).result(WAIT)


def test_what_ray_does_not_take_for_a_resource_is_refused(make_pool: MakePool) -> None:
    """An amount that Ray has a rule against fails the task, with Ray's words, and nothing else."""
    pool = make_pool(1)
    error = pool.options(resources={"GPU": 1.5}).submit(tasks.double, 1).exception(WAIT)
    assert isinstance(error, Unsupported)
    assert "GPU" in str(error)
    assert pool.submit(tasks.double, 1).result(WAIT) == 2


def test_one_program_has_one_ray(make_pool: MakePool) -> None:
    """Another address than that of the Ray which is there is refused, with the way out."""
    make_pool(1)
    with pytest.raises(Unsupported, match=r"ray\.shutdown\(\)"):
        Pool(1, backend="ray", address="127.0.0.1:1")


@pytest.mark.usefixtures("ray_package")
def test_an_address_of_rays_client_is_refused() -> None:
    """At once, by name, with the way out: as a setting, from the environment, and when the program has used it."""
    script = """
    import os, ray
    from workpool import Unsupported
    from ray.util import client
    def tell(**settings):
        try:
            Pool(1, backend=BACKEND, **settings)
        except Unsupported as error:
            print("ray job submit" in str(error), str(error).partition(" backend=")[0])
    os.environ.pop("RAY_ADDRESS", None)
    tell(address="ray://127.0.0.1:1")
    os.environ["RAY_ADDRESS"] = "ray://127.0.0.1:2"
    tell()
    ray.is_initialized = client.ray.is_connected = lambda: True  # as after ray.init("ray://...")
    tell()
    """
    with Program(script, "ray") as program:
        ended = program.end(WAIT)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.lines == [
        "True address='ray://127.0.0.1:1' is for Ray's client, which",
        "True RAY_ADDRESS='ray://127.0.0.1:2' is for Ray's client, which",
        "True the program is connected through Ray's client (ray://), which",
    ]


def test_a_program_uses_a_ray_that_runs_and_leaves_it(make_pool: MakePool) -> None:
    """With address= the pool of another program runs beside ours; its end is not that of the cluster."""
    address = make_pool(1)._backend.describe().partition("=")[2].strip("'")
    script = """
    with Pool(2, backend=BACKEND, address=sys.argv[2]) as pool:
        print(list(pool.map(tasks.double, range(3))))
    """
    with Program(script, "ray", address) as program:
        ended = program.end(WAIT)
    assert (ended.code, ended.lines) == (0, ["[0, 2, 4]"]), ended.errors
    assert make_pool(1).submit(tasks.double, 4).result(WAIT) == 8


# Tells the process that has the program's own Ray, and the folder of it.
OWN_RAY = """
import os
for of_the_ray_for_tests in ("RAY_ADDRESS", "RAY_AUTH_MODE"):
    os.environ.pop(of_the_ray_for_tests, None)
from workpool.backends.ray import connection
def tell():
    print("ray", connection._standing.local.pid, flush=True)
"""


@pytest.mark.usefixtures("ray_package")
def test_a_ray_of_its_own_ends_with_the_last_pool() -> None:
    """Pools of a program share one, on which any number of workers fits; after the last it is gone."""
    script = (
        OWN_RAY
        + """
import ray
with Pool(1, backend=BACKEND) as pool:
    tell()
    print(pool.submit(tasks.double, 21).result(), flush=True)
    with Pool(2, backend=BACKEND) as other:
        print(list(other.map(tasks.double, range(3))), flush=True)
        try:
            pool.options(resources={"box": 1}).submit(tasks.double, 1).result()
        except Exception as error:
            print(type(error).__name__, flush=True)
    print(pool.submit(tasks.double, 2).result(), ray.is_initialized(), flush=True)
print(ray.is_initialized(), connection._standing, "RAY_AUTH_MODE" in os.environ, flush=True)
input()
"""
    )
    with Program(script, "ray") as program:
        own = program.watched(WAIT)
        assert program.line(WAIT) == "42"
        assert program.line(WAIT) == "[0, 2, 4]"
        assert program.line(WAIT) == "Unsupported"
        assert program.line(WAIT) == "4 True"
        assert program.line(WAIT) == "False None False"
        assert own.gone(0.0), "close() waits for the end"
        program.end(WAIT)


@pytest.mark.usefixtures("ray_package")
def test_a_ray_of_its_own_ends_with_a_killed_program() -> None:
    """However the program ends: nobody is left, and nothing on the disk; the check around tests sees to that."""
    script = (
        OWN_RAY
        + """
pool = Pool(1, backend=BACKEND)
tell()
print("task", pool.submit(os.getpid).result(), flush=True)
pool.submit(tasks.stop, "").result()
"""
    )
    with Program(script, "ray") as program:
        own, worker = program.watched(WAIT), program.watched(WAIT)
        program.kill(signal.SIGKILL)
        assert worker.gone(WAIT)
        assert own.gone(WAIT)
        assert program.end(WAIT).code == -signal.SIGKILL


def test_queued_tasks_run_at_the_end_of_a_program(
    ray_settings: dict[str, Any], tmp_path: Path
) -> None:
    """One that ends without shutdown runs what it has queued, as on every backend."""
    script = """
    pool = Pool(1, backend=BACKEND)
    for n in range(5):
        pool.submit(tasks.touch, f"{sys.argv[2]}/{n}", n)
    """
    with Program(script, "ray", str(tmp_path)) as program:
        ended = program.end(WAIT)
    assert (ended.code, ended.lines, ended.errors) == (0, [], "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "2", "3", "4"]


@pytest.mark.usefixtures("ray_settings")
def test_a_program_may_end_its_connection_under_a_pool() -> None:
    """What runs is lost and what comes fails, with the reason; no other Ray is started for it."""
    script = """
    import ray, threading
    from workpool import WorkerLost, WorkerStartFailed
    pool = Pool(1, backend=BACKEND)
    begun = pool.event()
    def stay(begun):
        begun.set()
        threading.Event().wait()
    running = pool.submit(stay, begun)
    begun.wait(20)
    ray.shutdown()
    print(isinstance(running.exception(20), WorkerLost))
    try:
        pool.submit(tasks.double, 1).result(20)
    except WorkerStartFailed as error:
        print("ray.shutdown()" in str(error), ray.is_initialized())
    pool.shutdown()
    print(ray.is_initialized())
    """
    with Program(script, "ray") as program:
        ended = program.end(WAIT)
    assert (ended.code, ended.errors) == (0, "")
    assert ended.lines == ["True", "True False", "False"]


@pytest.mark.usefixtures("ray_package")
def test_a_forked_child_is_told_that_it_has_no_ray() -> None:
    """Ray's threads do not come along; so a pool there is refused, and the parent's goes on."""
    script = """
    import os, warnings
    from workpool import Unsupported
    warnings.simplefilter("ignore")
    with Pool(1, backend=BACKEND) as pool:
        pool.submit(tasks.double, 1).result()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                Pool(1, backend=BACKEND)
            except Unsupported as error:
                os.write(write, str(error).encode())
            os._exit(0)
        os.waitpid(child, 0)
        print("forked" in os.read(read, 1000).decode(), pool.submit(tasks.double, 2).result())
    """
    with Program(script, "ray") as program:
        ended = program.end(WAIT)
    assert (ended.code, ended.lines) == (0, ["True 4"]), ended.errors
