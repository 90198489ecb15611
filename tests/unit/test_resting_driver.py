"""A driver at rest: the last result was read by who waited for it, and the next is noticed for whoever asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, Running, in_background, stop
from tests.support.on_the_way import Stopped, stopped_after
from tests.support.queues import until
from workpool import Pool, Task
from workpool.backends.process import feeding
from workpool.ipc import watch
from workpool.ipc.watch import CAN_SHARE

pytestmark = pytest.mark.skipif(not CAN_SHARE, reason="nobody but the driver reads results here")


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Generator[Pool]:
    """Give a pool whose driver rests, and would for an hour: what comes by its alarm comes never."""
    monkeypatch.setattr(watch, "REST", 3600.0)  # before the first alarm is set, which may ring late
    with Pool(1, backend="process") as pool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        pool.join(DEADLINE)
        rest(pool)
        yield pool
        pool._scheduler.listen()


@pytest.fixture
def gate(pool: Pool) -> Generator[Gate]:
    """Give a gate, which is opened before the pool is waited for."""
    assert pool._scheduler.hushed
    with Gate() as gate:
        yield gate


def rest(pool: Pool) -> None:
    """Read results here until the driver rests; it reads one itself, if it is quicker."""

    def rests() -> bool:
        pool.submit(tasks.double, 1).result(DEADLINE)
        return bool(pool._scheduler.hushed)

    until(rests)


def by_join(pool: Pool, _: Task[Any]) -> Running[Any]:
    return in_background(pool.join, DEADLINE)


def by_callback(_: Pool, task: Task[Any]) -> Running[Any]:
    def call_back() -> None:
        with Gate() as told:
            task.add_done_callback(lambda _: told.open())
            stop(told.path)

    return in_background(call_back)


def by_wait(_: Pool, task: Task[Any]) -> Running[Any]:
    return in_background(wait, [task], DEADLINE)


def by_result(_: Pool, task: Task[Any]) -> Running[Any]:
    return in_background(task.result, DEADLINE)


def by_close(pool: Pool, _: Task[Any]) -> Running[Any]:
    return in_background(pool.shutdown)


HOW: dict[str, tuple[Callable[[Pool, Task[Any]], Running[Any]], str]] = {
    "join": (by_join, "listen"),
    "callback": (by_callback, "listen"),
    "wait": (by_wait, "listen"),
    "shutdown": (by_close, "listen"),
    "result": (by_result, "wait_for"),
}


def _sent(sending: Stopped, submitting: Running[Any]) -> bool:
    return sending.arrived or submitting.ended


@contextmanager
def handing_over(pool: Pool) -> Generator[tuple[Task[Any], Gate, Stopped]]:
    """Have a thread stop with the turn when it has sent a task, which stops at a gate; the driver rests."""
    worker: Any = pool._scheduler.workers[0]

    def by_another(_: object) -> bool:
        return threading.current_thread() is not worker._thread

    while True:
        with Gate() as gate, stopped_after(worker, "_feed", here=by_another) as sending:
            submitting = in_background(pool.submit, stop, gate.path)
            gate.arrival()
            until(partial(_sent, sending, submitting))
            # The driver may have sent it, and may still rest or not, without the turn.
            rests = sending.arrived and worker in pool._scheduler.hushed
            if rests:
                yield worker._flights.current.task, gate, sending
            sending.go()
            gate.open()
            submitting.result().result(DEADLINE)
        if rests:
            return
        rest(pool)  # it had been woken by the result before, and came to its turn after the reader


def test_who_reads_sees_to_the_memory_of_large_payloads(
    pool: Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes back while they wait for a task that takes long: the driver cannot see to it meanwhile."""
    monkeypatch.setattr(feeding, "_TRIM_AFTER", 3.0)
    worker: Any = pool._scheduler.workers[0]
    reading, read_for = list[object](), worker._read_for

    def read(*args: Any) -> None:
        reading.append(args)
        read_for(*args)

    assert len(pool.submit(bytes, 10_000_000).result(DEADLINE)) == 10_000_000
    task = pool.submit(stop, gate.path)
    gate.arrival()
    waiting: list[Running[Any]] = []
    monkeypatch.setattr(worker, "_read_for", read)

    def reads() -> bool:
        if not reading:
            waiting.append(in_background(task.result, DEADLINE))
        return bool(reading)

    until(reads)
    until(lambda: worker._trim_at is None)
    assert worker._turn.locked()
    gate.open()
    for each in waiting:
        each.result()


@pytest.mark.parametrize("how", HOW)
def test_who_asks_while_another_hands_over_is_told(pool: Pool, how: str) -> None:
    """The other has the turn, and leaves it to the driver: it is the driver's again before that one is gone."""
    ask, call = HOW[how]
    with (
        handing_over(pool) as (task, gate, sending),
        stopped_after(pool._scheduler.workers[0], call) as asked,
    ):
        asking = ask(pool, task)
        asked.arrival()
        asked.go()
        sending.go()
        gate.open()
        asking.result()


@pytest.mark.parametrize("how", sorted(set(HOW) - {"result"}))
def test_who_asks_while_nobody_has_the_turn_is_told(pool: Pool, gate: Gate, how: str) -> None:
    """The driver rests, and something is under way: it is woken."""
    task = pool.submit(stop, gate.path)
    gate.arrival()
    asking = HOW[how][0](pool, task)
    until(lambda: not pool._scheduler.hushed)
    gate.open()
    asking.result()
