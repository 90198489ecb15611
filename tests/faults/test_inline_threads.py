"""An inline pool that several threads use at once: what is lent to one may be taken up by another."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.on_the_way import stopped_before
from workpool import Pool


def _works(pool: Pool) -> None:
    """See that nothing is lent, and that the pool runs what comes."""
    assert (pool._scheduler._extra, pool._scheduler.workers) == (0, {})
    task = in_background(pool.submit, tasks.double, 2).result()
    assert task.result(DEADLINE) == 4
    in_background(pool.shutdown).result()


@contextmanager
def taken_up(pool: Pool) -> Generator[None]:
    """A task waits, and another thread submits before help has come: it drains, and runs on when the wait is over."""
    first: list[int] = []

    def lent_to_first() -> bool:
        return bool(pool._scheduler._extra) and threading.get_ident() in first

    def outer() -> int:
        first.append(threading.get_ident())
        return wait([pool.submit(tasks.double, 1)]).done.pop().result()

    with Gate() as gate, stopped_before(pool._scheduler, "hire", here=lent_to_first) as hires:
        one = in_background(lambda: pool.submit(outer).result(DEADLINE))
        hires.arrival()
        other = in_background(lambda: pool.submit(tasks.hold, gate.path, 5).result(DEADLINE))
        gate.arrival()
        hires.go()
        assert one.result() == 2
        yield
        gate.open()
        assert other.result() == 5


def test_another_thread_may_take_up_what_was_lent() -> None:
    """It outlasts the task that waited, and the loan is given back once."""
    pool = Pool(backend="inline")
    with taken_up(pool):
        pass
    _works(pool)


def test_what_was_lent_leaves_when_the_wait_is_over() -> None:
    """A task that has waited goes on, and is followed by what is queued; the other thread runs no more of it."""
    pool = Pool(backend="inline")
    first: list[int] = []

    def lent_to_first() -> bool:
        return bool(pool._scheduler._extra) and threading.get_ident() in first

    def outer(gate: str) -> int:
        first.append(threading.get_ident())
        value = wait([pool.submit(tasks.double, 1)]).done.pop().result()
        pool._scheduler.is_awake(pool._scheduler.own_worker_here(), lent_here=True)
        stop(gate)
        return value

    with Gate() as goes_on, Gate() as gate:
        with stopped_before(pool._scheduler, "hire", here=lent_to_first) as hires:
            one = in_background(lambda: pool.submit(outer, goes_on.path).result(DEADLINE))
            hires.arrival()
            other = in_background(lambda: pool.submit(tasks.hold, gate.path, 5).result(DEADLINE))
            gate.arrival()
        goes_on.arrival()
        third = in_background(pool.submit, threading.get_ident).result()
        gate.open()
        assert other.result() == 5
        assert not third.done()
        goes_on.open()
        assert one.result() == 2
        assert third.result(DEADLINE) == first[0]
    _works(pool)


def test_the_context_is_not_left_under_a_task_of_another_thread() -> None:
    """The first has run its share and ends, while what it has lent runs a task elsewhere, which needs the resource."""
    resources: list[str] = []

    @contextmanager
    def context() -> Generator[Any]:
        resources.append("open")
        yield
        resources.append("closed")

    pool = Pool(backend="inline", worker_context=context, max_tasks_per_worker=2)
    with taken_up(pool):
        assert resources == ["open"]
    assert resources == ["open", "closed"]
    _works(pool)
