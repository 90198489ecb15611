"""Finalizers that wait for the pool in a worker's thread, between two tasks: neither is lost, nor the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError, wait
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background, stop
from tests.support.holding import held_elsewhere
from tests.support.queues import until
from workpool import Pool, Task, WorkerLost
from workpool.scheduling import later


def _by_way_of_another(pool: Pool) -> None:
    with Pool(1) as other:
        other.submit(lambda: pool.submit(tasks.double, 1).result()).result()


WAITS: dict[str, Callable[[Pool], object]] = {
    "result": lambda pool: pool.submit(tasks.double, 1).result(),
    "with a timeout": lambda pool: pool.submit(tasks.double, 1).result(DEADLINE),
    "wait": lambda pool: wait([pool.submit(tasks.double, 1)]),
    "map": lambda pool: list(pool.map(tasks.double, [1, 2])),
    "another pool": _by_way_of_another,
}


class Waits:
    """Makes a call when it is let go of, as an argument or a function, and says when that is over."""

    def __init__(self, call: Callable[[], object], over: threading.Event) -> None:
        self._call = call
        self._over = over

    def __call__(self, item: int) -> int:
        return item

    def __del__(self) -> None:
        with suppress(Exception):  # killed meanwhile
            self._call()
        self._over.set()


def _tasks(pool: Pool) -> list[Task[int]]:
    return [pool.submit(tasks.double, n) for n in range(3)]


def _items(pool: Pool) -> list[Task[int]]:
    results = pool.map(tasks.double, range(4), chunksize=1)
    return [pool.submit(lambda: sum(results))]


NEXT: dict[str, Callable[[Pool], list[Task[int]]]] = {
    "nothing": lambda _: [],
    "tasks": _tasks,
    "items": _items,
}


@pytest.mark.parametrize("then", NEXT)
@pytest.mark.parametrize("how", WAITS)
def test_an_argument_may_wait_for_the_pool(made: list[Pool], how: str, then: str) -> None:
    """It is let go of when the worker has the next task, or stands among the idle."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)
    with Gate() as gate:
        pool.submit(stop, gate.path)
        gate.arrival()
        first = pool.submit(lambda *_: 1, Waits(lambda: WAITS[how](pool), over))
        others = NEXT[then](pool)
        gate.open()
        assert first.result(DEADLINE) == 1
        for other in others:
            other.result(DEADLINE)
    assert over.wait(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    in_background(pool.join, DEADLINE).result()
    until(lambda: pool._scheduler._extra == 0)


@pytest.mark.parametrize("how", WAITS)
def test_what_an_idle_worker_sweeps_may_wait_for_the_pool(made: list[Pool], how: str) -> None:
    """A map call was closed: whoever finds it in the queue lets go of its function, and has nothing else to do."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)
    with Gate() as gate:
        pool.submit(stop, gate.path)
        gate.arrival()
        results = pool.map(Waits(lambda: WAITS[how](pool), over), [1, 2, 3])
        results.close()
        del results
        gate.open()
        assert over.wait(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    in_background(pool.join, DEADLINE).result()


def test_an_argument_may_wait_for_the_very_next_task(made: list[Pool]) -> None:
    """The worker has it already, and has not begun it."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)
    following: list[Task[int]] = []
    with Gate() as gate:
        pool.submit(stop, gate.path)
        gate.arrival()
        pool.submit(lambda *_: 1, Waits(lambda: following[0].result(DEADLINE), over))
        following.append(pool.submit(tasks.double, 1))
        gate.open()
        assert following[0].result(DEADLINE) == 2
    assert over.wait(DEADLINE)
    in_background(pool.join, DEADLINE).result()


@pytest.mark.parametrize("kills", [Pool.kill, None], ids=["the pool", "the task"])
def test_what_a_finalizer_waits_for_may_be_killed(made: list[Pool], kills: Any) -> None:
    """The task that was to be next is settled, or run by the worker that comes instead."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)
    with Gate() as before, Gate() as gate:
        inner: list[Task[None]] = []

        def waits() -> None:
            inner.append(pool.submit(stop, gate.path))
            inner[0].result()

        pool.submit(stop, before.path)
        before.arrival()
        pool.submit(lambda *_: 1, Waits(waits, over))
        following = pool.submit(tasks.double, 1)
        before.open()
        gate.arrival()
        if kills is None:
            inner[0].cancel(kill=True)
            assert following.result(DEADLINE) == 2
        else:
            kills(pool)
            with suppress(CancelledError, WorkerLost):
                following.result(DEADLINE)
        gate.open()
    assert over.wait(DEADLINE)


def test_a_kill_finds_the_chunk_behind_a_finalizer(made: list[Pool]) -> None:
    """A worker lets go of what was dropped before it begins a chunk; that waits in its hands, and is not forgotten."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)
    with Gate() as before, Gate() as gate:
        pool.submit(stop, before.path)
        before.arrival()
        results = pool.map(tasks.double, range(4), chunksize=4)
        pool._scheduler.litter.append(Waits(lambda: pool.submit(stop, gate.path).result(), over))
        before.open()
        gate.arrival()
        pool.kill()
        with pytest.raises((CancelledError, WorkerLost)):
            in_background(list, results).result()
        gate.open()
    assert over.wait(DEADLINE)


def test_a_worker_that_was_woken_once_too_often_sweeps(made: list[Pool]) -> None:
    """By a submit that was cut short: it is awake when it sets out to let go of what was dropped."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)
    with Gate() as gate:
        pool.submit(stop, gate.path)
        gate.arrival()
        worker: Any = pool._scheduler.workers[0]
        worker.wake()
        pool._scheduler.litter.append(Waits(lambda: None, over))
        gate.open()
        assert over.wait(DEADLINE)
    assert pool.submit(tasks.double, 1).result(DEADLINE) == 2
    in_background(pool.join, DEADLINE).result()


# ------------------------------------------------------------ behind what was put off


@pytest.mark.parametrize("left", ["before", "by the finalizer"])
def test_what_was_put_off_does_not_wait_behind_a_callback(made: list[Pool], left: str) -> None:
    """The callback of what a finalizer cancels may wait for what the same finalizer submits."""
    pool, other = Pool(1), Pool(1)
    made += [pool, other]
    submitted: list[Task[int]] = []
    known, over = threading.Event(), threading.Event()
    seen: list[int] = []

    def waits(_: Task[Any]) -> None:
        assert known.wait(DEADLINE)
        seen.append(submitted[0].result(DEADLINE / 4))
        over.set()

    with Gate() as gate:
        pool.submit(stop, gate.path)
        gate.arrival()
        task = pool.submit(tasks.double, 1)
        if left == "before":
            task.add_done_callback(waits)
        # A finalizer does no more than what is done here, in a step.
        with pool._scheduler.lock if left == "before" else _held_crosswise(pool, other):
            task.cancel()
            if left != "before":
                task.add_done_callback(waits)
            submitted.append(pool.submit(tasks.double, 2))
        known.set()
        gate.open()
        assert over.wait(DEADLINE / 2)
    assert seen == [4]
    in_background(pool.join, DEADLINE).result()


@contextmanager
def _held_crosswise(pool: Pool, other: Pool) -> Generator[None]:
    """Be in a step of another pool, while some thread makes one of this."""
    with held_elsewhere(pool._scheduler.lock), other._scheduler.lock:
        yield


SWEEPS: dict[str, Callable[[Pool, Task[int]], object]] = {
    "a join": lambda pool, _: pool.join(DEADLINE / 4),
    "who waits for it": lambda _, task: task.result(DEADLINE / 4),
    "who waits for another": lambda pool, _: pool.submit(tasks.double, 2).result(DEADLINE / 4),
}


@pytest.mark.parametrize("backend", ["thread", "process", "inline"])
@pytest.mark.parametrize("how", SWEEPS)
def test_what_no_thread_could_be_had_for_is_done_by_who_waits(
    made: list[Pool], monkeypatch: pytest.MonkeyPatch, backend: Any, how: str
) -> None:
    """What a finalizer submits is not lost because the system had no thread to give just then."""
    pool = Pool(1, backend=backend)
    made.append(pool)
    pool.submit(tasks.double, 1).result(DEADLINE)
    with monkeypatch.context() as patch:
        patch.setattr(later, "start_new_thread", _no_more_threads)
        with pool._scheduler.lock:  # a finalizer does no more than what is done here, in a step
            task = pool.submit(tasks.double, 2)
    in_background(SWEEPS[how], pool, task).result()
    in_background(pool.join, DEADLINE / 4).result()
    assert task.result(0) == 4


def test_what_no_thread_could_be_had_for_is_done_by_a_thread_that_rests(
    made: list[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nobody asks for it."""
    pool, over = Pool(1), threading.Event()
    made.append(pool)

    def struck() -> None:
        with pool._scheduler.lock:
            pool.submit(over.set)

    with monkeypatch.context() as patch:
        patch.setattr(later, "start_new_thread", _no_more_threads)
        pool.submit(struck)
        assert over.wait(DEADLINE / 4)


def _no_more_threads(*_: object) -> int:
    message = "can't start new thread"
    raise RuntimeError(message)
