"""What is on its way when all that has not begun is cancelled, or when a map call is cut off.

On its way back from a worker it never begins; on its way from the input it runs, and counts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, Running, in_background, stop
from tests.support.gripping import pause_and_name, pause_at
from tests.support.on_the_way import stopped_before
from tests.support.queues import until
from workpool import JoinTimeout, Pool, Task


@pytest.fixture
def pool() -> Generator[Pool]:
    """Give a pool of one process, which is there."""
    with Pool(1, backend="process") as made:
        made.submit(tasks.double, 1).result(DEADLINE)
        yield made


@pytest.fixture
def gate(pool: Pool) -> Generator[Gate]:
    """Give a gate, which is opened before the pool ends."""
    del pool
    with Gate() as made:
        yield made


def test_items_that_come_back_never_begin(pool: Pool, gate: Gate) -> None:
    """They were recalled from behind one that takes long; that one sees that it is not wanted."""
    told = partial(tasks.tell_if_cancelled, DEADLINE, gate.path)
    with stopped_before(pool._scheduler.workers[0], "_answered") as answer:
        results = pool.map(told, range(6), chunksize=6)
        assert gate.arrival() == "begun"
        answer.arrival()
        pool.shutdown(wait=False, cancel_futures=True)
    pool.join(DEADLINE)
    assert gate.waiting() == ["told True"]
    assert pool.unfinished == 0
    with pytest.raises(CancelledError):
        next(results)


@pytest.mark.parametrize("fn", [pause_at, pause_and_name])
def test_the_last_item_that_runs_keeps_its_result(
    pool: Pool, gate: Gate, fn: Callable[[str], Any]
) -> None:
    """Nothing of its map call is left to be cancelled, also where it runs in one loop with those before it."""
    pace = pool._scheduler.pace
    while (seconds := pace.of(fn)) is None or seconds > 0.0005:
        list(pool.map(fn, [""] * 100, chunksize=100))
    results = pool.map(fn, [*[""] * 50, gate.path], chunksize=51, ordered=False)
    gate.arrival()
    first = in_background(lambda: [next(results) for _ in range(50)])
    assert first.result() == [fn("")] * 50
    worker: Any = pool._scheduler.workers[0]
    pool.shutdown(wait=False, cancel_futures=True)
    until(lambda: not worker._orders and not worker._turn.locked())
    gate.open()
    assert list(results) == [type(fn(""))(len(gate.path))]


def test_tasks_that_come_back_are_cancelled(pool: Pool, gate: Gate) -> None:
    """As those are that were queued."""
    with Gate() as opened:
        opened.open()
        for _ in range(20):  # known to be short, they travel together
            pool.submit(tasks.hold, opened.path, 0).result(DEADLINE)
    pool.join(DEADLINE)
    worker: Any = pool._scheduler.workers[0]
    with stopped_before(worker, "_answered") as answer:
        with worker._turn:  # so that they gather
            first, *others = [pool.submit(tasks.hold, gate.path, n, n) for n in range(3)]
        worker.wake()
        assert gate.arrival() == "0"
        answer.arrival()
        pool.shutdown(wait=False, cancel_futures=True)
    gate.open()
    assert first.result(DEADLINE) == 0
    pool.join(DEADLINE)
    assert [task.cancelled() for task in others] == [True, True]
    assert pool.unfinished == 0


class _CutOff(Pool):
    """Is closed, and joined by others, while the submit of an item is on its way back."""

    joining: Running[None]

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Task[Any]:
        """Submit, and end the pool after item 2."""
        task: Task[Any] = super().submit(fn, *args, **kwargs)
        if args == (2,):
            self.close()
            self.joining.result()  # nothing more is pulled
            with pytest.raises(JoinTimeout):
                in_background(self.join, 0).result()
        return task


def test_an_item_that_is_submitted_as_its_map_call_is_cut_off_is_counted() -> None:
    """It runs, and a join waits for it."""
    pool = _CutOff(1)
    with Gate() as gate:

        def source() -> Iterator[int]:
            yield from range(2)
            pool.joining = in_background(pool.join, DEADLINE)
            until(lambda: pool._scheduler.ledger._joins == 1)
            yield 2

        def run(n: int) -> None:
            if n == 2:
                stop(gate.path)

        results = pool.map(run, source(), chunksize=1, buffersize=1)
        consuming = in_background(list, results)
        gate.arrival()
        until(lambda: results._job.pulled == 3)
        assert pool.unfinished == 1
        with pytest.raises(JoinTimeout):
            in_background(pool.join, 0).result()
        gate.open()
    with pytest.raises(CancelledError):
        consuming.result()
    in_background(pool.shutdown).result()
    assert pool.unfinished == 0
