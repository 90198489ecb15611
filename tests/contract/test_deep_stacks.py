"""Calls from as deep in the stack as Python allows, and callbacks that end other tasks: nothing is left half done."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise

import pytest

from tests.contract.conftest import Busy, MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool, Task


def with_frames_left(frames: int, call: Callable[..., object], *args: object) -> None:
    """Make a call from so deep that so many frames are left; a RecursionError is no matter."""
    used = 0
    with suppress(ValueError):
        while True:
            sys._getframe(used)
            used += 1

    def descend(n: int) -> None:
        if n:
            descend(n - 1)
        else:
            call(*args)

    with suppress(RecursionError):
        descend(sys.getrecursionlimit() - used - frames)


@pytest.mark.lacks("pickles")
@pytest.mark.parametrize("call", ["cancel", "callback", "set_result"])
def test_a_task_that_is_ended_from_deep_in_the_stack_is_counted(
    make_pool: MakePool, busy: Busy, call: str
) -> None:
    """It is ended, or the call raises and has done nothing: no join waits for ever."""
    pool = make_pool(1)
    for frames in range(100):
        with busy(pool):
            task, other = pool.submit(tasks.double, 1), pool.submit(tasks.double, 2)
            if call == "callback":
                task.add_done_callback(partial(_cancel, other))
            with_frames_left(
                frames, partial(task.set_result, 2) if call == "set_result" else task.cancel
            )
        pool.join(5.0)
        assert task.done()
        assert other.done()


def _cancel(other: Task[int], _: object) -> None:
    other.cancel()


@pytest.mark.lacks("pickles")
@pytest.mark.parametrize("priority", [0, 1])
def test_a_task_that_is_submitted_from_deep_in_the_stack_is_refused_or_done(
    make_pool: MakePool, priority: int
) -> None:
    """No join waits for ever for one that was counted, and is nowhere; what comes later runs."""
    for frames in range(80):
        pool = make_pool(1)
        view = pool.options(priority=priority)
        with_frames_left(frames, view.submit, tasks.double, 1)
        pool.join(5.0)
        assert view.submit(tasks.double, 1).result(5.0) == 2


def test_callbacks_may_cancel_as_many_as_there_are(pool: Pool, busy: Busy) -> None:
    """Each cancels the next: all are cancelled and counted, however many, and the rest of the stack is free."""
    with busy(pool):
        queued = [pool.submit(tasks.double, n) for n in range(1_000)]
        for task, following in pairwise(queued):
            task.add_done_callback(partial(_cancel, following))
        queued[0].cancel()
        assert all(task.cancelled() for task in queued)
    pool.join(DEADLINE)


def test_a_callback_sees_the_callbacks_of_a_task_that_it_cancels(pool: Pool, busy: Busy) -> None:
    """They have run when cancel() returns, as those of any future."""
    seen: list[str] = []
    with busy(pool):
        first, second = pool.submit(tasks.double, 1), pool.submit(tasks.double, 2)
        second.add_done_callback(lambda _: seen.append("second"))
        first.add_done_callback(partial(_cancel, second))
        first.add_done_callback(lambda _: seen.append("first"))
        first.cancel()
    assert seen == ["second", "first"]


def test_callbacks_may_submit_without_end(pool: Pool) -> None:
    """Each submits the next task, also where that is done before it has a callback: the stack does not grow."""
    left = [1_000]
    done = threading.Event()

    def go_on(_: object) -> None:
        left[0] -= 1
        if left[0]:
            pool.submit(tasks.double, 1).add_done_callback(go_on)
        else:
            done.set()

    in_background(lambda: pool.submit(tasks.double, 1).add_done_callback(go_on)).result()
    assert done.wait(DEADLINE)
    pool.join(DEADLINE)


def test_callbacks_of_tasks_of_no_pool_may_settle_the_next() -> None:
    """As many as there are."""

    def settle(following: Task[int], _: object) -> None:
        following.set_result(1)

    loose: list[Task[int]] = [Task() for _ in range(2_000)]
    for task, following in pairwise(loose):
        task.add_done_callback(partial(settle, following))
    loose[0].set_result(1)
    assert all(task.done() for task in loose)


def test_a_task_that_is_settled_from_outside_is_counted(pool: Pool, busy: Busy) -> None:
    """One that is queued: the outcome is that of whoever was first, no worker begins it, and joins wait no more."""
    ran: list[int] = []
    told: list[int] = []
    with busy(pool):
        failed, given = pool.submit(tasks.fail_with, ValueError), pool.submit(tasks.double, 1)
        given.add_done_callback(lambda task: told.append(task.result(0)))
        failed.set_exception(LookupError())
        given.set_result(3)
        assert told == [3]
        begun = pool.submit(ran.append, 1)
        assert begun.set_running_or_notify_cancel()
    begun.set_result(None)
    pool.join(DEADLINE)
    assert given.result(0) == 3
    assert isinstance(failed.exception(0), LookupError)
    assert not ran
    assert pool.unfinished == 0


@pytest.mark.needs("concurrent")
def test_a_task_that_is_settled_while_it_runs_is_counted_once(
    make_pool: MakePool, gate: Gate
) -> None:
    """What its worker makes of it is dropped."""
    pool = make_pool(1)
    running = pool.submit(tasks.hold, gate.path, 1)
    gate.arrival()
    running.set_result(5)
    pool.join(DEADLINE)
    gate.open()
    assert pool.submit(tasks.double, 4).result(DEADLINE) == 8
    assert running.result(0) == 5
    assert pool.unfinished == 0


def test_a_task_that_is_settled_from_outside_leaves_its_place(
    make_pool: MakePool, busy: Busy
) -> None:
    """In a queue that is full there is room then for another, and for one only."""
    pool = make_pool(1, queue_size=1)
    view = pool.options(queue_timeout=0.0)
    with busy(pool):
        view.submit(tasks.double, 1).set_result(5)
        last = view.submit(tasks.double, 2)
        with pytest.raises(queue.Full):
            view.submit(tasks.double, 3)
    assert last.result(DEADLINE) == 4
