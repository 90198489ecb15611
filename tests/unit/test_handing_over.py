"""Tasks that are cancelled on their way to a worker, or with it and not begun."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from tests.support import shared_calls, tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.on_the_way import in_the_inbox, stopped_after, stopped_before
from tests.support.queues import until
from workpool import Counter, Pool, Task
from workpool.backends.process import feeding
from workpool.ipc.serving import BACK


def test_a_task_cancelled_on_its_way_to_a_process_does_not_run() -> None:
    """What its worker has not been sent yet is cancelled, though it counted as running."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        with worker._turn:  # neither this thread nor the driver can send
            task = pool.submit(tasks.report, gate.path, 1)
            assert task.running()
            assert not task.cancel()
        worker.wake()
        pool.join(DEADLINE)
        assert task.cancelled()
        assert gate.waiting() == []
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def known_short(pool: Pool, fn: Any) -> None:
    """Have calls of it be known to be short: they travel together, and are sent while another runs."""
    with pool._scheduler.lock:
        for _ in range(30):  # each halves what was known before
            pool._scheduler.pace.measured(fn, 0.01, 1000)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nothing taken back from behind a call only because that takes long."""
    monkeypatch.setattr(feeding, "_PATIENCE", 1e9)
    monkeypatch.setattr(feeding, "_LONGEST_PATIENCE", 1e9)


@pytest.fixture
def together(patient: None) -> Generator[tuple[Pool, Gate, list[Task[bool]]]]:
    """Give three tasks that are with one worker: the first has begun, and stands at the gate."""
    del patient
    with Gate() as opened, Gate() as gate, Pool(1, backend="process") as pool:
        opened.open()
        for _ in range(20):  # known to be short, they travel together
            assert not pool.submit(tasks.cancelled_within, 0.0, opened.path).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        with worker._turn:  # so that they gather
            sent = [pool.submit(tasks.cancelled_within, 0.0, gate.path, n) for n in range(3)]
        worker.wake()
        assert gate.arrival() == "0"
        yield pool, gate, sent


def test_each_of_several_tasks_that_travel_together_is_told() -> None:
    """Tasks of one frame that are all cancelled all see it: the one that runs, and those behind it."""
    with Gate() as opened, Gate() as gate, Pool(1, backend="process") as pool:
        opened.open()
        for _ in range(20):  # known to be short, they travel together
            assert not pool.submit(tasks.cancelled_within, 0.0, opened.path).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        with worker._turn:  # so that they gather
            sent = [pool.submit(tasks.cancelled_within, DEADLINE, gate.path) for _ in range(3)]
        worker.wake()
        gate.arrival()
        told = [task.cancel() for task in sent]
        gate.open()
        pool.join(DEADLINE)
        assert sent[0].result(0)
        assert all(task.cancelled() or task.result(0) for task in sent[1:])
        assert told[0] is False


def test_a_task_that_waits_behind_another_in_a_worker_never_begins(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """It is taken back when it is cancelled; those around it are not affected."""
    pool, gate, (first, second, third) = together
    second.cancel()
    with pytest.raises(CancelledError):
        second.result(DEADLINE)
    assert not first.done()
    gate.open()
    pool.join(DEADLINE)
    assert (first.result(0), third.result(0)) == (False, False)


def test_to_kill_a_task_that_waits_behind_another_ends_nobody(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """cancel(kill=True) of what has not begun takes it back, and the worker goes on."""
    pool, gate, (first, second, third) = together
    assert second.cancel(kill=True)
    assert second.cancelled()
    gate.open()
    pool.join(DEADLINE)
    assert (first.result(0), third.result(0)) == (False, False)
    assert pool.stats().lost == 0


def test_to_kill_a_task_that_is_about_to_be_sent_leaves_those_around_it() -> None:
    """It is in the middle of a frame that its driver makes: the frame is sent without it."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        pool.join(DEADLINE)
        worker: Any = pool._scheduler.workers[0]
        known_short(pool, tasks.report)
        with stopped_before(pool._scheduler, "assign") as sending:
            with worker._turn:  # so that they gather
                sent = [pool.submit(tasks.report, gate.path, n) for n in range(5)]
            worker.wake()
            sending.arrival()
            assert sending.seen[0] == sent[:3]
            assert sent[1].cancel(kill=True)
            assert sent[1].cancelled()
        pool.join(DEADLINE)
        assert [task.result(0) for task in sent if task is not sent[1]] == [0, 2, 3, 4]
        assert sorted(gate.arrivals(4)) == ["0", "2", "3", "4"]
        assert gate.waiting() == []
        assert pool.stats().lost == 0


def test_a_worker_whose_task_was_killed_is_not_forgotten_for_a_ctrl_c() -> None:
    """The submit is interrupted as it hands over, and the task is killed meanwhile: its worker is idle again."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        pool.join(DEADLINE)
        until(lambda: bool(pool._scheduler.idle))
        worker: Any = pool._scheduler.idle[0]

        def interrupted() -> None:
            assert worker.inbox.cancel(kill=True)
            raise KeyboardInterrupt

        worker.hand_over = interrupted
        with pytest.raises(KeyboardInterrupt):
            pool.submit(tasks.report, gate.path, 1)
        del worker.hand_over
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        assert gate.waiting() == []


def test_who_kills_a_task_is_answered_by_a_worker_that_leaves_meanwhile() -> None:
    """The pool is killed between the look for the worker and the order to it: nobody waits for ever."""
    with Gate() as gate:
        pool = Pool(1, backend="process")
        task = pool.submit(stop, gate.path)
        gate.arrival()
        worker = pool._scheduler.workers[0]

        def ordered(order: object) -> bool:
            return isinstance(order, tuple)  # not that of Pool.kill()

        with stopped_before(worker, "_order", here=ordered) as ordering:
            killing = in_background(task.cancel, kill=True)
            ordering.arrival()
            ending = in_background(pool.kill)
            ending.thread.join(1.0)  # as far as it gets
        killing.result()
        ending.result()
        assert task.done()


def test_a_worker_that_has_left_is_not_waited_for() -> None:
    """Who comes too late with an order to end a task is told at once that it was not ended."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        task = pool.submit(stop, gate.path)
        gate.arrival()
        with Pool(1, backend="process") as other:
            other.submit(tasks.double, 1).result(DEADLINE)
            worker: Any = other._scheduler.workers[0]
        assert in_background(worker.end_task, task).result() is False
        assert task.running()
        gate.open()
        assert task.result(DEADLINE) is None


def test_one_that_a_draining_thread_was_given_is_cancelled_in_its_inbox() -> None:
    """inline: the thread found nothing more to do, and is given a task by another before it is gone."""
    with Gate() as gate, Pool(1, backend="inline") as pool:
        with stopped_after(pool._scheduler, "next_unit", here=lambda unit: unit is None) as drained:
            first = in_background(pool.submit, tasks.double, 1)
            drained.arrival()
            task = pool.submit(tasks.report, gate.path, 1)
            assert task.running()
            assert task.cancel(kill=True)
            assert task.cancelled()
        assert first.result().result(DEADLINE) == 2
        pool.join(DEADLINE)
        assert gate.waiting() == []
        assert pool.submit(tasks.double, 2).result(0) == 4


def test_one_that_a_caller_s_thread_has_taken_runs() -> None:
    """inline: from that step on it is as good as begun, and no caller's thread can be ended."""
    with Pool(1, backend="inline") as pool:
        with stopped_after(pool._scheduler, "next_unit") as taken:
            submitting = in_background(pool.submit, tasks.double, 1)
            taken.arrival()
            (task,) = taken.seen
            assert not task.cancel(kill=True)
        assert submitting.result() is task
        assert task.result(DEADLINE) == 2


def test_what_is_taken_out_of_an_inbox_is_held_by_nobody() -> None:
    """A task killed there leaves neither its call nor itself with the worker."""
    with Pool(1) as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        argument = threading.Event()
        seen = weakref.ref(argument)
        with in_the_inbox(pool):
            task = pool.submit(tasks.echo, argument)
            assert task.cancel(kill=True)
        del argument
        assert pool.submit(tasks.double, 2).result(DEADLINE) == 4
        task_seen = weakref.ref(task)
        del task
        assert (seen(), task_seen()) == (None, None)


def counted_task(pool: Pool, counter: Counter) -> tuple[Any, Callable[[], object]]:
    assert (
        pool.submit(shared_calls.count, counter, 7).result(DEADLINE) == 7
    )  # its function is loaded now
    return shared_calls.count, lambda: pool.submit(shared_calls.count, counter, 0)


def counted_items(pool: Pool, counter: Counter) -> tuple[Any, Callable[[], object]]:
    fn = partial(shared_calls.count, counter)
    assert list(pool.map(fn, range(2), chunksize=2)) == [0, 1]
    return fn, lambda: pool.map(fn, range(3), chunksize=3)


def counted_slice(pool: Pool, counter: Counter) -> tuple[Any, Callable[[], object]]:
    fn = partial(shared_calls.count, counter)
    assert list(pool.map(fn, range(100), chunksize=100)) == list(
        range(100)
    )  # tiny, as is known now
    return fn, lambda: pool.map(fn, range(100), chunksize=100)


NEXT: dict[str, tuple[Any, int]] = {
    "a task": (counted_task, 2),
    "items": (counted_items, 5),
    "a slice": (counted_slice, 200),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("by_limit", [False, True], ids=["kill", "limit"])
@pytest.mark.parametrize("what", NEXT)
def test_an_end_that_comes_too_late_strikes_nobody_else(what: str, by_limit: bool) -> None:
    """The task ends by itself as its worker is killed for it, and what is next is about to begin: it runs once."""
    with Gate() as gate, Pool(1, backend="process") as pool:
        counter = pool.counter()
        fn, then = NEXT[what][0](pool, counter)
        pool.submit(tasks.double, 1).result(DEADLINE)
        pool.join(DEADLINE)
        before = counter.value
        worker: Any = pool._scheduler.workers[0]
        known_short(pool, fn)
        with worker._turn:
            first = pool.options(time_limit=1.0 if by_limit else None).submit(stop, gate.path)
            _second = then()
        worker.wake()
        gate.arrival()
        handle = worker._handle
        kill, journal = handle.kill, handle.journal
        number, _ = journal.begun()
        ran: list[int] = []

        def kill_late() -> None:
            gate.open()
            until(lambda: journal.begun()[0] > number)
            threading.Event().wait(0.2)  # in which it would run, if it were to
            ran.append(counter.value - before)
            kill()

        handle.kill = kill_late
        if not by_limit:
            assert not first.cancel(kill=True)
        assert first.exception(DEADLINE) is None
        pool.join(DEADLINE)
        assert ran == [0]
        assert counter.value == NEXT[what][1]
        assert (pool.stats().lost, pool.stats().failed) == (1, 0)


def test_a_worker_goes_on_that_was_to_stand_still(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """The next has begun by the time that it is asked to: nobody is killed, and what has begun runs."""
    pool, gate, (first, second, third) = together
    worker: Any = pool._scheduler.workers[0]
    journal = worker._handle.journal
    hold = journal.hold
    said: list[bool] = []

    def late(number: int) -> bool:
        journal._words[8] = 1  # as hold() does first
        gate.open()
        until(lambda: journal.begun()[0] > number)
        said.append(hold(number))
        return said[-1]

    with patch.object(type(journal), "hold", lambda _, number: late(number)):
        assert not first.cancel(kill=True)
    pool.join(DEADLINE)
    assert said == [False]
    assert [task.result(0) for task in (first, second, third)] == [False] * 3
    assert pool.stats().lost == 0


@pytest.mark.parametrize("which", [1, 2])
def test_a_callback_may_kill_what_travelled_with_its_task(
    together: tuple[Pool, Gate, list[Task[bool]]], which: int
) -> None:
    """It runs in the thread that would have to carry it out, and does not wait for itself."""
    pool, gate, (first, *others) = together
    doomed = others[which - 1]
    said: list[bool] = []
    first.add_done_callback(lambda _: said.append(doomed.cancel(kill=True)))
    gate.open()
    pool.join(DEADLINE)
    assert said == [False]
    # Asked for while it was behind, or when it had begun: it is cancelled, or was quicker.
    assert doomed.cancelled() or doomed.result(0) in (False, True)
    assert all(task.done() for task in others)
    assert pool.submit(tasks.double, 2).result(DEADLINE) == 4


def test_the_answer_to_a_recall_leaves_what_was_sent_since_to_be_recalled(
    together: tuple[Pool, Gate, list[Task[bool]]],
) -> None:
    """A call that is sent between a recall and its answer does not wait for ever behind a slow one."""
    pool, gate, _ = together
    worker: Any = pool._scheduler.workers[0]
    later = time.monotonic() + 3600.0
    with worker._turn:
        begun, _ = worker._handle.journal.begun()
        worker._recall_at = later  # as it is set when a call is sent
        worker._take_in(worker._handle, [((BACK, begun, begun), memoryview(b""))])
        assert worker._recall_at == later
        worker._recall_at = None
    gate.open()


class _Sleeper:
    """Stands in for the lock of one who waits, and says whether a lock is held by whoever wakes that one."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self.woken: list[bool] = []

    def release(self) -> None:
        self.woken.append(self._lock._is_owned())


def test_who_waits_is_woken_in_the_step_that_stores_the_result() -> None:
    """Behind it the thread may be struck for what it has taken, and would wake nobody: who strikes takes the lock."""
    with Gate() as gate, Pool(1) as pool:
        task = pool.submit(tasks.hold, gate.path, "a")
        gate.arrivals(1)
        sleeper = _Sleeper(pool._scheduler.lock)
        with task._lock:
            task._more().sleepers.append(sleeper)
        gate.open()
        assert task.result(DEADLINE) == "a"
        pool.join(DEADLINE)
        assert sleeper.woken == [True]
