"""Threads of workers, whose end may be waited for before they begin, and comes when they have run enough."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.support.gates import DEADLINE, Gate, in_background
from tests.support.queues import until
from tests.support.tasks import holding
from workpool import Pool
from workpool.scheduling.worker import WorkerThread


def test_the_end_of_a_thread_can_be_waited_for_before_its_start() -> None:
    """Who waits early sees the end, and not an error."""
    go = threading.Event()

    def work() -> None:
        go.wait(DEADLINE)

    thread = WorkerThread(work, "crew-0")
    assert not thread.ended(0.0)
    waiting = in_background(thread.ended, DEADLINE)
    thread.start()
    assert not thread.ended(0.0)
    go.set()
    assert waiting.result()
    assert thread.ended(None)


def test_a_thread_that_could_not_start_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a thread that the system did not give."""

    def no_more(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = WorkerThread(lambda: None, "crew-0")
    waiting = in_background(thread.ended, DEADLINE)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_more)
        with pytest.raises(RuntimeError):
            thread.start()
    assert waiting.result()


# --------------------------------------------------------------- max_tasks_per_worker


@pytest.mark.parametrize("backend", ["thread", "inline"])
def test_what_runs_inside_a_task_that_waits_for_it_counts(backend: Any) -> None:
    """A worker is replaced for all that it has run."""
    begun: list[None] = []
    terms: Any = {"initializer": begun.append, "initargs": (None,), "max_tasks_per_worker": 3}
    with Pool(1, backend=backend, **terms) as pool:

        def waits() -> None:
            for _ in range(2):
                pool.submit(int).result()

        pool.submit(waits).result(DEADLINE)
        pool.submit(int).result(DEADLINE)
    assert len(begun) == 2


def test_items_that_a_thread_does_not_run_do_not_count() -> None:
    """They were taken back, as the map call was closed."""
    with Pool(1, max_tasks_per_worker=3) as pool, Gate() as gate:
        results = pool.map(holding(gate.path, 0), range(3), chunksize=3)
        gate.arrival()
        thread: Any = pool._scheduler.workers[0]
        results.close()
        gate.open()
        ran_in = [pool.submit(threading.current_thread).result(DEADLINE) for _ in range(3)]
    assert [each is thread._thread for each in ran_in] == [True, True, False]


def test_a_thread_that_did_more_than_it_may_while_it_rested_leaves_a_chunk_to_the_next() -> None:
    """A finalizer that it sweeps waits for tasks, which run in it: then it has nothing left to cut a chunk to."""

    class Waits:
        def __del__(self) -> None:
            ran.extend(pool.submit(abs, -n).result() for n in range(3))

    ran: list[int] = []
    with Pool(1, backend="thread", max_tasks_per_worker=2) as pool:
        scheduler = pool._scheduler
        assert pool.submit(abs, -1).result() == 1
        until(lambda: len(scheduler.idle) == 1)
        scheduler.litter.append(Waits())
        scheduler.idle[0].wake()  # for nothing: it rests again, and sweeps first
        until(lambda: len(ran) == 3 and len(scheduler.idle) == 1)
        assert in_background(lambda: list(pool.map(abs, range(10), chunksize=10))).result() == [
            *range(10)
        ]
