"""cancel(kill=True): one task is ended, wherever it is on its way, whoever asks for it, and no other."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.on_the_way import in_the_inbox, stopped_after, stopped_before
from tests.support.queues import until
from workpool import Pool

pytestmark = pytest.mark.needs("limits")


def test_a_queued_task_is_cancelled_and_nobody_ended(make_pool: MakePool, gate: Gate) -> None:
    """What has not begun is only cancelled; the one that runs in front of it goes on."""
    pool = make_pool(1)
    running = pool.submit(stop, gate.path, "running")
    gate.arrival()
    queued = pool.submit(stop, gate.path, "queued")
    assert queued.cancel(kill=True)
    assert queued.cancelled()
    assert gate.waiting() == []
    gate.open()
    assert running.result(DEADLINE) is None
    pool.join(DEADLINE)
    assert pool.stats().lost == pool.stats().written_off == 0


def test_many_threads_may_ask_for_one_end(make_pool: MakePool, gate: Gate) -> None:
    """Sixteen at once: each is told that the task was ended, and one worker is replaced, not sixteen."""
    pool = make_pool(2)
    task = pool.submit(stop, gate.path)
    gate.arrival()
    together = threading.Barrier(16)

    def kill() -> bool:
        together.wait(DEADLINE)
        return task.cancel(kill=True)

    killers = [in_background(kill) for _ in range(16)]
    said = [killer.result() for killer in killers]
    assert task.cancelled()
    assert all(said)
    gate.open()
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    pool.join(DEADLINE)
    assert pool.stats().lost + pool.stats().written_off == 1


def test_one_that_followed_another_is_ended(make_pool: MakePool, gate: Gate) -> None:
    """However its worker came by it: here with the result of the one before."""
    pool = make_pool(1)
    with Gate() as before:
        first = pool.submit(stop, before.path)
        before.arrival()
        second = pool.submit(stop, gate.path)
        before.open()
        gate.arrival()
        assert second.cancel(kill=True)
        assert second.cancelled()
        assert first.result(DEADLINE) is None
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_one_that_has_ended_is_left_alone(pool: Pool) -> None:
    """A result stays a result, and no worker is ended for it."""
    task = pool.submit(tasks.double, 2)
    assert task.result(DEADLINE) == 4
    pool.join(DEADLINE)
    assert not task.cancel(kill=True)
    assert task.result(0) == 4
    assert pool.stats().lost == pool.stats().written_off == 0


def test_a_callback_may_kill_another_task(pool: Pool, gate: Gate) -> None:
    """The other one ends, at once or a moment later, and nobody waits for ever."""
    with Gate() as first_gate:
        doomed = pool.submit(stop, gate.path)
        gate.arrival()
        first = pool.submit(stop, first_gate.path)
        first_gate.arrival()
        first.add_done_callback(lambda _: doomed.cancel(kill=True))
        first_gate.open()
        with pytest.raises(CancelledError):
            doomed.result(DEADLINE)
        assert first.result(DEADLINE) is None
    pool.join(DEADLINE)


@pytest.mark.lacks("far")  # all callbacks run in one thread there, one after another
def test_two_callbacks_may_kill_each_other_s_neighbour(make_pool: MakePool, gate: Gate) -> None:
    """Each runs in the thread that would have to carry out the other's wish; both wishes are kept."""
    pool = make_pool(4)
    with Gate() as start:
        doomed = [pool.submit(stop, gate.path) for _ in range(2)]
        gate.arrivals(2)
        killers = [pool.submit(stop, start.path) for _ in range(2)]
        start.arrivals(2)
        both = threading.Barrier(2)

        def kill(other: int) -> None:
            both.wait(DEADLINE)
            doomed[other].cancel(kill=True)

        killers[0].add_done_callback(lambda _: kill(1))
        killers[1].add_done_callback(lambda _: kill(0))
        start.open()
        for task in doomed:
            with pytest.raises(CancelledError):
                task.result(DEADLINE)
    pool.join(DEADLINE)


def test_neighbours_of_one_that_is_killed_come_to_no_harm(make_pool: MakePool, gate: Gate) -> None:
    """Tasks that wait behind it run, each once, and so does what is submitted meanwhile."""
    pool = make_pool(1)
    with Gate() as told:
        pool.submit(tasks.double, 1).result(DEADLINE)
        doomed = pool.submit(stop, gate.path)
        gate.arrival()
        behind = [pool.submit(tasks.report, told.path, number) for number in range(20)]
        assert doomed.cancel(kill=True)
        behind += [pool.submit(tasks.report, told.path, number) for number in range(20, 30)]
        assert [task.result(DEADLINE) for task in behind] == list(range(30))
        assert sorted(int(word) for word in told.arrivals(30)) == list(range(30))
        assert told.waiting() == []


# ------------------------------------------------------- on its way, or not yet begun


def unharmed(pool: Pool) -> bool:
    """Tell whether no worker was ended, and the pool goes on."""
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    pool.join(DEADLINE)
    return pool.stats().lost == pool.stats().written_off == 0


def test_one_in_an_inbox_is_cancelled_there(make_pool: MakePool, gate: Gate) -> None:
    """It was handed to a worker that has not looked yet: the worker finds nothing, and lives."""
    pool = make_pool(1)
    assert unharmed(pool)
    told: list[bool] = []
    with in_the_inbox(pool):
        task = pool.submit(tasks.report, gate.path, 1)
        task.add_done_callback(lambda done: told.append(done.cancelled()))
        waiting = in_background(task.exception, DEADLINE)
        assert task.running()
        assert task.cancel(kill=True)
        assert task.cancelled()
        with pytest.raises(CancelledError):
            waiting.result()
        assert pool.unfinished == 0
    assert told == [True]
    assert unharmed(pool)
    assert gate.waiting() == []
    assert pool.stats().cancelled == 1
    assert (task.attempts, task.ran_for, task.worker) == (0, 0.0, None)


def test_many_threads_may_kill_one_in_an_inbox(make_pool: MakePool, gate: Gate) -> None:
    """Each is told that it is cancelled, and it is counted once."""
    pool = make_pool(1)
    assert unharmed(pool)
    with in_the_inbox(pool):
        task = pool.submit(tasks.report, gate.path, 1)
        killers = [in_background(task.cancel, kill=True) for _ in range(8)]
        assert all(killer.result() for killer in killers)
    assert unharmed(pool)
    assert gate.waiting() == []
    assert pool.stats().cancelled == 1


@pytest.mark.needs("own_threads")
def test_one_that_a_thread_has_taken_is_never_called(make_pool: MakePool, gate: Gate) -> None:
    """From the step on in which a thread takes it, nobody can tell whether it has begun: the thread is written off."""
    pool = make_pool(1)
    assert unharmed(pool)
    with stopped_after(pool._scheduler, "next_unit", here=lambda unit: unit is not None) as taken:
        task = pool.submit(tasks.report, gate.path, 1)
        taken.arrival()
        assert task.cancel(kill=True)
        assert task.cancelled()
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
    pool.join(DEADLINE)
    assert gate.waiting() == []
    assert pool.stats().written_off == 1


@pytest.mark.needs("pickles")
def test_one_in_the_hands_of_its_driver_is_not_sent(make_pool: MakePool, gate: Gate) -> None:
    """It was taken out of the queue to be sent, and has not been assigned: it is cancelled, and nobody ended."""
    pool = make_pool(1)
    assert unharmed(pool)
    with stopped_before(pool._scheduler, "assign") as sending:
        submitting = in_background(pool.submit, tasks.report, gate.path, 1)
        sending.arrival()
        (task,) = sending.seen[0]
        assert task.cancel(kill=True)
        assert task.cancelled()
    assert submitting.result() is task
    assert unharmed(pool)
    assert gate.waiting() == []


@pytest.mark.needs("pickles")
def test_one_that_is_being_sent_is_ended_where_it_arrives(make_pool: MakePool, gate: Gate) -> None:
    """It is its worker's already, though nothing is in the pipe: who kills it waits until it is ended."""
    pool = make_pool(1)
    assert unharmed(pool)
    with stopped_after(pool._scheduler, "assign") as sending:
        submitting = in_background(pool.submit, stop, gate.path)
        sending.arrival()
        (task,) = sending.seen[0]
        killing = in_background(task.cancel, kill=True)
        until(lambda: task._unwanted)
    assert submitting.result() is task
    assert killing.result()
    assert task.cancelled()
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_one_between_two_attempts_is_not_tried_again(make_pool: MakePool) -> None:
    """It has failed, and is about to pause before it is tried again: the next attempt never comes."""
    pool = make_pool(1, retries=1, retry_on=ValueError, backoff=0.05)
    with stopped_before(pool._scheduler, "_again") as failing:
        task = pool.submit(tasks.fail, ValueError("again"))
        failing.arrival()
        assert task.cancel(kill=True)
        assert task.cancelled()
    pool.join(DEADLINE)
    assert task.attempts == 1
    assert unharmed(pool)


def test_one_that_is_not_wanted_any_more_is_not_tried_again(make_pool: MakePool) -> None:
    """A plain cancel() at that moment is kept, too: it is cancelled instead of being queued again."""
    pool = make_pool(1, retries=1, retry_on=ValueError, backoff=0.05)
    with stopped_before(pool._scheduler, "_again") as failing:
        task = pool.submit(tasks.fail, ValueError("again"))
        failing.arrival()
        assert not task.cancel()
    pool.join(DEADLINE)
    assert task.cancelled()
    assert task.attempts == 1
