"""options: names, priorities, retries and pauses, on a view of the same pool."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool


def test_a_view_has_the_calls_of_its_pool(pool: Pool) -> None:
    """submit, map and starmap of a view run on the pool that it came from."""
    view = pool.options(name="other")
    assert view.submit(tasks.double, 1).result(DEADLINE) == 2
    assert list(view.map(tasks.double, range(3))) == [0, 2, 4]
    assert list(view.starmap(tasks.add, [(1, 2), (3, 4)])) == [3, 7]
    assert pool.stats().done == 6


def test_a_view_shares_the_queue(pool: Pool, busy: Busy) -> None:
    """What a view submits is counted and ended with the rest of the pool."""
    with busy(pool):
        before = pool.unfinished
        task = pool.options(retries=1).submit(tasks.double, 1)
        assert pool.unfinished == before + 1
        pool.shutdown(wait=False, cancel_futures=True)
        assert task.cancelled()


def test_a_view_outlives_the_name_of_its_pool(make_pool: MakePool) -> None:
    """A pool stays open while somebody has a view of it."""
    view = make_pool().options(name="x")
    assert view.submit(tasks.double, 1).result(DEADLINE) == 2


def test_a_name_is_given_to_tasks_and_items(pool: Pool) -> None:
    """options(name=...) shows in the task, in current() and in map items."""
    view = pool.options(name="resize")
    task = view.submit(tasks.facts)
    assert task.result(DEADLINE).task_name == "resize"
    assert task.name == "resize"
    assert {item.task_name for item in view.map(tasks.facts, range(5))} == {"resize"}
    assert {item.task_name for item in pool.map(tasks.facts, range(5))} == {"facts"}


# ------------------------------------------------------------------------- priority


def run_in_turn(
    pool: Pool, busy: Busy, submit: Callable[[str], object], order: list[str]
) -> list[str]:
    """Submit while the worker is busy, and tell in which order things ran."""
    with Gate() as seen:
        with busy(pool):
            submit(seen.path)
        pool.join(DEADLINE)
        return seen.arrivals(len(order))


def test_smaller_priorities_run_sooner(make_pool: MakePool, busy: Busy) -> None:
    """As in queue.PriorityQueue; among equals, first come, first served."""
    pool = make_pool(1)

    def submit(gate: str) -> None:
        for n, priority in enumerate([3, 1, 2, 0, -1, 1, 3, -1, 0]):
            pool.options(priority=priority).submit(tasks.report, gate, f"{priority}-{n}")

    expected = ["-1-4", "-1-7", "0-3", "0-8", "1-1", "1-5", "2-2", "3-0", "3-6"]
    assert run_in_turn(pool, busy, submit, expected) == expected


def test_priorities_hold_between_maps_and_tasks(make_pool: MakePool, busy: Busy) -> None:
    """Items of a map call have a place in the queue like tasks."""
    pool = make_pool(1)

    def submit(gate: str) -> None:
        reporting: Any = tasks.reporting(gate)
        later = pool.options(priority=2).map(reporting, ["c", "d"])
        pool.options(priority=1).map(reporting, ["a", "b"])
        pool.submit(tasks.report, gate, "first")
        pool.options(priority=3).submit(tasks.report, gate, "last")
        del later

    expected = ["first", "a", "b", "c", "d", "last"]
    assert run_in_turn(pool, busy, submit, expected) == expected


def test_many_priorities_are_quick(make_pool: MakePool, busy: Busy) -> None:
    """A task costs no more where each has one of its own."""
    pool = make_pool(1)
    views = [pool.options(priority=n) for n in range(10_000)]
    with busy(pool):
        began = time.process_time()
        submitted = [view.submit(tasks.double, 1) for view in reversed(views)]
        assert time.process_time() - began < 1.0
        assert [*pool._scheduler.queue] == submitted[::-1]
    pool.join(DEADLINE)
    assert time.process_time() - began < 5.0


def test_the_pool_has_a_default_priority(make_pool: MakePool, busy: Busy) -> None:
    """Terms given to the pool hold for calls that say nothing else."""
    pool = make_pool(1, priority=5)

    def submit(gate: str) -> None:
        pool.submit(tasks.report, gate, "usual")
        pool.options(priority=4).submit(tasks.report, gate, "sooner")

    assert run_in_turn(pool, busy, submit, ["", ""]) == ["sooner", "usual"]


# -------------------------------------------------------------------------- retries


def test_a_task_runs_again_after_a_failure(pool: Pool) -> None:
    """With retries a failed task starts anew, and its last outcome counts."""
    task = pool.options(retries=3, retry_on=LookupError).submit(tasks.fail_until, 3)
    assert task.result(DEADLINE) == 3
    assert task.attempts == 3
    assert pool.stats().retried == 2
    pool.join(DEADLINE)


def test_retries_are_used_up(pool: Pool) -> None:
    """After the last retry the error is the outcome."""
    task = pool.options(retries=1, retry_on=LookupError).submit(tasks.fail_until, 3)
    with pytest.raises(LookupError, match="2"):
        task.result(DEADLINE)
    assert task.attempts == 2


def test_retry_on_chooses_the_errors(pool: Pool) -> None:
    """Only errors of these types, and of types below them, are tried again."""
    view = pool.options(retries=2, retry_on=(LookupError, OSError))
    keyed = view.submit(tasks.fail_with, KeyError, "k")
    valued = view.submit(tasks.fail_with, ValueError, "v")
    assert isinstance(keyed.exception(DEADLINE), KeyError)
    assert isinstance(valued.exception(DEADLINE), ValueError)
    assert (keyed.attempts, valued.attempts) == (3, 1)


def test_by_default_errors_are_not_tried_again(pool: Pool) -> None:
    """Tasks run at most once unless asked otherwise; retries alone are for lost workers."""
    once = pool.submit(tasks.fail_until, 2)
    lost_only = pool.options(retries=5).submit(tasks.fail_until, 2)
    assert isinstance(once.exception(DEADLINE), LookupError)
    assert isinstance(lost_only.exception(DEADLINE), LookupError)
    assert (once.attempts, lost_only.attempts) == (1, 1)


def test_the_pool_has_default_retries(make_pool: MakePool) -> None:
    """Retries given to the pool hold for submit and map alike."""
    pool = make_pool(2, retries=2, retry_on=LookupError)
    assert pool.submit(tasks.fail_until, 3).result(DEADLINE) == 3
    assert list(pool.map(tasks.fail_until, [1, 2, 3])) == [1, 2, 3]


@pytest.mark.parametrize("chunksize", [None, 1, 5])
@pytest.mark.parametrize("ordered", [True, False])
def test_items_run_again_one_by_one(pool: Pool, chunksize: int | None, ordered: bool) -> None:
    """In a map call only the failed items run again, and results keep their places."""
    view = pool.options(retries=2, retry_on=LookupError)
    needed = [1, 3, 1, 2, 1, 1, 3, 3, 2, 1] * 3
    results = list(view.map(tasks.fail_until, needed, chunksize=chunksize, ordered=ordered))
    assert (results if ordered else sorted(results)) == (needed if ordered else sorted(needed))
    assert pool.stats().retried == sum(n - 1 for n in needed)
    pool.join(DEADLINE)


def test_items_use_up_their_retries(pool: Pool) -> None:
    """An item that fails too often has its last error in its place."""
    view = pool.options(retries=1, retry_on=LookupError)
    outcomes = list(view.map(tasks.fail_until, [1, 3, 2], return_exceptions=True))
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], LookupError)
    assert outcomes[2] == 2


# ------------------------------------------------------------- pauses between attempts


@pytest.mark.needs("limits")
@pytest.mark.parametrize("seconds", [1e7, 1e12, float("inf")])
def test_an_endless_time_limit_is_a_long_one(pool: Pool, seconds: float) -> None:
    """A limit beyond what the system can count limits nothing, and harms nobody."""
    view = pool.options(time_limit=seconds)
    assert view.submit(tasks.double, 21).result(DEADLINE) == 42
    assert list(view.map(tasks.double, range(5))) == [0, 2, 4, 6, 8]
    assert pool.options(time_limit=60.0).submit(tasks.double, 2).result(DEADLINE) == 4


def test_a_pause_beyond_all_clocks_can_be_ended(pausing: Pool) -> None:
    """Doubled ever so often, or endless from the start, a pause is only a long one."""
    for backoff in (1e12, float("inf")):
        view = pausing.options(retries=5_000, retry_on=LookupError, backoff=backoff)
        task = view.submit(tasks.fail_with, LookupError)
        short = pausing.options(retries=1, retry_on=LookupError, backoff=0.001)
        assert short.submit(tasks.fail_until, 2).result(DEADLINE) == 2
        assert task.cancel()


def test_backoff_pauses_and_doubles(pool: Pool) -> None:
    """backoff seconds before the first retry, twice as many before the next."""
    began = time.monotonic()
    view = pool.options(retries=2, retry_on=LookupError, backoff=0.05)
    assert view.submit(tasks.fail_until, 3).result(DEADLINE) == 3
    assert time.monotonic() - began >= 0.15
    began = time.monotonic()
    assert list(view.map(tasks.fail_until, [1, 2])) == [1, 2]
    assert time.monotonic() - began >= 0.05


LONG = 600.0  # seconds; a pause whose end no test waits for


@pytest.fixture
def pausing(make_pool: MakePool) -> Pool:
    """Give a pool of one worker."""
    return make_pool(1)


def test_a_pause_holds_no_worker(pausing: Pool) -> None:
    """While a task waits for its next attempt, its worker runs others."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    waiting = view.submit(tasks.fail_until, 2)
    assert pausing.submit(tasks.double, 1).result(DEADLINE) == 2
    assert not waiting.done()
    assert pausing.unfinished == 1
    pausing.kill()


def test_a_task_in_its_pause_can_be_cancelled(pausing: Pool) -> None:
    """A task that waits for its next attempt does not run, and so can be cancelled."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    waiting = view.submit(tasks.fail_until, 2)
    assert pausing.submit(tasks.double, 1).result(DEADLINE) == 2  # the first attempt is over
    assert waiting.cancel()
    assert waiting.cancelled()
    pausing.join(DEADLINE)


@pytest.mark.needs("limits")
def test_killing_a_task_in_its_pause_hits_nobody_else(pausing: Pool, gate: Gate) -> None:
    """cancel(kill=True) of a waiting task leaves alone what its worker does meanwhile."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    waiting = view.submit(tasks.fail_until, 2)
    innocent = pausing.submit(tasks.hold, gate.path, "unharmed")
    gate.arrival()
    assert waiting.cancel(kill=True)
    assert waiting.cancelled()
    gate.open()
    assert innocent.result(DEADLINE) == "unharmed"
    pausing.join(DEADLINE)


def test_cancel_futures_cancels_tasks_in_their_pause(pausing: Pool) -> None:
    """shutdown(cancel_futures=True) does not sit out pauses."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    waiting = view.submit(tasks.fail_until, 2)
    assert pausing.submit(tasks.double, 1).result(DEADLINE) == 2
    in_background(pausing.shutdown, cancel_futures=True).result()
    assert waiting.cancelled()


def test_kill_ends_pauses(pausing: Pool) -> None:
    """kill() leaves no task pending, in a pause or not."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    waiting = view.submit(tasks.fail_until, 2)
    results = view.map(tasks.fail_until, [2, 2])
    assert pausing.submit(tasks.double, 1).result(DEADLINE) == 2
    pausing.kill()
    with pytest.raises(CancelledError):
        waiting.result(DEADLINE)
    with pytest.raises(CancelledError):
        list(results)
    pausing.join(DEADLINE)


def test_closing_a_map_forgets_items_in_their_pause(pausing: Pool) -> None:
    """Nothing of a map that was closed is waited for."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    results = view.map(tasks.fail_until, [2, 2])
    assert pausing.submit(tasks.double, 1).result(DEADLINE) == 2
    results.close()
    pausing.join(DEADLINE)


@pytest.mark.needs("concurrent")
def test_an_item_of_a_closed_map_is_not_tried_again(pausing: Pool, gate: Gate) -> None:
    """It runs as the call is closed, and fails afterwards: nobody waits for a pause of it."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    fail = partial(tasks.hold_or_fail, gate.path)
    results = view.map(fail, [LookupError(n) for n in range(2)], chunksize=2)
    gate.arrival()
    results.close()
    gate.open()
    pausing.join(DEADLINE)


@pytest.mark.needs("concurrent")
@pytest.mark.parametrize("what", ["task", "item"])
def test_after_cancel_futures_nothing_is_tried_again(pausing: Pool, gate: Gate, what: str) -> None:
    """What runs has its outcome, and a failed attempt is the last."""
    view = pausing.options(retries=1, retry_on=LookupError, backoff=LONG)
    fail = partial(tasks.hold_or_fail, gate.path)
    outcome: Callable[[], object]
    if what == "task":
        outcome = partial(view.submit(fail, LookupError(1)).result, 0)
    else:
        outcome = partial(next, view.map(fail, [LookupError(1)], chunksize=2))
    gate.arrival()
    pausing.shutdown(wait=False, cancel_futures=True)
    gate.open()
    in_background(pausing.shutdown).result()
    with pytest.raises(LookupError):
        outcome()


def test_shutdown_waits_for_attempts_to_come(make_pool: MakePool) -> None:
    """A task in its pause is unfinished, and a pool that is shut down still runs it."""
    pool = make_pool(1)
    view = pool.options(retries=1, retry_on=LookupError, backoff=0.05)
    task = view.submit(tasks.fail_until, 2)
    in_background(pool.shutdown).result()
    assert task.result(0) == 2
