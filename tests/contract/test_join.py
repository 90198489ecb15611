"""join and unfinished: everything submitted so far is done, or how much is not."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from workpool import JoinTimeout, Pool, Task, WouldDeadlock


def test_join_counts_every_task(pool: Pool) -> None:
    """After join() everything is done and nothing is unfinished."""
    submitted = [pool.submit(tasks.double, n) for n in range(100)]
    results = pool.map(tasks.double, range(100))
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    assert [task.result(timeout=0) for task in submitted] == [2 * n for n in range(100)]
    assert list(results) == [2 * n for n in range(100)]


def test_join_of_an_idle_pool_returns(pool: Pool) -> None:
    """With nothing submitted there is nothing to wait for, whatever the timeout."""
    pool.join()
    pool.join(0)
    pool.join(float("inf"))
    assert pool.unfinished == 0


@pytest.mark.parametrize("seconds", [1e7, 1e12, float("inf")])
def test_an_endless_timeout_waits(pool: Pool, busy: Busy, seconds: float) -> None:
    """Timeouts beyond what the system can count are long ones, in join() and in result()."""
    with busy(pool):
        task = pool.submit(tasks.double, 21)
        joins = in_background(pool.join, seconds)
        result = in_background(task.result, seconds)
    joins.result()
    assert result.result() == 42


def test_join_waits_whatever_the_outcome(pool: Pool, busy: Busy) -> None:
    """Failed, cancelled and retried tasks are done as well."""
    with busy(pool):
        pool.submit(tasks.fail_with, ValueError)
        pool.submit(tasks.double, 1).cancel()
        pool.options(retries=1, retry_on=LookupError).submit(tasks.fail_until, 5)
        failing = pool.map(tasks.fail_if_odd, range(10))
    pool.join(DEADLINE)
    assert pool.unfinished == 0
    failing.close()


def test_a_pool_can_be_joined_again_and_again(pool: Pool) -> None:
    """join() ends nothing."""
    for n in range(3):
        task = pool.submit(tasks.double, n)
        pool.join(DEADLINE)
        assert task.result(timeout=0) == 2 * n


def test_unfinished_counts_tasks_and_items(pool: Pool, busy: Busy) -> None:
    """unfinished is what is submitted and not done, an item of a map counting as one."""
    assert pool.unfinished == 0
    with busy(pool):
        before = pool.unfinished
        assert before > 0
        task = pool.submit(tasks.double, 1)
        results = pool.map(tasks.double, range(10))
        assert pool.unfinished == before + 11
        task.cancel()
        assert pool.unfinished == before + 10
        results.close()
        assert pool.unfinished == before
    pool.join(DEADLINE)
    assert pool.unfinished == 0


def test_join_gives_up_with_the_names_of_what_runs(pool: Pool, busy: Busy) -> None:
    """JoinTimeout tells how many are left and what runs for how long; the pool stays open."""
    with busy(pool):
        queued = pool.submit(tasks.double, 1)
        left = pool.unfinished
        with pytest.raises(JoinTimeout):
            pool.join(0)
        with pytest.raises(JoinTimeout) as caught:
            pool.join(0.01)
        error = caught.value
        assert isinstance(error, TimeoutError)
        assert error.unfinished == left
        assert len(error.running) == left - 1
        for name, age in error.running:
            assert "hold" in name
            assert age >= 0
        assert f"{left} tasks" in str(error)
        assert "hold" in str(error)
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.unfinished, copy.running) == (error.unfinished, error.running)
    assert queued.result(DEADLINE) == 2


@pytest.mark.needs("concurrent")
def test_join_names_the_item_that_runs(pool: Pool, gate: Gate) -> None:
    """Of a map call the item is named by its position."""
    results = pool.map(tasks.holding(gate.path, held=3), range(5), chunksize=5)
    gate.arrival()
    with pytest.raises(JoinTimeout) as caught:
        pool.join(0.01)
    # Items that waited behind it may run elsewhere by now, and are named too.
    ages = [age for name, age in caught.value.running if "item 3 of map" in name]
    assert len(ages) == 1
    assert ages[0] >= 0
    gate.open()
    assert list(results) == [0, 2, 4, 6, 8]


@pytest.mark.needs("concurrent")
def test_later_tasks_do_not_hold_a_join_up(pool: Pool, gate: Gate) -> None:
    """join() waits for what was submitted before it, also while others go on submitting."""
    joining, go = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        yield 0
        joining.set()  # the second item is pulled by the join
        assert go.wait(DEADLINE)
        yield 1

    results = pool.map(tasks.double, items(), buffersize=1)
    join = in_background(pool.join, DEADLINE)
    assert joining.wait(DEADLINE)
    later = pool.submit(tasks.hold, gate.path, "later")
    gate.arrival()
    go.set()
    join.result()
    assert not later.done()
    assert list(results) == [0, 2]
    gate.open()
    assert later.result(DEADLINE) == "later"


def test_to_look_again_and_again_costs_no_more_each_time(pool: Pool, busy: Busy) -> None:
    """Each join seals what was submitted so far; one that gives up leaves no seal."""
    ledger = pool._scheduler.ledger
    with busy(pool):
        for n in range(50):
            pool.submit(tasks.double, n)
            for timeout in (0, 0.001):
                with pytest.raises(JoinTimeout):
                    pool.join(timeout)
        assert len(ledger._sealed) <= 1
        assert ledger.unfinished >= 50
    pool.join(DEADLINE)
    assert not ledger.anything_left


@pytest.mark.needs("concurrent")
def test_who_only_looks_changes_nothing_for_who_waits(
    make_pool: MakePool, make_gate: Callable[[], Gate]
) -> None:
    """What is submitted after a join began does not hold it up, though others looked meanwhile and gave up."""
    pool, first, later = make_pool(2), make_gate(), make_gate()
    pool.submit(tasks.hold, first.path, 1)
    first.arrival()
    joins = in_background(pool.join, DEADLINE)
    until(lambda: bool(pool._scheduler.ledger._sealed))
    for _ in range(3):
        with pytest.raises(JoinTimeout):
            pool.join(0)
        pool.submit(tasks.hold, later.path, 2)
    first.open()
    joins.result()
    assert pool.unfinished == 3


def test_many_threads_may_join(pool: Pool, busy: Busy) -> None:
    """Every join returns when all that was submitted before it is done, and no sooner."""

    def join_and_look() -> bool:
        pool.join(DEADLINE)
        return before.done()

    with busy(pool):
        before = pool.submit(tasks.double, 1)
        joins = [in_background(join_and_look) for _ in range(5)]
        pool.submit(tasks.double, 2)
    assert [join.result() for join in joins] == [True] * 5


def test_a_join_that_gave_up_leaves_nothing(pool: Pool, busy: Busy) -> None:
    """Joins that timed out do not disturb those that come after."""
    with busy(pool):
        results = pool.map(tasks.double, iter(range(100)), buffersize=5)
        for _ in range(20):
            with pytest.raises(JoinTimeout):
                pool.join(0)
    pool.join(DEADLINE)
    assert list(results) == [2 * n for n in range(100)]


# ------------------------------------------------------------------ from the inside


@pytest.mark.lacks("pickles")
@pytest.mark.parametrize("call", ["join", "shutdown", "leave the block"])
def test_a_task_cannot_wait_for_its_own_pool(pool: Pool, call: str) -> None:
    """join and shutdown(wait=True) from inside a task would wait for that task: refused."""

    def leave() -> None:
        with pool:
            pass

    calls: dict[str, Callable[[], object]] = {
        "join": pool.join,
        "shutdown": pool.shutdown,
        "leave the block": leave,
    }
    task = in_background(pool.submit, calls[call]).result()
    error = task.exception(DEADLINE)
    assert isinstance(error, WouldDeadlock)
    assert isinstance(error, RuntimeError)
    assert pool._name in str(error)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2


def test_a_callback_cannot_wait_for_its_own_pool(pool: Pool, busy: Busy) -> None:
    """A callback stands between its task and the count: join there is refused, too."""
    seen: list[BaseException] = []

    def callback(_: Future[int]) -> None:
        try:
            pool.join(DEADLINE)
        except WouldDeadlock as error:
            seen.append(error)

    with busy(pool):
        task = pool.submit(tasks.double, 1)
        task.add_done_callback(callback)
    pool.join(DEADLINE)
    assert task.result(0) == 2
    assert len(seen) == 1


@pytest.mark.lacks("pickles")
def test_a_task_may_close_its_own_pool(pool: Pool) -> None:
    """shutdown(wait=False) waits for nothing and so may be called anywhere."""
    task = pool.submit(pool.shutdown, wait=False)
    assert task.result(DEADLINE) is None
    in_background(pool.shutdown).result()


@pytest.mark.lacks("pickles")
def test_a_task_may_join_another_pool(pool: Pool, make_pool: MakePool) -> None:
    """Only its own pool is refused."""
    other = make_pool()

    def use_other() -> list[int]:
        submitted: list[Task[int]] = [other.submit(tasks.double, n) for n in range(5)]
        other.join(DEADLINE)
        return [task.result(0) for task in submitted]

    assert in_background(pool.submit, use_other).result().result(DEADLINE) == [0, 2, 4, 6, 8]
