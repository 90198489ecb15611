"""cancel() of tasks that are with a worker already: each of them comes to know of it, or never begins."""

from __future__ import annotations

import gc
from concurrent.futures import CancelledError
from functools import partial
from weakref import ref

import pytest

from tests.contract.conftest import MakePool
from tests.support import kept, tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.on_the_way import stopped_after, stopped_before
from workpool import Current, Pool, Task, current


@pytest.mark.needs("own_threads")
def test_a_task_that_waited_for_another_still_sees_that_it_is_cancelled(
    make_pool: MakePool, gate: Gate
) -> None:
    """What a task ran meanwhile, in its own thread, does not hide that it was cancelled itself."""
    pool = make_pool(1)
    task = pool.submit(tasks.cancelled_after_another, pool, gate.path)
    gate.arrival()
    assert not task.cancel()
    gate.open()
    assert task.result(DEADLINE)


@pytest.mark.needs("own_threads")
def test_who_waits_for_a_cancelled_task_is_not_cancelled(make_pool: MakePool, gate: Gate) -> None:
    """What current() gave tells of its own task, also while another one runs in the same thread."""
    pool = make_pool(1)
    handed: list[Current] = []
    inner: list[Task[None]] = []
    outer = pool.submit(kept.hand_out_and_wait, pool, gate.path, handed, inner)
    gate.arrival()
    assert not inner[0].cancel()
    told = [handed[0].cancelled]
    assert not outer.cancel()
    told.append(handed[0].cancelled)
    gate.open()
    outer.result(DEADLINE)
    told.append(handed[0].cancelled)
    assert told == [False, True, True]


@pytest.mark.needs("own_threads")
def test_what_is_kept_of_a_task_keeps_neither_it_nor_its_result(make_pool: MakePool) -> None:
    """A task may give what current() gives, and is gone when nobody else has it."""
    pool = make_pool(1)
    task = pool.submit(current)
    mine, gone = task.result(DEADLINE), ref(task)
    pool.join(DEADLINE)
    del task
    gc.collect()
    assert gone() is None
    assert not mine.cancelled


@pytest.mark.needs("concurrent")
def test_a_task_that_is_over_is_not_cancelled_with_another(make_pool: MakePool, gate: Gate) -> None:
    """What current() gave tells nothing of those that the worker runs later."""
    pool = make_pool(1)
    pool.submit(kept.keep_situation).result(DEADLINE)
    task = pool.submit(kept.tell_of_the_kept, DEADLINE, gate.path)
    assert gate.arrival() == "begun"
    assert not task.cancel()
    assert gate.arrivals(2) == ["told True", "kept False"]
    task.result(DEADLINE)


@pytest.mark.needs("concurrent")
@pytest.mark.lacks("far")  # there a map call is closed for all items that were sent together
@pytest.mark.parametrize("limit", [None, 2 * DEADLINE])
def test_an_item_that_is_over_is_not_cancelled_with_those_behind_it(
    make_pool: MakePool, gate: Gate, limit: float | None
) -> None:
    """Its map call was closed when it had ended already."""
    pool = make_pool(1, time_limit=limit)
    results = pool.map(partial(kept.keep_and_tell, DEADLINE, gate.path), [0, 1], chunksize=2)
    assert gate.arrival() == "begun"
    results.close()
    assert gate.arrivals(2) == ["told True", "kept False"]
    pool.join(DEADLINE)


@pytest.mark.needs("own_threads")
@pytest.mark.parametrize("limit", [None, 2 * DEADLINE])
def test_an_item_whose_result_is_seen_is_over(make_pool: MakePool, limit: float | None) -> None:
    """Its map call may be closed before its thread has come to the end of the chunk."""
    pool = make_pool(1, time_limit=limit)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    worker = pool._scheduler.workers[0]
    step = "_deliver" if limit is None else "_run_item"
    with stopped_after(worker, step):
        results = pool.map(lambda _: current(), iter([0]), chunksize=2)
        now = next(results)
        results.close()
        assert not now.cancelled
    pool.join(DEADLINE)
    assert not now.cancelled


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("how", ["submit", "map"])
def test_who_looks_when_a_cancelled_call_is_over_sees_it(
    make_pool: MakePool, gate: Gate, how: str
) -> None:
    """The call has stopped in order before anybody else looked at what current() gave it."""
    pool = make_pool(1)
    fn = partial(kept.keep_until_cancelled, DEADLINE, gate.path)
    if how == "submit":
        task = pool.submit(fn)
        assert gate.arrival() == "begun"
        assert not task.cancel()
        task.result(DEADLINE)
        del task
    else:
        results = pool.map(fn, [0])
        assert gate.arrival() == "begun"
        results.close()
    assert gate.arrival() == "told True"
    pool.submit(kept.say_what_is_kept, gate.path).result(DEADLINE)
    assert gate.arrival() == "kept True"


@pytest.mark.needs("writes_off")
@pytest.mark.parametrize("how", ["submit", "map"])
@pytest.mark.parametrize("why", ["kill", "limit"])
def test_a_thread_of_the_task_sees_that_the_worker_is_given_up(
    make_pool: MakePool, gate: Gate, how: str, why: str
) -> None:
    """Also when the call is over by the time it looks."""
    pool = make_pool(1)
    view = pool.options(time_limit=0.2 if why == "limit" else None)
    fn = partial(kept.outlive, gate.path)
    call = view.submit(fn, 0) if how == "submit" else view.map(fn, [0])
    assert gate.arrival() == "begun"
    if why == "kill":
        pool.kill()
    assert gate.arrival() == "ended True, told True"
    del call


@pytest.mark.needs("writes_off")
def test_what_surrounds_the_tasks_sees_that_the_worker_is_given_up(
    make_pool: MakePool, gate: Gate
) -> None:
    """What current() gave in worker_context tells of the worker's own end, while a task still runs there."""
    pool = make_pool(1, worker_context=partial(kept.watched, DEADLINE, gate.path))
    pool.submit(stop, gate.path, "task")
    assert gate.arrival() == "task"
    pool.kill()
    assert gate.arrival() == "around True"


@pytest.mark.needs("own_threads")
def test_what_surrounds_the_tasks_sees_the_end_of_the_pool(make_pool: MakePool, gate: Gate) -> None:
    """And not that a task is cancelled."""
    pool = make_pool(1, worker_context=kept.kept_in_context)
    task = pool.submit(kept.tell_of_the_kept, DEADLINE, gate.path)
    assert gate.arrival() == "begun"
    assert not task.cancel()
    assert gate.arrivals(2) == ["told True", "kept False"]
    pool.submit(kept.tell_of_the_kept, DEADLINE, gate.path)
    assert gate.arrival() == "begun"
    in_background(pool.shutdown, cancel_futures=True).result()
    assert gate.arrivals(2) == ["told True", "kept True"]


@pytest.mark.needs("concurrent")
def test_a_cancelled_task_is_not_tried_again(pool: Pool, gate: Gate) -> None:
    """A task that is cancelled while it runs, and fails, has had its last attempt."""
    view = pool.options(retries=3, retry_on=LookupError)
    task = view.submit(tasks.hold_or_fail, gate.path, LookupError("first"))
    gate.arrival()
    assert not task.cancel()
    gate.open()
    with pytest.raises(LookupError, match="first"):
        task.result(DEADLINE)
    assert task.attempts == 1


@pytest.mark.needs("concurrent")
@pytest.mark.lacks("far")  # there the items behind it begin, and see it at once
@pytest.mark.parametrize("chunksize", [1, 3, None])
def test_items_see_that_their_map_call_was_closed(
    pool: Pool, gate: Gate, chunksize: int | None
) -> None:
    """An item that runs is told when nobody wants its result any more; those behind it never begin."""
    told = partial(tasks.tell_if_cancelled, DEADLINE, gate.path)
    results = pool.map(told, range(6), chunksize=chunksize)
    running = set(gate.arrivals(2))
    assert all(word.startswith("begun") for word in running)
    results.close()
    assert sorted(gate.arrivals(2)) == ["told True", "told True"]
    in_background(pool.join, DEADLINE).result()
    assert gate.waiting() == []


@pytest.mark.needs("concurrent")
@pytest.mark.lacks("far")  # as above
@pytest.mark.parametrize("limit", [None, 2 * DEADLINE])
def test_items_that_have_not_begun_never_do_when_the_pool_is_shut_down(
    make_pool: MakePool, gate: Gate, limit: float | None
) -> None:
    """With cancel_futures: also those that have left the queue, together with the one that runs."""
    pool = make_pool(1, time_limit=limit)
    told = partial(tasks.tell_if_cancelled, DEADLINE, gate.path)
    results = pool.map(told, range(6), chunksize=6)
    assert gate.arrival() == "begun"
    in_background(pool.shutdown, cancel_futures=True).result()
    assert gate.waiting() == ["told True"]
    assert pool.unfinished == 0
    with pytest.raises(CancelledError):
        next(results)


@pytest.mark.needs("own_threads")
@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_chunk_that_a_thread_has_taken_is_not_begun(
    make_pool: MakePool, gate: Gate, how: str
) -> None:
    """Nobody wants it any more when it comes to that: none of its items runs."""
    pool = make_pool(1)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    with stopped_before(pool._scheduler.workers[0], "run_chunk") as taking:
        results = pool.map(tasks.reporting(gate.path), [1, 2], chunksize=2)
        taking.arrival()
        if how == "close":
            results.close()
        else:
            pool.shutdown(wait=False, cancel_futures=True)
    pool.join(DEADLINE)
    assert gate.waiting() == []
    assert pool.unfinished == 0


@pytest.mark.lacks("concurrent")
@pytest.mark.parametrize("how", ["kill", "cancel"])
def test_an_item_may_end_its_pool(pool: Pool, how: str) -> None:
    """The items behind it never begin."""
    ran: list[int] = []

    def end(n: int) -> None:
        ran.append(n)
        if how == "kill":
            pool.kill()
        else:
            pool.shutdown(wait=False, cancel_futures=True)

    results = pool.map(end, range(5), chunksize=5)
    assert ran == [0]
    with pytest.raises(CancelledError):
        next(results)
    pool.join(DEADLINE)


@pytest.mark.needs("concurrent")
def test_what_runs_sees_that_the_rest_is_cancelled_at_the_end_of_the_pool(
    pool: Pool, gate: Gate
) -> None:
    """shutdown(cancel_futures=True) asks tasks and items to stop, and gives what they return then."""
    task = pool.submit(tasks.tell_if_cancelled, DEADLINE, gate.path, 1)
    results = pool.map(partial(tasks.tell_if_cancelled, DEADLINE, gate.path), [2], chunksize=2)
    assert gate.arrivals(2) == ["begun", "begun"]
    in_background(pool.shutdown, cancel_futures=True).result()
    assert task.result(0)
    assert sorted(gate.arrivals(2)) == ["told True", "told True"]
    del results


@pytest.mark.needs("concurrent")
def test_tasks_of_a_cancelled_group_see_it(pool: Pool, gate: Gate) -> None:
    """The failure of one reaches those that run, which may stop in order."""

    def run_two() -> None:
        with pool.group() as group:
            told.append(group.submit(tasks.tell_if_cancelled, DEADLINE, gate.path, 1))
            gate.arrival()
            group.submit(tasks.fail_with, LookupError, "on purpose")

    told: list[Task[bool]] = []
    with pytest.raises(ExceptionGroup):
        run_two()
    assert told[0].result(0)


@pytest.mark.needs("own_threads")
def test_a_thread_that_is_killed_sees_it(make_pool: MakePool, gate: Gate) -> None:
    """kill() gives up threads; what looks at the flag there stops by itself."""
    pool = make_pool(1)
    pool.submit(tasks.tell_if_cancelled, DEADLINE, gate.path, 1)
    gate.arrival()
    pool.kill()
    assert pool.unfinished == 0
