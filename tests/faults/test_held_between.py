"""A worker between two calls: a finalizer holds it there, or it is asked whether it lives, and is not to blame."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import TypeVar

import pytest

from tests.faults.conftest import MakePool
from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.lives import both_work, handle_of, life_of
from tests.support.queues import until
from workpool import Pool
from workpool.backends.process import held
from workpool.backends.process.books import HUNG_AFTER
from workpool.backends.process.driver import ProcessWorker
from workpool.backends.process.held import HELD_AFTER, Held
from workpool.ipc.launch import WorkerHandle

pytestmark = pytest.mark.heavy

R = TypeVar("R")


class HoldsAtTheEnd:
    """A function of which the copies stop at a gate when they are let go of, between two calls."""

    def __init__(self, gate: str) -> None:
        self.gate, self.maker = gate, os.getpid()

    def __call__(self, n: int) -> int:
        return n

    def __del__(self) -> None:
        if os.getpid() != self.maker:
            stop(self.gate, os.getpid())


def sent_to_one_held(pool: Pool, gate: Gate, send: Callable[[], R]) -> tuple[R, ProcessWorker]:
    """Have a worker held by a finalizer, which it has told nobody, and something sent there; the other is free then."""
    with Gate() as other:
        pool.submit(tasks.hold, other.path, 0)
        other.arrival()
        assert list(pool.map(HoldsAtTheEnd(gate.path), [1], chunksize=2)) == [1]
        pid = int(gate.arrival())
        (life,) = (life_of(pool, n) for n in range(2) if handle_of(pool, n).pid == pid)
        sent = send()
        until(lambda: bool(life._flights))
    return sent, life


@pytest.mark.parametrize("what", ["limited task", "items"])
def test_what_a_worker_was_sent_that_a_finalizer_holds_runs_elsewhere(
    make_pool: MakePool, gate: Gate, what: str
) -> None:
    """Its worker is not to blame, and is used again when it is done."""
    pool = make_pool(2)
    limited = pool.options(time_limit=0.2)
    if what == "items":
        items = partial(pool.map, tasks.double, range(20), chunksize=20)
        results, life = sent_to_one_held(pool, gate, items)
        assert in_background(list, results).result() == list(range(0, 40, 2))
    else:
        task, life = sent_to_one_held(pool, gate, lambda: limited.submit(os.getpid))
        handle = life._handle
        assert handle is not None
        assert task.result(DEADLINE) != handle.pid
        assert task.attempts == 1
    assert life._held.away
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    gate.open()
    both_work(pool)
    until(lambda: not life._held.away)
    assert pool.stats().lost == 0


def test_a_worker_that_a_finalizer_holds_is_told_to_leave(make_pool: MakePool, gate: Gate) -> None:
    """The end of its pool does not wait for it as long as it likes."""
    pool = make_pool(2, end_timeout=0.2)
    limited = pool.options(time_limit=0.2)
    task, life = sent_to_one_held(pool, gate, lambda: limited.submit(tasks.double, 1))
    assert task.result(DEADLINE) == 2
    assert life._held.away
    in_background(pool.shutdown).result()


def asked(pool: Pool) -> tuple[ProcessWorker, WorkerHandle]:
    """Have a worker that has done something, and runs nothing, asked; by whoever has the turn."""
    life, handle = life_of(pool), handle_of(pool)
    life._ask(handle, life._flights.next_number - 1)
    return life, handle


def test_an_answer_that_lies_in_the_pipe_is_no_missing_one(pool: Pool) -> None:
    """It was the driver who was late: the worker is not killed for that."""
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    pool.join(DEADLINE)
    with life_of(pool)._turn:
        life, handle = asked(pool)
        assert select.select([handle.result_r], [], [], DEADLINE)[0]
        life._hung_since = -life._hung_after  # the clock's beginning is longer ago than that
        life._look_for_the_answer(handle)
        assert life._doomed is None
        assert not life._asks
    assert pool.submit(os.getpid).result(DEADLINE) == handle.pid


def test_a_worker_that_has_worked_well_has_no_more_time_than_the_first(pool: Pool) -> None:
    """It is given twice as long only for those before it that did nothing at all."""
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    pool.join(DEADLINE)
    with life_of(pool)._turn:
        life_of(pool)._hung_after = 64.0
        life, handle = asked(pool)
        due = life._answer_due(handle)
        assert due is not None
        assert due - monotonic() <= HUNG_AFTER


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time, in a list, as what is held is told it."""
    now = [0.0]
    monkeypatch.setattr(held, "monotonic", lambda: now[0])
    return now


def times(clock: list[float], look: Held, number: int, ran: int) -> float:
    """Tell for how long a call is left where it is, seconds."""
    began = clock[0]
    while not look.look(number, ran, sent=True):
        clock[0] += HELD_AFTER / 4
    return clock[0] - began


def test_what_is_on_its_way_is_left_where_it_is(clock: list[float]) -> None:
    """However long that takes: its time begins when all of it is in the pipe."""
    look = Held()
    for _ in range(100):
        clock[0] += HELD_AFTER
        assert not look.look(7, 0, sent=False)
    assert times(clock, look, 7, 0) == HELD_AFTER


def test_what_is_moved_is_given_more_time_until_something_is_finished(clock: list[float]) -> None:
    """So what takes long to be read is not moved about for ever."""
    look = Held()
    given = [times(clock, look, number, 3) for number in range(4)]
    assert given == [HELD_AFTER, 2 * HELD_AFTER, 4 * HELD_AFTER, 8 * HELD_AFTER]
    assert times(clock, look, 5, 4) == HELD_AFTER
