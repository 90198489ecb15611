"""A task that runs past its time limit fails; its worker is replaced, and nothing else is touched."""

from __future__ import annotations

import os
import threading
from concurrent.futures import FIRST_COMPLETED, wait

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import limits, tasks
from tests.support.backends import Kind
from tests.support.gates import DEADLINE, Gate
from tests.support.queues import until
from workpool import Pool, TimeLimitExceeded

pytestmark = pytest.mark.needs("limits")

LIMIT = 0.75  # seconds; what is not to be struck is done in a tenth of that, once it is loaded


@pytest.fixture
def pool(make_pool: MakePool) -> Pool:
    """Give a pool whose two workers have loaded what these tests run."""
    pool = make_pool()
    with Gate() as both:
        warm = [pool.submit(limits.hang, both.path, n) for n in range(2)]
        both.arrivals(2)
    wait(warm, DEADLINE)
    return pool


def pass_by(seconds: float) -> None:
    """Let time pass: it is what the test is about."""
    threading.Event().wait(seconds)


def test_a_task_past_its_limit_fails(pool: Pool, gate: Gate) -> None:
    """Its error says which task and which limit, is a TimeoutError, and the pool goes on."""
    limited = pool.options(time_limit=LIMIT, name="digest")
    task = limited.submit(limits.hang, gate.path, 1)
    with pytest.raises(TimeLimitExceeded, match=r"digest.*time limit of 0\.75 s") as caught:
        task.result(DEADLINE)
    assert isinstance(caught.value, TimeoutError)
    assert (caught.value.time_limit, caught.value.task) == (LIMIT, "digest")
    assert task.ran_for >= LIMIT
    assert limited.submit(tasks.double, 2).result(DEADLINE) == 4
    pool.join(DEADLINE)


def test_the_replacement_has_the_index(make_pool: MakePool, gate: Gate) -> None:
    """A new worker takes the place, with a context of its own."""
    with Gate() as door:
        pool = make_pool(1, worker_context=tasks.context_of(door.path, "resource"))
        task = pool.options(time_limit=LIMIT).submit(limits.hang, gate.path, 1)
        assert door.arrival() == "enter"
        assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
        assert pool.submit(tasks.worker_index).result(DEADLINE) == task.worker == 0
        assert pool.submit(tasks.resource).result(DEADLINE) == "resource"
        pool.shutdown()


def test_a_task_within_its_limit_is_left_alone(make_pool: MakePool, gate: Gate) -> None:
    """Its limit ends with it, and strikes nobody who runs in the same worker afterwards."""
    pool = make_pool(1)
    pool.submit(tasks.double, 1).result(DEADLINE)
    assert pool.options(time_limit=LIMIT).submit(tasks.double, 2).result(DEADLINE) == 4
    later = pool.submit(limits.hang, gate.path, "unharmed")
    gate.arrival()
    pass_by(2 * LIMIT)
    assert later.running()
    gate.open()
    assert later.result(DEADLINE) == "unharmed"
    assert later.attempts == 1


def test_time_in_the_queue_does_not_count(make_pool: MakePool, busy: Busy) -> None:
    """The clock starts when the task starts."""
    pool = make_pool(1)
    with busy(pool) as held:
        task = pool.options(time_limit=LIMIT).submit(tasks.double, 2)
        pass_by(2 * LIMIT)
        held.open()
        assert task.result(DEADLINE) == 4
    assert task.queued_for >= 2 * LIMIT


def test_the_pool_has_a_default_limit(make_pool: MakePool, gate: Gate) -> None:
    """What the pool says holds for all calls, until a view says otherwise."""
    pool = make_pool(2, time_limit=LIMIT)
    struck = pool.submit(limits.hang, gate.path, 1)
    longer = pool.options(time_limit=DEADLINE).submit(limits.hang, gate.path, "longer")
    gate.arrivals(2)
    assert isinstance(struck.exception(DEADLINE), TimeLimitExceeded)
    assert not longer.done()
    gate.open()
    assert longer.result(DEADLINE) == "longer"


@pytest.mark.parametrize("chunksize", [None, 1])
def test_each_item_has_the_limit_for_itself(pool: Pool, gate: Gate, chunksize: int | None) -> None:
    """The item that is late has its error in its place; each of the others runs, once."""
    limited = pool.options(time_limit=LIMIT)
    outcomes = list(
        limited.map(
            limits.hanging_at(5, gate.path), range(12), return_exceptions=True, chunksize=chunksize
        )
    )
    assert isinstance(outcomes[5], TimeLimitExceeded)
    assert outcomes[:5] + outcomes[6:] == [2 * n for n in range(12) if n != 5]
    pool.join(DEADLINE)
    assert pool.unfinished == 0


@pytest.mark.parametrize("chunksize", [None, 1])
def test_a_late_item_ends_a_map_as_any_error_does(
    pool: Pool, gate: Gate, chunksize: int | None
) -> None:
    """Results before it come, then its error, then nothing."""
    results = pool.options(time_limit=LIMIT).map(
        limits.hanging_at(2, gate.path), range(4), chunksize=chunksize
    )
    assert [next(results), next(results)] == [0, 2]
    with pytest.raises(TimeLimitExceeded):
        next(results)
    assert list(results) == []


def test_a_late_task_runs_again_where_that_was_asked(pool: Pool, gate: Gate) -> None:
    """With retry_on=TimeLimitExceeded each attempt has the whole limit; without, it is the outcome."""
    again = pool.options(time_limit=LIMIT, retries=2, retry_on=TimeLimitExceeded)
    task = again.submit(limits.hang_before, 3, gate.path)
    assert task.result(DEADLINE) == 3
    assert task.attempts == 3
    once = pool.options(time_limit=LIMIT, retries=2).submit(limits.hang_before, 2, gate.path)
    assert isinstance(once.exception(DEADLINE), TimeLimitExceeded)
    assert once.attempts == 1


def test_a_late_item_runs_again_where_that_was_asked(pool: Pool, gate: Gate) -> None:
    """The same for one item of many."""
    again = pool.options(time_limit=LIMIT, retries=1, retry_on=TimeLimitExceeded)
    assert list(
        again.starmap(limits.hang_before, [(1, gate.path), (2, gate.path), (1, gate.path)])
    ) == [
        1,
        2,
        1,
    ]


def test_several_limits_end_in_their_own_order(make_pool: MakePool, gate: Gate) -> None:
    """A shorter limit that was set later strikes first."""
    pool = make_pool(2)
    slow = pool.options(time_limit=DEADLINE).submit(limits.hang, gate.path, 1)
    quick = pool.options(time_limit=LIMIT).submit(limits.hang, gate.path, 2)
    done, _ = wait([slow, quick], timeout=DEADLINE, return_when=FIRST_COMPLETED)
    assert done == {quick}
    gate.open()
    assert slow.result(DEADLINE) == 1


@pytest.mark.needs("ends_tasks")
def test_what_holds_the_interpreter_is_ended(make_pool: MakePool, gate: Gate) -> None:
    """Also a task deep in C code, which hears no signal and no exception, is gone after its limit."""
    pool = make_pool(1)
    pool.submit(limits.hang_before, 1, gate.path).result(DEADLINE)
    task = pool.options(time_limit=LIMIT).submit(limits.hold_the_interpreter, gate.path)
    worker = int(gate.arrival())
    with pytest.raises(TimeLimitExceeded, match="worker was ended and replaced"):
        task.result(DEADLINE)
    until(lambda: not os.path.exists(f"/proc/{worker}"))
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    assert pool.stats().lost == 1


@pytest.mark.needs("writes_off")
def test_a_thread_is_written_off(make_pool: MakePool, gate: Gate) -> None:
    """It is told by an exception in its Python code, leaves, and is counted; stats say so."""
    pool = make_pool(1, name="careful")
    task = pool.options(time_limit=LIMIT).submit(limits.until_told, gate.path)
    name = gate.arrival()
    with pytest.raises(
        TimeLimitExceeded, match=r'written off and replaced\. Use backend="process"'
    ):
        task.result(DEADLINE)
    assert gate.arrival() == "TimeLimitExceeded"
    assert pool.stats().written_off == 1
    pool.shutdown()
    until(lambda: name not in {thread.name for thread in threading.enumerate()})


@pytest.mark.needs("writes_off")
def test_what_a_thread_says_too_late_is_dropped(make_pool: MakePool, gate: Gate) -> None:
    """A task that comes to its end after all has failed all the same, and nothing counts it twice."""
    pool = make_pool(1)
    task = pool.options(time_limit=LIMIT).submit(limits.hang, gate.path, "too late")
    gate.arrival()
    assert isinstance(task.exception(DEADLINE), TimeLimitExceeded)
    mine = f"{pool.name}-0"
    gate.open()
    until(lambda: sum(thread.name == mine for thread in threading.enumerate()) <= 1)
    pool.join(DEADLINE)
    assert isinstance(task.exception(0), TimeLimitExceeded)
    assert (pool.stats().failed, pool.stats().done, pool.unfinished) == (1, 0, 0)


@pytest.mark.needs(
    "ends_tasks"
)  # what is sent into a thread right at the gate leaves its socket open
def test_killing_a_pool_forgets_its_limits(make_pool: MakePool, gate: Gate, kind: Kind) -> None:
    """A limit that would have struck later finds nothing to do."""
    pool = make_pool(1)
    pool.submit(limits.hang_before, 1, gate.path).result(DEADLINE)
    task = pool.options(time_limit=LIMIT).submit(limits.hang, gate.path, 1)
    gate.arrival()
    pool.kill()
    error = task.exception(DEADLINE)
    assert type(error).__name__ == "WorkerLost"
    pass_by(2 * LIMIT)
    assert task.exception(0) is error
