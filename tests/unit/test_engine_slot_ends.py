"""A slot of an engine between two ends: what is ended and lands all the same, what is refused, what comes too late."""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from tests.support.slots import clerk_held_up, engine_of, make, posted, slot_of, strike
from workpool import InitializerFailed, Pool, Task
from workpool.backends.engine import slots
from workpool.backends.engine.remote import dump_failure


@pytest.fixture
def gate() -> Generator[Gate]:
    """Give a gate."""
    with Gate() as made:
        yield made


@pytest.fixture
def pool(gate: Gate) -> Generator[Pool]:
    """Give a pool of one slot, which ends after the gate is opened."""
    with make(1) as made:
        yield made
        gate.open()


def test_a_task_that_is_done_before_its_end_takes_nobody_along(
    pool: Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result that comes in while its worker is being ended counts, and the next task waits for a new worker."""
    task, after = pool.submit(tasks.hold, gate.path, "kept"), pool.submit(tasks.double, 2)
    gate.arrival()
    slot = slot_of(pool)
    told, landed = posted(slot, "_end_task", monkeypatch), posted(slot, "landed", monkeypatch)
    with clerk_held_up(slot):
        ending = in_background(task.cancel, kill=True)
        assert told.wait(DEADLINE)
        gate.open()
        assert landed.wait(DEADLINE)
    assert not ending.result()
    assert task.result(DEADLINE) == "kept"
    assert after.result(DEADLINE) == 4
    assert after.attempts == 1


def test_a_refused_order_ends_a_wait_for_its_end(pool: Pool, gate: Gate) -> None:
    """Who waits for a task to be ended is told when the engine gives the order up instead."""
    task, after = pool.submit(tasks.hold, gate.path, 1), pool.submit(tasks.double, 2)
    gate.arrival()
    slot, engine = slot_of(pool), engine_of(pool)
    flight = slot.flight
    assert flight is not None
    refused = OSError("no way")
    engine.end = lambda slot: slot.post(partial(slot.refused, flight, refused))  # type: ignore[method-assign]  # a stand-in
    assert not in_background(task.cancel, kill=True).result()
    error = task.exception(DEADLINE)
    assert isinstance(error, OSError)
    assert error.args == refused.args
    slot.post(partial(slot.refused, flight, LookupError("again")))  # which is nobody's
    strike(pool)  # only now is the far end dead
    assert after.result(DEADLINE) == 4


def test_a_refused_order_fails_its_task_alone(pool: Pool, gate: Gate) -> None:
    """What the engine could not run at all is that task's error, and the slot goes on."""
    task, after = pool.submit(tasks.hold, gate.path, 1), pool.submit(tasks.double, 2)
    gate.arrival()
    slot = slot_of(pool)
    flight = slot.flight
    assert flight is not None
    slot.post(partial(slot.refused, flight, OSError("no way")))
    gate.open()
    assert isinstance(task.exception(DEADLINE), OSError)
    assert after.result(DEADLINE) == 4


def test_a_setup_that_fails_with_an_order_fails_all(pool: Pool, gate: Gate) -> None:
    """Engines that set a worker up with its first order tell of a failure as its outcome: nobody can begin."""
    running, waiting = pool.submit(tasks.hold, gate.path, 1), pool.submit(tasks.double, 2)
    gate.arrival()
    slot = slot_of(pool)
    flight = slot.flight
    assert flight is not None
    slot.post(partial(slot.landed, flight, dump_failure(LookupError("no such thing"))))
    for task in (running, waiting):
        error = task.exception(DEADLINE)
        assert isinstance(error, InitializerFailed)
        assert isinstance(error.__cause__, LookupError)


def test_a_time_limit_that_strikes_too_late_strikes_nobody(pool: Pool, gate: Gate) -> None:
    """The clock of a task that is over does not end the next one."""
    first = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    slot = slot_of(pool)
    flight = slot.flight
    assert flight is not None
    with Gate() as another:
        second = pool.submit(tasks.hold, another.path, 2)
        gate.open()
        another.arrival()
        assert first.result(DEADLINE) == 1
        slot.post(partial(slot._overdue, flight, 0.1))
        slot.post(another.open)
        assert second.result(DEADLINE) == 2


def test_a_task_that_is_over_cannot_be_ended(pool: Pool, gate: Gate) -> None:
    """To end what has ended, or what another slot runs, says no and ends nobody."""
    done = pool.submit(tasks.double, 1)
    assert done.result(DEADLINE) == 2
    running = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    slot = slot_of(pool)
    assert not slot.end_task(done)
    stranger: Task[Any] = pool.submit(tasks.double, 1)
    stranger._stage = running._stage  # as if another slot ran it
    assert not in_background(slot.end_task, stranger).result()
    stranger._stage = "PENDING"
    gate.open()
    assert (running.result(DEADLINE), stranger.result(DEADLINE)) == (1, 2)


def test_a_callback_may_end_another_task(gate: Gate) -> None:
    """In the clerk's own thread nobody waits for the end of what is ended: it comes, and the pool goes on."""
    with make(2) as pool, Gate() as another:
        doomed = pool.submit(tasks.hold, another.path, 1)
        another.arrival()
        first = pool.submit(tasks.hold, gate.path, 2)
        gate.arrival()
        said: list[bool] = []
        first.add_done_callback(lambda _: said.append(doomed.cancel(kill=True)))
        gate.open()
        assert first.result(DEADLINE) == 2
        until(doomed.done)
        assert doomed.cancelled()
        assert said == [False]
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_the_timers_thread_waits_for_no_end(
    pool: Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group kills from there; an engine that never tells of the end has had its time all the same."""
    monkeypatch.setattr(slots, "_GRACE", 0.05)
    doomed = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    engine, far = engine_of(pool), slot_of(pool).far
    end = engine.end
    engine.end = lambda slot: far.orders.put(None)  # type: ignore[method-assign]  # and no word of it
    said: list[bool] = []
    pool._scheduler.timers.after(0.0, lambda: said.append(doomed.cancel(kill=True)))
    until(doomed.done)
    assert doomed.cancelled()
    assert said == [False]
    engine.end = end  # type: ignore[method-assign]  # a stand-in
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_an_engine_that_ends_nothing_asks(pool: Pool, gate: Gate) -> None:
    """Where a running task cannot be ended, it sees that it is not wanted, and nobody waits."""
    engine_of(pool).ends_tasks = False
    task = pool.submit(tasks.cancelled_within, DEADLINE, gate.path)
    gate.arrival()
    assert not in_background(task.cancel, kill=True).result()
    gate.open()
    assert task.result(DEADLINE)


def test_what_was_handed_to_a_worker_that_died_runs(pool: Pool) -> None:
    """A task that went to an idle slot, whose far end had died that moment, is run by its next one."""
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    slot = slot_of(pool)
    until(lambda: slot in pool._scheduler.idle)
    with clerk_held_up(slot):
        strike(pool)
        task = pool.submit(tasks.double, 2)
        assert slot.inbox is task
    assert task.result(DEADLINE) == 4
    assert pool.stats().lost == 1


def test_a_pool_that_ends_runs_what_is_queued_after_a_death(pool: Pool, gate: Gate) -> None:
    """A far end that dies during the shutdown is replaced as long as there is something to run."""
    task = pool.options(retries=1).submit(tasks.hold, gate.path, 1)
    queued = pool.submit(tasks.double, 2)
    gate.arrival()
    pool.shutdown(wait=False)
    strike(pool)
    gate.arrival()
    gate.open()
    assert (task.result(DEADLINE), queued.result(DEADLINE)) == (1, 4)
    in_background(pool.shutdown).result()


@pytest.mark.parametrize("cancel", [False, True])
def test_a_worker_that_never_begins_holds_up_no_shutdown(gate: Gate, *, cancel: bool) -> None:
    """A full cluster may have no room for it, ever: it goes when nothing more is to come."""
    with make(2) as pool:
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        engine_of(pool).begin = lambda slot: setattr(slot, "far", object())  # type: ignore[method-assign]  # a stand-in
        queued = pool.submit(tasks.double, 2)
        until(lambda: len(pool._scheduler.beginning) == 1)
        ending = in_background(pool.shutdown, cancel_futures=cancel)
        gate.open()
        ending.result()
        assert task.result(DEADLINE) == 1
        assert queued.cancelled() if cancel else queued.result(DEADLINE) == 4


def test_a_kill_ends_what_runs_and_what_waits_for_an_end(pool: Pool, gate: Gate) -> None:
    """kill() settles a task that somebody is about to end, and a second kill() finds nothing left."""
    task = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    slot = slot_of(pool)
    with clerk_held_up(slot):
        ending = in_background(task.cancel, kill=True)
        killing = in_background(pool.kill)
    assert ending.result()
    killing.result()
    assert task.cancelled()
    in_background(pool.kill).result()


def test_stacks_tell_where_each_worker_stands(gate: Gate) -> None:
    """A running task shows its own calls, an idle worker nothing, and one that begins says so."""
    with make(2) as pool:
        done = pool.submit(tasks.double, 1)
        assert done.result(DEADLINE) == 2
        task = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        (runs,) = (stack for stack in pool.stacks() if stack.task)
        assert "in hold" in runs.text
        assert runs.task == f"task {task.id} (hold)"
        gate.open()
        assert task.result(DEADLINE) == 1
        until(lambda: len(pool._scheduler.idle) == len(pool._scheduler.workers))
        assert {(stack.task, stack.text) for stack in pool.stacks()} == {("", "")}
        slot = slot_of(pool)
        with clerk_held_up(slot):
            slot._ready = False
            assert slot.ask_for_stack()(0.0) == "(the worker is starting or ending)\n"
            slot._ready = True
