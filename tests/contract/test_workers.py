"""Workers: when they start, how they are set up and left, who they are, how long they serve."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Generator
from concurrent.futures import BrokenExecutor
from functools import partial
from pathlib import Path

import pytest

import workpool
from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate, stop
from workpool import InitializerFailed, Pool


@pytest.fixture(scope="module", autouse=True)
def shared_heap() -> Generator[None]:
    """Have multiprocessing make the memory it keeps for its values, before the first test looks for leaks."""
    value = multiprocessing.get_context("spawn").Value("i", 0)
    yield
    del value


@pytest.mark.needs("concurrent")
def test_workers_start_on_demand_and_stay(make_pool: MakePool, gate: Gate) -> None:
    """None is started for nothing; an idle one takes the next task."""
    pool = make_pool(3)
    assert pool.stats().workers == 0
    first = {pool.submit(tasks.identity).result(DEADLINE) for _ in range(5)}
    assert len(first) == 1
    assert pool.stats().workers == 1
    for _ in range(3):
        pool.submit(tasks.hold, gate.path, 1)
    gate.arrivals(3)
    assert pool.stats().workers == 3
    gate.open()
    pool.join(DEADLINE)
    assert pool.stats().workers == 3


@pytest.mark.needs("concurrent")
def test_a_short_task_waits_for_no_long_one_while_a_worker_is_free(make_pool: MakePool) -> None:
    """Also one that had been sent behind the long one, while all workers were busy."""
    with Gate() as first, Gate() as second, Gate() as third:
        pool = make_pool(2)
        for n in range(20):  # known to be short: such tasks are sent before the last one has ended
            pool.submit(tasks.double, n).result(DEADLINE)
        held = [pool.submit(stop, gate.path) for gate in (first, second)]
        first.arrival()
        second.arrival()
        long = pool.submit(stop, third.path)
        short = pool.submit(tasks.double, 4)
        first.open()
        third.arrival()
        second.open()
        assert short.result(DEADLINE / 2) == 8
        assert long.running()
        third.open()
        for task in (*held, long):
            task.result(DEADLINE)


@pytest.mark.needs("concurrent")
def test_indexes_count_from_zero(make_pool: MakePool, gate: Gate) -> None:
    """Workers 0 to n-1 are different threads or processes, each with its index."""
    pool = make_pool(3)
    submitted = [pool.submit(tasks.meet, gate.path) for _ in range(3)]
    gate.arrivals(3)
    gate.open()
    met = [task.result(DEADLINE) for task in submitted]
    assert sorted(index for index, _ in met) == [0, 1, 2]
    assert len({identity for _, identity in met}) == 3
    assert sorted(task.worker for task in submitted if task.worker is not None) == [0, 1, 2]


def test_one_worker_serves_one_task_at_a_time(make_pool: MakePool) -> None:
    """With max_workers=1 everything runs in the order of submission."""
    pool = make_pool(1)
    with Gate() as seen:
        for n in range(20):
            pool.submit(tasks.report, seen.path, n)
        pool.join(DEADLINE)
        assert seen.arrivals(20) == [str(n) for n in range(20)]


# --------------------------------------------------------------------- initializer


def test_the_initializer_runs_first_in_each_worker(make_pool: MakePool) -> None:
    """It gets initargs, once in each worker, before the first task."""
    pool = make_pool(2, initializer=tasks.initialize, initargs=(1, "b"))
    assert pool.submit(tasks.initialized_with).result(DEADLINE) == (1, "b")
    assert set(pool.map(tasks.initialized_with_for, range(20))) == {(1, "b")}


def test_the_initializer_runs_once(make_pool: MakePool) -> None:
    """Not once a task, nor once a burst of tasks."""
    with Gate() as seen:
        pool = make_pool(1, initializer=tasks.report_start, initargs=(seen.path,))
        for n in range(3):
            assert pool.submit(tasks.double, n).result(DEADLINE) == 2 * n
        assert seen.waiting() == ["start"]


@pytest.mark.lacks("far")
def test_initargs_may_hold_what_only_is_inherited(make_pool: MakePool) -> None:
    """A multiprocessing lock, queue or value reaches the workers whole."""
    context = multiprocessing.get_context("spawn")
    lock, value, queue = context.Lock(), context.Value("i", 0), context.SimpleQueue()
    pool = make_pool(1, initializer=tasks.initialize, initargs=(lock, value, queue))
    assert pool.submit(tasks.use_inherited, 5).result(DEADLINE) == 5
    assert value.value == 5
    assert queue.get() == 5
    queue.close()


@pytest.mark.parametrize("chunksize", [None, 1])
def test_an_initializer_that_raises_fails_everything(
    make_pool: MakePool, kind: Kind, chunksize: int | None
) -> None:
    """Every waiting future fails at once, with the reason; the pool refuses more of the same."""
    with Gate() as gate:
        setup = partial(tasks.fail_to_start, gate.path)
        pool = make_pool(2, initializer=setup, initargs=("no database",))
        if kind.can("concurrent"):
            waiting = [pool.submit(tasks.double, n) for n in range(5)]
            results = pool.map(tasks.double, range(5), chunksize=chunksize)
            lazy = pool.map(tasks.double, iter(range(100)), buffersize=3, chunksize=chunksize)
            gate.open()
            for each in (results, lazy):
                with pytest.raises(InitializerFailed):
                    list(each)
        else:
            gate.open()
            waiting = [pool.submit(tasks.double, 1)]
        for task in waiting:
            error = task.exception(DEADLINE)
            assert isinstance(error, InitializerFailed)
            assert isinstance(error, BrokenExecutor)
            assert str(error).endswith(
                "initializer or worker_context raised LookupError: no database"
            )
            assert error.__cause__ is not None
        with pytest.raises(BrokenExecutor, match="no database"):
            pool.submit(tasks.double, 1)
        with pytest.raises(BrokenExecutor, match="no database"):
            pool.map(tasks.double, [1])
        pool.join(DEADLINE)
        assert pool.unfinished == 0


@pytest.mark.needs("recycles")
@pytest.mark.parametrize("chunksize", [None, 1])
def test_a_pool_that_breaks_in_the_midst_of_a_map_says_so(
    make_pool: MakePool, tmp_path: Path, chunksize: int | None
) -> None:
    """Input that is not pulled any more is no end of the results: the consumer gets the reason."""
    mark = str(tmp_path / "mark")
    pool = make_pool(1, initializer=tasks.fail_if_there, initargs=(mark,), max_tasks_per_worker=1)
    results = pool.map(
        partial(tasks.touch, mark), iter(range(9)), buffersize=1, chunksize=chunksize
    )
    assert next(results) == 0
    with pytest.raises(InitializerFailed, match="no second"):
        list(results)
    pool.join(DEADLINE)


@pytest.mark.parametrize("kind_of_error", [SystemExit, KeyboardInterrupt, tasks.OwnBase])
def test_an_initializer_may_raise_anything(
    make_pool: MakePool, kind_of_error: type[BaseException]
) -> None:
    """Also what is no Exception is a failed initializer."""
    pool = make_pool(1, initializer=tasks.fail_with, initargs=(kind_of_error, 1))
    with pytest.raises(InitializerFailed, match=kind_of_error.__name__):
        pool.submit(tasks.double, 1).result(DEADLINE)


@pytest.mark.needs("starts_apart")
def test_an_initializer_that_dies_fails_everything(kind: Kind, make_pool: MakePool) -> None:
    """A worker that dies in its initializer is told as that, at once."""
    pool = make_pool(1, initializer=tasks.die, initargs=(9,))
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, InitializerFailed)
    assert "in its initializer" in str(error)
    assert "9" in str(error) or not kind.can("exit_codes")


@pytest.mark.needs("starts_apart")
def test_an_initializer_that_hangs_is_ended(make_pool: MakePool, gate: Gate) -> None:
    """A worker that is not ready after start_timeout fails all who wait."""
    pool = make_pool(1, initializer=stop, initargs=(gate.path,), start_timeout=0.5)
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, InitializerFailed)
    assert "0.5" in str(error)


# ------------------------------------------------------------------- worker_context


def test_the_worker_context_is_entered_and_left(make_pool: MakePool) -> None:
    """Entered once in a worker, before its first task; left when the worker ends in order."""
    with Gate() as seen:
        pool = make_pool(1, worker_context=tasks.context_of(seen.path, "connection"))
        assert pool.submit(tasks.resource).result(DEADLINE) == "connection"
        assert list(pool.map(tasks.resource_for, range(3))) == ["connection"] * 3
        assert seen.waiting() == ["enter"]
        pool.shutdown()
        assert seen.waiting() == ["leave"]


@pytest.mark.needs("concurrent")
def test_each_worker_has_its_own_context(make_pool: MakePool) -> None:
    """Two workers enter twice and leave twice."""
    with Gate() as seen, Gate() as gate:
        pool = make_pool(2, worker_context=tasks.context_of(seen.path, None))
        for _ in range(2):
            pool.submit(tasks.hold, gate.path, None)
        gate.arrivals(2)
        assert sorted(seen.waiting()) == ["enter", "enter"]
        gate.open()
        pool.shutdown()
        assert sorted(seen.waiting()) == ["leave", "leave"]


def test_a_context_that_cannot_be_entered_fails_everything(make_pool: MakePool) -> None:
    """As with the initializer: InitializerFailed, with the reason."""
    pool = make_pool(1, worker_context=tasks.broken_context)
    error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, InitializerFailed)
    assert "no such resource" in str(error)


def test_what_is_no_context_manager_fails_everything(make_pool: MakePool) -> None:
    """worker_context has to give a context manager."""
    pool = make_pool(1, worker_context=list)
    with pytest.raises(InitializerFailed, match="context manager"):
        pool.submit(tasks.double, 1).result(DEADLINE)


def test_initializer_and_context_go_together(make_pool: MakePool) -> None:
    """The initializer runs before the context is entered."""
    with Gate() as seen:
        pool = make_pool(
            1,
            initializer=tasks.report_start,
            initargs=(seen.path,),
            worker_context=tasks.context_of(seen.path, 1),
        )
        assert pool.submit(tasks.resource).result(DEADLINE) == 1
        assert seen.waiting() == ["start", "enter"]


# --------------------------------------------------------------- max_tasks_per_worker


@pytest.mark.needs("recycles")
def test_a_worker_that_has_done_enough_is_replaced(make_pool: MakePool, kind: Kind) -> None:
    """After so many tasks a worker leaves in order, and another takes its index."""
    with Gate() as seen:
        context = tasks.context_of(seen.path, None)
        pool = make_pool(1, max_tasks_per_worker=2, worker_context=context)
        for _ in range(5):
            assert pool.submit(tasks.worker_index).result(DEADLINE) == 0
        pool.shutdown()
        life = ["enter", "leave"]
        assert seen.waiting() == life * 3


@pytest.mark.needs("recycles")
@pytest.mark.parametrize("chunksize", [None, 1, 4])
def test_items_of_a_map_count_as_tasks(make_pool: MakePool, chunksize: int | None) -> None:
    """No worker runs more than so many items, however they travel."""
    with Gate() as seen:
        context = tasks.context_of(seen.path, None)
        pool = make_pool(1, max_tasks_per_worker=3, worker_context=context)
        list(pool.map(tasks.reporting(seen.path), range(12), chunksize=chunksize))
        pool.shutdown()
        lives = " ".join(seen.waiting()).replace("leave", "").split("enter")
        assert all(len(life.split()) <= 3 for life in lives)
        assert sum(len(life.split()) for life in lives) == 12


@pytest.mark.needs("recycles")
@pytest.mark.needs("concurrent")
def test_replaced_workers_keep_the_others_company(make_pool: MakePool) -> None:
    """Many replacements on several workers lose no task, and indexes stay in range."""
    pool = make_pool(2, max_tasks_per_worker=3)
    submitted = [pool.submit(tasks.worker_index) for _ in range(40)]
    assert {task.result(DEADLINE) for task in submitted} <= {0, 1}
    pool.join(DEADLINE)


# ------------------------------------------------------------------ what current() tells


def test_current_tells_a_task_about_itself(make_pool: MakePool) -> None:
    """Pool, worker, id, name, attempt and resource."""
    pool = make_pool(1, name="crew")
    first = pool.submit(tasks.facts)
    second = pool.submit(tasks.facts)
    expected = tasks.Facts("crew", 0, 0, "facts", 1, None)
    assert first.result(DEADLINE) == expected
    assert second.result(DEADLINE) == expected._replace(task_id=second.id)
    assert second.id == 1


@pytest.mark.parametrize("chunksize", [None, 5])
def test_current_tells_an_item_its_position(pool: Pool, chunksize: int | None) -> None:
    """In a map call task_id is the position of the item."""
    items = list(pool.map(tasks.facts, range(50), chunksize=chunksize))
    assert [item.task_id for item in items] == list(range(50))
    assert {item.task_name for item in items} == {"facts"}
    assert {item.attempt for item in items} == {1}


def test_current_counts_attempts(pool: Pool) -> None:
    """attempt is 1 at the first start, 2 at the first retry."""
    view = pool.options(retries=4, retry_on=LookupError)
    assert view.submit(tasks.fail_until, 4).result(DEADLINE) == 4


def test_current_is_for_tasks_alone(pool: Pool) -> None:
    """Outside of a task there is nothing to tell."""
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    with pytest.raises(RuntimeError, match="outside of a task"):
        workpool.current()


@pytest.mark.lacks("pickles")
def test_current_of_a_task_inside_a_task(make_pool: MakePool) -> None:
    """A task that is run by one that waits for it is itself, and the outer one is itself again."""
    pool = make_pool(1)

    def outer() -> list[int]:
        before = tasks.facts().task_id
        inner = pool.submit(tasks.facts)
        within = inner.result(DEADLINE).task_id
        assert within == inner.id
        return [before, within, tasks.facts().task_id]

    task = pool.submit(outer)
    assert task.result(DEADLINE) == [0, 1, 0]


@pytest.mark.parametrize("inner", ["thread", "inline"])
def test_current_is_itself_after_a_pool_inside_a_task(pool: Pool, inner: str) -> None:
    """A pool that a task makes, uses and ends takes nothing from what current() tells."""
    facts = pool.options(name="outer").submit(tasks.facts_after_own_pool, inner).result(DEADLINE)
    assert (facts.pool, facts.task_name) == (pool.name, "outer")


@pytest.mark.needs("own_threads")
def test_threads_are_daemons_with_names(make_pool: MakePool) -> None:
    """Worker threads show the pool's name and index, and hold up no exit."""
    pool = make_pool(1, name="crew")
    thread = pool.submit(threading.current_thread).result(DEADLINE)
    assert thread.daemon
    assert thread.name == "crew-0"


@pytest.mark.needs("concurrent")
def test_a_worker_that_cannot_start_is_told(
    make_pool: MakePool, kind: Kind, monkeypatch: pytest.MonkeyPatch, busy: Busy
) -> None:
    """When threads run out the task fails with the reason; the pool recovers when they are back."""
    pool = make_pool(1)

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        error = pool.submit(tasks.double, 1).exception(DEADLINE)
    assert isinstance(error, BrokenExecutor)
    assert "can't start new thread" in str(error)
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    pool.join(DEADLINE)
