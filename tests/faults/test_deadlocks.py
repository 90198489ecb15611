"""Tasks and callbacks that wait for their own pool: progress, or a clear error, and never a silent deadlock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, as_completed, wait
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import NotPicklable, Pool, Task, WouldDeadlock

LOCAL: list[Any] = ["thread", "inline"]


@pytest.fixture(params=LOCAL)
def pool(request: pytest.FixtureRequest) -> Generator[Pool]:
    """Give a pool of one worker that runs tasks in this process."""
    made = Pool(1, backend=request.param)
    yield made
    in_background(made.shutdown, cancel_futures=True).result()


def ends(pool: Pool, fn: Callable[..., Any], *args: Any) -> Any:
    """Run a task and give its outcome, which must come."""
    return in_background(lambda: pool.submit(fn, *args).result(DEADLINE)).result(2 * DEADLINE)


WAITS: dict[str, Callable[[Pool], Any]] = {
    "result": lambda pool: pool.submit(tasks.double, 1).result(),
    "exception": lambda pool: pool.submit(tasks.double, 1).exception() or 2,
    "wait": lambda pool: wait([pool.submit(tasks.double, 1)]).done.pop().result(),
    "as_completed": lambda pool: next(as_completed([pool.submit(tasks.double, 1)])).result(),
    "map": lambda pool: sum(pool.map(tasks.double, [0, 1])),
    "map_one_by_one": lambda pool: sum(pool.map(tasks.double, [0, 1], chunksize=1)),
    "map_lazy": lambda pool: sum(pool.map(tasks.double, iter([0, 1]), buffersize=1)),
}


@pytest.mark.parametrize("how", WAITS)
def test_a_task_may_wait_for_its_own_pool(pool: Pool, how: str) -> None:
    """Even with one worker: it runs what it waits for, or gets help."""
    for _ in range(3):  # help may be needed more than once
        assert ends(pool, WAITS[how], pool) == 2
    in_background(pool.join).result()


@pytest.mark.parametrize("call", [Pool.join, Pool.shutdown], ids=["join", "shutdown"])
def test_a_task_that_waits_for_itself_is_refused(pool: Pool, call: Callable[[Pool], None]) -> None:
    """What could only end after the task itself says so, and the pool goes on."""
    with pytest.raises(WouldDeadlock, match="from outside"):
        ends(pool, call, pool)
    assert ends(pool, tasks.double, 2) == 4


@pytest.mark.parametrize("chunksize", [None, 1], ids=["in chunks", "one by one"])
@pytest.mark.parametrize("call", [Pool.join, Pool.shutdown], ids=["join", "shutdown"])
def test_an_input_that_waits_for_itself_is_refused(
    pool: Pool, call: Callable[[Pool], None], chunksize: int | None
) -> None:
    """A map call's input cannot wait until all input is pulled; but for another pool's, and afterwards."""

    def source(of: Pool) -> Generator[int]:
        with Pool(1) as other:
            other.map(tasks.double, iter([1]), buffersize=1)
            other.join()
        yield 1
        call(of)
        yield 2

    def consume() -> list[int]:
        with pytest.raises(WouldDeadlock, match="input of a map call"):
            list(pool.map(tasks.double, source(pool), buffersize=1, chunksize=chunksize))
        pool.join()
        return list(pool.map(tasks.double, iter([1, 2]), buffersize=1, chunksize=chunksize))

    assert in_background(consume).result() == [2, 4]


def test_help_ends_when_the_wait_does() -> None:
    """A pool of one worker runs one task at a time again, after a task of it had help."""
    with Pool(1) as pool:
        for how in WAITS.values():
            ends(pool, how, pool)
        most, now, lock = [0], [0], threading.Lock()
        second = threading.Barrier(2)

        def alone(_: int) -> None:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            try:
                second.wait(0.02)  # broken, unless a second task runs beside this one
            except threading.BrokenBarrierError:
                second.reset()
            with lock:
                now[0] -= 1

        submitted = [pool.submit(alone, n) for n in range(6)]
        wait(submitted, DEADLINE)
        assert most == [1]


def chain(pool: Pool, left: int) -> int:
    return 0 if not left else 1 + pool.submit(chain, pool, left - 1).result()


def test_a_chain_of_tasks_each_waiting_for_the_next() -> None:
    """Two hundred tasks wait inside one another, with one worker."""
    with Pool(1) as pool:
        assert ends(pool, chain, pool, 200) == 200
        assert ends(pool, chain, pool, 200) == 200
        in_background(pool.join).result()


def test_a_chain_that_is_too_long_for_one_thread_is_told() -> None:
    """Inline there is but one stack: a chain that is too long for it fails with a clear error, whole."""
    with Pool(1, backend="inline") as pool:
        assert ends(pool, chain, pool, 50) == 50
        with pytest.raises(WouldDeadlock, match="deep"):
            ends(pool, chain, pool, 2_000)
        assert ends(pool, chain, pool, 50) == 50
        pool.join(0)


def both_ways(pool: Pool, other: Pool, left: int) -> int:
    return 0 if not left else 1 + other.submit(both_ways, other, pool, left - 1).result()


def test_two_pools_may_wait_for_each_other() -> None:
    """A task of one waits for a task of the other, which waits for one of the first, and so on."""
    with Pool(1) as first, Pool(1) as second:
        assert ends(first, both_ways, first, second, 10) == 10


# ------------------------------------------------------------------------------ callbacks


CALLBACKS: dict[str, Callable[[Pool], Any]] = {
    "submits": lambda pool: pool.submit(tasks.double, 1),
    "waits": lambda pool: pool.submit(tasks.double, 1).result(),
    "waits for all": lambda pool: wait([pool.submit(tasks.double, 1)], DEADLINE),
    "maps": lambda pool: list(pool.map(tasks.double, range(3))),
    "raises": lambda _: tasks.fail_with(LookupError, "in a callback"),
    "exits": lambda _: tasks.fail_with(SystemExit),
    "joins": lambda pool: pool.join(),
    "shuts down": lambda pool: pool.shutdown(),
    "closes": lambda pool: pool.close(),
    "kills": lambda pool: pool.kill(),
    "cancels": lambda pool: pool.shutdown(wait=False, cancel_futures=True),
}


@pytest.mark.parametrize("what", CALLBACKS)
@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
def test_a_callback_may_do_anything(
    backend: Any, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is run in the thread that settles its task: whatever it does with the pool, it comes to an end."""
    pool = Pool(1, backend=backend)
    seen: list[Any] = []
    over = threading.Event()

    def callback(_: Future[int]) -> None:
        try:
            seen.append(CALLBACKS[what](pool))
        except BaseException as error:
            seen.append(error)
            raise
        finally:
            over.set()

    def use() -> None:
        with Gate() as gate:
            if backend == "inline":
                gate.open()  # done when submit returns: the callback is the caller's own call then
            task = pool.submit(tasks.hold, gate.path, 2)
            try:
                task.add_done_callback(callback)
            except SystemExit:
                assert (backend, what) == ("inline", "exits")
        assert task.result(DEADLINE) == 2

    in_background(use).result()
    assert over.wait(DEADLINE)
    error = seen[0] if isinstance(seen[0], BaseException) else None
    if what in {"joins", "shuts down"} and backend != "inline":
        assert isinstance(error, WouldDeadlock)
    elif what not in {"raises", "exits"}:
        assert error is None or isinstance(error, WouldDeadlock), error
    in_background(pool.shutdown).result()
    assert pool.unfinished == 0


@pytest.mark.parametrize("what", ["joins", "shuts down", "kills", "waits for all", "closes"])
@pytest.mark.parametrize("backend", ["thread", "process"])
def test_a_callback_in_the_thread_that_cancels_may_do_anything(backend: Any, what: str) -> None:
    """It runs in no worker, and yet before its task is counted: a wait for all would wait for itself."""
    pool = Pool(1, backend=backend)
    seen: list[Any] = []

    def callback(_: Future[int]) -> None:
        try:
            seen.append(CALLBACKS[what](pool))
        except BaseException as error:
            seen.append(error)

    with Gate() as gate:
        running = pool.submit(tasks.hold, gate.path, 2)
        gate.arrival()
        waiting = pool.submit(tasks.double, 1)
        waiting.add_done_callback(callback)
        if what == "waits for all":
            gate.open()  # it waits for a task that is behind this one
        assert in_background(waiting.cancel).result() or what == "waits for all"
    refused = what in {"joins", "shuts down"}
    in_background(pool.shutdown).result()
    assert running.done()
    assert isinstance(seen[0], WouldDeadlock) or not refused
    assert pool.unfinished == 0


@pytest.mark.parametrize("what", ["joins", "shuts down"])
@pytest.mark.parametrize("inner", ["of another pool", "of no pool"])
def test_a_callback_inside_a_callback_knows_of_the_outer_one(inner: str, what: str) -> None:
    """The task of the outer one is not counted before the inner one has returned."""
    with Pool(1) as pool, Pool(1) as other:
        seen: list[Any] = []

        def within(_: Future[Any]) -> None:
            try:
                CALLBACKS[what](pool)
            except WouldDeadlock as error:
                seen.append(error)

        with Gate() as gate, Gate() as second:
            for each, its in ((pool, gate), (other, second)):
                each.submit(tasks.hold, its.path, 1)
                its.arrival()
            outer = pool.submit(tasks.double, 1)
            nested: Task[Any] = other.submit(tasks.double, 1) if "another" in inner else Task()
            nested.add_done_callback(within)
            outer.add_done_callback(lambda _: nested.cancel())
            cancelled = in_background(outer.cancel)
            gate.open()
            assert cancelled.result()
        assert len(seen) == 1
        in_background(pool.join).result()


# ---------------------------------------------------------------------------- nested pools


def nest(backends: list[Any]) -> int:
    """Make a pool in a pool in a pool, and give how deep it went."""
    if not backends:
        return 0
    with Pool(1, backend=backends[0]) as pool:
        return 1 + pool.submit(nest, backends[1:]).result(DEADLINE)


@pytest.mark.parametrize(
    "backends",
    [
        ["process", "process", "process"],
        ["process", "thread"],
        ["thread", "process"],
        ["inline", "process", "inline", "thread"],
    ],
    ids="-in-".join,
)
def test_pools_nest(backends: list[Any]) -> None:
    """A task may make a pool of its own, of any kind, in any kind of worker."""
    assert in_background(nest, backends).result() == len(backends)


@pytest.mark.parametrize("what", ["pool", "options", "task", "results"])
def test_a_pool_cannot_go_to_a_process(what: str) -> None:
    """Pools, tasks and results stay where they are; the error says what to do instead."""
    with Pool(1, backend="process") as pool:
        task = pool.submit(tasks.double, 1)
        results = pool.map(tasks.double, [1])
        given = {"pool": pool, "options": pool.options(), "task": task, "results": results}[what]
        with pytest.raises(NotPicklable, match=r"Make a pool in the task|Pass the result"):
            pool.submit(tasks.echo, given).result(DEADLINE)
        with pytest.raises(NotPicklable, match=r"Make a pool in the task|Pass the result"):
            list(pool.map(tasks.echo, [given]))
        assert list(results) == [2]


def test_a_task_may_wait_for_a_pool_of_another_thread() -> None:
    """Tasks of a thread pool may use a process pool of the same program, all at once."""
    with Pool(2, backend="process") as processes, Pool(8) as threads:
        work: list[Task[int]] = [
            threads.submit(lambda n: processes.submit(tasks.double, n).result(DEADLINE), n)
            for n in range(40)
        ]
        assert [task.result(DEADLINE) for task in work] == [2 * n for n in range(40)]
