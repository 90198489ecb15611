"""The thread that makes calls when they are due: it waits for nobody, and keeps nothing that is not wanted any more."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest

from tests.support import tasks
from tests.support.gates import DEADLINE, Gate, in_background
from workpool import Pool, Task, TimeLimitExceeded
from workpool.scheduling.timers import Timers

# The exception that is sent into a thread may hit it just as it opens its way to the gate.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_a_callback_of_a_late_task_may_wait_for_a_later_limit() -> None:
    """No limit waits for it; its own task has failed before, and counts as done after it."""
    with Gate() as gate, Pool(2) as pool:
        later = pool.options(time_limit=0.4).submit(tasks.hold, gate.path, 2)
        late = pool.options(time_limit=0.2).submit(tasks.hold, gate.path, 1)
        failed: list[BaseException | None] = []
        late.add_done_callback(lambda _: failed.append(later.exception(DEADLINE)))
        assert isinstance(late.exception(DEADLINE), TimeLimitExceeded)
        pool.join(DEADLINE)
        assert [type(error) for error in failed] == [TimeLimitExceeded]


def test_callbacks_do_not_run_in_the_timers_thread() -> None:
    """Nor those of a task of another pool, which a limit of this one ends: each has a thread to itself."""
    with Gate() as gate, Pool(1) as pool, Pool(1) as other:
        timers = pool._scheduler.timers
        busy = other.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        queued = [other.submit(tasks.double, n) for n in range(2)]
        reached = threading.Barrier(3)

        def wait_for_the_others(_: Task[int]) -> None:
            reached.wait(DEADLINE)

        for task in queued:
            task.add_done_callback(wait_for_the_others)
            timers.after(0.0, task.cancel)
        in_background(reached.wait, DEADLINE).result()
        assert not busy.done()
        gate.open()
        other.join(DEADLINE)  # which waits for the callbacks
        assert all(task.cancelled() for task in queued)


def test_callbacks_run_where_the_system_has_no_thread_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Better in the timers' thread than never; and the task is counted done."""

    def no_more(thread: threading.Thread) -> NoReturn:
        raise RuntimeError(f"can't start new thread: {thread.name}")

    with Gate() as gate, Pool(1) as pool:
        scheduler = pool._scheduler
        scheduler.timers.after(0.0, int)
        busy = pool.submit(tasks.hold, gate.path, 1)
        gate.arrival()
        queued = pool.submit(tasks.double, 1)
        called = threading.Event()
        queued.add_done_callback(lambda _: called.set())
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", no_more)
            scheduler.timers.after(0.0, queued.cancel)
            assert called.wait(DEADLINE)
        gate.open()
        pool.join(DEADLINE)
        assert busy.result(0) == 1


def test_a_second_attempt_of_inline_does_not_run_in_the_timers_thread() -> None:
    """It runs in a thread of its own when it is due, and may wait for what the timers bring about."""
    heard = threading.Event()

    def wait_for_a_timer() -> bool:
        if tasks.situation().attempt == 1:
            raise LookupError
        pool._scheduler.timers.after(0.0, heard.set)
        return heard.wait(DEADLINE / 2)

    with Pool(1, backend="inline", retries=1, retry_on=LookupError, backoff=0.001) as pool:
        assert pool.submit(wait_for_a_timer).result(DEADLINE)


def test_cancelled_timers_are_let_go_of() -> None:
    """Limits that were kept are not remembered until they would have struck; those that stand do strike."""
    timers = Timers("timers")
    struck = threading.Semaphore(0)
    try:
        for n in range(2_000):
            timers.after(3600.0, int).cancel()
            if n % 10 == 0:
                timers.after(0.5, struck.release)
        kept = len(timers._heap)
        for _ in range(200):
            assert struck.acquire(timeout=DEADLINE)
    finally:
        timers.close()
    assert kept < 1_000
