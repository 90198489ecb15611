"""cancel(kill=True): one task is ended, wherever it is on its way, whoever asks for it, and no other."""

from __future__ import annotations

import threading
from concurrent.futures import CancelledError

import pytest

from tests.contract.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
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
